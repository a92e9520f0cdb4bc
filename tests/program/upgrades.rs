//! Replacing the program by another one, without refusing anybody.

#![cfg(all(feature = "cli", feature = "gzip", feature = "zstd"))]

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::thread;

use rustix::process::Signal;

use crate::common::client::{TLS13, config};
use crate::common::program::{Client, FREE, Outcome, Program, tcp, unix};

use super::listeners::{passing, start};

fn send_over(socket: TcpStream, line: &str) -> io::Result<()> {
    let mut client = Client::over(socket, config(&TLS13), "localhost")?;
    client.write(line.as_bytes())?;
    client.finish()
}

/// The number of connections that wait to be accepted.
const WAITING: usize = 20;

/// Sends a number over each connection, all at once.
fn send_over_each(sockets: impl IntoIterator<Item = TcpStream>) {
    thread::scope(|scope| {
        for (number, socket) in sockets.into_iter().enumerate() {
            scope.spawn(move || send_over(socket, &format!("{number}\n")).unwrap());
        }
    });
}

/// Checks that the program served all connections that waited.
#[track_caller]
fn assert_served_all(outcome: &Outcome) {
    assert_eq!(outcome.status, 0);
    let ends = outcome.ends();
    assert!(ends.iter().all(|end| end.end == "clean"), "{ends:?}");
    let text = outcome.stdout_text();
    let mut printed: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    printed.sort_unstable();
    assert!(printed.into_iter().eq(0..WAITING));
}

/// The only place is taken until the program is stopping, so it accepts nothing before.
const ONE_PLACE: [&str; 4] = ["--max-connections", "1", "--drain", "60"];

fn wait_until_stopping(program: &Program, open: &str) {
    program.signal(Signal::TERM);
    let said = format!("tlsink: stopping: {open} open, up to 60 s; ");
    program.wait_for_line(|line| line.starts_with(&said));
}

#[test]
fn connections_that_wait_to_be_accepted_at_a_stop_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tlsink.sock");
    let program = start(&[FREE, &format!("unix:{}", path.display())], &ONE_PLACE);
    let line = program.wait_for_line(|line| line.starts_with("tlsink: listening on 127"));
    let address: SocketAddr = line.rsplit(' ').next().unwrap().parse().unwrap();
    let first = Client::connect(address);
    let sockets: Vec<_> = (0..WAITING)
        .map(|number| match number % 2 {
            0 => tcp(address).unwrap(),
            _ => unix(&path).unwrap(),
        })
        .collect();
    wait_until_stopping(&program, "21 connections");
    // The queues are closed: whoever comes now is refused, not lost.
    for late in [tcp(address), unix(&path)] {
        assert_eq!(late.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    first.finish().unwrap();
    send_over_each(sockets);
    assert_served_all(&program.outcome());
}

#[test]
fn connections_that_wait_on_a_passed_socket_are_left_to_the_next_program() {
    let listener = TcpListener::bind(FREE).unwrap();
    let address = listener.local_addr().unwrap();
    let old = start_passing(&listener, &ONE_PLACE);
    let first = Client::connect(address);
    let sockets: Vec<_> = (0..WAITING).map(|_| tcp(address).unwrap()).collect();
    wait_until_stopping(&old, "1 connection");
    let new = start_passing(&listener, &[]);
    send_over_each(sockets);
    first.finish().unwrap();
    assert_eq!(old.outcome().status, 0);
    assert_served_all(&new.stop());
}

#[test]
fn at_a_stop_no_more_are_accepted_than_the_file_limit_has_files_for() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().display().to_string();
    let args = [&ONE_PLACE[..], &["--output-dir", &files, "--lanes", "2"]].concat();
    // 32 are for other uses, one for each lane, and two for each connection.
    let program = Program::start_after("ulimit -n 48", &args);
    let first = Client::connect(program.address());
    let sockets = [(); WAITING].map(|()| tcp(program.address()).unwrap());
    wait_until_stopping(&program, "7 connections");
    first.finish().unwrap();
    let sent = sockets.map(|socket| thread::spawn(|| send_over(socket, "hello\n")));
    let sent = sent.map(|sent| sent.join().unwrap());
    assert_eq!(sent.iter().filter(|sent| sent.is_ok()).count(), 6);
    assert_eq!(program.outcome().status, 0);
}

#[test]
fn a_flood_of_connections_does_not_keep_the_program_from_its_end() {
    let program = Program::start(&[]);
    let address = program.address();
    thread::scope(|scope| {
        for _ in 0..4 {
            // They are refused once nobody listens any more.
            scope.spawn(|| while TcpStream::connect(address).is_ok() {});
        }
        // The flood has begun.
        program.wait_for_line(|line| line.starts_with("tlsink: 127.0.0.1:"));
        assert_eq!(program.stop().status, 0);
    });
}

/// Starts the program on a socket that it shares with the test, as systemd does.
fn start_passing(listener: &TcpListener, args: &[&str]) -> Program {
    let args = [&["--listen", "fd:3"], args].concat();
    let command = passing("$$", "LISTEN_FDS=1", &args);
    let stdin = Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
    Program::start_anywhere(command, stdin, 1)
}
