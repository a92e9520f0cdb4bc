//! `tlsink send --framing relp`: the server acknowledges each line, or the user learns how many it did.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::program::{Outcome, Program, Stderr};
use crate::common::shipped::Shipped;
use crate::common::skip::is_installed;
use crate::common::terminal::Terminal;
use crate::send::server::{Accepted, Keyed, Server};

/// Lines of a test.
const LINES: usize = 10_000;

/// The most frames without an answer.
const WINDOW: usize = 128;

/// The answer to the frame that opens a session, as librelp gives it.
const OPENED: &str = "1 rsp 93 200 OK\nrelp_version=0\nrelp_software=librelp,1.11.0,\
                      http://librelp.adiscon.com\ncommands=syslog\n";

const ONLY_TLSINK: &str = "of RELP servers, only tlsink decompresses; others need --encode none";

#[test]
fn each_line_is_acknowledged_and_received_in_every_encoding() {
    let mut lines = numbered(LINES);
    lines += "\n\nbehind two empty ones\n";
    lines += &"long ".repeat(60_000);
    for encoding in ["zstd", "gzip", "zlib", "none"] {
        let receiver = Program::start(&[]);
        let to = receiver.address();
        let outcome = send(to, &["-e", encoding], &lines);
        let acknowledged = format!(" ({encoding}) to {to}, {} lines acknowledged\n", LINES + 4);
        assert!(
            outcome.untimed().ends_with(&acknowledged),
            "{}",
            outcome.stderr
        );
        assert_eq!(outcome.status, 0);
        assert_eq!(receiver.wait_for_end().end, "relp, clean");
        assert!(receiver.stop().stdout_text() == lines.clone() + "\n");
    }
}

#[test]
fn nothing_is_a_session_too() {
    let receiver = Program::start(&[]);
    let outcome = send(receiver.address(), &[], "");
    assert!(
        outcome.stderr.ends_with(", 0 lines acknowledged\n"),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.status, 0);
    assert_eq!(receiver.wait_for_end().end, "relp, clean");
}

#[test]
fn each_line_of_a_pipe_is_sent_at_once_and_a_signal_ends_the_session() {
    for encoding in ["zstd", "gzip", "zlib", "none"] {
        let receiver = Program::start(&[]);
        let to = receiver.address().to_string();
        let args = ["send", "--insecure", "--framing", "relp", "-e", encoding];
        let args = [&args[..], &[&to]].concat();
        let mut sender = Program::start_command(&args, Stdio::piped(), Stderr::Pipe);
        let mut stdin = sender.stdin();
        let mut sent = String::new();
        for line in ["one\n", "\n", "a third one\n"] {
            stdin.write_all(line.as_bytes()).unwrap();
            sent += line;
            receiver.wait_for_stdout(&sent);
        }
        sender.signal(Signal::TERM);
        let outcome = sender.outcome();
        assert!(
            outcome.stderr.ends_with(", 3 lines acknowledged\n"),
            "{}",
            outcome.stderr
        );
        assert_eq!(outcome.status, 0);
        assert_eq!(receiver.wait_for_end().end, "relp, clean");
        drop(stdin);
    }
}

