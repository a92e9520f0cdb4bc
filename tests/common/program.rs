//! The program as its users have it: the real binary, real signals, and a TLS client that can also
//! misbehave. Nothing here sleeps; every wait has an event and a time limit.

#![cfg(feature = "cli")]

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustls::{ClientConfig, ClientConnection, ServerName, SupportedProtocolVersion};

use super::client::{TLS12, TLS13, config};
use super::process::raise_file_limit;
use super::skip::missing;
use super::terminal::{ERASE, Terminal, as_shown};

/// The time limit of every wait. Only a failing test takes so long.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The path of the program.
pub const BINARY: &str = env!("CARGO_BIN_EXE_tlsink");

/// The loopback address, with any free port.
pub const FREE: &str = "127.0.0.1:0";

/// The program, running. It is killed when this is dropped.
pub struct Program {
    child: Child,
    addresses: Vec<SocketAddr>,
    stderr: Arc<Collected>,
    stdout: Arc<Collected>,
    unread: Option<File>,
}

/// The destination of the program's standard output.
pub enum Stdout {
    /// Read as it comes, for [`Program::wait_for_stdout`].
    Collected,
    /// A pipe that only the test reads, by [`Program::unread`].
    Unread,
    /// A terminal that is read as it comes.
    Terminal(Terminal),
    /// A terminal that is read like [`Stdout::Unread`].
    UnreadTerminal(Terminal),
    File(File),
}

/// The destination of the program's standard error. It is always read as it comes.
pub enum Stderr {
    Pipe,
    Terminal(Terminal),
}

/// The results of a program that has ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status, or the negative number of the signal that ended it.
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    /// Standard error, where the last line of a sender is without its time, its rate, and the live lines
    /// before it.
    pub fn untimed(&self) -> String {
        let untimed = |line: &str| {
            let sent = as_shown(line).strip_prefix("tlsink: sent ")?;
            let (sent, timed) = sent.rsplit_once(" in ")?;
            let (_, rest) = timed.split_once("B/s")?;
            Some(format!("tlsink: sent {sent}{rest}"))
        };
        let lines = self.stderr.split_inclusive('\n');
        lines
            .map(|line| untimed(line).unwrap_or_else(|| line.to_owned()))
            .collect()
    }
}

/// The end of a connection, parsed from its line on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub peer: String,
    pub received: u64,
    pub delivered: u64,
    /// `None` if too little data came to detect it.
    pub format: String,
    pub end: String,
}

impl Program {
    /// Starts the program on a free port, and collects its standard output.
    pub fn start(args: &[&str]) -> Program {
        Program::start_into(args, Stdout::Collected)
    }

    pub fn start_into(args: &[&str], stdout: Stdout) -> Program {
        Program::start_on(&[FREE], args, stdout)
    }

    /// Starts the program after these shell [commands](after).
    pub fn start_after(commands: &str, args: &[&str]) -> Program {
        Program::start_after_into(commands, args, Stdout::Collected)
    }

    pub fn start_after_into(commands: &str, args: &[&str], stdout: Stdout) -> Program {
        let mut command = after(commands);
        command.args(["--listen", FREE]).args(args);
        Program::launch(command, stdout, Stderr::Pipe).listening(1)
    }

    /// Starts the program with `--quiet`, so that it does not print its address. Returns the
    /// address, whose port was free a moment ago.
    pub fn start_quiet(args: &[&str], stderr: Stderr) -> (Program, SocketAddr) {
        let address = TcpListener::bind(FREE).and_then(|free| free.local_addr());
        let address = address.expect("a port is free");
        let mut command = Command::new(BINARY);
        command.args(["--quiet", "--listen", &address.to_string()]);
        command.args(args);
        let program = Program::launch(command, Stdout::Collected, stderr);
        let deadline = Instant::now() + LIMIT;
        while tcp(address).is_err() {
            assert!(Instant::now() < deadline, "it never listens");
            thread::yield_now();
        }
        (program, address)
    }

