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

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::program::{BINARY, FREE, LIMIT, Program, Stderr, Stdout, after};
use crate::common::shipped::{blocks, refs};

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
fn two_receivers_that_are_killed_in_turn_have_every_line_together() {
    let places = [Place::new(), Place::new()];
    let [place, other] = &places;
    let further = other.address.to_string();
    let mut receivers = places.each_ref().map(|place| Some(place.receive()));
    let mut sender = place.follow(&[&further]);
    let mut all = String::new();
    for round in 0..8 {
        let lines = numbered(round);
        all += &lines;
        place.append(&lines);
        // Not always has the receiver everything, or the sender heard of it.
        if round % 3 != 0 {
            wait_for_all(&places, &all);
        }
        let dies = round % 2;
        let receiver = receivers[dies].take().unwrap();
        receiver.signal(Signal::KILL);
        assert_eq!(receiver.outcome().status, -9);
        if round > 4 {
            sender.signal(Signal::KILL);
            assert_eq!(sender.outcome().status, -9);
            sender = place.follow(&[&further]);
        }
        wait_for_all(&places, &all);
        receivers[dies] = Some(places[dies].receive());
    }
    sender.signal(Signal::TERM);
    assert_eq!(sender.outcome().status, 0);
    let order: HashMap<&str, usize> = all.lines().zip(0..).collect();
    for (place, receiver) in places.iter().zip(receivers) {
        assert_eq!(receiver.unwrap().stop().status, 0);
        // Each of them has its lines once, in their order.
        let received = place.received();
        let numbers: Vec<_> = received.lines().map(|line| order[line]).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next));
        assert!(
            numbers.len() < order.len(),
            "the other one was never needed"
        );
    }
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

/// The commands of the guide are run as they stand, but for the port.
#[test]
fn with_the_guides_commands_no_line_is_lost() {
    let blocks = blocks("Ship a log without losing a line", "sh");
    let [receiver, sender] = &blocks[..] else {
        panic!("the guide has other commands: {blocks:?}");
    };
    let (setup, receiver) = receiver.trim_end().rsplit_once('\n').unwrap();
    let place = Place::empty("logs/app.log");
    place.append("the first line\n");
    let folder = place.folder.path();
    let programs = Path::new(BINARY).parent().unwrap().to_str().unwrap();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-ec", setup]).env("PATH", path);
    let made = shell.current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{made:?}");

    let address = place.address.to_string();
    let port = place.address.port().to_string();
    let go = format!("cd '{}'", folder.display());
    let arguments = |command: &str| -> Vec<String> {
        let arguments = command.trim_end().strip_prefix("tlsink ").unwrap();
        let arguments = arguments.replace("4433", &port);
        arguments.split(' ').map(str::to_owned).collect()
    };
    let receive = || {
        let mut command = after(&go);
        command
            .args(["--listen", &address])
            .args(arguments(receiver));
        Program::start_by(command, 1)
    };
    let follow = || Program::start_command_after(&go, &refs(&arguments(sender)), Stdio::null());
    let kill = |program: Program| {
        program.signal(Signal::KILL);
        assert_eq!(program.outcome().status, -9);
    };

    let mut all = "the first line\n".to_owned();
    let (mut receiving, mut sending) = (receive(), follow());
    for round in 0..12 {
        let lines = numbered(round);
        all += &lines;
        let half = lines.len() / 2;
        let (half, rest) = lines.split_at(half + lines[half..].find('\n').unwrap() + 1);
        place.append(half);
        match round % 4 {
            0 => {
                kill(receiving);
                place.append(rest);
                receiving = receive();
            }
            1 => {
                place.wait_for(all.len() - rest.len());
                kill(sending);
                place.append(rest);
                sending = follow();
            }
            2 => {
                kill(sending);
                kill(receiving);
                place.append(rest);
                (receiving, sending) = (receive(), follow());
            }
            _ => {
                kill(receiving);
                kill(sending);
                sending = follow();
                place.append(rest);
                receiving = receive();
            }
        }
        if round % 3 == 0 {
            place.wait_for(all.len());
        }
    }
    place.wait_for(all.len());
    assert_eq!(sending.stop().status, 0);
    assert_eq!(receiving.stop().status, 0);
    assert!(place.received() == all);
}

#[test]
fn a_receiver_without_state_is_an_error() {
    for (decode, said) in [
        ("auto", "the server does not take the stream: "),
        (
            "none",
            "the server did not say within 10 s how much of the stream ",
        ),
        ("zstd", " (it needs --state or --kafka); trying again"),
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
    /// The receiver's file.
    received: &'static str,
}

impl Place {
    fn new() -> Self {
        let place = Place::empty("received/log");
        for folder in ["state", "received"] {
            fs::create_dir(place.folder.path().join(folder)).unwrap();
        }
        place.append("");
        place
    }

    fn empty(received: &'static str) -> Self {
        let free = TcpListener::bind(FREE).unwrap();
        Place {
            folder: tempfile::tempdir().unwrap(),
            address: free.local_addr().unwrap(),
            received,
        }
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
        fs::read_to_string(self.path(self.received)).unwrap_or_default()
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

/// Waits until each of these lines is at one of the receivers.
fn wait_for_all(places: &[Place], all: &str) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let received: String = places.iter().map(Place::received).collect();
        let received: HashSet<&str> = received.lines().collect();
        let missing = all.lines().filter(|line| !received.contains(line)).count();
        if missing == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{missing} lines are missing");
        thread::sleep(Duration::from_millis(10));
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
