//! `--status`: metrics as Prometheus, promtool and curl read them, and the health as HAProxy asks for it.

#![cfg(all(feature = "cli", feature = "gzip"))]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::common::authority::{Authority, dns};
use crate::common::child::Running;
use crate::common::client::TLS13;
use crate::common::program::{Client, FREE, LIMIT, Program, Stderr, Stdout, send, tcp, unix};
use crate::common::skip::is_installed;
use crate::common::status::{answer, get, sample, status, wait_for_health, wait_for_sample};

fn start(args: &[&str]) -> (Program, SocketAddr) {
    let program = Program::start(&[&["--status", FREE], args].concat());
    let status = status(&program);
    (program, status)
}

/// Starts the program with verified senders, of which one has this name. Returns the sender's
/// configuration.
fn start_for_client(
    folder: &Path,
    name: &str,
    args: &[&str],
) -> (Program, SocketAddr, rustls::ClientConfig) {
    let authority = Authority::new("Plant CA");
    let ca = folder.join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let verifying = [
        "--client-ca",
        ca.to_str().unwrap(),
        "--client-auth",
        "optional",
    ];
    let (program, status) = start(&[&verifying[..], args].concat());
    let sender = authority.sender("", &[dns(name)]);
    (program, status, sender.config(&TLS13))
}

fn send_as(program: &Program, config: &rustls::ClientConfig, bytes: &[u8]) {
    let socket = tcp(program.address()).unwrap();
    let mut client = Client::over(socket, config.clone(), "localhost").unwrap();
    client.write(bytes).unwrap();
    client.finish().unwrap();
}

#[test]
fn metrics_count_streams_bytes_lines_and_clients() {
    let folder = tempfile::tempdir().unwrap();
    let (program, status, config) = start_for_client(folder.path(), "boiler", &[]);
    let (code, metrics) = get(status, "/metrics");
    assert_eq!(code, 200);
    for (series, value) in [
        ("tlsink_build_info{version=\"0.1.0\"}", 1.0),
        ("tlsink_healthy", 1.0),
        ("tlsink_connections{state=\"open\"}", 0.0),
        ("tlsink_streams_opened_total", 0.0),
        ("tlsink_memory_limit_bytes", f64::from(1 << 30)),
        ("tlsink_memory_bytes{use=\"kept\"}", 0.0),
    ] {
        assert_eq!(sample(&metrics, series), Some(value), "{series}\n{metrics}");
    }
    assert!(!metrics.contains("tlsink_client_streams_total{"));

    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    send_as(&program, &config, b"one\ntwo\n");
    send_as(&program, &config, b"three");
    send(program.address(), b"four\n");
    let mut cut_off = Client::connect(program.address());
    cut_off.write(b"five\n").unwrap();
    cut_off.abandon().unwrap();
    // A health check.
    Client::connect(program.address()).abandon().unwrap();
    tcp(program.address())
        .unwrap()
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .unwrap();
    wait_for_sample(
        status,
        "tlsink_handshakes_failed_total{reason=\"refused\"}",
        1.0,
    );
    wait_for_sample(status, "tlsink_health_checks_total", 1.0);
    let mut open = Client::connect(program.address());
    open.write(b"6\n").unwrap();
    // Lanes count at their own pace.
    let mut metrics = String::new();
    for (series, value) in [
        ("tlsink_connections{state=\"open\"}", 1.0),
        ("tlsink_connections{state=\"handshake\"}", 0.0),
        ("tlsink_streams_opened_total", 6.0),
        ("tlsink_streams_ended_total{end=\"clean\"}", 3.0),
        ("tlsink_streams_ended_total{end=\"truncated\"}", 1.0),
        ("tlsink_streams_ended_total{end=\"reset\"}", 0.0),
        ("tlsink_received_bytes_total", 25.0),
        ("tlsink_delivered_bytes_total", 25.0),
        ("tlsink_lines_total", 5.0),
        ("tlsink_client_streams_total{client=\"boiler\"}", 2.0),
        (
            "tlsink_client_received_bytes_total{client=\"boiler\"}",
            13.0,
        ),
    ] {
        metrics = wait_for_sample(status, series, value);
    }
    let seen = "tlsink_client_last_seen_timestamp_seconds{client=\"boiler\"}";
    let seen = sample(&metrics, seen).unwrap();
    // The clock's milliseconds are rounded down.
    assert!((before.as_secs_f64() - 0.001..before.as_secs_f64() + 3600.0).contains(&seen));
    let expiry =
        "tlsink_credential_expiry_timestamp_seconds{kind=\"CA certificate\",name=\"Plant CA\"}";
    assert!(sample(&metrics, expiry).unwrap() > seen);
    assert!(sample(&metrics, "tlsink_output_seconds_total").unwrap() > 0.0);

    // A handshake that is not completed.
    let silent = tcp(program.address()).unwrap();
    wait_for_sample(status, "tlsink_connections{state=\"handshake\"}", 1.0);
    drop(silent);
    wait_for_sample(status, "tlsink_connections{state=\"handshake\"}", 0.0);
    open.finish().unwrap();
    wait_for_sample(status, "tlsink_connections{state=\"open\"}", 0.0);
    assert_eq!(program.stop().status, 0);
}