    /// Starts the program on a free port, with a terminal as its standard error.
    pub fn start_saying_to(terminal: Terminal, args: &[&str]) -> Program {
        let mut command = Command::new(BINARY);
        command.args(["--listen", FREE]).args(args);
        Program::start_by_saying_to(command, terminal)
    }

    /// The same, by a command of the test's own.
    pub fn start_by_saying_to(command: Command, terminal: Terminal) -> Program {
        Program::launch(command, Stdout::Collected, Stderr::Terminal(terminal)).listening(1)
    }

    /// Starts the program with both standard output and standard error on terminals.
    pub fn start_on_terminals(stdout: Terminal, stderr: Terminal, args: &[&str]) -> Program {
        let mut command = Command::new(BINARY);
        command.args(["--listen", FREE]).args(args);
        let (stdout, stderr) = (Stdout::Terminal(stdout), Stderr::Terminal(stderr));
        Program::launch(command, stdout, stderr).listening(1)
    }

    /// Starts the program on these addresses, and waits until it listens on all of them.
    pub fn start_on(listen: &[&str], args: &[&str], stdout: Stdout) -> Program {
        let mut command = Command::new(BINARY);
        for address in listen {
            command.args(["--listen", address]);
        }
        command.args(args);
        Program::launch(command, stdout, Stderr::Pipe).listening(listen.len())
    }

    /// Starts the program by a command of the test's own, and waits until it listens on this many
    /// addresses.
    pub fn start_by(command: Command, count: usize) -> Program {
        Program::start_by_into(command, Stdout::Collected, count)
    }

    pub fn start_by_into(command: Command, stdout: Stdout, count: usize) -> Program {
        Program::launch(command, stdout, Stderr::Pipe).listening(count)
    }

    /// Runs the program by a command of the test's own, with this standard input, and waits for
    /// nothing.
    pub fn start_command_by(command: Command, stdin: Stdio) -> Program {
        Program::start_command_into(command, stdin, Stderr::Pipe)
    }

    pub fn start_command_into(command: Command, stdin: Stdio, stderr: Stderr) -> Program {
        Program::launch_with(command, stdin, Stdout::Collected, stderr)
    }

    /// Starts the program by a command of the test's own, with this standard input, and waits until it
    /// listens on this many places, which it may call anything.
    pub fn start_anywhere(command: Command, stdin: Stdio, count: usize) -> Program {
        let program = Program::launch_with(command, stdin, Stdout::Collected, Stderr::Pipe);
        program.wait_for_lines(count, |line| line.contains("tlsink: listening on "));
        program
    }

    fn listening(mut self, count: usize) -> Program {
        let program = &mut self;
        program.addresses = program.stderr.wait("to be listening", |said, _| {
            let said = String::from_utf8_lossy(said);
            let addresses: Vec<SocketAddr> = whole_lines(&said)
                .filter_map(|line| {
                    // A timestamp may precede the text.
                    let (_, address) = line.split_once("tlsink: listening on ")?;
                    address.parse().ok()
                })
                .collect();
            (addresses.len() >= count).then_some(addresses)
        });
        self
    }

    /// Runs the program with exactly these arguments, which must make it end before it listens.
    pub fn run(args: &[&str]) -> Outcome {
        Program::run_on(args, Stdout::Collected, Stderr::Pipe)
    }

    pub fn run_on(args: &[&str], stdout: Stdout, stderr: Stderr) -> Outcome {
        let mut command = Command::new(BINARY);
        command.args(args);
        Program::run_by(command, stdout, stderr)
    }

    /// Runs the program by a command of the test's own, which must make it end before it listens.
    pub fn run_by(command: Command, stdout: Stdout, stderr: Stderr) -> Outcome {
        let shown = format!("{command:?}");
        let program = Program::launch(command, stdout, stderr);
        program.stderr.wait("to end", |said, ended| {
            let said = String::from_utf8_lossy(said);
            assert!(!said.contains("tlsink: listening on "), "{shown} runs");
            ended.then_some(())
        });
        program.outcome()
    }

