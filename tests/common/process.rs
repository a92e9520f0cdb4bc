//! What the kernel says of a running process, and what it allows the test itself.

#![cfg(feature = "cli")]

use std::fs;
use std::thread;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::program::LIMIT;
use super::skip::skip;

/// The most memory that a process has used so far, in bytes; nothing if it is gone.
pub fn peak_memory(id: u32) -> Option<u64> {
    in_status(id, "VmHWM").map(|kib| kib * 1024)
}

/// The memory that a process uses now, in bytes; nothing if it is gone.
pub fn memory(id: u32) -> Option<u64> {
    in_status(id, "VmRSS").map(|kib| kib * 1024)
}

/// How many threads a process has; nothing if it is gone.
pub fn threads(id: u32) -> Option<u64> {
    in_status(id, "Threads")
}

/// How many file descriptors a process has open; nothing if it is gone.
pub fn open_files(id: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{id}/fd")).ok()?.count())
}

/// Waits until a process has no more than so many file descriptors open.
pub fn wait_for_open_files(id: u32, count: usize) {
    let deadline = Instant::now() + LIMIT;
    while open_files(id).expect("the program runs") > count {
        assert!(Instant::now() < deadline, "descriptors stay open");
        thread::yield_now();
    }
}

/// Raises the limit on open files, which the program inherits; says so and returns `false` if it
/// can't be so high.
pub fn may_open_files(count: u64) -> bool {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return true;
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let enough = limit.maximum.is_none_or(|most| most >= count);
    if enough && setrlimit(Resource::Nofile, raised).is_ok() {
        return true;
    }
    skip(&format!("{count} open files are not allowed here"));
    false
}

/// The number in this line of `/proc/ID/status`, whatever its unit (proc(5)).
fn in_status(id: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':')
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
