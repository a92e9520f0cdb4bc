//! The program. `cli/args/` parses its command line; `cli/listen/`, `cli/send/` and `cli/cert/`
//! are its commands.
//!
//! Exit status: 0 after a requested stop, with `--once` after a clean stream, and after `send` when
//! the server has everything; 1 when running failed; 2 for wrong arguments or unreadable configuration.

#![forbid(unsafe_code)]

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::run()
}
