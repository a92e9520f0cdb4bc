//! Streams that outlive their connection, on the server's side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tlsink::decode::Format;
use tlsink::frame::Framing;
use tlsink::output::{EachLine, Json, Line, Lines, Output};
use tlsink::resume::{Answer, Offsets, Opening, Owner, Position, Preamble, Progress};
use tlsink::{Conn, Cut, End, Layer, Server, ServerBuilder};

use crate::holds::Receiver;
use crate::press::{Page, Press};

/// Keeps positions, and answers when the test says so.
#[derive(Clone, Default)]
struct Keeper(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    streams: HashMap<String, Position>,
    owners: Vec<Owner>,
    /// Openings that are not answered.
    openings: Vec<Opening>,
    answers_late: bool,
    /// Positions that are not kept yet.
    progress: Vec<Progress>,
    keeps_late: bool,
}

impl Offsets for Keeper {
    fn open(&self, opening: Opening) {
        let mut kept = self.0.lock().unwrap();
        if kept.answers_late {
            kept.openings.push(opening);
            return;
        }
        kept.accept(opening);
    }

    fn keep(&self, progress: Progress) {
        let mut kept = self.0.lock().unwrap();
        if kept.keeps_late {
            kept.progress.push(progress);
            return;
        }
        kept.keep(progress);
    }
}

impl Kept {
    fn accept(&mut self, opening: Opening) {
        let stream = opening.stream().to_owned();
        let from = opening.from();
        let at = *self.streams.entry(stream).or_insert(from);
        let owner = opening.accept(at);
        self.owners.push(owner);
    }

    fn keep(&mut self, progress: Progress) {
        let stream = progress.stream().to_owned();
        self.streams.insert(stream, progress.position());
        progress.done();
    }
}

impl Keeper {
    fn position(&self, stream: &str) -> Position {
        self.0.lock().unwrap().streams[stream]
    }

    /// Answers everything that waits.
    fn answer(&self) {
        let mut kept = self.0.lock().unwrap();
        for opening in std::mem::take(&mut kept.openings) {
            kept.accept(opening);
        }
        for progress in std::mem::take(&mut kept.progress) {
            kept.keep(progress);
        }
    }
}

fn resuming(keeper: &Keeper) -> ServerBuilder {
    Server::builder().offsets(keeper.clone())
}

fn preamble(stream: &str, from: Position) -> Vec<u8> {
    Preamble::new(stream, from).unwrap().to_line()
}

impl Receiver {
    /// The answers to a stream since the last look.
    fn answers(&self, stream: usize) -> Vec<Answer> {
        let answers = self.senders[stream - 1].remote.take();
        let lines = answers.split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| Answer::parse(line).unwrap()).collect()
    }

    fn finish_holds(&mut self, stream: usize) {
        for hold in self.shelf.take(stream as u64) {
            hold.done();
        }
        assert!(self.drive(stream).is_none());
    }
}

fn at(bytes: &[u8]) -> Position {
    Position::START.behind(bytes)
}

#[test]
fn whole_lines_are_acknowledged_when_they_are_through_and_kept() {
    let keeper = Keeper::default();
    let mut receiver = Receiver::of(1, resuming(&keeper));
    receiver.send(1, preamble("s", Position::START));
    assert_eq!(receiver.answers(1), [Answer::At(Position::START)]);
    receiver.send(1, *b"one\ntw");
    assert_eq!(receiver.answers(1), []);
    receiver.finish_holds(1);
    assert_eq!(receiver.answers(1), [Answer::Acknowledged(4)]);
    assert_eq!(keeper.position("s"), at(b"one\n"));

    keeper.0.lock().unwrap().keeps_late = true;
    receiver.send(1, *b"o\n");
    receiver.finish_holds(1);
    assert_eq!(receiver.answers(1), []);
    keeper.answer();
    assert!(receiver.drive(1).is_none());
    assert_eq!(receiver.answers(1), [Answer::Acknowledged(8)]);
    assert_eq!(keeper.position("s"), at(b"one\ntwo\n"));
}

