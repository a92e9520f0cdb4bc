//! Credits, turns, lanes and memory: the limits of one connection's effect on the others.

#![cfg(feature = "zstd")]

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::pin;
use std::rc::Rc;

use futures_lite::future::{block_on, poll_once};
use tlsink::limits::{CHUNK, CREDITS, MAX_TURN_OUTPUT};
use tlsink::output::{Output, OutputError, Portion, StreamError};
use tlsink::{Conn, Cut, End, Peer, Server, SinkEvent};

#[cfg(feature = "gzip")]
use crate::common::pack::gzip;
use crate::common::pack::zstd;
use crate::common::zstd::with_window;
use crate::memory::{Driven, Seen, pull, pull_one};
use crate::press::Plain;

#[test]
fn a_sender_that_never_stops_is_read_for_its_credits_and_no_more() {
    let (server, mut sink) = Server::builder().build().unwrap();
    let mut eager = Plain::new(&server);
    let sent = numbered_lines(50_000);
    for part in sent.chunks(10_000) {
        eager.remote.send(part);
    }
    assert!(eager.connection.run().is_none());
    assert_eq!(eager.remote.read(), CREDITS * CHUNK);

    // The sink goes on: each chunk handed on admits one more, and no data is lost.
    assert_eq!(pull_one(&mut sink), Some(Seen::Open));
    let mut seen = Vec::new();
    let mut handed_on = 0;
    while let Some(Seen::Data(bytes)) = pull_one(&mut sink) {
        assert!(eager.connection.run().is_none());
        let read = eager.remote.read();
        assert!(
            read <= (handed_on + CREDITS) * CHUNK,
            "its credit is not back yet"
        );
        handed_on += 1;
        seen.extend(bytes);
        if seen.len() == sent.len() {
            break;
        }
    }
    assert!(seen == sent);
}

#[test]
fn a_credit_returns_when_its_chunk_is_decoded_to_the_end() {
    let (server, mut sink) = Server::builder().build().unwrap();
    let mut sender = Plain::new(&server);
    // Each credit is used for a chunk that decodes to many turns.
    for _ in 0..CREDITS {
        sender.remote.send(bomb(CHUNK));
    }
    sender.remote.send(*b"x");
    assert!(sender.connection.run().is_none());
    let all = sender.remote.read();
    assert_eq!(pull_one(&mut sink), Some(Seen::Open));
    for _ in 0..100 {
        assert!(matches!(pull_one(&mut sink), Some(Seen::Data(_))));
        assert!(sender.connection.run().is_none());
        assert_eq!(sender.remote.read(), all);
    }
}

#[test]
fn a_stream_that_decodes_to_gigabytes_takes_turns_with_others() {
    let (server, mut sink) = Server::builder().build().unwrap();
    let mut bomber = Plain::new(&server);
    let mut honest = Plain::new(&server);
    bomber.remote.send(bomb(64 * 1024));
    assert!(bomber.connection.run().is_none());
    assert_eq!(pull_one(&mut sink), Some(Seen::Open));
    assert_turn(pull_one(&mut sink));

    honest.remote.send(*b"hello\n");
    assert!(honest.connection.run().is_none());
    // At most one turn of the other lies between any two steps of the honest sender.
    let mut expected = vec![Seen::Open, Seen::Data(b"hello\n".to_vec())];
    expected.reverse();
    let mut between = 0;
    while let Some(next) = expected.last() {
        let seen = pull_one(&mut sink).unwrap();
        if seen == *next {
            expected.pop();
            between = 0;
        } else {
            assert_turn(Some(seen));
            between += 1;
            assert!(between <= 1);
        }
    }
    // While there is no other stream, it has all turns.
    for _ in 0..100 {
        assert_turn(pull_one(&mut sink));
    }
}

/// Takes a few bytes in each turn.
struct Sip<'a> {
    most: usize,
    taken: &'a RefCell<Vec<(u64, Vec<u8>)>>,
}

impl Output for Sip<'_> {
    fn data(&mut self, _: &Conn, _: &[u8]) -> io::Result<()> {
        unreachable!("it has turns of its own")
    }

    fn turn(&mut self, conn: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        let taken = bytes.len().min(self.most);
        let bytes = bytes[..taken].to_vec();
        self.taken.borrow_mut().push((conn.id().into(), bytes));
        Ok(Portion::new(taken, taken))
    }
}

