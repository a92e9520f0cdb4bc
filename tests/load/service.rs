//! A service with everything at once, while it is reloaded, upgraded and attacked: no sender is refused,
//! and each line is in its file once.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::ClientConfig;
use tempfile::TempDir;

use crate::common::authority::{Authority, dns};
use crate::common::client::TLS13;
use crate::common::process::peak_memory;
use crate::common::program::{BINARY, Client, FREE, LIMIT, Program, Stderr, tcp};
use crate::faults::{FAULTS, FAULTY};
use crate::machine;

/// The duration, unless `TLSINK_SOAK_SECONDS` sets another.
const SECONDS: u64 = 20;

/// Senders whose streams go on, and senders of many streams with receipts.
const RESUMING: usize = 3;
const RECEIPTED: usize = 3;

/// The time in which the service manager wants a sign of life.
const WATCHDOG: Duration = Duration::from_secs(20);

/// The most memory that a program has at any time, in bytes.
const MOST: u64 = 128 << 20;

/// The files of the service, and its socket, which systemd would hold.
struct Site {
    folder: TempDir,
    socket: TcpListener,
    manager: UnixDatagram,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["logs", "state"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let authority = Authority::new("Plant CA");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", &authority.pem());
        write("server.pem", &authority.server(&["localhost"]).pem());
        for number in 0..RESUMING {
            let name = format!("resuming{number}");
            write(
                &format!("{name}.pem"),
                &authority.sender("", &[dns(&name)]).pem(),
            );
        }
        let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        manager.set_read_timeout(Some(WATCHDOG)).unwrap();
        Site {
            folder,
            socket: TcpListener::bind(FREE).unwrap(),
            manager,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Starts the program as systemd does, and waits until it says that it is ready.
    fn start(&self) -> Program {
        let commands = format!(
            "cd {}; exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 NOTIFY_SOCKET=notify \
             WATCHDOG_PID=$$ WATCHDOG_USEC={}; exec \"$@\"",
            self.folder.path().display(),
            WATCHDOG.as_micros()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &commands, "sh", BINARY]);
        command.args("--listen fd:3 --status unix:status --receipt --quiet".split(' '));
        command.args("--cert server.pem --key server.pem".split(' '));
        command.args("--client-ca ca.pem --client-auth optional".split(' '));
        command.args("--output-dir logs --append --name {client}.log --state state".split(' '));
        command.args("--rate 2M --max-age 2s --handshake-timeout 5 --drain 30".split(' '));
        let socket = OwnedFd::from(self.socket.try_clone().unwrap());
        Program::start_command_by(command, Stdio::from(socket))
    }

    /// The lines of a file in the output.
    fn lines(&self, client: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path("logs").join(format!("{client}.log")));
        text.unwrap().lines().map(str::to_owned).collect()
    }
}

/// `TLSINK_SOAK_SECONDS=60 cargo test --release --test load service`
#[test]
fn a_service_loses_nothing_while_it_is_upgraded_reloaded_and_attacked() {
    let _machine = machine::alone();
    let seconds = std::env::var("TLSINK_SOAK_SECONDS").map_or(SECONDS, |seconds| {
        seconds.parse().expect("it is a number of seconds")
    });
    let site = Site::new();
    let mut program = site.start();
    wait_for(&site.manager, "READY=1\n");
    let over = AtomicBool::new(false);
    let beats = AtomicU64::new(0);
    let scrapes = AtomicU64::new(0);
    let (resumed, receipted, upgrades) = thread::scope(|scope| {
        let (over, site) = (&over, &site);
        // Whatever panics, the others end.
        let _ending = Ending(over);
        let resuming: Vec<_> = (0..RESUMING)
            .map(|number| scope.spawn(move || resume(site, number, over)))
            .collect();
        let receipting: Vec<_> = (0..RECEIPTED)
            .map(|number| scope.spawn(move || send_streams(site.address(), number, over)))
            .collect();
        scope.spawn(|| {
            for fault in FAULTS.iter().cycle() {
                if over.load(Ordering::Acquire) {
                    break;
                }
                // The connection may fail in more than one way.
                let _ = fault(site.address());
            }
        });
        scope.spawn(|| scrape(&site.path("status"), &scrapes, over));
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                let message = receive(&site.manager).expect("the program is alive");
                if message == "WATCHDOG=1\n" {
                    beats.fetch_add(1, Ordering::Relaxed);
                }
            }
        });

        let start = Instant::now();
        let mut upgrades = 0;
        while start.elapsed() < Duration::from_secs(seconds) {
            for _ in 0..6 {
                thread::sleep(Duration::from_millis(500));
                program.signal(Signal::HUP);
            }
            let peak = peak_memory(program.id()).expect("the program runs");
            assert!(peak <= MOST, "{peak} bytes were in use");
            // The next one begins when the state is free; senders wait in the socket's queue.
            let next = site.start();
            let outcome = std::mem::replace(&mut program, next).stop();
            assert_eq!(outcome.status, 0, "{}", outcome.stderr);
            upgrades += 1;
            // Before it serves its status, it does not know signals.
            let deadline = Instant::now() + LIMIT;
            while metrics(&site.path("status")).is_err() {
                assert!(Instant::now() < deadline, "the next program does not start");
                thread::sleep(Duration::from_millis(10));
            }
        }
        over.store(true, Ordering::Release);
        let resumed: Vec<usize> = join_all(resuming);
        (resumed, join_all(receipting), upgrades)
    });
    let outcome = program.stop();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);

    for (number, sent) in resumed.iter().enumerate() {
        let lines = site.lines(&format!("resuming{number}"));
        let expected = (0..*sent).map(|line| line_of(number, line));
        assert!(lines.into_iter().eq(expected), "of {number}, {sent} sent");
    }
    let anonymous = site.lines("anonymous");
    for (number, sent) in receipted.iter().enumerate() {
        let front = format!("receipted {number} ");
        let lines = anonymous.iter().filter(|line| line.starts_with(&front));
        let expected = (0..*sent).map(|line| format!("{front}{line}"));
        assert!(lines.cloned().eq(expected), "of {number}, {sent} receipted");
    }
    let known = |line: &&String| line.starts_with("receipted ") || line.starts_with(FAULTY.trim());
    assert_eq!(anonymous.iter().find(|line| !known(line)), None);
    let [beats, scrapes] = [beats, scrapes].map(AtomicU64::into_inner);
    eprintln!(
        "{upgrades} upgrades, {beats} signs of life, {scrapes} scrapes, lines: {resumed:?} resumed, \
         {receipted:?} receipted"
    );
    assert!(scrapes > 0 && beats > 0 && upgrades > 0);
    assert!(resumed.iter().chain(&receipted).all(|lines| *lines > 0));
}