#[test]
fn the_next_connection_goes_on_where_the_last_one_was_acknowledged() {
    let keeper = Keeper::default();
    let mut receiver = Receiver::of(3, resuming(&keeper));
    // A stream that the receiver does not know begins where its sender can.
    receiver.send(1, preamble("s", at(b"lost\n")));
    assert_eq!(receiver.answers(1), [Answer::At(at(b"lost\n"))]);
    receiver.send(1, *b"one\ntwo");
    receiver.finish_holds(1);
    assert_eq!(receiver.answers(1), [Answer::Acknowledged(9)]);
    receiver.senders[0]
        .remote
        .send_error(std::io::ErrorKind::ConnectionReset);
    assert!(!receiver.drive(1).unwrap().end.is_clean());

    receiver.send(2, preamble("s", at(b"lost\n")));
    let known = at(b"lost\none\n");
    assert_eq!(receiver.answers(2), [Answer::At(known)]);
    receiver.send(2, *b"two\nend");
    receiver.finish_holds(2);
    assert_eq!(receiver.answers(2), [Answer::Acknowledged(13)]);
    // At a clean end, an unfinished line counts as well.
    let report = receiver.end(2).unwrap();
    assert_eq!(report.end, End::Clean);
    assert_eq!(report.conn.framing(), Framing::Resume);
    assert_eq!(report.conn.stream(), Some("s"));
    assert_eq!(report.conn.delivered(), 7);
    assert_eq!(keeper.position("s"), at(b"lost\none\ntwo\nend"));
    match &receiver.answers(2)[..] {
        [Answer::Receipt(line)] => {
            let crc32c = crc32c(b"two\nend");
            let expected = format!("\"delivered\":7,\"crc32c\":\"{crc32c:08x}\"}}\n");
            let line = String::from_utf8_lossy(line);
            assert!(
                line.starts_with("{\"ok\":true") && line.ends_with(&expected),
                "{line}"
            );
        }
        answers => panic!("{answers:?}"),
    }
    // Another stream begins anew.
    receiver.send(3, preamble("t", Position::START));
    assert_eq!(receiver.answers(3), [Answer::At(Position::START)]);
}

fn crc32c(bytes: &[u8]) -> u32 {
    at(bytes).crc32c
}

#[test]
fn the_end_of_a_clean_stream_waits_until_its_position_is_kept() {
    let keeper = Keeper::default();
    let mut receiver = Receiver::of(1, resuming(&keeper));
    receiver.send(1, preamble("s", Position::START));
    receiver.answers(1);
    keeper.0.lock().unwrap().keeps_late = true;
    receiver.send(1, *b"unfinished");
    receiver.finish_holds(1);
    assert!(receiver.end(1).is_none());
    assert_eq!(receiver.answers(1), []);
    keeper.answer();
    assert!(receiver.drive(1).unwrap().end.is_clean());
    assert_eq!(keeper.position("s"), at(b"unfinished"));

    // Its last line is being kept already.
    let mut receiver = Receiver::of(1, resuming(&keeper));
    keeper.0.lock().unwrap().keeps_late = false;
    receiver.send(1, preamble("t", Position::START));
    receiver.answers(1);
    keeper.0.lock().unwrap().keeps_late = true;
    receiver.send(1, *b"line\n");
    receiver.finish_holds(1);
    assert!(receiver.end(1).is_none());
    assert_eq!(receiver.answers(1), []);
    keeper.answer();
    assert!(receiver.drive(1).unwrap().end.is_clean());
    assert_eq!(keeper.position("t"), at(b"line\n"));

    let mut receiver = Receiver::of(1, resuming(&keeper));
    keeper.0.lock().unwrap().keeps_late = false;
    receiver.send(1, preamble("u", Position::START));
    keeper.0.lock().unwrap().keeps_late = true;
    receiver.send(1, *b"unfinished");
    receiver.finish_holds(1);
    assert!(receiver.end(1).is_none());
    // A position that can't be kept.
    keeper.0.lock().unwrap().progress.clear();
    let end = receiver.drive(1).unwrap().end;
    assert!(matches!(end, End::Cut(Cut::Output { .. })), "{end:?}");
}