    /// Runs a command that does not listen, with this standard input.
    pub fn start_command(args: &[&str], stdin: Stdio, stderr: Stderr) -> Program {
        let mut command = Command::new(BINARY);
        command.args(args);
        Program::launch_with(command, stdin, Stdout::Collected, stderr)
    }

    /// Runs a command that does not listen after these shell commands.
    pub fn start_command_after(commands: &str, args: &[&str], stdin: Stdio) -> Program {
        let mut command = after(commands);
        command.args(args);
        Program::launch_with(command, stdin, Stdout::Collected, Stderr::Pipe)
    }

    fn launch(command: Command, stdout: Stdout, stderr: Stderr) -> Program {
        Program::launch_with(command, Stdio::null(), stdout, stderr)
    }

    fn launch_with(mut command: Command, stdin: Stdio, stdout: Stdout, stderr: Stderr) -> Program {
        raise_file_limit();
        let is_unread = matches!(stdout, Stdout::Unread | Stdout::UnreadTerminal(_));
        let (stdout, output) = match stdout {
            Stdout::Collected | Stdout::Unread => (Stdio::piped(), None),
            Stdout::Terminal(Terminal { user, controller })
            | Stdout::UnreadTerminal(Terminal { user, controller }) => {
                (Stdio::from(user), Some(controller))
            }
            Stdout::File(file) => (Stdio::from(file), None),
        };
        let (stderr, said) = match stderr {
            Stderr::Pipe => (Stdio::piped(), None),
            Stderr::Terminal(Terminal { user, controller }) => {
                (Stdio::from(user), Some(controller))
            }
        };
        on_a_plain_terminal(&mut command);
        let mut child = command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("the program starts");
        // The command holds copies of a terminal's side, which ends only when all are closed.
        drop(command);
        let output = output.or_else(|| Some(File::from(OwnedFd::from(child.stdout.take()?))));
        let said = said
            .or_else(|| Some(File::from(OwnedFd::from(child.stderr.take()?))))
            .expect("standard error is a pipe or a terminal");
        let (unread, stdout) = match output {
            Some(output) if is_unread => (Some(output), Collected::nothing()),
            Some(output) => (None, Collected::from(output)),
            None => (None, Collected::nothing()),
        };
        Program {
            stderr: Collected::from(said),
            child,
            addresses: Vec::new(),
            stdout,
            unread,
        }
    }

