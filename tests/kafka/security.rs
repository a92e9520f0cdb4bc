//! TLS and SASL to the brokers.

use std::io::Write;

use rustix::process::Signal;
use tempfile::NamedTempFile;

use crate::brokers::Brokers;
use crate::common::authority::Authority;
use crate::common::program::{Client, Program};

/// The password of the cluster's user, `tlsink`.
const PASSWORD: &str = "correct horse";

const FAILS: &str = "tlsink: the handshake with a broker fails: ";

#[test]
fn lines_are_delivered_by_each_secure_protocol_and_mechanism() {
    let Some(brokers) = Brokers::start_secure() else {
        return;
    };
    brokers.topic("logs", 2, &[]);
    let ca = format!("ssl.ca.location={}", brokers.tls_file("ca.pem"));
    let certificate = format!(
        "ssl.certificate.location={}",
        brokers.tls_file("client.pem")
    );
    let key = format!("ssl.key.location={}", brokers.tls_file("client.key"));
    let ways = [
        ("SSL", settings(&["security.protocol=ssl", &ca])),
        (
            "MTLS",
            settings(&["security.protocol=ssl", &ca, &certificate, &key]),
        ),
        ("SASL_SSL", by_password("PLAIN", PASSWORD, &ca)),
        ("SASL_SSL", by_password("SCRAM-SHA-256", PASSWORD, &ca)),
        ("SASL_SSL", by_password("SCRAM-SHA-512", PASSWORD, &ca)),
    ];
    for (count, (listener, file)) in ways.iter().enumerate() {
        let program = start(&brokers, listener, file);
        acknowledged(&program, &format!("{count}\n"));
        let outcome = program.stop();
        assert_eq!(outcome.status, 0);
        assert!(!outcome.stderr.contains(PASSWORD), "{}", outcome.stderr);
    }
    let mut lines = brokers.lines("logs");
    lines.sort();
    assert_eq!(lines, ["0", "1", "2", "3", "4"]);
}

#[test]
fn untrusted_brokers_and_clients_are_said_once_and_tried_again() {
    let Some(brokers) = Brokers::start_secure() else {
        return;
    };
    brokers.topic("logs", 2, &[]);
    let ca = format!("ssl.ca.location={}", brokers.tls_file("ca.pem"));

    let mut other = NamedTempFile::new().unwrap();
    other
        .write_all(Authority::new("Other CA").pem().as_bytes())
        .unwrap();
    let other = format!("ssl.ca.location={}", other.path().display());
    let tls = "security.protocol=ssl";
    let refusals = [
        ("SSL", settings(&[tls, &other]), "certificate verify failed"),
        ("MTLS", settings(&[tls, &ca]), "alert bad certificate"),
        (
            "SASL_SSL",
            by_password("PLAIN", "wrong horse", &ca),
            "Invalid username or password",
        ),
    ];
    for (listener, file, words) in refusals {
        let program = start(&brokers, listener, &file);
        let mut client = Client::connect(program.address());
        client.write(b"lost\n").unwrap();
        let failure = program.wait_for_line(|line| line.starts_with(FAILS));
        assert!(failure.contains(words), "{failure}");
        program.signal(Signal::TERM);
        program.wait_for_line(|line| line.starts_with("tlsink: stopping: 1 connection open"));
        program.signal(Signal::TERM);
        let outcome = program.outcome();
        assert_eq!(outcome.status, 1);
        assert!(
            outcome.stderr.contains("the output hangs; up to 5 bytes"),
            "{}",
            outcome.stderr
        );
        assert!(!outcome.stderr.contains("horse"), "{}", outcome.stderr);
    }

    // The brokers are wrong, and are mended.
    let file = by_password("SCRAM-SHA-512", "battery staple", &ca);
    mended(
        &brokers,
        "SASL_SSL",
        &file,
        "invalid credentials with SASL mechanism SCRAM-SHA-512",
        || brokers.change_password("battery staple"),
    );
    brokers.certify("DNS:other.example");
    mended(
        &brokers,
        "SSL",
        &settings(&[tls, &ca]),
        "certificate verify failed: its CA is not in ssl.ca.location, or it is not for this address",
        || brokers.certify("IP:127.0.0.1"),
    );
    assert_eq!(brokers.lines("logs"), ["waits", "waits"]);
}

/// The program fails with these words, and delivers once `mend` is done.
fn mended(
    brokers: &Brokers,
    listener: &str,
    file: &NamedTempFile,
    words: &str,
    mend: impl FnOnce(),
) {
    let program = start(brokers, listener, file);
    let mut client = Client::connect(program.address());
    client.write(b"waits\n").unwrap();
    let failure = program.wait_for_line(|line| line.starts_with(FAILS));
    assert!(failure.contains(words), "{failure}");
    mend();
    let receipt = client.finish_for_receipt().unwrap();
    assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
    program.wait_for_line(|line| line == "tlsink: the brokers can be reached again");
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    assert_eq!(outcome.stderr.matches(FAILS).count(), 1);
    assert!(!outcome.stderr.contains("staple"), "{}", outcome.stderr);
}

/// Starts the program, with receipts, on the topic `logs` by this listener.
fn start(brokers: &Brokers, listener: &str, file: &NamedTempFile) -> Program {
    let file = file.path().to_str().unwrap();
    let addresses = brokers.addresses_of(listener);
    Program::start(&[
        "--kafka",
        &addresses,
        "--topic",
        "logs",
        "--kafka-file",
        file,
        "--receipt",
    ])
}

fn acknowledged(program: &Program, text: &str) {
    let mut client = Client::connect(program.address());
    client.write(text.as_bytes()).unwrap();
    let receipt = client.finish_for_receipt().unwrap();
    assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
}

fn by_password(mechanism: &str, password: &str, ca: &str) -> NamedTempFile {
    settings(&[
        "security.protocol=sasl_ssl",
        ca,
        &format!("sasl.mechanism={mechanism}"),
        "sasl.username=tlsink",
        &format!("sasl.password={password}"),
    ])
}

/// A file of settings that nobody else can read.
fn settings(lines: &[&str]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(lines.join("\n").as_bytes()).unwrap();
    file
}