/// Drives a stream until this is so.
fn drive_until(receiver: &mut Receiver, stream: usize, mut is_so: impl FnMut(&Receiver) -> bool) {
    while !is_so(receiver) {
        thread::sleep(Duration::from_millis(5));
        assert!(receiver.drive(stream).is_none());
    }
}

/// Drives a stream until its sender gets answers.
fn next_answers(receiver: &mut Receiver, stream: usize) -> Vec<Answer> {
    let mut answers = Vec::new();
    drive_until(receiver, stream, |receiver| {
        answers = receiver.answers(stream);
        !answers.is_empty()
    });
    answers
}

/// Connections end after about so long.
const AGE: Duration = Duration::from_millis(50);

#[test]
fn an_old_connection_goes_once_everything_up_to_a_newline_is_kept() {
    let keeper = Keeper::default();
    let mut receiver = Receiver::of(2, resuming(&keeper).max_age(AGE));
    receiver.send(1, preamble("s", Position::START));
    assert_eq!(receiver.answers(1), [Answer::At(Position::START)]);
    keeper.0.lock().unwrap().keeps_late = true;
    receiver.send(1, *b"one\ntw");
    receiver.finish_holds(1);
    // The position of the end is to be kept, too.
    drive_until(&mut receiver, 1, |_| {
        keeper.0.lock().unwrap().progress.len() == 2
    });
    assert_eq!(receiver.answers(1), []);
    keeper.answer();
    assert!(receiver.drive(1).is_none());
    assert_eq!(receiver.answers(1), [Answer::Go(4)]);
    // Neither a receipt nor a close_notify follows, and the rest is read in vain.
    assert!(receiver.senders[0].remote.is_closed());
    receiver.send(1, *b"o\n");
    assert_eq!(receiver.answers(1), []);
    let report = receiver.end(1).unwrap();
    assert_eq!(report.end, End::Cut(Cut::MaxAge));
    assert_eq!(report.conn.delivered(), 6);
    assert_eq!(receiver.shelf.delivered(1), 6);

    receiver.send(2, preamble("s", Position::START));
    assert_eq!(receiver.answers(2), [Answer::At(at(b"one\n"))]);
    assert_eq!(keeper.position("s"), at(b"one\n"));
}

#[test]
fn an_old_connection_goes_after_one_line_at_least_unless_none_has_begun() {
    let keeper = Keeper::default();
    let mut receiver = Receiver::of(3, resuming(&keeper).max_age(AGE));
    receiver.send(3, *b"not resumed\n");
    receiver.send(2, preamble("begun", Position::START));
    receiver.send(2, *b"on");
    receiver.finish_holds(2);
    assert_eq!(receiver.answers(2), [Answer::At(Position::START)]);
    receiver.send(1, preamble("idle", Position::START));
    assert_eq!(receiver.answers(1), [Answer::At(Position::START)]);
    assert_eq!(next_answers(&mut receiver, 1), [Answer::Go(0)]);
    assert_eq!(receiver.end(1).unwrap().end, End::Cut(Cut::MaxAge));

    thread::sleep(AGE);
    receiver.send(2, *b"e\n");
    receiver.finish_holds(2);
    let mut answers = Vec::new();
    while answers.last() != Some(&Answer::Go(4)) {
        answers.extend(next_answers(&mut receiver, 2));
    }
    assert!(!answers.contains(&Answer::Go(0)));
    assert_eq!(receiver.end(2).unwrap().end, End::Cut(Cut::MaxAge));

    // A sender that can't be told is left alone.
    receiver.send(3, *b"goes on\n");
    receiver.finish_holds(3);
    assert_eq!(receiver.end(3).unwrap().end, End::Clean);
    assert_eq!(receiver.shelf.delivered(3), 20);
}

