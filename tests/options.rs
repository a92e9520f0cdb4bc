//! Each option of the program, through the real binary.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::authority::Authority;
use common::client;
use common::pack::{gzip, zstd};
use common::program::{
    Client, Program, Stderr, Stdout, Version, client_hello, send, tcp, tls_1_1_hello,
};
use rustix::process::Signal;

#[test]
fn tls_min_refuses_older_versions() {
    let program = Program::start(&["--tls-min", "1.3"]);
    assert!(Client::connect_as(program.address(), Version::Tls12).is_err());
    program.wait_for_line(|line| line.ends_with(": refused (no version of TLS in common)"));
    send(program.address(), b"newer\n");
    program.wait_for_stdout("newer\n");

    let program = Program::start(&["--tls-min", "1.2"]);
    let mut client = Client::connect_as(program.address(), Version::Tls12).unwrap();
    client.write(b"older\n").unwrap();
    program.wait_for_stdout("older\n");
}

#[test]
fn output_appends_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.log");
    for spelling in ["-o", "--output"] {
        let program = Program::start(&[spelling, path.to_str().unwrap()]);
        send(program.address(), format!("with {spelling}\n").as_bytes());
        program.wait_for_end();
        let outcome = program.stop();
        assert_eq!((outcome.status, outcome.stdout_text().as_str()), (0, ""));
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert_eq!(written, "with -o\nwith --output\n");
}

#[test]
fn beyond_max_connections_the_next_one_waits_for_a_place() {
    let program = Program::start(&["--max-connections", "1"]);
    let mut first = Client::connect(program.address());
    first.write(b"first\n").unwrap();
    program.wait_for_stdout("first\n");
    let address = program.address();
    let second = std::thread::spawn(move || send(address, b"second\n"));
    first.write(b"still first\n").unwrap();
    first.finish().unwrap();
    second.join().unwrap();
    program.wait_for_ends(2);
    assert_eq!(program.stop().stdout_text(), "first\nstill first\nsecond\n");
}

#[test]
fn beyond_max_per_ip_the_next_one_from_there_is_refused() {
    let program = Program::start(&["--max-per-ip", "1"]);
    let first = Client::connect(program.address());
    assert!(Client::connect_as(program.address(), Version::Tls13).is_err());
    program
        .wait_for_line(|line| line.ends_with(": limit (1 connection is open from this address)"));
    first.finish().unwrap();
    program.wait_for_end();
    // Its place is free when it has said so; the next one counts itself alone.
    send(program.address(), b"again\n");
    program.wait_for_stdout("again\n");
}

#[test]
fn handshake_timeout_ends_a_stalled_handshake() {
    let program = Program::start(&["--handshake-timeout", "0.1"]);
    let mut stalled = tcp(program.address()).unwrap();
    stalled.write_all(&client_hello()[..20]).unwrap();
    program.wait_for_line(|line| line.ends_with(": timeout (no handshake within 0.1 s)"));
}

#[test]
fn idle_timeout_ends_a_silent_stream() {
    let program = Program::start(&["--idle-timeout", "0.1"]);
    let mut client = Client::connect(program.address());
    client.write(b"then silence").unwrap();
    let ended = program.wait_for_end();
    assert_eq!(ended.end, "timeout (nothing came for 0.1 s)");
    assert_eq!(program.stop().stdout_text(), "then silence");
}

#[test]
fn max_line_is_the_longest_line_that_is_kept_whole() {
    let program = Program::start(&["--max-line", "8"]);
    let mut client = Client::connect(program.address());
    client.write(b"12345678").unwrap();
    client.write(b"9").unwrap();
    // It has outgrown the limit, and is there without its end.
    program.wait_for_stdout("123456789");
    send(program.address(), b"other\n");
    program.wait_for_stdout("123456789\nother\n");
}

#[test]
fn max_decoded_cuts_what_decodes_to_more() {
    let program = Program::start(&["--max-decoded", "1k"]);
    let mut client = Client::connect(program.address());
    client.write(&gzip(&[b'x'; 100_000])).unwrap();
    let ended = program.wait_for_end();
    assert_eq!(ended.end, "limit (more than 1024 bytes when decoded)");
    assert_eq!(ended.delivered, 1024);
    assert_eq!(program.stop().stdout, [b'x'; 1024]);
}

