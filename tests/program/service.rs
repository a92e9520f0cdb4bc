//! The program as a service of systemd: what it tells the service manager, on a socket of the test's
//! own, and what it writes to the journal.

#![cfg(feature = "cli")]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::program::{Client, FREE, LIMIT, Program, Stderr, Stdout, after, send, tcp};

/// The service manager's end of `NOTIFY_SOCKET`.
pub(super) struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Manager { socket, folder }
    }

    /// The command that starts the program as a service. `variables` are shell words.
    pub(super) fn command(&self, variables: &str) -> Command {
        let socket = self.folder.path().join("notify");
        after(&format!(
            "export NOTIFY_SOCKET='{}' {variables}",
            socket.display()
        ))
    }

    fn next(&self) -> String {
        self.try_next().expect("the program says something in time")
    }

    /// The next message; `None` if none comes in time.
    fn try_next(&self) -> Option<String> {
        let mut message = [0; 4096];
        loop {
            match self.socket.recv(&mut message) {
                Ok(len) => return Some(String::from_utf8(message[..len].to_vec()).unwrap()),
                // With a time limit, a signal to this process ends the wait (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next message that is no sign of life and no text for people.
    fn next_state(&self) -> String {
        let is_state =
            |message: &String| message.trim() != WATCHDOG && !message.starts_with("STATUS=");
        std::iter::repeat_with(|| self.next())
            .find(is_state)
            .unwrap()
    }

    fn wait_for(&self, wanted: &str) {
        while self.next().trim() != wanted {}
    }

    /// Waits for signs of life that come from now on.
    #[allow(dead_code, reason = "the tests of other features use it")]
    pub(super) fn wait_for_life(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.try_next().is_some() {}
        self.socket.set_nonblocking(false).unwrap();
        self.wait_for(WATCHDOG);
        self.wait_for(WATCHDOG);
    }
}

const WATCHDOG: &str = "WATCHDOG=1";

/// A time in which systemd wants a sign of life, and gets several: 2 s.
pub(super) const WATCHED: &str = "WATCHDOG_PID=$$ WATCHDOG_USEC=2000000";

fn start(mut command: Command, args: &[&str]) -> Program {
    command.args(["--listen", FREE]).args(args);
    Program::start_by(command, 1)
}

#[test]
fn the_manager_hears_of_the_start_of_reloads_and_of_the_stop_and_signs_of_life_meanwhile() {
    let manager = Manager::new();
    let out = manager.folder.path().join("out");
    let out = out.to_str().unwrap();
    let program = start(
        manager.command(WATCHED),
        &["--output", out, "--drain", "1h"],
    );
    assert_eq!(manager.next_state(), "READY=1\n");
    // Who is told that the program is ready may connect.
    let mut client = Client::connect(program.address());
    client.write(b"hello\n").unwrap();
    manager.wait_for(WATCHDOG);

    program.signal(Signal::HUP);
    let reloading = manager.next_state();
    let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    let since: u128 = since.unwrap().trim().parse().unwrap();
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = u128::from(now.tv_sec.unsigned_abs()) * 1_000_000;
    assert!(since <= now + 1_000_000 && since + 60_000_000 > now);
    assert_eq!(manager.next_state(), "READY=1\n");
    program.wait_for_line(|line| line == format!("tlsink: {out} reopened"));

    program.signal(Signal::TERM);
    assert_eq!(manager.next_state(), "STOPPING=1\n");
    // An open stream is drained, and the program is alive.
    manager.wait_for(WATCHDOG);
    manager.wait_for(WATCHDOG);
    client.finish().unwrap();
    assert_eq!(program.outcome().status, 0);
}

#[test]
fn the_manager_is_told_what_the_program_does() {
    let manager = Manager::new();
    let program = start(manager.command("A="), &[]);
    let is_status = |text: &str| text.starts_with("STATUS=");
    let status = || {
        let mut messages = std::iter::repeat_with(|| manager.next());
        messages.find(|text| is_status(text)).unwrap()
    };
    let empty = "STATUS=0 connected, 0 connections, 0 B received, 0 B delivered\n";
    assert_eq!(status(), empty);
    send(program.address(), b"hello\n");
    program.wait_for_end();
    let busy = "STATUS=0 connected, 1 connection, 6 B received, 6 B delivered\n";
    assert_eq!(status(), busy);
}

#[test]
fn a_lane_that_hangs_stops_the_signs_of_life_until_it_goes_on() {
    let manager = Manager::new();
    let mut command = manager.command(WATCHED);
    command.args(["--listen", FREE, "--lanes", "1", "--format", "raw"]);
    let mut program = Program::start_by_into(command, Stdout::Unread, 1);
    for _ in 0..4 {
        manager.wait_for(WATCHDOG);
    }
    // More than a pipe holds.
    let mut client = Client::connect(program.address());
    client.write(&[b'x'; 256 * 1024]).unwrap();
    let in_time = Duration::from_secs(2);
    manager.socket.set_read_timeout(Some(in_time)).unwrap();
    while manager.try_next().is_some() {}

    manager.socket.set_read_timeout(Some(LIMIT)).unwrap();
    let mut output = program.unread();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        output.read_to_end(&mut all).unwrap();
        all.len()
    });
    manager.wait_for(WATCHDOG);
    client.finish().unwrap();
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_watchdog_for_another_process_gets_no_signs_of_life() {
    let manager = Manager::new();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let command = manager.command("WATCHDOG_PID=1 WATCHDOG_USEC=1000");
    let program = start(command, &["--output", out.to_str().unwrap()]);
    manager.wait_for("READY=1");
    // Each reload takes longer than the time that the other process was given.
    for _ in 0..20 {
        program.signal(Signal::HUP);
        while !manager.next().starts_with("RELOADING=1\n") {}
        loop {
            let message = manager.next();
            assert_ne!(message.trim(), WATCHDOG);
            if message == "READY=1\n" {
                break;
            }
        }
    }
}

#[test]
fn a_manager_that_is_gone_is_no_reason_to_stop() {
    let manager = Manager::new();
    let command = manager.command(WATCHED);
    drop(manager);
    let program = start(command, &[]);
    program.wait_for_line(|line| line.contains("tlsink: can't tell the service manager: "));
    send(program.address(), b"hello\n");
    program.wait_for_stdout("hello\n");
    assert_eq!(program.stop().status, 0);
}

#[test]
fn in_the_journal_each_line_begins_with_its_priority() {
    // Standard error is the journal if this names it.
    let journal = "export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)";
    let start = |commands: &str, args: &[&str]| {
        let mut command = after(commands);
        command.args(["--listen", FREE]).args(args);
        Program::start_by(command, 1)
    };
    let program = start(journal, &[]);
    program.wait_for_line(|line| line == format!("<6>tlsink: listening on {}", program.address()));
    tcp(program.address())
        .unwrap()
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .unwrap();
    program.wait_for_line(|line| line.starts_with("<4>tlsink: 127.0.0.1:"));
    let mut client = Client::connect(program.address());
    client.write(b"hello\n").unwrap();
    client.abandon().unwrap();
    let truncated = "6 bytes received, 6 delivered, plain, truncated (no close_notify)";
    program.wait_for_line(|line| line.starts_with("<4>") && line.ends_with(truncated));
    assert_eq!(program.stop().status, 0);

    let mut command = after(journal);
    command.args(["--rotate", "1M"]);
    let said = Program::run_by(command, Stdout::Collected, Stderr::Pipe).stderr;
    assert_eq!(said, "<3>tlsink: --rotate needs --append\n");
    let mut command = after(journal);
    command.args(["--append", "--output-dir", "."]);
    let said = Program::run_by(command, Stdout::Collected, Stderr::Pipe).stderr;
    assert!(said.contains("\n<3>hint: "), "{said}");

    let program = start(journal, &["--timestamps"]);
    program.wait_for_line(|line| line.starts_with("<6>20") && line.contains("Z tlsink: listening"));

    // A program that inherited the variable has another standard error.
    let program = start("export JOURNAL_STREAM=1:1", &[]);
    program.wait_for_line(|line| line.starts_with("tlsink: listening on "));
}
