//! The command line's contract, through the real binary.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::common::pack::{deflate, gzip, qt, zlib, zstd};
use crate::common::program::{
    BINARY, Client, FREE, LIMIT, Program, Stderr, Stdout, Version, after, client_hello, send, tcp,
};
use crate::common::skip::{is_installed, skip};

const NO_CLOSE_NOTIFY: &str = "truncated (no close_notify)";

/// The end of a stream that the program did not wait for.
const CUT: &str = "cut (the server is stopping)";

// The messages of a program that is ready.

#[test]
fn says_where_it_listens_its_certificates_fingerprint_and_a_command_to_try() {
    let program = Program::start(&[]);
    let address = program.address();
    assert_ne!(address.port(), 0);

    let fingerprint = program.wait_for_line(|line| line.contains("sha256"));
    let client = Client::connect(address);
    let digest = ring::digest::digest(&ring::digest::SHA256, client.certificate());
    let hex: Vec<String> = digest.as_ref().iter().map(|b| format!("{b:02X}")).collect();
    assert!(fingerprint.ends_with(&hex.join(":")), "{fingerprint}");

    let example = program.wait_for_line(|line| line.starts_with("tlsink: try: "));
    assert!(example.contains(&address.to_string()), "{example}");
}

#[test]
fn no_command_is_suggested_that_would_be_refused() {
    let ca = tempfile::NamedTempFile::new().unwrap();
    let key = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
    fs::write(&ca, key.cert.pem()).unwrap();
    let ca = ca.path().to_str().unwrap();
    for (args, said) in [
        (&["-d", "gzip"], true),
        (&["-d", "zlib"], false),
        (&["--client-ca", ca], false),
    ] {
        let outcome = Program::start(args).stop();
        assert_eq!(outcome.stderr.contains("tlsink: try: "), said, "{args:?}");
    }
}

#[test]
fn an_ipv4_sender_is_shown_by_its_ipv4_address_on_an_ipv6_socket() {
    let Ok(_) = TcpListener::bind("[::]:0") else {
        skip("there is no IPv6");
        return;
    };
    let program = Program::start_on(
        &["[::]:0"],
        &["--self-signed", "localhost", "--label"],
        Stdout::Collected,
    );
    send(([127, 0, 0, 1], program.address().port()).into(), b"line\n");
    let ended = program.wait_for_end();
    assert!(ended.peer.starts_with("127.0.0.1:"), "{ended:?}");
    let outcome = program.stop();
    assert_eq!(outcome.stdout_text(), format!("{} line\n", ended.peer));
}

#[test]
fn the_command_to_try_delivers_hello_and_ends_clean() {
    if !is_installed("openssl") {
        return;
    }
    let program = Program::start(&[]);
    let said = program.wait_for_line(|line| line.starts_with("tlsink: try: "));
    let command = said.trim_start_matches("tlsink: try: ");
    let tried = Command::new("sh").args(["-c", command]).output();
    assert!(tried.expect("there is a shell").status.success());

    let sent = Command::new("sh")
        .args(["-c", "echo hello | gzip"])
        .output();
    let sent = sent.expect("there is a shell").stdout.len() as u64;
    let ended = program.wait_for_end();
    assert_eq!(ended.end, "clean");
    assert_eq!(ended.format, "gzip");
    assert_eq!((ended.received, ended.delivered), (sent, 6));
    let outcome = program.stop();
    assert_eq!(outcome.stdout_text(), "hello\n");
    assert_eq!(outcome.status, 0);
}

// The options, one after the other.

#[test]
fn listen_can_be_repeated_and_all_addresses_serve() {
    let program = Program::start_on(&[FREE, FREE], &[], Stdout::Collected);
    let addresses = program.addresses();
    assert_eq!(addresses.len(), 2);
    assert_ne!(addresses[0], addresses[1]);
    send(addresses[0], b"first\n");
    program.wait_for_stdout("first\n");
    send(addresses[1], b"second\n");
    program.wait_for_stdout("first\nsecond\n");
    assert_eq!(program.stop().status, 0);
}

#[test]
fn listens_on_ipv6() {
    if let Err(error) = TcpListener::bind("[::1]:0") {
        skip(&format!("no IPv6 here: {error}"));
        return;
    }
    let program = Program::start_on(&["[::1]:0"], &[], Stdout::Collected);
    send(program.address(), b"six\n");
    let ended = program.wait_for_end();
    assert!(ended.peer.starts_with("[::1]:"), "{}", ended.peer);
    assert_eq!(program.stop().stdout_text(), "six\n");
}

#[test]
fn shows_the_certificate_that_it_is_given() {
    let files = Files::new();
    for args in [
        ["--cert", &files.certificate, "--key", &files.key],
        ["-c", &files.certificate, "-k", &files.key],
        // Both are in one file.
        ["-c", &files.both, "-k", &files.both],
    ] {
        let program = Program::start(&args);
        let mut client = Client::connect(program.address());
        assert_eq!(client.certificate(), files.der);
        client.write(b"given\n").unwrap();
        client.finish().unwrap();
        program.wait_for_stdout("given\n");
        let outcome = program.stop();
        assert!(!outcome.stderr.contains("fresh"), "{}", outcome.stderr);
    }
}

#[test]
fn makes_a_certificate_for_the_names_it_is_given_on_any_address() {
    let args = ["--self-signed", "sink.example,10.1.2.3"];
    let program = Program::start_on(&["0.0.0.0:0"], &args, Stdout::Collected);
    let address = format!("127.0.0.1:{}", program.address().port());
    let mut client = Client::connect(address.parse().unwrap());
    let certificate = client.certificate();
    let holds = |name: &[u8]| certificate.windows(name.len()).any(|part| part == name);
    assert!(holds(b"sink.example"));
    assert!(holds(&[10, 1, 2, 3]));
    client.write(b"named\n").unwrap();
    client.finish().unwrap();
    program.wait_for_stdout("named\n");
    // The printed address must be usable: nobody can connect to the unspecified address.
    let example = program.wait_for_line(|line| line.starts_with("tlsink: try: "));
    assert!(example.contains(&address), "{example}");
}

#[test]
fn decodes_each_format_that_is_named() {
    for (name, encode) in FORMATS {
        let sent = encode(TEXT.as_bytes());
        let program = Program::start(&["-d", name]);
        send(program.address(), &sent);
        let ended = program.wait_for_end();
        assert_eq!(ended.end, "clean", "{name}");
        assert_eq!(ended.format, said_format(name));
        assert_eq!(ended.received, sent.len() as u64, "{name}");
        assert_eq!(ended.delivered, TEXT.len() as u64, "{name}");
        assert_eq!(program.stop().stdout_text(), TEXT, "{name}");
    }
}