#[test]
fn lines_of_frames_are_counted_as_the_records_that_they_are() {
    let (program, status) = start(&["--format", "json"]);
    send(program.address(), b"9 <13>1 a\nb9 <13>1 c\nd");
    program.wait_for_end();
    wait_for_sample(status, "tlsink_lines_total", 2.0);
}

#[test]
fn other_requests_are_answered_too_and_other_paths_are_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("status");
    let place = format!("unix:{}", path.display());
    let program = Program::start(&["--status", &place]);
    program
        .wait_for_line(|line| line == format!("tlsink: serving /metrics and /healthz on {place}"));
    let ask = |request: &str| {
        let mut socket = unix(&path).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        answer(socket).unwrap()
    };
    for (request, code, body) in [
        ("GET /healthz HTTP/1.0\r\n\r\n", 200, "ok\n"),
        ("GET /healthz?a=b HTTP/1.1\r\nHost: a\r\n\r\n", 200, "ok\n"),
        ("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 200, ""),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            404,
            "tlsink serves /metrics and /healthz\n",
        ),
        (
            "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
            405,
            "tlsink answers GET and HEAD\n",
        ),
        ("\r\n\u{1}", 400, "this is no HTTP request: invalid token\n"),
    ] {
        assert_eq!(ask(request), (code, body.to_owned()), "{request:?}");
    }
    if is_installed("curl") {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--unix-socket", path.to_str().unwrap()]);
        let output = curl.arg("http://localhost/healthz").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n");
    }
    assert_eq!(program.stop().status, 0);
    assert!(!path.exists());
}

#[test]
fn a_status_address_is_checked_and_others_than_loopback_are_warned_of() {
    for (given, said) in [
        (
            "plain:127.0.0.1:0",
            "--status plain:127.0.0.1:0: expected HOST:PORT or unix:PATH, such as 127.0.0.1:9101",
        ),
        (
            "fd:3",
            "--status fd:3: expected HOST:PORT or unix:PATH, such as 127.0.0.1:9101",
        ),
        ("192.0.2.7:0", "can't listen on 192.0.2.7:0: "),
    ] {
        let args = ["--listen", FREE, "--status", given];
        let outcome = Program::run_on(&args, Stdout::Collected, Stderr::Pipe);
        assert_eq!(outcome.status, 2);
        assert!(
            outcome.stderr.starts_with(&format!("tlsink: {said}")),
            "{outcome:?}"
        );
    }
    let program = Program::start(&["--status", "0.0.0.0:0"]);
    program.wait_for_line(|line| {
        line.starts_with("tlsink: anybody who reaches 0.0.0.0:")
            && line.ends_with(" can read the names of senders there")
    });
}

