//! Reads facts about a server from /proc: its processor time, its memory, whether it listens.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// A server whose clock has stood still for this long has nothing left to do.
const QUIET: Duration = Duration::from_millis(40);

/// Processor time that may pass on its own meanwhile, such as a garbage collector's timers.
const NOISE: Duration = Duration::from_micros(200);

/// A server that does not come to rest is measured as it is.
const RESTLESS: Duration = Duration::from_secs(10);

/// The processor time of a process and its children, including those that have ended.
///
/// Running threads have a clock in nanoseconds. The process has another one, which includes ended
/// threads, in ticks of 10 ms, rounded down: where the second shows more time, it is right.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = stat(pid).unwrap_or_default();
    let threads = threads(pid);
    let running = threads.iter().map(|thread| runtime(pid, *thread)).sum();
    let children = threads
        .iter()
        .flat_map(|thread| numbers(&format!("/proc/{pid}/task/{thread}/children")))
        .filter_map(|child| u32::try_from(child).ok());
    stat.own.max(running) + stat.ended_children + children.map(cpu_time).sum::<Duration>()
}

/// The processor time of several processes, once they have come to rest.
pub fn settled_cpu_time(pids: &[u32]) -> Duration {
    let all = || pids.iter().copied().map(cpu_time).sum::<Duration>();
    let deadline = Instant::now() + RESTLESS;
    let mut before = all();
    loop {
        thread::sleep(QUIET);
        let now = all();
        if now.saturating_sub(before) < NOISE || Instant::now() > deadline {
            return now;
        }
        before = now;
    }
}

/// The memory of a process that is in RAM, in KiB.
pub fn resident_kib(pid: u32) -> Option<f64> {
    status(pid, "VmRSS:")
}

/// The most memory of a process that was in RAM at a time, in KiB.
pub fn peak_resident_kib(pid: u32) -> Option<f64> {
    status(pid, "VmHWM:")
}

fn status(pid: u32, field: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether a socket listens on this address. Unlike a connection, this look takes nothing from a
/// server that accepts only one.
pub fn is_listening(address: SocketAddr) -> bool {
    // The address of each socket is in hexadecimal, and 0A is the state LISTEN (proc(5)).
    let port = format!(":{:04X}", address.port());
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        let table = fs::read_to_string(table).unwrap_or_default();
        table.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().unwrap_or_default();
            local.ends_with(&port) && fields.nth(1) == Some("0A")
        })
    })
}

#[derive(Default)]
struct Stat {
    own: Duration,
    ended_children: Duration,
}

fn stat(pid: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let time = |field: usize| -> Option<Duration> {
        let ticks: u64 = fields.get(field - 3)?.parse().ok()?;
        let per_second = rustix::param::clock_ticks_per_second();
        Some(Duration::from_secs(1) * u32::try_from(ticks).ok()? / u32::try_from(per_second).ok()?)
    };
    Some(Stat {
        own: time(14)? + time(15)?,
        ended_children: time(16)? + time(17)?,
    })
}

fn threads(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

fn runtime(pid: u32, thread: u32) -> Duration {
    let nanoseconds = numbers(&format!("/proc/{pid}/task/{thread}/schedstat"));
    Duration::from_nanos(nanoseconds.first().copied().unwrap_or(0))
}

fn numbers(file: &str) -> Vec<u64> {
    fs::read_to_string(file)
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect()
}
