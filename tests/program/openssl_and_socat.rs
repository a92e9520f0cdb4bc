//! Common TLS clients: their data arrives, and their ends are reported correctly.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::client::{self, TLS13, config};
use crate::common::pack::gzip;
use crate::common::program::{Client, LIMIT, Program, Version, run_if_installed};
use crate::common::skip::{REQUIRE, can_trace};

const NO_CLOSE_NOTIFY: &str = "truncated (no close_notify)";

/// A line that is printed within this time has not waited for a delayed acknowledgement: Linux
/// delays one by 40 ms or more (TCP_DELACK_MIN, in ticks of 10 ms at worst).
const BEFORE_A_DELAYED_ACK: Duration = Duration::from_millis(20);

/// A busy machine may delay a line by as much, but not so many lines in a row.
const TRIES: usize = 100;

#[test]
fn openssl_s_client_ends_clean() {
    for version in ["-tls1_2", "-tls1_3"] {
        plain_and_gzip_arrive("clean", |address| {
            let mut openssl = Command::new("openssl");
            openssl
                .args(["s_client", "-connect", &address.to_string(), version])
                .args(["-quiet", "-no_ign_eof", "-nocommands"]);
            openssl
        });
    }
}

#[test]
fn socat_ends_clean() {
    plain_and_gzip_arrive("clean", |address| {
        let mut socat = Command::new("socat");
        socat.args(["-", &format!("OPENSSL:{address},verify=0")]);
        socat
    });
}

/// Ncat up to 7.93 shuts down the socket without a close_notify, with `--send-only` or without. Its
/// streams look truncated, and must not be taken for complete.
#[test]
fn ncat_sends_no_close_notify_and_is_told_as_truncated_after_all_its_data() {
    for send_only in [false, true] {
        plain_and_gzip_arrive(NO_CLOSE_NOTIFY, |address| {
            let mut ncat = Command::new("ncat");
            ncat.arg("--ssl")
                .args(send_only.then_some("--send-only"))
                .args([address.ip().to_string(), address.port().to_string()]);
            ncat
        });
    }
}

#[test]
fn python_that_unwraps_ends_clean() {
    plain_and_gzip_arrive("clean", |address| python(address, "tls.unwrap().close()"));
}

#[test]
fn python_that_only_closes_is_told_as_truncated_after_all_its_data() {
    plain_and_gzip_arrive(NO_CLOSE_NOTIFY, |address| python(address, "tls.close()"));
}

/// Nagle's algorithm holds the first line in TLS 1.3 until the client's Finished is acknowledged.
#[test]
fn the_first_line_of_a_client_with_nagle_waits_for_no_delayed_acknowledgement() {
    some_is_prompt(|program, address| {
        let mut client = with_nagle(address, Version::Tls13);
        client.write(b"first\n").unwrap();
        program("first\n");
    });
}

/// In TLS 1.2, the last message of the handshake is the server's. The first line is not held, but
/// the second one is held until the first is acknowledged.
#[test]
fn the_second_line_of_a_client_with_nagle_waits_for_no_delayed_acknowledgement() {
    for version in Version::ALL {
        some_is_prompt(|program, address| {
            let mut client = with_nagle(address, version);
            client.write(b"first\n").unwrap();
            client.write(b"second\n").unwrap();
            program("first\nsecond\n");
        });
    }
}

/// Java sends the handshake in pieces, and holds the second until the first is acknowledged.
#[test]
fn a_handshake_in_pieces_of_a_client_with_nagle_waits_for_no_delayed_acknowledgement() {
    /// The size of a ChangeCipherSpec, which TLS 1.3 sends for middleboxes (RFC 8446, D.4).
    const FIRST_RECORD: usize = 6;
    some_is_prompt(|program, address| {
        let mut tcp = nagling(address);
        let mut tls = client::Client::with(config(&TLS13));
        tcp.write_all(&tls.records()).unwrap();
        while tls.is_handshaking() {
            let mut flight = [0; 4096];
            let n = tcp.read(&mut flight).unwrap();
            assert_ne!(n, 0, "the server closed the connection");
            tls.take(&flight[..n]);
        }
        let records = tls.records();
        tcp.write_all(&records[..FIRST_RECORD]).unwrap();
        tcp.write_all(&records[FIRST_RECORD..]).unwrap();
        tcp.write_all(&tls.record(b"first\n")).unwrap();
        program("first\n");
    });
}

