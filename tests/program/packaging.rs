//! What is shipped beside the program: the units of systemd.

#![cfg(all(feature = "cli", feature = "gzip"))]

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::program::{BINARY, FREE, Program};
use crate::common::skip::is_installed;

use super::listeners::passing;

/// A copy of the units, for this program.
fn units(folder: &Path) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    for unit in ["tlsink.service", "tlsink.socket"] {
        let text = fs::read_to_string(shipped.join(unit)).unwrap();
        fs::write(
            folder.join(unit),
            // The tests' machine has no user of this name.
            text.replace("/usr/bin/tlsink", BINARY)
                .replace("=tlsink\nGroup=tlsink\n", "=daemon\nGroup=daemon\n"),
        )
        .unwrap();
    }
}

/// Runs systemd-analyze on the units; returns what it says.
fn analyze(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("systemd-analyze")
        .args(args)
        .current_dir(folder)
        .env("SYSTEMD_COLORS", "0")
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{args:?}: {said}");
    said
}

#[test]
fn systemd_finds_no_fault_with_the_units_and_little_exposure() {
    if !is_installed("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    units(folder.path());
    let said = analyze(
        folder.path(),
        &["verify", "--man=no", "./tlsink.service", "./tlsink.socket"],
    );
    assert_eq!(said, "");
    // 10 is the most exposed; what listens on a network can't have less than 1.
    let security = [
        "security",
        "--offline=true",
        "--threshold=20",
        "./tlsink.service",
    ];
    let said = analyze(folder.path(), &security);
    assert!(
        said.contains("Overall exposure level for tlsink.service: 1."),
        "{said}"
    );
}

/// The words of the service's command, without the program, as systemd makes them: the value of each
/// variable is split at its spaces (systemd.service(5)).
fn command_of_service() -> Vec<String> {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd/tlsink.service");
    let unit = fs::read_to_string(unit).unwrap();
    let value = |name: &str| {
        let mut lines = unit.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {name}")).to_owned()
    };
    let mut words = Vec::new();
    for word in value("ExecStart").split(' ').skip(1) {
        match word.strip_prefix('$') {
            Some(variable) => {
                let value = value(&format!("Environment={variable}"));
                let value = value.trim_matches('"');
                words.extend(value.split_whitespace().map(str::to_owned));
            }
            None => words.push(word.to_owned()),
        }
    }
    words
}

#[test]
fn the_command_of_the_service_receives_from_verified_senders() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["etc", "log", "state"] {
        fs::create_dir(path(name)).unwrap();
    }
    for args in [&["cert"][..], &["cert", "client", "boiler"]] {
        let mut cert = Command::new(BINARY);
        let output = cert.args(args).arg(path("etc")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let words: Vec<String> = command_of_service()
        .into_iter()
        .map(|word| {
            word.replace("/etc/tlsink", &path("etc"))
                .replace("/var/log/tlsink", &path("log"))
                .replace("/var/lib/tlsink", &path("state"))
        })
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let socket = TcpListener::bind(FREE).unwrap();
    let address = socket.local_addr().unwrap();
    let command = passing("$$", "LISTEN_FDS=1 LISTEN_FDNAMES=tlsink", &words);
    let program = Program::start_anywhere(command, Stdio::from(OwnedFd::from(socket)), 1);

    let sent = path("sent");
    fs::write(&sent, "hello\n").unwrap();
    let mut send = Command::new(BINARY);
    send.args(["send", "--ca", &path("etc/ca.pem")])
        .args([
            "--cert",
            &path("etc/client-boiler.pem"),
            "--key",
            &path("etc/client-boiler.key"),
        ])
        .args([&address.to_string(), &sent]);
    let output = send.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    program.wait_for_end();
    assert_eq!(program.stop().status, 0);
    let files: Vec<_> = fs::read_dir(path("log/boiler")).unwrap().collect();
    assert_eq!(files.len(), 1);
    let file = files[0].as_ref().unwrap().path();
    assert_eq!(fs::read_to_string(file).unwrap(), "hello\n");
}
