//! Each option of the program, through the real binary.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::authority::Authority;
use crate::common::client;
use crate::common::pack::{gzip, zstd};
use crate::common::program::{
    BINARY, Client, FREE, Outcome, Program, Stderr, Stdout, Version, client_hello, send, tcp,
    tls_1_1_hello,
};
use crate::common::strace::traced;
use crate::help::Listed;

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
    let mut expected = String::new();
    for spelling in [
        "-o FILE",
        "-oFILE",
        "-o=FILE",
        "--output FILE",
        "--output=FILE",
        "-voFILE",
    ] {
        let args = spelling.replace("FILE", path.to_str().unwrap());
        let program = Program::start(&args.split(' ').collect::<Vec<_>>());
        send(program.address(), format!("with {spelling}\n").as_bytes());
        program.wait_for_end();
        let outcome = program.stop();
        assert_eq!((outcome.status, outcome.stdout_text().as_str()), (0, ""));
        expected += &format!("with {spelling}\n");
    }
    let written = fs::read_to_string(path).unwrap();
    assert_eq!(written, expected);
}

#[test]
fn output_to_a_hyphen_is_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let commands = format!("cd '{}'", folder.path().display());
    let program = Program::start_after(&commands, &["-o", "-"]);
    send(program.address(), b"shown\n");
    program.wait_for_stdout("shown\n");
    assert_eq!(program.stop().status, 0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Each option that `--help` lists is accepted: only the unknown option behind it is refused.
#[test]
fn every_option_that_help_lists_takes_every_form() {
    for command in ["listen", "send", "cert"] {
        for option in Listed::of(command) {
            if ["--help", "--version"].contains(&option.long.as_str()) {
                continue;
            }
            for form in forms(&option) {
                let args = [&[command.to_owned()], &form[..], &["--bogus".to_owned()]].concat();
                let outcome = run(&args);
                let said = outcome.stderr.lines().next().unwrap_or_default();
                assert_eq!(said, "tlsink: unknown option --bogus", "{args:?}");
                assert_eq!(outcome.status, 2, "{args:?}");
            }
        }
    }
}

/// All ways to give an option, with a value whose characters have a meaning in other places.
fn forms(option: &Listed) -> Vec<Vec<String>> {
    const VALUE: &str = "a=-v b";
    let long = option.long.clone();
    let Some(_) = option.value else {
        return option.names().map(|name| vec![name.to_owned()]).collect();
    };
    let mut forms = vec![
        vec![format!("{long}={VALUE}")],
        vec![format!("{long}=--quiet")],
        vec![long, VALUE.to_owned()],
    ];
    if let Some(short) = &option.short {
        forms.push(vec![format!("{short}{VALUE}")]);
        forms.push(vec![format!("{short}={VALUE}")]);
        forms.push(vec![short.clone(), VALUE.to_owned()]);
        // Both commands that have options with values also have the flag -q.
        forms.push(vec![format!("-q{}{VALUE}", &short[1..])]);
    }
    forms
}

#[test]
fn paths_are_taken_in_every_form_whatever_their_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name: &[u8]| {
        let name = OsString::from_vec(name.to_vec());
        folder.path().join(name).into_os_string()
    };
    let (chain, key) = (path(b"a=\xff.pem"), path(b"a=\xff.key"));
    fs::write(&chain, own.cert.pem()).unwrap();
    fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let joined = |prefix: &str, path: &OsString| {
        let mut argument = OsString::from(prefix);
        argument.push(path);
        vec![argument]
    };
    for [cert_form, key_form] in [["--cert=", "--key="], ["-c", "-k"], ["-c=", "--key="]] {
        let mut command = Command::new(BINARY);
        command.args(["--listen", "127.0.0.1:0"]);
        command.args(joined(cert_form, &chain));
        command.args(joined(key_form, &key));
        let program = Program::start_by(command, 1);
        send(program.address(), b"taken\n");
        program.wait_for_stdout("taken\n");
    }
}