#[test]
fn an_output_gets_the_bytes_that_it_left_in_later_turns_in_order_and_once() {
    let lines = numbered_lines(20_000);
    for most in [1000, CHUNK - 1, CHUNK, CHUNK + 1, MAX_TURN_OUTPUT] {
        let taken = RefCell::default();
        let (server, sink) = Server::builder().receipts(true).build().unwrap();
        let mut senders = [lines.clone(), zstd(&lines)].map(|bytes| {
            let sender = Plain::new(&server);
            sender.remote.send(bytes);
            sender.remote.send_eof();
            sender
        });
        drop(server);
        let output = Sip {
            most,
            taken: &taken,
        };
        let mut running = Driven::new(Box::pin(sink.run(output)));
        let mut reports = Vec::new();
        let totals = loop {
            for sender in &mut senders {
                if !sender.done
                    && let Some(report) = sender.connection.run()
                {
                    sender.done = true;
                    reports.push(report);
                }
            }
            if let Some(totals) = running.run() {
                break totals.unwrap();
            }
        };
        let taken = taken.borrow();
        let of = |id: u64| {
            let own = taken.iter().filter(|(conn, _)| *conn == id);
            own.flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>()
        };
        assert!(of(1) == lines && of(2) == lines, "in turns of {most}");
        assert_eq!(totals.delivered, 2 * lines.len() as u64);
        assert_eq!(totals.flushed, totals.delivered);
        let receipt = format!(
            "\"delivered\":{},\"crc32c\":\"{:08x}\"",
            lines.len(),
            crc32c::crc32c(&lines)
        );
        for (sender, report) in senders.iter().zip(&reports) {
            assert!(report.end.is_clean());
            assert_eq!(report.conn.delivered(), lines.len() as u64);
            let said = String::from_utf8(sender.remote.take()).unwrap();
            assert!(said.contains(&receipt), "{said}");
        }
    }
}

/// Memory holds the rests of a few turns, and more streams than that have a rest.
#[test]
#[cfg(feature = "gzip")]
fn an_output_gets_each_byte_once_where_no_memory_is_left_to_keep_its_rest() {
    const MOST: usize = 50_000;
    // The compressed text fits into one turn, of which the output takes three parts.
    let text = &numbered_lines(100).repeat(200)[..10 + 3 * MOST];
    let (begin, rest) = text.split_at(10);
    let (server, sink) = Server::builder().max_memory(1 << 20).build().unwrap();
    let mut senders: Vec<Plain> = (0..6).map(|_| Plain::new(&server)).collect();
    drop(server);
    let taken = RefCell::default();
    let output = Sip {
        most: MOST,
        taken: &taken,
    };
    let mut running = Driven::new(Box::pin(sink.run(output)));
    // The first part lets each decoder take its memory.
    for part in [begin, rest] {
        for sender in &mut senders {
            sender.remote.send(gzip(part));
            if part == rest {
                sender.remote.send_eof();
            }
            assert!(sender.connection.run().is_none());
        }
        assert!(part == rest || running.run().is_none());
    }
    while running.run().is_none() {
        for sender in senders.iter_mut().filter(|sender| !sender.done) {
            let report = sender.connection.run();
            sender.done = report.is_some_and(|report| {
                assert_eq!(report.end, End::Clean);
                true
            });
        }
    }
    let taken = taken.borrow();
    for sender in 1..=6 {
        let own = taken.iter().filter(|(conn, _)| *conn == sender);
        let all: Vec<u8> = own.flat_map(|(_, bytes)| bytes.clone()).collect();
        assert!(all == text, "{} of {} bytes", all.len(), text.len());
    }
}

