//! The program on a terminal: the text that it shows, and the text that it never sends there.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::io::{Read, Write};
use std::process::Stdio;

use rustix::fs::OFlags;
use rustix::process::Signal;
use tempfile::{NamedTempFile, TempDir};

use crate::common::program::{Client, Outcome, Program, Stderr, Stdout, send};
use crate::common::terminal::{ERASE, Terminal, taken_apart};
use crate::send::server::Resuming;

/// Text that affects a terminal, and the text shown instead.
const HARMFUL: [(&[u8], &str); 16] = [
    // These clear the screen, set the window's title, and ask for an answer on standard input.
    (b"\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
    (b"\x1b]0;title\x07", r"\x1b]0;title\x07"),
    (b"\x1bP$qm\x1b\\", r"\x1bP$qm\x1b\"),
    (b"\0\x08\x0b\x0c\x0e", r"\x00\x08\x0b\x0c\x0e"),
    (b"\x7f", r"\x7f"),
    // The C1 controls CSI and NEL, as characters and as the bytes of other encodings.
    ("\u{9b}2J\u{85}".as_bytes(), r"\xc2\x9b2J\xc2\x85"),
    (b"\x9b2J", r"\x9b2J"),
    // A carriage return overwrites the line.
    (b"real\rfake", r"real\x0dfake"),
    (b"\r\r", r"\x0d\x0d"),
    // These are not UTF-8: a stray byte, an unfinished character, an overlong one, a surrogate.
    (b"\xff", r"\xff"),
    (b"\xe2\x82", r"\xe2\x82"),
    (b"\xc0\x9b", r"\xc0\x9b"),
    (b"\xed\xa0\x80", r"\xed\xa0\x80"),
    // These change the direction of text, or end a line without a newline.
    (
        "\u{202e}txt.exe\u{202c}".as_bytes(),
        r"\u{202e}txt.exe\u{202c}",
    ),
    (
        "\u{2066}\u{200f}\u{61c}".as_bytes(),
        r"\u{2066}\u{200f}\u{61c}",
    ),
    ("\u{2028}".as_bytes(), r"\u{2028}"),
];

/// Text that is shown as it is.
const HARMLESS: &str = "a\tb\nc\r\nd\r\n\r\n\n\\x1b naïve 日本語 العربية 🦀\n";

/// The standing of a stream that is acknowledged as a whole.
const NOTHING: &str = "nothing behind";

/// The size of a small screen.
const LINES: usize = 24;
const COLUMNS: u16 = 80;

// Data on a terminal.

#[test]
fn on_a_terminal_data_does_not_steer_it() {
    let program = start_on(Terminal::open(), &["-o", "-"]);
    send(program.address(), &harmful());
    let shown: String = HARMFUL
        .iter()
        .map(|(_, shown)| format!("<{shown}>\n{shown}-\n"))
        .collect();
    program.wait_for_stdout(&shown);
    assert_eq!(program.stop().stdout_text(), shown);
}

#[test]
fn on_a_terminal_harmless_text_is_shown_as_it_is() {
    let program = start_on(Terminal::open(), &[]);
    send(program.address(), HARMLESS.as_bytes());
    program.wait_for_stdout(HARMLESS);
    assert_eq!(program.stop().stdout_text(), HARMLESS);
}

#[test]
fn on_a_terminal_a_stream_cut_anywhere_is_escaped_the_same() {
    let program = start_on(Terminal::open(), &[]);
    let mut client = Client::connect(program.address());
    // Each byte is a record of its own: characters and CR-LF come in parts.
    for byte in "é\r\n\r\u{9b}🦀\u{202e}\r".as_bytes() {
        client.write(&[*byte]).unwrap();
    }
    client.finish().unwrap();
    assert_eq!(program.wait_for_end().end, "clean");
    let shown = program.stop().stdout_text();
    assert_eq!(shown, "é\r\n\\x0d\\xc2\\x9b🦀\\u{202e}\\x0d");
}

#[test]
fn labels_do_not_keep_data_from_being_escaped() {
    let program = start_on(Terminal::open(), &["--label"]);
    let mut client = Client::connect(program.address());
    let peer = client.local_address();
    client.write(b"\x1b[2J\n\x1b[H").unwrap();
    client.finish().unwrap();
    program.wait_for_end();
    let shown = program.stop().stdout_text();
    assert_eq!(shown, format!("{peer} \\x1b[2J\n{peer} \\x1b[H"));
}

#[test]
fn in_a_pipe_data_is_unchanged() {
    let program = Program::start(&[]);
    assert_prints_the_sent_data(program);
}

#[test]
fn raw_data_is_unchanged_even_on_a_terminal_that_is_named() {
    let program = start_on(Terminal::open(), &["-f", "raw", "-o", "-"]);
    assert_prints_the_sent_data(program);
}

#[test]
fn raw_data_is_not_written_to_a_terminal_unasked() {
    for args in [&["-f", "raw"][..], &["-f", "raw", "--check"]] {
        let stdout = Stdout::Terminal(Terminal::open());
        let outcome = Program::run_on(args, stdout, Stderr::Pipe);
        let expected = "tlsink: -f raw does not write to a terminal, which obeys control characters\n\
                        hint: -o FILE writes it to a file, and -o - to the terminal\n";
        assert_eq!((outcome.status, outcome.stderr.as_str()), (2, expected));
        assert_eq!(outcome.stdout_text(), "");
    }
}

#[test]
fn binary_data_is_not_written_to_a_terminal_unasked() {
    let program = start_on(Terminal::open(), &[]);
    let mut client = Client::connect(program.address());
    client.write(b"ustar\0\0\x1b[2J\n").unwrap();
    let ended = program.wait_for_end();
    let expected = "cut (the output failed: binary data is not written to a terminal)";
    assert_eq!((ended.end.as_str(), ended.delivered), (expected, 0));
    program.wait_for_line(|line| {
        line == "hint: -o FILE writes it to a file, and -o - to the terminal"
    });
    // Text goes on, and a NUL within it is escaped.
    let mut client = Client::connect(program.address());
    client.write(b"text\n").unwrap();
    program.wait_for_stdout("text\n");
    client.write(b"\0\n").unwrap();
    client.finish().unwrap();
    program.wait_for_ends(2);
    assert_eq!(program.stop().stdout_text(), "text\n\\x00\n");
}

#[test]
fn binary_data_is_written_everywhere_else() {
    let binary = b"ustar\0\0\x1b[2J\n";
    let program = Program::start(&[]);
    send(program.address(), binary);
    program.wait_for_stdout(binary);
    // Objects of JSON are text.
    let program = start_on(Terminal::open(), &["-f", "json"]);
    send(program.address(), binary);
    program.wait_for_line(|line| line.ends_with(", clean"));
    assert!(program.stop().stdout_text().contains(r"\u0000"));
}

#[test]
fn a_terminal_that_somebody_made_non_blocking_loses_nothing() {
    let terminal = Terminal::open();
    rustix::fs::fcntl_setfl(&terminal.user, OFlags::RDWR | OFlags::NONBLOCK).unwrap();
    let program = start_on(terminal, &[]);
    let lines = numbered_lines();
    send(program.address(), lines.as_bytes());
    program.wait_for_stdout(&lines);
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    assert!(outcome.stdout == lines.as_bytes(), "something else came");
}

#[test]
fn two_signals_end_a_program_whose_terminal_nobody_reads() {
    let terminal = Stdout::UnreadTerminal(Terminal::open());
    let mut program = Program::start_into(&[], terminal);
    let mut screen = program.unread();
    let mut client = Client::connect(program.address());
    client.write(numbered_lines().as_bytes()).unwrap();
    // After the first line, the program blocks: a terminal holds less than the rest.
    let mut first = [0; 8];
    screen.read_exact(&mut first).unwrap();
    program.signal(Signal::TERM);
    program.wait_for_line(|line| line.starts_with("tlsink: stopping: "));
    program.signal(Signal::TERM);
    let outcome = program.outcome();
    assert_eq!(outcome.status, 1);
    let hangs = |line: &str| line.starts_with("tlsink: the output hangs; up to ");
    assert!(outcome.stderr.lines().any(hangs), "{}", outcome.stderr);
    drop((client, screen));
}

// Statistics on a terminal.

#[test]
fn stats_on_a_terminal_are_one_line_that_is_redrawn_below_all_others() {
    let program = Program::start_saying_to(Terminal::open(), &["--stats"]);
    program.wait_for_live_line(|live| live.starts_with("0 connected, "));
    let mut open = Client::connect(program.address());
    open.write(b"open\n").unwrap();
    program.wait_for_live_line(|live| live.starts_with("1 connected, "));

    // These connections cause messages.
    let mut other = Client::connect(program.address());
    other.write(b"other\n").unwrap();
    program.wait_for_stdout("open\nother\n");
    other.abandon().unwrap();
    let ended = program.wait_for_end();
    assert_eq!(ended.end, "truncated (no close_notify)");
    program.wait_for_live_line(|live| {
        live.starts_with("1 connected, ") && live.ends_with(", 2 connections")
    });
    open.finish().unwrap();
    program.wait_for_ends(2);
    program.wait_for_live_line(|live| live.starts_with("0 connected, "));

    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    let (lines, lives) = taken_apart(&outcome.stderr);
    // All other messages are on lines of their own, as if there were no live line.
    let said: Vec<_> = lines
        .iter()
        .map(|line| line.trim_start_matches("tlsink: "))
        .map(|line| line.split_once(": ").map_or(line, |(_, facts)| facts))
        .collect();
    assert_eq!(
        said[said.len() - 4..],
        [
            "6 bytes received, 6 delivered, plain, truncated (no close_notify)",
            "5 bytes received, 5 delivered, plain, clean",
            "stopping",
            "2 connections, 1 of them clean, 11 bytes received, 11 delivered",
        ]
    );
    assert!(lines.iter().all(|line| line.starts_with("tlsink: ")));
    assert!(lines.iter().all(|line| !is_live(line)), "{lines:?}");
    // The live line is there all the time, until it is erased for good.
    let (last, lives) = lives.split_last().unwrap();
    assert_eq!(*last, "");
    assert!(lives.len() >= 4, "{lives:?}");
    assert!(lives.iter().all(|live| is_live(live)), "{lives:?}");
    // The program ends with an erased line, so that a prompt finds an empty one.
    assert!(outcome.stderr.ends_with(ERASE));
}

#[test]
fn there_is_no_live_line_where_the_data_would_run_into_it() {
    let program = Program::start_on_terminals(Terminal::open(), Terminal::open(), &["--stats"]);
    send(program.address(), b"data\n");
    program.wait_for_end();
    let outcome = program.stop();
    assert_eq!(outcome.stdout_text(), "data\n");
    assert!(!outcome.stderr.contains('\x1b'), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .ends_with("1 of them clean, 5 bytes received, 5 delivered\n")
    );
}

#[test]
fn quiet_silences_the_live_line_and_the_totals() {
    let stderr = Stderr::Terminal(Terminal::open());
    let (program, address) = Program::start_quiet(&["--stats"], stderr);
    send(address, b"data\n");
    program.wait_for_stdout("data\n");
    assert_eq!(program.stop().stderr, "");
}

#[test]
fn stats_in_a_pipe_are_plain_lines() {
    let program = Program::start(&["-v", "--stats"]);
    let client = Client::connect(program.address());
    // The first line comes after ten seconds.
    program.wait_for_line(|line| line.starts_with("tlsink: 1 connected, "));
    client.finish().unwrap();
    program.wait_for_end();
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    let is_control = |c: char| c.is_control() && c != '\n';
    assert!(!outcome.stderr.contains(is_control), "{:?}", outcome.stderr);
}

// Progress of a resumed stream on a terminal.

#[test]
fn progress_of_a_stream_is_one_line_that_is_redrawn_below_all_others() {
    for columns in [COLUMNS, 40, 20] {
        let stream = Followed::new();
        let sender = stream.send(&[], Stderr::Terminal(Terminal::of_columns(columns)));
        let name = stream.file.path().file_name().unwrap().to_str().unwrap();
        let shows = |acknowledged: &str, behind: &str| {
            sender.wait_for_live_line(|live| match &*live.split(", ").collect::<Vec<_>>() {
                [file, one, other, rate @ ..] if columns == COLUMNS => {
                    let has_rate = matches!(rate, [rate] if rate.ends_with("B/s"));
                    let parts = (*one, *other, has_rate);
                    file.ends_with(name) && parts == (acknowledged, behind, behind != NOTHING)
                }
                [one, other, ..] if columns == 40 => (*one, *other) == (acknowledged, behind),
                [other] => *other == behind,
                _ => false,
            });
        };
        let mut peer = stream.server.accept();
        peer.answer_at(b"");
        peer.expect("one\n");
        shows("0 B acknowledged", "4 B behind");
        peer.acknowledge(4);
        shows("4 B acknowledged", NOTHING);
        peer.cut();
        let mut peer = stream.server.accept();
        peer.answer_at(b"one\n");
        let more = format!("{}\n", "x".repeat((3 << 20) - 1));
        stream.append(&more);
        peer.expect(&more);
        shows("4 B acknowledged", "3.0 MiB behind");
        peer.acknowledge(4 + (1 << 20));
        shows("1.0 MiB acknowledged", "2.0 MiB behind");
        sender.signal(Signal::TERM);
        peer.finish();
        let outcome = sender.outcome();
        assert_eq!(outcome.status, 0);
        let (lines, lives) = taken_apart(&outcome.stderr);
        assert!(lines.iter().all(|line| line.starts_with("tlsink: ")));
        assert!(lines.iter().any(|line| line.ends_with("; trying again")));
        // The live line is there all the time, until it is erased for good.
        let (last, lives) = lives.split_last().unwrap();
        assert_eq!(*last, "");
        let is_live = |live: &&str| live.contains(" behind");
        assert!(lives.iter().all(is_live), "{lives:?}");
        let fits = |live: &&str| live.chars().count() < usize::from(columns);
        assert!(lives.iter().all(fits), "{lives:?}");
        assert!(lines.last().unwrap().ends_with(" is acknowledged"));
    }
}

#[test]
fn progress_of_a_stream_is_not_shown_quietly_or_in_a_pipe() {
    for (args, stderr) in [
        (&["-q"][..], Stderr::Terminal(Terminal::open())),
        (&["-v"], Stderr::Pipe),
    ] {
        let stream = Followed::new();
        let sender = stream.send(args, stderr);
        let mut peer = stream.server.accept();
        peer.answer_at(b"");
        peer.expect("one\n");
        sender.signal(Signal::TERM);
        peer.finish();
        let outcome = sender.outcome();
        assert_eq!(outcome.status, 0);
        let is_control = |c: char| c.is_control() && c != '\n';
        assert!(!outcome.stderr.contains(is_control), "{:?}", outcome.stderr);
        assert!(!outcome.stderr.contains(" acknowledged, "));
    }
}

// Messages on a terminal.

#[test]
fn quotations_in_messages_do_not_steer_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none/\x1b]0;\r\n\u{9b}\u{202e}\x7f");
    let path = path.to_str().unwrap();
    for args in [&["--output", path][..], &["--cert", path, "--key", path]] {
        let outcome = run_saying_to_terminal(args);
        assert_quotes_harmlessly(&outcome, r"none/\x1b]0;\x0d\x0a\xc2\x9b\u{202e}\x7f");
    }
}