/// Certificates belong to keys in the order in which they are given, however they are spelled.
#[test]
fn mixed_spellings_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["one", "two"] {
        let own = rcgen::generate_simple_self_signed([format!("{name}.example")]).unwrap();
        fs::write(path(&format!("{name}.pem")), own.cert.pem()).unwrap();
        fs::write(
            path(&format!("{name}.key")),
            own.signing_key.serialize_pem(),
        )
        .unwrap();
    }
    let program = Program::start(&[
        "--cert",
        &path("one.pem"),
        "--key",
        &path("one.key"),
        "-c",
        &path("two.pem"),
        &format!("--key={}", path("two.key")),
    ]);
    send(program.address(), b"taken\n");
    program.wait_for_stdout("taken\n");
}

#[test]
fn two_hyphens_end_the_options() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    fs::write(folder.path().join("-notes"), "from -notes\n").unwrap();
    let program = Program::start(&["--"]);
    let mut command = Command::new(BINARY);
    command.current_dir(path).args(["send", "--insecure", "--"]);
    command.args([&program.address().to_string(), "-notes"]);
    assert_eq!(command.output().unwrap().status.code(), Some(0));
    program.wait_for_stdout("from -notes\n");

    let mut command = Command::new(BINARY);
    command.current_dir(path).args(["cert", "--", "-certs"]);
    assert_eq!(command.output().unwrap().status.code(), Some(0));
    assert!(folder.path().join("-certs/ca.pem").exists());
}

#[test]
fn each_command_has_its_own_help() {
    let version = format!("tlsink {}\n", env!("CARGO_PKG_VERSION"));
    for args in [
        "version",
        "--version",
        "send -V",
        "cert --version",
        "help -V",
    ] {
        assert_eq!(answer(args), version, "{args}");
    }
    for (command, usage) in [
        ("", "\nusage: tlsink [listen] [OPTIONS]       receive"),
        ("listen", "\nusage: tlsink [listen] [OPTIONS]\n"),
        ("send", "\nusage: tlsink send [OPTIONS] HOST:PORT [FILE]\n"),
        ("cert", "\nusage: tlsink cert "),
    ] {
        let help = answer(&format!("{command} --help"));
        assert!(help.contains(usage), "{help}");
        assert_eq!(answer(&format!("help {command}")), help);
        // --help counts at any place, among any other arguments.
        assert_eq!(answer(&format!("{command} --bogus -h x --help")), help);
        let short = answer(&format!("{command} -h"));
        assert!(
            short.contains("usage: tlsink ") && short.lines().count() <= 24,
            "{short}"
        );
        assert!(
            short
                .lines()
                .chain(help.lines())
                .all(|line| line.len() <= 80)
        );
        if !command.is_empty() {
            let others = ["listen", "send", "cert"]
                .into_iter()
                .filter(|other| *other != command);
            for other in others {
                assert!(!help.contains(&format!("usage: tlsink {other}")), "{help}");
            }
        }
    }
    assert_eq!(answer("help version"), answer("--help"));
}

/// The program's standard output. It must succeed, with nothing on standard error.
fn answer(args: &str) -> String {
    let args: Vec<_> = args.split_whitespace().map(str::to_owned).collect();
    let outcome = run(&args);
    assert_eq!(
        (outcome.status, outcome.stderr.as_str()),
        (0, ""),
        "{args:?}"
    );
    outcome.stdout_text()
}

