//! Frames that become lines, or records with the newlines that they contain.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures_lite::StreamExt;
use futures_lite::future::{block_on, zip};
use futures_lite::io::Cursor;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tlsink::decode::Format;
use tlsink::decode::Limits;
use tlsink::frame::{Framing, RecordBuffer, Records, Unframer};
use tlsink::limits::{CHUNK, MAX_TURN_OUTPUT};
use tlsink::output::{EachLine, Json, Lines, Output, Portion, StreamError};
use tlsink::{
    Conn, Cut, Delivery, End, Layer, Peer, Report, Server, ServerBuilder, Timeout, Truncation,
};

use crate::common::pack::zstd;
use crate::fuzz::frames::check;
use crate::memory::{Driven, pipe};
use crate::press::{Page, Plain};

/// Receives one stream whole; returns its report.
fn receive(builder: ServerBuilder, bytes: &[u8], output: impl Output) -> Report {
    let (server, sink) = builder.build().unwrap();
    let connection = server.plain(Cursor::new(bytes.to_vec()), Peer::label("test"));
    drop(server);
    let (report, totals) = block_on(zip(connection, sink.run(output)));
    totals.unwrap();
    report
}

fn framed(framing: Framing) -> ServerBuilder {
    Server::builder().framing(framing)
}

/// Octet-counted frames.
fn octet<F: AsRef<[u8]>>(frames: impl IntoIterator<Item = F>) -> Vec<u8> {
    let mut stream = Vec::new();
    for frame in frames {
        let frame = frame.as_ref();
        stream.extend(format!("{} ", frame.len()).bytes());
        stream.extend(frame);
    }
    stream
}

/// Frames of many lengths, of which every third contains newlines.
fn frames(count: usize) -> Vec<Vec<u8>> {
    let frame = |number: usize| {
        let text = format!("<13>frame {number} {}", "x".repeat(number % 300));
        match number % 3 {
            0 => text.replace('x', "\nx").into_bytes(),
            _ => text.into_bytes(),
        }
    };
    (0..count).map(frame).collect()
}

/// The frames as lines that show newlines as `\x0a`.
fn escaped(frames: &[Vec<u8>]) -> String {
    let frames = frames.iter();
    frames
        .map(|frame| String::from_utf8_lossy(frame).replace('\n', "\\x0a") + "\n")
        .collect()
}

#[test]
fn frames_are_lines_with_any_compression_and_counted_as_decoded_bytes() {
    let frames = frames(3000);
    let stream = octet(&frames);
    for (bytes, format) in [
        (stream.clone(), Format::Plain),
        (zstd(&stream), Format::Zstd),
    ] {
        let page = Page::default();
        let report = receive(framed(Framing::Auto), &bytes, Lines::new(page.clone()));
        assert_eq!(page.text(), escaped(&frames));
        assert_eq!(report.end, End::Clean);
        assert_eq!(report.conn.framing(), Framing::Octet);
        assert_eq!(report.conn.format(), format);
        assert_eq!(report.conn.received(), bytes.len() as u64);
        assert_eq!(report.conn.delivered(), stream.len() as u64);
        let said = report.to_string();
        assert!(said.ends_with(&format!("{format}, octet, clean")), "{said}");
    }
}

#[test]
fn json_and_a_function_for_each_line_keep_the_newlines_in_frames() {
    let frames = frames(3000);
    let page = Page::default();
    receive(
        framed(Framing::Octet),
        &octet(&frames),
        Json::new(page.clone()),
    );
    let text = page.text();
    let objects = text.lines().map(|line| {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        object
    });
    let objects: Vec<_> = objects.collect();
    let (close, texts) = objects[1..].split_last().unwrap();
    assert_eq!(close["framing"], "octet");
    assert_eq!(texts.len(), frames.len());
    for (object, frame) in texts.iter().zip(&frames) {
        assert_eq!(object["text"].as_str().unwrap().as_bytes(), frame);
    }

    let mut seen = Vec::new();
    let each = EachLine::new(|_, line| {
        assert!(!line.goes_on);
        seen.push(line.bytes.to_vec());
        Ok(())
    });
    receive(framed(Framing::Octet), &octet(&frames), each);
    assert!(seen == frames);
}

