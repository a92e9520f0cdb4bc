//! Framed streams, as shippers of syslog send them. Their configurations are those of GUIDE.md.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::authority::Authority;
use crate::common::pack::{gzip, zstd};
use crate::common::program::{Client, LIMIT, Program, Stderr, Stdout, send, tls_1_1_hello};
use crate::common::skip::{is_installed, missing};

/// Messages that a shipper sends.
const MESSAGES: usize = 10_000;

#[test]
fn frames_are_told_from_lines_on_one_port() {
    let program = Program::start(&[]);
    let mut printed = String::new();
    for (stream, lines) in [
        (
            b"7 <13>one9 <13>t\nwo\n".to_vec(),
            "<13>one\n<13>t\\x0awo\n",
        ),
        (gzip(b"9 <14>three"), "<14>three\n"),
        (zstd(b"{\"a\":1}\0{\"b\":2}\0"), "{\"a\":1}\n{\"b\":2}\n"),
        (b"<13>four\n7 lines\n".to_vec(), "<13>four\n7 lines\n"),
        (b"{\"a\":1}\n{\"b\":2}\n".to_vec(), "{\"a\":1}\n{\"b\":2}\n"),
    ] {
        send(program.address(), &stream);
        printed += lines;
        program.wait_for_stdout(&printed);
    }
    let ends: Vec<_> = program.wait_for_ends(5);
    let ends: Vec<_> = ends.iter().map(|ended| ended.end.as_str()).collect();
    assert_eq!(
        ends,
        [
            "octet, clean",
            "octet, clean",
            "nul, clean",
            "clean",
            "clean"
        ]
    );
}

