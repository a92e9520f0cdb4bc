//! A function that is called with each line.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use futures_lite::future::{block_on, zip};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tlsink::output::{EachLine, Line, Memory};
use tlsink::{Conn, Cut, End, Peer, Server};

use crate::memory::pipe;
use crate::press::{Plain, Press};

/// The sender of a line, the line, and whether it goes on.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>, bool)>>>;

fn collect(seen: &Seen) -> impl FnMut(&Conn, Line<'_>) -> io::Result<()> + Clone + 'static {
    let seen = Arc::clone(seen);
    move |conn, line| {
        let entry = (conn.peer().to_string(), line.bytes.to_vec(), line.goes_on);
        seen.lock().unwrap().push(entry);
        Ok(())
    }
}

fn texts(seen: &Seen) -> Vec<String> {
    let seen = seen.lock().unwrap();
    seen.iter()
        .map(|(peer, bytes, goes_on)| {
            let more = if *goes_on { "…" } else { "" };
            format!("{peer}: {}{more}", String::from_utf8_lossy(bytes))
        })
        .collect()
}

#[test]
fn a_line_comes_when_it_is_finished_and_an_unfinished_one_when_its_connection_ends() {
    let seen = Seen::default();
    let mut press = Press::new(|_| EachLine::new(collect(&seen)));
    press.a(*b"one, ");
    press.b(*b"two\r\nthree, ");
    assert_eq!(texts(&seen), ["b: two\r"]);
    press.a(*b"four\n\nfive");
    press.end_b();
    press.end_a();
    assert_eq!(
        texts(&seen),
        ["b: two\r", "a: one, four", "a: ", "b: three, ", "a: five"]
    );
}

#[test]
fn an_ended_connection_adds_no_line_behind_a_finished_one() {
    let seen = Seen::default();
    let mut press = Press::new(|_| EachLine::new(collect(&seen)));
    press.a(*b"whole\n");
    press.end_a();
    press.end_b();
    assert_eq!(texts(&seen), ["a: whole"]);
}

#[test]
fn a_line_at_the_limit_is_whole_and_one_beyond_it_comes_in_pieces() {
    let seen = Seen::default();
    let mut press = Press::new(|_| EachLine::new(collect(&seen)).max_line(4));
    press.a(*b"123");
    press.a(*b"4\n12345\n123");
    press.a(*b"45");
    press.end_a();
    assert_eq!(
        texts(&seen),
        ["a: 1234", "a: 1234…", "a: 5", "a: 123…", "a: 45"]
    );
}

#[test]
fn a_line_that_finds_no_memory_comes_in_pieces_and_has_an_end() {
    let seen = Seen::default();
    let mut press = Press::new(|_| EachLine::new(collect(&seen)).memory(Memory::new(8)));
    press.a(*b"123456");
    press.b(*b"1");
    press.a(*b"7");
    press.b(*b"2\n");
    press.end_a();
    assert_eq!(
        texts(&seen),
        ["b: 1…", "a: 123456…", "b: 2", "a: 7"],
        "no line is lost, nor taken for whole"
    );
}

#[test]
fn lanes_have_lines_of_their_own() {
    let seen = Seen::default();
    let mut press = Press::in_lanes(|_| EachLine::new(collect(&seen)));
    press.a(*b"one, ");
    press.b(*b"two\n");
    press.a(*b"three\n");
    assert_eq!(texts(&seen), ["b: two", "a: one, three"]);
}

#[test]
fn an_error_of_the_function_ends_the_sink() {
    let (server, sink) = Server::builder().build().unwrap();
    let mut sender = Plain::of(&server, Peer::label("test"));
    sender.remote.send("line\n");
    assert!(sender.connection.run().is_none());
    let failing = EachLine::new(|_, _| Err(ErrorKind::StorageFull.into()));
    let error = sink.run_blocking(failing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    let report = sender.connection.run().unwrap();
    assert_eq!(report.end, End::Cut(Cut::SinkGone));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However the data is split, each line comes once and in order, in pieces no longer than the
    /// limit.
    #[test]
    fn the_pieces_joined_are_the_lines(
        parts in vec(vec(select(&b"ab\n"[..]), 0..12), 0..12),
        max_line in 1_usize..8,
    ) {
        let (server, sink) = Server::builder().build().unwrap();
        let (io, remote) = pipe();
        for part in &parts {
            remote.send(part.clone());
        }
        remote.send_eof();
        let connection = server.plain(io, Peer::label("test"));
        server.stop();
        let seen = Seen::default();
        let output = EachLine::new(collect(&seen)).max_line(max_line);
        block_on(zip(connection, sink.run(output))).1.unwrap();

        let mut lines = vec![Vec::<u8>::new()];
        for (_, bytes, goes_on) in seen.lock().unwrap().iter() {
            prop_assert!(bytes.len() <= max_line);
            lines.last_mut().unwrap().extend(bytes);
            if !goes_on {
                lines.push(Vec::new());
            }
        }
        prop_assert_eq!(lines.pop(), Some(Vec::new()), "the last line has an end");
        let sent = parts.concat();
        let mut expected: Vec<&[u8]> = sent.split(|byte| *byte == b'\n').collect();
        if expected.last().is_some_and(|last| last.is_empty()) {
            expected.pop();
        }
        prop_assert_eq!(lines, expected);
    }
}
