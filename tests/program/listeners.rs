//! Listening on Unix sockets, on sockets that systemd passes, and without TLS.

#![cfg(all(feature = "cli", feature = "gzip"))]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::client::{TLS13, config};
use crate::common::program::{BINARY, Client, FREE, Program, send, tcp, unix};
use crate::common::skip::is_installed;

use super::refused::{WRONG_USE, each_is_refused, refused};

/// Starts the program on these places, and waits until it listens on all of them.
pub fn start(listen: &[&str], args: &[&str]) -> Program {
    let mut command = Command::new(BINARY);
    for place in listen {
        command.args(["--listen", place]);
    }
    command.args(args);
    Program::start_anywhere(command, Stdio::null(), listen.len())
}

/// Sends these bytes without TLS, and waits until the program closes the connection too.
fn send_plain(mut socket: TcpStream, bytes: &[u8]) {
    socket.write_all(bytes).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"");
}

fn send_tls(socket: TcpStream, bytes: &[u8]) {
    let mut client = Client::over(socket, config(&TLS13), "localhost").unwrap();
    client.write(bytes).unwrap();
    client.finish().unwrap();
}

#[test]
fn a_unix_socket_takes_tls_and_is_gone_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tlsink.sock");
    let place = format!("unix:{}", path.display());
    let program = start(&[&place], &["--label"]);
    program.wait_for_line(|line| line == format!("tlsink: listening on {place}"));
    let metadata = fs::symlink_metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);

    send_tls(unix(&path).unwrap(), b"hello\n");
    program.wait_for_stdout("unix hello\n");
    let end = program.wait_for_end();
    assert_eq!((end.peer.as_str(), end.end.as_str()), ("unix", "clean"));
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    assert!(!path.exists());
}

#[test]
fn a_sender_whose_socket_has_a_path_is_named_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tlsink.sock");
    let own = folder.path().join("own.sock");
    let program = start(&[&format!("plain:unix:{}", path.display())], &["--label"]);
    // std can't bind a socket that connects.
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(&own).unwrap()).unwrap();
    connect(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    send_plain(TcpStream::from(socket), b"hello\n");
    program.wait_for_stdout(format!("unix:{} hello\n", own.display()));
}

#[test]
fn without_tls_this_machine_alone_can_send() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tlsink.sock");
    let places = [
        &*format!("plain:unix:{}", path.display()),
        "plain:127.0.0.1:0",
    ];
    let program = start(&places, &["--label"]);
    send_plain(unix(&path).unwrap(), b"over a file\n");
    program.wait_for_stdout("unix over a file\n");
    let line = program.wait_for_line(|line| line.contains("listening on plain:127.0.0.1:"));
    let (_, address) = line.split_once("plain:").unwrap();
    let socket = tcp(address.parse().unwrap()).unwrap();
    let own = socket.local_addr().unwrap();
    send_plain(socket, b"over a port\n");
    program.wait_for_stdout(format!("unix over a file\n{own} over a port\n"));
    // Nobody needs a certificate.
    assert!(!program.stderr().contains("certificate"));
    assert!(!program.stderr().contains("try: "));
    let ends = program.wait_for_ends(2);
    assert!(ends.iter().all(|end| end.end == "clean"), "{ends:?}");
    drop(program);

    each_is_refused(
        &[
            (
                "--listen plain:127.0.0.1:0 --client-ca FILE --allow-client boiler",
                "--allow-client can't be combined with plain:127.0.0.1:0",
                "without TLS, tlsink verifies no sender; the TLS proxy can",
            ),
            (
                "--listen unix:",
                "--listen unix:: expected unix:PATH, such as unix:/run/tlsink.sock",
                "",
            ),
            (
                "--listen fd:2",
                "--listen fd:2: the first descriptor that systemd passes is fd:3",
                "",
            ),
            (
                "--proxy-protocol tcp",
                "--proxy-protocol tcp: expected a network or an address, such as 192.0.2.0/24, \
                 2001:db8::/32 or 192.0.2.7; or unix",
                "",
            ),
            (
                "--allow-from unix",
                "--allow-from unix: expected a network or an address, such as 192.0.2.0/24, \
                 2001:db8::/32 or 192.0.2.7",
                "",
            ),
        ],
        || Command::new(BINARY),
        str::to_owned,
    );
    let mut command = Command::new(BINARY);
    command.args(["--listen", "plain:0.0.0.0:0"]);
    let said = refused(command, WRONG_USE).stderr;
    assert!(
        said.contains("without TLS, only this machine may connect"),
        "{said}"
    );
}

