//! Skips of tests, or of parts of them, that can't run everywhere.

use std::io::{ErrorKind, Write, stderr};
use std::process::{Command, Stdio};
use std::thread;

/// If this variable is set and not empty, a missing client fails the tests that run it.
pub const REQUIRE: &str = "TLSINK_REQUIRE_CLIENTS";

/// Reports that something is skipped, because this machine does not allow it.
pub fn skip(why: &str) {
    let current = thread::current();
    let test = current.name().unwrap_or("a test");
    // libtest captures text printed by macros, and shows none of it if the test passes. It does not
    // capture text written to standard error itself.
    let _ = writeln!(stderr().lock(), "skipped: {test}: {why}");
}

/// Reports that something is skipped because a program is not installed.
///
/// # Panics
///
/// If [`REQUIRE`] is set.
#[track_caller]
pub fn missing(what: &str) {
    let required = std::env::var_os(REQUIRE).is_some_and(|value| !value.is_empty());
    assert!(!required, "{what}, and {REQUIRE} is set");
    skip(what);
}

/// Whether this program is installed; [reports](missing) if not.
#[track_caller]
pub fn is_installed(name: &str) -> bool {
    let mut command = Command::new(name);
    let tried = command
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let there = !matches!(tried, Err(error) if error.kind() == ErrorKind::NotFound);
    if !there {
        missing(&format!("{name} is not installed"));
    }
    there
}

/// Whether strace(1) can be used; reports if not.
#[track_caller]
pub fn can_trace() -> bool {
    if !is_installed("strace") {
        return false;
    }
    let mut tried = Command::new("strace");
    let tried = tried.arg("true").stderr(Stdio::null()).status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        skip("strace may not trace");
    }
    can
}