#[test]
fn an_output_that_takes_nothing_fails() {
    let taken = RefCell::default();
    let (server, sink) = Server::builder().build().unwrap();
    let mut sender = Plain::new(&server);
    sender.remote.send(*b"line\n");
    assert!(sender.connection.run().is_none());
    let output = Sip {
        most: 0,
        taken: &taken,
    };
    let error = block_on(sink.run(output)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
}

#[test]
fn a_sink_with_much_to_do_gives_way_to_the_other_tasks_of_its_executor() {
    struct Count<'a>(&'a Cell<usize>);
    impl Output for Count<'_> {
        fn data(&mut self, _: &Conn, bytes: &[u8]) -> io::Result<()> {
            self.0.set(self.0.get() + bytes.len());
            Ok(())
        }
    }
    let (server, sink) = Server::builder().build().unwrap();
    let mut bomber = Plain::new(&server);
    bomber.remote.send(bomb(CHUNK));
    assert!(bomber.connection.run().is_none());
    let delivered = Cell::new(0);
    let mut running = pin!(sink.run(Count(&delivered)));
    for polls in 1..10 {
        let before = delivered.get();
        assert!(block_on(poll_once(running.as_mut())).is_none());
        assert!(delivered.get() > before, "it stands still");
        // The whole input decodes to two gigabytes.
        assert!(delivered.get() <= polls * 100 * MAX_TURN_OUTPUT);
    }
}

/// Other streams may always have data to decode that produces no output.
#[test]
fn a_line_is_flushed_though_others_go_on_decoding_to_nothing() {
    // A frame of one empty block (RFC 8878, section 3.1.1).
    const EMPTY: [u8; 9] = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0];
    #[derive(Default)]
    struct Flushes {
        line: bool,
        flushed: bool,
    }
    impl Output for Flushes {
        fn data(&mut self, _: &Conn, bytes: &[u8]) -> io::Result<()> {
            assert_eq!(bytes, b"line\n");
            self.line = true;
            Ok(())
        }
        fn close(&mut self, _: &Conn, _: &End) -> io::Result<()> {
            assert!(self.flushed, "the others are through");
            Ok(())
        }
        fn flush(&mut self) -> io::Result<()> {
            self.flushed |= self.line;
            Ok(())
        }
    }
    let (server, sink) = Server::builder().build().unwrap();
    let nothing = EMPTY.repeat(CREDITS * CHUNK / EMPTY.len());
    let mut senders: Vec<Plain> = (0..20).map(|_| Plain::new(&server)).collect();
    for sender in &mut senders {
        sender.remote.send(&*nothing);
        sender.remote.send_eof();
        assert!(sender.connection.run().is_none());
    }
    let mut honest = Plain::new(&server);
    honest.remote.send(*b"line\n");
    assert!(honest.connection.run().is_none());
    drop(server);
    let mut running = Driven::new(Box::pin(sink.run(Flushes::default())));
    assert!(running.run().is_none());
}

#[test]
fn two_hundred_connections_are_served_in_turn() {
    let (server, mut sink) = Server::builder().build().unwrap();
    let mut senders: Vec<Plain> = (0..200).map(|_| Plain::new(&server)).collect();
    for sender in &mut senders {
        sender.remote.send(vec![b'x'; 3 * CHUNK]);
        sender.remote.send_eof();
        assert!(sender.connection.run().is_none());
    }
    let mut order = Vec::new();
    let (mut delivered, mut ends) = (0, 0);
    loop {
        match block_on(poll_once(sink.next())).flatten() {
            None => break,
            Some(SinkEvent::Data(conn, bytes)) => {
                order.push(u64::from(conn.id()));
                delivered += bytes.len();
            }
            Some(SinkEvent::Close(_, end)) => {
                assert_eq!(end, &End::Clean);
                ends += 1;
            }
            Some(_) => {}
        }
        for sender in &mut senders {
            if !sender.done {
                sender.done = sender.connection.run().is_some();
            }
        }
    }
    let all: Vec<u64> = (1..=200).collect();
    for round in order.chunks(200) {
        let mut round = round.to_vec();
        round.sort_unstable();
        assert_eq!(round, all);
    }
    assert_eq!((delivered, ends), (200 * 3 * CHUNK, 200));
}

#[test]
fn memory_for_chunks_is_bounded_over_all_connections_and_none_starves() {
    // Memory suffices for 16 chunks, and each of 100 connections has three.
    let (server, mut sink) = Server::builder().max_memory(1 << 20).build().unwrap();
    let mut senders: Vec<Plain> = (0..100).map(|_| Plain::new(&server)).collect();
    for sender in &mut senders {
        sender.remote.send(vec![b'x'; 3 * CHUNK]);
        sender.remote.send_eof();
    }
    let mut delivered = 0;
    let mut ends = 0;
    while ends < 100 {
        for sender in &mut senders {
            if !sender.done {
                sender.done = sender.connection.run().is_some();
            }
        }
        let read: usize = senders.iter().map(|sender| sender.remote.read()).sum();
        assert!(
            read - delivered <= 16 * CHUNK + CHUNK,
            "one chunk may be in our hands"
        );
        match pull_one(&mut sink).expect("somebody is being read") {
            Seen::Open => {}
            Seen::Data(bytes) => delivered += bytes.len(),
            Seen::Close(end) => {
                assert_eq!(end, End::Clean);
                ends += 1;
            }
        }
    }
    assert_eq!(delivered, 100 * 3 * CHUNK);
}

