//! The program under strace(1).

use std::fs;
use std::path::Path;

use super::program::{Client, Outcome, Program};
use super::skip::can_trace;

/// The shell line before a program that lets its third call of `call` (`write`, `fdatasync`) on the file
/// fail with EIO, by strace.
pub fn third_call_fails(call: &str, file: &Path) -> String {
    format!(
        "set -- strace -D -f -o /dev/null -P '{}' -e trace={call} -e inject={call}:error=EIO:when=3 \
         \"$@\"",
        file.display()
    )
}

/// Runs the program with `--once` and these arguments, under strace with the expression `what`, and sends
/// it one stream. Returns the trace, which is written to a file in `folder`; reports if there can be none.
#[track_caller]
pub fn traced(
    what: &str,
    folder: &Path,
    args: &[&str],
    stream: &[u8],
) -> Option<(String, Outcome)> {
    if !can_trace() {
        return None;
    }
    let trace = folder.join("trace");
    let strace = format!(
        "set -- strace -f -y -s 256 -o '{}' -e {what} \"$@\"",
        trace.display()
    );
    let program = Program::start_after(&strace, &[&["--once"], args].concat());
    let mut client = Client::connect(program.address());
    client.write(stream).unwrap();
    // The program may end before it answers.
    let _ = client.finish();
    let outcome = program.outcome();
    Some((fs::read_to_string(trace).unwrap(), outcome))
}
