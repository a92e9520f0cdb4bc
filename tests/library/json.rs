//! An object for each line: its fields, its escapes, the pieces of a long line. Common readers of
//! JSON read the program's output.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::Value;
use tlsink::output::{Json, Memory};
use tlsink::{Peer, Report, Server};

use crate::memory::{Driven, pipe};
use crate::press::{Page, Plain, Press, parts, print_on_threads};

#[cfg(all(feature = "lumberjack", feature = "forward"))]
mod events;

/// Texts that have to be escaped, or that JSON allows to be, and their escaped forms.
const ESCAPED: [(&str, &str); 22] = [
    ("\"", r#"\""#),
    ("\\", r"\\"),
    ("\0", r"\u0000"),
    ("\t", r"\t"),
    ("\r", r"\r"),
    ("\u{8}\u{b}\u{c}", r"\u0008\u000b\u000c"),
    ("\x1b[2J\x1b]0;title\x07", r"\u001b[2J\u001b]0;title\u0007"),
    ("\u{1f} \u{7e}\u{7f}", r"\u001f ~\u007f"),
    ("\u{80}\u{85}\u{9b}2J\u{9f}", r"\u0080\u0085\u009b2J\u009f"),
    ("\u{ad}", r"\u00ad"),
    ("\u{61c}", r"\u061c"),
    ("\u{180e}", r"\u180e"),
    ("\u{200b}\u{200d}", r"\u200b\u200d"),
    ("\u{200e}\u{200f}", r"\u200e\u200f"),
    ("\u{2028}\u{2029}", r"\u2028\u2029"),
    ("\u{202a}txt.exe\u{202e}", r"\u202atxt.exe\u202e"),
    ("\u{2060}\u{2065}", r"\u2060\u2065"),
    ("\u{2066}\u{2069}", r"\u2066\u2069"),
    ("\u{206a}\u{206f}", r"\u206a\u206f"),
    ("\u{feff}", r"\ufeff"),
    ("\u{fff9}\u{fffb}", r"\ufff9\ufffb"),
    ("\u{e0001}\u{e007f}", r"\udb40\udc01\udb40\udc7f"),
];

/// Texts that are left unchanged. Many of them begin with the same bytes as escaped characters.
const KEPT: [&str; 8] = [
    "",
    "plain /~ 'text' {}",
    "naïve “quotes” – €…",
    "\u{a0}\u{ac}\u{ae}\u{60c}\u{61b}\u{180d}\u{1820}",
    "\u{2010}\u{2027}\u{202f}\u{205f}\u{2070}",
    "日本語，العربية",
    "\u{fefe}\u{ff00}\u{fff8}\u{fffc}\u{fffd}",
    "🦀\u{e0100}\u{10ffff}",
];

#[test]
fn every_line_is_an_object_and_so_are_open_and_close() {
    let mut press = Press::new(Json::new);
    press.a(*b"one\n\ntwo\r\nthr");
    press.a(*b"ee\nlast");
    press.end_a();
    assert_eq!(
        timeless(&press.text()),
        concat!(
            r#"{"type":"open","conn":1,"time":"","peer":"a"}"#,
            "\n",
            r#"{"type":"data","conn":1,"time":"","peer":"a","text":"one"}"#,
            "\n",
            r#"{"type":"data","conn":1,"time":"","peer":"a","text":""}"#,
            "\n",
            r#"{"type":"data","conn":1,"time":"","peer":"a","text":"two\r"}"#,
            "\n",
            r#"{"type":"data","conn":1,"time":"","peer":"a","text":"three"}"#,
            "\n",
            r#"{"type":"data","conn":1,"time":"","peer":"a","text":"last"}"#,
            "\n",
            r#"{"type":"close","conn":1,"time":"","peer":"a","received":20,"delivered":20,"#,
            r#""format":"plain","end":"clean"}"#,
            "\n",
        )
    );
}

#[test]
fn a_connection_that_sends_nothing_has_no_data_and_no_known_format() {
    let mut press = Press::new(Json::new);
    press.end_a();
    let close = objects(&press.text()).pop().unwrap();
    assert_eq!(close["type"], "close");
    assert_eq!(close["format"], "auto");
    assert_eq!(close["received"], 0);
    assert!(of("data", &objects(&press.text())).is_empty());
}

#[test]
fn the_client_is_the_first_name_and_absent_without_one() {
    let peers = [
        Peer::label("bus").named("boiler").named("second"),
        Peer::label("bus"),
    ];
    let mut press = Press::of(peers, Json::new);
    press.a(*b"hot\n");
    press.b(*b"cold\n");
    press.end_a();
    press.end_b();
    for object in objects(&press.text()) {
        let client = object.get("client").and_then(Value::as_str);
        assert_eq!(client, (object["conn"] == 1).then_some("boiler"));
        assert_eq!(object["peer"], "bus");
    }
    let named = r#""peer":"bus","client":"boiler","text":"hot"}"#;
    assert!(press.text().contains(named), "{}", press.text());
}

#[test]
fn names_of_peers_are_escaped_like_their_data() {
    for (harmful, escaped) in ESCAPED {
        let peer = Peer::label(format!("<{harmful}>\n")).named(format!("\n{harmful}"));
        let mut press = Press::of([peer, Peer::label("b")], Json::new);
        press.a(*b"x\n");
        press.end_a();
        assert_harmless(&press.text());
        let fields = format!(r#""peer":"<{escaped}>\n","client":"\n{escaped}""#);
        let objects = objects(&press.text());
        let of_a = objects.iter().filter(|object| object["conn"] == 1);
        assert_eq!(of_a.count(), 3);
        assert_eq!(press.text().matches(&fields).count(), 3, "{fields}");
    }
}

#[test]
fn text_is_escaped_and_parsing_gives_it_back() {
    for (harmful, escaped) in ESCAPED {
        for (before, behind) in [("", ""), ("a", "b"), ("é", "🦀"), ("1234567", "12345678")] {
            let (line, shown) = (
                format!("{before}{harmful}{behind}{harmful}"),
                format!("{before}{escaped}{behind}{escaped}"),
            );
            let printed = print(&[format!("{line}\n").as_bytes()], 1 << 20);
            let field = format!(r#""text":"{shown}"}}"#);
            assert!(printed.contains(&field), "{field} is not in {printed}");
            assert_eq!(texts(&printed), [line]);
            assert_harmless(&printed);
        }
    }
}

#[test]
fn harmless_text_is_left_alone() {
    for text in KEPT {
        // The text stands at every position among the bytes that are examined together.
        for before in 0..20 {
            let line = format!("{}{text}{text}", "-".repeat(before));
            let printed = print(&[format!("{line}\n").as_bytes()], 1 << 20);
            assert!(printed.contains(&format!(r#""text":"{line}"}}"#)));
            assert_harmless(&printed);
        }
    }
}

#[test]
fn every_character_is_given_back_and_only_harmless_ones_are_shown() {
    let all: Vec<char> = (char::MIN..=char::MAX).filter(|c| *c != '\n').collect();
    for some in all.chunks(4096) {
        let line = String::from_iter(some);
        let printed = print(&[line.as_bytes()], 1 << 20);
        assert_harmless(&printed);
        assert!(texts(&printed) == [line], "from {:?} on", some[0]);
    }
}

#[test]
fn a_line_that_is_not_utf8_is_base64_and_the_others_are_not() {
    let lines: [&[u8]; 9] = [
        b"\xff",
        b"\x9b2J",
        b"caf\xe9 au lait",
        b"\xe2\x82",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xff\r",
        &[0xff; 5000],
    ];
    for line in lines {
        let sent = [b"before\n", line, b"\n", "b\u{e9}hind\n".as_bytes()].concat();
        let printed = print(&[&sent], 1 << 20);
        let [before, middle, behind] = &of("data", &objects(&printed))[..] else {
            panic!("{printed}");
        };
        assert_eq!(before["text"], "before");
        assert_eq!(behind["text"], "b\u{e9}hind");
        assert_eq!(middle["base64"], STANDARD.encode(line));
        assert_eq!(middle.get("text"), None);
        assert_eq!(content(middle), line);
    }
}

#[test]
fn every_split_gives_the_same_objects() {
    let sent = "one\n\nna\u{ef}ve \u{1f980}\r\n\u{2028}\"\\\nover\u{20ac}long, with \u{1f980}\n";
    let sent = [sent.as_bytes(), b"\xe2\x82\n\xff\xfe\nlast \xe2\x82"].concat();
    for max_line in [4, 5, 6, 7, 8, 12, 1 << 20] {
        let whole = timeless(&print(&[&sent], max_line));
        for at in 0..sent.len() {
            let (first, second) = sent.split_at(at);
            assert_eq!(timeless(&print(&[first, second], max_line)), whole);
        }
        let bytes: Vec<&[u8]> = sent.chunks(1).collect();
        assert_eq!(timeless(&print(&bytes, max_line)), whole);
    }
}

#[test]
fn an_overlong_line_is_pieces_of_the_longest_length_and_a_rest() {
    for (len, pieces) in [
        (7, &[7][..]),
        (8, &[8]),
        (9, &[8, 1]),
        (16, &[8, 8]),
        (17, &[8, 8, 1]),
    ] {
        let line = "x".repeat(len);
        for sent in [format!("{line}\n"), line] {
            let objects = objects(&print(&[sent.as_bytes()], 8));
            let data = of("data", &objects);
            let lens: Vec<usize> = data.iter().map(|object| content(object).len()).collect();
            assert_eq!(lens, pieces);
            let (last, others) = data.split_last().unwrap();
            assert_eq!(last.get("partial"), None);
            assert!(others.iter().all(|object| object["partial"] == true));
        }
    }
}

#[test]
fn partial_comes_last() {
    let printed = timeless(&print(&[b"01234567\xff\n"], 4));
    let data = |rest: &str| format!(r#"{{"type":"data","conn":1,"time":"","peer":"a",{rest}}}"#);
    let lines: Vec<&str> = printed.lines().skip(1).take(3).collect();
    assert_eq!(
        lines,
        [
            data(r#""text":"0123","partial":true"#),
            data(r#""text":"4567","partial":true"#),
            data(r#""base64":"/w==""#),
        ]
    );
    let printed = timeless(&print(&[b"\xff\xff\xff\xff\xff\n"], 4));
    let piece = data(r#""base64":"/////w==","partial":true"#);
    assert_eq!(printed.lines().nth(1), Some(piece.as_str()));
}

#[test]
fn pieces_of_text_are_cut_between_characters() {
    // These characters take two, three or four bytes.
    let line = "€€é€🦀é🦀€🦀🦀é";
    for max_line in 0..12 {
        let printed = print(&[line.as_bytes()], max_line);
        let texts = texts(&printed);
        assert_eq!(texts.concat(), line);
        // A piece has room for a whole character, whatever the limit.
        assert!(texts.iter().all(|text| text.len() <= max_line.max(4)));
    }
}

#[test]
fn a_piece_is_there_as_soon_as_the_line_is_overlong_and_others_may_come_between() {
    let mut press = Press::new(|page| Json::new(page).max_line(8));
    press.a(*b"01234567");
    assert_eq!(shown(&press), Vec::<String>::new());
    press.a(*b"8");
    press.b(*b"short\n");
    assert_eq!(shown(&press), ["a 01234567…", "b short"]);
    press.a(*b"9\nnext\n");
    assert_eq!(shown(&press), ["a 01234567…", "b short", "a 89", "a next"]);
}

#[test]
fn an_unfinished_line_stays_back_until_its_connection_ends() {
    let mut press = Press::new(Json::new);
    press.a(*b"finished\nunfinished");
    press.b(*b"another\n");
    assert_eq!(shown(&press), ["a finished", "b another"]);
    press.end_a();
    assert_eq!(shown(&press), ["a finished", "b another", "a unfinished"]);
    let close = objects(&press.text()).pop().unwrap();
    assert_eq!(
        (&close["type"], &close["conn"]),
        (&"close".into(), &1.into())
    );
}

#[test]
fn when_memory_is_used_up_the_longest_unfinished_line_goes_on_in_the_next_object() {
    // Thirty of the forty bytes are for lines: a quarter is kept back for chunks.
    let mut press = Press::new(|page| Json::new(page).memory(Memory::new(40)));
    press.a([b'a'; 20]);
    press.b([b'b'; 9]);
    assert_eq!(shown(&press), Vec::<String>::new());
    press.b([b'c'; 9]);
    let piece = format!("a {}…", "a".repeat(20));
    assert_eq!(shown(&press), [piece.as_str()]);
    press.a(*b"\n");
    press.b(*b"\n");
    let line = "b ".to_owned() + &"b".repeat(9) + &"c".repeat(9);
    assert_eq!(shown(&press), [piece.as_str(), "a ", &line]);
}

#[test]
fn a_line_that_went_on_ends_with_its_connection() {
    let mut press = Press::new(|page| Json::new(page).memory(Memory::new(40)));
    press.a([b'a'; 20]);
    press.b([b'b'; 29]);
    press.end_a();
    press.end_b();
    // Without the empty object, a reader that joins the pieces would wait for more.
    let (a, b) = ("a".repeat(20), "b".repeat(29));
    assert_eq!(
        shown(&press),
        [format!("a {a}…"), "a ".to_owned(), format!("b {b}")]
    );
}

#[test]
fn a_line_that_memory_has_no_room_for_is_cut_between_characters_too() {
    let mut press = Press::new(|page| Json::new(page).memory(Memory::new(40)));
    // The last byte of the last character comes later.
    press.a(&"aaaaaaaaaaaaaaaaaaaa€".as_bytes()[..22]);
    press.b([b'b'; 20]);
    assert_eq!(shown(&press), [format!("a {}…", "a".repeat(20))]);
    press.a(&"€!\n".as_bytes()[2..]);
    assert_eq!(shown(&press)[1..], ["a €!"]);

    // The same line is now the longest, and more of it comes than memory has room for.
    let mut press = Press::new(|page| Json::new(page).memory(Memory::new(40)));
    press.a(&"aaaaaaaaaaaaaaaaaaaa€".as_bytes()[..22]);
    let more = "€".repeat(20);
    press.a(&more.as_bytes()[2..more.len() - 1]);
    press.a(&more.as_bytes()[more.len() - 1..]);
    press.a(*b"\n");
    let shown = shown(&press);
    let texts: Vec<&str> = shown.iter().map(|line| &line[2..]).collect();
    assert_eq!(texts.concat().replace('…', ""), "a".repeat(20) + &more);
    assert!(press.text().lines().all(|line| !line.contains("base64")));
    assert!(!texts.last().unwrap().ends_with('…'));
}

#[test]
fn pieces_cut_for_lack_of_memory_are_no_longer_than_others() {
    // Each byte begins a new character of two bytes.
    let sent = [0xc2; 1000];
    for memory in 0..40 {
        let output = |page| Json::new(page).max_line(8).memory(Memory::new(memory));
        let mut press = Press::new(output);
        press.a(&sent[..7]);
        press.b([b'b'; 7]);
        press.a(&sent[7..]);
        press.end_a();
        assert_eq!(joined(&press.text()), [sent]);
        assert!(longest(&press.text()) <= 8, "{memory}");
    }
}

#[test]
fn without_any_memory_every_byte_arrives_all_the_same() {
    let sent = "é€\n\n🦀 and\u{2028} more\nlast €".as_bytes();
    let mut press = Press::new(|page| Json::new(page).memory(Memory::new(0)));
    for byte in sent {
        press.a([*byte]);
    }
    press.end_a();
    assert_eq!(
        joined(&press.text()),
        sent.split(|b| *b == b'\n').collect::<Vec<_>>()
    );
}

#[test]
fn the_error_holds_the_details_of_an_end() {
    let reset = end_of(|sender, _| {
        sender.remote.send("half a line");
        sender.remote.send_error(ErrorKind::ConnectionReset);
    });
    assert_eq!(reset["end"], "reset");
    // An xz file begins with these bytes, and xz is not built in.
    let refused = end_of(|sender, _| sender.remote.send(b"\xfd7zXZ\0\0\x04".repeat(9)));
    assert_eq!(refused["end"], "refused");
    let limit = end_of(|sender, _| sender.remote.send("more than may be decoded"));
    assert_eq!(limit["error"], "more than 20 bytes when decoded");
    let cut = end_of(|_, server| server.cut());
    assert_eq!(cut["error"], "the server is stopping");
}

#[test]
fn an_application_prints_a_refused_connection_by_its_report() {
    let (server, _sink) = Server::builder().build().unwrap();
    let (io, _remote) = pipe();
    // The server has no certificate.
    let mut connection = Driven::new(Box::pin(server.connection(io, Peer::label("bus\n"))));
    let report = connection.run().unwrap();
    assert!(report.is_refused());
    let page = Page::default();
    let json = Json::new(page.clone());
    json.refused(&report.conn, &report.end).unwrap();
    json.clone().refused_more("\x1b", 3).unwrap();
    // The page holds only flushed bytes.
    assert_eq!(
        timeless(&page.text()),
        concat!(
            r#"{"type":"refused","time":"","peer":"bus\n","reason":"this server has no certificate"}"#,
            "\n",
            r#"{"type":"refused","time":"","reason":"\u001b","more":3}"#,
            "\n",
        )
    );
}

#[test]
fn times_are_those_of_printing_and_in_order() {
    let before = seconds_now();
    let mut press = Press::new(Json::new);
    press.a(*b"one\ntwo\n");
    press.a(*b"three\n");
    press.end_a();
    let objects = objects(&press.text());
    let times: Vec<&str> = objects
        .iter()
        .map(|object| object["time"].as_str().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    // The second within the hour is enough here: unit tests cover the rest of the format.
    let seconds = |time: &str| -> u64 {
        let number = |at: usize| time[at..at + 2].parse::<u64>().unwrap();
        number(14) * 60 + number(17)
    };
    let passed = |time: &str| (seconds(time) + 3600 - before % 3600) % 3600;
    assert!(times.iter().all(|time| passed(time) < 60), "{times:?}");
    // Lines that come together share one reading of the clock.
    assert_eq!(times[1], times[2]);
}

#[test]
fn lanes_on_threads_of_their_own_print_every_object_whole() {
    const SENDERS: [&str; 4] = ["a", "b", "c", "d"];
    const LINES: usize = 2_000;
    let page = Page::default();
    // No part is a whole number of lines.
    let texts = SENDERS.map(|name| (name, lines_of(name, LINES).join("\n")));
    print_on_threads(Json::new(page.clone()), texts, 10_133);
    let objects = objects(&page.text());
    assert_eq!(objects.len(), SENDERS.len() * (LINES + 2));
    for name in SENDERS {
        let of_one = objects.iter().filter(|object| object["peer"] == name);
        let types: Vec<&Value> = of_one.clone().map(|object| &object["type"]).collect();
        assert_eq!(*types[0], "open");
        assert_eq!(*types[LINES + 1], "close");
        let texts: Vec<&str> = of_one
            .filter_map(|object| object["text"].as_str())
            .collect();
        assert!(texts == lines_of(name, LINES), "lines of {name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_objects_and_their_bytes_are_the_sent_ones(
        parts in parts(),
        max_line in 0_usize..20,
    ) {
        let sent = parts.concat();
        let split: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let printed = print(&split, max_line);
        prop_assert_eq!(timeless(&print(&[&sent], max_line)), timeless(&printed));
        prop_assert_eq!(joined(&printed), lines(&sent));
        prop_assert!(longest(&printed) <= max_line.max(4));
        assert_harmless(&printed);
    }

    #[test]
    fn every_byte_arrives_with_any_amount_of_memory(
        parts in parts(),
        others in parts(),
        max_line in 0_usize..20,
        memory in 0_usize..40,
    ) {
        let output = |page| Json::new(page).max_line(max_line).memory(Memory::new(memory));
        let mut press = Press::new(output);
        for at in 0..parts.len().max(others.len()) {
            press.a(parts.get(at).cloned().unwrap_or_default());
            press.b(others.get(at).cloned().unwrap_or_default());
        }
        press.end_a();
        press.end_b();
        let printed = press.text();
        for (conn, sent) in [(1, parts.concat()), (2, others.concat())] {
            prop_assert_eq!(joined_of(conn, &printed), lines(&sent));
        }
        prop_assert!(longest(&printed) <= max_line.max(4));
        assert_harmless(&printed);
    }
}

/// The output for a connection that sends these parts, and ends.
fn print(parts: &[&[u8]], max_line: usize) -> String {
    let mut press = Press::new(|page| Json::new(page).max_line(max_line));
    for part in parts {
        press.a(*part);
    }
    press.end_a();
    press.text()
}

/// Parses every line.
#[track_caller]
fn objects(printed: &str) -> Vec<Value> {
    assert!(printed.is_empty() || printed.ends_with('\n'));
    let parse = |line: &str| match serde_json::from_str(line) {
        Ok(Value::Object(object)) => Value::Object(object),
        other => panic!("{line} is {other:?}"),
    };
    printed.lines().map(parse).collect()
}

fn of(kind: &str, objects: &[Value]) -> Vec<Value> {
    let of_kind = objects.iter().filter(|object| object["type"] == kind);
    of_kind.cloned().collect()
}

/// The bytes in a data object.
fn content(object: &Value) -> Vec<u8> {
    match (&object["text"], &object["base64"]) {
        (Value::String(text), Value::Null) => text.as_bytes().to_vec(),
        (Value::Null, Value::String(base64)) => {
            let bytes = STANDARD.decode(base64).unwrap();
            assert!(std::str::from_utf8(&bytes).is_err(), "it is text");
            bytes
        }
        _ => panic!("{object}"),
    }
}

/// The length of the longest line, or piece of a line.
fn longest(printed: &str) -> usize {
    let data = of("data", &objects(printed));
    let lens = data.iter().map(|object| content(object).len());
    lens.max().unwrap_or(0)
}

/// The texts of all data objects, each of which must have one.
fn texts(printed: &str) -> Vec<String> {
    of("data", &objects(printed))
        .iter()
        .map(|object| object["text"].as_str().unwrap().to_owned())
        .collect()
}

/// The printed lines: `SENDER TEXT`, and `…` behind those that go on.
fn shown(press: &Press) -> Vec<String> {
    let show = |object: &Value| {
        let (peer, text) = (object["peer"].as_str(), object["text"].as_str());
        let goes_on = match object.get("partial") {
            None => "",
            Some(_) => "…",
        };
        format!("{} {}{goes_on}", peer.unwrap(), text.unwrap())
    };
    let data = of("data", &objects(&press.text()));
    data.iter().map(show).collect()
}

/// The lines of the only connection that sent something, put together from their pieces.
fn joined(printed: &str) -> Vec<Vec<u8>> {
    joined_of(1, printed)
}

fn joined_of(conn: u64, printed: &str) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    for object in of("data", &objects(printed)) {
        if object["conn"] != conn {
            continue;
        }
        line.extend(content(&object));
        if object["partial"] != true {
            lines.push(std::mem::take(&mut line));
        }
    }
    assert!(line.is_empty(), "the last piece is partial");
    lines
}

/// The lines that were sent.
fn lines(sent: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = sent
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    // Nothing behind the last newline means that no line is unfinished.
    lines.pop_if(|last| last.is_empty());
    lines
}

/// The objects without their times, each of which must have the form of a time.
#[track_caller]
fn timeless(printed: &str) -> String {
    let shape = "0000-00-00T00:00:00.000000Z";
    let mut parts = printed.split(r#","time":""#);
    let mut timeless = parts.next().unwrap().to_owned();
    for part in parts {
        let (time, rest) = part.split_at(shape.len());
        let digits = time.replace(|c: char| c.is_ascii_digit(), "0");
        assert_eq!(digits, shape);
        timeless.push_str(r#","time":""#);
        timeless.push_str(rest);
    }
    timeless
}

/// Checks that no character steers a terminal or changes the order in which text is read.
#[track_caller]
fn assert_harmless(printed: &str) {
    let escaped = ESCAPED.iter().flat_map(|(text, shown)| {
        let is_escaped = |c: &char| !c.is_ascii() && !shown.contains(*c);
        text.chars().filter(is_escaped)
    });
    let hidden: HashSet<char> = escaped.collect();
    let is_harmful = |c: char| match c.is_ascii() {
        true => c.is_control() && c != '\n',
        false => c.is_control() || hidden.contains(&c),
    };
    let found = printed.find(is_harmful);
    assert!(found.is_none(), "{:?}", &printed[found.unwrap()..]);
}

/// The end of a stream according to its object. It must agree with the report.
fn end_of(send: impl FnOnce(&mut Plain, &Server)) -> Value {
    let (server, sink) = Server::builder().max_decoded(Some(20)).build().unwrap();
    let page = Page::default();
    let mut running = Driven::new(Box::pin(sink.run(Json::new(page.clone()))));
    let mut sender = Plain::new(&server);
    assert!(sender.connection.run().is_none());
    assert!(running.run().is_none());
    send(&mut sender, &server);
    let report: Report = loop {
        if let Some(report) = sender.connection.run() {
            break report;
        }
        running.run();
    };
    let close = objects(&page.text()).pop().unwrap();
    assert!(!report.end.is_clean());
    assert_eq!(close["end"], report.end.word());
    let error = close["error"].as_str().unwrap();
    assert_eq!(
        format!("{} ({error})", report.end.word()),
        report.end.to_string()
    );
    assert_eq!(close["received"], report.conn.received());
    assert_eq!(close["delivered"], report.conn.delivered());
    assert_eq!(close["format"], report.conn.format().name());
    let order = [
        r#""received":"#,
        r#""delivered":"#,
        r#""format":"#,
        r#""end":"#,
        r#""error":"#,
    ];
    let text = page.text();
    let places = order.map(|field| text.find(field).unwrap());
    assert!(places.is_sorted(), "{text}");
    close
}

fn seconds_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs()
}

/// Lines of all lengths; some are longer than one write.
fn lines_of(name: &str, count: usize) -> Vec<String> {
    let line = |number: usize| {
        let len = if number % 500 == 7 {
            40_000
        } else {
            number % 299
        };
        format!("{name} {number} {}", "\"x".repeat(len))
    };
    (0..count).map(line).collect()
}

#[cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]
mod program {
    //! The program itself, with real clients and common readers of JSON.

    use std::collections::HashMap;
    use std::fs::{self, File};
    use std::io::{Read, Write};
    use std::net::SocketAddr;
    use std::path::Path;
    use std::process::Command;
    use std::thread;
    use std::time::{Duration, Instant};

    use serde_json::Value;

    use super::{
        ESCAPED, KEPT, assert_harmless, content, joined_of, lines, lines_of, objects, of, timeless,
    };
    use crate::common::authority::{Authority, Credentials, dns};
    use crate::common::client;
    use crate::common::pack::{gzip, zstd};
    use crate::common::process::memory;
    use crate::common::program::{
        Client, Program, Stdout, Version, run_if_installed, send, tcp, tls_1_1_hello,
    };
    use crate::common::skip::skip;
    use crate::common::terminal::Terminal;

    #[test]
    fn a_health_check_opens_and_closes_like_any_connection() {
        let program = Program::start(&["-f", "json"]);
        Client::connect(program.address()).abandon().unwrap();
        let printed = objects(&program.wait_for_printed_lines(2));
        let types: Vec<_> = printed.iter().map(|object| &object["type"]).collect();
        assert_eq!(types, ["open", "close"]);
        assert_eq!(printed[0]["conn"], printed[1]["conn"]);
        assert_eq!(printed[1]["received"], 0);
        assert_eq!(printed[1]["end"], "truncated");
        assert!(program.stop().ends().is_empty());
    }

    #[test]
    fn refused_senders_are_objects_with_the_name_that_they_claim_and_probes_are_not() {
        const HOSTILE: &str = "a\"b\n\x1b[2J\u{202e}";
        let ca = Authority::new("Plant CA");
        let other = Authority::new("Other CA");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, ca.pem()).unwrap();
        let program = Program::start(
            &[
                ["-f", "json", "--handshake-timeout", "3"].as_slice(),
                &["--client-ca", file.path().to_str().unwrap()],
                &["--allow-client", "good.example", "--max-per-ip", "2"],
            ]
            .concat(),
        );
        let address = program.address();
        let mut expected = Vec::new();
        let mut refused = |peer: SocketAddr, claimed: &str, reason: &str| {
            let claimed = match claimed {
                "" => String::new(),
                claimed => format!(r#","claimed":"{claimed}""#),
            };
            expected.push(format!(
                r#"{{"type":"refused","time":"","peer":"{peer}"{claimed},"reason":"{reason}"}}"#
            ));
            let printed = program.wait_for_printed_lines(expected.len());
            assert_harmless(&printed);
            let printed = timeless(&printed);
            assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
        };
        let offer = |bytes: &[u8]| {
            let mut peer = tcp(address).unwrap();
            peer.write_all(bytes).unwrap();
            let local = peer.local_addr().unwrap();
            let _ = peer.read_to_end(&mut Vec::new());
            local
        };
        refused(offer(b"GET / HTTP/1.1\r\n\r\n"), "", "this is not TLS");
        let reason = "no version of TLS in common, or no kind of signature but SHA-1";
        refused(offer(&tls_1_1_hello()), "", reason);

        let connect = |sender: Option<&Credentials>| {
            let config = match sender {
                Some(sender) => sender.config(Version::Tls12.of_rustls()),
                None => client::config(Version::Tls12.of_rustls()),
            };
            let tcp = tcp(address).unwrap();
            let local = tcp.local_addr().unwrap();
            assert!(Client::over(tcp, config, "localhost").is_err());
            local
        };
        refused(connect(None), "", "no certificate");
        let names = [dns("a.example"), dns("b.example")];
        refused(
            connect(Some(&other.sender("", &names))),
            "a.example",
            r#"unknown CA \"CN=Other CA\""#,
        );
        refused(
            connect(Some(&ca.sender(HOSTILE, &[]))),
            r#"a\"b\n\u001b[2J\u202e"#,
            "name not allowed",
        );
        refused(
            connect(Some(&ca.sender(&"ü".repeat(100), &[]))),
            &("ü".repeat(64) + "…"),
            "name not allowed",
        );
        refused(
            connect(Some(&ca.sender("", &[]))),
            "",
            "name not allowed; the sender has no name",
        );

        let stalled = [(); 2].map(|()| tcp(address).unwrap());
        let third = tcp(address).unwrap();
        let local = third.local_addr().unwrap();
        refused(local, "", "2 connections are open from this address");
        // The stalled two may time out in either order, but only after the third is refused.
        let printed = objects(&program.wait_for_printed_lines(10));
        for object in &printed[8..] {
            assert_eq!(object["reason"], "no handshake within 3 s");
        }
        drop((stalled, third));
        // A peer that went away is not refused.
        drop(tcp(address).unwrap());
        program.wait_for_line(|line| line.ends_with(" (closed during the handshake)"));
        let printed = objects(&program.stop().stdout_text());
        assert_eq!(printed.len(), 10, "{printed:?}");
        assert!(printed.iter().all(|object| object["type"] == "refused"));
    }

    #[test]
    fn a_flood_of_refused_peers_is_as_many_objects_as_lines_and_every_one_is_counted() {
        const FLOOD: usize = 400;
        // The sender's objects are longer than one write.
        let line = "\"x".repeat(100_000);
        let program = Program::start(&["-f", "json", "--lanes", "2"]);
        let address = program.address();
        let mut honest = Client::connect(address);
        let flood = thread::spawn(move || be_refused(address, FLOOD));
        let mut sent = 0;
        while !flood.is_finished() {
            honest.write(format!("{line}\n").as_bytes()).unwrap();
            sent += 1;
        }
        flood.join().unwrap();
        honest.finish().unwrap();
        program.wait_for_end();
        let outcome = program.stop();
        let objects = objects(&outcome.stdout_text());
        let data = of("data", &objects);
        assert_eq!(data.len(), sent);
        assert!(data.iter().all(|object| object["text"] == *line));
        let refused = of("refused", &objects);
        assert_eq!(sum(&refused), FLOOD);
        let said = outcome.stderr.matches("refused (this is not TLS)").count();
        assert_eq!(refused.len(), said);
        assert!(refused.len() < FLOOD / 2, "{said}");
        assert!(refused.iter().any(|object| object.get("more").is_some()));
    }

    #[test]
    fn an_output_that_is_not_read_holds_up_no_handshake_and_keeps_a_bounded_number_of_refusals() {
        let mut program = Program::start_into(&["-f", "json", "--lanes", "1"], Stdout::Unread);
        let mut output = program.unread();
        let address = program.address();
        let mut honest = Client::connect(address);
        let sending = thread::spawn(move || {
            let _ = honest.write(&b"x\n".repeat(200_000));
            honest.finish()
        });
        let begun = Instant::now();
        let mut refused = 0;
        // The output soon blocks. Refusals go on, and each second begins a new count of them.
        while begun.elapsed() < Duration::from_secs(4) {
            be_refused(address, 100);
            refused += 100;
        }
        let used = memory(program.id()).unwrap();
        be_refused(address, 500);
        refused += 500;
        let more = memory(program.id()).unwrap().saturating_sub(used);
        assert!(more < 1 << 20, "{more}");
        let reading = thread::spawn(move || {
            let mut printed = String::new();
            output.read_to_string(&mut printed).unwrap();
            printed
        });
        sending.join().unwrap().unwrap();
        assert_eq!(program.stop().status, 0);
        let objects = objects(&reading.join().unwrap());
        assert_eq!(of("data", &objects).len(), 200_000);
        assert_eq!(sum(&of("refused", &objects)), refused);
    }

    #[test]
    fn an_output_that_takes_no_refusal_ends_the_program_as_any_that_fails() {
        let Ok(full) = File::options().write(true).open("/dev/full") else {
            skip("there is no /dev/full");
            return;
        };
        let program = Program::start_into(&["-f", "json"], Stdout::File(full));
        be_refused(program.address(), 1);
        let outcome = program.outcome();
        assert_eq!(outcome.status, 1);
        let said = "tlsink: can't write the output: No space left on device (os error 28)\n";
        assert!(outcome.stderr.ends_with(said), "{}", outcome.stderr);
    }

    /// Connects this many peers that speak no TLS, until each has been refused.
    fn be_refused(address: SocketAddr, count: usize) {
        for _ in 0..count {
            let mut peer = tcp(address).unwrap();
            peer.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let _ = peer.read_to_end(&mut Vec::new());
        }
    }

    /// The number of peers in these objects, all refused for the same reason.
    fn sum(refused: &[Value]) -> usize {
        let peers = refused.iter().map(|object| {
            assert_eq!(object["reason"], "this is not TLS");
            let more = object.get("more").map(|more| more.as_u64().unwrap());
            assert_eq!(more.is_none(), object.get("peer").is_some(), "{object}");
            more.unwrap_or(1) as usize
        });
        peers.sum()
    }

    #[test]
    fn data_of_real_clients_is_printed_as_objects() {
        for args in [
            &["--format", "json"][..],
            &["-f", "json", "--lanes", "1"],
            &["--format=json", "--lanes", "2"],
        ] {
            let program = Program::start(args);
            let sent = everything();
            let mut plain = Client::connect(program.address());
            let mut packed = Client::connect(program.address());
            let peers = [plain.local_address(), packed.local_address()];
            plain.write(&sent).unwrap();
            packed.write(&gzip(&sent)).unwrap();
            packed.finish().unwrap();
            program.wait_for_end();
            plain.abandon().unwrap();
            let ends = program.wait_for_ends(2);
            let outcome = program.stop();
            assert_eq!(outcome.status, 0);

            let printed = outcome.stdout_text();
            assert_harmless(&printed);
            let objects = objects(&printed);
            for (peer, clean) in peers.into_iter().zip([false, true]) {
                let peer = peer.to_string();
                let of_peer: Vec<&Value> = objects.iter().filter(|o| o["peer"] == *peer).collect();
                let conn = of_peer[0]["conn"].as_u64().unwrap();
                assert!(of_peer.iter().all(|object| object["conn"] == conn));
                assert_eq!(of_peer[0]["type"], "open");
                assert_eq!(joined_of(conn, &printed), lines(&sent));

                let close = of_peer.last().unwrap();
                assert_eq!(close["type"], "close");
                let said = ends.iter().find(|ended| ended.peer == peer).unwrap();
                assert_eq!(close["received"], said.received);
                assert_eq!(close["delivered"], said.delivered);
                assert_eq!(close["format"], *said.format);
                if clean {
                    assert_eq!((&close["end"], close.get("error")), (&"clean".into(), None));
                } else {
                    assert_eq!(close["end"], "truncated");
                    assert_eq!(close["error"], "no close_notify");
                }
            }
        }
    }

    #[test]
    fn a_line_is_there_as_soon_as_it_is_finished() {
        let program = Program::start(&["-f", "json"]);
        let mut client = Client::connect(program.address());
        program.wait_for_printed_lines(1);
        client.write(b"first\nunfin").unwrap();
        let printed = objects(&program.wait_for_printed_lines(2));
        assert_eq!(printed[1]["text"], "first");
        client.write(b"ished\n").unwrap();
        let printed = objects(&program.wait_for_printed_lines(3));
        assert_eq!(printed[2]["text"], "unfinished");
        client.finish().unwrap();
        program.wait_for_end();
        assert_eq!(objects(&program.stop().stdout_text()).len(), 4);
    }

    #[test]
    fn max_line_is_the_longest_piece() {
        let program = Program::start(&["-f", "json", "--max-line", "8"]);
        send(program.address(), b"0123456789\n12345678\n");
        program.wait_for_end();
        let data = of("data", &objects(&program.stop().stdout_text()));
        let texts: Vec<&Value> = data.iter().map(|object| &object["text"]).collect();
        assert_eq!(texts, ["01234567", "89", "12345678"]);
        let partial: Vec<_> = data.iter().map(|object| object.get("partial")).collect();
        assert_eq!(partial, [Some(&true.into()), None, None]);
    }

    #[test]
    fn many_senders_are_told_apart_by_their_numbers() {
        const SENDERS: usize = 20;
        const LINES: usize = 300;
        let program = Program::start(&["-f", "json", "--lanes", "2", "--max-line", "32k"]);
        let address = program.address();
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                thread::spawn(move || {
                    let text = lines_of(&sender.to_string(), LINES).join("\n");
                    send(address, &zstd(text.as_bytes()));
                })
            })
            .collect();
        for sender in senders {
            sender.join().unwrap();
        }
        program.wait_for_ends(SENDERS);
        let outcome = program.stop();

        let mut lines: HashMap<u64, Vec<String>> = HashMap::new();
        let mut line = HashMap::new();
        let objects = objects(&outcome.stdout_text());
        for object in of("data", &objects) {
            let conn = object["conn"].as_u64().unwrap();
            let text = String::from_utf8(content(&object)).unwrap();
            *line.entry(conn).or_insert_with(String::new) += &text;
            if object.get("partial").is_none() {
                lines.entry(conn).or_default().extend(line.remove(&conn));
            }
        }
        assert_eq!(
            (of("open", &objects).len(), lines.len()),
            (SENDERS, SENDERS)
        );
        let mut of_senders: Vec<_> = lines.into_values().collect();
        of_senders.sort_by_key(|lines| lines[0].split(' ').next().unwrap().parse::<usize>().ok());
        for (sender, lines) in of_senders.iter().enumerate() {
            assert!(*lines == lines_of(&sender.to_string(), LINES), "{sender}");
        }
        assert!(
            of("close", &objects)
                .iter()
                .all(|object| object["end"] == "clean")
        );
    }

    #[test]
    fn on_a_terminal_the_output_is_the_same() {
        let stdout = Stdout::Terminal(Terminal::open());
        let program = Program::start_into(&["-f", "json"], stdout);
        send(program.address(), &everything());
        program.wait_for_end();
        let printed = program.stop().stdout_text();
        assert_harmless(&printed);
        assert_eq!(joined_of(1, &printed), lines(&everything()));
    }

    #[test]
    fn python_reads_every_line() {
        let printed = print_everything();
        let script = "import base64, datetime, json, sys\n\
             for line in sys.stdin.buffer:\n\
             \x20   one = json.loads(line)\n\
             \x20   time = datetime.datetime.strptime(one['time'], '%Y-%m-%dT%H:%M:%S.%f%z')\n\
             \x20   now = datetime.datetime.now(datetime.timezone.utc)\n\
             \x20   assert datetime.timedelta(0) <= now - time < datetime.timedelta(minutes=5)\n\
             \x20   if one['type'] == 'data':\n\
             \x20       text = one['text'].encode() if 'text' in one else base64.b64decode(one['base64'])\n\
             \x20       sys.stdout.buffer.write(text + (b'' if one.get('partial') else b'\\n'))\n";
        let mut python = Command::new("python3");
        python.args(["-c", script]);
        let Some(output) = run_if_installed(&mut python, printed.as_bytes()) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(output.stdout == everything(), "{said}");
    }

    #[test]
    fn jq_reads_every_line() {
        let printed = print_everything();
        let mut jq = Command::new("jq");
        // Lines that are not UTF-8 stay in base64: jq has no byte strings.
        jq.args([
            "-j",
            r#"select(.type == "data") | .text // .base64 | . + "\n""#,
        ]);
        let Some(output) = run_if_installed(&mut jq, printed.as_bytes()) else {
            return;
        };
        let data = of("data", &objects(&printed));
        let text = |one: &Value| {
            one.get("text")
                .unwrap_or(&one["base64"])
                .as_str()
                .unwrap()
                .to_owned()
        };
        let expected: String = data.iter().map(|one| text(one) + "\n").collect();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(output.stdout == expected.as_bytes(), "{said}");
    }

    #[test]
    fn the_commands_in_the_readme_and_the_guide_work_as_pasted() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        let texts =
            ["README.md", "GUIDE.md"].map(|name| fs::read_to_string(directory.join(name)).unwrap());
        let mut commands: Vec<&str> = texts
            .iter()
            .flat_map(|text| text.lines())
            .filter_map(|line| line.strip_prefix("tlsink --format json | "))
            .collect();
        // README and GUIDE share the first one.
        assert_eq!(commands.len(), 3);
        commands.dedup();
        assert_eq!(commands.len(), 2);

        let program = Program::start(&["--format", "json"]);
        let mut client = Client::connect(program.address());
        let peer = client.local_address();
        client.write(b"hello\n\n\xff\n").unwrap();
        client.abandon().unwrap();
        program.wait_for_end();
        send(program.address(), b"whole\n");
        program.wait_for_ends(2);
        let printed = program.stop().stdout_text();
        if run_if_installed(Command::new("jq").arg("--version"), b"").is_none() {
            return;
        }
        let output = |command: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", command]);
            let output = run_if_installed(&mut shell, printed.as_bytes()).unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{command}: {said}");
            String::from_utf8(output.stdout).unwrap()
        };
        let said = output(commands[0]);
        let of_peer = format!("{peer}: hello\n{peer}: \n{peer}: /w==\n");
        assert!(said.starts_with(&of_peer), "{said}");
        assert!(said.ends_with(": whole\n"), "{said}");
        let closed = output(commands[1]);
        let close = printed.lines().find(|line| line.contains("truncated"));
        assert_eq!(closed.lines().collect::<Vec<_>>(), [close.unwrap()]);
    }

    /// Each special text and each byte, in a line of its own, and an overlong line.
    fn everything() -> Vec<u8> {
        let mut sent = Vec::new();
        for text in ESCAPED.map(|(text, _)| text).into_iter().chain(KEPT) {
            sent.extend(format!("{text}\n<{text}>\r\n").into_bytes());
        }
        for byte in 0..=0xff {
            sent.extend([b'<', byte, b'>', b'\n']);
        }
        // This line is longer than --max-line.
        sent.extend("long \u{1f980}".repeat(120_000).into_bytes());
        sent.extend(b"\nlast\n");
        sent
    }

    /// The program's output when a client sends these bytes.
    fn print_everything() -> String {
        let program = Program::start(&["-f", "json"]);
        send(program.address(), &everything());
        program.wait_for_end();
        program.stop().stdout_text()
    }
}