#[test]
fn auto_tells_the_formats_apart_one_sender_at_a_time() {
    // Raw deflate has no header by which it could be detected.
    let formats = FORMATS.iter().filter(|(name, _)| *name != "deflate");
    for args in [&[][..], &["--decode", "auto"]] {
        let program = Program::start(args);
        let mut expected = String::new();
        for (done, (name, encode)) in formats.clone().enumerate() {
            send(program.address(), &encode(TEXT.as_bytes()));
            let ended = program.wait_for_ends(done + 1).swap_remove(done);
            assert_eq!(ended.end, "clean", "{name}");
            assert_eq!(ended.format, said_format(name));
            expected += TEXT;
        }
        assert_eq!(program.stop().stdout_text(), expected);
    }
}

#[test]
fn a_stream_without_any_bytes_is_clean_unless_a_compressed_format_was_named() {
    for name in FORMATS.map(|(name, _)| name).into_iter().chain(["auto"]) {
        let program = Program::start(&["-v", "-d", name]);
        let client = Client::connect(program.address());
        let end = match name {
            "auto" | "none" => {
                client.finish().unwrap();
                "clean".to_owned()
            }
            name => {
                client.finish_unclean().unwrap();
                format!("truncated ({name} not finished)")
            }
        };
        let ended = program.wait_for_end();
        assert_eq!(ended.end, end);
        assert_eq!((ended.received, ended.delivered), (0, 0), "{name}");
        assert!(program.stop().stdout.is_empty(), "{name}");
    }
}

#[test]
fn decode_none_passes_compressed_bytes_on_as_they_are() {
    let sent = gzip(TEXT.as_bytes());
    let program = Program::start(&["-d", "none", "-f", "raw"]);
    send(program.address(), &sent);
    assert_eq!(program.wait_for_end().end, "clean");
    assert_eq!(program.stop().stdout, sent);
}

#[test]
fn a_named_format_takes_nothing_else() {
    let program = Program::start(&["-d", "gzip"]);
    let mut client = Client::connect(program.address());
    client.write(TEXT.as_bytes()).unwrap();
    // The server may have closed the connection already.
    let _ = client.finish_without_reading();
    let ended = program.wait_for_end();
    assert!(ended.end.starts_with("corrupt (gzip: "), "{}", ended.end);
    assert!(program.stop().stdout.is_empty());
}

#[test]
fn an_unfinished_line_is_kept_back_until_it_is_finished() {
    for args in [&["--lanes", "1"][..], &["--lanes", "1", "-f", "lines"]] {
        let program = Program::start(args);
        let mut slow = Client::connect(program.address());
        slow.write(b"first\nunfin").unwrap();
        program.wait_for_stdout("first\n");
        send(program.address(), b"whole\n");
        // The unfinished line is not printed, or it would stand before this one.
        program.wait_for_stdout("first\nwhole\n");
        slow.write(b"ished\n").unwrap();
        program.wait_for_stdout("first\nwhole\nunfinished\n");
        slow.finish().unwrap();
        program.wait_for_ends(2);
        let outcome = program.stop();
        assert_eq!(outcome.stdout_text(), "first\nwhole\nunfinished\n");
    }
}

#[test]
fn a_last_line_without_a_newline_is_printed_as_it_was_sent() {
    let program = Program::start(&[]);
    send(program.address(), b"first\nlast");
    program.wait_for_end();
    assert_eq!(program.stop().stdout_text(), "first\nlast");
}

#[test]
fn raw_prints_an_unfinished_line_at_once() {
    // The option is spelled in all ways.
    for args in [
        &["-f", "raw"][..],
        &["-f=raw"],
        &["--format", "raw"],
        &["--format=raw"],
    ] {
        let program = Program::start(args);
        let mut client = Client::connect(program.address());
        client.write(b"unfin").unwrap();
        program.wait_for_stdout("unfin");
        client.write(b"ished\n").unwrap();
        program.wait_for_stdout("unfinished\n");
        client.finish().unwrap();
    }
}

#[test]
fn values_may_follow_an_equals_sign() {
    let program = Program::start(&[
        "--decode=zlib",
        "--threads=1",
        "--lanes=1",
        "-l=127.0.0.1:0",
    ]);
    send(program.address(), &zlib(b"equal\n"));
    program.wait_for_stdout("equal\n");
    let outcome = program.stop();
    assert_eq!(outcome.stderr.matches("listening on").count(), 2);
}

#[test]
fn any_number_of_threads_and_lanes_serves() {
    for threads in ["1", "3"] {
        for lanes in ["1", "3"] {
            let program = Program::start(&["--threads", threads, "--lanes", lanes]);
            let senders: Vec<_> = (0..6)
                .map(|_| {
                    let address = program.address();
                    thread::spawn(move || send(address, &gzip(TEXT.as_bytes())))
                })
                .collect();
            for sender in senders {
                sender.join().unwrap();
            }
            let ends = program.wait_for_ends(6);
            assert!(ends.iter().all(|ended| ended.end == "clean"), "{ends:?}");
            let mut printed: Vec<_> = program.stop().stdout_text().lines().map(str::len).collect();
            let mut sent: Vec<_> = TEXT.repeat(6).lines().map(str::len).collect();
            printed.sort_unstable();
            sent.sort_unstable();
            assert_eq!(printed, sent);
        }
    }
}

#[test]
fn once_ends_with_0_after_a_clean_stream() {
    let program = Program::start(&["--once"]);
    send(program.address(), &gzip(b"the one\n"));
    let outcome = program.outcome();
    assert_eq!(outcome.status, 0);
    assert_eq!(outcome.stdout_text(), "the one\n");
    assert_eq!(outcome.ends().len(), 1);
}

#[test]
fn once_ends_with_1_when_it_is_stopped_before_a_stream_came() {
    for stalled in [false, true] {
        let program = Program::start(&["--once"]);
        let mut tcp = tcp(program.address()).unwrap();
        if stalled {
            tcp.write_all(&client_hello()).unwrap();
            tcp.read_exact(&mut [0]).unwrap();
        }
        program.signal(Signal::TERM);
        program.signal(Signal::INT);
        let outcome = program.outcome();
        assert_eq!(outcome.status, 1);
        assert!(outcome.stderr.contains("\ntlsink: stopped "));
    }
    let outcome = Program::start(&["--once"]).stop();
    assert_eq!(outcome.status, 1);
    let last = outcome.stderr.lines().last();
    assert_eq!(last, Some("tlsink: stopped before a stream came"));
}

