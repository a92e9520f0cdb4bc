//! The printed output: whole lines with labels and escapes, and raw bytes, each at the right time.

use std::net::SocketAddr;
use std::path::Path;

use proptest::prelude::*;
use tlsink::output::{Lines, Memory, Raw};
use tlsink::{End, Peer, Server};

use crate::memory::Driven;
use crate::press::{Page, Plain, Press, parts, print_on_threads};

#[test]
fn lines_are_never_spliced() {
    let mut press = Press::new(Lines::new);
    press.a(*b"one, ");
    press.b(*b"two\nthree, ");
    press.a(*b"four\n");
    press.b(*b"five\n");
    assert_eq!(press.text(), "two\none, four\nthree, five\n");
}

#[test]
fn an_unfinished_line_stays_back_until_its_connection_ends() {
    let mut press = Press::new(Lines::new);
    press.a(*b"finished\nunfinished");
    assert_eq!(press.text(), "finished\n");
    press.end_a();
    assert_eq!(press.text(), "finished\nunfinished");
}

#[test]
fn a_newline_is_added_only_where_another_connections_bytes_would_follow() {
    let mut press = Press::new(Lines::new);
    press.a(*b"no newline");
    press.b(*b"another\nand more");
    press.end_a();
    press.end_b();
    assert_eq!(press.text(), "another\nno newline\nand more");
}

#[test]
fn an_overlong_line_is_written_in_pieces_and_others_begin_on_a_line_of_their_own() {
    let mut press = Press::new(|writer| Lines::new(writer).max_line(8));
    press.a(*b"0123456789");
    press.a(*b"abcdef");
    press.b(*b"short\n");
    press.a(*b"the rest\n");
    assert_eq!(press.text(), "0123456789\nshort\nabcdefthe rest\n");
}

#[test]
fn an_uninterrupted_overlong_line_is_printed_as_it_was_sent() {
    let mut press = Press::new(|writer| Lines::new(writer).max_line(8));
    for part in ["01234567", "8", "9abcdefghijkl", "\n", "next\n"] {
        press.a(part);
    }
    assert_eq!(press.text(), "0123456789abcdefghijkl\nnext\n");
}

#[test]
fn lines_up_to_the_longest_are_kept_whole() {
    for len in [7, 8] {
        let mut press = Press::new(|writer| Lines::new(writer).max_line(8));
        press.a(vec![b'a'; len]);
        press.b(*b"short\n");
        press.a(*b"\n");
        assert_eq!(press.text(), format!("short\n{}\n", "a".repeat(len)));
    }
}

#[test]
fn when_memory_is_used_up_the_longest_unfinished_line_is_written_out() {
    // Thirty of the forty bytes are for lines: a quarter is kept back for chunks.
    let mut press = Press::new(|writer| Lines::new(writer).memory(Memory::new(40)));
    press.a([b'a'; 20]);
    press.b([b'b'; 9]);
    assert_eq!(press.text(), "");
    press.b([b'c'; 9]);
    assert_eq!(press.text(), "a".repeat(20));
    press.a(*b"\n");
    press.b(*b"\n");
    let lines = [
        "a".repeat(20),
        "b".repeat(9) + &"c".repeat(9),
        String::new(),
    ];
    assert_eq!(press.text(), lines.join("\n"));
}

#[test]
fn a_connection_without_data_splits_no_line() {
    let mut press = Press::new(|writer| Lines::new(writer).max_line(8));
    press.b(*b"0123456789");
    press.end_a();
    press.b(*b"abc\n");
    assert_eq!(press.text(), "0123456789abc\n");
}

#[test]
fn every_line_has_its_label_even_an_empty_or_unfinished_one() {
    let mut press = Press::new(|writer| Lines::new(writer).labels(true));
    press.a(*b"one\n\ntwo\nth");
    press.b(*b"four\n");
    press.a(*b"ree\nfive");
    assert_eq!(press.text(), "a one\na \na two\nb four\na three\n");
    press.end_a();
    press.b(*b"\n");
    assert_eq!(
        press.text(),
        "a one\na \na two\nb four\na three\na five\nb \n"
    );
}

#[test]
fn a_label_is_the_first_name_and_the_address() {
    let address = SocketAddr::from(([192, 0, 2, 7], 40312));
    let boiler = Peer::from(address).named("boiler").named("second");
    let nobody = Peer::from(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 7)));
    let mut press = Press::of([boiler, nobody], |page| Lines::new(page).labels(true));
    press.a(*b"hot\n");
    press.b(*b"cold\n");
    assert_eq!(press.text(), "boiler@192.0.2.7:40312 hot\n[::1]:7 cold\n");
}