#[test]
fn a_socket_that_nobody_listens_on_is_replaced_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tlsink.sock");
    let place = format!("unix:{}", path.display());
    // A program that is killed leaves its socket there.
    drop(start(&[&place], &[]));
    assert!(path.exists());
    let program = start(&[&place], &[]);
    send_tls(unix(&path).unwrap(), b"hello\n");
    program.wait_for_stdout("hello\n");

    let refuse = |hint: &str| {
        let mut command = Command::new(BINARY);
        command.args(["--listen", &place]);
        let said = refused(command, WRONG_USE).stderr;
        assert!(
            said.starts_with(&format!("tlsink: can't listen on {place}: ")),
            "{said}"
        );
        assert!(said.ends_with(&format!("hint: {hint}\n")), "{said}");
    };
    refuse("another program listens there; stop it first");
    assert!(path.exists());

    // What has taken the socket's place meanwhile stays.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "a file").unwrap();
    assert_eq!(program.stop().status, 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
    refuse("that file is no socket, so tlsink leaves it");
    assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
}

#[test]
fn senders_on_a_unix_socket_are_not_limited_by_address_and_have_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tlsink.sock");
    let place = format!("plain:unix:{}", path.display());
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let args = [
        "--max-per-ip",
        "1",
        "--allow-from",
        "192.0.2.0/24",
        "--output-dir",
        logs.to_str().unwrap(),
        "--name",
        "{peer}-{port}-{conn}",
    ];
    let program = start(&[&place], &args);
    let [one, other] = [(); 2].map(|()| unix(&path).unwrap());
    send_plain(one, b"one");
    send_plain(other, b"other");
    let ends = program.wait_for_ends(2);
    assert!(ends.iter().all(|end| end.end == "clean"), "{ends:?}");
    let mut names: Vec<_> = fs::read_dir(&logs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["unix-0-1", "unix-0-2"]);
}