#[test]
fn once_ends_with_1_after_a_stream_that_is_not_clean() {
    let unfinished = &gzip(TEXT.as_bytes())[..40];
    for (sent, close_notify, end) in [
        (&b"part\n"[..], false, NO_CLOSE_NOTIFY),
        (unfinished, true, "truncated (gzip not finished)"),
        (
            unfinished,
            false,
            "truncated (no close_notify, gzip not finished)",
        ),
    ] {
        let program = Program::start(&["--once"]);
        let mut client = Client::connect(program.address());
        client.write(sent).unwrap();
        if close_notify {
            client.finish_unclean().unwrap();
        } else {
            client.abandon().unwrap();
        }
        let outcome = program.outcome();
        assert_eq!(outcome.status, 1, "{end}");
        assert_eq!(outcome.ends()[0].end, end);
        // The data that arrived is still delivered.
        assert_ne!(outcome.ends()[0].delivered, 0, "{end}");
        let delivered = outcome.ends()[0].delivered as usize;
        assert_eq!(outcome.stdout.len(), delivered, "{end}");
    }
}

#[test]
fn once_reports_probes_and_does_not_count_them() {
    let program = Program::start(&["--once"]);
    drop(tcp(program.address()).unwrap());
    program.wait_for_line(|line| line.ends_with(": truncated (closed during the handshake)"));
    let mut browser = tcp(program.address()).unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    program.wait_for_line(|line| line.contains(": refused ("));
    send(program.address(), b"the one\n");
    let outcome = program.outcome();
    assert_eq!(outcome.status, 0);
    assert_eq!(outcome.stdout_text(), "the one\n");
    assert_eq!(outcome.ends().len(), 1);
}

/// A load balancer completes the handshake, and then resets or closes the connection.
#[test]
fn a_clean_stream_without_any_bytes_has_a_line_only_with_v() {
    for (args, lines) in [(&[][..], 1), (&["-v"], 2)] {
        let program = Program::start(args);
        Client::connect(program.address()).finish().unwrap();
        send(program.address(), b"hello\n");
        program.wait_for_ends(lines);
        let ends = program.stop().ends();
        assert_eq!(ends.len(), lines);
        assert!(ends.iter().all(|ended| ended.end == "clean"), "{ends:?}");
    }
}

#[test]
fn health_checks_are_counted_and_have_a_line_only_with_v() {
    for verbose in [false, true] {
        let level = if verbose { &["-v"][..] } else { &[] };
        let program = Program::start(&[&["--stats"], level].concat());
        let mut ends = Vec::new();
        for version in [Version::Tls12, Version::Tls13] {
            let connect = || Client::connect_as(program.address(), version).unwrap();
            let (broken, closed) = (connect(), connect());
            ends.push((broken.local_address().to_string(), "reset ("));
            ends.push((closed.local_address().to_string(), NO_CLOSE_NOTIFY));
            broken.reset().unwrap();
            closed.abandon().unwrap();
        }
        // A single byte makes the connection a truncated stream.
        let mut client = Client::connect(program.address());
        ends.push((client.local_address().to_string(), NO_CLOSE_NOTIFY));
        client.write(b"h").unwrap();
        client.abandon().unwrap();
        program.wait_for_ends(if verbose { ends.len() } else { 1 });
        let outcome = program.stop();
        let totals = "tlsink: 5 connections, 0 of them clean, 4 health checks, 1 byte received, \
                      1 delivered\n";
        assert!(outcome.stderr.ends_with(totals), "{}", outcome.stderr);
        if !verbose {
            ends.drain(..4);
        }
        assert_eq!(outcome.ends().len(), ends.len());
        for (peer, end) in ends {
            let ended = outcome.ends().into_iter().find(|ended| ended.peer == peer);
            assert!(ended.unwrap().end.starts_with(end), "{peer}");
        }
    }
}

#[test]
fn once_says_why_it_ends_with_1_also_after_a_health_check() {
    for quiet in [false, true] {
        let (program, address) = match quiet {
            true => Program::start_quiet(&["--once"], Stderr::Pipe),
            false => {
                let program = Program::start(&["--once"]);
                let address = program.address();
                (program, address)
            }
        };
        Client::connect(address).abandon().unwrap();
        let outcome = program.outcome();
        assert_eq!(outcome.status, 1);
        assert_eq!(outcome.ends()[0].end, NO_CLOSE_NOTIFY);
    }
}

#[test]
fn once_serves_no_second_stream_while_the_first_is_open() {
    let program = Program::start(&["--once"]);
    let mut first = Client::connect(program.address());
    first.write(b"first\n").unwrap();
    program.wait_for_stdout("first\n");
    // A second connection is not served, and may fail at any point.
    if let Ok(mut second) = Client::connect_as(program.address(), Version::Tls13) {
        let _ = second.write(b"second\n");
        let _ = second.finish();
    }
    first.write(b"last\n").unwrap();
    first.finish().unwrap();
    let outcome = program.outcome();
    assert_eq!(outcome.status, 0);
    assert_eq!(outcome.stdout_text(), "first\nlast\n");
}

#[test]
fn help_names_every_option_on_standard_output() {
    let outcome = Program::run(&["--help"]);
    assert_eq!(outcome.status, 0);
    assert_eq!(outcome.stderr, "");
    let help = outcome.stdout_text();
    for option in [
        "-l, --listen",
        "-c, --cert",
        "-k, --key",
        "--self-signed",
        "--tls-min",
        "--key-log",
        "-d, --decode",
        "--max-decoded",
        "--max-window",
        "--max-memory",
        "-f, --format",
        "--label",
        "--max-line",
        "-o, --output",
        "--output-dir",
        "--name",
        "--sync",
        "--max-connections",
        "--max-per-ip",
        "--rate",
        "--handshake-timeout",
        "--idle-timeout",
        "--max-age",
        "--once",
        "--threads",
        "--lanes",
        "--drain",
        "--stats",
        "-v, --verbose",
        "-q, --quiet",
        "-h, --help",
        "-V, --version",
    ] {
        assert!(help.contains(option), "{option} is missing from:\n{help}");
    }
}