#[test]
fn a_label_is_one_harmless_word_whether_lines_are_escaped_or_not() {
    for escape in [false, true] {
        let a = Peer::label("the\nbus").named("a b\tc\u{1b}[2J\u{202e}\u{3000}é");
        let b = Peer::unix(Some(Path::new("/run/a b")));
        let mut press = Press::of([a, b], |page| Lines::new(page).labels(true).escape(escape));
        press.a(*b"x\n");
        press.b(*b"y\n");
        assert_eq!(
            press.text(),
            concat!(
                r"a\x20b\x09c\x1b[2J\u{202e}\u{3000}é@the\x0abus x",
                "\n",
                r"unix:/run/a\x20b y",
                "\n"
            )
        );
    }
}

#[test]
fn a_long_name_is_cut_between_characters() {
    let exact = "n".repeat(256);
    // The character that begins at byte 255 does not fit.
    let long = "n".repeat(255) + "é";
    let peers = [&exact, &long].map(|name| Peer::label("test").named(name.as_str()));
    let mut press = Press::of(peers, |page| Lines::new(page).labels(true));
    press.a(*b"x\n");
    press.b(*b"y\n");
    let cut = "n".repeat(255);
    assert_eq!(press.text(), format!("{exact}@test x\n{cut}…@test y\n"));
}

#[test]
fn an_overlong_line_has_its_label_again_only_after_another_sender() {
    let mut press = Press::new(|writer| Lines::new(writer).max_line(8).labels(true));
    press.a(*b"0123456789");
    press.a(*b"abcdefghij");
    assert_eq!(press.text(), "a 0123456789abcdefghij");
    press.b(*b"short\n");
    press.a(*b"the rest\nnext\n");
    assert_eq!(
        press.text(),
        "a 0123456789abcdefghij\nb short\na the rest\na next\n"
    );
}

#[test]
fn a_line_that_memory_has_no_room_for_has_its_own_label() {
    let mut press = Press::new(|writer| Lines::new(writer).memory(Memory::new(40)).labels(true));
    press.a([b'a'; 20]);
    press.b([b'b'; 9]);
    press.b([b'c'; 9]);
    press.b(*b"\n");
    press.a(*b"\n");
    let lines = ["a aaaaaaaaaaaaaaaaaaaa", "b bbbbbbbbbccccccccc", "a ", ""];
    assert_eq!(press.text(), lines.join("\n"));
}

#[test]
fn control_sequences_for_a_terminal_are_escaped() {
    let mut press = Press::new(|writer| Lines::new(writer).escape(true));
    press.a("\u{1b}]0;title\u{7} \u{9b}2J \u{202e}txt.exe\n");
    press.a(*b"\x9b2J \xff\xfe caf\xc3\xa9 caf\xe9\n");
    assert_eq!(
        press.text(),
        concat!(
            r"\x1b]0;title\x07 \xc2\x9b2J \u{202e}txt.exe",
            "\n",
            r"\x9b2J \xff\xfe café caf\xe9",
            "\n"
        )
    );
}

#[test]
fn tabs_and_the_ends_of_lines_are_no_reason_to_escape() {
    let mut press = Press::new(|writer| Lines::new(writer).escape(true));
    press.a(*b"a\tb\r\n\r\nover\rwritten\n");
    press.a(*b"\\n\r");
    press.a(*b"\nlast\r");
    press.end_a();
    assert_eq!(
        press.text(),
        "a\tb\r\n\r\nover\\x0dwritten\n\\n\r\nlast\\x0d"
    );
}

#[test]
fn nothing_is_escaped_unless_that_is_asked_for() {
    let bytes = b"\x1b[2J\x9b\xff\xe2\x80\xae\r\n\r";
    let mut press = Press::new(Lines::new);
    press.a(*bytes);
    press.end_a();
    assert_eq!(press.bytes(), bytes);
}

#[test]
fn a_character_cut_at_the_end_of_a_piece_waits_for_its_rest() {
    let mut press = Press::new(|writer| Lines::new(writer).max_line(0).labels(true).escape(true));
    press.a(*b"caf\xc3");
    assert_eq!(press.text(), "a caf");
    press.b(*b"tea\n");
    press.a(*b"\xa9");
    assert_eq!(press.text(), "a caf\nb tea\na é");
    press.a(*b"\xf0\x9f");
    press.a(*b"x\r");
    assert_eq!(press.text(), "a caf\nb tea\na é\\xf0\\x9fx");
    press.end_a();
    assert_eq!(press.text(), "a caf\nb tea\na é\\xf0\\x9fx\\x0d");
}

