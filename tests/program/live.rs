//! The line at the bottom of a terminal: it tells how far things are, and fits.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::program::{BINARY, LIMIT, Outcome, Program, Stderr, Stdout, send};
use crate::common::terminal::{ERASE, Terminal, taken_apart};
use crate::send::noise;
use crate::send::server::{Keyed, Resuming, Server};

/// Narrow and wide terminals, in columns.
const WIDTHS: [u16; 4] = [20, 40, 80, 200];

const HINT: &str = "tlsink: type lines to send; Ctrl-D at the beginning of a line ends";

// A file.

#[test]
fn the_bar_of_a_file_fits_each_terminal() {
    for columns in WIDTHS {
        let stalled = Stalled::new();
        let terminal = Stderr::Terminal(Terminal::of_columns(columns));
        let sender = stalled.send("notes", &[], terminal);
        sender.wait_for_drawn(|live| {
            let (start, parts) = live.split_once('%').unwrap();
            let (front, percent) = start.rsplit_once(' ').unwrap_or(("", start));
            assert!((0..100).contains(&percent.parse().unwrap()), "{live}");
            let parts: Vec<_> = parts.split(", ").collect();
            match (columns, &*parts) {
                (20, ["", left]) => front.is_empty() && left.ends_with(" left"),
                (40, ["", amount, left]) => {
                    front.is_empty() && is_amount(amount) && left.ends_with(" left")
                }
                (80 | 200, ["", amount, rate, left]) => {
                    is_named_bar(front)
                        && is_amount(amount)
                        && rate.ends_with("B/s")
                        && left.ends_with(" left")
                }
                _ => false,
            }
        });
        let to = stalled.to.clone();
        stalled.go_on();
        let outcome = sender.outcome();
        assert_eq!(outcome.status, 0);
        let sent = format!("tlsink: sent notes, 64.0 MiB as 64.0 MiB (none) to {to}\n");
        assert!(outcome.untimed().ends_with(&sent), "{}", outcome.stderr);
        assert_fits(&outcome, columns);
    }
}

fn is_amount(part: &str) -> bool {
    let sent = part.strip_suffix(" of 64.0 MiB").unwrap_or_default();
    sent.parse::<f64>().is_ok()
}

fn is_named_bar(text: &str) -> bool {
    let bar = text
        .strip_prefix("notes [")
        .and_then(|bar| bar.strip_suffix(']'));
    let (done, left) = bar.and_then(|bar| bar.split_once('>')).unwrap_or(("?", ""));
    done.chars().all(|c| c == '=') && left.chars().all(|c| c == ' ') && left.len() > 10
}

#[test]
fn the_bar_follows_the_width_of_a_terminal_that_is_resized() {
    let stalled = Stalled::new();
    let terminal = Terminal::of_columns(200);
    let seat = terminal.seat();
    let sender = stalled.send("notes", &[], Stderr::Terminal(terminal));
    let is_of_width = |live: &str, columns: u16| {
        let bar = live
            .split_once('[')
            .and_then(|(_, bar)| bar.split_once(']'));
        match (columns, bar) {
            (200, Some((bar, _))) => bar.len() == 40,
            (80, Some(_)) => (40..80).contains(&live.len()) && live.starts_with("notes"),
            (40 | 20, _) => live.len() < usize::from(columns) && live.contains('%'),
            _ => false,
        }
    };
    for columns in [200, 40, 80, 20, 200] {
        seat.resize(columns);
        sender.wait_for_live_line(|live| is_of_width(live, columns));
    }
    stalled.go_on();
    let outcome = sender.outcome();
    assert_eq!(outcome.status, 0);
    assert_fits(&outcome, 200);
}

#[test]
fn a_name_on_the_bar_does_not_steer_the_terminal_nor_make_it_wrap() {
    let stalled = Stalled::new();
    let sender = stalled.send("\x1b[2J日本.txt", &[], Stderr::Terminal(Terminal::open()));
    sender.wait_for_drawn(|live| live.starts_with(r"\x1b[2J日本.txt ["));
    stalled.go_on();
    let outcome = sender.outcome();
    assert_eq!(outcome.status, 0);
    assert_fits(&outcome, 80);
}

