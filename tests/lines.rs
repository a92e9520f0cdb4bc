//! What is printed: whole lines, raw bytes, and when.

mod common;

use common::memory::Driven;
use common::press::{Page, Plain, Press};
use tlsink::output::{Lines, Raw};
use tlsink::{End, Memory, Server};

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
fn an_overlong_line_that_nobody_comes_between_is_what_was_sent() {
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
    assert_eq!((report.end, report.delivered), (End::Clean, 9));
}