#[test]
fn rsyslog_acknowledges_each_line() {
    if !is_installed("rsyslogd") {
        return;
    }
    // imrelp names no port that it has chosen itself, so one of the test's own choice may be taken.
    let shipped = Shipped::new();
    let config = r#"
        global(workDirectory="DIR/state")
        module(load="imrelp" tls.tlslib="openssl")
        template(name="raw" type="string" string="%rawmsg%\n")
        input(type="imrelp" port="PORT" address="127.0.0.1" tls="on" tls.cacert="DIR/ca.pem"
            tls.mycert="DIR/server.pem" tls.myprivkey="DIR/server.pem" tls.authmode="certvalid")
        action(type="omfile" file="DIR/state/received" template="raw")
    "#;
    let port = free_port();
    let _rsyslog = shipped.start_rsyslog(config, port);
    let lines = numbered(LINES);
    fs::write(shipped.path("messages"), &lines).unwrap();
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| shipped.path(name));
    let (to, messages) = (format!("localhost:{port}"), shipped.path("messages"));
    let own = ["send", "--framing", "relp", "--retry", "10"];
    let credentials = ["--ca", &ca, "--cert", &cert, "--key", &key];
    let own = [&own[..], &credentials, &[&to]].concat();
    let send =
        |encoding: &str| Program::run(&[&own[..], &["--encode", encoding, &messages]].concat());
    let outcome = send("none");
    let acknowledged = format!(" to {to}, {LINES} lines acknowledged\n");
    assert!(
        outcome.untimed().ends_with(&acknowledged),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.status, 0);
    let received = shipped.wait_for("state/received", |text| text.len() >= lines.len());
    assert!(received == lines);

    // On a terminal, the live line says so while more may come.
    let args = [&own[..], &["--encode", "none"]].concat();
    let terminal = Stderr::Terminal(Terminal::open());
    let mut sender = Program::start_command(&args, Stdio::piped(), terminal);
    let mut stdin = sender.stdin();
    stdin.write_all(lines.as_bytes()).unwrap();
    let acknowledged = format!(", {LINES} lines acknowledged, ");
    sender.wait_for_live_line(|live| live.contains(&acknowledged));
    drop(stdin);
    assert_eq!(sender.outcome().status, 0);

    let outcome = send("zstd");
    let hint = format!("\nhint: {ONLY_TLSINK}\n");
    assert!(outcome.stderr.ends_with(&hint), "{}", outcome.stderr);
    assert_eq!(outcome.status, 1);
}

#[test]
fn no_more_than_a_window_is_sent_without_an_answer() {
    for is_stopped in [false, true] {
        let (full, is_full) = std::sync::mpsc::channel();
        let server = start(move |session| {
            session.read(WINDOW);
            full.send(()).unwrap();
            if !is_stopped {
                session.answer("0 serverclose 0\n");
            }
            session.read_rest()
        });
        let to = server.address.to_string();
        let (_folder, file) = file(&numbered(LINES));
        let args = ["send", "--insecure", "--framing", "relp", "-e", "none"];
        let args = [&args[..], &[&to, &file]].concat();
        let sender = Program::start_command(&args, Stdio::null(), Stderr::Pipe);
        let reason = if is_stopped {
            is_full.recv().unwrap();
            sender.signal(Signal::TERM);
            "stopped before the server had everything"
        } else {
            "the server closed the session"
        };
        let outcome = sender.outcome();
        let said = format!("tlsink: {to}: {reason}; the server acknowledged 0 lines of {WINDOW}\n");
        assert!(outcome.stderr.ends_with(&said), "{}", outcome.stderr);
        assert_eq!(outcome.status, 1);
        assert_eq!(server.join(), "");
    }
}

#[test]
fn answers_may_come_in_any_order_and_in_pieces() {
    let server = start(|session| {
        let mut lines = 0;
        while lines < LINES {
            let frames = session.read(1);
            lines += frames.len();
            assert!(frames.len() <= WINDOW);
            let mut answers = String::new();
            for number in frames.iter().rev() {
                writeln!(answers, "{number} rsp 6 200 OK").unwrap();
            }
            let (first, second) = answers.split_at(answers.len() / 3);
            session.answer(first);
            session.answer(second);
        }
        session.end("0 serverclose 0\n");
        session.accepted.read_to_end();
        session.accepted.close_notify();
        lines
    });
    let outcome = send(server.address, &["-e", "none"], &numbered(LINES));
    assert!(
        outcome.stderr.ends_with(", 10000 lines acknowledged\n"),
        "{}",
        outcome.stderr
    );
    assert_eq!((server.join(), outcome.status), (LINES, 0));
}

