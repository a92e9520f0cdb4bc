//! `--check`: what the program would do, and what would keep it from that.

#![cfg(feature = "cli")]

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::common::authority::Authority;
use crate::common::program::{BINARY, FREE, Program, Stderr};

use super::refused::{WRONG_USE, refused};

fn check(args: &[&str]) -> String {
    let args = [&["--check"], args].concat();
    let outcome = Program::start_command(&args, Stdio::null(), Stderr::Pipe).outcome();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    outcome.stdout_text()
}

#[test]
fn a_check_says_what_would_be_done_and_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let this_machine = "would listen on 127.0.0.1:4433, TLS 1.2 or newer\n\
                        would make a self-signed certificate for this machine\n\
                        senders are not verified\n\
                        would write lines to standard output\n";
    assert_eq!(check(&[]), this_machine);

    let authority = Authority::new("Plant CA");
    let server = authority.server(&["logs.example"]);
    let (chain, _) = server.split_pem();
    fs::write(path("server.pem"), chain).unwrap();
    fs::write(path("server.key"), server.pem()).unwrap();
    fs::write(path("ca.pem"), authority.pem()).unwrap();
    fs::create_dir(path("logs")).unwrap();
    fs::create_dir(path("state")).unwrap();
    // A port on which another program listens is no fault: that may be the tlsink that runs.
    let busy = TcpListener::bind(FREE).unwrap();
    let listen = busy.local_addr().unwrap().to_string();
    let credentials = [
        "--cert",
        &path("server.pem"),
        "--key",
        &path("server.key"),
        "--client-ca",
        &path("ca.pem"),
    ]
    .map(str::to_owned);
    let credentials: Vec<&str> = credentials.iter().map(String::as_str).collect();
    let (logs, state, socket) = (path("logs"), path("state"), path("socket"));
    let place = format!("plain:unix:{socket}");
    let more = [
        "--listen",
        &listen,
        "--listen",
        &place,
        "--tls-min",
        "1.3",
        "--output-dir",
        &logs,
        "--append",
        "--name",
        "{client}.log",
        "--state",
        &state,
        "--format",
        "json",
        "--status",
        "unix:status",
    ];
    let said = check(&[&credentials[..], &more].concat());
    let mut lines = said.lines();
    let mut next = || lines.next().unwrap_or_default();
    assert_eq!(next(), format!("would listen on {listen}, TLS 1.3"));
    assert_eq!(next(), format!("would listen on {place}, without TLS"));
    for front in [
        "certificate logs.example, until 2",
        "CA certificate Plant CA, until 2",
        "senders are verified",
    ] {
        let line = next();
        assert!(line.starts_with(front), "{line}");
    }
    assert_eq!(next(), format!("would append JSON to files in {logs}"));
    assert_eq!(next(), "would serve /metrics and /healthz on unix:status");
    assert_eq!(next(), "");
    for untouched in [&logs, &state] {
        assert_eq!(fs::read_dir(untouched).unwrap().count(), 0);
    }
    assert!(!fs::exists(socket).unwrap());
}

#[cfg(not(feature = "kafka"))]
#[test]
fn a_topic_needs_a_feature() {
    for more in [&["--check"][..], &[]] {
        let mut command = Command::new(BINARY);
        command.args(["--listen", FREE, "--kafka", "h:1", "--topic", "t"]);
        command.args(more);
        let outcome = refused(command, WRONG_USE);
        let missing = "tlsink: --kafka needs the feature kafka, which is not built in\n";
        assert_eq!(outcome.stderr, missing);
    }
}

#[test]
fn a_check_fails_where_a_start_would_fail() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("file"), "").unwrap();
    let [missing, file] = [path("missing"), path("file")];
    for (args, said) in [
        (
            &["--listen", "0.0.0.0:0"][..],
            "0.0.0.0 is not a loopback address, so it needs a certificate".to_owned(),
        ),
        (
            &["--listen", "plain:0.0.0.0:0"],
            "plain:0.0.0.0:0: without TLS, only this machine may connect".to_owned(),
        ),
        (
            &["--listen", "nowhere.invalid:1"],
            "can't resolve nowhere.invalid:1: ".to_owned(),
        ),
        (
            &["--cert", &missing, "--key", &missing],
            format!("can't read {missing}: "),
        ),
        (
            &["--cert", &file, "--key", &file],
            format!("{file}: no certificate found"),
        ),
        (
            &["--output-dir", &missing],
            format!("can't make files in {missing}: "),
        ),
        (
            &["--output-dir", &file],
            format!("can't make files in {file}: "),
        ),
        (
            &["--state", &missing],
            format!("can't keep the state in {missing}: "),
        ),
        (
            &["--output", "/missing/file"],
            "can't open /missing/file: ".to_owned(),
        ),
        (&["--output", "/"], "can't open /: ".to_owned()),
        (
            &["--status", "unix:/missing/socket"],
            "can't listen on unix:/missing/socket: /missing: ".to_owned(),
        ),
        (
            &["--max-memory", "1"],
            "--max-memory must be at least ".to_owned(),
        ),
    ] {
        let mut command = Command::new(BINARY);
        command.arg("--check").args(args);
        let refused = refused(command, WRONG_USE).stderr;
        assert!(
            refused.starts_with(&format!("tlsink: {said}")),
            "{args:?}: {refused}"
        );
    }
}