#[test]
fn quietly_and_in_a_pipe_there_is_no_bar() {
    let quiet = Stalled::new();
    let quiet_sender = quiet.send("notes", &["-q"], Stderr::Terminal(Terminal::open()));
    let piped = Stalled::new();
    let piped_sender = piped.send("notes", &["-v"], Stderr::Pipe);
    wait_for_an_update();
    quiet.go_on();
    let outcome = quiet_sender.outcome();
    // A warning, and nothing else.
    let unverified = "; any server at this address receives the data\n";
    assert!(outcome.stderr.ends_with(unverified), "{}", outcome.stderr);
    assert_eq!((outcome.stderr.lines().count(), outcome.status), (1, 0));
    let to = piped.to.clone();
    piped.go_on();
    let outcome = piped_sender.outcome();
    let expected = format!(
        "tlsink: {to}: 67108864 bytes sent as 67108864\n\
         tlsink: sent notes, 64.0 MiB as 64.0 MiB (none) to {to}\n"
    );
    assert!(outcome.untimed().ends_with(&expected), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains(is_control), "{}", outcome.stderr);
}

// Arrival.

#[test]
fn the_bar_says_that_the_receipt_is_missing() {
    let text = numbered(200_000);
    let (receiver, output) = start_unread(&["--receipt"]);
    let (_folder, sender) = send_file(&receiver, &text, &["--receipt"]);
    sender.wait_for_live_line(|live| {
        live.contains("] 100%, ") && live.ends_with(", waiting for the receipt")
    });
    let outcome = assert_delivers(sender, output, &text);
    assert!(
        outcome.stderr.ends_with(", receipt matches\n"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn the_bar_says_how_many_lines_are_acknowledged() {
    let text = numbered(100_000);
    let (receiver, output) = start_unread(&[]);
    let (_folder, sender) = send_file(&receiver, &text, &["--framing", "relp"]);
    let acknowledged = |live: &str| {
        let (before, _) = live.split_once(" lines acknowledged, ")?;
        let (_, lines) = before.rsplit_once(", ")?;
        lines.parse().ok()
    };
    // The output's pipe takes some of them.
    sender.wait_for_drawn(|live| (1..100_000).contains(&acknowledged(live).unwrap_or(0)));
    let outcome = assert_delivers(sender, output, &text);
    let all = ", 100000 lines acknowledged\n";
    assert!(outcome.stderr.ends_with(all), "{}", outcome.stderr);
}

// Standard input.

#[test]
fn the_counter_of_a_pipe_fits_each_terminal() {
    let receiver = Program::start_into(&[], Stdout::File(File::create("/dev/null").unwrap()));
    let to = receiver.address().to_string();
    for columns in WIDTHS {
        let args = ["send", "--insecure", "-e", "none", &to];
        let terminal = Stderr::Terminal(Terminal::of_columns(columns));
        let mut sender = Program::start_command(&args, Stdio::piped(), terminal);
        let mut stdin = sender.stdin();
        stdin.write_all(&[b'\n'; 512 << 10]).unwrap();
        sender.wait_for_live_line(|live| match live.strip_prefix("512.0 KiB sent") {
            Some(rest) if columns == 20 => rest.is_empty(),
            Some(rest) => rest.starts_with(" in ") && rest.ends_with("B/s"),
            None => false,
        });
        drop(stdin);
        let outcome = sender.outcome();
        assert_eq!(outcome.status, 0);
        let sent = format!("tlsink: sent 512.0 KiB as 512.0 KiB (none) to {to}\n");
        assert!(outcome.untimed().ends_with(&sent), "{}", outcome.stderr);
        assert_fits(&outcome, columns);
    }
}

#[test]
fn the_counter_goes_on_while_nothing_comes() {
    let receiver = Program::start(&[]);
    let to = receiver.address().to_string();
    let args = ["send", "--insecure", &to];
    let mut sender =
        Program::start_command(&args, Stdio::piped(), Stderr::Terminal(Terminal::open()));
    let seconds = |live: &str| {
        let rest = live.strip_prefix("0 B sent in ")?;
        rest.strip_suffix(" s, 0 B/s")?.parse::<u64>().ok()
    };
    let first = sender.wait_for_drawn(|live| seconds(live).is_some());
    sender.wait_for_drawn(|live| seconds(live) > seconds(&first));
    drop(sender.stdin());
    assert_eq!(sender.outcome().status, 0);
}

#[test]
fn a_resumed_pipe_shows_what_is_acknowledged() {
    let server = Resuming::new();
    let to = server.address().to_string();
    let args = ["send", "--resume", "--insecure", "-e", "none", &to];
    let mut sender =
        Program::start_command(&args, Stdio::piped(), Stderr::Terminal(Terminal::open()));
    let mut stdin = sender.stdin();
    stdin.write_all(b"one\ntwo\n").unwrap();
    let mut peer = server.accept();
    peer.answer_at(b"");
    peer.expect("one\ntwo\n");
    sender.wait_for_live_line(|live| live.starts_with("0 B acknowledged, 8 B behind, "));
    peer.acknowledge(4);
    sender.wait_for_live_line(|live| live.starts_with("4 B acknowledged, 4 B behind, "));
    peer.acknowledge(8);
    sender.wait_for_live_line(|live| live == "8 B acknowledged, nothing behind");
    drop(stdin);
    peer.finish();
    let outcome = sender.outcome();
    assert_eq!(outcome.status, 0);
    assert_fits(&outcome, 80);
}

#[test]
fn a_followed_file_shows_its_standing_and_stops_though_only_the_codec_is_slow() {
    const LEN: usize = 32 << 20;
    let folder = tempfile::tempdir().unwrap();
    let [file, state] = ["log", "state"].map(|name| folder.path().join(name));
    let mut lines = noise(LEN - 1);
    lines.push(b'\n');
    fs::write(&file, lines).unwrap();
    let server = Resuming::new();
    let to = server.address().to_string();
    let [file, state] = [&file, &state].map(|path| path.to_str().unwrap());
    let follow = ["--follow", file, "--follow-state", state];
    let args = [&["send", "--insecure", "--level", "19", &to][..], &follow].concat();
    let terminal = Stderr::Terminal(Terminal::open());
    let sender = Program::start_command(&args, Stdio::null(), terminal);
    let mut peer = server.accept();
    peer.answer_at(b"");
    let mut received = peer.read_some().unwrap().len();
    peer.acknowledge(1);
    let reader = thread::spawn(move || {
        while let Ok(some) = peer.read_some()
            && !some.is_empty()
        {
            received += some.len();
        }
        received
    });
    sender.wait_for_drawn(|live| live.contains("1 B acknowledged, 32.0 MiB behind, "));
    // The second one stops at once.
    sender.signal(Signal::TERM);
    sender.wait_for_line(|line| line.starts_with("tlsink: stopping: "));
    sender.signal(Signal::INT);
    let outcome = sender.outcome();
    assert_eq!(outcome.status, 1);
    let stopped = "stopped before a server had everything";
    assert!(outcome.stderr.contains(stopped), "{}", outcome.stderr);
    let received = reader.join().unwrap();
    assert!(received < LEN, "everything was sent first");
}

// A keyboard.

#[test]
fn a_keyboard_is_explained_once_and_nothing_runs_into_typed_text() {
    let receiver = Program::start(&[]);
    let to = receiver.address().to_string();
    for (level, hints) in [("-v", 1), ("-q", 0)] {
        let terminal = Terminal::open();
        let mut seat = terminal.seat();
        let stdin = terminal.user.try_clone().unwrap();
        let args = ["send", "--insecure", level, &to];
        let sender = Program::start_command(&args, stdin.into(), Stderr::Terminal(terminal));
        if hints > 0 {
            sender.wait_for_line(|line| line == HINT);
        }
        seat.type_keys("one\n");
        receiver.wait_for_stdout("one\n");
        wait_for_an_update();
        seat.type_keys("two\n\x04");
        let outcome = sender.outcome();
        let said = &outcome.stderr;
        assert_eq!(outcome.status, 0, "{said}");
        assert_eq!(said.matches(HINT).count(), hints, "{said}");
        let last = said.lines().last().unwrap();
        assert_eq!(
            last.starts_with("tlsink: sent 8 B as "),
            hints > 0,
            "{said}"
        );
        assert!(!said.contains(ERASE), "{said}");
        assert_eq!(receiver.wait_for_end().delivered, 8);
    }
}

#[test]
fn a_keyboard_of_a_resumed_stream_is_explained_too() {
    let server = Resuming::new();
    let to = server.address().to_string();
    let terminal = Terminal::open();
    let mut seat = terminal.seat();
    let stdin = terminal.user.try_clone().unwrap();
    let args = ["send", "--resume", "--insecure", "-e", "none", &to];
    let sender = Program::start_command(&args, stdin.into(), Stderr::Terminal(terminal));
    sender.wait_for_line(|line| line == HINT);
    let mut peer = server.accept();
    peer.answer_at(b"");
    seat.type_keys("one\n");
    peer.expect("one\n");
    wait_for_an_update();
    seat.type_keys("\x04");
    peer.finish();
    let outcome = sender.outcome();
    assert_eq!(outcome.status, 0);
    assert_eq!(outcome.stderr.matches(HINT).count(), 1);
    assert!(!outcome.stderr.contains(ERASE), "{}", outcome.stderr);
}

// Statistics.

#[test]
fn the_totals_of_stats_are_there_on_narrow_terminals() {
    for columns in WIDTHS {
        let program = Program::start_saying_to(Terminal::of_columns(columns), &["--stats"]);
        send(program.address(), &[b'\n'; 1 << 20]);
        program.wait_for_end();
        program.wait_for_live_line(|live| live == stats(columns));
        let outcome = program.stop();
        assert_eq!(outcome.status, 0);
        assert_fits(&outcome, columns);
    }
}

#[test]
fn stats_follow_the_width_of_a_terminal_that_is_resized() {
    let terminal = Terminal::of_columns(200);
    let seat = terminal.seat();
    let program = Program::start_saying_to(terminal, &["--stats"]);
    send(program.address(), &[b'\n'; 1 << 20]);
    program.wait_for_end();
    for columns in [200, 20, 80, 40] {
        seat.resize(columns);
        program.wait_for_live_line(|live| live == stats(columns));
    }
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    assert_fits(&outcome, 200);
}

/// The live line after one connection over which a mebibyte came.
fn stats(columns: u16) -> &'static str {
    match columns {
        20 => "1.0 MiB out",
        40 => "0 connected, 1.0 MiB in, 1.0 MiB out",
        _ => "0 connected, 1.0 MiB in (0 B/s), 1.0 MiB out (0 B/s), 1 connection",
    }
}

/// A server that takes no more than the beginning of a file, until it is to go on.
struct Stalled {
    to: String,
    server: Server,
    go_on: mpsc::Sender<()>,
    folder: TempDir,
}

impl Stalled {
    fn new() -> Self {
        let (go_on, is_to_go_on) = mpsc::channel();
        let keyed = Keyed::self_signed(&["127.0.0.1"]);
        let server = Server::start(keyed.config(), move |accepted| {
            accepted.read(&mut [0; 1024]).unwrap();
            is_to_go_on.recv_timeout(LIMIT).unwrap();
            accepted.read_to_end();
            accepted.close_notify();
        });
        Stalled {
            to: server.address.to_string(),
            server,
            go_on,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Sends a file of 64 MiB, which is more than sockets hold, by its name in its folder.
    fn send(&self, name: &str, args: &[&str], stderr: Stderr) -> Program {
        let path = self.folder.path();
        File::create(path.join(name))
            .unwrap()
            .set_len(64 << 20)
            .unwrap();
        let mut command = Command::new(BINARY);
        command.current_dir(path);
        command.args(["send", "--insecure", "-e", "none", &self.to, name]);
        command.args(args);
        Program::start_command_into(command, Stdio::null(), stderr)
    }

    fn go_on(self) {
        self.go_on.send(()).unwrap();
        self.server.join();
    }
}

/// Waits as long as a sender takes to show its progress: one that began earlier would have shown its
/// own.
fn wait_for_an_update() {
    let stalled = Stalled::new();
    let sender = stalled.send("other", &[], Stderr::Terminal(Terminal::open()));
    sender.wait_for_drawn(|live| live.starts_with("other ["));
    stalled.go_on();
    assert_eq!(sender.outcome().status, 0);
}

/// Starts a receiver whose output the test reads.
fn start_unread(args: &[&str]) -> (Program, File) {
    let mut receiver = Program::start_into(args, Stdout::Unread);
    let output = receiver.unread();
    (receiver, output)
}

/// Sends a file with this text, and the progress to a terminal; returns its folder, too.
fn send_file(receiver: &Program, text: &str, args: &[&str]) -> (TempDir, Program) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes");
    fs::write(&file, text).unwrap();
    let to = receiver.address().to_string();
    let own = ["send", "--insecure", &to, file.to_str().unwrap()];
    let terminal = Stderr::Terminal(Terminal::open());
    let sender = Program::start_command(&[&own, args].concat(), Stdio::null(), terminal);
    (folder, sender)
}

/// Reads the output of the receiver, which lets the sender end.
fn assert_delivers(sender: Program, mut output: File, text: &str) -> Outcome {
    let mut delivered = vec![0; text.len()];
    output.read_exact(&mut delivered).unwrap();
    assert!(delivered == text.as_bytes(), "something else came");
    let outcome = sender.outcome();
    assert_eq!(outcome.status, 0);
    assert_fits(&outcome, 80);
    outcome
}

/// Checks that each live line was short enough not to wrap, and that the last one was erased.
#[track_caller]
fn assert_fits(outcome: &Outcome, columns: u16) {
    let (_, lives) = taken_apart(&outcome.stderr);
    let (last, lives) = lives.split_last().unwrap();
    assert_eq!(*last, "");
    for live in lives {
        // Some terminals wrap once the last column is filled. Characters beyond ASCII may be wide.
        let width: usize = live.chars().map(|c| 1 + usize::from(!c.is_ascii())).sum();
        assert!((1..usize::from(columns)).contains(&width), "{live}");
    }
}

fn is_control(c: char) -> bool {
    c.is_control() && c != '\n'
}

/// Lines of eight bytes.
fn numbered(count: usize) -> String {
    let mut lines = String::new();
    for number in 0..count {
        writeln!(lines, "{number:07}").unwrap();
    }
    lines
}