/// The program as systemd starts it, with its standard input as descriptor 3. `listen_pid` is a shell
/// word.
pub(super) fn passing(listen_pid: &str, variables: &str, args: &[&str]) -> Command {
    let commands =
        format!("exec 3<&0 </dev/null; export LISTEN_PID={listen_pid} {variables}; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &commands, "sh", BINARY]).args(args);
    command
}

#[test]
fn a_passed_socket_is_listened_on_by_its_number_or_name() {
    for (variables, place) in [
        ("LISTEN_FDS=1", "fd:3"),
        ("LISTEN_FDS=1", "fd:unknown"),
        ("LISTEN_FDS=1 LISTEN_FDNAMES=logs", "fd:3"),
        ("LISTEN_FDS=1 LISTEN_FDNAMES=logs", "fd:logs"),
    ] {
        let listener = TcpListener::bind(FREE).unwrap();
        let address = listener.local_addr().unwrap();
        let command = passing("$$", variables, &["--listen", place]);
        let stdin = Stdio::from(OwnedFd::from(listener));
        let program = Program::start_anywhere(command, stdin, 1);
        program.wait_for_line(|line| line == format!("tlsink: listening on {address}"));
        send(address, b"hello\n");
        program.wait_for_stdout("hello\n");
        assert_eq!(program.stop().status, 0);
    }

    // A socket file of systemd's stays.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("systemd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let command = passing("$$", "LISTEN_FDS=1", &["--listen", "plain:fd:3"]);
    let program = Program::start_anywhere(command, Stdio::from(OwnedFd::from(listener)), 1);
    program.wait_for_line(|line| {
        line == format!("tlsink: listening on plain:unix:{}", path.display())
    });
    send_plain(unix(&path).unwrap(), b"hello\n");
    program.wait_for_stdout("hello\n");
    assert_eq!(program.stop().status, 0);
    assert!(path.exists());
}

#[test]
fn sockets_that_were_not_passed_are_refused() {
    let hint = "hint: systemd passes sockets to the service of a .socket unit, and \
                FileDescriptorName= there names them\n";
    let everywhere = || OwnedFd::from(TcpListener::bind("0.0.0.0:0").unwrap());
    let listener = || OwnedFd::from(TcpListener::bind(FREE).unwrap());
    let datagrams = || OwnedFd::from(UdpSocket::bind(FREE).unwrap());
    let connected = || {
        let listener = TcpListener::bind(FREE).unwrap();
        OwnedFd::from(tcp(listener.local_addr().unwrap()).unwrap())
    };
    type Made<'a> = &'a dyn Fn() -> OwnedFd;
    let cases: [(Made<'_>, &str, &str, &str, &str); 9] = [
        (
            &listener,
            "$$",
            "A=",
            "fd:3",
            "fd:3: no sockets were passed (LISTEN_FDS)",
        ),
        (
            &listener,
            "$$",
            "LISTEN_FDS=0",
            "fd:3",
            "fd:3: no sockets were passed (LISTEN_FDS)",
        ),
        (
            &listener,
            "$$",
            "LISTEN_FDS=4294967295",
            "fd:3",
            "fd:3: no sockets were passed (LISTEN_FDS)",
        ),
        (
            &listener,
            "1",
            "LISTEN_FDS=1",
            "fd:a",
            "fd:a: the sockets were passed to another process (LISTEN_PID)",
        ),
        (
            &listener,
            "$$",
            "LISTEN_FDS=1 LISTEN_FDNAMES=a",
            "fd:b",
            "fd:b: no such socket was passed, but a",
        ),
        (
            &listener,
            "$$",
            "LISTEN_FDS=1",
            "fd:4",
            "fd:4: no such socket was passed, but unknown",
        ),
        (
            &datagrams,
            "$$",
            "LISTEN_FDS=1",
            "fd:3",
            "fd:3: this is no listening TCP or Unix socket",
        ),
        (
            &connected,
            "$$",
            "LISTEN_FDS=1",
            "fd:3",
            "fd:3: this is no listening TCP or Unix socket",
        ),
        (
            &everywhere,
            "$$",
            "LISTEN_FDS=1",
            "plain:fd:3",
            "plain:fd:3: without TLS, only this machine may connect, and others reach 0.0.0.0:",
        ),
    ];
    for (socket, pid, variables, place, error) in cases {
        let command = passing(pid, variables, &["--listen", place]);
        let program = Program::start_command_by(command, Stdio::from(socket()));
        let outcome = program.outcome();
        assert_eq!(outcome.status, WRONG_USE, "{error}");
        let said = outcome.stderr;
        assert!(said.starts_with(&format!("tlsink: {error}")), "{said}");
        assert_eq!(said.ends_with(hint), said.contains("passed"), "{said}");
    }
    let command = passing(
        "$$",
        "LISTEN_FDS=1",
        &["--listen", "fd:3", "--listen", "fd:unknown"],
    );
    let outcome = Program::start_command_by(command, Stdio::from(listener())).outcome();
    let error = "tlsink: fd:unknown: another --listen has this socket already\n";
    assert_eq!(outcome.stderr, error);
}

/// Starts the program by systemd-socket-activate(1), which listens, and starts it when somebody
/// connects.
fn activated(listen: &[&str], names: &str, args: &[&str]) -> Option<Program> {
    if !is_installed("systemd-socket-activate") {
        return None;
    }
    let mut command = Command::new("systemd-socket-activate");
    for place in listen {
        command.args(["--listen", place]);
    }
    command
        .arg(format!("--fdname={names}"))
        .arg(BINARY)
        .args(args);
    let program = Program::start_command_by(command, Stdio::null());
    program.wait_for_lines(listen.len(), |line| line.starts_with("Listening on "));
    Some(program)
}

fn free_address() -> String {
    let free = TcpListener::bind(FREE).and_then(|free| free.local_addr());
    free.unwrap().to_string()
}

#[test]
fn systemd_socket_activate_passes_sockets_and_one_name_may_stand_for_several() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tlsink.sock");
    let addresses = [free_address(), free_address(), free_address()];
    let [one, other, unused] = &addresses;
    let listen = [one, other, path.to_str().unwrap(), unused];
    let args = [
        "--listen",
        "fd:tls",
        "--listen",
        "plain:fd:local",
        "--label",
    ];
    let Some(program) = activated(&listen, "tls:tls:local:unused", &args) else {
        return;
    };
    let sender = |address: &str| {
        let mut client = Client::connect(address.parse().unwrap());
        client.write(b"hello\n").unwrap();
        let shown = format!("{} hello\n", client.local_address());
        client.finish().unwrap();
        shown
    };
    let mut expected = sender(one);
    program.wait_for_line(|line| line == "tlsink: no --listen takes 1 passed socket (unused)");
    expected += &sender(other);
    send_plain(unix(Path::new(&path)).unwrap(), b"hello\n");
    expected += "unix hello\n";
    program.wait_for_stdout(expected);
    for place in [one, other] {
        program.wait_for_line(|line| *line == format!("tlsink: listening on {place}"));
    }
    assert_eq!(program.stop().status, 0);
}