#[test]
fn a_lane_that_hangs_and_a_stop_fail_the_health_check() {
    let args = ["--lanes", "1", "--format", "raw", "--drain", "1h"];
    let mut program =
        Program::start_into(&[&["--status", FREE], &args[..]].concat(), Stdout::Unread);
    let status = status(&program);
    assert_eq!(get(status, "/healthz"), (200, "ok\n".to_owned()));
    // More than a pipe holds.
    let mut client = Client::connect(program.address());
    client.write(&[b'x'; 256 * 1024]).unwrap();
    let fault = wait_for_health(status, 503);
    assert!(fault.starts_with("lane 1 has not turned for 1"), "{fault}");
    // The wait has not ended, and is counted.
    let (_, metrics) = get(status, "/metrics");
    assert!(sample(&metrics, "tlsink_output_seconds_total").unwrap() > 5.0);
    assert_eq!(sample(&metrics, "tlsink_healthy"), Some(0.0));

    let mut output = program.unread();
    thread::spawn(move || io::copy(&mut output, &mut io::sink()));
    wait_for_health(status, 200);
    program.signal(Signal::TERM);
    assert_eq!(wait_for_health(status, 503), "stopping\n");
    client.finish().unwrap();
    assert_eq!(program.outcome().status, 0);
}

#[test]
fn connections_that_are_held_open_keep_no_scraper_out_and_are_closed() {
    let (program, status) = start(&[]);
    let mut held: Vec<TcpStream> = (0..200)
        .map(|index| {
            let mut socket = tcp(status).unwrap();
            let begun = "GET /metrics HTTP/1.1\r\n";
            socket
                .write_all(&begun.as_bytes()[..index % begun.len()])
                .unwrap();
            socket
        })
        .collect();
    assert_eq!(get(status, "/healthz"), (200, "ok\n".to_owned()));
    // The oldest made place.
    for socket in &mut held[..100] {
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }
    // A head without an end is refused.
    let mut endless = tcp(status).unwrap();
    endless.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    while endless.write_all(b"a: b\r\n").is_ok() {}
    send(program.address(), b"hello\n");
    program.wait_for_stdout("hello\n");
}

/// Each metric that an alert or the dashboard names, with the file.
pub(super) fn named_metrics() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let mut named = Vec::new();
    for file in ["prometheus-rules.yml", "grafana-dashboard.json"] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let names = words.filter(|word| word.starts_with("tlsink_"));
        named.extend(names.map(|name| (file.to_owned(), name.to_owned())));
    }
    named
}

/// promtool's verdict on this input.
pub(super) fn promtool(args: &[&str], input: &str) {
    let mut child = Command::new("promtool")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}\n{input}");
    // Notes on style do not change the status of `check metrics`.
    assert!(args[1] != "metrics" || said.is_empty(), "{said}");
}

#[test]
fn promtool_finds_no_fault_with_metrics_and_alerts() {
    if !is_installed("promtool") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (program, status, config) = start_for_client(folder.path(), "boiler", &[]);
    send_as(&program, &config, b"hello\n");
    let (_, metrics) = get(status, "/metrics");
    assert!(metrics.contains("tlsink_client_streams_total{client=\"boiler\"} 1\n"));
    promtool(&["check", "metrics"], &metrics);
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus-rules.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()], "");

    // Each alert is raised by what it is about, and by nothing less.
    let cases = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/status/rules.yml"),
    )
    .unwrap();
    let tests = folder.path().join("rules.yml");
    fs::write(&tests, cases.replace("RULES", rules.to_str().unwrap())).unwrap();
    promtool(&["test", "rules", tests.to_str().unwrap()], "");

    // A metric that an alert or the dashboard names is one that tlsink has. (Those of Kafka are its own tests'.)
    for (file, name) in named_metrics() {
        let known = metrics.contains(&format!("# TYPE {name} "));
        assert!(known || name.starts_with("tlsink_kafka_"), "{file}: {name}");
    }
}

