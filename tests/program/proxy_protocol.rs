//! Senders behind a proxy, which names them in a PROXY header, and senders that may not connect.

#![cfg(all(feature = "cli", feature = "gzip"))]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::Signal;

use crate::common::authority::Authority;
use crate::common::child::Running;
use crate::common::client::{TLS13, config};
use crate::common::program::{BINARY, Client, FREE, LIMIT, Program, client_hello, tcp, unix};
use crate::common::skip::is_installed;
use crate::common::status::status;

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 40312 4433\r\n";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A header of version 2 from this address, with these extensions.
fn v2(address: [u8; 4], port: u16, extensions: &[u8]) -> Vec<u8> {
    let len = u16::try_from(12 + extensions.len()).unwrap().to_be_bytes();
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend(len);
    header.extend(address);
    header.extend([192, 0, 2, 1]);
    header.extend(port.to_be_bytes());
    header.extend([0x11, 0x51]);
    header.extend(extensions);
    header
}

/// The facts about TLS between a sender and its proxy.
fn ssl(client: u8, verify: u8, name: &str) -> Vec<u8> {
    let len = u8::try_from(name.len()).unwrap();
    let mut extension = vec![0x20, 0, 8 + len, client, 0, 0, 0, verify, 0x22, 0, len];
    extension.extend(name.as_bytes());
    extension
}

fn start(args: &[&str]) -> Program {
    let proxies = [
        "--proxy-protocol",
        "127.0.0.1/32",
        "--proxy-protocol",
        "unix",
    ];
    Program::start(&[&proxies, args].concat())
}

/// Starts the program on a Unix socket without TLS.
fn start_plain(folder: &Path, args: &[&str]) -> (Program, PathBuf) {
    let path = folder.join("tlsink.sock");
    let mut command = Command::new(BINARY);
    command.args(["--listen", &format!("plain:unix:{}", path.display())]);
    command.args(["--proxy-protocol", "unix"]).args(args);
    (Program::start_anywhere(command, Stdio::null(), 1), path)
}

/// Sends a header, and then a stream with TLS.
fn send_behind(address: SocketAddr, header: &[u8], bytes: &[u8]) {
    let mut socket = tcp(address).unwrap();
    socket.write_all(header).unwrap();
    let mut client = Client::over(socket, config(&TLS13), "localhost").unwrap();
    client.write(bytes).unwrap();
    client.finish().unwrap();
}

/// Sends these bytes without TLS, and waits until the program closes the connection too.
fn send_plain(mut socket: TcpStream, bytes: &[u8]) {
    socket.write_all(bytes).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    wait_for_close(socket);
}

/// Waits until the program closes the connection; it may reset it.
fn wait_for_close(mut socket: TcpStream) {
    let _ = socket.read_to_end(&mut Vec::new());
}

/// Connects from this address of the loopback network.
fn tcp_from(ip: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::from((ip, 0))).unwrap();
    connect(&socket, &address).unwrap();
    TcpStream::from(socket)
}

#[test]
fn the_sender_is_who_the_proxy_says() {
    let program = start(&["--label"]);
    send_behind(program.address(), V1, b"one\n");
    program.wait_for_stdout("192.0.2.7:40312 one\n");
    send_behind(program.address(), &v2([192, 0, 2, 8], 9, &[]), b"two\n");
    program.wait_for_stdout("192.0.2.7:40312 one\n192.0.2.8:9 two\n");
    let peers: Vec<_> = program
        .wait_for_ends(2)
        .into_iter()
        .map(|end| end.peer)
        .collect();
    assert_eq!(peers, ["192.0.2.7:40312", "192.0.2.8:9"]);

    // In the packet of the first record, and each byte in a packet of its own.
    let socket = tcp(program.address()).unwrap();
    let mut behind = socket.try_clone().unwrap();
    for byte in V1 {
        behind.write_all(&[*byte]).unwrap();
    }
    let mut client = Client::over(socket, config(&TLS13), "localhost").unwrap();
    client.write(b"three\n").unwrap();
    client.finish().unwrap();
    let mut together = tcp(program.address()).unwrap();
    together.write_all(&[V1, &client_hello()].concat()).unwrap();
    let mut answer = [0; 5];
    together.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..3], [22, 3, 3], "a ServerHello");
    drop(together);
    program.wait_for_line(|line| {
        line == "tlsink: 192.0.2.7:40312: truncated (closed during the handshake)"
            || line.starts_with("tlsink: 192.0.2.7:40312: reset (")
    });
}