#[test]
fn the_short_help_fits_on_one_screen_and_names_the_long_one() {
    let outcome = Program::run(&["-h"]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    let help = outcome.stdout_text();
    assert!(help.lines().count() <= 24);
    assert!(help.contains("--listen") && help.contains("--help"));
}

#[test]
fn version_is_the_crates() {
    for spelling in ["--version", "-V"] {
        let outcome = Program::run(&[spelling]);
        let expected = format!("tlsink {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(outcome.stdout_text(), expected);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    }
}

// Stopping.

#[test]
fn an_idle_program_stops_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let program = Program::start(&[]);
        // After a whole stream, the program is certainly running.
        send(program.address(), b"done\n");
        program.wait_for_end();
        program.signal(signal);
        let outcome = program.outcome();
        assert_eq!(outcome.status, 0);
        assert!(outcome.stderr.contains("tlsink: stopping\n"));
        assert_eq!(outcome.stdout_text(), "done\n");
    }
}

#[test]
fn a_program_that_says_it_listens_is_ready_for_signals() {
    // Ten times, because it depends on luck which events just follow the line.
    for _ in 0..10 {
        for signal in [Signal::TERM, Signal::INT] {
            let program = Program::start(&[]);
            program.signal(signal);
            assert_eq!(program.outcome().status, 0);
        }
    }
}

#[test]
fn a_hangup_stops_it_unless_hangups_were_ignored_at_start() {
    let survived = Command::new("sh").args(["-c", "kill -HUP $$"]).status();
    if survived.unwrap().success() {
        skip("hangups are ignored here, as nohup makes it");
    } else {
        let program = Program::start(&[]);
        program.signal(Signal::HUP);
        assert_eq!(program.outcome().status, 0);
    }

    let program = Program::start_after("trap '' HUP", &[]);
    program.signal(Signal::HUP);
    send(program.address(), b"still there\n");
    program.wait_for_stdout("still there\n");
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_signal_that_comes_twice_stops_an_idle_program_with_0() {
    for _ in 0..20 {
        let program = Program::start(&[]);
        program.signal(Signal::INT);
        program.signal(Signal::INT);
        let outcome = program.outcome();
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    }
}

#[test]
fn messages_that_nobody_has_read_are_still_written_when_it_stops() {
    // A pipe holds less than a third of the messages about so many streams.
    const STREAMS: usize = 2_800;
    const THREADS: usize = 4;
    let mut child = Command::new(BINARY)
        .args(["--listen", FREE])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut listening = String::new();
    stderr.read_line(&mut listening).unwrap();
    let (_, address) = listening.trim_end().rsplit_once(' ').unwrap();
    let address = address.parse().unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..STREAMS / THREADS).for_each(|_| send(address, b"line\n")));
        }
    });
    let mut open = tcp(address).unwrap();
    open.write_all(&client_hello()).unwrap();
    // The server's answer shows that this last connection was accepted, too.
    open.read_exact(&mut [0]).unwrap();
    let id = Pid::from_child(&child);
    kill_process(id, Signal::TERM).unwrap();
    kill_process(id, Signal::INT).unwrap();
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let ends = said.lines().filter(|line| line.ends_with("clean"));
    assert_eq!(ends.count(), STREAMS);
    assert!(said.ends_with("\ntlsink: stopped at once\n"));
}

#[test]
fn an_open_stream_may_be_finished_after_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let program = Program::start(&[]);
        let mut client = Client::connect(program.address());
        client.write(b"before\n").unwrap();
        program.wait_for_stdout("before\n");
        program.signal(signal);
        program.wait_for_line(|line| {
            line == "tlsink: stopping: 1 connection open, up to 10 s; a second signal stops now"
        });
        // No other connection is served any more.
        if let Ok(mut late) = Client::connect_as(program.address(), Version::Tls13) {
            let _ = late.write(b"late\n");
            let _ = late.finish();
        }
        client.write(b"after\n").unwrap();
        client.finish().unwrap();
        let outcome = program.outcome();
        assert_eq!(outcome.status, 0);
        assert_eq!(outcome.stdout_text(), "before\nafter\n");
        assert_eq!(outcome.ends()[0].end, "clean");
    }
}

#[test]
fn a_second_signal_stops_it_with_any_drain_time() {
    for drain in ["1000", "10000000000000000000"] {
        let program = Program::start(&["--drain", drain]);
        let mut client = Client::connect(program.address());
        client.write(b"line\n").unwrap();
        program.wait_for_stdout("line\n");
        program.signal(Signal::TERM);
        program.wait_for_line(|line| line.ends_with("; a second signal stops now"));
        program.signal(Signal::TERM);
        let outcome = program.outcome();
        assert_eq!(outcome.status, 1, "{drain}");
        assert_eq!(outcome.ends()[0].end, CUT);
    }
}

#[test]
fn a_stream_that_goes_on_for_too_long_after_a_signal_is_cut_and_the_program_ends_with_0() {
    let program = Program::start(&[]);
    let mut client = Client::connect(program.address());
    client.write(b"whole\npart").unwrap();
    program.wait_for_stdout("whole\n");
    program.signal(Signal::TERM);
    let outcome = program.outcome();
    assert_eq!(outcome.status, 0);
    assert_eq!(outcome.stdout_text(), "whole\npart");
    assert_eq!(outcome.ends()[0].end, CUT);
}

#[test]
fn a_second_signal_stops_at_once_with_1() {
    for signal in [Signal::TERM, Signal::INT] {
        let program = Program::start(&[]);
        let mut client = Client::connect(program.address());
        client.write(b"whole\npart").unwrap();
        program.wait_for_stdout("whole\n");
        program.signal(signal);
        program.wait_for_line(|line| line.starts_with("tlsink: stopping: "));
        let second = Instant::now();
        program.signal(signal);
        let outcome = program.outcome();
        // An open stream has 10 s after the first signal.
        assert!(second.elapsed() < Duration::from_secs(5));
        assert_eq!(outcome.status, 1);
        assert_eq!(outcome.stdout_text(), "whole\npart");
        assert_eq!(outcome.ends()[0].end, CUT);
    }
}

#[test]
fn a_second_signal_ends_even_a_program_whose_output_hangs() {
    let mut program = Program::start_into(&[], Stdout::Unread);
    let mut output = program.unread();
    let mut client = Client::connect(program.address());
    client.write(&numbered_lines()[..1_000_000]).unwrap();
    // Once the first line is there, the program is writing, and the pipe holds less than the rest.
    let mut first = [0; 8];
    output.read_exact(&mut first).unwrap();
    program.signal(Signal::TERM);
    program.wait_for_line(|line| line.starts_with("tlsink: stopping: "));
    program.signal(Signal::TERM);
    let outcome = program.outcome();
    assert_eq!(outcome.status, 1);
    assert!(outcome.stderr.contains("hangs"), "{}", outcome.stderr);
    drop((client, output));
}

