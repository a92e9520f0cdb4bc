//! Records that are JSON objects are events, and are printed as they came.

use std::io;

use futures_lite::future::{block_on, zip};
use futures_lite::io::Cursor;
use proptest::collection::vec;
use proptest::sample::{Index, select};
use tlsink::frame::{Framing, Records};
use tlsink::limits::MAX_TURN_OUTPUT;
use tlsink::output::{Output, Portion};
use tlsink::{Conn, End, ServerBuilder};

use super::*;

#[test]
fn an_event_stands_in_place_of_the_text() {
    let sent = lumberjack(&[
        &br#"{"message":"x"}"#[..],
        b"x",
        b"\xff",
        br#"{"a": [1.50, null]}"#,
    ]);
    for framing in [Framing::Auto, Framing::Lumberjack] {
        let printed = print(framing, &[&sent]);
        assert_eq!(
            data(&printed),
            [
                r#""event":{"message":"x"}"#,
                r#""text":"x""#,
                r#""base64":"/w==""#,
                r#""event":{"a": [1.50, null]}"#,
            ]
        );
        let close = objects(&printed).pop().unwrap();
        assert_eq!(
            (&close["framing"], &close["end"]),
            (&"lumberjack".into(), &"clean".into())
        );
    }
}

#[test]
fn a_record_of_forward_is_an_event() {
    let sent = b"\x92\xa3app\x91\x92\xce\x6a\x62\x3c\x80\x82\xa7message\xa3a\nb\xa2id\x07";
    let time = "2026-07-23T16:08:32Z";
    let event =
        format!(r#""event":{{"tag":"app","time":"{time}","record":{{"message":"a\nb","id":7}}}}"#);
    for framing in [Framing::Auto, Framing::Forward] {
        for at in 0..sent.len() {
            let (first, second) = sent.split_at(at);
            assert_eq!(data(&print(framing, &[first, second])), [event.as_str()]);
        }
    }
}

#[test]
fn lines_and_frames_without_events_are_text_even_if_they_are_objects() {
    let object = r#"{"message":"x"}"#;
    let len = object.len();
    for (framing, sent) in [
        (Framing::Auto, format!("{object}\n{object}\n")),
        (Framing::None, format!("{object}\n{object}\n")),
        (Framing::Octet, format!("{len} {object}{len} {object}")),
        (Framing::Nul, format!("{object}\0{object}\0")),
        (
            Framing::Relp,
            format!("2 syslog {len} {object}\n3 syslog {len} {object}\n"),
        ),
    ] {
        let printed = print(framing, &[sent.as_bytes()]);
        let text = r#""text":"{\"message\":\"x\"}""#;
        assert_eq!(data(&printed), [text, text], "{framing}");
    }
}

#[test]
fn newlines_between_tokens_become_spaces_and_those_around_the_object_go() {
    let record = b"\r\n{\n\t\"a\":\r\n[1,\n2],\"b\":\"\\n\"\r}\n";
    let printed = print(Framing::Lumberjack, &[&lumberjack(&[record])]);
    let event = r#""event":{  "a":  [1, 2],"b":"\n" }"#;
    assert_eq!(data(&printed), [event]);
}

#[test]
fn characters_in_events_are_escaped_as_in_text() {
    let sendable = |text: &str| !text.contains(|c| c < ' ' || matches!(c, '"' | '\\'));
    for (harmful, escaped) in ESCAPED.into_iter().filter(|(text, _)| sendable(text)) {
        for (before, behind) in [("", ""), ("a", "b"), ("é", "🦀"), ("1234567", "\\\\")] {
            let object =
                |text: &str| format!(r#"{{"{before}{text}{behind}":["{text}{before}{text}"]}}"#);
            let sent = lumberjack(&[object(harmful).as_bytes()]);
            let printed = print(Framing::Lumberjack, &[&sent]);
            assert_eq!(data(&printed), [format!("\"event\":{}", object(escaped))]);
            assert_harmless(&printed);
        }
    }
    for text in KEPT {
        let text = text.replace('"', "");
        for before in 0..20 {
            let object = format!(r#"{{"{}{text}":"{text}"}}"#, "-".repeat(before));
            let sent = lumberjack(&[object.as_bytes()]);
            let printed = print(Framing::Lumberjack, &[&sent]);
            assert_eq!(data(&printed), [format!("\"event\":{object}")]);
        }
    }
}

#[test]
fn every_split_gives_the_same_events() {
    let records: [&[u8]; 9] = [
        b"{\"a\":\"\xc3\xa9\xe2\x80\xae\",\n\"b\":1}",
        b"{\"a\":1}",
        b"",
        b"{\n}",
        b"[\n1]",
        b"{\"a\":\"\xe2\x82\"}",
        b"{\"a\":\"\n\xff\"}",
        b"{}",
        b"{} ",
    ];
    let sent = lumberjack(&records);
    let whole = data(&print(Framing::Lumberjack, &[&sent]));
    let kind = |line: &String| line.split('"').nth(1).unwrap().to_owned();
    let kinds: Vec<String> = whole.iter().map(kind).collect();
    assert_eq!(
        kinds,
        [
            "event", "event", "text", "event", "text", "base64", "base64", "event", "event"
        ]
    );
    for at in 0..sent.len() {
        let (first, second) = sent.split_at(at);
        assert_eq!(data(&print(Framing::Lumberjack, &[first, second])), whole);
    }
    let bytes: Vec<&[u8]> = sent.chunks(1).collect();
    assert_eq!(data(&print(Framing::Lumberjack, &bytes)), whole);
}

#[test]
fn a_piece_of_an_overlong_record_is_text_even_if_it_is_an_object() {
    // Both pieces of the second record are objects, and the third record is as long as a line may be.
    let records: [&[u8]; 4] = [
        b"{}",
        b"{\"a\":10}{\"b\":20}",
        b"{\"c\":30}",
        b"{\"d\":400}",
    ];
    let pieces = [
        r#""event":{}"#,
        r#""text":"{\"a\":10}","partial":true"#,
        r#""text":"{\"b\":20}""#,
        r#""event":{"c":30}"#,
        r#""text":"{\"d\":400","partial":true"#,
        r#""text":"}""#,
    ];
    let sent = lumberjack(&records);
    let spaced = lumberjack(&[&records[..], &[b"\n\n"]].concat());
    for size in [1, 3, 8, 100] {
        for (sent, more) in [(&sent, None), (&spaced, Some(r#""text":"\n""#))] {
            let parts: Vec<&[u8]> = sent.chunks(size).collect();
            let printed = print_with(Framing::Lumberjack, &parts, |json| json.max_line(8));
            let expected: Vec<&str> = pieces.into_iter().chain(more).collect();
            assert_eq!(data(&printed), expected, "in parts of {size}");
        }
    }
}

#[test]
fn an_unfinished_record_is_text_even_if_it_is_an_object() {
    let frame = [b"2J\0\0\0\x01\0\0\0\x08", &br#"{"a":1}"#[..]].concat();
    for framing in [Framing::Lumberjack, Framing::Auto] {
        let sent = [b"2W\0\0\0\x01", &frame[..]].concat();
        for at in 0..sent.len() {
            let (first, second) = sent.split_at(at);
            let printed = print(framing, &[first, second]);
            assert_eq!(data(&printed), [r#""text":"{\"a\":1}""#]);
            assert_eq!(objects(&printed).pop().unwrap()["end"], "truncated");
        }
    }
}

#[test]
fn an_event_larger_than_a_page_is_whole_and_nothing_comes_between() {
    let object = |fill: &str| format!(r#"{{"a":"{}","b":[1]}}"#, fill.repeat(150_000));
    let (plain, escaped) = (object("x"), object("\u{7f}"));
    let sent = lumberjack(&[plain.as_bytes(), escaped.as_bytes(), b"{}"]);
    let parts: Vec<&[u8]> = sent.chunks(30_000).collect();
    let printed = print(Framing::Lumberjack, &parts);
    let expected = [plain, object(r"\u007f"), "{}".to_owned()];
    let expected = expected.map(|object| format!("\"event\":{object}"));
    assert!(data(&printed) == expected);
}

/// Adds up what an output says that it wrote.
struct Counted<W: io::Write> {
    json: Json<W>,
    longest: usize,
    written: usize,
}

impl<W: io::Write> Counted<W> {
    fn count(&mut self, portion: Portion) -> Portion {
        self.longest = self.longest.max(portion.written);
        self.written += portion.written;
        portion
    }
}

impl<W: io::Write> Output for &mut Counted<W> {
    fn data(&mut self, _: &Conn, _: &[u8]) -> io::Result<()> {
        unreachable!("it has turns of its own")
    }

    fn turn(&mut self, conn: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        let portion = self.json.turn(conn, bytes)?;
        Ok(self.count(portion))
    }

    fn records(&mut self, conn: &Conn, records: Records<'_>) -> io::Result<Portion> {
        let portion = self.json.records(conn, records)?;
        Ok(self.count(portion))
    }

    fn close(&mut self, conn: &Conn, end: &End) -> io::Result<()> {
        self.json.close(conn, end)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.json.flush()
    }
}

#[test]
fn events_count_as_written_and_a_turn_writes_a_bounded_number_of_bytes() {
    for object in ["{}", "{\n}"] {
        let records = [object.as_bytes(); 30_000];
        let sent = lumberjack(&records);
        let page = Page::default();
        let mut counted = Counted {
            json: Json::new(page.clone()),
            longest: 0,
            written: 0,
        };
        let (server, sink) = framed(Framing::Lumberjack).build().unwrap();
        let connection = server.plain(Cursor::new(sent), Peer::label("a"));
        drop(server);
        let (report, totals) = block_on(zip(connection, sink.run(&mut counted)));
        totals.unwrap();
        assert_eq!(report.end, End::Clean);
        let printed = page.text();
        let events = printed
            .lines()
            .filter(|line| line.contains(r#","event":{"#));
        let lens: Vec<usize> = events.map(|line| line.len() + 1).collect();
        assert_eq!(lens.len(), records.len());
        assert_eq!(counted.written, lens.iter().sum::<usize>());
        // Twice a turn's bytes, a page and an event.
        let most = 2 * MAX_TURN_OUTPUT + 128 * 1024 + 100;
        assert!(counted.longest <= most, "{}", counted.longest);
    }
}

/// A value and one way to write it.
fn written() -> impl Strategy<Value = (Value, Vec<u8>)> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let value = scalar.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((text(), inner), 0..4).prop_map(Value::from_iter),
        ]
    });
    (vec((text(), value), 0..5), any::<bool>()).prop_map(|(members, is_pretty)| {
        let value = Value::from_iter(members);
        let json = match is_pretty {
            true => serde_json::to_vec_pretty(&value).unwrap(),
            false => serde_json::to_vec(&value).unwrap(),
        };
        // The last digit of a number may change when it is read.
        (serde_json::from_slice(&json).unwrap(), json)
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a\u{7f}\u{9b}\u{ad}é\u{202e}\u{feff}🦀\u{e0001}\n\"\\\\]{0,12}",
    ]
}

/// Bytes that may be an object.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let token = select(vec![
        &b"{"[..],
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"\"",
        b"\\",
        b"\"a\"",
        b"\"a\":",
        b"1",
        b"-",
        b"e9",
        b"null",
        b" ",
        b"\n",
        b"\r",
        b"\t",
        b"\\u00e9",
        b"\\ud800",
        b"\x7f",
        b"\0",
        b"\xc3\xa9",
        b"\xe2\x80\xae",
        b"\xe2",
        b"\xff",
    ]);
    let tokens = vec(token, 0..12).prop_map(|tokens| tokens.concat());
    let in_object = |bytes: Vec<u8>| [b"{\"a\":", &bytes[..], b"}"].concat();
    prop_oneof![
        vec(any::<u8>(), 0..20),
        tokens.clone(),
        tokens.clone().prop_map(in_object),
        tokens.prop_map(move |bytes| in_object([b"\"", &bytes[..], b"\""].concat())),
        (written(), any::<Index>(), any::<u8>()).prop_map(|((_, mut json), at, byte)| {
            let at = at.index(json.len());
            json[at] = byte;
            json
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_objects_in_any_split_are_events_of_the_same_value(
        written in vec(written(), 1..5),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let (values, records): (Vec<Value>, Vec<Vec<u8>>) = written.into_iter().unzip();
        let sent = lumberjack(&records);
        let printed = print(Framing::Lumberjack, &split(&sent, &cuts));
        let seen: Vec<Seen> = seen(&printed);
        prop_assert_eq!(seen, values.into_iter().map(Seen::Event).collect::<Vec<_>>());
        assert_harmless(&printed);
    }

    #[test]
    fn any_bytes_in_any_split_are_their_object_or_their_bytes(
        records in vec(payload(), 1..6),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let sent = lumberjack(&records);
        let printed = print(Framing::Lumberjack, &split(&sent, &cuts));
        let expected = records.into_iter().map(without_lf).map(Seen::of);
        prop_assert_eq!(seen(&printed), expected.collect::<Vec<_>>());
        assert_harmless(&printed);
    }

    #[test]
    fn records_that_are_cut_for_their_length_or_for_memory_are_their_bytes(
        records in vec(payload(), 1..6),
        cuts in vec(any::<Index>(), 0..8),
        max_line in 4_usize..24,
        memory in 0_usize..40,
    ) {
        let sent = lumberjack(&records);
        let limits = |json: Json<Page>| json.max_line(max_line).memory(Memory::new(memory));
        let printed = print_with(Framing::Lumberjack, &split(&sent, &cuts), limits);
        let seen = seen(&printed);
        prop_assert_eq!(seen.len(), records.len());
        for (seen, record) in seen.into_iter().zip(records.into_iter().map(without_lf)) {
            match seen {
                Seen::Event(_) => {
                    prop_assert!(record.len() <= max_line);
                    prop_assert_eq!(seen, Seen::of(record));
                }
                Seen::Bytes(bytes) => prop_assert_eq!(bytes, record),
            }
        }
        assert_harmless(&printed);
    }
}

/// A record without the LF at its end.
fn without_lf(mut record: Vec<u8>) -> Vec<u8> {
    record.pop_if(|byte| *byte == b'\n');
    record
}

/// The printed form of a record.
#[derive(Debug, PartialEq)]
enum Seen {
    Event(Value),
    Bytes(Vec<u8>),
}

impl Seen {
    /// How a record should be printed.
    fn of(record: Vec<u8>) -> Self {
        match serde_json::from_slice(&record) {
            Ok(event @ Value::Object(_)) => Seen::Event(event),
            _ => Seen::Bytes(record),
        }
    }
}

/// The printed records, put together from their pieces.
fn seen(printed: &str) -> Vec<Seen> {
    let mut all = Vec::new();
    let mut record = Vec::new();
    for mut object in of("data", &objects(printed)) {
        if let Some(event) = object.get_mut("event") {
            all.push(Seen::Event(event.take()));
            assert!(record.is_empty(), "it stands among pieces");
            let others = ["text", "base64", "partial"].map(|name| object.get(name));
            assert_eq!(others, [None; 3]);
            continue;
        }
        record.extend(content(&object));
        if object["partial"] != true {
            all.push(Seen::Bytes(std::mem::take(&mut record)));
        }
    }
    assert!(record.is_empty(), "the last piece is partial");
    all
}

/// A window of events, in version 2.
fn lumberjack(records: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap().to_be_bytes();
    let mut sent = [b"2W", &number(records.len())[..]].concat();
    for (at, record) in records.iter().enumerate() {
        let record = record.as_ref();
        sent.extend(b"2J");
        sent.extend(number(at + 1));
        sent.extend(number(record.len()));
        sent.extend(record);
    }
    sent
}

/// The same bytes in parts.
fn split<'a>(sent: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(sent.len() + 1)).collect();
    ends.extend([0, sent.len()]);
    ends.sort_unstable();
    ends.windows(2)
        .map(|ends| &sent[ends[0]..ends[1]])
        .collect()
}

/// The content of the data objects, as it is printed.
fn data(printed: &str) -> Vec<String> {
    let content = |line: &str| {
        let rest = line.strip_prefix(r#"{"type":"data","conn":1,"time":""#)?;
        let (_, content) = rest.split_once(r#"","peer":"a","#)?;
        Some(content.strip_suffix('}')?.to_owned())
    };
    printed.lines().filter_map(content).collect()
}

fn framed(framing: Framing) -> ServerBuilder {
    Server::builder().framing(framing)
}

/// The output for a connection that sends these parts, and ends.
fn print(framing: Framing, parts: &[&[u8]]) -> String {
    print_with(framing, parts, |json| json)
}

fn print_with(
    framing: Framing,
    parts: &[&[u8]],
    set: impl FnOnce(Json<Page>) -> Json<Page>,
) -> String {
    let mut press = Press::built(framed(framing), |page| set(Json::new(page)));
    for part in parts.iter().filter(|part| !part.is_empty()) {
        press.a(*part);
    }
    press.end_a();
    press.text()
}
