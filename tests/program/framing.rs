//! Framed streams: how they are told apart, named and ended.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::io::Write;
use std::process::Stdio;

use crate::common::pack::{gzip, zstd};
use crate::common::program::{Client, Program, Stderr, send, tls_1_1_hello};

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
fn a_message_that_rsyslog_has_compressed_by_itself_is_refused_with_the_way_out() {
    let program = Program::start(&[]);
    let mut client = Client::connect(program.address());
    client.write(b"99 zx\x9c\x05").unwrap();
    client.finish_unclean().unwrap();
    let end = program.wait_for_end().end;
    assert_eq!(
        end,
        "refused (rsyslog's compression.mode=\"single\" is not supported)"
    );
    program.wait_for_line(|line| {
        line == "hint: compression.mode=\"stream:always\" in its action is supported"
    });
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
