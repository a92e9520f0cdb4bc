//! Command lines that the program refuses: an error, at most one hint, and nothing on standard
//! output.

use std::io;
use std::process::Command;

use rustix::io::Errno;

use crate::common::program::{Outcome, Program, Stderr, Stdout};

/// The exit status for wrong arguments and unreadable configuration.
pub const WRONG_USE: i32 = 2;

/// Arguments, separated by spaces; the error; and the hint, or an empty text.
pub type Refusal<'a> = (&'a str, &'a str, &'a str);

/// Runs the program with each of these arguments, which it must refuse with exactly this error and
/// hint. `fill` first inserts values that only the test knows.
pub fn each_is_refused(
    refusals: &[Refusal<'_>],
    program: impl Fn() -> Command,
    fill: impl Fn(&str) -> String,
) {
    for (args, error, hint) in refusals {
        let args = fill(args);
        let mut command = program();
        command.args(args.split(' ')).env_remove("SSLKEYLOGFILE");
        let outcome = refused(command, WRONG_USE);
        assert_eq!(outcome.stderr, said(&fill(error), &fill(hint)), "{args}");
    }
}

/// Runs the program by this command, which it must refuse with this status.
pub fn refused(command: Command, status: i32) -> Outcome {
    let shown = format!("{command:?}");
    let outcome = Program::run_by(command, Stdout::Collected, Stderr::Pipe);
    let said = &outcome.stderr;
    assert_eq!(outcome.status, status, "{shown}: {said}");
    assert_eq!(outcome.stdout_text(), "", "{shown}");
    let mut lines = said.lines();
    let error = lines.next().unwrap_or_default();
    assert!(error.starts_with("tlsink: "), "{shown}: {said}");
    assert!(
        lines.next().is_none_or(|line| line.starts_with("hint: ")),
        "{shown}: {said}"
    );
    assert_eq!(lines.next(), None, "{shown}: {said}");
    outcome
}

/// An error and its hint, if there is one, as the program prints them.
pub fn said(error: &str, hint: &str) -> String {
    match hint {
        "" => format!("tlsink: {error}\n"),
        hint => format!("tlsink: {error}\nhint: {hint}\n"),
    }
}

/// System errors, whose texts are the C library's.
const OS_ERRORS: [(&str, Errno); 6] = [
    ("ENOENT", Errno::NOENT),
    ("ENOTDIR", Errno::NOTDIR),
    ("EISDIR", Errno::ISDIR),
    ("EACCES", Errno::ACCESS),
    ("EADDRINUSE", Errno::ADDRINUSE),
    ("EADDRNOTAVAIL", Errno::ADDRNOTAVAIL),
];

/// Replaces the names of system errors by their texts.
pub fn with_os_errors(text: &str) -> String {
    let named = OS_ERRORS.iter();
    named.fold(text.to_owned(), |text, (name, error)| {
        text.replace(name, &os_error(*error))
    })
}

pub fn os_error(error: Errno) -> String {
    io::Error::from(error).to_string()
}