#[test]
fn quoted_arguments_in_messages_do_not_steer_the_terminal() {
    for args in [
        &["--bogus\x1b[2J"][..],
        &["bogus\x1b[2J"],
        &["--decode", "bogus\x1b[2J"],
        &["--listen", "bogus\x1b[2J"],
        &["--max-line", "bogus\x1b[2J"],
    ] {
        let outcome = run_saying_to_terminal(args);
        assert_quotes_harmlessly(&outcome, r"bogus\x1b[2J");
    }
}

// Help on a terminal.

#[test]
fn the_short_help_fits_on_a_screen() {
    let stdout = Stdout::Terminal(Terminal::open());
    let outcome = Program::run_on(&["-h"], stdout, Stderr::Pipe);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    let help = outcome.stdout_text();
    // The last line of the screen is the prompt's.
    assert!((1..LINES).contains(&help.lines().count()), "{help}");
    for line in help.lines() {
        assert!(line.chars().count() <= usize::from(COLUMNS), "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

/// Starts the program with a terminal as its standard output.
fn start_on(terminal: Terminal, args: &[&str]) -> Program {
    Program::start_into(args, Stdout::Terminal(terminal))
}

fn run_saying_to_terminal(args: &[&str]) -> Outcome {
    let stderr = Stderr::Terminal(Terminal::open());
    Program::run_on(args, Stdout::Collected, stderr)
}

/// A file that is followed, and a server for its stream.
struct Followed {
    file: NamedTempFile,
    state: TempDir,
    server: Resuming,
}

impl Followed {
    fn new() -> Self {
        let followed = Followed {
            file: NamedTempFile::new().unwrap(),
            state: tempfile::tempdir().unwrap(),
            server: Resuming::new(),
        };
        followed.append("one\n");
        followed
    }

    fn append(&self, text: &str) {
        self.file.as_file().write_all(text.as_bytes()).unwrap();
    }

    fn send(&self, args: &[&str], stderr: Stderr) -> Program {
        let state = self.state.path().join("state");
        let (file, state) = (self.file.path().to_str(), state.to_str());
        let to = self.server.address().to_string();
        let follow = ["--follow", file.unwrap(), "--follow-state", state.unwrap()];
        let all = [
            &["send", "--insecure", "-e", "none"],
            &follow[..],
            &[&to],
            args,
        ];
        Program::start_command(&all.concat(), Stdio::null(), stderr)
    }
}

/// All harmful texts, within a line and at its beginning.
fn harmful() -> Vec<u8> {
    let lines = HARMFUL
        .iter()
        .map(|(sent, _)| [b"<", *sent, b">\n", *sent, b"-\n"].concat());
    lines.collect::<Vec<_>>().concat()
}

#[track_caller]
fn assert_prints_the_sent_data(program: Program) {
    let sent = [harmful(), HARMLESS.as_bytes().to_vec()].concat();
    send(program.address(), &sent);
    program.wait_for_stdout(&sent);
    assert_eq!(program.stop().stdout, sent);
}

#[track_caller]
fn assert_quotes_harmlessly(outcome: &Outcome, quoted: &str) {
    let said = &outcome.stderr;
    assert_eq!(outcome.status, 2, "{said}");
    assert!(said.contains(quoted), "{said:?}");
    let lines = said.strip_suffix('\n').unwrap();
    for line in lines.split('\n') {
        assert!(!line.contains(char::is_control), "{said:?}");
        let beginning = ["tlsink: ", "hint: "];
        assert!(beginning.iter().any(|is| line.starts_with(is)), "{said:?}");
    }
}

fn is_live(line: &str) -> bool {
    line.contains(" connected, ") && line.contains(" in (") && line.contains(" out (")
}

/// A megabyte of numbered lines of eight bytes.
fn numbered_lines() -> String {
    (0..125_000)
        .map(|number| format!("{number:07}\n"))
        .collect()
}
