//! A crowd of thousands of idle connections does not harm the active senders: they are served, and
//! the crowd is timed out.

use std::fs::{self, File};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

mod silent;

use crate::common::client::{TLS13, config};
use crate::common::process::raise_file_limit;
use crate::common::program::{Client, FREE, Program, Stdout, Version, send, tcp};
use crate::common::skip::{is_installed, skip};
use crate::honest::Honest;
use crate::machine;
use silent::{connect_all, idle, stalled, tcp_from, wait_until_closed};

const STALLED: usize = 5_000;
const IDLE: usize = 5_000;

/// The open files that the test needs for the crowd, and some more.
const FILES: u64 = 12_000;

/// The connections that the program may have, which takes as many open files.
const PLACES: &str = "11000";

/// Another address of this machine: between two addresses, the ports may not suffice for so many
/// connections.
const OTHER: &str = "127.0.0.2:0";

/// The longest that a line may take among thousands of handshakes in a debug build, on a machine
/// with other load.
const PROMPT: Duration = Duration::from_secs(5);

#[test]
fn among_5000_stalled_handshakes_and_5000_idle_senders_an_honest_one_is_served() {
    let _machine = machine::alone();
    if !may_open_files(FILES) {
        return;
    }
    // The timeout grows until it exceeds the time that the crowd takes to arrive, which depends on
    // the machine's other load.
    let limits = ["10", "20", "40"];
    let at_once = limits.iter().any(|limit| is_served_among_the_crowd(limit));
    assert!(at_once, "the crowd never was there at once");
}

/// Runs the crowd with this many seconds for a handshake. Returns `false` if the first connections
/// timed out before the last ones had arrived.
fn is_served_among_the_crowd(limit: &str) -> bool {
    let args = ["--max-connections", PLACES, "--handshake-timeout", limit];
    let mut program = Program::start_on(&[FREE, OTHER], &args, Stdout::Unread);
    let (first, second) = (program.addresses()[0], program.addresses()[1]);
    let mut honest = Honest::new(first, program.unread());
    let sender = honest.address().to_string();
    let crowd = thread::spawn(move || (idle(first, IDLE), stalled(second, STALLED)));
    let mut slowest = Duration::ZERO;
    while !crowd.is_finished() {
        slowest = slowest.max(honest.line());
    }
    let (idle, stalled) = crowd.join().expect("all of them connect");
    slowest = slowest.max(honest.slowest_of(200));
    if program.stderr().contains("no handshake") {
        return false;
    }
    eprintln!("the slowest line took {slowest:?}");
    assert!(slowest <= PROMPT, "a line took {slowest:?}");

    // The stalled connections end, and no others.
    let before = Instant::now();
    wait_until_closed(stalled);
    let end = format!(": timeout (no handshake within {limit} s)");
    let lines = lines_about_strangers(&program, STALLED, &end) as u64;
    // At most ten lines in each second or part of a second.
    assert!(lines <= 10 * (before.elapsed().as_secs() + 2), "{lines}");
    let sent = honest.finish();
    let ended = program.wait_for_ends(1);
    assert_eq!((ended[0].end.as_str(), ended[0].delivered), ("clean", sent));
    assert_eq!((ended[0].peer.as_str(), ended.len()), (&*sender, 1));
    drop(idle);
    true
}

#[test]
fn idle_timeout_ends_each_of_500_silent_senders_and_not_the_one_that_sends() {
    let _machine = machine::alone();
    const SILENT: usize = 500;
    let mut program = Program::start_into(&["--idle-timeout", "5"], Stdout::Unread);
    let mut honest = Honest::new(program.address(), program.unread());
    let silent = idle(program.address(), SILENT);
    let closed = thread::spawn(move || wait_until_closed(silent));
    while !closed.is_finished() {
        honest.line();
    }
    closed.join().expect("all of them are closed");
    for ended in program.wait_for_ends(SILENT) {
        assert_eq!(ended.end, "timeout (nothing came for 5 s)");
    }
    let sent = honest.finish();
    let ends = program.wait_for_ends(SILENT + 1);
    let clean: Vec<_> = ends.iter().filter(|ended| ended.end == "clean").collect();
    assert_eq!((clean.len(), clean[0].delivered), (1, sent));
}

#[test]
fn max_per_ip_keeps_a_crowd_from_one_address_from_taking_all_places() {
    let _machine = machine::alone();
    const MOST: usize = 50;
    const MORE: usize = 200;
    let most = MOST.to_string();
    // There are places only for these connections and one sender.
    let program = Program::start(&["--max-per-ip", &most, "--max-connections", "60"]);
    let crowd = idle(program.address(), MOST);
    for _ in 0..MORE {
        let refused = Client::connect_as(program.address(), Version::Tls13);
        assert!(refused.is_err());
    }
    let end = format!(": limit ({MOST} connections are open from this address)");
    lines_about_strangers(&program, MORE, &end);
    // All addresses from 127.0.0.0 to 127.255.255.255 are this machine's.
    let tcp = tcp_from([127, 0, 0, 2].into(), program.address()).unwrap();
    let mut other = Client::over(tcp, config(&TLS13), "localhost").unwrap();
    other.write(b"from elsewhere\n").unwrap();
    other.finish().unwrap();
    program.wait_for_stdout("from elsewhere\n");
    let ends = program.wait_for_ends(1);
    assert_eq!((ends[0].end.as_str(), ends.len()), ("clean", 1));
    drop(crowd);
}

