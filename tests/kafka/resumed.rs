//! Resumed streams in a topic: nothing is missing, whatever dies, and a consumer can drop what comes twice.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::brokers::Brokers;
use crate::common::program::{FREE, LIMIT, Program, Stderr};

/// A log that is followed.
struct Log {
    folder: TempDir,
    all: String,
}

impl Log {
    fn new() -> Self {
        Log {
            folder: TempDir::new().unwrap(),
            all: String::new(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("app.log")
    }

    fn append(&mut self, text: &str) {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(self.path());
        file.unwrap().write_all(text.as_bytes()).unwrap();
        self.all += text;
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join(".app.log.tlsink")
    }

    /// Ends a sender once its stream is acknowledged up to this offset.
    fn finish(&self, sender: Program, offset: usize) {
        let acknowledged = format!(",\"acknowledged\":{offset},");
        let deadline = Instant::now() + LIMIT;
        loop {
            let state = fs::read_to_string(self.state()).unwrap();
            if state.contains(&acknowledged) {
                break;
            }
            assert!(Instant::now() < deadline, "{state}");
            thread::sleep(Duration::from_millis(20));
        }
        sender.signal(Signal::TERM);
        let outcome = sender.outcome();
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    }

    fn follow(&self, args: &[&str]) -> Program {
        let path = self.path();
        let follow = ["send", "--insecure", "--follow", path.to_str().unwrap()];
        let args = [&follow, args].concat();
        let sender = Program::start_command(&args, Stdio::null(), Stderr::Pipe);
        // From then on, a signal is not its end.
        sender.wait_for_line(|line| line.contains("following "));
        sender
    }
}

fn numbered(round: usize) -> String {
    let mut lines = String::new();
    for number in 0..2_000 {
        writeln!(lines, "line {number} of round {round}").unwrap();
    }
    lines
}

#[test]
fn each_line_of_a_followed_file_is_in_the_topic_whatever_is_killed() {
    let Some(brokers) = Brokers::shared() else {
        return;
    };
    brokers.topic("followed", 3, &[]);
    let mut log = Log::new();
    log.append("the first line\n");
    let receive = |address: &str| brokers.start_program_on(address, "followed", &[]);
    let mut receivers = [FREE; 2].map(|address| Some(receive(address)));
    let addresses = receivers
        .each_ref()
        .map(|receiver| receiver.as_ref().unwrap().address().to_string());
    let follow = |log: &Log| log.follow(&addresses.each_ref().map(String::as_str));
    let mut sender = follow(&log);
    for round in 0..8 {
        log.append(&numbered(round));
        // The stream may be on its way to this one, or go on there next.
        let receiver = receivers[round % 2].take().unwrap();
        receiver.signal(Signal::KILL);
        receiver.outcome();
        receivers[round % 2] = Some(receive(&addresses[round % 2]));
        match round % 4 {
            1 => {
                sender.signal(Signal::KILL);
                sender.outcome();
                sender = follow(&log);
            }
            3 => {
                log.finish(sender, log.all.len());
                sender = follow(&log);
            }
            _ => {}
        }
    }
    log.finish(sender, log.all.len());
    assert!(brokers.lines("followed").iter().eq(log.all.lines()));
}

#[test]
fn a_stream_that_begins_anew_under_its_name_is_not_taken_for_one_that_comes_twice() {
    let Some(brokers) = Brokers::shared() else {
        return;
    };
    brokers.topic("anew", 1, &[]);
    let receiver = brokers.start_program("anew", &[]);
    let address = receiver.address().to_string();

    // Standard input, twice.
    for job in ["one\n", "two\nthree\n"] {
        let args = [
            "send",
            "--insecure",
            "--resume",
            "--stream",
            "jobs",
            &address,
        ];
        let mut sender = Program::start_command(&args, Stdio::piped(), Stderr::Pipe);
        sender.stdin().write_all(job.as_bytes()).unwrap();
        let outcome = sender.outcome();
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    }

    // A file that was overwritten while nobody followed it. The state does not know of the last part that was sent,
    // as if the sender had been killed.
    let mut log = Log::new();
    log.append("four\n");
    log.finish(log.follow(&["--stream", "log", &address]), 5);
    let before = fs::read(log.state()).unwrap();
    log.append("five\n");
    log.finish(log.follow(&[&address]), 10);
    fs::write(log.state(), before).unwrap();
    fs::write(log.path(), "").unwrap();
    log.append("six!\n");
    log.finish(log.follow(&[&address]), 10);

    let expected = ["one", "two", "three", "four", "five", "six!"];
    assert_eq!(brokers.lines("anew"), expected);
}