#[test]
fn a_sender_that_has_ended_its_stream_gets_a_receipt_however_old_the_connection_is() {
    let keeper = Keeper::default();
    let mut receiver = Receiver::of(1, resuming(&keeper).max_age(AGE));
    receiver.send(1, preamble("s", Position::START));
    receiver.answers(1);
    receiver.send(1, *b"line\n");
    assert!(receiver.end(1).is_none());
    thread::sleep(2 * AGE);
    assert!(receiver.drive(1).is_none());
    for hold in receiver.shelf.take(1) {
        hold.done();
    }
    assert_eq!(receiver.drive(1).unwrap().end, End::Clean);
    let answers = receiver.answers(1);
    assert!(
        matches!(answers.last(), Some(Answer::Receipt(_))),
        "{answers:?}"
    );
}

#[test]
fn nothing_is_read_before_the_position_is_known() {
    let keeper = Keeper::default();
    keeper.0.lock().unwrap().answers_late = true;
    let mut receiver = Receiver::of(2, resuming(&keeper));
    receiver.send(
        1,
        [preamble("s", Position::START), b"early\n".to_vec()].concat(),
    );
    assert_eq!(receiver.answers(1), []);
    assert_eq!(receiver.shelf.delivered(1), 0);
    // While it takes long, the sender is told to wait.
    let mut answers = Vec::new();
    while answers.is_empty() {
        thread::sleep(Duration::from_millis(10));
        assert!(receiver.drive(1).is_none());
        answers = receiver.answers(1);
    }
    assert_eq!(answers, [Answer::Waiting]);
    keeper.answer();
    assert!(receiver.drive(1).is_none());
    assert_eq!(receiver.answers(1), [Answer::At(Position::START)]);
    receiver.finish_holds(1);
    assert_eq!(receiver.shelf.delivered(1), 6);
    assert_eq!(receiver.answers(1), [Answer::Acknowledged(6)]);

    // The sender is gone before it is told.
    receiver.send(
        2,
        [preamble("t", Position::START), b"early\n".to_vec()].concat(),
    );
    assert!(receiver.end(2).is_some());
    assert_eq!(receiver.shelf.delivered(2), 0);
    keeper.answer();
}

#[test]
fn a_connection_that_is_taken_over_ends() {
    let keeper = Keeper::default();
    let mut receiver = Receiver::of(1, resuming(&keeper));
    receiver.send(1, preamble("s", Position::START));
    receiver.send(1, *b"one\n");
    receiver.answers(1);
    let owner = keeper.0.lock().unwrap().owners.pop().unwrap();
    owner.take_over();
    assert!(receiver.drive(1).is_none());
    for hold in receiver.shelf.take(1) {
        hold.done();
    }
    receiver.senders[0].remote.send_eof();
    assert_eq!(receiver.drive(1).unwrap().end, End::Cut(Cut::TakenOver));
    match &receiver.answers(1)[..] {
        [Answer::Receipt(line)] => {
            let line = String::from_utf8_lossy(line);
            let reason = "\"reason\":\"cut (another connection took the stream over)\"";
            assert!(line.contains(reason), "{line}");
        }
        answers => panic!("{answers:?}"),
    }
}

#[test]
fn a_stream_that_can_not_be_resumed_is_told_so() {
    let keeper = Keeper::default();
    keeper.0.lock().unwrap().answers_late = true;
    for (builder, line, reason) in [
        (
            Server::builder().framing(Framing::Auto),
            preamble("s", Position::START),
            "refused (a resumed stream is not supported)",
        ),
        (
            resuming(&keeper),
            b"tlsink/1 {\"stream\":\"\"}\n".to_vec(),
            "corrupt (resume: the line that names the stream is not valid at byte 0)",
        ),
        (
            resuming(&keeper),
            preamble("s", Position::START),
            "cut (the output failed: other error)",
        ),
    ] {
        let (server, sink) = builder.build().unwrap();
        let mut receiver = Receiver::with(1, server, sink);
        receiver.send(1, line);
        // Dropped openings are refused.
        keeper.0.lock().unwrap().openings.clear();
        receiver.drive(1);
        let answers = receiver.answers(1);
        assert_eq!(answers.first(), Some(&Answer::Refused(reason.to_owned())));
        receiver.senders[0].remote.send_eof();
        assert!(!receiver.drive(1).unwrap().end.is_clean());
    }
}