#[test]
fn as_many_connections_wait_to_be_accepted_as_the_system_allows() {
    let _machine = machine::alone();
    /// More than the standard library's 128, and no more than the test may have files open.
    const MOST: usize = 500;
    let program = Program::start_on(&[FREE, OTHER], &[], Stdout::Collected);
    let allowed = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let allowed: usize = allowed.trim().parse().unwrap();
    program.signal(Signal::STOP);
    // A full queue takes no more connections (listen(2)), so that some of these would fail.
    let waiting: Vec<_> = program
        .addresses()
        .iter()
        .map(|address| connect_all(MOST.min(allowed), || tcp(*address).unwrap()))
        .collect();
    if is_installed("ss") {
        for address in program.addresses() {
            let port = format!("sport = :{}", address.port());
            let queues = Command::new("ss").args(["-Hltn", &port]).output().unwrap();
            let queues = String::from_utf8(queues.stdout).unwrap();
            let fields: Vec<_> = queues.split_ascii_whitespace().collect();
            // The fields are State, Recv-Q and Send-Q. For a listener, the latter two are the
            // length of its queue and the limit.
            assert_eq!(fields[2], allowed.to_string(), "{queues}");
        }
    }
    program.signal(Signal::CONT);
    drop(waiting);
    send(program.addresses()[1], b"served\n");
    program.wait_for_stdout("served\n");
}

/// `cargo test --release --test load crowd -- --ignored`, on a machine that does nothing else.
#[test]
#[ignore = "measures rates, which needs a release build and an idle machine"]
fn among_the_crowd_the_rate_of_an_honest_sender_is_nine_tenths_of_its_rate_alone() {
    let _machine = machine::alone();
    const PAIRS: usize = 7;
    const LEAST: f64 = 0.9;
    if !may_open_files(FILES) {
        return;
    }
    // Standard output is /dev/null, so it is no bottleneck.
    let start = || {
        let nowhere = File::options().write(true).open("/dev/null").unwrap();
        let args = ["--max-connections", PLACES, "--handshake-timeout", "0"];
        Program::start_on(&[FREE, OTHER], &args, Stdout::File(nowhere))
    };
    let (alone, crowded) = (start(), start());
    let idle = idle(crowded.addresses()[0], IDLE);
    let stalled = stalled(crowded.addresses()[1], STALLED);
    let mut ratios: Vec<f64> = (0..PAIRS).map(|_| rate(&crowded) / rate(&alone)).collect();
    ratios.sort_by(f64::total_cmp);
    eprintln!("with the crowd to alone: {ratios:.3?}");
    assert!(ratios[PAIRS / 2] >= LEAST, "{ratios:.3?}");
    drop((idle, stalled));
}

/// The rate, in bytes per second, at which a sender's lines are sent and printed.
fn rate(program: &Program) -> f64 {
    const SENT: usize = 512 << 20;
    let lines = b"a line of an honest sender, not too long\n".repeat(25_000);
    let mut client = Client::connect(program.address());
    let before = Instant::now();
    let mut sent = 0;
    while sent < SENT {
        client.write(&lines).unwrap();
        sent += lines.len();
    }
    client.finish().unwrap();
    sent as f64 / before.elapsed().as_secs_f64()
}

/// Waits until the program has reported this many connections that never completed a handshake: in
/// lines with this ending, and in counts. Returns the number that had a line.
fn lines_about_strangers(program: &Program, count: usize, end: &str) -> usize {
    let counted = |line: &str| -> Option<usize> {
        let said = line.strip_prefix("tlsink: ")?.strip_suffix(end)?;
        let count = said.strip_suffix(" more peers");
        count.or(said.strip_suffix(" more peer"))?.parse().ok()
    };
    let mut seen = 0;
    loop {
        let lines = program.wait_for_lines(seen + 1, |line| line.ends_with(end));
        seen = lines.len();
        let others: usize = lines.iter().filter_map(|line| counted(line)).sum();
        let counts = lines.iter().filter(|line| counted(line).is_some()).count();
        let single = seen - counts;
        assert!(single + others <= count, "{single} and {others}");
        if single + others == count {
            return single;
        }
    }
}

/// Whether the test may open this many files; reports if not.
fn may_open_files(count: u64) -> bool {
    let may = raise_file_limit().is_none_or(|most| most >= count);
    if !may {
        skip(&format!("{count} open files are not allowed here"));
    }
    may
}
