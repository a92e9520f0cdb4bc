//! Frames that hold events, several of them, and compressed: lumberjack and forward.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, zip};
use futures_lite::io::Cursor;
use rustls::version::TLS13;
use tlsink::frame::Framing;
use tlsink::limits::{MAX_HELD, MAX_TURN_OUTPUT};
use tlsink::output::{Lines, Output};
use tlsink::{Conn, End, Hold, Limit, Peer, Report, Server, ServerBuilder, SinkEvent, Truncation};

use crate::common::client::{Client, tls};
use crate::common::pack::{gzip, zlib, zstd};
use crate::memory::{Driven, Session, finish};
use crate::press::{Page, Plain};

fn auto() -> ServerBuilder {
    Server::builder().framing(Framing::Auto)
}

/// A window of lumberjack, version 2, and its events, compressed or not.
fn lumberjack<E: AsRef<[u8]>>(events: impl IntoIterator<Item = E>, is_compressed: bool) -> Vec<u8> {
    let (mut frames, mut count) = (Vec::new(), 0_u32);
    for event in events {
        let event = event.as_ref();
        count += 1;
        frames.extend(b"2J");
        frames.extend(count.to_be_bytes());
        frames.extend((event.len() as u32).to_be_bytes());
        frames.extend(event);
    }
    let mut stream = [&b"2W"[..], &count.to_be_bytes()].concat();
    if is_compressed {
        let packed = zlib(&frames);
        stream.extend(b"2C");
        stream.extend((packed.len() as u32).to_be_bytes());
        frames = packed;
    }
    stream.extend(frames);
    stream
}

fn acknowledged(sequence: u32) -> Vec<u8> {
    [&b"2A"[..], &sequence.to_be_bytes()].concat()
}

/// A message of forward whose packed entries are compressed.
fn forward(entries: &[u8], chunk: Option<&str>) -> Vec<u8> {
    let packed = gzip(entries);
    let len = (packed.len() as u32).to_be_bytes();
    let mut message = [&b"\x93\xa3tag\xc6"[..], &len, &packed].concat();
    match chunk {
        Some(chunk) => {
            message.extend(b"\x81\xa5chunk");
            message.push(0xa0 | chunk.len() as u8);
            message.extend(chunk.bytes());
        }
        None => message.extend(b"\x80"),
    }
    message
}

/// Receives one stream whole.
fn receive(stream: &[u8], builder: ServerBuilder) -> (Report, String) {
    let (server, sink) = builder.build().unwrap();
    let connection = server.plain(Cursor::new(stream.to_vec()), Peer::label("test"));
    drop(server);
    let page = Page::default();
    let (report, totals) = block_on(zip(connection, sink.run(Lines::new(page.clone()))));
    totals.unwrap();
    (report, page.text())
}

