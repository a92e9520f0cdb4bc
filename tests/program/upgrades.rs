//! Replacing the program by another one, without refusing anybody.

#![cfg(all(feature = "cli", feature = "gzip", feature = "zstd"))]

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::common::child::Running;
use crate::common::client::{TLS13, config};
use crate::common::program::{BINARY, Client, FREE, Outcome, Program, run_if_installed, tcp, unix};
use crate::common::skip::skip;

use super::listeners::{passing, start};
use super::refused::each_is_refused;

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

/// The number of senders that are at work at once.
const SENDERS: usize = 6;

/// The options of the program that is replaced.
const UPGRADED: [&str; 3] = ["--receipt", "--drain", "60"];

/// How often the program is replaced.
const UPGRADES: usize = 10;

/// The outcome of one connection.
struct Sent {
    lines: String,
    result: Result<(), Unsent>,
}

/// The failure of a sender.
#[derive(Debug)]
enum Unsent {
    /// The connection was not made, or ended within the TLS handshake.
    Handshake(io::Error),
    /// The stream was not confirmed.
    Stream(String),
}

/// Sends the lines of one connection, and waits for the receipt.
fn send_lines(address: SocketAddr, lines: &str) -> Result<(), Unsent> {
    let connected = tcp(address).and_then(|tcp| Client::over(tcp, config(&TLS13), "localhost"));
    let mut client = connected.map_err(Unsent::Handshake)?;
    let mut send = || {
        for line in lines.split_inclusive('\n') {
            client.write(line.as_bytes())?;
        }
        Ok(())
    };
    let sent = send().and_then(|()| client.finish_for_receipt());
    match sent {
        Ok(receipt) if receipt.contains(r#""ok":true"#) => Ok(()),
        Ok(receipt) => Err(Unsent::Stream(receipt)),
        Err(error) => Err(Unsent::Stream(error.to_string())),
    }
}

/// Does the same with `tlsink send`, which tries again up to the end of the handshake, this many times.
fn send_by_program(address: SocketAddr, lines: &str, retries: &str) -> Result<(), Unsent> {
    let mut command = Command::new(BINARY);
    command.args(["send", "--insecure", "--receipt", "--retry", retries]);
    command.arg(address.to_string());
    let output = run_if_installed(&mut command, lines.as_bytes()).unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(Unsent::Stream(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )),
    }
}

/// Makes this many connections, one after another from each sender, while the program is replaced, and
/// checks that all confirmed lines were printed once. Returns the failures. Only `tlsink send` retries.
fn upgrade_under_load(
    address: SocketAddr,
    connections: usize,
    retries: &str,
    start: impl Fn() -> Program,
) -> Vec<Unsent> {
    let mut program = start();
    let next = AtomicUsize::new(0);
    let (report, reported) = mpsc::channel();
    let (printed, sent) = thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (next, report) = (&next, report.clone());
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= connections {
                        return;
                    }
                    let lines: String = (0..3).map(|line| format!("{number} {line}\n")).collect();
                    let result = match sender {
                        0 => send_by_program(address, &lines, retries),
                        _ => send_lines(address, &lines),
                    };
                    report.send(Sent { lines, result }).unwrap();
                }
            });
        }
        drop(report);
        let mut sent = Vec::new();
        let mut stopping = Vec::new();
        for one in reported {
            sent.push(one);
            if sent.len() % (connections / (UPGRADES + 1)) == 0 && stopping.len() < UPGRADES {
                let old = std::mem::replace(&mut program, start());
                stopping.push(scope.spawn(|| old.stop()));
            }
        }
        assert_eq!(stopping.len(), UPGRADES);
        stopping.push(scope.spawn(|| program.stop()));
        let printed: String = (stopping.into_iter())
            .map(|stopping| {
                let outcome = stopping.join().unwrap();
                assert_eq!(outcome.status, 0);
                outcome.stdout_text()
            })
            .collect();
        (printed, sent)
    });
    assert_eq!(sent.len(), connections);
    let mut lines: Vec<&str> = printed.lines().collect();
    lines.sort_unstable();
    assert!(
        lines.windows(2).all(|pair| pair[0] != pair[1]),
        "printed twice"
    );
    let mut failures = Vec::new();
    for Sent { lines: own, result } in sent {
        match result {
            Ok(()) => own.lines().for_each(|line| {
                assert!(lines.binary_search(&line).is_ok(), "{line} is lost");
            }),
            Err(failure) => failures.push(failure),
        }
    }
    failures
}

fn upgrade_on_a_passed_socket(connections: usize) {
    let listener = TcpListener::bind(FREE).unwrap();
    let address = listener.local_addr().unwrap();
    let start = || start_passing(&listener, &UPGRADED);
    let failures = upgrade_under_load(address, connections, "0", start);
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn upgrades_on_a_passed_socket_refuse_and_lose_nothing() {
    upgrade_on_a_passed_socket(220);
}

#[test]
#[ignore = "takes longer than the one with fewer connections, which shows the same"]
fn upgrades_on_a_passed_socket_refuse_and_lose_nothing_of_2000_connections() {
    upgrade_on_a_passed_socket(2000);
}

/// Starts the program on a port that it shares with the one before.
fn start_sharing(address: SocketAddr, args: &[&str]) -> Program {
    let args = [&["--reuse-port"], args].concat();
    start(&[&address.to_string()], &args)
}

/// A port that is free, and stays so for programs that share it: nobody listens on this socket.
fn shared_port() -> (OwnedFd, SocketAddr) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseport(&socket, true).unwrap();
    bind(&socket, &FREE.parse::<SocketAddr>().unwrap()).unwrap();
    let address = getsockname(&socket).unwrap().try_into().unwrap();
    (socket, address)
}