#[test]
fn the_framing_can_be_named_and_raw_output_has_none_unasked() {
    let stream = b"3 one4 tw\no";
    for (args, printed) in [
        (&["--framing", "octet"][..], "one\ntw\\x0ao\n"),
        (&["--framing", "OCTET", "-f", "raw"], "one\ntw\\x0ao\n"),
        (&["--framing", "none"], "3 one4 tw\no"),
        (&["-f", "raw"], "3 one4 tw\no"),
    ] {
        let program = Program::start(args);
        send(program.address(), stream);
        program.wait_for_stdout(printed);
        assert_eq!(program.stop().stdout_text(), printed);
    }
    let outcome = Program::run(&["--framing", "frames"]);
    assert_eq!(outcome.status, 2);
    assert!(
        outcome
            .stderr
            .contains("expected auto, none, octet, relp, lumberjack, forward or nul"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_stream_that_breaks_its_framing_is_told_with_the_way_out() {
    let program = Program::start(&[]);
    let mut client = Client::connect(program.address());
    client.write(b"5 <13>aBAD").unwrap();
    client.finish_unclean().unwrap();
    program.wait_for_line(|line| {
        line.ends_with("hint: --framing none passes the bytes on as they are")
    });
    let end = program.wait_for_end().end;
    assert!(
        end.starts_with("octet, corrupt (octet: neither a frame's length")
            && end.ends_with("at byte 7)"),
        "{end}"
    );
    program.wait_for_stdout("<13>a\n");
}

#[test]
fn protocols_that_are_not_supported_are_refused_by_name() {
    for (stream, name) in [
        (
            &b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n"[..],
            "the PROXY protocol",
        ),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"),
        (&tls_1_1_hello(), "TLS within TLS"),
    ] {
        let program = Program::start(&[]);
        let mut client = Client::connect(program.address());
        client.write(stream).unwrap();
        client.finish_unclean().unwrap();
        let end = program.wait_for_end().end;
        assert_eq!(end, format!("refused ({name} is not supported)"));
        program.wait_for_line(|line| line == "hint: --framing none passes it on as it is");
        assert_eq!(program.stop().stdout, b"");
    }
}

#[test]
fn rsyslog_is_received_with_octet_counting_plain_and_compressed() {
    if !is_installed("rsyslogd") {
        return;
    }
    for compression in ["none", "stream:always"] {
        let shipped = Shipped::new();
        let program = shipped.receiver();
        let config = r#"
            global(workDirectory="DIR/state")
            module(load="imfile")
            input(type="imfile" file="DIR/messages" tag="test:")
        "#
        .to_owned()
            + &guide("rsyslog").replace("stream:always", compression);
        let arguments = ["-n", "-i", "PID", "-f", "CONFIG"];
        let _rsyslog = shipped.start("rsyslogd", &arguments, &config, program.address().port());
        check(&program.wait_for_printed_lines(MESSAGES));
    }
}

/// librelp sends again, after it has connected anew, what was not acknowledged.
#[test]
fn rsyslog_loses_no_message_over_relp_though_the_receiver_is_killed() {
    if !is_installed("rsyslogd") {
        return;
    }
    let shipped = Shipped::new();
    let output = shipped.path("received");
    let (own, ca) = (shipped.path("server.pem"), shipped.path("ca.pem"));
    let args = [
        "--cert",
        &own,
        "--key",
        &own,
        "--client-ca",
        &ca,
        "--output",
        &output,
    ];
    let receiver = Program::start(&args);
    let address = receiver.address();
    let config = r#"
        global(workDirectory="DIR/state")
        module(load="imfile")
        input(type="imfile" file="DIR/messages" tag="test:")
    "#
    .to_owned()
        + &guide("RELP");
    // By default, it waits for half a minute before it connects again.
    let config = config.replacen("action(", "action(action.resumeInterval=\"1\" ", 1);
    let arguments = ["-n", "-i", "PID", "-f", "CONFIG"];
    let _rsyslog = shipped.start("rsyslogd", &arguments, &config, address.port());
    let count = |text: &str| text.matches('\n').count();
    shipped.wait_for("received", |text| count(text) >= MESSAGES / 10);
    receiver.signal(Signal::KILL);
    drop(receiver);

    let receiver = Program::start_on(&[&address.to_string()], &args, Stdout::Collected);
    let last = format!(" message {}\n", MESSAGES - 1);
    let received = shipped.wait_for("received", |text| text.contains(&last));
    let mut seen = vec![false; MESSAGES];
    for line in received.lines() {
        // The line at which the receiver was killed may be cut off.
        let number = line.rsplit_once(" message ").map(|(_, number)| number);
        if let Some(seen) = number.and_then(|number| seen.get_mut(number.parse::<usize>().ok()?)) {
            *seen = true;
        }
    }
    assert_eq!(seen.iter().position(|seen| !seen), None);
    drop(receiver);
}

#[test]
fn syslog_ng_is_received_with_octet_counting() {
    if !is_installed("syslog-ng") {
        return;
    }
    let shipped = Shipped::new();
    let program = shipped.receiver();
    let config = r#"@version: 3.38
        source s_src { file("DIR/messages" follow-freq(1) flags(no-parse)); };
    "#
    .to_owned()
        + &guide("syslog-ng");
    let arguments = [
        "--foreground",
        "--no-caps",
        "--cfgfile=CONFIG",
        "--persist-file=DIR/state/persist",
        "--control=DIR/state/control",
        "--pidfile=PID",
    ];
    let _syslog_ng = shipped.start("syslog-ng", &arguments, &config, program.address().port());
    check(&program.wait_for_printed_lines(MESSAGES));
}

#[test]
fn handlers_of_python_are_received_with_octet_counting_and_nul() {
    const MESSAGES: usize = 1000;
    for (handler, module, newline) in [
        ("rfc5424", "rfc5424logging", "\\x0a"),
        ("gelf", "pygelf", "\\n"),
    ] {
        if !has_python_module(module) {
            continue;
        }
        let shipped = Shipped::new();
        let own = shipped.path("server.pem");
        let program = Program::start(&["--cert", &own, "--key", &own]);
        let status = Command::new("python3")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/senders/python.py"
            ))
            .args([handler, &program.address().port().to_string()])
            .args([shipped.path("ca.pem"), MESSAGES.to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        let printed = program.wait_for_printed_lines(MESSAGES);
        for (number, line) in printed.lines().enumerate() {
            let message = format!("message {number}{newline}of two lines");
            assert!(line.contains(&message), "{line}");
        }
    }
}

#[test]
fn send_makes_a_frame_of_each_line() {
    let (lines, frames) = ("<13>one\n\n<13>two", "7 <13>one1 \n7 <13>two");
    for (args, printed) in [
        (&["-f", "raw"][..], frames),
        (&["--framing", "octet"], "<13>one\n\n<13>two\n"),
    ] {
        let receiver = Program::start(&[args, &["--receipt"]].concat());
        let to = receiver.address().to_string();
        let send = ["send", "--insecure", "--receipt", "--framing", "octet", &to];
        let mut sender = Program::start_command(&send, Stdio::piped(), Stderr::Pipe);
        sender.stdin().write_all(lines.as_bytes()).unwrap();
        let outcome = sender.outcome();
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("receipt matches"),
            "{}",
            outcome.stderr
        );
        receiver.wait_for_stdout(printed);
        assert_eq!(receiver.stop().stdout_text(), printed);
    }
    let outcome = Program::run(&["send", "--framing", "nul", "localhost:9"]);
    assert!(
        outcome.stderr.contains("expected octet, relp or none"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn rsyslog_receives_the_frames_of_send() {
    if !is_installed("rsyslogd") {
        return;
    }
    let shipped = Shipped::new();
    let config = r#"
        global(workDirectory="DIR/state"
            defaultNetstreamDriverCAFile="DIR/ca.pem"
            defaultNetstreamDriverCertFile="DIR/server.pem"
            defaultNetstreamDriverKeyFile="DIR/server.pem")
        module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1"
            streamDriver.authMode="anon")
        template(name="raw" type="string" string="%rawmsg%\n")
        input(type="imtcp" port="0" address="127.0.0.1" listenPortFileName="DIR/state/port")
        action(type="omfile" file="DIR/state/received" template="raw")
    "#;
    let arguments = ["-n", "-i", "PID", "-f", "CONFIG"];
    let _rsyslog = shipped.start("rsyslogd", &arguments, config, 0);
    let port = shipped.wait_for("state/port", |port| !port.is_empty());
    let messages = (0..MESSAGES).map(|number| format!("<13>message {number}\n"));
    let messages: String = messages.collect();
    fs::write(shipped.path("messages"), &messages).unwrap();
    let outcome = Program::run(&[
        "send",
        "--framing",
        "octet",
        "--encode",
        "none",
        "--ca",
        &shipped.path("ca.pem"),
        &format!("localhost:{port}"),
        &shipped.path("messages"),
    ]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let received = shipped.wait_for("state/received", |text| text.len() >= messages.len());
    assert!(received == messages);
}

/// Whether Python has this module; reports if not.
fn has_python_module(name: &str) -> bool {
    let mut python = Command::new("python3");
    let tried = python.args(["-c", &format!("import {name}")]);
    let has = tried
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has {
        missing(&format!("Python has no {name}"));
    }
    has
}

/// The configuration in a section of GUIDE.md, for the files and the address of a test.
fn guide(section: &str) -> String {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/GUIDE.md")).unwrap();
    let (_, section) = guide.split_once(&format!("\n### {section}\n")).unwrap();
    let (_, config) = section.split_once("```text\n").unwrap();
    let (config, _) = config.split_once("```").unwrap();
    config
        .replace("/etc/tlsink/client-web1.example", "DIR/client")
        .replace("/etc/tlsink/", "DIR/")
        // The certificate is for the name, which no resolver knows.
        .replace("target=\"logs.example.net\"", "target=\"127.0.0.1\"")
        .replace("syslog(\"logs.example.net\"", "syslog(\"127.0.0.1\"")
        .replace("4433", "PORT")
}

/// Checks that each message is a line of its own, in order, behind its sender's name.
fn check(printed: &str) {
    for (number, line) in printed.lines().enumerate() {
        assert!(line.starts_with("web1.example@127.0.0.1:"), "{line}");
        assert!(line.ends_with(&format!(" message {number}")), "{line}");
    }
}

/// A folder with messages, certificates, and a shipper's state.
pub struct Shipped(TempDir);

impl Shipped {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca = Authority::new("CA");
        let write = |name, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("ca.pem", &ca.pem());
        write(
            "server.pem",
            &ca.server(&["logs.example.net", "localhost", "127.0.0.1"])
                .pem(),
        );
        let client = ca.sender("web1.example", &[]);
        write("client.pem", &client.pem());
        write("client.key", &client.key_pem());
        let messages = (0..MESSAGES).map(|number| format!("message {number}\n"));
        write("messages", &messages.collect::<String>());
        fs::create_dir(directory.path().join("state")).unwrap();
        Shipped(directory)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn receiver(&self) -> Program {
        let (own, ca) = (self.path("server.pem"), self.path("ca.pem"));
        Program::start(&["--cert", &own, "--key", &own, "--client-ca", &ca, "--label"])
    }

    /// Waits until the text of a file is as it should be; returns the text.
    pub fn wait_for(&self, name: &str, is_whole: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let text = fs::read_to_string(self.path(name)).unwrap_or_default();
            if is_whole(&text) {
                return text;
            }
            assert!(start.elapsed() < LIMIT, "waited for {name}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts a shipper. In its arguments and its configuration, `DIR`, `PORT`, `PID` and `CONFIG`
    /// are replaced.
    pub fn start(&self, name: &str, arguments: &[&str], config: &str, port: u16) -> Shipper {
        let config_path = self.path("config");
        let fill = |text: &str| {
            text.replace("DIR", self.0.path().to_str().unwrap())
                .replace("PORT", &port.to_string())
                .replace("PID", &self.path("state/pid"))
                .replace("CONFIG", &config_path)
        };
        fs::write(&config_path, fill(config)).unwrap();
        let child = Command::new(name)
            .args(arguments.iter().map(|argument| fill(argument)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Shipper(child)
    }
}

/// A running shipper, which is killed when this is dropped.
pub struct Shipper(Child);

impl Drop for Shipper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
