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

use std::fs::Permissions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::pack::{gzip, zstd};
use common::program::{
    BINARY, Client, FREE, Program, Stderr, Stdout, Version, client_hello, send, tcp,
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
        .wait_for_line(|line| line.ends_with(": limit (1 connections are open from this address)"));
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
    assert!(outcome.stderr.contains("up to 0 s; again to stop now"));
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
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);

    // A file that was removed is made anew for its owner, too.
    std::fs::remove_file(&path).unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let both = folder.path().join("both.pem");
    std::fs::write(&both, own.cert.pem() + &own.signing_key.serialize_pem()).unwrap();
    let both = both.to_str().unwrap();
    let args = ["--key-log", "--cert", both, "--key", both];
    let program = Program::start_after(&format!("umask 0; {commands}"), &args);
    send(program.address(), b"secret\n");
    program.wait_for_end();
    assert_eq!(mode(&path), 0o600);
    std::fs::remove_file(&path).unwrap();
    program.signal(Signal::HUP);
    program.wait_for_line(|line| line == "tlsink: certificates reloaded");
    send(program.address(), b"secret\n");
    program.wait_for_ends(2);
    assert_eq!(mode(&path), 0o600);
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
fn secrets_do_not_go_where_others_could_read_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.log");
    std::fs::write(&path, "").unwrap();
    let run = || {
        let mut command = Command::new(BINARY);
        command
            .args(["--listen", FREE, "--key-log"])
            .env("SSLKEYLOGFILE", &path);
        Program::run_by(command, Stdout::Collected, Stderr::Pipe)
    };
    let path_shown = path.display();
    for (mode, said) in [
        (
            0o644,
            "others than its owner may use it (mode 0644)\n\
             hint: let its owner alone use it (chmod 600), or name a file that is not there",
        ),
        (
            0o620,
            "others than its owner may use it (mode 0620)\n\
             hint: let its owner alone use it (chmod 600), or name a file that is not there",
        ),
    ] {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let outcome = run();
        let said = format!("tlsink: {path_shown} is not for secrets: {said}\n");
        assert_eq!((outcome.status, outcome.stderr), (2, said));
    }
    // Whoever owns it reads it, whatever its permissions; only root can give one away.
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    if std::os::unix::fs::chown(&path, Some(65534), None).is_ok() {
        let outcome = run();
        let said = format!(
            "tlsink: {path_shown} is not for secrets: it belongs to another user\n\
             hint: name a file in SSLKEYLOGFILE that is not there, in a folder of your own\n"
        );
        assert_eq!((outcome.status, outcome.stderr), (2, said));
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");

    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let outcome = run();
    assert!(
        outcome
            .stderr
            .starts_with(&format!("tlsink: can't open {path_shown}: "))
    );
    assert_eq!(outcome.status, 2);
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
    program.wait_for_line(|line| line.ends_with(" more peers completed no handshake"));
    let said = program.stderr();
    let lines = said
        .lines()
        .filter(|line| line.contains("closed during the handshake"));
    // Ten in a second; the hundred may take more than one on a busy machine.
    assert!((10..=50).contains(&lines.count()), "{said}");
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
            .contains("; up to 10 bytes are lost, and what else comes from 1 streams\n"),
        "{}",
        outcome.stderr
    );
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