/// rsyslog's `close` is answered without a status, and others end without a close_notify.
#[test]
fn what_comes_behind_the_answer_to_close_does_not_matter() {
    for ending in ["", "0 serverclose 0\n", "{\"ok\":true}\n", "\n\n\0"] {
        for is_notified in [false, true] {
            let server = start(move |session| {
                session.read(3);
                session.answer("2 rsp 6 200 OK\n3 rsp 6 200 OK\n4 rsp 6 200 OK\n");
                session.end(ending);
                if is_notified {
                    session.accepted.close_notify();
                }
            });
            let outcome = send(server.address, &["-e", "none"], "a\nb\nc\n");
            assert!(
                outcome.stderr.ends_with(", 3 lines acknowledged\n"),
                "{}",
                outcome.stderr
            );
            assert_eq!(outcome.status, 0);
            server.join();
        }
    }
}

#[test]
fn a_wrong_answer_is_reported_with_the_number_of_acknowledged_lines() {
    let long = format!("2 rsp 5000 200 {}", "x".repeat(5000));
    let flood = "2".repeat(300_000);
    for (answer, error, acknowledged) in [
        (
            "5 rsp 6 200 OK\n",
            "the server answers frame 5, which waits for no answer",
            "0 lines",
        ),
        (
            "1 rsp 6 200 OK\n",
            "the server answers frame 1, which waits for no answer",
            "0 lines",
        ),
        (
            "2 rsp 6 200 OK\n2 rsp 6 200 OK\n",
            "the server answers frame 2, which waits for no answer",
            "1 line",
        ),
        (
            "2 rsp 6 200 OK\n3 rsp 6 200 OK\n4 rsp 11 500 \x1b[31mno\n",
            r#"the server refused line 3: "500 \x1b[31mno""#,
            "2 lines",
        ),
        ("2 rsp 0\n", r#"the server refused line 1: """#, "0 lines"),
        (
            "2 rsp 6 200 OK\n0 serverclose 0\n",
            "the server closed the session",
            "1 line",
        ),
        (
            "HTTP/1.1 400 Bad Request\r\n",
            "the server's answer is not RELP: it has no number",
            "0 lines",
        ),
        (
            "2 rsp 6 200 OK\n3 rsp 6 200 OK!",
            "the server's answer is not RELP: no newline ends it",
            "1 line",
        ),
        (
            "2 syslog 0\n",
            "the server's answer is not RELP: it has a command that is no answer",
            "0 lines",
        ),
        (
            &long,
            "the server's answer is longer than 4096 bytes",
            "0 lines",
        ),
        (
            &flood,
            "the server's answer is not RELP: it has no number",
            "0 lines",
        ),
    ] {
        let answer = answer.to_owned();
        let server = start(move |session| {
            session.read(3);
            // A sender that has seen enough may have closed the connection.
            let _ = session.accepted.write(answer.as_bytes());
            session.accepted.wait_for_eof();
        });
        let (to, outcome) = (server.address, send_three(&server));
        let said = format!("tlsink: {to}: {error}; the server acknowledged {acknowledged} of 3\n");
        assert_eq!(outcome.stderr, unverified(to) + &said);
        assert_eq!(outcome.status, 1);
        server.join();
    }
}

#[test]
fn an_end_before_everything_is_acknowledged_is_a_failure() {
    const NOT_TAKEN: &str = "\nhint: a tlsink server sends it only for a stream that it took whole; \
                             its log has the reason";
    for (answers, acknowledged) in [
        ("2 rsp 6 200 OK\n3 rsp 6 200 OK\n4 r", "2 lines"),
        (
            "2 rsp 6 200 OK\n3 rsp 6 200 OK\n4 rsp 6 200 OK\n",
            "3 lines",
        ),
    ] {
        for (is_notified, error, hint) in [
            (true, "the server ended the stream before all was sent", ""),
            (
                false,
                "the server closed the connection without a close_notify",
                NOT_TAKEN,
            ),
        ] {
            let server = start(move |session| {
                session.read(3);
                session.answer(answers);
                match is_notified {
                    true => session.accepted.close_notify(),
                    false => session.shut_down(),
                }
                session.accepted.wait_for_eof();
            });
            let (to, outcome) = (server.address, send_three(&server));
            let said = format!(
                "tlsink: {to}: {error}; the server acknowledged {acknowledged} of 3{hint}\n"
            );
            assert_eq!(outcome.stderr, unverified(to) + &said);
            assert_eq!(outcome.status, 1);
            server.join();
        }
    }
}

#[test]
fn a_session_that_the_server_does_not_open_is_a_failure() {
    for (answer, error, hint) in [
        (
            "1 rsp 44 500 required command not supported by client\n",
            r#"the server refused the session: "500 required command not supported by client""#,
            "",
        ),
        (
            "1 rsp 6 200 OK\n",
            "the server's answer to open has no relp_version",
            "",
        ),
        (
            "1 rsp 39 200 OK\nrelp_version=1\ncommands=eventlog\n",
            "the server does not take the command syslog",
            "",
        ),
        (
            "0 serverclose 0\n",
            "the server closed the session",
            ONLY_TLSINK,
        ),
        (
            "220 mail.example ESMTP\r\n",
            "the server's answer is not RELP: it has no command",
            ONLY_TLSINK,
        ),
        (
            "",
            "the server ended the stream before all was sent",
            ONLY_TLSINK,
        ),
    ] {
        for encoding in ["none", "zstd"] {
            let server = Server::start(keyed().config(), move |accepted| {
                accepted.read(&mut [0; 4096]).unwrap();
                accepted.write(answer.as_bytes()).unwrap();
                accepted.close_notify();
                accepted.wait_for_eof();
            });
            let to = server.address;
            let outcome = send(to, &["-e", encoding], "a\n");
            let hint = match (encoding, hint) {
                ("none", _) | (_, "") => String::new(),
                (_, hint) => format!("hint: {hint}\n"),
            };
            let said = format!("tlsink: {to}: {error}\n{hint}");
            assert_eq!(outcome.stderr, unverified(to) + &said);
            assert_eq!(outcome.status, 1);
            server.join();
        }
    }
}

#[test]
fn what_was_acknowledged_is_there_when_the_receiver_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("received");
    let lines = numbered(1_000_000);
    let (_folder, file) = file(&lines);
    for encoding in ["zstd", "none"] {
        let _ = fs::remove_file(&output);
        let receiver = Program::start(&["--output", output.to_str().unwrap()]);
        let to = receiver.address().to_string();
        let args = ["send", "--insecure", "--framing", "relp", "-e", encoding];
        let args = [&args[..], &[&to, &file]].concat();
        let sender = Program::start_command(&args, Stdio::null(), Stderr::Pipe);
        let read = || fs::read_to_string(&output).unwrap_or_default();
        while read().matches('\n').count() < 1000 {
            std::thread::yield_now();
        }
        receiver.signal(Signal::KILL);
        let outcome = sender.outcome();
        assert_eq!(outcome.status, 1);
        let said = outcome.stderr.split("; the server acknowledged ").nth(1);
        let mut words = said.expect(&outcome.stderr).split_whitespace();
        let acknowledged: usize = words.next().unwrap().parse().unwrap();
        let sent: usize = words.nth(2).unwrap().parse().unwrap();
        assert!(acknowledged <= sent && sent <= acknowledged + WINDOW);
        assert!(sent < 1_000_000 && acknowledged > 0);
        let received = read();
        assert!(lines.starts_with(received.as_str()));
        assert!(received.matches('\n').count() >= acknowledged);
    }
}

