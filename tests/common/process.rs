//! What the kernel says of a running process.

#![cfg(feature = "cli")]

use std::fs;

/// The most memory that a process has used so far, in bytes; nothing if it is gone.
pub fn peak_memory(id: u32) -> Option<u64> {
    in_status(id, "VmHWM").map(|kib| kib * 1024)
}

/// The memory that a process uses now, in bytes; nothing if it is gone.
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
