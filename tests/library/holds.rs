//! Holds: the bytes that an output has taken, and that are not through yet.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

use futures_lite::StreamExt;
use futures_lite::future::{block_on, poll_once};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tlsink::decode::Format;
use tlsink::frame::Framing;
use tlsink::limits::{CHUNK, CREDITS, MAX_HELD, MAX_TURN_OUTPUT, MAX_UNREAD_ANSWERS};
use tlsink::output::{Output, OutputError, StreamError};
use tlsink::{
    Conn, Cut, Delivery, End, Hold, Peer, Report, Server, ServerBuilder, Sink, SinkEvent, Totals,
};

#[cfg(feature = "zstd")]
use crate::common::pack::zstd;
#[cfg(feature = "zstd")]
use crate::common::zstd::with_window;
use crate::memory::{Driven, Seen, pipe, pull_one};
use crate::press::Plain;

type Running = Driven<Pin<Box<dyn Future<Output = Result<Totals, OutputError>>>>>;

/// Takes a hold at each event that carries data, and leaves it to the test.
#[derive(Clone, Default)]
pub struct Shelf(Rc<RefCell<Kept>>);

#[derive(Default)]
pub struct Kept {
    /// Each hold with its connection's number.
    holds: Vec<(u64, Hold)>,
    delivered: HashMap<u64, usize>,
    ends: HashMap<u64, End>,
}

impl Output for Shelf {
    fn data(&mut self, conn: &Conn, bytes: &[u8]) -> io::Result<()> {
        let mut kept = self.0.borrow_mut();
        kept.holds.push((conn.id().into(), conn.hold()));
        *kept.delivered.entry(conn.id().into()).or_default() += bytes.len();
        Ok(())
    }

    fn close(&mut self, conn: &Conn, end: &End) -> io::Result<()> {
        let mut kept = self.0.borrow_mut();
        kept.ends.insert(conn.id().into(), end.clone());
        Ok(())
    }
}

impl Shelf {
    /// Takes the holds of a stream.
    pub fn take(&self, stream: u64) -> Vec<Hold> {
        let mut kept = self.0.borrow_mut();
        let (own, others) = kept.holds.drain(..).partition(|(id, _)| *id == stream);
        kept.holds = others;
        let own: Vec<(u64, Hold)> = own;
        own.into_iter().map(|(_, hold)| hold).collect()
    }

    pub fn delivered(&self, stream: u64) -> usize {
        let delivered = self.0.borrow().delivered.get(&stream).copied();
        delivered.unwrap_or_default()
    }

    pub fn end(&self, stream: u64) -> Option<End> {
        self.0.borrow().ends.get(&stream).cloned()
    }
}

/// Streams that a sink delivers to a [`Shelf`]. The first one has the number 1.
pub struct Receiver {
    pub server: Option<Server>,
    pub senders: Vec<Plain>,
    running: Running,
    pub shelf: Shelf,
}

impl Receiver {
    fn new(streams: usize) -> Self {
        Receiver::build(streams, false)
    }

    fn build(streams: usize, receipts: bool) -> Self {
        Receiver::of(streams, Server::builder().receipts(receipts))
    }

    pub fn of(streams: usize, builder: ServerBuilder) -> Self {
        let (server, sink) = builder.decode(Format::Plain).build().unwrap();
        Receiver::with(streams, server, sink)
    }

    pub fn with(streams: usize, server: Server, sink: Sink) -> Self {
        let shelf = Shelf::default();
        Receiver {
            senders: (0..streams).map(|_| Plain::new(&server)).collect(),
            server: Some(server),
            running: Driven::new(Box::pin(sink.run(shelf.clone()))),
            shelf,
        }
    }

    pub fn send(&mut self, stream: usize, bytes: impl Into<Vec<u8>>) {
        self.senders[stream - 1].remote.send(bytes);
        assert!(self.drive(stream).is_none());
    }

    /// Ends a stream as its sender does.
    pub fn end(&mut self, stream: usize) -> Option<Report> {
        self.senders[stream - 1].remote.send_eof();
        self.drive(stream)
    }

    /// Lets a stream and the sink do all that they can.
    pub fn drive(&mut self, stream: usize) -> Option<Report> {
        let connection = &mut self.senders[stream - 1].connection;
        loop {
            let polls = connection.polls + self.running.polls;
            if let Some(report) = connection.run() {
                return Some(report);
            }
            assert!(self.running.run().is_none());
            if connection.polls + self.running.polls == polls {
                return None;
            }
        }
    }
}