/// Lines that tell their number.
fn numbered(count: usize) -> String {
    let mut lines = String::new();
    for number in 0..count {
        writeln!(lines, "<13>message {number}").unwrap();
    }
    lines
}

/// A file with this content, and the folder that it is in.
fn file(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

/// Sends a file with this content.
fn send(to: SocketAddr, args: &[&str], text: &str) -> Outcome {
    let (_folder, file) = file(text);
    let to = to.to_string();
    let all = ["send", "--insecure", "--framing", "relp"];
    Program::run(&[&all[..], args, &[&to, &file]].concat())
}

fn send_three<T: Send + 'static>(server: &Server<T>) -> Outcome {
    send(server.address, &["-e", "none"], "a\nb\nc\n")
}

/// The warning of `--insecure`.
fn unverified(to: SocketAddr) -> String {
    format!(
        "tlsink: {to}: the server is not verified; any server at this address receives the data\n"
    )
}

fn keyed() -> Keyed {
    Keyed::self_signed(&["127.0.0.1"])
}

fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

/// Starts a server that opens a session, and then does as it is told.
fn start<T: Send + 'static>(
    serve: impl FnOnce(&mut OpenSession<'_>) -> T + Send + 'static,
) -> Server<T> {
    Server::start(keyed().config(), move |accepted| {
        let mut session = OpenSession {
            accepted,
            unread: Vec::new(),
        };
        let open = session.frame();
        assert!(open.starts_with("1 open "), "{open}");
        assert!(open.contains(" relp_version=1\n") && open.contains("\ncommands=syslog\n"));
        session.answer(OPENED);
        serve(&mut session)
    })
}