#[test]
fn a_signal_that_was_ignored_at_start_stays_ignored() {
    for (ignored, name) in [(Signal::INT, "INT"), (Signal::TERM, "TERM")] {
        let program = Program::start_after(&format!("trap '' {name}"), &[]);
        program.signal(ignored);
        send(program.address(), b"still there\n");
        program.wait_for_end();
        program.signal(match ignored {
            Signal::INT => Signal::TERM,
            _ => Signal::INT,
        });
        let outcome = program.outcome();
        assert_eq!(outcome.status, 0, "{name}");
        assert!(outcome.stderr.ends_with("\ntlsink: stopping\n"), "{name}");
    }
    // A shell without job control makes its background commands ignore an interruption.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "\"$@\" & echo $!; wait", "sh", BINARY])
        .args(["--listen", FREE])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    let mut id = String::new();
    let mut stdout = BufReader::new(shell.stdout.take().unwrap());
    stdout.read_line(&mut id).unwrap();
    let id = Pid::from_raw(id.trim().parse().unwrap()).unwrap();
    let mut stderr = BufReader::new(shell.stderr.take().unwrap());
    let mut listening = String::new();
    stderr.read_line(&mut listening).unwrap();
    let (_, address) = listening.trim_end().rsplit_once(' ').unwrap();
    kill_process(id, Signal::INT).unwrap();
    send(address.parse().unwrap(), b"still there\n");
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "still there\n");
    kill_process(id, Signal::TERM).unwrap();
    assert!(shell.wait().unwrap().success());
}

// Standard output.

#[test]
fn standard_output_carries_data_and_nothing_else() {
    let program = Program::start(&[]);
    let address = program.address();
    drop(tcp(address).unwrap());
    let mut corrupt = gzip(TEXT.as_bytes());
    let last = corrupt.len() - 1;
    corrupt[last] ^= 1;
    let mut client = Client::connect(address);
    client.write(&corrupt).unwrap();
    // The server may have closed the connection already.
    let _ = client.finish_without_reading();
    let ended = program.wait_for_end();
    assert!(ended.end.starts_with("corrupt (gzip: "), "{}", ended.end);
    send(address, b"data\n");
    program.wait_for_ends(2);
    let outcome = program.stop();
    // The damage is behind the last byte, so all the text came before the error.
    assert_eq!(outcome.stdout_text(), format!("{TEXT}data\n"));
    for line in outcome.stderr.lines() {
        assert!(line.starts_with("tlsink: "), "{line}");
        assert!(!line.ends_with('.'), "{line}");
    }
}

#[test]
fn standard_output_may_be_a_file() {
    let mut file = tempfile::tempfile().unwrap();
    let program = Program::start_into(&["--once"], Stdout::File(file.try_clone().unwrap()));
    send(program.address(), &gzip(TEXT.as_bytes()));
    assert_eq!(program.outcome().status, 0);
    let mut written = String::new();
    std::io::Seek::rewind(&mut file).unwrap();
    file.read_to_string(&mut written).unwrap();
    assert_eq!(written, TEXT);
}

#[test]
fn a_reader_that_is_gone_ends_it_with_1_and_a_line_that_says_so() {
    let mut program = Program::start_into(&[], Stdout::Unread);
    let mut clients = [(); 2].map(|()| Client::connect(program.address()));
    for client in &mut clients {
        client.write(b"line\n").unwrap();
    }
    let mut reader = program.unread();
    reader.read_exact(&mut [0; 10]).unwrap();
    // It does not wait for a line that nobody would read.
    drop(reader);
    let outcome = program.outcome();
    assert_eq!(outcome.status, 1);
    let last = "tlsink: nobody reads the output any more; 2 streams are cut";
    let said: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!(said.last(), Some(&last));
    assert!(!outcome.stderr.contains("cut ("), "{}", outcome.stderr);
}

#[test]
fn streams_that_a_reader_no_longer_takes_are_details() {
    let mut program = Program::start_into(&["-v"], Stdout::Unread);
    let mut client = Client::connect(program.address());
    client.write(b"line\n").unwrap();
    let mut reader = program.unread();
    reader.read_exact(&mut [0; 5]).unwrap();
    drop(reader);
    let outcome = program.outcome();
    assert_eq!(outcome.status, 1);
    let last = "tlsink: nobody reads the output any more; 1 stream is cut";
    let said: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!(said.last(), Some(&last));
    assert_eq!(outcome.ends().len(), 1, "-v says them one by one");
}

#[test]
fn a_fifo_without_a_reader_is_said_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let reader = thread::spawn({
        let fifo = fifo.clone();
        move || File::open(fifo).unwrap()
    });
    let program = Program::start(&["-o", fifo.to_str().unwrap()]);
    drop(reader.join().unwrap());
    fails_to_print(program, "tlsink: nobody reads the output any more; ");
}

#[test]
fn a_reader_that_has_seen_enough_of_a_text_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let stdout = Stdout::File(File::from(OwnedFd::from(writer)));
    let outcome = Program::run_on(&["--help"], stdout, Stderr::Pipe);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
}

#[test]
fn a_full_device_ends_it_with_1_and_a_line_that_says_so() {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        skip("there is no /dev/full");
        return;
    };
    let program = Program::start_into(&[], Stdout::File(full));
    fails_to_print(program, "tlsink: can't write the output: No space left");
}

#[test]
fn with_once_a_failing_output_is_reported_as_the_cause() {
    // Twenty times, because the stream's end and its cause may be noticed in either order.
    for _ in 0..20 {
        let Ok(full) = File::options().write(true).open("/dev/full") else {
            skip("there is no /dev/full");
            return;
        };
        let program = Program::start_into(&["--once"], Stdout::File(full));
        fails_to_print(program, "tlsink: can't write the output: No space left");
    }
}

/// Sends a line that the program can't print, which ends it with 1 and this message.
fn fails_to_print(program: Program, said: &str) {
    let mut client = Client::connect(program.address());
    client.write(b"for nobody\n").unwrap();
    let outcome = program.outcome();
    assert_eq!(outcome.status, 1);
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    drop(client);
}

