//! The TLS clients that people have: what they send arrives, and their ends are told as they are.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

mod common;

use std::net::SocketAddr;
use std::process::Command;

use common::pack::gzip;
use common::program::{Program, run_if_installed};
use common::skip::REQUIRE;

const NO_CLOSE_NOTIFY: &str = "truncated (no close_notify)";

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

/// Ncat up to 7.93 shuts down the socket and says no close_notify, with `--send-only` as without.
/// So it can't be told from a sender that was cut off, and must not be taken for complete.
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

#[test]
fn without_its_client_a_test_says_that_it_is_skipped_and_fails_where_clients_are_required() {
    let nothing = tempfile::tempdir().unwrap();
    for (required, passes) in [("", true), ("1", false)] {
        let tests = std::env::current_exe().unwrap();
        let outcome = Command::new(tests)
            .args(["--exact", "socat_ends_clean"])
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

/// Sends what it reads from standard input, then ends the connection in the given way.
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

/// More than one record and more than a pipe holds.
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
