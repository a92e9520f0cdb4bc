//! Handling of signals.

use async_signal::{Signal, Signals};

use super::Failure;

/// Handles these signals from now on, in place of their former action.
///
/// # Errors
///
/// When they can't be handled.
pub(crate) fn handle(wanted: impl IntoIterator<Item = Signal>) -> Result<Signals, Failure> {
    Signals::new(wanted).map_err(|error| Failure::failed(format!("can't handle signals: {error}")))
}

/// The given signals that were not ignored when the program started.
///
/// The parent may want the program to outlive the terminal (nohup(1)), or have its own reasons; a
/// shell without job control starts background programs with SIGINT ignored (POSIX, XCU 2.11).
/// Where this can't be found out, no signal counts as ignored.
pub(crate) fn unless_ignored<const N: usize>(signals: [Signal; N]) -> impl Iterator<Item = Signal> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    // Signal 1 is the lowest bit (proc(5)).
    let is_ignored = move |signal: &Signal| ignored >> (*signal as i32 - 1) & 1 == 1;
    signals
        .into_iter()
        .filter(move |signal| !is_ignored(signal))
}

/// Lets a write beyond the limit on file sizes fail (setrlimit(2), EFBIG), as any other error
/// does. By default, SIGXFSZ ends the program instead.
///
/// # Errors
///
/// When it can't be handled.
pub(crate) fn fail_beyond_file_size_limit() -> Result<(), Failure> {
    // Once handled, the signal is ignored from then on.
    handle([Signal::Xfsz]).map(drop)
}

/// Keeps the exit status of each child until it is asked for, also where the parent had SIGCHLD ignored
/// (wait(2), NOTES).
///
/// # Errors
///
/// When the signal can't be handled.
pub(crate) fn keep_ends_of_children() -> Result<(), Failure> {
    match unless_ignored([Signal::Child]).next() {
        Some(_) => Ok(()),
        // Once handled, it is no longer ignored.
        None => handle([Signal::Child]).map(drop),
    }
}