#[test]
fn a_file_beyond_the_size_limit_ends_it_with_1_and_a_line_that_says_so() {
    // A block is half a kibibyte or a whole one, depending on the shell.
    const LIMITED: &str = "ulimit -f 8";
    let folder = tempfile::tempdir().unwrap();
    let [file, redirected, directory] =
        ["file", "redirected", "directory"].map(|name| in_folder(folder.path(), name));
    fs::create_dir(&directory).unwrap();
    let redirect = format!("{LIMITED}; exec >{redirected}");
    for (commands, args, written) in [
        (LIMITED, &["--output", &file][..], &file),
        (&*redirect, &["-f", "json"], &redirected),
    ] {
        let program = Program::start_after(commands, args);
        let mut client = Client::connect(program.address());
        // The server may end before it has received everything.
        let _ = client.write(&numbered_lines()[..100_000]);
        let outcome = program.outcome();
        assert_eq!(outcome.status, 1, "{args:?}");
        let said = "File too large (os error 27); up to ";
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
        let len = fs::metadata(written).unwrap().len();
        assert!((1..=8192).contains(&len), "{args:?}: {len}");
        drop(client);
    }
    // The limit also applies to all other files that the program writes.
    for (commands, args, said) in [
        (
            "ulimit -f 0",
            &["cert", &in_folder(folder.path(), "certificates")][..],
            "File too large (os error 27)",
        ),
        (
            &*format!("ulimit -f 0; exec >{redirected}"),
            &["--help"],
            "tlsink: can't write the output: File too large (os error 27)",
        ),
    ] {
        let outcome = Program::start_command_after(commands, args, Stdio::null()).outcome();
        assert_eq!(outcome.status, 1, "{args:?}");
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    }
}

#[test]
fn a_null_device_that_was_given_on_purpose_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let file = in_folder(folder.path(), "file");
    for (commands, args) in [
        ("exec >/dev/null", &[][..]),
        ("exec </dev/null >/dev/null", &[]),
        // Standard output may be closed where the data goes elsewhere.
        ("exec >&-", &["--output", "/dev/null"]),
        ("exec >&- <&-", &["--output", &file]),
        (
            "exec >&-",
            &["--output-dir", folder.path().to_str().unwrap()],
        ),
    ] {
        let program = Program::start_after(commands, args);
        send(program.address(), b"line\n");
        assert_eq!(program.wait_for_end().end, "clean", "{commands} {args:?}");
        assert_eq!(program.stop().status, 0);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "line\n");

    // daemon(3) leaves such a standard error, on which messages vanish.
    let mut child = send_line_once(&mut after("exec <>/dev/null >&0 2>&0"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn without_standard_error_it_serves_and_its_exit_status_tells() {
    let mut child = send_line_once(after("exec 2>&-").stdout(Stdio::piped()));
    let mut line = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut line).unwrap();
    assert_eq!(line, "line\n");
    assert!(child.wait().unwrap().success());

    // The program refuses to send data to a closed standard error.
    let args = ["--listen", FREE, "--output", "/dev/stderr"];
    let outcome = Program::start_command_after("exec 2>&-", &args, Stdio::null()).outcome();
    assert_eq!((outcome.status, outcome.stderr), (2, String::new()));
}

/// Runs this command with `--once`, and sends a line as soon as it listens. No message is read.
fn send_line_once(command: &mut Command) -> Child {
    let address = TcpListener::bind(FREE).unwrap().local_addr().unwrap();
    command.args(["--once", "--listen", &address.to_string()]);
    let child = command.spawn().unwrap();
    let deadline = Instant::now() + LIMIT;
    while tcp(address).is_err() {
        assert!(Instant::now() < deadline, "it never listens");
        thread::yield_now();
    }
    send(address, b"line\n");
    child
}

#[test]
fn the_name_of_a_descriptor_stands_for_it_even_if_it_is_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let link = in_folder(folder.path(), "link");
    symlink("/dev/stdout", &link).unwrap();
    for (commands, name) in [
        (":", "/dev/stdout"),
        (":", "/dev/fd/1"),
        (":", "/proc/self/fd/1"),
        (":", &*link),
        ("exec 3>&1 >/dev/null", "/dev/fd/3"),
        ("exec 3>&1 >/dev/null", "/proc/self/fd/3"),
    ] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(LIMIT)).unwrap();
        let stdout = Stdout::File(File::from(OwnedFd::from(theirs)));
        let program = Program::start_after_into(commands, &["--output", name], stdout);
        send(program.address(), b"line\n");
        let mut line = String::new();
        BufReader::new(&ours).read_line(&mut line).unwrap();
        assert_eq!(line, "line\n", "{name}");
        assert_eq!(program.stop().status, 0);
    }
    // Data and messages share standard error.
    let program = Program::start(&["--output", "/dev/stderr"]);
    send(program.address(), b"line\n");
    program.wait_for_line(|line| line == "line");
    assert_eq!(program.stop().status, 0);
    // A pipe can't be opened if another user made it, so its descriptor is used.
    let program = Program::start(&["--output", "/dev/stdout"]);
    send(program.address(), b"line\n");
    program.wait_for_stdout("line\n");
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_fifo_without_a_reader_is_waited_for_with_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = in_folder(folder.path(), "fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let args = ["--listen", FREE, "--output", &fifo];
    let program = Program::start_command(&args, Stdio::null(), Stderr::Pipe);
    let waiting = format!("tlsink: waiting for another program to read the FIFO {fifo}");
    program.wait_for_line(|line| line == waiting);
    assert!(!program.stderr().contains("listening"));
    let mut reader = File::open(&fifo).unwrap();
    let listening = program.wait_for_line(|line| line.starts_with("tlsink: listening on "));
    let (_, address) = listening.rsplit_once(' ').unwrap();
    send(address.parse().unwrap(), b"line\n");
    let mut line = [0; 5];
    reader.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"line\n");
    assert_eq!(program.stop().status, 0);
}

// Files to which the program appends.