    /// The first address that the program listens on.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Takes the test's end of the program's standard input, if that is a pipe.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("standard input is a pipe")
    }

    /// Takes the standard output of [`Stdout::Unread`] or [`Stdout::UnreadTerminal`].
    pub fn unread(&mut self) -> File {
        self.unread.take().expect("standard output is unread")
    }

    /// Waits for a line on standard error.
    pub fn wait_for_line(&self, wanted: impl Fn(&str) -> bool) -> String {
        self.stderr.wait("to say a certain line", |said, _| {
            let said = String::from_utf8_lossy(said);
            whole_lines(&said)
                .find(|line| wanted(line))
                .map(str::to_owned)
        })
    }

    /// Waits for this many matching lines on standard error.
    pub fn wait_for_lines(&self, count: usize, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        self.stderr.wait("to say certain lines", |said, _| {
            let said = String::from_utf8_lossy(said);
            let lines = whole_lines(&said).filter(|line| wanted(line));
            let lines: Vec<_> = lines.map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// Waits until an unfinished line is all that a terminal shows after the last newline.
    pub fn wait_for_live_line(&self, wanted: impl Fn(&str) -> bool) -> String {
        self.stderr.wait("to show a certain live line", |said, _| {
            let said = String::from_utf8_lossy(said);
            let live = as_shown(said.rsplit('\n').next()?);
            wanted(live).then(|| live.to_owned())
        })
    }

    /// Waits until such a text was the unfinished line, be it for a moment.
    pub fn wait_for_drawn(&self, wanted: impl Fn(&str) -> bool) -> String {
        self.stderr.wait("to draw a certain line", |said, _| {
            let said = String::from_utf8_lossy(said);
            let (drawn, _) = said.rsplit_once(ERASE)?;
            let mut drawn = drawn.split(ERASE).skip(1);
            let live =
                drawn.find_map(|drawn| drawn.rsplit('\n').next().filter(|live| wanted(live)));
            live.map(str::to_owned)
        })
    }

    /// Waits until this many connections that had completed their handshake have ended.
    pub fn wait_for_ends(&self, count: usize) -> Vec<Ended> {
        self.stderr.wait("to say how connections ended", |said, _| {
            let ends = ends(&String::from_utf8_lossy(said));
            (ends.len() >= count).then_some(ends)
        })
    }

    /// Waits for the end of the only connection.
    pub fn wait_for_end(&self) -> Ended {
        self.wait_for_ends(1).swap_remove(0)
    }

    /// Waits until standard output holds at least as much as `expected`, and checks that it begins
    /// with that.
    pub fn wait_for_stdout(&self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        self.stdout.wait("to print", |printed, _| {
            let common = printed.len().min(expected.len());
            assert_eq!(
                String::from_utf8_lossy(&printed[..common]),
                String::from_utf8_lossy(&expected[..common]),
            );
            (printed.len() >= expected.len()).then_some(())
        });
    }

    /// Waits until standard output holds this many lines, and returns them.
    pub fn wait_for_printed_lines(&self, count: usize) -> String {
        self.stdout.wait("to print lines", |printed, _| {
            let printed = String::from_utf8_lossy(printed);
            let (end, _) = printed.match_indices('\n').nth(count.checked_sub(1)?)?;
            Some(printed[..=end].to_owned())
        })
    }

    /// All of standard output so far.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&self.stdout.lock().bytes).into_owned()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All of standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().bytes).into_owned()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the program can be signalled");
    }

    /// Asks the program to stop, and waits until it has ended.
    pub fn stop(self) -> Outcome {
        self.signal(Signal::TERM);
        self.outcome()
    }

    /// Waits until the program has ended.
    pub fn outcome(mut self) -> Outcome {
        // The pipes end when the program is gone.
        self.stderr.wait("to end", |_, ended| ended.then_some(()));
        self.stdout.wait("to end", |_, ended| ended.then_some(()));
        let status = self.child.wait().expect("the program can be waited for");
        let outcome = Outcome {
            status: code(status),
            stdout: self.stdout.lock().bytes.clone(),
            stderr: self.stderr(),
        };
        // libtest shows this only if the test fails.
        let Outcome { status, stderr, .. } = &outcome;
        eprintln!("the program ended with {status}, and said:\n{stderr}");
        outcome
    }
}

/// Gives the program an environment in which its messages have no colours, and a terminal can erase
/// lines; variables that the test has set or removed stay as they are.
fn on_a_plain_terminal(command: &mut Command) {
    for (name, value) in [
        ("TERM", Some("xterm")),
        ("NO_COLOR", Some("1")),
        ("CLICOLOR", None),
        ("CLICOLOR_FORCE", None),
    ] {
        let is_set = command.get_envs().any(|(set, _)| set == name);
        match value {
            _ if is_set => {}
            Some(value) => drop(command.env(name, value)),
            None => drop(command.env_remove(name)),
        }
    }
}

/// A command that runs the program after these shell commands: `umask`, `ulimit`, `trap`, `exec`
/// with redirections.
pub fn after(commands: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{commands}; exec \"$@\"")])
        .args(["sh", BINARY]);
    command
}

impl Drop for Program {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the program said:\n{}", self.stderr());
        }
        // Both calls fail only if the program has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Outcome {
    /// The ends of the connections that had completed their handshake.
    pub fn ends(&self) -> Vec<Ended> {
        ends(&self.stderr)
    }

    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// The version of TLS that a client speaks.