#[test]
fn windows_that_find_no_memory_end_their_stream_and_no_other() {
    let (server, mut sink) = Server::builder().max_memory(10 << 20).build().unwrap();
    // Each half of the stream uses all of the window.
    let zstd = with_window(&numbered_lines(400_000), 20);
    let (first, second) = zstd.split_at(zstd.len() / 2);
    let mut refused = Vec::new();
    let mut senders = Vec::new();
    for _ in 0..3 {
        let mut sender = Plain::new(&server);
        sender.remote.send(first);
        let mut seen = Vec::new();
        for _ in 0..2 {
            sender.done = sender.connection.run().is_some();
            seen.extend(pull(&mut sink));
        }
        match seen.last() {
            Some(Seen::Close(end)) => refused.push(end.clone()),
            _ => senders.push(sender),
        }
    }
    // Two windows of 1 MiB, with the blocks and tables around them, are less than half of the three
    // quarters of 10 MiB that are for windows, and one sender has no more.
    assert_eq!((senders.len(), refused.len()), (2, 1));
    assert!(matches!(refused[0], End::Limit { .. }), "{refused:?}");
    for mut sender in senders {
        sender.remote.send(second);
        sender.remote.send_eof();
        let mut rest = Vec::new();
        while sender.connection.run().is_none() {
            rest.extend(pull(&mut sink));
        }
        assert_eq!(rest.last(), Some(&Seen::Close(End::Clean)));
    }
}

#[test]
fn lanes_share_the_connections_out_and_each_stays_in_its_own() {
    let (server, sinks) = Server::builder().build_lanes(2).unwrap();
    let mut senders: Vec<Plain> = (0..10).map(|_| Plain::new(&server)).collect();
    for (i, sender) in senders.iter_mut().enumerate() {
        sender.remote.send(format!("sender {i}\n").repeat(1_000));
        sender.remote.send_eof();
        assert!(sender.connection.run().is_none());
    }
    server.stop();
    for mut sink in sinks {
        let seen = pull(&mut sink);
        let opened = seen.iter().filter(|seen| **seen == Seen::Open).count();
        assert_eq!(opened, 5);
        assert_eq!(sink.totals().ends.clean, 5);
    }
}