#[test]
fn an_unfinished_last_line_of_a_file_is_ended_before_more_is_appended() {
    let folder = tempfile::tempdir().unwrap();
    let file = in_folder(folder.path(), "file");
    for (before, newline) in [
        ("", ""),
        ("\n", ""),
        ("whole\n", ""),
        ("cut", "\n"),
        ("whole\ncut", "\n"),
        ("\r", "\n"),
    ] {
        for redirected in [false, true] {
            let redirect = format!("exec >>{file}");
            let start = |format: &str| {
                fs::write(&file, before).unwrap();
                match redirected {
                    false => Program::start(&["--output", &file, "--format", format]),
                    true => Program::start_after(&redirect, &["--format", format]),
                }
            };
            let program = start("lines");
            let address = program.address();
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| send(address, b"line\n"));
                }
            });
            assert_eq!(program.stop().status, 0);
            let expected = format!("{before}{newline}line\nline\nline\nline\n");
            assert_eq!(fs::read_to_string(&file).unwrap(), expected, "{redirected}");

            let program = start("json");
            send(program.address(), b"line\n");
            assert_eq!(program.stop().status, 0);
            let written = fs::read_to_string(&file).unwrap();
            let objects = written.strip_prefix(&format!("{before}{newline}")).unwrap();
            let types: Vec<_> = objects
                .lines()
                .map(|line| {
                    serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].clone()
                })
                .collect();
            assert_eq!(types, ["open", "data", "close"], "{written}");

            // Nothing is added to raw bytes.
            let program = start("raw");
            send(program.address(), b"bytes");
            assert_eq!(program.stop().status, 0);
            let written = fs::read_to_string(&file).unwrap();
            assert_eq!(written, format!("{before}bytes"));
        }
    }
}

#[test]
fn a_secret_does_not_continue_an_unfinished_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = in_folder(folder.path(), "keys");
    let commands = format!("umask 077; printf cut >{file}; export SSLKEYLOGFILE={file}");
    let program = Program::start_after(&commands, &["--key-log"]);
    send(program.address(), b"line\n");
    assert_eq!(program.stop().status, 0);
    let written = fs::read_to_string(&file).unwrap();
    let (first, secrets) = written.split_once('\n').unwrap();
    assert_eq!(first, "cut");
    let secret = secrets.lines().next().unwrap();
    assert!(secret.contains("_SECRET"), "{secret}");
}

#[test]
fn nothing_is_added_to_a_file_while_no_data_comes() {
    let folder = tempfile::tempdir().unwrap();
    let file = in_folder(folder.path(), "file");
    fs::write(&file, "cut").unwrap();
    let program = Program::start(&["--output", &file]);
    program.signal(Signal::HUP);
    program.wait_for_line(|line| line.ends_with(" reopened"));
    assert_eq!(program.stop().status, 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "cut");
}

#[test]
fn text_that_others_wrote_before_the_first_line_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let file = in_folder(folder.path(), "file");
    // Another program writes to the file by its name, after the start.
    let program = Program::start(&["--output", &file]);
    fs::write(&file, "cut").unwrap();
    append_line(program, &file, "cut\nline\n");
    // A shell writes through the same descriptor, which does not append.
    let program = Program::start_after(&format!("exec >{file}; printf cut"), &[]);
    append_line(program, &file, "cut\nline\n");
    // A file that is overwritten from its beginning has no line to end.
    fs::write(&file, "cut").unwrap();
    let program = Program::start_after(&format!("exec 1<>{file}"), &[]);
    append_line(program, &file, "line\n");
}

/// Sends a line to the program and stops it, after which the file must hold this.
fn append_line(program: Program, file: &str, expected: &str) {
    send(program.address(), b"line\n");
    assert_eq!(program.stop().status, 0);
    assert_eq!(fs::read_to_string(file).unwrap(), expected);
}

#[test]
fn a_file_that_can_not_be_read_gets_an_empty_line_at_most() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = in_folder(folder.path(), "file");
    // Root may read everything.
    let unprivileged = match geteuid().is_root() {
        true => {
            "set -- setpriv --reuid=65534 --clear-groups --bounding-set=-all --inh-caps=-all \"$@\""
        }
        false => ":",
    };
    for (before, newline) in [("", ""), ("cut", "\n"), ("whole\n", "\n")] {
        fs::write(&file, before).unwrap();
        if geteuid().is_root() {
            chown(&file, Some(65534), None).unwrap();
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o200)).unwrap();
        let program = Program::start_after(unprivileged, &["--output", &file]);
        send(program.address(), b"line\n");
        assert_eq!(program.stop().status, 0);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let written = fs::read_to_string(&file).unwrap();
        assert_eq!(written, format!("{before}{newline}line\n"));
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn a_reopened_file_is_checked_for_an_unfinished_line_too() {
    let folder = tempfile::tempdir().unwrap();
    let (log, rotated) = (folder.path().join("log"), folder.path().join("log.1"));
    let program = Program::start(&["--output", log.to_str().unwrap()]);
    let reopen = |count| {
        program.signal(Signal::HUP);
        program.wait_for_lines(count, |line| line.ends_with(" reopened"));
    };
    send(program.address(), b"first\nlast");
    program.wait_for_end();
    // The reopened file is the same one, and its unfinished line is the program's own.
    reopen(1);
    send(program.address(), b"next\n");
    wait_for_file(&log, "first\nlast\nnext\n");
    fs::rename(&log, &rotated).unwrap();
    fs::write(&log, "cut").unwrap();
    reopen(2);
    send(program.address(), b"line\n");
    wait_for_file(&log, "cut\nline\n");
    // logrotate's copytruncate empties the file in place.
    File::options()
        .write(true)
        .truncate(true)
        .open(&log)
        .unwrap();
    send(program.address(), b"new\n");
    wait_for_file(&log, "new\n");
    assert_eq!(program.stop().status, 0);
}

// Real senders.

#[test]
fn a_tls_1_3_sender_that_never_reads_loses_nothing_to_a_slow_reader() {
    nothing_is_lost_to_a_slow_reader(Version::Tls13);
}

#[test]
fn a_tls_1_2_sender_that_never_reads_loses_nothing_to_a_slow_reader() {
    nothing_is_lost_to_a_slow_reader(Version::Tls12);
}

fn nothing_is_lost_to_a_slow_reader(version: Version) {
    let sent = &numbered_lines()[..3_000_000];
    let mut program = Program::start_into(&[], Stdout::Unread);
    let reader = read_slowly(program.unread());
    let mut client = Client::connect_as(program.address(), version).unwrap();
    client.write(sent).unwrap();
    client.finish_without_reading().unwrap();
    let ended = program.wait_for_end();
    assert_eq!(ended.end, "clean");
    assert_eq!((ended.received, ended.delivered), (3_000_000, 3_000_000));
    assert_eq!(program.stop().status, 0);
    assert!(reader.join().unwrap() == sent, "what was read differs");
}