#[derive(Clone, Copy, Debug)]
pub enum Version {
    Tls12,
    Tls13,
}

impl Version {
    pub const ALL: [Version; 2] = [Version::Tls12, Version::Tls13];

    pub fn of_rustls(self) -> &'static SupportedProtocolVersion {
        match self {
            Version::Tls12 => &TLS12,
            Version::Tls13 => &TLS13,
        }
    }
}

/// A TLS client that trusts every server. It reads only where its methods say so.
pub struct Client {
    tls: ClientConnection,
    tcp: TcpStream,
}

impl Client {
    /// Connects with TLS 1.3 and completes the handshake.
    pub fn connect(address: SocketAddr) -> Client {
        Client::connect_as(address, Version::Tls13).expect("the handshake succeeds")
    }

    pub fn connect_as(address: SocketAddr, version: Version) -> io::Result<Client> {
        Client::over(tcp(address)?, config(version.of_rustls()), "localhost")
    }

    /// Completes the handshake over this connection, asking for a server of this name, which may be
    /// an address.
    pub fn over(
        mut tcp: TcpStream,
        config: impl Into<Arc<ClientConfig>>,
        server: &str,
    ) -> io::Result<Client> {
        let mut tls = session(config, server);
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(Client { tls, tcp })
    }

    pub fn local_address(&self) -> SocketAddr {
        self.tcp.local_addr().expect("the socket is bound")
    }

    /// The server's certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        self.chain()[0].as_ref()
    }

    /// All certificates that the server presents.
    pub fn chain(&self) -> &[rustls::Certificate] {
        self.tls.peer_certificates().expect("the server has one")
    }

    /// Sends all bytes, and reads nothing.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.tls.writer().write(bytes)?;
            bytes = &bytes[taken..];
            self.send_records()?;
        }
        Ok(())
    }

    /// Sends a record that the server can't authenticate.
    pub fn write_forged(&mut self) -> io::Result<()> {
        self.tls.writer().write_all(b"forged")?;
        let mut record = Vec::new();
        self.tls.write_tls(&mut record)?;
        *record.last_mut().expect("a record has bytes") ^= 1;
        self.tcp.write_all(&record)
    }

    /// Closes the socket with a reset, which overtakes bytes still on their way.
    pub fn reset(self) -> io::Result<()> {
        let no_time = Some(Duration::ZERO);
        Ok(rustix::net::sockopt::set_socket_linger(&self.tcp, no_time)?)
    }

    /// Sends close_notify and waits for the server's, which confirms that the stream was clean.
    pub fn finish(self) -> io::Result<()> {
        match self.finish_for_answer()? {
            (answer, true) if answer.is_empty() => Ok(()),
            (answer, true) => Err(io::Error::other(format!("the server answered {answer}"))),
            (_, false) => Err(io::Error::other("no close_notify came")),
        }
    }

    /// Sends close_notify and waits for the server to end the stream without one. A server that has
    /// ended it already resets the connection.
    pub fn finish_unclean(self) -> io::Result<()> {
        match self.finish_for_answer() {
            Ok((answer, false)) if answer.is_empty() => Ok(()),
            Ok((answer, false)) => Err(io::Error::other(format!("the server answered {answer}"))),
            Ok((_, true)) => Err(io::Error::other("the server called the stream clean")),
            Err(error) => match error.kind() {
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Sends close_notify and reads the server's receipt.
    pub fn finish_for_receipt(mut self) -> io::Result<String> {
        self.close_notify()?;
        self.read_receipt()
    }

    /// Reads the server's receipt, which is followed by a close_notify if, and only if, the stream
    /// was clean.
    pub fn read_receipt(&mut self) -> io::Result<String> {
        let (receipt, close_notify) = self.read_answer()?;
        match receipt.starts_with("{\"ok\":true,") == close_notify {
            true => Ok(receipt),
            false => Err(io::Error::other(format!(
                "behind {receipt}, close_notify: {close_notify}"
            ))),
        }
    }

    /// Sends close_notify and reads all answers; returns whether a close_notify ended them.
    pub fn finish_for_answer(mut self) -> io::Result<(String, bool)> {
        self.close_notify()?;
        self.read_answer()
    }

    /// Reads the server's bytes until it ends the stream, and returns whether a close_notify did
    /// that.
    fn read_answer(&mut self) -> io::Result<(String, bool)> {
        let mut text = Vec::new();
        let close_notify = loop {
            let mut piece = [0; 64];
            match self.tls.reader().read(&mut piece) {
                Ok(0) => break true,
                Ok(n) => text.extend(&piece[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.tls.read_tls(&mut self.tcp)?;
                    self.tls.process_new_packets().map_err(io::Error::other)?;
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break false,
                Err(error) => return Err(error),
            }
        };
        let text = String::from_utf8(text).map_err(io::Error::other)?;
        Ok((text, close_notify))
    }

    /// Reads the server's next line, without its newline; `None` if it ends the stream before.
    pub fn read_line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            match self.tls.reader().read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) if byte == *b"\n" => break,
                Ok(_) => line.extend(byte),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.tls.read_tls(&mut self.tcp)?;
                    self.tls.process_new_packets().map_err(io::Error::other)?;
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        String::from_utf8(line).map(Some).map_err(io::Error::other)
    }

    /// Waits until the server has shut down its side of the socket too.
    pub fn wait_for_shutdown(&mut self) -> io::Result<()> {
        match self.tcp.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::Error::other("the server sent something")),
        }
    }

    /// Stops sending, without a close_notify, but still reads.
    pub fn stop_sending(&mut self) -> io::Result<()> {
        self.tcp.shutdown(Shutdown::Write)
    }

    /// Sends close_notify and closes the socket, without reading any data that arrives.
    pub fn finish_without_reading(mut self) -> io::Result<()> {
        self.close_notify()
    }

    /// Closes the socket without a close_notify.
    pub fn abandon(self) -> io::Result<()> {
        self.tcp.shutdown(Shutdown::Write)
    }

    fn close_notify(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        self.send_records()
    }

    fn send_records(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.tcp)?;
        }
        Ok(())
    }
}