/// A Prometheus that scrapes this address every second. Returns its own address.
fn prometheus(folder: &Path, target: SocketAddr) -> (Running, SocketAddr) {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus-rules.yml");
    let config = folder.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{}']\n\
         scrape_configs: [{{job_name: tlsink, static_configs: [{{targets: ['{target}']}}]}}]\n",
        rules.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("data").display()
        ))
        .arg("--web.listen-address=127.0.0.1:0")
        .arg("--log.level=debug")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = Running(command.spawn().unwrap());
    let said = BufReader::new(child.0.stderr.take().unwrap());
    let (found, address) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for line in said.lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("Listening on\" address=")
                && let Ok(address) = address.trim().parse::<SocketAddr>()
            {
                let _ = found.send(address);
            }
        }
    });
    let address = address.recv_timeout(LIMIT).expect("Prometheus listens");
    (child, address)
}

#[test]
fn prometheus_scrapes_the_metrics_of_a_busy_program() {
    if !is_installed("prometheus") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (program, status, config) = start_for_client(folder.path(), "boiler", &[]);
    let (_prometheus, address) = prometheus(folder.path(), status);
    let query = |expression: &str| {
        let expression: String = expression
            .bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect();
        let (code, body) = get(address, &format!("/api/v1/query?query={expression}"));
        assert!(code == 200 || code == 503, "{body}");
        let value: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        let value = &value["data"]["result"][0]["value"][1];
        value.as_str().and_then(|value| value.parse::<f64>().ok())
    };
    // While senders come and go, each scrape succeeds.
    let deadline = Instant::now() + LIMIT;
    let mut sent = 0_u32;
    while query("count_over_time(up{job=\"tlsink\"}[5m])").unwrap_or_default() < 5.0 {
        assert!(Instant::now() < deadline, "Prometheus does not scrape");
        send_as(&program, &config, b"hello\n");
        sent += 1;
    }
    assert_eq!(query("min_over_time(up{job=\"tlsink\"}[5m])"), Some(1.0));
    let streams = "tlsink_client_streams_total{client=\"boiler\"}";
    while query(streams) != Some(f64::from(sent)) {
        assert!(Instant::now() < deadline, "the last streams are not seen");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(query("rate(tlsink_lines_total[1m]) > bool 0"), Some(1.0));
    assert_eq!(query("count(ALERTS)"), None);
    // Once the program is gone, the alert is pending.
    drop(program);
    while query("count(ALERTS{alertname=\"TlsinkDown\"})") != Some(1.0) {
        assert!(Instant::now() < deadline + LIMIT, "no alert is pending");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_stop_is_announced_before_the_port_is_closed() {
    let (program, status) = start(&["--drain-notice", "1h"]);
    assert_eq!(get(status, "/healthz").0, 200);
    program.signal(Signal::TERM);
    program.wait_for_line(|line| {
        line == "tlsink: stopping in 3600 s; a second signal stops before that"
    });
    let deadline = Instant::now() + LIMIT;
    while get(status, "/healthz") != (503, "stopping\n".to_owned()) {
        assert!(Instant::now() < deadline);
        thread::yield_now();
    }
    // Until then, senders are served.
    send(program.address(), b"hello\n");
    program.wait_for_stdout("hello\n");
    program.signal(Signal::TERM);
    let outcome = program.outcome();
    assert_eq!(outcome.status, 0);
    assert!(
        outcome.stderr.ends_with("tlsink: stopping\n"),
        "{outcome:?}"
    );

    // A time that never passes keeps nobody from stopping the program.
    let (program, _) = start(&["--drain-notice", "9223372036854775807"]);
    program.signal(Signal::TERM);
    program.wait_for_line(|line| line.starts_with("tlsink: stopping in "));
    assert_eq!(program.stop().status, 0);

    // The time passes by itself, too.
    let (program, _) = start(&["--drain-notice", "10ms"]);
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    assert!(
        outcome.stderr.ends_with("tlsink: stopping\n"),
        "{outcome:?}"
    );
}