#[test]
fn json_and_files_name_the_sender_behind_a_proxy() {
    let program = start(&["--format", "json"]);
    send_behind(program.address(), V1, b"one\n");
    let printed = program.wait_for_printed_lines(3);
    for line in printed.lines() {
        assert!(line.contains(r#""peer":"192.0.2.7:40312""#), "{line}");
    }

    let folder = tempfile::tempdir().unwrap();
    let program = start(&[
        "--output-dir",
        folder.path().to_str().unwrap(),
        "--name",
        "{peer}-{port}",
    ]);
    send_behind(program.address(), V1, b"one\n");
    program.wait_for_end();
    assert_eq!(
        fs::read(folder.path().join("192.0.2.7-40312")).unwrap(),
        b"one\n"
    );
}

#[test]
fn a_proxy_must_say_whose_connection_it_passes_on() {
    let program = start(&[]);
    for (bytes, reason) in [
        (&client_hello()[..], "no PROXY header"),
        (b"GET / HTTP/1.1\r\n\r\n", "no PROXY header"),
        (
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 x\r\n",
            "PROXY header with an invalid port",
        ),
        (
            &v2([192, 0, 2, 7], 9, &[3, 0, 4, 1, 2, 3, 4]),
            "PROXY header with a wrong checksum",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
            "PROXY header too long",
        ),
    ] {
        let mut socket = tcp(program.address()).unwrap();
        let own = socket.local_addr().unwrap();
        socket.write_all(bytes).unwrap();
        wait_for_close(socket);
        program.wait_for_line(|line| line == format!("tlsink: {own}: refused ({reason})"));
    }
    assert!(
        program
            .stderr()
            .contains("hint: --proxy-protocol has this peer as a proxy\n")
    );

    // The header may not take longer than the handshake.
    let program = start(&["--handshake-timeout", "0.2"]);
    let mut socket = tcp(program.address()).unwrap();
    socket.write_all(&V1[..20]).unwrap();
    program.wait_for_line(|line| line.ends_with("timeout (no handshake within 0.2 s)"));
}

#[test]
fn no_header_is_looked_for_from_others() {
    let program = start(&["--label"]);
    let mut socket = tcp_from([127, 0, 0, 2], program.address());
    let own = socket.local_addr().unwrap();
    socket.write_all(V1).unwrap();
    wait_for_close(socket);
    program.wait_for_line(|line| line == format!("tlsink: {own}: refused (this is not TLS)"));

    let socket = tcp_from([127, 0, 0, 2], program.address());
    let own = socket.local_addr().unwrap();
    let mut client = Client::over(socket, config(&TLS13), "localhost").unwrap();
    client.write(b"hello\n").unwrap();
    client.finish().unwrap();
    program.wait_for_stdout(format!("{own} hello\n"));
}

#[test]
fn health_checks_of_a_proxy_are_counted_and_not_said() {
    let program = start(&["--stats"]);
    for (sent, is_reset) in [
        (&b""[..], false),
        (b"", true),
        (LOCAL, false),
        (LOCAL, true),
        (UNKNOWN, false),
    ] {
        let mut socket = tcp(program.address()).unwrap();
        socket.write_all(sent).unwrap();
        if is_reset {
            let no_time = Some(std::time::Duration::ZERO);
            rustix::net::sockopt::set_socket_linger(&socket, no_time).unwrap();
            drop(socket);
        } else {
            socket.shutdown(Shutdown::Write).unwrap();
            wait_for_close(socket);
        }
    }
    // One that completes the handshake, and one that is a stream of the proxy's own.
    let mut socket = tcp(program.address()).unwrap();
    let own = socket.local_addr().unwrap();
    socket.write_all(LOCAL).unwrap();
    let client = Client::over(socket, config(&TLS13), "localhost").unwrap();
    client.abandon().unwrap();
    send_behind(program.address(), LOCAL, b"from the proxy\n");
    program.wait_for_stdout("from the proxy\n");
    let end = program.wait_for_end();
    assert_ne!(end.peer, own.to_string());
    let outcome = program.stop();
    assert!(
        outcome
            .stderr
            .contains("2 connections, 1 of them clean, 6 health checks, "),
        "{}",
        outcome.stderr
    );
    for unsaid in ["truncated", "reset", "refused"] {
        assert!(!outcome.stderr.contains(unsaid), "{}", outcome.stderr);
    }
    // Half a header is none.
    let program = start(&[]);
    let mut socket = tcp(program.address()).unwrap();
    socket.write_all(&LOCAL[..15]).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    program.wait_for_line(|line| line.ends_with(": truncated (closed during the handshake)"));
}

#[test]
fn health_checks_without_tls_are_no_streams() {
    let folder = tempfile::tempdir().unwrap();
    let (program, path) = start_plain(folder.path(), &["--format", "json", "--stats"]);
    for sent in [&b""[..], LOCAL, UNKNOWN] {
        send_plain(unix(&path).unwrap(), sent);
    }
    send_plain(unix(&path).unwrap(), &[UNKNOWN, b"l"].concat());
    send_plain(unix(&path).unwrap(), &[LOCAL, b"line\n"].concat());
    send_plain(unix(&path).unwrap(), V1);
    let printed = program.wait_for_printed_lines(8);
    let parts = printed.lines().map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let part = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        (part("type"), part("peer"), part("text"))
    });
    let parts: Vec<_> = parts.collect();
    let texts: Vec<_> = parts.iter().filter(|one| !one.2.is_empty()).collect();
    assert_eq!(texts.len(), 2, "{printed}");
    assert!(texts.iter().all(|one| one.1 == "unix"), "{printed}");
    // A sender that sends nothing is one, unlike a health check.
    assert!(
        parts.iter().any(|one| one.1 == "192.0.2.7:40312"),
        "{printed}"
    );
    let outcome = program.stop();
    let said = outcome.stderr;
    assert!(
        said.contains("3 connections, 3 of them clean, 3 health checks, "),
        "{said}"
    );
}

