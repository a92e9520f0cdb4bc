//! Connections that are old, and whose senders are told to connect again.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tlsink::resume::{Position, Preamble};

use crate::common::client::{TLS13, config};
use crate::common::program::{Client, Program, Stderr, tcp};
use crate::common::shipped::{Shipped, guide, refs, until};
use crate::common::skip::is_installed;

/// The age, and the rate that makes streams last longer.
const OLD: [&str; 4] = ["--max-age", "300ms", "--rate", "200k"];

const TOLD: &str = "cut (the sender was told to connect again)";

/// A receiver with state.
struct Receiver {
    folder: TempDir,
    program: Program,
}

impl Receiver {
    fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["state", "received"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let path = |name| folder.path().join(name).to_str().unwrap().to_owned();
        let (state, received) = (path("state"), path("received"));
        let own = ["--state", &state, "--output-dir", &received];
        let own = [&own[..], &["--append", "--name", "log"]].concat();
        let program = Program::start(&[&own, args].concat());
        Receiver { folder, program }
    }

    fn address(&self) -> String {
        self.program.address().to_string()
    }

    fn received(&self) -> String {
        fs::read_to_string(self.folder.path().join("received/log")).unwrap_or_default()
    }
}

/// Lines that don't compress well.
fn lines(count: usize) -> String {
    let mut text = String::new();
    for number in 0_u64..count as u64 {
        let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let more = noise.rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        writeln!(text, "{number} {noise:016x}{more:016x}").unwrap();
    }
    text
}

fn follow(log: &Path, servers: &[String], args: &[&str]) -> Program {
    let mut all = vec!["send", "--insecure", "--follow", log.to_str().unwrap()];
    all.extend(servers.iter().map(String::as_str));
    Program::start_command(&[&all[..], args].concat(), Stdio::null(), Stderr::Pipe)
}

