//! Facts from the kernel about a running process, and the limits of the tests' own.

#![cfg(feature = "cli")]

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises this process's limit on open files, which the program inherits, to the most that it may
/// have, and returns that if there is one. libtest runs as many tests at once as there are
/// processors, all in this process, and the usual soft limit of 1024 is soon used up.
pub fn raise_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // The present limit stays.
        Err(_) => limit.current,
    }
}

/// The most memory that a process has used so far, in bytes; `None` if it is gone.
pub fn peak_memory(id: u32) -> Option<u64> {
    in_status(id, "VmHWM").map(|kib| kib * 1024)
}

/// The memory that a process uses now, in bytes; `None` if it is gone.
pub fn memory(id: u32) -> Option<u64> {
    in_status(id, "VmRSS").map(|kib| kib * 1024)
}

/// The number in this line of `/proc/ID/status`, whatever its unit (proc(5)).
pub fn in_status(id: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':')
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