#[test]
fn a_name_that_the_proxy_has_verified_is_the_senders() {
    let folder = tempfile::tempdir().unwrap();
    let (program, path) = start_plain(folder.path(), &["--label"]);
    let mut expected = String::new();
    for (client, verify, name, shown) in [
        (5, 0, "boiler", "boiler@192.0.2.7:9"),
        (5, 0, "a b\n", "a\\x20b\\x0a@192.0.2.7:9"),
        (5, 1, "boiler", "192.0.2.7:9"),
        (1, 0, "boiler", "192.0.2.7:9"),
        (4, 0, "boiler", "192.0.2.7:9"),
    ] {
        let header = v2([192, 0, 2, 7], 9, &ssl(client, verify, name));
        send_plain(unix(&path).unwrap(), &[&header, &b"hello\n"[..]].concat());
        expected += &format!("{shown} hello\n");
        program.wait_for_stdout(&expected);
    }

    // Our own handshake verifies nobody, so the name is nobody's.
    let program = start(&["--label"]);
    let header = v2([192, 0, 2, 7], 9, &ssl(5, 0, "boiler"));
    send_behind(program.address(), &header, b"hello\n");
    program.wait_for_stdout("192.0.2.7:9 hello\n");
}

#[test]
fn limits_are_about_the_sender_and_not_about_the_proxy() {
    let program = start(&["--max-per-ip", "1"]);
    let open = |header: &[u8]| {
        let mut socket = tcp(program.address()).unwrap();
        socket.write_all(header).unwrap();
        Client::over(socket, config(&TLS13), "localhost")
    };
    let other = v2([192, 0, 2, 8], 9, &[]);
    let (one, two) = (open(V1).unwrap(), open(&other).unwrap());
    assert!(open(V1).is_err());
    program.wait_for_line(|line| {
        line == "tlsink: 192.0.2.7:40312: limit (1 connection is open from this address)"
    });
    // The place is free again, and no other is.
    let mut one = one;
    one.write(b"hello\n").unwrap();
    one.finish().unwrap();
    program.wait_for_end();
    let one = open(V1).unwrap();
    assert!(open(V1).is_err());
    assert!(open(&other).is_err());
    one.finish().unwrap();
    two.finish().unwrap();
}

