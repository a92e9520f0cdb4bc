//! `tlsink send --follow` and `tlsink --state` together: each line arrives once, whatever dies in
//! between.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::program::{FREE, LIMIT, Program, Stderr, Stdout};

#[test]
fn each_line_arrives_once_whatever_is_killed_or_rotated() {
    let place = Place::new();
    let mut all = String::new();
    let mut receiver = place.receive();
    let mut sender = place.follow(&[]);
    for round in 0..10 {
        let lines = numbered(round);
        all += &lines;
        place.append(&lines);
        // Not always has the receiver everything, or the sender heard of it.
        match round % 4 {
            0 => {}
            1 => place.wait_for(all.len() / 2),
            _ => place.wait_for(all.len()),
        }
        if round % 3 == 0 {
            receiver.signal(Signal::KILL);
            assert_eq!(receiver.outcome().status, -9);
            receiver = place.receive();
        }
        let rotate = || {
            let name = format!("app.log.{round}");
            fs::rename(place.path("app.log"), place.path(&name)).unwrap();
        };
        if round % 2 == 0 {
            sender.signal(Signal::KILL);
            assert_eq!(sender.outcome().status, -9);
            if round % 5 == 4 {
                rotate();
            }
            sender = place.follow(&[]);
        } else if round % 5 == 4 {
            rotate();
        }
    }
    let last = "the last line, without its end";
    place.append(last);
    fs::rename(place.path("app.log"), place.path("app.log.99")).unwrap();
    place.append("new\n");
    all += &format!("{last}\nnew\n");
    place.wait_for(all.len());
    sender.signal(Signal::TERM);
    assert_eq!(sender.outcome().status, 0);
    assert_eq!(receiver.stop().status, 0);
    assert!(place.received() == all);
}

#[test]
fn a_second_sender_takes_the_stream_over_and_the_first_says_so() {
    let place = Place::new();
    let receiver = place.receive();
    place.append("one\n");
    let first = place.follow(&["--stream", "s"]);
    place.wait_for(4);
    let state = place.path("second");
    let second = place.follow(&["--stream", "s", "--follow-state", &state]);
    first.wait_for_line(|line| line.contains("another connection took the stream over; going on"));
    place.append("two\n");
    place.wait_for(8);
    // The second one has everything acknowledged; the first one has not heard of it.
    second.signal(Signal::TERM);
    assert_eq!(second.outcome().status, 0);
    drop(first);
    assert_eq!(receiver.stop().status, 0);
    assert_eq!(place.received(), "one\ntwo\n");
}

#[test]
fn a_receiver_without_state_is_an_error() {
    for (decode, said) in [
        ("auto", "the server does not take the stream: "),
        (
            "none",
            "the server did not say within 10 s how much of the stream ",
        ),
        ("zstd", " (it needs --state); trying again"),
    ] {
        let place = Place::new();
        let receiver = Program::start(&["-d", decode]);
        place.append("one\n");
        let sender = place.follow_to(receiver.address(), &[]);
        sender.wait_for_line(|line| line.contains(said));
        // A server that stops looks like the last one.
        if decode != "zstd" {
            assert_eq!(sender.outcome().status, 1);
        }
    }
}

#[test]
fn standard_input_arrives_once_though_the_receiver_is_killed() {
    let place = Place::new();
    let mut receiver = place.receive();
    let to = place.address.to_string();
    let args = ["send", "--insecure", "--resume", "--stream", "s", &to];
    let mut sender = Program::start_command(&args, Stdio::piped(), Stderr::Pipe);
    let mut stdin = sender.stdin();
    let mut all = String::new();
    for round in 0..5 {
        let lines = numbered(round);
        all += &lines;
        stdin.write_all(lines.as_bytes()).unwrap();
        place.wait_for(all.len() / 2);
        receiver.signal(Signal::KILL);
        assert_eq!(receiver.outcome().status, -9);
        receiver = place.receive();
    }
    stdin.write_all(b"the end").unwrap();
    drop(stdin);
    assert_eq!(sender.outcome().status, 0);

    // A later one goes behind it.
    let mut sender = Program::start_command(&args, Stdio::piped(), Stderr::Pipe);
    sender.stdin().write_all(b"more\n").unwrap();
    assert_eq!(sender.outcome().status, 0);
    assert_eq!(receiver.stop().status, 0);
    assert!(place.received() == all + "the end\nmore\n");
}

/// A log, and a receiver with state.
struct Place {
    folder: TempDir,
    address: SocketAddr,
}

impl Place {
    fn new() -> Self {
        let free = TcpListener::bind(FREE).unwrap();
        let place = Place {
            folder: tempfile::tempdir().unwrap(),
            address: free.local_addr().unwrap(),
        };
        for folder in ["state", "received"] {
            fs::create_dir(place.folder.path().join(folder)).unwrap();
        }
        place.append("");
        place
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Starts the receiver, always on the same port.
    fn receive(&self) -> Program {
        let (state, received) = (self.path("state"), self.path("received"));
        let args = [
            "--state",
            &state,
            "--output-dir",
            &received,
            "--append",
            "--name",
            "log",
        ];
        Program::start_on(&[&self.address.to_string()], &args, Stdout::Collected)
    }

    fn follow(&self, args: &[&str]) -> Program {
        self.follow_to(self.address, args)
    }

    fn follow_to(&self, to: SocketAddr, args: &[&str]) -> Program {
        let (path, to) = (self.path("app.log"), to.to_string());
        let all = ["send", "--insecure", "--follow", &path, &to];
        Program::start_command(&[&all[..], args].concat(), Stdio::null(), Stderr::Pipe)
    }

    fn append(&self, text: &str) {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(self.path("app.log"));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn received(&self) -> String {
        fs::read_to_string(self.path("received/log")).unwrap_or_default()
    }

    /// Waits until the receiver has written this many bytes.
    fn wait_for(&self, len: usize) {
        let deadline = Instant::now() + LIMIT;
        while self.received().len() < len {
            assert!(
                Instant::now() < deadline,
                "there are {} bytes",
                self.received().len()
            );
            thread::yield_now();
        }
    }
}

/// Lines that tell their number.
fn numbered(round: usize) -> String {
    let mut lines = String::new();
    for number in 0..2000 {
        writeln!(lines, "line {round}-{number}").unwrap();
    }
    lines
}