/// The program makes one call for each flight that it sends, and none for a read after the
/// handshake.
#[test]
fn prompt_acknowledgements_take_a_call_for_each_flight_and_none_for_a_line() {
    const LINES: usize = 20;
    if !can_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (version, flights) in [(Version::Tls13, 1), (Version::Tls12, 2)] {
        let trace = folder.path().join("trace");
        let strace = format!(
            "set -- strace -f -e setsockopt,recvfrom -o {} \"$@\"",
            trace.display()
        );
        let program = Program::start_after(&strace, &["--once"]);
        let mut client = Client::connect_as(program.address(), version).unwrap();
        for line in 1..=LINES {
            client.write(b"line\n").unwrap();
            program.wait_for_printed_lines(line);
        }
        client.finish().unwrap();
        assert_eq!(program.outcome().status, 0);
        let calls = fs::read_to_string(&trace).unwrap();
        let count = |what: &str| calls.lines().filter(|call| call.contains(what)).count();
        assert_eq!(count("TCP_QUICKACK, [1]"), flights, "{version:?}: {calls}");
        assert!(count("recvfrom(") >= LINES, "{calls}");
    }
}

#[test]
fn without_its_client_a_test_says_that_it_is_skipped_and_fails_where_clients_are_required() {
    let nothing = tempfile::tempdir().unwrap();
    for (required, passes) in [("", true), ("1", false)] {
        let tests = std::env::current_exe().unwrap();
        let outcome = Command::new(tests)
            .args(["--exact", "openssl_and_socat::socat_ends_clean"])
            .env("PATH", nothing.path())
            .env(REQUIRE, required)
            .output()
            .unwrap();
        assert_eq!(outcome.status.success(), passes, "{outcome:?}");
        let [printed, said] =
            [&outcome.stdout, &outcome.stderr].map(|s| String::from_utf8_lossy(s));
        if passes {
            assert!(said.starts_with("skipped: "), "{outcome:?}");
            assert!(said.ends_with(": socat is not installed\n"), "{outcome:?}");
        } else {
            let why = format!("socat is not installed, and {REQUIRE} is set");
            assert!(printed.contains(&why), "{outcome:?}");
        }
    }
}

/// Runs the client again and again, until its lines are printed sooner than a delayed
/// acknowledgement would allow. The client waits for its lines with the function that it is given.
fn some_is_prompt(client: impl Fn(&dyn Fn(&str), SocketAddr)) {
    let mut times = Vec::new();
    for _ in 0..TRIES {
        let program = Program::start(&[]);
        let start = Instant::now();
        client(&|lines| program.wait_for_stdout(lines), program.address());
        let time = start.elapsed();
        if time < BEFORE_A_DELAYED_ACK {
            return;
        }
        times.push(time);
    }
    panic!("they took {times:?}");
}

fn with_nagle(address: SocketAddr, version: Version) -> Client {
    Client::over(nagling(address), config(version.of_rustls()), "localhost").unwrap()
}

/// A connection with Nagle's algorithm on, which is the default.
fn nagling(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect_timeout(&address, LIMIT).unwrap();
    tcp.set_read_timeout(Some(LIMIT)).unwrap();
    assert!(!tcp.nodelay().unwrap());
    tcp
}

/// Python that sends its standard input, and then ends the connection in the given way.
fn python(address: SocketAddr, end: &str) -> Command {
    let script = format!(
        "import socket, ssl, sys\n\
         context = ssl.create_default_context()\n\
         context.check_hostname = False\n\
         context.verify_mode = ssl.CERT_NONE\n\
         tcp = socket.create_connection(('{}', {}), timeout=60)\n\
         tls = context.wrap_socket(tcp)\n\
         tls.sendall(sys.stdin.buffer.read())\n\
         {end}\n",
        address.ip(),
        address.port()
    );
    let mut python = Command::new("python3");
    python.args(["-c", &script]);
    python
}

/// A text that is longer than a record, and than the room in a pipe.
fn text() -> Vec<u8> {
    (0..20_000)
        .flat_map(|number| format!("line {number}\n").into_bytes())
        .collect()
}

fn plain_and_gzip_arrive(end: &str, client: impl Fn(SocketAddr) -> Command) {
    let text = text();
    for (format, sent) in [("plain", text.clone()), ("gzip", gzip(&text))] {
        let program = Program::start(&[]);
        let mut command = client(program.address());
        let Some(output) = run_if_installed(&mut command, &sent) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?} failed: {said}");
        assert!(output.stdout.is_empty(), "the server sent data");

        let ended = program.wait_for_end();
        assert_eq!(ended.end, end);
        assert_eq!(ended.format, format);
        assert_eq!(ended.received, sent.len() as u64);
        assert_eq!(ended.delivered, text.len() as u64);
        let outcome = program.stop();
        assert!(outcome.stdout == text, "what was printed is not the text");
        assert_eq!(outcome.status, 0);
    }
}