#[test]
fn an_incomplete_character_holds_up_no_other_line() {
    // No byte of the character can be written yet, so no line has begun that would need an end.
    let mut press = Press::new(|writer| Lines::new(writer).max_line(0).labels(true).escape(true));
    press.a(*b"\xe2");
    press.b(*b"one");
    press.a(*b"\x82");
    press.b(*b" line\n");
    press.end_a();
    press.end_b();
    assert_eq!(press.text(), "b one line\na \\xe2\\x82");
}

#[test]
fn lanes_that_share_a_writer_never_splice_labelled_lines() {
    let mut press =
        Press::in_lanes(|writer| Lines::new(writer).max_line(8).labels(true).escape(true));
    press.a(*b"one, ");
    press.b(*b"two\nthree, \r");
    press.a(*b"four\n");
    press.a(*b"overlong, \x1b");
    press.b(*b"\nfive\n");
    press.a(*b"over\n");
    press.a(*b"six");
    press.end_b();
    press.end_a();
    let lines = [
        "b two",
        "a one, four",
        r"a overlong, \x1b",
        "b three, \r",
        "b five",
        "a over",
        "a six",
    ];
    assert_eq!(press.text(), lines.join("\n"));
}

#[test]
fn lanes_on_threads_of_their_own_print_every_line_whole() {
    const SENDERS: [&str; 4] = ["a", "b", "c", "d"];
    const LINES: usize = 5_000;
    let page = Page::default();
    let text = |name| (0..LINES).map(|i| format!("{name} {i}\n")).collect();
    // No part is a whole number of lines.
    let texts = SENDERS.map(|name| (name, text(name)));
    print_on_threads(Lines::new(page.clone()).labels(true), texts, 1013);
    let text = page.text();
    for name in SENDERS {
        let label = format!("{name} ");
        let lines: Vec<&str> = text.lines().filter(|l| l.starts_with(&label)).collect();
        let sent: Vec<String> = (0..LINES).map(|i| format!("{name} {name} {i}")).collect();
        assert!(lines == sent, "lines of {name}");
    }
    assert_eq!(text.lines().count(), SENDERS.len() * LINES);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_and_any_longest_line_print_the_same(
        parts in parts(),
        max_line in 0_usize..12,
        labels: bool,
        escape: bool,
    ) {
        let output = |writer| Lines::new(writer).labels(labels).escape(escape);
        let mut whole = Press::new(output);
        whole.a(parts.concat());
        whole.end_a();
        let mut split = Press::new(|writer| output(writer).max_line(max_line));
        for part in parts {
            split.a(part);
        }
        split.end_a();
        prop_assert_eq!(split.bytes(), whole.bytes());
    }

    #[test]
    fn another_sender_adds_newlines_and_changes_nothing_else(
        parts in parts(),
        max_line in 0_usize..12,
    ) {
        let output = |writer| Lines::new(writer).escape(true);
        let mut alone = Press::new(output);
        alone.a(parts.concat());
        alone.end_a();
        let mut shared = Press::new(|writer| output(writer).max_line(max_line));
        for part in parts {
            shared.a(part);
            // No other part has this character.
            shared.b("\u{2603}\n");
        }
        shared.end_a();
        let unbroken = |text: String| text.replace(['\n', '\u{2603}'], "");
        prop_assert_eq!(unbroken(shared.text()), unbroken(alone.text()));
    }
}

#[test]
fn raw_bytes_come_as_they_are() {
    let mut press = Press::new(Raw::new);
    press.a(*b"one, ");
    press.b(*b"two, ");
    press.a(*b"three");
    assert_eq!(press.text(), "one, two, three");
}

#[test]
fn the_output_is_flushed_whenever_there_is_nothing_more_to_decode() {
    let (server, sink) = Server::builder().build().unwrap();
    let page = Page::default();
    let mut running = Driven::new(Box::pin(sink.run(Raw::new(page.clone()))));
    let mut sender = Plain::new(&server);
    for text in ["a", "b", "c\n"] {
        sender.remote.send(text);
        assert!(sender.connection.run().is_none());
        assert!(running.run().is_none());
        assert!(page.text().ends_with(text));
    }
}

#[test]
fn a_connection_hears_of_its_end_after_the_flush() {
    let (server, sink) = Server::builder().build().unwrap();
    let page = Page::default();
    let mut running = Driven::new(Box::pin(sink.run(Raw::new(page.clone()))));
    let mut sender = Plain::new(&server);
    sender.remote.send("all of it");
    sender.remote.send_eof();
    assert!(sender.connection.run().is_none());
    assert!(running.run().is_none());
    assert_eq!(page.text(), "all of it");
    let report = sender.connection.run().unwrap();
    assert_eq!((report.end, report.conn.delivered()), (End::Clean, 9));
}