#[test]
fn max_window_refuses_larger_ones() {
    let frame = zstd(&vec![b'x'; 1 << 20]);
    let program = Program::start(&["--max-window", "512k"]);
    let mut client = Client::connect(program.address());
    client.write(&frame).unwrap();
    let ended = program.wait_for_end();
    assert!(
        ended.end.starts_with("limit (zstd window of "),
        "{}",
        ended.end
    );

    let program = Program::start(&["--max-window", "1M"]);
    send(program.address(), &frame);
    assert_eq!(program.wait_for_end().end, "clean");
}

#[test]
fn max_memory_refuses_windows_that_find_none() {
    let frame = zstd(&vec![b'x'; 1 << 20]);
    let program = Program::start(&["--max-memory", "1M"]);
    let mut client = Client::connect(program.address());
    client.write(&frame).unwrap();
    let ended = program.wait_for_end();
    assert!(
        ended.end.starts_with("limit (no memory left "),
        "{}",
        ended.end
    );
    send(program.address(), b"plain still works\n");
    program.wait_for_stdout("plain still works\n");
}

#[test]
fn drain_is_how_long_open_streams_may_go_on() {
    let program = Program::start(&["--drain", "0"]);
    let mut client = Client::connect(program.address());
    client.write(b"open").unwrap();
    let before = Instant::now();
    program.wait_for_line(|line| line.contains("listening"));
    program.signal(Signal::TERM);
    let outcome = program.outcome();
    // Far from the ten seconds that are the default.
    assert!(before.elapsed() < Duration::from_secs(8));
    assert_eq!(outcome.status, 0);
    assert!(
        outcome
            .stderr
            .contains("tlsink: stopping: cutting 1 connection\n"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn stats_end_with_totals() {
    let program = Program::start(&["--stats"]);
    send(program.address(), &gzip(b"twelve bytes"));
    let mut client = Client::connect(program.address());
    client.write(b"cut off").unwrap();
    program.wait_for_stdout("twelve bytes");
    client.abandon().unwrap();
    program.wait_for_ends(2);
    let outcome = program.stop();
    let received = gzip(b"twelve bytes").len() + 7;
    let totals = format!(
        "tlsink: 2 connections, 1 of them clean, {received} bytes received, 19 delivered\n"
    );
    assert!(outcome.stderr.ends_with(&totals), "{}", outcome.stderr);
}

#[test]
fn key_log_writes_secrets_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.log");
    let commands = format!("export SSLKEYLOGFILE='{}'", path.display());
    let program = Program::start_after(&commands, &["--key-log"]);
    program.wait_for_line(|line| line.ends_with("keys.log"));
    send(program.address(), b"secret\n");
    program.wait_for_end();
    let log = std::fs::read_to_string(&path).unwrap();
    assert!(log.contains("CLIENT_TRAFFIC_SECRET_0 "), "{log}");

    // Without the option, the variable changes nothing.
    std::fs::remove_file(&path).unwrap();
    let program = Program::start_after(&commands, &[]);
    send(program.address(), b"secret\n");
    program.wait_for_end();
    assert!(!path.exists());
}

#[test]
fn verbose_says_each_open_and_quiet_only_what_went_wrong() {
    let program = Program::start(&["-v"]);
    let mut client = Client::connect(program.address());
    let opened = format!("tlsink: {}: open", client.local_address());
    program.wait_for_line(|line| line == opened);
    client.write(b"x").unwrap();
    client.finish().unwrap();
    program.wait_for_end();

    let (program, address) = Program::start_quiet(&[], Stderr::Pipe);
    send(address, b"clean\n");
    drop(tcp(address).unwrap());
    let client = Client::connect(address);
    let peer = client.local_address();
    client.abandon().unwrap();
    program.wait_for_end();
    let outcome = program.stop();
    let said =
        format!("tlsink: {peer}: 0 bytes received, 0 delivered, truncated (no close_notify)\n");
    assert_eq!(outcome.stderr, said);
}

#[test]
fn quiet_says_refused_senders_and_not_those_who_went_away() {
    let ca = Authority::new("Plant CA");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, ca.pem()).unwrap();
    let ca = file.path().to_str().unwrap();
    let args = ["--client-ca", ca, "--handshake-timeout", "3"];
    let (program, address) = Program::start_quiet(&args, Stderr::Pipe);
    let mut expected = Vec::new();

    let mut stranger = tcp(address).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let peer = stranger.local_addr().unwrap();
    expected.push(format!("tlsink: {peer}: refused (this is not TLS)"));
    let said = |line: &str| program.wait_for_line(|said| said == line);
    said(expected.last().unwrap());

    let anonymous = tcp(address).unwrap();
    let peer = anonymous.local_addr().unwrap();
    let config = client::config(Version::Tls12.of_rustls());
    assert!(Client::over(anonymous, config, "localhost").is_err());
    expected.push(format!("tlsink: {peer}: refused (no certificate)"));
    said(expected.last().unwrap());
    expected.push("hint: senders must present one that a CA trusted here has signed".to_owned());

    drop(tcp(address).unwrap());
    let stalled = tcp(address).unwrap();
    let peer = stalled.local_addr().unwrap();
    expected.push(format!("tlsink: {peer}: timeout (no handshake within 3 s)"));
    said(expected.last().unwrap());
    assert_eq!(program.stop().stderr.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn timestamps_are_before_each_line_of_standard_error_and_in_order() {
    let program = Program::start(&["--timestamps", "--max-decoded", "4"]);
    let mut client = Client::connect(program.address());
    client.write(b"too much\n").unwrap();
    program.wait_for_line(|line| line.ends_with(" hint: --max-decoded allows more"));
    program.signal(Signal::TERM);
    let said = program.outcome().stderr;
    let (times, lines): (Vec<&str>, Vec<&str>) = said
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .unzip();
    assert!(lines.len() >= 5, "{said}");
    for (time, line) in times.iter().zip(&lines) {
        // RFC 3339, in UTC, with microseconds.
        let form: String = time
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(form, "0000-00-00T00:00:00.000000Z", "{said}");
        let known = line.starts_with("tlsink: ") || line.starts_with("hint: ");
        assert!(known, "{said}");
    }
    assert!(times.is_sorted(), "{said}");

    // Also before why it failed.
    let outcome = Program::run(&["--timestamps", "-l", "0.0.0.0:0"]);
    for line in outcome.stderr.lines() {
        let (time, _) = line.split_once(' ').unwrap();
        assert!(time.ends_with('Z'), "{}", outcome.stderr);
    }
    let outcome = Program::run(&["send", "--timestamps", "--insecure", "127.0.0.1:1"]);
    assert_eq!(outcome.status, 1);
    for line in outcome.stderr.lines() {
        let (time, _) = line.split_once(' ').unwrap();
        assert!(time.ends_with('Z'), "{}", outcome.stderr);
    }
}

#[test]
fn an_expired_certificate_is_announced_and_used() {
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 2, 3);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.pem");
    std::fs::write(&path, certificate.pem() + &key.serialize_pem()).unwrap();
    let path = path.to_str().unwrap();
    let program = Program::start(&["--cert", path, "--key", path]);
    program
        .wait_for_line(|line| line == "tlsink: the certificate of localhost expired on 2021-02-03");
    send(program.address(), b"taken\n");
    program.wait_for_stdout("taken\n");
}

#[test]
fn a_flood_of_probes_is_said_in_a_few_lines_and_a_count() {
    let program = Program::start(&[]);
    for _ in 0..100 {
        drop(tcp(program.address()).unwrap());
    }
    program.wait_for_line(|line| {
        line.ends_with(" more peers: truncated (closed during the handshake)")
    });
    let said = program.stderr();
    let lines = said
        .lines()
        .filter(|line| line.contains(": truncated (closed during the handshake)"));
    // Ten in a second; the hundred may take more than one on a busy machine.
    assert!((10..=50).contains(&lines.count()), "{said}");
}

#[test]
fn a_flood_of_refused_peers_hides_no_other_reason_and_is_counted_to_the_last() {
    const FLOOD: usize = 300;
    let program = Program::start(&[]);
    let address = program.address();
    let rejected = |hello: &[u8]| {
        let mut peer = tcp(address).unwrap();
        peer.write_all(hello).unwrap();
        let _ = peer.read_to_end(&mut Vec::new());
    };
    for _ in 0..FLOOD / 2 {
        rejected(b"GET / HTTP/1.1\r\n\r\n");
    }
    rejected(&tls_1_1_hello());
    for _ in 0..FLOOD / 2 {
        rejected(b"GET / HTTP/1.1\r\n\r\n");
    }
    let outcome = program.stop();
    let said = &outcome.stderr;
    assert_eq!(
        said.matches(": refused (no version of TLS in common)\n")
            .count(),
        1,
        "{said}"
    );
    let not_tls = said
        .lines()
        .filter_map(|line| line.strip_suffix(": refused (this is not TLS)"));
    let (mut lines, mut counted) = (0, 0);
    for line in not_tls {
        match line
            .strip_suffix(" more peers")
            .or_else(|| line.strip_suffix(" more peer"))
        {
            Some(count) => counted += count.rsplit(' ').next().unwrap().parse::<usize>().unwrap(),
            None => lines += 1,
        }
    }
    assert!(lines >= 10, "{said}");
    assert_eq!(lines + counted, FLOOD, "{said}");
}

#[test]
fn keep_alive_is_on_for_each_connection() {
    let program = Program::start(&[]);
    let client = Client::connect(program.address());
    program.wait_for_line(|line| line.contains("listening"));
    let timer = keep_alive_timer(program.address(), client.local_address());
    assert_eq!(timer.as_deref(), Some("02"), "2 is the keep-alive timer");
}

#[test]
fn out_of_file_descriptors_it_says_so_once_and_goes_on_when_some_are_free() {
    let program = Program::start_after("ulimit -n 24", &["--max-connections", "1000"]);
    let held: Vec<_> = (0..40).map(|_| tcp(program.address()).unwrap()).collect();
    program.wait_for_line(|line| line.starts_with("tlsink: can't accept connections: "));
    let before = processor_time(program.id());
    // It waits between its tries: a second of them takes next to no time.
    std::thread::sleep(Duration::from_secs(1));
    let spent = processor_time(program.id()) - before;
    assert!(spent <= 20, "{spent} hundredths of a second");
    drop(held);
    send(program.address(), b"served\n");
    program.wait_for_stdout("served\n");
    let said = program.stderr();
    assert_eq!(
        said.matches("can't accept connections").count(),
        1,
        "{said}"
    );
    assert!(said.contains("\nhint: allow more open files"), "{said}");
}

#[test]
fn without_max_connections_the_file_limit_decides() {
    // Connections beyond what the limit allows wait, and nothing fails.
    let program = Program::start_after("ulimit -n 40", &[]);
    let held: Vec<_> = (0..40).map(|_| tcp(program.address()).unwrap()).collect();
    drop(held);
    send(program.address(), b"served\n");
    program.wait_for_stdout("served\n");
    assert!(!program.stderr().contains("can't accept"));
}

#[test]
fn a_closed_output_ends_the_program_and_says_how_much_was_lost() {
    let mut program = Program::start_into(&["-f", "raw"], Stdout::Unread);
    drop(program.unread());
    let mut client = Client::connect(program.address());
    client.write(b"for nobody").unwrap();
    let outcome = program.outcome();
    assert_eq!(outcome.status, 1);
    assert!(
        outcome
            .stderr
            .contains("; up to 10 bytes may be lost, and 1 stream is cut\n"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn what_all_lanes_lose_with_their_output_is_told_together() {
    let mut program = Program::start_into(&["-f", "raw", "--lanes", "2"], Stdout::Unread);
    let address = program.address();
    let senders = [b'a', b'b'].map(|byte| {
        let mut client = Client::connect(address);
        std::thread::spawn(move || while client.write(&[byte; 1 << 16]).is_ok() {})
    });
    let mut output = program.unread();
    let (mut piece, mut seen) = ([0; 1024], [false; 2]);
    while seen != [true; 2] {
        let read = output.read(&mut piece).unwrap();
        seen[0] |= piece[..read].contains(&b'a');
        seen[1] |= piece[..read].contains(&b'b');
    }
    drop(output);
    let outcome = program.outcome();
    assert_eq!(outcome.status, 1);
    assert!(
        outcome
            .stderr
            .ends_with(" may be lost, and 2 streams are cut\n"),
        "{}",
        outcome.stderr
    );
    for sender in senders {
        sender.join().unwrap();
    }
}

/// The timer of the program's end of a connection, from the kernel's table.
fn keep_alive_timer(server: SocketAddr, client: SocketAddr) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |address: SocketAddr| format!(":{:04X}", address.port());
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ours = fields[1].ends_with(&port(server)) && fields[2].ends_with(&port(client));
        ours.then(|| fields[5][..2].to_owned())
    })
}

/// How much the process has used of the processor, in clock ticks of a hundredth of a second.
fn processor_time(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