#[test]
fn an_output_that_fails_ends_the_sink_and_its_connections() {
    struct Full;
    impl Output for Full {
        fn data(&mut self, _: &Conn, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let (server, sink) = Server::builder().build().unwrap();
    let mut sender = Plain::new(&server);
    sender.remote.send("data");
    assert!(sender.connection.run().is_none());
    let error: OutputError = sink.run_blocking(Box::new(Full)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(error.streams(), 1);
    let report = sender.connection.run().unwrap();
    assert_eq!(report.end, End::Cut(Cut::SinkGone));
}

#[test]
fn an_output_that_fails_for_one_stream_ends_that_stream_and_no_other() {
    /// Fails in the call that the peer is named after, and notes all calls.
    #[derive(Clone, Default)]
    struct Failing(Rc<RefCell<Vec<String>>>);
    impl Failing {
        fn call(&self, name: &str, conn: &Conn, what: &str) -> io::Result<()> {
            let peer = conn.peer().to_string();
            let note = format!("{peer}: {name}{what}");
            self.0.borrow_mut().push(note);
            match peer == name {
                true => Err(StreamError::new(io::ErrorKind::StorageFull.into()).into()),
                false => Ok(()),
            }
        }
    }
    impl Output for Failing {
        fn open(&mut self, conn: &Conn) -> io::Result<()> {
            self.call("open", conn, "")
        }

        fn data(&mut self, conn: &Conn, _: &[u8]) -> io::Result<()> {
            self.call("data", conn, "")
        }

        fn close(&mut self, conn: &Conn, end: &End) -> io::Result<()> {
            self.call("close", conn, &format!(" {}", end.word()))
        }
    }

    // The bytes pass through unchanged, and through the decoder's buffer.
    for packed in [false, true] {
        let (server, sink) = Server::builder().build().unwrap();
        let output = Failing::default();
        let mut running = Driven::new(Box::pin(sink.run(output.clone())));
        let text = numbered_lines(3 * MAX_TURN_OUTPUT / 20);
        let sent = if packed {
            with_window(&text, 17)
        } else {
            text.clone()
        };
        for name in ["open", "data", "close", "none"] {
            output.0.borrow_mut().clear();
            let before = server.totals();
            let mut sender = Plain::of(&server, Peer::label(name));
            sender.remote.send(sent.as_slice());
            sender.remote.send_eof();
            let report = loop {
                if let Some(report) = sender.connection.run() {
                    break report;
                }
                assert!(running.run().is_none(), "the sink goes on");
            };
            let calls = output.0.take();
            let data = format!("{name}: data");
            let took = calls.iter().filter(|call| **call == data).count();
            let totals = server.totals();
            let delivered = totals.delivered - before.delivered;
            assert_eq!(report.conn.delivered(), delivered);
            assert_eq!(
                totals.ends.clean - before.ends.clean,
                u64::from(name == "none")
            );
            assert_eq!(totals.flushed, totals.delivered);
            let closes: Vec<_> = calls
                .iter()
                .filter(|call| call.contains(": close"))
                .collect();
            assert_eq!(closes, [calls.last().unwrap()]);
            let last = match name {
                "open" | "data" => " cut",
                _ => " clean",
            };
            assert!(closes[0].ends_with(last), "{calls:?}");
            match name {
                "open" => assert_eq!((took, delivered), (0, 0)),
                // The bytes of the failed call are not delivered.
                "data" => assert_eq!((took, delivered), (1, 0)),
                _ => assert_eq!((took > 2, delivered), (true, text.len() as u64)),
            }
            let Cut::Output { kind, reason, .. } = (match report.end {
                End::Clean if name == "none" => continue,
                End::Cut(cut) => cut,
                end => panic!("{name}: {end}"),
            }) else {
                panic!("{name} is not the output's");
            };
            assert_eq!(kind, io::ErrorKind::StorageFull);
            assert_eq!(reason, io::Error::from(kind).to_string());
        }
    }
}

#[test]
fn an_error_of_a_flush_concerns_everybody() {
    struct Unflushed;
    impl Output for Unflushed {
        fn data(&mut self, _: &Conn, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(StreamError::new(io::ErrorKind::StorageFull.into()).into())
        }
    }
    let (server, sink) = Server::builder().build().unwrap();
    let mut sender = Plain::new(&server);
    sender.remote.send("data");
    assert!(sender.connection.run().is_none());
    let error = sink.run_blocking(Unflushed).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(
        sender.connection.run().unwrap().end,
        End::Cut(Cut::SinkGone)
    );
}

#[test]
fn a_server_without_room_to_work_is_not_built() {
    assert!(Server::builder().max_memory(1000).build().is_err());
    assert!(Server::builder().max_connections(0).build().is_err());
    assert!(Server::builder().build_lanes(0).is_err());
}

fn assert_turn(seen: Option<Seen>) {
    assert!(
        matches!(&seen, Some(Seen::Data(bytes)) if bytes.len() <= MAX_TURN_OUTPUT && bytes[0] == 0),
        "not a turn of the bomb"
    );
}

fn numbered_lines(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|i| format!("line number {i}\n").into_bytes())
        .collect()
}

/// The beginning of a zstd frame of run-length blocks of zeros (RFC 8878, section 3.1.1.2.2), of
/// this many bytes: four of them decode to 128 KiB.
fn bomb(len: usize) -> Vec<u8> {
    let magic = 0xfd2f_b528_u32.to_le_bytes();
    // The frame has no content size and no checksum. Its window of 128 KiB is as large as a block.
    let descriptor = [0, 7 << 3];
    let block = (((128 * 1024) << 3) | (1_u32 << 1)).to_le_bytes();
    let block = [block[0], block[1], block[2], 0];
    let mut frame = [&magic[..], &descriptor].concat();
    while frame.len() + block.len() <= len {
        frame.extend(block);
    }
    frame
}