/// Connects to a Unix socket. The result is used like any other stream socket.
pub fn unix(path: &Path) -> io::Result<TcpStream> {
    let socket = TcpStream::from(OwnedFd::from(UnixStream::connect(path)?));
    socket.set_read_timeout(Some(LIMIT))?;
    socket.set_write_timeout(Some(LIMIT))?;
    Ok(socket)
}

/// Connects without TLS.
pub fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect_timeout(&address, LIMIT)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(LIMIT))?;
    tcp.set_write_timeout(Some(LIMIT))?;
    Ok(tcp)
}

/// The first record of a handshake.
pub fn client_hello() -> Vec<u8> {
    let mut hello = Vec::new();
    let mut tls = session(config(&TLS13), "localhost");
    tls.write_tls(&mut hello).expect("a Vec takes everything");
    hello
}

/// The first message of a client that knows nothing newer than TLS 1.1 (RFC 4346, section 7.4.1.2).
pub fn tls_1_1_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    // No session ID, the suite TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    hello
}

/// Connects, sends `bytes`, ends cleanly.
pub fn send(address: SocketAddr, bytes: &[u8]) {
    let mut client = Client::connect(address);
    client.write(bytes).expect("the server reads");
    client.finish().expect("the server answers close_notify");
}

/// Runs another program with these bytes on its standard input; if it is not installed, reports
/// that and returns `None`.
pub fn run_if_installed(command: &mut Command, bytes: &[u8]) -> Option<Output> {
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child: Child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let name = command.get_program().to_string_lossy();
            missing(&format!("{name} is not installed"));
            return None;
        }
        Err(error) => panic!("can't start {command:?}: {error}"),
    };
    let pid = Pid::from_child(&child);
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let bytes = bytes.to_vec();
    // A thread writes while the output is read, because the program may write much before it has
    // read everything. A program that ends too early shows that by its exit status.
    thread::spawn(move || stdin.write_all(&bytes));
    let (done, output) = mpsc::channel();
    thread::spawn(move || done.send(child.wait_with_output()));
    let Ok(output) = output.recv_timeout(LIMIT) else {
        kill_process(pid, Signal::KILL).expect("it can be killed");
        panic!("{command:?} did not end");
    };
    Some(output.expect("it can be run"))
}