#[test]
fn a_frame_longer_than_the_longest_line_comes_in_pieces_with_its_newlines() {
    let frame = "a\nbc".repeat(1000);
    let stream = octet([&frame, "last"]);
    let page = Page::default();
    let json = Json::new(page.clone()).max_line(100);
    receive(framed(Framing::Octet), &stream, json);
    let mut whole = String::new();
    for line in page.text().lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(text) = object["text"].as_str() {
            assert!(text.len() <= 100);
            whole += text;
            if object["partial"] != true {
                whole += "|";
            }
        }
    }
    assert_eq!(whole, format!("{frame}|last|"));
}

/// Takes a few bytes, or one record, in each turn.
struct Sip<'a> {
    most: usize,
    taken: &'a RefCell<Vec<u8>>,
}

impl Output for Sip<'_> {
    fn data(&mut self, _: &Conn, _: &[u8]) -> io::Result<()> {
        unreachable!("it has turns of its own")
    }

    fn turn(&mut self, _: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        let taken = bytes.len().min(self.most);
        self.taken.borrow_mut().extend_from_slice(&bytes[..taken]);
        Ok(Portion::new(taken, taken))
    }

    fn records(&mut self, _: &Conn, records: Records<'_>) -> io::Result<Portion> {
        let record = records.iter().next().unwrap();
        let mut taken = self.taken.borrow_mut();
        taken.extend_from_slice(record.bytes);
        if record.ends {
            taken.push(b'\n');
        }
        let len = record.bytes.len() + usize::from(record.ends);
        Ok(Portion::new(len, len))
    }
}

#[test]
fn an_output_gets_the_records_that_it_left_in_later_turns_in_order_and_once() {
    let frames = frames(2000);
    let stream = octet(&frames);
    let expected = frames.join(&b'\n');
    for (most, bytes) in [(1000, stream.clone()), (MAX_TURN_OUTPUT, zstd(&stream))] {
        let taken = RefCell::default();
        let (server, sink) = framed(Framing::Octet).receipts(true).build().unwrap();
        let (io, remote) = pipe();
        let mut connection = Driven::new(server.plain(io, Peer::label("test")));
        drop(server);
        remote.send(bytes);
        remote.send_eof();
        let sip = Sip {
            most,
            taken: &taken,
        };
        let mut running = Driven::new(Box::pin(sink.run(sip)));
        let report = loop {
            let ended = running.run();
            if let Some(report) = connection.run() {
                let totals = ended.or_else(|| running.run()).unwrap().unwrap();
                assert_eq!(totals.delivered, stream.len() as u64);
                assert_eq!(totals.flushed, totals.delivered);
                break report;
            }
        };
        assert_eq!(report.end, End::Clean);
        assert_eq!(report.conn.delivered(), stream.len() as u64);
        let taken = taken.borrow();
        assert!(taken.strip_suffix(b"\n").unwrap() == expected);
        // The checksum is of the decoded bytes, which the sender knows.
        let receipt = format!(
            "\"delivered\":{},\"crc32c\":\"{:08x}\"",
            stream.len(),
            crc32c::crc32c(&stream)
        );
        let said = String::from_utf8(remote.take()).unwrap();
        assert!(said.contains(&receipt), "{said}");
    }
}

#[test]
fn a_stream_that_ends_in_a_frame_is_truncated_and_its_part_is_delivered() {
    for (stream, printed) in [
        (&b"5 <13>a7 <13>b"[..], "<13>a\n<13>b"),
        (b"5 <13>a7", "<13>a\n"),
    ] {
        let page = Page::default();
        let report = receive(framed(Framing::Auto), stream, Lines::new(page.clone()));
        let layer = Layer::Framing(Framing::Octet);
        assert_eq!(report.end, End::Truncated(Truncation::Unfinished(layer)));
        assert_eq!(page.text(), printed);
    }
}