fn append(log: &Path, text: &str) {
    let file = OpenOptions::new().append(true).create(true).open(log);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_followed_log_goes_from_server_to_server_and_each_line_is_at_one_of_them_once() {
    goes_from_server_to_server("none", 3);
}

/// A block of compressed data takes longer than the age.
#[test]
fn each_connection_of_a_compressed_log_makes_progress() {
    goes_from_server_to_server("zstd", 2);
}

/// The sender is told this often at least.
fn goes_from_server_to_server(encoding: &str, times: usize) {
    let receivers = [Receiver::start(&OLD), Receiver::start(&OLD)];
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    let all = lines(10_000);
    append(&log, &all);
    let servers = receivers.each_ref().map(Receiver::address);
    let sender = follow(&log, &servers, &["-v", "--encode", encoding]);
    until("all lines", Duration::from_millis(10), || {
        let len: usize = receivers.iter().map(|one| one.received().len()).sum();
        (len >= all.len()).then_some(())
    });
    sender.signal(Signal::TERM);
    let sent = sender.outcome();
    assert_eq!(sent.status, 0, "{}", sent.stderr);
    let asked = "the server asks to go on over another connection";
    assert!(
        sent.stderr.matches(asked).count() >= times,
        "{}",
        sent.stderr
    );
    for outage in ["trying again", "connected again"] {
        assert!(!sent.stderr.contains(outage), "{}", sent.stderr);
    }
    let mut received = 0;
    let mut seen = HashSet::new();
    for receiver in receivers {
        let text = receiver.received();
        received += text.lines().count();
        seen.extend(text.lines().map(str::to_owned));
        let outcome = receiver.program.stop();
        assert_eq!(outcome.status, 0);
        let ends = outcome.ends();
        let told = ends.iter().filter(|end| end.end.ends_with(TOLD)).count();
        assert!(told >= 1, "{ends:?}");
        // The last one may not have had time for more.
        let broken = ends.iter().filter(|end| end.end.contains("truncated"));
        assert!(broken.count() <= 1, "{ends:?}");
    }
    assert_eq!((received, seen.len()), (10_000, 10_000));
    assert!(all.lines().all(|line| seen.contains(line)));
}

#[test]
fn a_quiet_sender_and_a_quiet_receiver_say_nothing_of_it() {
    let receiver = Receiver::start(&["--max-age", "200ms", "--format", "json"]);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    let mut all = String::new();
    append(&log, &all);
    let sender = follow(&log, &[receiver.address()], &["--quiet"]);
    // Each line has a connection of its own.
    for line in ["one\n", "two\n", "three\n"] {
        all += line;
        append(&log, line);
        let closes = all.lines().count();
        until("a connection's end", Duration::from_millis(10), || {
            let ends = receiver
                .received()
                .matches(&format!("\"text\":\"{}\"", line.trim()))
                .count();
            (ends > 0).then_some(())
        });
        receiver
            .program
            .wait_for_lines(closes, |line| line.contains(TOLD));
    }
    sender.signal(Signal::TERM);
    let sent = sender.outcome();
    assert_eq!(
        (sent.status, sent.stderr.contains("asks")),
        (0, false),
        "{}",
        sent.stderr
    );
    let received = receiver.received();
    for line in all.lines() {
        assert_eq!(received.matches(&format!("\"text\":\"{line}\"")).count(), 1);
    }
}

/// A sender that does not know the answer takes it for an acknowledgement, and the end of the connection
/// for a break.
#[test]
fn the_answer_is_an_acknowledgement_and_no_close_notify_follows() {
    let receiver = Receiver::start(&["--max-age", "200ms"]);
    let socket = tcp(receiver.program.address()).unwrap();
    let mut client = Client::over(socket, config(&TLS13), "localhost").unwrap();
    let preamble = Preamble::new("s", Position::START).unwrap();
    client.write(&preamble.to_line()).unwrap();
    let opened = client.read_line().unwrap().unwrap();
    assert!(opened.starts_with("{\"at\":0,"), "{opened}");
    client.write(b"one\ntw").unwrap();
    let mut answers = Vec::new();
    while let Ok(Some(line)) = client.read_line() {
        answers.push(line);
    }
    assert_eq!(answers.last().unwrap(), "{\"ack\":4,\"go\":true}");
    assert!(
        answers[..answers.len() - 1]
            .iter()
            .all(|line| line == "{\"ack\":4}")
    );
    client.abandon().unwrap();
    receiver.program.wait_for_line(|line| line.ends_with(TOLD));
    assert_eq!(receiver.received(), "one\n");
}

#[test]
fn a_sender_without_a_way_to_be_told_is_left_alone() {
    let program = Program::start(&["--max-age", "50ms"]);
    let mut client = Client::connect(program.address());
    for line in ["one\n", "two\n", "three\n"] {
        client.write(line.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    client.finish().unwrap();
    assert_eq!(program.wait_for_end().end, "clean");
    assert_eq!(program.stop().stdout, b"one\ntwo\nthree\n");
}

/// librelp connects again, and sends what was not acknowledged.
#[test]
fn rsyslog_is_told_over_relp_and_no_message_is_lost_or_doubled() {
    if !is_installed("rsyslogd") {
        return;
    }
    let input = r#"
        global(workDirectory="DIR/state")
        module(load="imfile")
        input(type="imfile" file="DIR/messages" tag="test:")
    "#;
    let resume = "action(action.resumeInterval=\"1\" ";
    let config = input.to_owned() + &guide("RELP", "text").replacen("action(", resume, 1);
    const MESSAGES: usize = 2000;
    let shipped = Shipped::with(MESSAGES);
    let args = shipped.args(true);
    let program = Program::start(&[&refs(&args), &OLD[..]].concat());
    let _rsyslog = shipped.start_rsyslog(&config, program.address().port());
    let printed = program.wait_for_printed_lines(MESSAGES);
    let ends = program.wait_for_ends(2);
    assert!(ends.iter().all(|end| end.end == "relp, clean"), "{ends:?}");
    for (number, line) in printed.lines().enumerate() {
        assert!(line.ends_with(&format!(" message {number}")), "{line}");
    }
}