#[test]
fn stalled_handshakes_hold_up_nobody() {
    let program = Program::start(&[]);
    let hello = client_hello();
    let stalled: Vec<_> = (0..300)
        .map(|number| {
            let mut peer = tcp(program.address()).unwrap();
            if number % 2 == 0 {
                peer.write_all(&hello[..hello.len() / 2]).unwrap();
            }
            peer
        })
        .collect();
    send(program.address(), b"honest\n");
    assert_eq!(program.wait_for_end().end, "clean");
    // The sender was served before the stalled handshakes timed out.
    assert!(!program.stderr().contains("timeout"));
    program.wait_for_stdout("honest\n");
    drop(stalled);
}

#[test]
fn each_flush_of_an_open_zlib_stream_is_printed_at_once() {
    for args in [&[][..], &["-d", "zlib"]] {
        let program = Program::start(args);
        let mut client = Client::connect(program.address());
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        let mut expected = String::new();
        for number in 0..10 {
            let line = format!("flushed {number}\n");
            encoder.write_all(line.as_bytes()).unwrap();
            encoder.flush().unwrap();
            client.write(&std::mem::take(encoder.get_mut())).unwrap();
            expected += &line;
            program.wait_for_stdout(&expected);
        }
        client.write(&encoder.finish().unwrap()).unwrap();
        client.finish().unwrap();
        let ended = program.wait_for_end();
        assert_eq!(
            (ended.end.as_str(), ended.format.as_str()),
            ("clean", "zlib")
        );
        assert_eq!(program.stop().stdout_text(), expected);
    }
}

#[test]
fn both_versions_of_tls_are_answered_with_close_notify() {
    for version in [Version::Tls12, Version::Tls13] {
        let program = Program::start(&[]);
        let mut client = Client::connect_as(program.address(), version).unwrap();
        client.write(b"asked\n").unwrap();
        client.finish().unwrap();
        assert_eq!(program.wait_for_end().end, "clean");
    }
}

const TEXT: &str = "a line\nanother line\n\nand the last one, which is a little longer\n";

type Encode = fn(&[u8]) -> Vec<u8>;

const FORMATS: [(&str, Encode); 6] = [
    ("none", <[u8]>::to_vec),
    ("gzip", gzip),
    ("zlib", zlib),
    ("deflate", deflate),
    ("zstd", zstd),
    ("qt", qt),
];

/// The format's name in an end line, where `-d` calls it `name`.
fn said_format(name: &str) -> &str {
    if name == "none" { "plain" } else { name }
}

/// A certificate and its key, in files.
struct Files {
    _folder: tempfile::TempDir,
    certificate: String,
    key: String,
    both: String,
    der: Vec<u8>,
}

impl Files {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let write = |name: &str, text: String| {
            let path = in_folder(folder.path(), name);
            fs::write(&path, text).unwrap();
            path
        };
        Files {
            both: write("both.pem", format!("{key}{certificate}")),
            certificate: write("certificate.pem", certificate),
            key: write("key.pem", key),
            der: made.cert.der().to_vec(),
            _folder: folder,
        }
    }
}

fn in_folder(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    path.to_str()
        .expect("temporary folders are named in ASCII")
        .to_owned()
}

/// More than 3,000,000 bytes.
fn numbered_lines() -> Vec<u8> {
    let lines = (0..250_000).flat_map(|number| format!("line {number:07}\n").into_bytes());
    lines.collect()
}

/// Reads to the end, in small pieces. The pauses only make it slow.
fn read_slowly(mut pipe: File) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        let mut piece = [0; 16 * 1024];
        loop {
            match pipe.read(&mut piece).expect("the pipe can be read") {
                0 => return all,
                read => all.extend_from_slice(&piece[..read]),
            }
            thread::sleep(Duration::from_millis(3));
        }
    })
}

#[test]
fn sighup_opens_the_output_anew_so_that_logs_can_be_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let (log, rotated) = (folder.path().join("log"), folder.path().join("log.1"));
    let program = Program::start(&["--output", log.to_str().unwrap()]);
    let mut client = Client::connect(program.address());
    client.write(b"before\nbeg").unwrap();
    wait_for_file(&log, "before\n");
    fs::rename(&log, &rotated).unwrap();
    program.signal(Signal::HUP);
    let shown = log.display();
    program.wait_for_line(|line| line == format!("tlsink: {shown} reopened"));
    // A line that was not printed yet goes to the new file as a whole.
    client.write(b"un\n").unwrap();
    client.finish().unwrap();
    wait_for_file(&log, "begun\n");
    assert_eq!(fs::read_to_string(&rotated).unwrap(), "before\n");

    // Nothing is lost where the file can't be reopened.
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    program.signal(Signal::HUP);
    program.wait_for_line(|line| line.starts_with(&format!("tlsink: can't reopen {shown}: ")));
    send(program.address(), b"still taken\n");
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    assert!(outcome.ends().iter().all(|end| end.end == "clean"));
}

#[test]
fn a_fifo_without_a_reader_holds_up_nothing_when_it_is_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let both = File::options().read(true).write(true).open(&fifo);
    let program = Program::start(&["--output", fifo.to_str().unwrap()]);
    drop(both.unwrap());
    let shown = fifo.display();
    let refused = format!("tlsink: can't reopen {shown}: the FIFO has no reader");
    let reopened = format!("tlsink: {shown} reopened");
    let is_answer = |line: &str| line == refused || line == reopened;
    let (mut asked, mut refusals) = (0, 0);
    // A child of another test may still hold the reading end, until it executes its program.
    while refusals < 2 {
        program.signal(Signal::HUP);
        asked += 1;
        let answers = program.wait_for_lines(asked, is_answer);
        refusals = answers.iter().filter(|line| **line == refused).count();
    }
    // Opening both ends of a FIFO does not wait for another process.
    let mut both = File::options().read(true).write(true).open(&fifo).unwrap();
    program.signal(Signal::HUP);
    let answers = program.wait_for_lines(asked + 1, is_answer);
    assert_eq!(answers.last(), Some(&reopened));
    send(program.address(), b"line\n");
    let mut line = [0; 5];
    both.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"line\n");
    assert_eq!(program.stop().status, 0);
}

fn wait_for_file(path: &Path, expected: &str) {
    let deadline = Instant::now() + LIMIT;
    while fs::read_to_string(path).unwrap_or_default() != expected {
        assert!(
            Instant::now() < deadline,
            "{} never holds it",
            path.display()
        );
        thread::yield_now();
    }
}