fn run(args: &[String]) -> Outcome {
    Program::run(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn sizes_and_times_have_the_units_that_people_write() {
    for (size, bytes) in [("1KiB", 1024), ("1K", 1024), ("1kB", 1000), ("1024", 1024)] {
        let program = Program::start(&["--max-decoded", size]);
        let mut client = Client::connect(program.address());
        client.write(&gzip(&[b'x'; 100_000])).unwrap();
        let ended = program.wait_for_end();
        let expected = format!("limit (more than {bytes} bytes when decoded)");
        assert_eq!((ended.end, ended.delivered), (expected, bytes));
    }
    for (time, shown) in [("100ms", "0.1"), ("0.1s", "0.1"), ("0.1", "0.1")] {
        let program = Program::start(&["--idle-timeout", time]);
        let _client = Client::connect(program.address());
        let end = format!("timeout (nothing came for {shown} s)");
        assert_eq!(program.wait_for_end().end, end);
    }
    let program = Program::start(&["--drain", "1h30m"]);
    let _client = Client::connect(program.address());
    program.wait_for_line(|line| line.contains("listening"));
    program.signal(Signal::TERM);
    program.wait_for_line(|line| line.contains("stopping") && !line.contains(" 10 s"));
}

#[test]
fn names_of_formats_are_taken_in_any_case() {
    let program = Program::start(&["-d", "Gzip", "-f", "JSON"]);
    send(program.address(), &gzip(b"text\n"));
    assert!(
        program
            .wait_for_printed_lines(3)
            .contains(r#""text":"text""#)
    );
    let args = [
        "send",
        "--insecure",
        "-eGZIP",
        &program.address().to_string(),
    ]
    .map(str::to_owned);
    let sender = Program::start_command(
        &args.each_ref().map(String::as_str),
        Stdio::null(),
        Stderr::Pipe,
    );
    assert_eq!(sender.outcome().status, 0);
}

// The addresses to listen on.

#[test]
fn a_port_alone_is_loopback() {
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    for listen in ["0", ":0"] {
        let mut command = Command::new(BINARY);
        command.args(["--listen", listen, "-v"]);
        let program = Program::start_by(command, if has_ipv6 { 2 } else { 1 });
        let port = program.address().port();
        let addresses: Vec<_> = program
            .addresses()
            .iter()
            .map(SocketAddr::to_string)
            .collect();
        if has_ipv6 {
            let expected = [format!("127.0.0.1:{port}"), format!("[::1]:{port}")];
            assert_eq!(addresses, expected);
        } else {
            program.wait_for_line(|line| line.contains(": not listening on [::1]:"));
        }
        for address in program.addresses() {
            send(*address, b"here\n");
        }
        program.wait_for_ends(addresses.len());

        // A sender takes the same short forms, which stand for `localhost`.
        for to in [format!("{port}"), format!(":{port}")] {
            let args = ["send", "--insecure", "-v", &to];
            let sender = Program::start_command(&args, Stdio::null(), Stderr::Pipe).outcome();
            assert_eq!(sender.status, 0, "{}", sender.stderr);
            let said = format!("tlsink: connected to 127.0.0.1:{port}\n");
            assert!(sender.stderr.contains(&said), "{}", sender.stderr);
            let to = format!("to localhost:{port}\n");
            assert!(sender.untimed().ends_with(&to), "{}", sender.stderr);
        }
    }
}

/// The name stands for two addresses, one of them listed twice, and for one of another machine.
#[test]
fn a_host_is_listened_on_at_every_address_that_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    let lines = "127.0.0.1 localhost\n127.0.0.2 localhost\n127.0.0.1 localhost\n\
                 192.0.2.1 localhost\n";
    fs::write(&hosts, lines).unwrap();
    let script = format!(
        "mount --bind '{}' /etc/hosts && exec \"$@\"",
        hosts.display()
    );
    let with_hosts = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, "sh", program]);
        command
    };
    let tried = with_hosts("true").stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        eprintln!("skipped: /etc/hosts can't be replaced here");
        return;
    }
    let mut command = with_hosts(BINARY);
    command.args(["-l", "localhost:0"]);
    let program = Program::start_by(command, 2);
    program.wait_for_line(|line| line.starts_with("tlsink: try: "));
    let port = program.address().port();
    let mut addresses: Vec<_> = program
        .addresses()
        .iter()
        .map(SocketAddr::to_string)
        .collect();
    addresses.sort();
    assert_eq!(
        addresses,
        [format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}")]
    );
    let missing = format!("tlsink: localhost:0: not listening on 192.0.2.1:{port}: ");
    program.wait_for_line(|line| line.starts_with(&missing) || line.contains("192.0.2.1:0: "));
    for address in program.addresses() {
        send(*address, b"here\n");
    }
    program.wait_for_stdout("here\nhere\n");
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_link_local_address_has_its_zone_wherever_it_is_shown() {
    let Some((address, index, interface)) = link_local() else {
        eprintln!("skipped: no interface has a link-local address here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (zone, format) in [(interface.clone(), "lines"), (index.to_string(), "json")] {
        let mut command = Command::new(BINARY);
        command.args(["--listen", &format!("[{address}%{zone}]:0")]);
        command.args(["--self-signed", "localhost", "-f", format]);
        command.args(if format == "lines" {
            &["--label"][..]
        } else {
            &[]
        });
        let program = Program::start_by(command, 1);
        let port = program.address().port();
        program.wait_for_line(|line| {
            line == format!("tlsink: listening on [{address}%{index}]:{port}")
        });
        deliver(&format!("[{address}%{interface}]:{port}"));
        let peer = program.wait_for_end().peer;
        assert!(peer.starts_with(&format!("[{address}%{index}]:")), "{peer}");
        let printed = program.stop().stdout_text();
        match format {
            "lines" => assert_eq!(printed, format!("{peer} here\n")),
            _ => assert_eq!(printed.matches(&format!(r#""peer":"{peer}""#)).count(), 3),
        }
    }

    let mut command = Command::new(BINARY);
    command.args([
        "--listen",
        &format!("[{address}%{interface}]:0"),
        "--max-per-ip=1",
    ]);
    command.args(["--self-signed=localhost", "--name={peer}", "--output-dir"]);
    let program = Program::start_by(
        {
            command.arg(folder.path());
            command
        },
        1,
    );
    deliver(&format!("[{address}%{index}]:{}", program.address().port()));
    program.wait_for_end();
    assert_eq!(program.stop().status, 0);
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    let expected = format!("{address}%{index}").replace(':', "_");
    assert_eq!(names, [OsString::from(expected)]);
}

/// Sends a line with `tlsink send`, which must succeed.
fn deliver(to: &str) {
    let mut command = Command::new(BINARY);
    command
        .args(["send", "--insecure", "-q", to])
        .stdin(Stdio::piped());
    let mut sender = command.spawn().unwrap();
    sender.stdin.take().unwrap().write_all(b"here\n").unwrap();
    assert!(sender.wait().unwrap().success(), "{to}");
}

/// A link-local address, and the number and the name of its interface, from the kernel's table.
fn link_local() -> Option<(Ipv6Addr, u32, String)> {
    let table = fs::read_to_string("/proc/net/if_inet6").ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, index, _, _, _, interface] = fields[..] else {
            return None;
        };
        let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        let index = u32::from_str_radix(index, 16).ok()?;
        let found = (address, index, interface.to_owned());
        address.is_unicast_link_local().then_some(found)
    })
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
    let program = Program::start(&["-v", "--max-per-ip", "1"]);
    let first = Client::connect(program.address());
    assert!(Client::connect_as(program.address(), Version::Tls13).is_err());
    program
        .wait_for_line(|line| line.ends_with(": limit (1 connection is open from this address)"));
    first.finish().unwrap();
    program.wait_for_end();
    // The place is free once the message about the end is printed.
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
    client.write(b"abcdefgh").unwrap();
    client.write(b"i").unwrap();
    // The line has outgrown the limit, so its beginning is printed.
    program.wait_for_stdout("abcdefghi");
    send(program.address(), b"other\n");
    program.wait_for_stdout("abcdefghi\nother\n");
}

#[test]
fn max_decoded_cuts_a_stream_that_decodes_to_more() {
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
fn max_memory_refuses_windows_that_find_no_memory() {
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
fn drain_limits_the_time_of_open_streams_after_a_signal() {
    let program = Program::start(&["--drain", "0"]);
    let mut client = Client::connect(program.address());
    client.write(b"open").unwrap();
    let before = Instant::now();
    program.wait_for_line(|line| line.contains("listening"));
    program.signal(Signal::TERM);
    let outcome = program.outcome();
    // The default would be ten seconds.
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
    let log = fs::read_to_string(&path).unwrap();
    assert!(log.contains("CLIENT_TRAFFIC_SECRET_0 "), "{log}");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);

    // After its removal, the file is again created for its owner alone.
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

    // Without the option, the variable has no effect.
    fs::remove_file(&path).unwrap();
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
             hint: restrict it to its owner (chmod 600), or name a new file",
        ),
        (
            0o620,
            "others than its owner may use it (mode 0620)\n\
             hint: restrict it to its owner (chmod 600), or name a new file",
        ),
    ] {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let outcome = run();
        let said = format!("tlsink: {path_shown} can't hold secrets: {said}\n");
        assert_eq!((outcome.status, outcome.stderr), (2, said));
    }
    // The owner can read the file, whatever its permissions; only root can give a file away.
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    if std::os::unix::fs::chown(&path, Some(65534), None).is_ok() {
        let outcome = run();
        let said = format!(
            "tlsink: {path_shown} can't hold secrets: it belongs to another user\n\
             hint: name a new file in SSLKEYLOGFILE, in a folder of your own\n"
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
fn verbose_reports_each_open_and_quiet_only_failures() {
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
    Client::connect(address).abandon().unwrap();
    let mut client = Client::connect(address);
    let peer = client.local_address();
    client.write(b"x").unwrap();
    client.abandon().unwrap();
    program.wait_for_end();
    let outcome = program.stop();
    let said = format!(
        "tlsink: {peer}: 1 byte received, 1 delivered, plain, truncated (no close_notify)\n"
    );
    assert_eq!(outcome.stderr, said);
}

#[test]
fn quiet_reports_refused_senders_and_not_those_that_went_away() {
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
    expected.push(
        "hint: senders must present one that a CA trusted here has signed, for a key that is RSA \
         (not RSASSA-PSS), P-256, P-384 or Ed25519"
            .to_owned(),
    );

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

    // The time also precedes the error of a failed start.
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
    fs::write(&path, certificate.pem() + &key.serialize_pem()).unwrap();
    let path = path.to_str().unwrap();
    let program = Program::start(&["--cert", path, "--key", path]);
    program.wait_for_line(|line| line == "tlsink: certificate for localhost expired on 2021-02-03");
    send(program.address(), b"taken\n");
    program.wait_for_stdout("taken\n");
}

#[test]
fn a_flood_of_probes_is_reported_in_a_few_lines_and_a_count() {
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
    // Each second has ten lines, and on a busy machine the hundred probes may take several seconds.
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
        said.matches(
            ": refused (no version of TLS in common, or no kind of signature but SHA-1)\n"
        )
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
fn keep_alive_probes_begin_after_a_minute_and_come_every_ten_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let Some((trace, _)) = traced("trace=setsockopt", folder.path(), &[], b"hello\n") else {
        return;
    };
    for set in [
        "SO_KEEPALIVE, [1]",
        "TCP_KEEPIDLE, [60]",
        "TCP_KEEPINTVL, [10]",
        "TCP_KEEPCNT, [6]",
    ] {
        assert!(trace.contains(set), "{set}: {trace}");
    }
}

#[test]
fn out_of_file_descriptors_it_says_so_once_and_goes_on_when_some_are_free() {
    let program = Program::start_after("ulimit -n 24", &["--max-connections", "1000"]);
    let held: Vec<_> = (0..40).map(|_| tcp(program.address()).unwrap()).collect();
    program.wait_for_line(|line| line.starts_with("tlsink: can't accept connections: "));
    let before = processor_time(program.id());
    // The program waits between its tries, so a second of them takes hardly any processor time.
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
    // Connections beyond the limit wait, and nothing fails.
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
    let mut client = Client::connect(program.address());
    let mut output = program.unread();
    // More than a pipe holds, so that the program waits for its reader.
    let sender = std::thread::spawn(move || while client.write(&[b'a'; 1 << 16]).is_ok() {});
    output.read_exact(&mut [0; 1024]).unwrap();
    drop(output);
    let outcome = program.outcome();
    sender.join().unwrap();
    assert_eq!(outcome.status, 1);
    let last = outcome.stderr.lines().last().unwrap();
    let lost = last
        .strip_prefix("tlsink: nobody reads the output any more; up to ")
        .and_then(|rest| rest.strip_suffix(" bytes may be lost, and 1 stream is cut"));
    let lost: u64 = lost.expect(last).parse().unwrap();
    assert!(lost > 0, "{last}");
}

#[test]
fn the_losses_of_all_lanes_with_their_output_are_reported_as_one_sum() {
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
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |address: SocketAddr| format!(":{:04X}", address.port());
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ours = fields[1].ends_with(&port(server)) && fields[2].ends_with(&port(client));
        ours.then(|| fields[5][..2].to_owned())
    })
}

/// The processor time of the process, in clock ticks of a hundredth of a second.
fn processor_time(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