/// The system may reset connections whose handshake has not begun at a stop, and nothing else.
fn upgrade_on_a_shared_port(connections: usize) {
    let (_port, address) = shared_port();
    let start = || start_sharing(address, &UPGRADED);
    let failures = upgrade_under_load(address, connections, "3", start);
    eprintln!("{} of {connections} connections were reset", failures.len());
    for failure in failures {
        match failure {
            Unsent::Handshake(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            Unsent::Stream(said) => panic!("{said}"),
        }
    }
}

#[test]
fn upgrades_on_a_shared_port_reset_only_connections_before_their_handshake() {
    upgrade_on_a_shared_port(220);
}

#[test]
#[ignore = "takes longer than the one with fewer connections, which shows the same"]
fn upgrades_on_a_shared_port_reset_only_some_of_2000_connections_before_their_handshake() {
    upgrade_on_a_shared_port(2000);
}

#[test]
fn a_program_that_waits_for_the_state_of_another_takes_no_connections_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().display().to_string();
    let (_port, address) = shared_port();
    let old = start_sharing(address, &["--state", &state]);
    let mut command = Command::new(BINARY);
    command.args([
        "--reuse-port",
        "--listen",
        &address.to_string(),
        "--state",
        &state,
    ]);
    let new = Program::start_command_by(command, Stdio::null());
    new.wait_for_line(|line| line.contains("another process keeps its state in"));
    send_over_each((0..WAITING).map(|_| tcp(address).unwrap()));
    assert_served_all(&old.stop());
    new.wait_for_line(|line| line == format!("tlsink: listening on {address}"));
    assert_eq!(new.stop().status, 0);
}

/// Runs this in a network of its own, with these settings; reports if there can be none.
fn in_another_network(settings: &str, run: impl FnOnce() + Send) {
    let script = format!("ip link set lo up && {settings} && echo ready && read -r _");
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", &script]);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(child) = pipes.stderr(Stdio::null()).spawn() else {
        skip("unshare is not installed");
        return;
    };
    let mut child = Running(child);
    let mut ready = String::new();
    let stdout = child.0.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut ready).unwrap();
    if ready != "ready\n" {
        skip("no network can be made here");
        return;
    }
    let network = File::open(format!("/proc/{}/ns/net", child.0.id())).unwrap();
    thread::scope(|scope| {
        // The programs and threads that a thread starts share its network.
        scope.spawn(|| {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            run();
        });
    });
}

/// The setting with which Linux hands connections on.
const MIGRATING: &str = "echo 1 >/proc/sys/net/ipv4/tcp_migrate_req";

#[test]
fn connections_that_a_killed_program_had_not_accepted_are_handed_on_if_the_system_is_told_to() {
    in_another_network(MIGRATING, || {
        let (_port, address) = shared_port();
        let old = start_sharing(address, &ONE_PLACE);
        let _only_place = Client::connect(address);
        let sockets: Vec<_> = (0..WAITING).map(|_| tcp(address).unwrap()).collect();
        let new = start_sharing(address, &[]);
        old.signal(Signal::KILL);
        send_over_each(sockets);
        assert_served_all(&new.stop());
    });
}

/// Such a system resets connections, too: when the last packet of a handshake comes in while the socket
/// is being closed.
#[test]
fn upgrades_on_a_shared_port_lose_nothing_while_the_system_hands_connections_on() {
    in_another_network(MIGRATING, || upgrade_on_a_shared_port(220));
}

#[test]
#[ignore = "takes longer than the one with fewer connections, which shows the same"]
fn upgrades_on_a_shared_port_lose_nothing_of_2000_connections_while_the_system_hands_them_on() {
    in_another_network(MIGRATING, || upgrade_on_a_shared_port(2000));
}

#[test]
fn a_shared_port_is_shared_by_programs_that_ask_for_it_and_resets_are_said() {
    const SAID: &str = "tlsink: when this program stops, the system resets connections that it has \
                        not accepted, unless net.ipv4.tcp_migrate_req=1 (Linux 5.14) was set before";
    let is_said = |program: &Program| program.stderr().lines().any(|line| line == SAID);
    in_another_network("echo 0 >/proc/sys/net/ipv4/tcp_migrate_req", || {
        let (_port, address) = shared_port();
        let programs = [(); 2].map(|()| start_sharing(address, &[]));
        assert!(programs.iter().all(is_said));
    });
    in_another_network(MIGRATING, || {
        let (_port, address) = shared_port();
        assert!(!is_said(&start_sharing(address, &[])));
    });

    let program = Program::start(&[]);
    assert!(!is_said(&program));
    let address = program.address().to_string();
    each_is_refused(
        &[
            (
                "--reuse-port --listen ADDRESS",
                "can't listen on ADDRESS: Address already in use (os error 98)",
                "another program listens there; to share the port, it needs --reuse-port too, and \
                 the same user",
            ),
            (
                "--reuse-port --listen fd:3 --listen unix:a",
                "--reuse-port needs an IP address to listen on",
                "fd: needs no such option, as systemd keeps the socket; a Unix socket can't be shared",
            ),
        ],
        || Command::new(BINARY),
        |text| text.replace("ADDRESS", &address),
    );
}