#[test]
fn other_streams_are_as_before() {
    let keeper = Keeper::default();
    let plain = [&b"tlsink/1"[..], b"t", b"tlsink/2 {}\n", b"line\n", b""];
    let mut receiver = Receiver::of(plain.len(), resuming(&keeper));
    for (at, bytes) in plain.iter().enumerate() {
        let stream = at + 1;
        for byte in *bytes {
            receiver.send(stream, [*byte]);
        }
        receiver.end(stream);
        for hold in receiver.shelf.take(stream as u64) {
            hold.done();
        }
        receiver.drive(stream);
        assert_eq!(receiver.shelf.delivered(stream as u64), bytes.len());
        assert!(receiver.senders[at].remote.take().is_empty());
    }
    // Without a keeper and without detection, it is a line like others.
    let mut receiver = Receiver::of(1, Server::builder());
    let line = preamble("s", Position::START);
    receiver.send(1, line.clone());
    assert_eq!(receiver.shelf.delivered(1), line.len());
}

/// The output for a stream that breaks within a line, and for the next connection, which ends it.
fn print<O: Output + 'static>(output: impl FnOnce(Page) -> O) -> String {
    let keeper = Keeper::default();
    let mut press = Press::built(resuming(&keeper), output);
    press.a([preamble("s", Position::START), b"one\ntw".to_vec()].concat());
    press.break_a();
    press.b([preamble("s", Position::START), b"two\nend".to_vec()].concat());
    press.end_b();
    press.text()
}

#[test]
fn an_output_drops_the_unfinished_line_that_comes_again() {
    assert_eq!(print(Lines::new), "one\ntwo\nend");
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lines);
    print(|_| {
        EachLine::new(move |_: &Conn, line: Line<'_>| {
            assert!(!line.goes_on);
            seen.lock().unwrap().push(line.bytes.to_vec());
            Ok(())
        })
    });
    assert_eq!(*lines.lock().unwrap(), [&b"one"[..], b"two", b"end"]);
}

#[test]
fn json_tells_the_stream_and_the_offset_of_each_line() {
    let printed = print(Json::new);
    let objects = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let data = objects.filter(|object: &Value| object["type"] == "data");
    let facts = data.map(|object| {
        (
            object["stream"].clone(),
            object["offset"].clone(),
            object["text"].clone(),
        )
    });
    let expected = [("one", 0), ("two", 4), ("end", 8)];
    let expected = expected.map(|(text, offset)| (Value::from("s"), offset.into(), text.into()));
    assert_eq!(facts.collect::<Vec<_>>(), expected);
}

#[cfg(feature = "zstd")]
#[test]
fn the_stream_is_compressed_behind_its_first_line_whatever_the_format() {
    use crate::common::pack::zstd;

    for format in [Format::Auto, Format::Zstd] {
        let keeper = Keeper::default();
        let (server, sink) = resuming(&keeper).decode(format).build().unwrap();
        let mut receiver = Receiver::with(1, server, sink);
        receiver.send(1, preamble("s", Position::START));
        receiver.answers(1);
        receiver.send(1, zstd(b"one\ntwo\n"));
        receiver.finish_holds(1);
        assert_eq!(receiver.answers(1), [Answer::Acknowledged(8)]);
        assert!(receiver.end(1).unwrap().end.is_clean());
        assert_eq!(keeper.position("s"), at(b"one\ntwo\n"));
    }
}

#[test]
fn a_stream_that_breaks_the_rules_is_corrupt_at_its_beginning() {
    let keeper = Keeper::default();
    let mut receiver = Receiver::of(1, resuming(&keeper));
    receiver.send(1, [&b"tlsink/1 "[..], &vec![b'x'; 10_000]].concat());
    receiver.senders[0].remote.send_eof();
    match receiver.drive(1).unwrap().end {
        End::Corrupt { layer, offset, .. } => {
            assert_eq!((layer, offset), (Layer::Framing(Framing::Resume), 0));
        }
        end => panic!("{end:?}"),
    }
}