#[test]
fn senders_from_elsewhere_are_refused() {
    let args = [
        "--allow-from",
        "127.0.0.2",
        "--allow-from",
        "::1",
        "--format",
        "json",
    ];
    let program = Program::start(&args);
    let socket = tcp(program.address()).unwrap();
    let own = socket.local_addr().unwrap();
    wait_for_close(socket);
    program.wait_for_line(|line| {
        line == format!("tlsink: {own}: refused (this address is not allowed)")
    });
    program.wait_for_line(|line| line == "hint: --allow-from allows more");
    let printed = program.wait_for_printed_lines(1);
    let expected = format!(r#","peer":"{own}","reason":"this address is not allowed"}}"#);
    assert!(printed.trim_end().ends_with(&expected), "{printed}");
    let socket = tcp_from([127, 0, 0, 2], program.address());
    let client = Client::over(socket, config(&TLS13), "localhost").unwrap();
    client.finish().unwrap();

    // Behind a proxy, the sender counts.
    let program = start(&["--allow-from", "192.0.2.8/31", "--label"]);
    let mut socket = tcp(program.address()).unwrap();
    socket.write_all(V1).unwrap();
    wait_for_close(socket);
    program.wait_for_line(|line| {
        line == "tlsink: 192.0.2.7:40312: refused (this address is not allowed)"
    });
    send_behind(program.address(), &v2([192, 0, 2, 9], 9, &[]), b"hello\n");
    program.wait_for_stdout("192.0.2.9:9 hello\n");
}

// Real proxies.

/// A proxy that listens on `address`.
struct Proxy {
    _running: Running,
    address: SocketAddr,
    /// The address from which the test saw that the proxy listens.
    probe: SocketAddr,
}

impl Proxy {
    /// Starts a proxy by this command, which makes it listen on the address.
    fn start(command: &mut Command, address: SocketAddr, log: &Path) -> Proxy {
        let log_file = fs::File::create(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log_file.try_clone().unwrap())
            .stderr(log_file)
            .spawn();
        let mut running = Running(child.unwrap());
        let deadline = Instant::now() + LIMIT;
        let probe = loop {
            if let Ok(probe) = tcp(address) {
                break probe.local_addr().unwrap();
            }
            let ended = running.0.try_wait().unwrap();
            let said = || fs::read_to_string(log).unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{}", said());
            thread::yield_now();
        };
        Proxy {
            _running: running,
            address,
            probe,
        }
    }

    /// HAProxy, with this frontend's `bind` arguments and this server.
    fn haproxy(folder: &Path, bind: &str, server: &str) -> Option<Proxy> {
        if !is_installed("haproxy") {
            return None;
        }
        let address = free_address();
        let file = folder.join("haproxy.cfg");
        let text = format!(
            "global\n  maxconn 100\n\
             defaults\n  mode tcp\n  timeout connect 60s\n  timeout client 60s\n  timeout server 60s\n  timeout check 60s\n\
             frontend senders\n  bind {address} {bind}\n  default_backend tlsink\n\
             backend tlsink\n  server one {server}\n"
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        Some(Proxy::start(
            &mut command,
            address,
            &folder.join("haproxy.log"),
        ))
    }
}

fn free_address() -> SocketAddr {
    let free = TcpListener::bind(FREE).and_then(|free| free.local_addr());
    free.unwrap()
}

/// Sends a line through a proxy, and checks that it is labelled with the sender's own address. Probes
/// of the proxy, and of the test that waits for it, leave no trace.
fn check_passed_on(program: &Program, proxy: &Proxy) {
    let mut client = Client::connect(proxy.address);
    client.write(b"hello\n").unwrap();
    let shown = client.local_address();
    client.finish().unwrap();
    program.wait_for_stdout(format!("{shown} hello\n"));
    let peers: Vec<_> = program
        .wait_for_ends(1)
        .into_iter()
        .map(|end| end.peer)
        .collect();
    assert_eq!(peers, [shown.to_string()]);
}

#[test]
fn haproxy_passes_senders_on_in_both_versions() {
    for options in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let program = start(&["--label"]);
        let server = format!("{} {options}", program.address());
        let Some(proxy) = Proxy::haproxy(folder.path(), "", &server) else {
            return;
        };
        check_passed_on(&program, &proxy);
    }
}

#[test]
fn health_checks_of_haproxy_are_silent() {
    for options in [
        "send-proxy check",
        "send-proxy-v2 check",
        "send-proxy check check-ssl verify none",
        "send-proxy-v2 check check-ssl verify none",
    ] {
        let folder = tempfile::tempdir().unwrap();
        // Neither limit is about the proxy itself.
        let limits = ["--allow-from", "192.0.2.0/24", "--max-per-ip", "1"];
        let program = start(&[&["--stats", "--verbose"], &limits[..]].concat());
        let server = format!("{} {options} inter 20ms", program.address());
        let Some(proxy) = Proxy::haproxy(folder.path(), "", &server) else {
            return;
        };
        let of_checks = |line: &str| {
            let probed = proxy.probe.to_string();
            line.starts_with("tlsink: 127.0.0.1:")
                && !line.contains(&probed)
                && !line.ends_with(": open")
        };
        // Each is said with -v.
        program.wait_for_lines(5, of_checks);
        let outcome = program.stop();
        let totals = outcome.stderr.lines().last().unwrap();
        assert!(totals.contains(" health checks, "), "{options}: {totals}");
        let said = outcome.stderr.lines();
        let mut refused =
            said.filter(|line| line.contains("refused (") || line.contains("limit ("));
        let probed = format!("tlsink: {}: ", proxy.probe);
        assert!(refused.all(|line| line.starts_with(&probed)), "{options}");

        let program = start(&["--stats"]);
        let server = format!("{} {options} inter 20ms", program.address());
        let Some(proxy) = Proxy::haproxy(folder.path(), "", &server) else {
            return;
        };
        let mut client = Client::connect(proxy.address);
        client.write(b"hello\n").unwrap();
        client.finish().unwrap();
        program.wait_for_end();
        let outcome = program.stop();
        // Only the test's own connections have lines.
        let said = outcome.stderr.lines();
        let said: Vec<_> = said
            .filter(|line| line.contains("tlsink: 127.0.0.1:"))
            .collect();
        let probed = format!("tlsink: {}: ", proxy.probe);
        let others: Vec<_> = said
            .iter()
            .filter(|line| !line.starts_with(&probed))
            .collect();
        assert_eq!(others.len(), 1, "{options}: {said:?}");
    }
}

#[test]
fn haproxy_in_front_verifies_senders_and_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca");
    let server = authority.server(&["localhost"]);
    let pem = folder.path().join("haproxy.pem");
    fs::write(&pem, server.pem()).unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let (program, path) = start_plain(folder.path(), &["--label"]);
    let bind = format!(
        "ssl crt {} ca-file {} verify optional",
        pem.display(),
        ca.display()
    );
    let server = format!(
        "unix@{} send-proxy-v2-ssl-cn check inter 20ms",
        path.display()
    );
    let Some(proxy) = Proxy::haproxy(folder.path(), &bind, &server) else {
        return;
    };
    let mut expected = String::new();
    for name in [Some("boiler"), None] {
        let mut client = match name {
            Some(name) => {
                let config = authority.sender(name, &[]).config(&TLS13);
                let socket = tcp(proxy.address).unwrap();
                Client::over(socket, config, "localhost").unwrap()
            }
            None => Client::connect(proxy.address),
        };
        client.write(b"hello\n").unwrap();
        let shown = client.local_address();
        let _ = client.finish_for_answer();
        let label = name.map_or(String::new(), |name| format!("{name}@"));
        expected += &format!("{label}{shown} hello\n");
        program.wait_for_stdout(&expected);
    }
}