/// Bytes that a thread reads while others wait for them.
struct Collected {
    so_far: Mutex<SoFar>,
    more: Condvar,
}

#[derive(Default)]
struct SoFar {
    bytes: Vec<u8>,
    ended: bool,
}

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static) -> Arc<Self> {
        let collected = Arc::new(Collected {
            so_far: Mutex::default(),
            more: Condvar::new(),
        });
        let filled = Arc::clone(&collected);
        thread::spawn(move || {
            let mut piece = vec![0; 64 * 1024];
            loop {
                let read = pipe.read(&mut piece).unwrap_or(0);
                let mut so_far = filled.lock();
                so_far.bytes.extend_from_slice(&piece[..read]);
                so_far.ended = read == 0;
                filled.more.notify_all();
                if so_far.ended {
                    return;
                }
            }
        });
        collected
    }

    fn nothing() -> Arc<Self> {
        Collected::from(io::empty())
    }

    /// A failed assertion in [`wait`](Self::wait) poisons the lock, but leaves the bytes whole.
    fn lock(&self) -> MutexGuard<'_, SoFar> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `look` with all bytes so far, and whether they are complete, until it returns a value.
    fn wait<T>(&self, what: &str, mut look: impl FnMut(&[u8], bool) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        let mut so_far = self.lock();
        loop {
            if let Some(seen) = look(&so_far.bytes, so_far.ended) {
                return seen;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !so_far.ended && !left.is_zero(),
                "waited for the program {what}, but there was only this:\n{}",
                String::from_utf8_lossy(&so_far.bytes)
            );
            so_far = match self.more.wait_timeout(so_far, left) {
                Ok((so_far, _)) => so_far,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// The lines that are complete, as a terminal shows them.
fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    let whole = text.rfind('\n').map_or("", |at| &text[..at]);
    whole.lines().map(as_shown)
}

fn ends(said: &str) -> Vec<Ended> {
    whole_lines(said).filter_map(Ended::parse).collect()
}

impl Ended {
    /// Parses `tlsink: PEER: N bytes received, N delivered, FORMAT, END`. The format may be
    /// missing, and the end may hold commas too, but only in its parentheses.
    fn parse(line: &str) -> Option<Self> {
        let (peer, facts) = line.strip_prefix("tlsink: ")?.split_once(": ")?;
        let (received, facts) = match facts.split_once(" bytes received, ") {
            Some(split) => split,
            None => facts.split_once(" byte received, ")?,
        };
        let (delivered, facts) = facts.split_once(" delivered, ")?;
        let (format, end) = match facts.split_once(", ") {
            Some((format, end)) if !format.contains('(') => (format, end),
            _ => ("", facts),
        };
        Some(Ended {
            peer: peer.to_owned(),
            received: received.parse().ok()?,
            delivered: delivered.parse().ok()?,
            format: format.to_owned(),
            end: end.to_owned(),
        })
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let signal = status.signal().map(|signal| -signal);
    status.code().or(signal).expect("it has ended")
}

fn session(config: impl Into<Arc<ClientConfig>>, server: &str) -> ClientConnection {
    let name = ServerName::try_from(server).expect("it is a name");
    ClientConnection::new(config.into(), name).expect("the configuration is complete")
}