/// Ends the senders, also after a panic.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn join_all(threads: Vec<thread::ScopedJoinHandle<'_, usize>>) -> Vec<usize> {
    let threads = threads.into_iter();
    threads
        .map(|thread| thread.join().expect("every line arrives"))
        .collect()
}

fn receive(manager: &UnixDatagram) -> io::Result<String> {
    let mut message = [0; 4096];
    loop {
        match manager.recv(&mut message) {
            Ok(len) => return Ok(String::from_utf8_lossy(&message[..len]).into_owned()),
            // With a time limit, a signal to this process ends the wait (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn wait_for(manager: &UnixDatagram, wanted: &str) {
    while receive(manager).expect("the program starts") != wanted {}
}

fn line_of(sender: usize, line: usize) -> String {
    format!("resuming {sender} {line} {}", "x".repeat(line % 300))
}

/// Pipes lines to a sender whose stream goes on over any number of connections; returns their number
/// once all are acknowledged.
fn resume(site: &Site, number: usize, over: &AtomicBool) -> usize {
    let name = format!("resuming{number}");
    let pem = site.path(&format!("{name}.pem"));
    let pem = pem.to_str().unwrap();
    let ca = site.path("ca.pem");
    let target = format!("localhost:{}", site.address().port());
    let args = [
        "send",
        "--resume",
        "--stream",
        &name,
        "--ca",
        ca.to_str().unwrap(),
        "--cert",
        pem,
        "--key",
        pem,
        &target,
    ];
    let mut sender = Program::start_command(&args, Stdio::piped(), Stderr::Pipe);
    let mut stdin = sender.stdin();
    let mut lines = 0;
    while !over.load(Ordering::Acquire) {
        for _ in 0..100 {
            writeln!(stdin, "{}", line_of(number, lines)).expect("the sender reads");
            lines += 1;
        }
        thread::sleep(Duration::from_millis(5));
    }
    drop(stdin);
    let outcome = sender.outcome();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    lines
}

/// Sends one stream after the other; returns the number of lines, each of which has a receipt.
fn send_streams(address: SocketAddr, number: usize, over: &AtomicBool) -> usize {
    let config: ClientConfig = crate::common::client::config(&TLS13);
    let mut lines = 0;
    while !over.load(Ordering::Acquire) {
        let most = lines + 1 + lines % 50;
        let text: String = (lines..most)
            .map(|line| format!("receipted {number} {line}\n"))
            .collect();
        let mut client = Client::over(tcp(address).unwrap(), config.clone(), "localhost")
            .expect("nobody is refused");
        client.write(text.as_bytes()).expect("the server reads");
        let receipt = client.finish_for_receipt().expect("a receipt comes");
        assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
        lines = most;
    }
    lines
}

/// Scrapes the metrics, and holds more connections open than are served.
fn scrape(path: &Path, scrapes: &AtomicU64, over: &AtomicBool) {
    let mut held = Vec::new();
    while !over.load(Ordering::Acquire) {
        held.clear();
        // While one program has ended and the next has not begun, nobody listens.
        held.extend((0..100).flat_map(|_| UnixStream::connect(path)));
        match metrics(path) {
            Ok(text) => {
                assert!(text.contains("\ntlsink_streams_opened_total "), "{text}");
                scrapes.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::NotFound
                        | ErrorKind::ConnectionRefused
                        | ErrorKind::ConnectionReset
                        | ErrorKind::BrokenPipe
                ),
                "{error}"
            ),
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn metrics(path: &Path) -> io::Result<String> {
    let mut socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    match text.starts_with("HTTP/1.1 200 ") {
        true => Ok(text),
        // A program that ends closes its connections.
        false => Err(ErrorKind::ConnectionReset.into()),
    }
}