#[track_caller]
fn assert_failed(end: &End, expected: &str) {
    match end {
        End::Cut(Cut::Output { reason, .. }) => assert_eq!(reason, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_outcome_waits_for_all_holds_of_its_own_stream() {
    let mut receiver = Receiver::build(2, true);
    receiver.send(1, *b"one\n");
    receiver.send(1, *b"two\n");
    receiver.send(2, *b"other\n");
    assert!(receiver.end(1).is_none());
    // The output has heard of the end, and the sender has not.
    assert_eq!(receiver.shelf.end(1), Some(End::Clean));
    assert_eq!(receiver.senders[0].remote.take(), b"");

    for hold in receiver.shelf.take(2) {
        hold.done();
    }
    assert!(receiver.end(2).unwrap().end.is_clean());
    assert!(receiver.drive(1).is_none());

    let [first, second] = receiver.shelf.take(1).try_into().unwrap();
    second.done();
    assert!(receiver.drive(1).is_none());
    assert_eq!(receiver.senders[0].remote.take(), b"");
    first.done();
    let report = receiver.drive(1).unwrap();
    assert!(report.end.is_clean());
    assert_eq!(report.conn.delivered(), 8);
    let receipt = String::from_utf8(receiver.senders[0].remote.take()).unwrap();
    assert!(receipt.starts_with("{\"ok\":true"), "{receipt}");
}

#[test]
fn a_hold_that_fails_ends_its_own_open_stream_and_no_other() {
    type Fail = fn(Hold);
    let fails: [(Fail, &str); 4] = [
        (drop, "a hold was dropped before it was done"),
        (
            |hold| hold.fail(io::Error::other("the disk broke")),
            "the disk broke",
        ),
        (
            |hold| hold.fail(StreamError::new(io::Error::other("it broke"))),
            "it broke",
        ),
        (
            |hold| drop(thread::spawn(move || panic!("{hold:?}")).join()),
            "a hold was dropped before it was done",
        ),
    ];
    for (fail, reason) in fails {
        let mut receiver = Receiver::new(2);
        receiver.send(1, *b"one\n");
        receiver.send(1, *b"two\n");
        receiver.send(2, *b"other\n");
        let [first, second] = receiver.shelf.take(1).try_into().unwrap();
        fail(first);
        // It waits for no other hold of this stream, and not for the sender.
        let report = receiver.drive(1).unwrap();
        assert_failed(&report.end, reason);
        assert_eq!(receiver.shelf.end(1), Some(report.end));
        drop(second);

        receiver.send(2, *b"more\n");
        for hold in receiver.shelf.take(2) {
            hold.done();
        }
        assert!(receiver.end(2).unwrap().end.is_clean());
    }
}

#[test]
fn a_hold_that_fails_after_a_clean_end_makes_it_no_clean_one() {
    let mut receiver = Receiver::build(1, true);
    receiver.send(1, *b"line\n");
    assert!(receiver.end(1).is_none());
    assert_eq!(receiver.shelf.end(1), Some(End::Clean));
    drop(receiver.shelf.take(1));
    let report = receiver.drive(1).unwrap();
    let receipt = String::from_utf8(receiver.senders[0].remote.take()).unwrap();
    assert!(receipt.starts_with("{\"ok\":false"), "{receipt}");
    assert_failed(&report.end, "a hold was dropped before it was done");
    drop((receiver.server, receiver.senders));
    let totals = receiver.running.run().unwrap().unwrap();
    assert_eq!((totals.connections, totals.ends.clean), (1, 0));
}

/// A session of RELP; its messages are numbered from 2 on.
#[cfg(feature = "relp")]
fn relp(first: usize, messages: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    if first == 2 {
        stream.extend(b"1 open 14 relp_version=1\n");
    }
    for number in first..first + messages {
        stream.extend(format!("{number} syslog 1 x\n").bytes());
    }
    stream
}

/// The acknowledgements of the messages that the sender has got since the last call.
#[cfg(feature = "relp")]
fn acknowledged(receiver: &Receiver) -> Vec<usize> {
    let answers = String::from_utf8(receiver.senders[0].remote.take()).unwrap();
    let lines = answers.lines().filter_map(|line| {
        let number = line.strip_suffix(" rsp 6 200 OK")?;
        number.parse().ok()
    });
    lines.collect()
}

#[test]
#[cfg(feature = "relp")]
fn a_frame_is_acknowledged_when_it_and_all_before_it_are_through() {
    let mut receiver = Receiver::of(1, Server::builder().framing(Framing::Relp));
    for message in 2..=5 {
        receiver.send(1, relp(message, 1));
    }
    let [two, three, four, five] = receiver.shelf.take(1).try_into().unwrap();
    assert_eq!(acknowledged(&receiver), [0; 0]);
    three.done();
    assert!(receiver.drive(1).is_none());
    assert_eq!(acknowledged(&receiver), [0; 0]);
    two.done();
    assert!(receiver.drive(1).is_none());
    assert_eq!(acknowledged(&receiver), [2, 3]);
    // After a failure nothing is acknowledged, not even by another hold.
    drop(five);
    four.done();
    let report = receiver.drive(1).unwrap();
    assert_failed(&report.end, "a hold was dropped before it was done");
    assert_eq!(receiver.senders[0].remote.take(), b"");
}

#[test]
#[cfg(feature = "relp")]
fn held_frames_of_a_stream_that_has_ended_are_acknowledged_before_its_close() {
    let mut receiver = Receiver::of(1, Server::builder().framing(Framing::Relp));
    receiver.send(1, relp(2, 3));
    assert!(receiver.end(1).is_none());
    assert_eq!(acknowledged(&receiver), [0; 0]);
    receiver.shelf.take(1).into_iter().for_each(Hold::done);
    assert!(receiver.drive(1).unwrap().end.is_clean());
    assert_eq!(acknowledged(&receiver), [2, 3, 4]);
}

#[test]
#[cfg(feature = "relp")]
fn a_stream_with_many_held_acknowledgements_waits_for_its_holds() {
    const MESSAGES: usize = 100_000;
    let mut receiver = Receiver::of(1, Server::builder().framing(Framing::Relp));
    receiver.send(1, relp(2, MESSAGES));
    let at_first = receiver.shelf.delivered(1);
    // All of them would take less than may be held; each is two bytes. The output is flushed before
    // the acknowledgements are many.
    const { assert!(2 * MESSAGES < MAX_HELD && 10 * MESSAGES > MAX_UNREAD_ANSWERS) };
    assert!(at_first > 0 && at_first < MESSAGES);
    let mut all = Vec::new();
    while receiver.shelf.delivered(1) < 2 * MESSAGES {
        let holds = receiver.shelf.take(1);
        assert!(!holds.is_empty(), "it goes on");
        holds.into_iter().for_each(Hold::done);
        assert!(receiver.drive(1).is_none());
        all.extend(acknowledged(&receiver));
    }
    receiver.shelf.take(1).into_iter().for_each(Hold::done);
    assert!(receiver.drive(1).is_none());
    all.extend(acknowledged(&receiver));
    assert!(all.into_iter().eq(2..MESSAGES + 2));
}

#[test]
fn credits_return_while_bytes_are_held() {
    let mut receiver = Receiver::new(1);
    let len = MAX_HELD - CHUNK;
    assert!(len > CREDITS * CHUNK);
    receiver.send(1, vec![b'x'; len]);
    assert_eq!(receiver.senders[0].remote.read(), len);
    assert_eq!(receiver.shelf.delivered(1), len);
}

#[test]
fn a_stream_of_which_a_mebibyte_is_held_waits_for_it_and_no_other_does() {
    let mut receiver = Receiver::new(2);
    let len = 4 * MAX_HELD;
    receiver.send(1, vec![b'x'; len]);
    let at_first = receiver.shelf.delivered(1);
    assert!((MAX_HELD..MAX_HELD + MAX_TURN_OUTPUT).contains(&at_first));
    // Its credits are in the queue, and its sender is not read.
    let read = receiver.senders[0].remote.read();
    assert_eq!(read, at_first + CREDITS * CHUNK);

    receiver.send(2, *b"other\n");
    assert_eq!(receiver.shelf.delivered(2), 6);

    // It goes on as soon as less is held, though it was through in another order.
    let mut holds = receiver.shelf.take(1);
    holds.pop().unwrap().done();
    assert!(receiver.drive(1).is_none());
    let later = receiver.shelf.delivered(1);
    assert!(later > at_first && later < at_first + MAX_TURN_OUTPUT);
    while receiver.shelf.delivered(1) < len {
        holds.extend(receiver.shelf.take(1));
        assert!(!holds.is_empty(), "it goes on");
        for hold in holds.drain(..) {
            hold.done();
        }
        assert!(receiver.drive(1).is_none());
    }
    assert_eq!(receiver.senders[0].remote.read(), len);
}

#[test]
fn held_bytes_count_in_the_memory_and_a_stream_without_memory_waits_for_its_own_holds() {
    const MEMORY: usize = 2 << 20;
    const LEN: usize = 2 * MAX_HELD;
    let (server, sink) = Server::builder()
        .decode(Format::Plain)
        .max_memory(MEMORY)
        .build()
        .unwrap();
    let shelf = Shelf::default();
    let mut senders = ["a", "b"].map(|name| {
        let sender = Plain::of(&server, Peer::label(name));
        sender.remote.send(vec![b'x'; LEN]);
        sender.remote.send_eof();
        sender
    });
    let mut running = Driven::new(Box::pin(sink.run(shelf.clone())));
    let mut drive = |senders: &mut [Plain; 2]| {
        for _ in 0..100 {
            for sender in &mut *senders {
                if !sender.done
                    && let Some(report) = sender.connection.run()
                {
                    assert!(report.end.is_clean());
                    sender.done = true;
                }
            }
            assert!(running.run().is_none());
        }
    };
    drive(&mut senders);
    // Less is held than without the limit: a quarter of the memory is for chunks, and a sender may
    // have half of the rest.
    let delivered = [1, 2].map(|stream| shelf.delivered(stream));
    assert!(delivered.iter().all(|len| (1..MAX_HELD).contains(len)));
    assert!(delivered.iter().sum::<usize>() < MEMORY / 4 * 3);
    for stream in [2, 1] {
        while !senders[stream as usize - 1].done {
            let holds = shelf.take(stream);
            assert!(!holds.is_empty(), "its own holds suffice");
            holds.into_iter().for_each(Hold::done);
            drive(&mut senders);
        }
        assert_eq!(shelf.delivered(stream), LEN);
    }
}

/// There is memory for the windows of two open streams.
#[test]
#[cfg(feature = "zstd")]
fn a_stream_that_waits_for_its_outcome_keeps_no_window() {
    /// Syncs each stream once, at its end.
    #[derive(Clone, Default)]
    struct AtClose(Rc<RefCell<Vec<Hold>>>);
    impl Output for AtClose {
        fn data(&mut self, _: &Conn, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn close(&mut self, conn: &Conn, end: &End) -> io::Result<()> {
            assert_eq!(*end, End::Clean);
            self.0.borrow_mut().push(conn.hold());
            Ok(())
        }
    }
    let (server, sink) = Server::builder().max_memory(10 << 20).build().unwrap();
    let output = AtClose::default();
    let mut running = Driven::new(Box::pin(sink.run(output.clone())));
    let mut senders: Vec<Plain> = (0..6).map(|_| Plain::new(&server)).collect();
    let packed = with_window(&vec![b'x'; 2 << 20], 20);
    for (sender, ended) in senders.iter_mut().zip(1..) {
        sender.remote.send(&*packed);
        sender.remote.send_eof();
        assert!(sender.connection.run().is_none());
        assert!(running.run().is_none());
        assert_eq!(output.0.borrow().len(), ended);
        assert!(sender.connection.run().is_none(), "it waits for its hold");
    }
    output.0.take().into_iter().for_each(Hold::done);
    assert!(running.run().is_none());
    for sender in &mut senders {
        assert!(sender.connection.run().unwrap().end.is_clean());
    }
}

/// An output may pass bytes on when it is flushed, while other streams always have something to do.
#[test]
#[cfg(feature = "zstd")]
fn a_stream_that_waits_for_its_holds_is_flushed_for_within_eight_turns() {
    #[derive(Default)]
    struct AtFlush {
        holds: Vec<Hold>,
        held: usize,
        delivered: Rc<RefCell<usize>>,
        turns: usize,
    }
    impl Output for AtFlush {
        fn data(&mut self, conn: &Conn, bytes: &[u8]) -> io::Result<()> {
            if self.held >= MAX_HELD {
                self.turns += 1;
                assert!(self.turns <= 8);
            }
            if u64::from(conn.id()) == 1 {
                self.holds.push(conn.hold());
                self.held += bytes.len();
                *self.delivered.borrow_mut() += bytes.len();
            }
            Ok(())
        }
        fn flush(&mut self) -> io::Result<()> {
            self.holds.drain(..).for_each(Hold::done);
            (self.held, self.turns) = (0, 0);
            Ok(())
        }
    }
    let (server, sink) = Server::builder().build().unwrap();
    let mut holding = Plain::new(&server);
    holding.remote.send(zstd(&vec![b'x'; 2 * MAX_HELD]));
    assert!(holding.connection.run().is_none());
    // Their turns are so short that they are no reason for a flush.
    let mut others: Vec<Plain> = (0..150).map(|_| Plain::new(&server)).collect();
    for sender in &mut others {
        for _ in 0..CREDITS {
            sender.remote.send(*b"x");
        }
        assert!(sender.connection.run().is_none());
    }
    let output = AtFlush::default();
    let delivered = Rc::clone(&output.delivered);
    let mut running = Driven::new(Box::pin(sink.run(output)));
    assert!(running.run().is_none());
    assert_eq!(*delivered.borrow(), 2 * MAX_HELD);
}

#[test]
#[cfg(feature = "zstd")]
fn an_outcome_that_is_due_waits_for_no_more_than_eight_turns_of_others() {
    let (server, mut sink) = Server::builder().build().unwrap();
    let mut ended = Plain::new(&server);
    let mut endless = Plain::new(&server);
    ended.remote.send(*b"line\n");
    ended.remote.send_eof();
    endless
        .remote
        .send(zstd(&vec![b'x'; 100 * MAX_TURN_OUTPUT]));
    assert!(ended.connection.run().is_none());
    assert!(endless.connection.run().is_none());
    let mut hold = None;
    for _ in 0..20 {
        if let Some(Some(SinkEvent::Close(conn, _))) = block_on(poll_once(sink.next())) {
            hold = Some(conn.hold());
        }
    }
    assert!(ended.connection.run().is_none());
    hold.expect("it has ended").done();
    for _ in 0..8 {
        assert!(matches!(pull_one(&mut sink), Some(Seen::Data(_))));
    }
    assert!(ended.connection.run().unwrap().end.is_clean());
}

#[test]
fn a_sink_ends_when_the_last_hold_is_finished() {
    let mut receiver = Receiver::new(1);
    receiver.send(1, *b"line\n");
    assert!(receiver.end(1).is_none());
    receiver.server = None;
    assert!(receiver.drive(1).is_none());
    let [hold] = receiver.shelf.take(1).try_into().unwrap();
    hold.done();
    // The sink is awake, and has nothing more to wait for once the connection has resolved.
    assert!(receiver.running.run().is_none());
    assert!(receiver.senders[0].connection.run().unwrap().end.is_clean());
    let totals = receiver.running.run().unwrap().unwrap();
    assert_eq!(totals.ends.clean, 1);
}

#[test]
fn a_sink_waits_for_the_holds_of_a_connection_that_was_dropped() {
    let mut receiver = Receiver::new(1);
    receiver.send(1, *b"line\n");
    drop((receiver.server, receiver.senders));
    assert!(receiver.running.run().is_none());
    assert_eq!(receiver.shelf.end(1), Some(End::Cut(Cut::Dropped)));
    let [hold] = receiver.shelf.take(1).try_into().unwrap();
    hold.done();
    receiver.running.run().unwrap().unwrap();
}

#[test]
fn a_cut_waits_for_no_hold() {
    let mut receiver = Receiver::new(4);
    receiver.send(1, *b"ended\n");
    assert!(receiver.end(1).is_none());
    receiver.send(2, *b"open\n");
    receiver.send(3, vec![b'x'; 4 * MAX_HELD]);
    receiver.send(4, *b"dropped\n");
    receiver.senders.pop();
    assert!(receiver.drive(3).is_none());
    let full = receiver.shelf.delivered(3);

    let server = receiver.server.take().unwrap();
    let mut shutdown = Driven::new(Box::pin(server.shutdown(None)));
    assert!(shutdown.run().is_none());
    server.cut();
    for stream in 1..=3 {
        let mut report = None;
        while report.is_none() {
            report = receiver.senders[stream - 1].connection.run();
            if report.is_none() {
                assert!(receiver.running.run().is_none());
            }
        }
        assert_eq!(report.unwrap().end, End::Cut(Cut::Server));
    }
    // The data that had arrived is delivered, as far as a cut delivers it.
    assert_eq!(receiver.shelf.delivered(3), full + CREDITS * CHUNK);
    let reports = shutdown.run().unwrap();
    assert_eq!(reports.len(), 3);
    let totals = receiver.running.run().unwrap().unwrap();
    assert_eq!((totals.connections, totals.ends.clean), (4, 0));
    // The holds are still out, and have no effect.
    for stream in 1..=4 {
        for (number, hold) in receiver.shelf.take(stream).into_iter().enumerate() {
            match number % 2 {
                0 => hold.done(),
                _ => drop(hold),
            }
        }
    }
}

#[test]
fn a_cut_concerns_no_later_connection() {
    let mut receiver = Receiver::new(1);
    let server = receiver.server.take().unwrap();
    server.cut();
    let report = receiver.drive(1).unwrap();
    assert_eq!(report.end, End::Cut(Cut::Server));
    receiver.senders.push(Plain::new(&server));
    receiver.send(2, *b"line\n");
    assert!(receiver.end(2).is_none());
    receiver.shelf.take(2).into_iter().for_each(Hold::done);
    assert!(receiver.drive(2).unwrap().end.is_clean());
}

#[test]
fn a_sink_that_is_dropped_leaves_holds_without_effect() {
    let mut receiver = Receiver::new(2);
    receiver.send(1, *b"ended\n");
    receiver.send(2, *b"open\n");
    assert!(receiver.end(1).is_none());
    drop(receiver.running);
    for sender in &mut receiver.senders {
        let report = sender.connection.run().unwrap();
        assert_eq!(report.end, End::Cut(Cut::SinkGone));
    }
    receiver.shelf.take(1).into_iter().for_each(Hold::done);
    drop(receiver.shelf.take(2));
}

#[test]
fn a_hold_after_the_outcome_has_no_effect() {
    let (server, mut sink) = Server::builder().build().unwrap();
    let mut sender = Plain::new(&server);
    sender.remote.send(*b"line\n");
    sender.remote.send_eof();
    assert!(sender.connection.run().is_none());
    let mut conns = Vec::new();
    while let Some(Some(event)) = block_on(poll_once(sink.next())) {
        conns.push(Delivery::from(event).conn().clone());
    }
    let report = sender.connection.run().unwrap();
    assert!(report.end.is_clean());
    drop((report.conn.hold(), server));
    assert_eq!(conns.len(), 3);
    for conn in conns {
        conn.hold().done();
        drop(conn.hold());
    }
    // The sink neither waits for them, nor counts them.
    assert!(block_on(poll_once(sink.next())).unwrap().is_none());
    assert_eq!(sink.totals().ends.clean, 1);
}

#[test]
fn a_caller_that_pulls_holds_bytes_as_well() {
    let (server, mut sink) = Server::builder().build().unwrap();
    let mut senders = [Plain::new(&server), Plain::new(&server)];
    senders[0].remote.send(*b"line\n");
    senders[0].remote.send_eof();
    senders[1].remote.send(vec![b'x'; 2 * MAX_HELD]);
    drop(server);
    let mut holds = Vec::new();
    let mut held = 0;
    for _ in 0..100 {
        for sender in &mut senders {
            assert!(sender.connection.run().is_none());
        }
        match block_on(poll_once(sink.next())) {
            Some(Some(SinkEvent::Close(conn, end))) => {
                assert!(end.is_clean());
                holds.push((u64::from(conn.id()), conn.hold()));
            }
            Some(Some(SinkEvent::Data(conn, bytes))) => {
                holds.push((u64::from(conn.id()), conn.hold()));
                held += bytes.len();
            }
            _ => {}
        }
    }
    assert!((MAX_HELD..MAX_HELD + MAX_TURN_OUTPUT).contains(&held));
    let (own, others): (Vec<_>, Vec<_>) = holds.into_iter().partition(|(id, _)| *id == 1);
    assert_eq!(own.len(), 2);
    for (_, hold) in own {
        assert!(senders[0].connection.run().is_none());
        hold.done();
        assert!(pull_one(&mut sink).is_none());
    }
    assert!(senders[0].connection.run().unwrap().end.is_clean());
    drop(others);
    assert!(pull_one(&mut sink).is_none());
    assert!(senders[1].connection.run().is_none());
    let Some(Seen::Close(end)) = pull_one(&mut sink) else {
        panic!("a failed hold ends its stream");
    };
    assert_failed(&end, "a hold was dropped before it was done");
    assert!(pull_one(&mut sink).is_none());
    assert_eq!(senders[1].connection.run().unwrap().end, end);
    assert!(block_on(poll_once(sink.next())).unwrap().is_none());
}

/// The writer finishes holds in groups, while the sink sleeps and while it does not.
#[test]
fn holds_are_finished_on_another_thread() {
    const STREAMS: usize = 20;
    const LEN: usize = 20 * CHUNK + 1;
    let (server, sink) = Server::builder().build().unwrap();
    let (tell, told) = mpsc::channel::<(usize, Hold)>();
    let writer = thread::spawn(move || {
        let mut written = 0;
        while let Ok(first) = told.recv() {
            let group: Vec<_> = [first].into_iter().chain(told.try_iter()).collect();
            for (len, hold) in group.into_iter().rev() {
                written += len;
                hold.done();
            }
        }
        written
    });
    let senders: Vec<_> = (0..STREAMS)
        .map(|_| {
            let (pipe, remote) = pipe();
            let connection = server.plain(pipe, Peer::label("test"));
            remote.send(vec![b'x'; LEN]);
            remote.send_eof();
            thread::spawn(move || block_on(connection).end)
        })
        .collect();
    let sinking = thread::spawn(move || {
        let mut deliveries = sink.into_stream();
        while let Some(delivery) = block_on(deliveries.next()) {
            let len = match &delivery {
                Delivery::Data(_, bytes) => bytes.len(),
                _ => 0,
            };
            tell.send((len, delivery.conn().hold())).unwrap();
        }
    });
    for sender in senders {
        assert_eq!(sender.join().unwrap(), End::Clean);
    }
    server.stop();
    sinking.join().unwrap();
    assert_eq!(writer.join().unwrap(), STREAMS * LEN);
}

/// A step of the model.
#[derive(Clone, Debug)]
enum Step {
    /// A sender sends this many bytes.
    Send(usize, usize),
    /// A sender ends its stream.
    End(usize),
    /// These holds are finished, or as many of them as there are.
    Finish(Vec<Index>, How),
    DropConnection(usize),
    Stop,
    Cut,
    DropServer,
    DropSink,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Done,
    Fail,
    Drop,
}

const STREAMS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let stream = || 1..=STREAMS;
    let len = select(vec![1, 1000, CHUNK, 5 * CHUNK, MAX_HELD + CHUNK]);
    let holds = || vec(any::<Index>(), 1..12);
    prop_oneof![
        40 => (stream(), len).prop_map(|(stream, len)| Step::Send(stream, len)),
        8 => stream().prop_map(Step::End),
        40 => holds().prop_map(|holds| Step::Finish(holds, How::Done)),
        2 => holds().prop_map(|holds| Step::Finish(holds[..1].to_vec(), How::Fail)),
        2 => holds().prop_map(|holds| Step::Finish(holds[..1].to_vec(), How::Drop)),
        1 => stream().prop_map(Step::DropConnection),
        2 => Just(Step::Stop),
        1 => Just(Step::Cut),
        1 => Just(Step::DropServer),
        1 => Just(Step::DropSink),
    ]
}

/// A decision about the end of a stream that is not its sender's.
#[derive(Clone, Debug, PartialEq)]
enum Decided {
    /// A hold has failed.
    Failed,
    Cut(Cut),
}

/// The expectations of one stream.
#[derive(Debug, Default)]
struct Expected {
    sent: usize,
    delivered: usize,
    /// The holds that are out, each with the number of its event.
    out: Vec<(usize, Hold)>,
    /// The number of bytes of each event.
    events: Vec<usize>,
    /// The sender has ended the stream.
    is_ended: bool,
    /// The output has heard of the end.
    is_closed: bool,
    /// The connection was dropped.
    is_dropped: bool,
    /// The end that was decided elsewhere than at the sender.
    decided: Option<Decided>,
    report: Option<Report>,
}

impl Expected {
    /// The bytes of events that are held.
    fn held(&self) -> usize {
        let events = self.events.iter().enumerate();
        events
            .filter(|(event, _)| self.out.iter().any(|(held, _)| held == event))
            .map(|(_, bytes)| bytes)
            .sum()
    }

    /// Whether the stream waits for its holds: for a turn, or for its outcome.
    fn waits(&self) -> bool {
        !self.out.is_empty() && self.decided.is_none()
    }

    /// Whether the sender or the output has ended the stream, and nobody holds it.
    fn is_over(&self) -> bool {
        self.decided.is_some() || self.out.is_empty() && (self.is_ended || self.is_dropped)
    }
}

/// Takes as many holds at each event as it is told to.
struct Model {
    streams: Rc<RefCell<Vec<Expected>>>,
    takes: std::iter::Cycle<std::vec::IntoIter<usize>>,
}

impl Model {
    fn event(&mut self, conn: &Conn, len: usize) {
        let stream = &mut self.streams.borrow_mut()[u64::from(conn.id()) as usize - 1];
        assert!(
            stream.held() < MAX_HELD || stream.decided.is_some(),
            "it has no turn"
        );
        assert!(!stream.is_closed);
        let event = stream.events.len();
        stream.events.push(len);
        stream.delivered += len;
        for _ in 0..self.takes.next().unwrap() {
            stream.out.push((event, conn.hold()));
        }
    }
}

impl Output for Model {
    fn open(&mut self, conn: &Conn) -> io::Result<()> {
        self.event(conn, 0);
        Ok(())
    }

    fn data(&mut self, conn: &Conn, bytes: &[u8]) -> io::Result<()> {
        self.event(conn, bytes.len());
        Ok(())
    }

    fn close(&mut self, conn: &Conn, end: &End) -> io::Result<()> {
        self.event(conn, 0);
        let stream = &mut self.streams.borrow_mut()[u64::from(conn.id()) as usize - 1];
        stream.is_closed = true;
        match &stream.decided {
            // The sender may have ended the stream before that.
            Some(decided) => assert!(is(end, decided) || stream.is_ended || stream.is_dropped),
            None if !stream.is_dropped => assert!(end.is_clean()),
            // The connection may not have read the sender's end.
            None => assert!(stream.is_ended && end.is_clean() || *end == End::Cut(Cut::Dropped)),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn turns_and_ends_are_those_of_the_model(
        takes in vec(0..3_usize, 1..8),
        steps in vec(step(), 1..60),
    ) {
        let (server, sink) = Server::builder().decode(Format::Plain).build().unwrap();
        let streams = Rc::new(RefCell::new(Vec::new()));
        streams.borrow_mut().resize_with(STREAMS, Expected::default);
        let mut senders: Vec<_> = (0..STREAMS).map(|_| Some(Plain::new(&server))).collect();
        let mut server = Some(server);
        let mut is_stopped = false;
        let model = Model {
            streams: Rc::clone(&streams),
            takes: takes.into_iter().cycle(),
        };
        let mut running: Option<Running> = Some(Driven::new(Box::pin(sink.run(model))));
        drive(&mut senders, &mut running, &streams);
        for step in steps {
            let mut finished = Vec::new();
            match step {
                Step::Send(number, len) => {
                    let stream = &mut streams.borrow_mut()[number - 1];
                    if let Some(sender) = &senders[number - 1]
                        && !stream.is_ended
                    {
                        sender.remote.send(vec![b'x'; len]);
                        stream.sent += len;
                    }
                }
                Step::End(number) => {
                    let stream = &mut streams.borrow_mut()[number - 1];
                    if let Some(sender) = &senders[number - 1] {
                        sender.remote.send_eof();
                        stream.is_ended = true;
                    }
                }
                Step::Finish(indices, how) => {
                    let mut streams = streams.borrow_mut();
                    for index in indices {
                        let number = index.index(STREAMS);
                        let stream = &mut streams[number];
                        if stream.out.is_empty() {
                            continue;
                        }
                        let (_, hold) = stream.out.swap_remove(index.index(stream.out.len()));
                        finished.push((hold, how));
                        if let How::Fail | How::Drop = how
                            && stream.report.is_none()
                            && running.is_some()
                            && stream.decided.is_none()
                        {
                            stream.decided = Some(Decided::Failed);
                        }
                    }
                }
                Step::DropConnection(number) => {
                    senders[number - 1] = None;
                    streams.borrow_mut()[number - 1].is_dropped = true;
                }
                Step::Stop => {
                    is_stopped = true;
                    if let Some(server) = &server {
                        server.stop();
                    }
                }
                Step::Cut => if let Some(server) = &server {
                    decide(&streams, &Decided::Cut(Cut::Server));
                    server.cut();
                },
                Step::DropServer => {
                    is_stopped = true;
                    server = None;
                }
                Step::DropSink => if running.take().is_some() {
                    decide(&streams, &Decided::Cut(Cut::SinkGone));
                },
            }
            for (hold, how) in finished {
                match how {
                    How::Done => hold.done(),
                    How::Fail => hold.fail(io::ErrorKind::StorageFull),
                    How::Drop => drop(hold),
                }
            }
            let ended = drive(&mut senders, &mut running, &streams);
            let streams = streams.borrow();
            for (sender, stream) in senders.iter().zip(&*streams) {
                if sender.is_some() {
                    prop_assert_eq!(stream.report.is_some(), stream.is_over(), "{:?}", stream);
                }
                if let Some(report) = &stream.report {
                    let is_right = match &stream.decided {
                        Some(decided) => is(&report.end, decided),
                        None => report.end.is_clean(),
                    };
                    prop_assert!(is_right, "{report:?} {stream:?}");
                    prop_assert_eq!(report.conn.delivered(), stream.delivered as u64);
                }
                if stream.decided.is_none() && !stream.is_dropped {
                    let is_full = stream.held() >= MAX_HELD;
                    prop_assert!(is_full || stream.delivered == stream.sent, "{:?}", stream);
                }
            }
            let all_over = streams.iter().all(|stream| {
                stream.report.is_some() || stream.is_dropped && !stream.waits()
            });
            if ended {
                prop_assert!(is_stopped && all_over);
                break;
            }
            prop_assert!(running.is_none() || !(is_stopped && all_over), "{:?}", streams);
        }
    }
}

/// Whether this is the end that was decided; any failure of the output will do.
fn is(end: &End, decided: &Decided) -> bool {
    match (end, decided) {
        (End::Cut(Cut::Output { .. }), Decided::Failed) => true,
        (End::Cut(cut), Decided::Cut(decided)) => cut == decided,
        _ => false,
    }
}

/// Decides the end of all streams whose connections do not know theirs.
fn decide(streams: &RefCell<Vec<Expected>>, decided: &Decided) {
    for stream in &mut *streams.borrow_mut() {
        if stream.report.is_none() {
            stream.decided.get_or_insert_with(|| decided.clone());
        }
    }
}

/// Lets everybody do all that they can; returns whether the sink has ended.
fn drive(
    senders: &mut [Option<Plain>],
    running: &mut Option<Running>,
    streams: &RefCell<Vec<Expected>>,
) -> bool {
    let mut polls = usize::MAX;
    loop {
        let mut now = 0;
        for (number, sender) in senders.iter_mut().enumerate() {
            let Some(sender) = sender else { continue };
            if !sender.done
                && let Some(report) = sender.connection.run()
            {
                sender.done = true;
                streams.borrow_mut()[number].report = Some(report);
            }
            now += sender.connection.polls;
        }
        if let Some(sink) = running {
            if let Some(totals) = sink.run() {
                totals.unwrap();
                return true;
            }
            now += sink.polls;
        }
        if now == polls {
            return false;
        }
        polls = now;
    }
}