#[test]
fn nginx_passes_senders_on() {
    if !is_installed("nginx") {
        return;
    }
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let folder = tempfile::tempdir().unwrap();
    let program = start(&["--label"]);
    let address = free_address();
    let load = match Path::new(module).exists() {
        true => format!("load_module {module};"),
        false => String::new(),
    };
    let shown = folder.path().display();
    let file = folder.path().join("nginx.conf");
    let text = format!(
        "{load} daemon off; master_process off; pid {shown}/nginx.pid; error_log stderr;\n\
         events {{ worker_connections 64; }}\n\
         stream {{ server {{ listen {address}; proxy_pass {}; proxy_protocol on; }} }}\n",
        program.address()
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder.path()).arg("-c").arg(&file);
    let proxy = Proxy::start(&mut command, address, &folder.path().join("nginx.log"));
    check_passed_on(&program, &proxy);
}

/// A receiver behind HAProxy, which asks it for its health.
struct Receiver {
    program: Program,
    status: SocketAddr,
}

impl Receiver {
    fn start() -> Self {
        let notice = ["--drain", "1h", "--drain-notice", "1"];
        let program = start(&[&["--label", "--status", FREE], &notice[..]].concat());
        let status = status(&program);
        Receiver { program, status }
    }
}

/// HAProxy's arguments for these servers, to which it speaks this version of the protocol.
fn servers(version: &str, one: &Receiver, two: &Receiver) -> String {
    let [one, two] = [one, two].map(|receiver| {
        let (address, status) = (receiver.program.address(), receiver.status);
        format!(
            "{address} {version} check addr {} port {} inter 100ms fall 1 rise 1",
            status.ip(),
            status.port()
        )
    });
    // A server that is gone before the next check is not the only one tried.
    format!("{one}\n  server two {two}\n  option httpchk GET /healthz\n  option redispatch 1\n")
}