/// A session that a server of the test's own has opened.
struct OpenSession<'a> {
    accepted: &'a mut Accepted,
    unread: Vec<u8>,
}

impl OpenSession<'_> {
    /// Reads this many frames of lines at least, and all that came with them; returns their numbers.
    fn read(&mut self, least: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        while numbers.len() < least || self.unread.contains(&b'\n') {
            let frame = self.frame();
            let (number, command) = frame.split_once(' ').unwrap();
            assert!(command.starts_with("syslog "), "{frame}");
            numbers.push(number.parse().unwrap());
        }
        numbers
    }

    /// Answers the frame that closes the session, and sends this in one piece with the answer.
    fn end(&mut self, ending: &str) {
        let close = self.frame();
        let number = close.strip_suffix(" close 0\n").expect(&close);
        let answer = format!("{number} rsp 0\n{ending}");
        self.answer(&answer);
    }

    fn answer(&mut self, answers: &str) {
        self.accepted.write(answers.as_bytes()).unwrap();
    }

    /// Ends the connection without a close_notify.
    fn shut_down(&mut self) {
        self.accepted
            .tcp
            .shutdown(std::net::Shutdown::Write)
            .unwrap();
    }

    /// Reads until the sender has closed the connection, and returns all that was not read before.
    fn read_rest(&mut self) -> String {
        let mut buf = [0; 4096];
        while let Ok(read @ 1..) = self.accepted.read(&mut buf) {
            self.unread.extend_from_slice(&buf[..read]);
        }
        String::from_utf8(std::mem::take(&mut self.unread)).unwrap()
    }

    /// Reads one frame, whose data has no newline unless it is that of `open`.
    fn frame(&mut self) -> String {
        loop {
            let lines = match self.unread.starts_with(b"1 open ") {
                true => 3,
                false => 1,
            };
            let mut ends = self.unread.iter().enumerate();
            let ends = ends.by_ref().filter(|(_, byte)| **byte == b'\n');
            if let Some((end, _)) = ends.take(lines).nth(lines - 1) {
                let rest = self.unread.split_off(end + 1);
                let frame = std::mem::replace(&mut self.unread, rest);
                return String::from_utf8(frame).unwrap();
            }
            let mut buf = [0; 4096];
            let read = self.accepted.read(&mut buf).unwrap();
            assert!(read > 0, "the sender ended the stream");
            self.unread.extend_from_slice(&buf[..read]);
        }
    }
}