#[test]
fn a_broken_frame_is_corrupt_after_the_frames_before_it() {
    let stream = b"5 <13>a5 <13>b\n\nx more";
    let page = Page::default();
    let report = receive(
        framed(Framing::Auto),
        &zstd(stream),
        Lines::new(page.clone()),
    );
    assert_eq!(page.text(), "<13>a\n<13>b\n");
    let End::Corrupt { layer, offset, .. } = report.end else {
        panic!("{report}");
    };
    assert_eq!((layer, offset), (Layer::Framing(Framing::Octet), 16));
}

#[test]
fn bytes_that_the_detection_holds_back_are_delivered_at_the_end() {
    for stream in ["12", "12 <1", "{\"a\"", "1234567890"] {
        let page = Page::default();
        let report = receive(
            framed(Framing::Auto),
            stream.as_bytes(),
            Lines::new(page.clone()),
        );
        assert_eq!(report.end, End::Clean);
        assert_eq!(page.text(), stream);
        assert_eq!(report.conn.framing(), Framing::None);
        assert_eq!(report.conn.delivered(), stream.len() as u64);
    }
}

/// Fails for each stream at its first record or line.
struct Failing;

impl Output for Failing {
    fn data(&mut self, _: &Conn, _: &[u8]) -> io::Result<()> {
        Err(StreamError::new(io::ErrorKind::StorageFull.into()).into())
    }
}

#[test]
fn records_that_the_output_fails_for_are_not_delivered() {
    for frame in ["one", "o\nne"] {
        let report = receive(framed(Framing::Octet), &octet([frame]), Failing);
        assert!(
            matches!(report.end, End::Cut(Cut::Output { .. })),
            "{report}"
        );
        assert_eq!(report.conn.delivered(), 0);
    }
}

#[test]
fn the_pull_side_yields_records() {
    let (server, sink) = framed(Framing::Auto).build().unwrap();
    let connection = server.plain(
        Cursor::new(octet(["<13>a\nb", "<13>c"])),
        Peer::label("test"),
    );
    drop(server);
    let (_, deliveries): (_, Vec<_>) =
        block_on(zip(connection, sink.into_stream().collect::<Vec<_>>()));
    let seen: Vec<_> = deliveries
        .iter()
        .filter_map(|delivery| match delivery {
            Delivery::Records(_, records) => Some(records.records()),
            _ => None,
        })
        .flat_map(|records| {
            records
                .iter()
                .map(|record| record.bytes.to_vec())
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(seen, [&b"<13>a\nb"[..], b"<13>c"]);
}

proptest! {
    #[test]
    fn any_bytes_give_the_same_records_however_they_are_split(
        start in select(vec!["", "9 <13>", "12 <1", "{\"a\":", "<13>"]),
        bytes in vec(prop_oneof![any::<u8>(), select(b"0129 <>{}\0\n\r".to_vec())], 0..60),
        choice: [u8; 2],
    ) {
        check(&[&choice, start.as_bytes(), &bytes].concat());
    }
}

/// The streams from which the fuzzer starts.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/frames");
    let files = fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| fs::read(path).unwrap())
        .collect()
}

proptest! {
    #[test]
    fn damaged_frames_give_the_same_records_however_they_are_split(
        seed in select(seeds()),
        size: u8,
        damage in vec((any::<Index>(), any::<u8>()), 0..4),
        end: Index,
    ) {
        let mut bytes = seed;
        bytes[1] = size;
        for (at, byte) in damage {
            let at = 2 + at.index(bytes.len() - 2);
            bytes[at] = byte;
        }
        bytes.truncate(2 + end.index(bytes.len() - 1));
        check(&bytes);
    }
}

/// Frames of RELP, from the one that opens the session on.
fn relp<F: AsRef<[u8]>>(frames: impl IntoIterator<Item = F>) -> Vec<u8> {
    let mut stream = b"1 open 14 relp_version=1\n".to_vec();
    for (number, frame) in (2..).zip(frames) {
        let frame = frame.as_ref();
        stream.extend(format!("{number} syslog {} ", frame.len()).bytes());
        stream.extend(frame);
        stream.push(b'\n');
    }
    stream
}