/// Sends a line through a proxy, and returns it with the sender's address before it.
fn send_through(proxy: &Proxy, line: &str) -> String {
    let mut client = Client::connect(proxy.address);
    client.write(line.as_bytes()).unwrap();
    let shown = client.local_address();
    client.finish().unwrap();
    format!("{shown} {line}")
}

#[test]
fn haproxy_sends_nobody_to_a_receiver_that_drains_or_is_gone() {
    for version in ["send-proxy", "send-proxy-v2"] {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, three] = [(); 3].map(|()| Receiver::start());
        let Some(proxy) = Proxy::haproxy(folder.path(), "", &servers(version, &one, &two)) else {
            return;
        };
        // The proxy takes turns, unless it has yet to find a server healthy.
        let mut open = Vec::new();
        let mut expected = BTreeSet::new();
        let printed = || [&one, &two].map(|receiver| receiver.program.printed());
        let deadline = Instant::now() + LIMIT;
        while printed().iter().any(String::is_empty) {
            let mut client = Client::connect(proxy.address);
            client.write(b"open\n").unwrap();
            expected.insert(format!("{} open", client.local_address()));
            open.push(client);
            while printed().concat().lines().count() < open.len() {
                assert!(Instant::now() < deadline, "{version}");
                thread::yield_now();
            }
        }
        let [_, first] = printed();
        let all = printed().concat();
        assert_eq!(
            all.lines().map(str::to_owned).collect::<BTreeSet<_>>(),
            expected
        );
        let at_one = printed()[0].lines().count();

        one.program.signal(Signal::TERM);
        // HAProxy looks at it in the meantime.
        let stopping = |line: &str| line.starts_with("tlsink: stopping: ");
        one.program.wait_for_line(stopping);
        let sent: String = (0..20).map(|_| send_through(&proxy, "to two\n")).collect();
        two.program.wait_for_stdout(format!("{first}{sent}"));
        for client in open {
            client.finish().unwrap();
        }
        let outcome = one.program.outcome();
        let ends = outcome.ends();
        assert_eq!((outcome.status, ends.len()), (0, at_one));
        assert!(ends.iter().all(|end| end.end == "clean"), "{ends:?}");

        let folder = tempfile::tempdir().unwrap();
        let servers = servers(version, &two, &three);
        let proxy = Proxy::haproxy(folder.path(), "", &servers).unwrap();
        // This kills it.
        drop(two);
        let sent: String = (0..20)
            .map(|_| send_through(&proxy, "to three\n"))
            .collect();
        three.program.wait_for_stdout(sent);
    }
}
