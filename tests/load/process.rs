//! The resources of a running program.

use std::fs;
use std::thread;
use std::time::Instant;

use crate::common::process::in_status;
use crate::common::program::LIMIT;

/// The number of threads of a process; `None` if it is gone.
pub fn threads(id: u32) -> Option<u64> {
    in_status(id, "Threads")
}

/// The number of open file descriptors of a process; `None` if it is gone.
pub fn open_files(id: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{id}/fd")).ok()?.count())
}

/// Waits until a process has no more than this many file descriptors open.
pub fn wait_for_open_files(id: u32, count: usize) {
    let deadline = Instant::now() + LIMIT;
    while open_files(id).expect("the program runs") > count {
        assert!(Instant::now() < deadline, "descriptors stay open");
        thread::yield_now();
    }
}