/// The acknowledgements of the messages with these numbers.
fn acknowledged(numbers: std::ops::RangeInclusive<usize>) -> String {
    numbers
        .map(|number| format!("{number} rsp 6 200 OK\n"))
        .collect()
}

/// Splits off the answer that opens the session.
fn opened(answers: Vec<u8>) -> String {
    let text = String::from_utf8(answers).unwrap();
    let (open, rest) = text.split_once("commands=syslog\n").unwrap();
    assert!(open.starts_with("1 rsp "), "{open}");
    rest.to_owned()
}

/// Fails to flush until it is told to.
struct Flushing<'a> {
    printed: &'a RefCell<Vec<u8>>,
    fails: bool,
}

impl Output for Flushing<'_> {
    fn data(&mut self, _: &Conn, bytes: &[u8]) -> io::Result<()> {
        self.printed.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.fails && !self.printed.borrow().is_empty() {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

#[test]
fn a_frame_is_acknowledged_once_it_is_flushed_and_never_if_that_fails() {
    for fails in [false, true] {
        let printed = RefCell::default();
        let (server, sink) = framed(Framing::Auto).build().unwrap();
        let (io, remote) = pipe();
        let mut connection = Driven::new(server.plain(io, Peer::label("test")));
        let flushing = Flushing {
            printed: &printed,
            fails,
        };
        let mut running = Driven::new(Box::pin(sink.run(flushing)));
        remote.send(relp(["one", "t\nwo"]));
        assert!(connection.run().is_none());
        let ended = running.run();
        let report = connection.run();
        assert_eq!(*printed.borrow(), b"one\nt\\x0awo\n");
        if fails {
            assert!(ended.unwrap().is_err());
            assert_eq!(remote.take(), b"");
            continue;
        }
        assert!(ended.is_none() && report.is_none());
        assert_eq!(opened(remote.take()), acknowledged(2..=3));

        // The session is closed by its sender, without a close_notify.
        remote.send(*b"4 close 0\n");
        assert!(connection.run().is_none());
        assert!(running.run().is_none());
        assert!(connection.run().is_none());
        assert_eq!(remote.take(), b"4 rsp 6 200 OK\n0 serverclose 0\n");
        drop(server);
        remote.send_eof();
        assert!(connection.run().is_none());
        assert!(running.run().is_none());
        let report = connection.run().unwrap();
        assert_eq!(report.end, End::Clean);
        assert_eq!(report.conn.framing(), Framing::Relp);
        assert!(running.run().unwrap().is_ok());
    }
}

#[test]
fn a_frame_that_is_not_flushed_is_not_acknowledged_though_its_sender_has_ended() {
    let printed = RefCell::default();
    let (server, sink) = framed(Framing::Auto).build().unwrap();
    let (io, remote) = pipe();
    let mut connection = Driven::new(server.plain(io, Peer::label("test")));
    remote.send(relp(["one", "two"]));
    remote.send_eof();
    assert!(connection.run().is_none());
    let flushing = Flushing {
        printed: &printed,
        fails: true,
    };
    let mut running = Driven::new(Box::pin(sink.run(flushing)));
    assert!(running.run().unwrap().is_err());
    assert_eq!(connection.run().unwrap().end, End::Cut(Cut::SinkGone));
    assert_eq!(remote.take(), b"");
}

/// Refuses the second of its calls for data.
#[derive(Default)]
struct Refuses(usize);

impl Output for Refuses {
    fn data(&mut self, _: &Conn, _: &[u8]) -> io::Result<()> {
        self.0 += 1;
        match self.0 {
            2 => Err(StreamError::new(io::ErrorKind::StorageFull.into()).into()),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_frame_that_the_output_refuses_is_not_acknowledged() {
    let (server, sink) = framed(Framing::Auto).receipts(true).build().unwrap();
    let (io, remote) = pipe();
    let mut connection = Driven::new(server.plain(io, Peer::label("test")));
    let mut running = Driven::new(Box::pin(sink.run(Refuses::default())));
    remote.send(relp(["one"]));
    assert!(connection.run().is_none() && running.run().is_none());
    assert!(connection.run().is_none());
    assert_eq!(opened(remote.take()), acknowledged(2..=2));
    remote.send(*b"3 syslog 3 two\n");
    remote.send_eof();
    assert!(connection.run().is_none() && running.run().is_none());
    while connection.run().is_none() {
        assert!(running.run().is_none());
    }
    let receipt = String::from_utf8(remote.take()).unwrap();
    assert!(receipt.starts_with("{\"ok\":false,"), "{receipt}");
}

#[test]
fn acknowledgements_of_a_stream_that_has_ended_come_before_its_close() {
    let stream = relp(["one", "two"]);
    let (server, sink) = framed(Framing::Relp).receipts(true).build().unwrap();
    let (io, remote) = pipe();
    let mut connection = Driven::new(server.plain(io, Peer::label("test")));
    drop(server);
    remote.send(stream);
    remote.send_eof();
    assert!(connection.run().is_none());
    let mut running = Driven::new(Box::pin(sink.run(Lines::new(Page::default()))));
    assert!(running.run().is_none());
    assert_eq!(connection.run().unwrap().end, End::Clean);
    assert!(running.run().unwrap().is_ok());
    let answers = opened(remote.take());
    let receipt = answers.strip_prefix(&acknowledged(2..=3)).unwrap();
    assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
}

#[test]
fn a_peer_that_reads_no_acknowledgements_is_read_no_further_and_goes_on_once_it_reads() {
    const FRAMES: usize = 400_000;
    let stream = relp((0..FRAMES).map(|_| "x"));
    let page = Page::default();
    let (server, sink) = framed(Framing::Relp).build().unwrap();
    let (io, remote) = pipe();
    let mut connection = Driven::new(server.plain(io, Peer::label("test")));
    drop(server);
    let mut running = Driven::new(Box::pin(sink.run(Lines::new(page.clone()))));
    remote.stop_reading();
    // Few bytes, which hold all frames.
    let packed = zstd(&stream);
    assert!(packed.len() < 1 << 20);
    remote.send(packed);
    for _ in 0..100 {
        assert!(connection.run().is_none());
        assert!(running.run().is_none());
    }
    let stopped = page.bytes().len();
    assert!(stopped < 3 * MAX_TURN_OUTPUT, "{stopped} bytes are printed");
    remote.read_again();
    let mut answers = Vec::new();
    while page.bytes().len() < 2 * FRAMES {
        let before = answers.len();
        assert!(connection.run().is_none());
        assert!(running.run().is_none());
        answers.extend(remote.take());
        assert!(
            answers.len() > before || page.bytes().len() == 2 * FRAMES,
            "nothing goes on"
        );
    }
    remote.send_eof();
    while connection.run().is_none() {
        running.run();
    }
    answers.extend(remote.take());
    assert_eq!(opened(answers), acknowledged(2..=FRAMES + 1));
}

#[test]
fn a_peer_that_reads_no_acknowledgements_is_idle() {
    let stream = zstd(&relp((0..100_000).map(|_| "x")));
    let builder = framed(Framing::Relp).idle_timeout(Duration::from_millis(50));
    let (server, sink) = builder.build().unwrap();
    let (io, remote) = pipe();
    let connection = server.plain(io, Peer::label("test"));
    drop(server);
    remote.stop_reading();
    // More than the connection has credits for.
    for piece in stream.repeat(100).chunks(CHUNK) {
        remote.send(piece);
    }
    let (report, _) = block_on(zip(connection, sink.run(Lines::new(Page::default()))));
    let idle = Timeout::Idle(Duration::from_millis(50));
    assert_eq!(report.end, End::Timeout(idle));
}

#[test]
fn an_old_session_of_relp_is_closed_behind_a_whole_frame_that_is_acknowledged() {
    let age = Duration::from_millis(20);
    for in_frame in [true, false] {
        let builder = framed(Framing::Auto).max_age(age).receipts(true);
        let (server, sink) = builder.build().unwrap();
        let (io, remote) = pipe();
        let mut connection = Driven::new(server.plain(io, Peer::label("test")));
        let page = Page::default();
        let mut running = Driven::new(Box::pin(sink.run(Lines::new(page.clone()))));
        let mut drive = || {
            let report = connection.run();
            assert!(running.run().is_none());
            report
        };
        remote.send(relp(["one"]));
        if in_frame {
            remote.send(*b"3 syslog 3 t");
            for _ in 0..10 {
                std::thread::sleep(age / 5);
                assert!(drive().is_none());
            }
            remote.send(*b"wo\n4 syslog 5 three\n5 sys");
        }
        let mut answers = Vec::new();
        while !remote.is_closed() {
            std::thread::sleep(age / 5);
            assert!(drive().is_none());
            answers.extend(remote.take());
        }
        let last = if in_frame { 3 } else { 2 };
        let answers = opened(answers);
        let closed = acknowledged(2..=last) + "0 serverclose 0\n{\"ok\":true,";
        assert!(answers.starts_with(&closed), "{answers}");
        // The rest is read in vain.
        remote.send(*b"6 syslog 3 six\n");
        assert!(drive().is_none());
        remote.send_eof();
        assert_eq!(drive().unwrap().end, End::Clean);
        let expected = if in_frame { "one\ntwo\n" } else { "one\n" };
        assert_eq!(page.bytes(), expected.as_bytes());
    }
}

#[test]
fn a_session_of_relp_that_is_not_open_or_is_over_is_not_closed() {
    let age = Duration::from_millis(20);
    for stream in [&b"1 open 14 relp_ver"[..], b"1 close 0\n"] {
        let (server, sink) = framed(Framing::Relp).max_age(age).build().unwrap();
        let (io, remote) = pipe();
        let mut connection = Driven::new(server.plain(io, Peer::label("test")));
        let mut running = Driven::new(Box::pin(sink.run(Lines::new(Page::default()))));
        remote.send(stream);
        for _ in 0..10 {
            assert!(connection.run().is_none());
            assert!(running.run().is_none());
            std::thread::sleep(age / 5);
        }
        assert!(!remote.is_closed());
    }
}

/// Text that people send must not be taken for frames.
#[test]
fn no_line_of_these_sources_is_taken_for_a_frame() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()];
    let mut lines = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            if path.is_dir() {
                if !["target", ".git", "seeds", "corpus", "artifacts"]
                    .iter()
                    .any(|one| name == *one)
                {
                    folders.push(path);
                }
                continue;
            }
            let text = fs::read(&path).unwrap();
            for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
                let mut unframer = Unframer::new(Framing::Auto, &Limits::default());
                let mut records = RecordBuffer::default();
                unframer.push(line, &mut records).unwrap();
                unframer.push(b"\n", &mut records).unwrap();
                unframer.finish(&mut records);
                assert_eq!(
                    unframer.framing(),
                    Framing::None,
                    "{}:{number}",
                    path.display()
                );
                assert_eq!(records.records().lines().strip_suffix(b"\n"), Some(line));
                lines += 1;
            }
        }
    }
    assert!(lines > 10_000);
}

#[test]
fn a_stream_with_frames_shares_the_sink_with_others_in_turn() {
    let (server, mut sink) = framed(Framing::Octet).build().unwrap();
    let mut flood = Plain::new(&server);
    // Bytes between frames become nothing.
    flood.remote.send(zstd(&vec![b' '; 64 << 20]));
    assert!(flood.connection.run().is_none());
    let honest = Plain::new(&server);
    let mut honest = honest;
    honest.remote.send(octet(["hello"]));
    assert!(honest.connection.run().is_none());
    let mut steps = 0;
    loop {
        match block_on(sink.next()).unwrap() {
            tlsink::SinkEvent::Records(_, records) => {
                assert_eq!(records.lines(), b"hello\n");
                break;
            }
            _ => steps += 1,
        }
    }
    assert!(steps <= 2, "only opens come before it");
    assert!(flood.connection.run().is_none(), "most of the flood waits");
}