#[test]
fn events_are_lines_with_any_compression_of_the_stream_and_of_the_frames() {
    let events: Vec<String> = (0..20_000)
        .map(|number| format!(r#"{{"message":"event {number}"}}"#))
        .collect();
    let entries: Vec<u8> = (0..20_000_u32)
        .flat_map(|number| [b"\x92\x01\x81\xa1n\xce".as_slice(), &number.to_be_bytes()].concat())
        .collect();
    let printed = events.join("\n") + "\n";
    let records: String = (0..20_000)
        .map(|n| {
            format!(
                "{{\"tag\":\"tag\",\"time\":\"1970-01-01T00:00:01Z\",\"record\":{{\"n\":{n}}}}}\n"
            )
        })
        .collect();
    for (stream, framing, printed) in [
        (lumberjack(&events, false), Framing::Lumberjack, &printed),
        (lumberjack(&events, true), Framing::Lumberjack, &printed),
        (forward(&entries, Some("chunk")), Framing::Forward, &records),
    ] {
        for bytes in [stream.clone(), zstd(&stream), gzip(&stream)] {
            let (report, lines) = receive(&bytes, auto());
            assert_eq!(report.end, End::Clean);
            assert_eq!(report.conn.framing(), framing);
            assert_eq!(report.conn.delivered(), stream.len() as u64);
            assert!(lines == *printed);
        }
    }
}

/// Frames that expand to tens of megabytes, and what they expand to.
fn bombs() -> [(Vec<u8>, usize); 3] {
    let events = vec![vec![b' '; 1 << 20]; 20];
    let entries = b"\x92\x01\x80".repeat(400_000);
    let record = r#"{"tag":"tag","time":"1970-01-01T00:00:01Z","record":{}}"#.len() + 1;
    let lumberjack = lumberjack(&events, true);
    [
        (zstd(&lumberjack), 20 * ((1 << 20) + 1)),
        (lumberjack, 20 * ((1 << 20) + 1)),
        (forward(&entries, None), 400_000 * record),
    ]
}

#[test]
fn a_bomb_in_a_frame_is_delivered_in_turn_with_other_streams() {
    for (bomb, len) in bombs() {
        let (server, mut sink) = auto().build().unwrap();
        let mut flood = Plain::new(&server);
        flood.remote.send(bomb);
        assert!(flood.connection.run().is_none());
        let mut honest = Plain::new(&server);
        honest.remote.send(*b"hello\n");
        honest.remote.send_eof();
        assert!(honest.connection.run().is_none());
        let (mut delivered, mut before) = (0, None);
        while delivered < len {
            assert!(flood.connection.run().is_none());
            match block_on(sink.next()).unwrap() {
                SinkEvent::Records(_, records) => {
                    assert!(records.lines().len() < 2 * MAX_TURN_OUTPUT);
                    delivered += records.lines().len();
                }
                SinkEvent::Data(_, bytes) => {
                    assert_eq!(bytes, b"hello\n");
                    before = Some(delivered);
                }
                _ => {}
            }
        }
        assert_eq!(delivered, len);
        let before = before.expect("the other stream had its turn");
        assert!(
            before < 2 * MAX_TURN_OUTPUT,
            "{before} bytes came before it"
        );
    }
}

#[test]
fn the_limit_of_decoded_bytes_holds_for_frames_that_are_compressed() {
    for (bomb, _) in bombs() {
        for most in [1000, 1 << 20] {
            let (report, lines) = receive(&bomb, auto().max_decoded(most));
            let limit = Limit::Decoded { most };
            assert_eq!(report.end, End::Limit(limit));
            // The records have more bytes than the entries that they are made of.
            assert!((lines.len() as u64) < most * 25, "{}", lines.len());
        }
    }
}

#[test]
fn compressed_frames_have_no_more_memory_than_there_is() {
    let stream = lumberjack(["{}"], true);
    let (server, sink) = auto().max_memory(1 << 20).build().unwrap();
    let mut running = Driven::new(Box::pin(sink.run(Holding::default())));
    // Each stream stays within its compressed frame.
    let mut senders = Vec::new();
    let report = loop {
        let mut sender = Plain::new(&server);
        sender.remote.send(&stream[..stream.len() - 1]);
        let mut ended = None;
        for _ in 0..3 {
            ended = ended.or_else(|| sender.connection.run());
            assert!(running.run().is_none());
        }
        if let Some(report) = ended {
            break report;
        }
        senders.push(sender);
    };
    assert!(
        matches!(&report.end, End::Limit(Limit::Memory { .. })),
        "{}",
        report.end
    );
    assert!((1..20).contains(&senders.len()), "{}", senders.len());
    // A frame that is complete gives its memory back.
    senders[0].remote.send(&stream[stream.len() - 1..]);
    assert!(senders[0].connection.run().is_none() && running.run().is_none());
    senders[0].remote.send(&stream[..stream.len() - 1]);
    assert!(senders[0].connection.run().is_none() && running.run().is_none());
    assert!(senders[0].connection.run().is_none());
}

/// Takes a hold of each event, and leaves it to the test.
#[derive(Clone, Default)]
struct Holding {
    holds: Rc<RefCell<Vec<Hold>>>,
    delivered: Rc<RefCell<usize>>,
}

impl Output for Holding {
    fn data(&mut self, conn: &Conn, bytes: &[u8]) -> io::Result<()> {
        self.holds.borrow_mut().push(conn.hold());
        *self.delivered.borrow_mut() += bytes.len();
        Ok(())
    }
}

#[test]
fn a_stream_waits_for_held_events_though_all_of_them_are_in_one_frame() {
    for (bomb, len) in bombs() {
        let (server, sink) = auto().build().unwrap();
        let holding = Holding::default();
        let mut running = Driven::new(Box::pin(sink.run(holding.clone())));
        let mut flood = Plain::new(&server);
        flood.remote.send(bomb);
        let mut delivered = 0;
        while delivered < len {
            assert!(flood.connection.run().is_none());
            assert!(running.run().is_none());
            let before = std::mem::replace(&mut delivered, *holding.delivered.borrow());
            let held = delivered - before;
            assert!(held > 0 && held < MAX_HELD + 2 * MAX_TURN_OUTPUT, "{held}");
            let holds = std::mem::take(&mut *holding.holds.borrow_mut());
            holds.into_iter().for_each(Hold::done);
        }
        assert_eq!(delivered, len);
    }
}

#[test]
fn events_are_acknowledged_once_they_are_through() {
    let stream = |is_compressed| lumberjack(["{}", "[]"], is_compressed);
    for (stream, answer) in [
        (stream(false), acknowledged(2)),
        (stream(true), acknowledged(2)),
        (
            forward(b"\x92\x01\x80", Some("c\n")),
            b"\x81\xa3ack\xa2c\n".to_vec(),
        ),
    ] {
        let (server, sink) = auto().build().unwrap();
        let holding = Holding::default();
        let mut running = Driven::new(Box::pin(sink.run(holding.clone())));
        let mut sender = Plain::new(&server);
        sender.remote.send(stream);
        assert!(sender.connection.run().is_none() && running.run().is_none());
        assert!(sender.connection.run().is_none());
        assert_eq!(sender.remote.take(), b"");
        let holds = std::mem::take(&mut *holding.holds.borrow_mut());
        assert!(!holds.is_empty());
        holds.into_iter().for_each(Hold::done);
        assert!(running.run().is_none() && sender.connection.run().is_none());
        assert_eq!(sender.remote.take(), answer);
    }
}

/// Beats give up after half a minute without an answer.
#[test]
fn a_sender_whose_window_is_in_work_hears_so_every_two_seconds() {
    let (server, sink) = auto().build().unwrap();
    let holding = Holding::default();
    let mut running = Driven::new(Box::pin(sink.run(holding.clone())));
    let mut sender = Plain::new(&server);
    let stream = lumberjack(["{}", "[]"], false);
    let (begin, rest) = stream.split_at(20);
    let start = Instant::now();
    sender.remote.send(begin);
    for (round, more) in [(1, rest), (2, b"")] {
        let heard = loop {
            assert!(sender.connection.run().is_none() && running.run().is_none());
            let heard = sender.remote.take();
            if !heard.is_empty() {
                break heard;
            }
            assert!(start.elapsed() < Duration::from_secs(60));
            thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(heard, acknowledged(0));
        assert!(start.elapsed() >= Duration::from_secs(2 * round));
        sender.remote.send(more);
    }
    // Once the sender has its answer, nothing is due.
    let holds = std::mem::take(&mut *holding.holds.borrow_mut());
    holds.into_iter().for_each(Hold::done);
    assert!(running.run().is_none() && sender.connection.run().is_none());
    assert_eq!(sender.remote.take(), acknowledged(2));
}

#[test]
fn a_stream_that_is_acknowledged_whole_needs_no_close_notify() {
    let entry = b"\x92\x01\x80";
    let whole = lumberjack(["{}"], false);
    let window = &whole[..6];
    let message = b"\x93\xa1t\xce\0\0\0\x01\x80";
    for (stream, is_acknowledged) in [
        (whole.clone(), true),
        ([&whole[..], &whole].concat(), true),
        ([&whole[..], window].concat(), false),
        (forward(entry, Some("c")), true),
        (forward(entry, None), false),
        ([&forward(entry, Some("c")), &message[..]].concat(), false),
    ] {
        let (report, _) = receive(&stream, auto());
        assert_eq!(report.end, End::Clean);
        let (server, mut sink) = auto().tls(tls()).build().unwrap();
        let mut session = Session::open(&server, Client::new(&TLS13));
        let record = session.client.record(&stream);
        session.remote.send(record);
        session.remote.send_eof();
        let (_, report) = finish(&mut session, &mut sink);
        match is_acknowledged {
            true => assert_eq!(report.end, End::Clean),
            false => assert_eq!(report.end, End::Truncated(Truncation::NoCloseNotify)),
        }
    }
    for stream in [&whole[..whole.len() - 1], &forward(entry, None)[..20]] {
        let (report, _) = receive(stream, auto());
        assert!(matches!(report.end, End::Truncated(_)), "{}", report.end);
    }
}

#[test]
fn metrics_are_counted_in_the_report() {
    let (report, lines) = receive(&forward(b"\x81\xa1m\x01", Some("c")), auto());
    assert_eq!((report.conn.skipped(), lines.as_str()), (1, ""));
    let said = report.to_string();
    assert!(
        said.ends_with("plain, forward, clean, 1 item skipped that no log has"),
        "{said}"
    );
}
