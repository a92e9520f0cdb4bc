//! The command line program around the library.

use std::io::{self, Write};
use std::process::ExitCode;

mod address;
mod args;
mod blocking;
#[cfg_attr(
    not(feature = "send"),
    allow(dead_code, reason = "only the command shows parts of a whole")
)]
mod bytes;
#[cfg_attr(not(feature = "cert"), path = "no_cert.rs")]
mod cert;
#[cfg_attr(not(feature = "cert"), path = "no_certificate.rs")]
mod certificate;
mod color;
#[path = "../count.rs"]
mod count;
mod encoding;
mod failure;
mod keep_alive;
mod level;
mod listen;
mod listen_address;
#[cfg_attr(
    not(feature = "send"),
    allow(dead_code, reason = "only the command shows names and bars")
)]
mod live;
mod networks;
mod platform;
mod resolve;
mod say;
#[cfg_attr(not(feature = "send"), path = "no_send.rs")]
mod send;
mod signals;
mod slow_open;
mod stdio;
mod unusable;

#[cfg(test)]
#[path = "../../tests/fuzz/arguments.rs"]
mod fuzz;

use args::{Command, CommandLine};
pub(crate) use failure::Failure;
use say::Say;

pub(crate) fn run() -> ExitCode {
    let CommandLine { color, command } = args::parse(std::env::args_os().skip(1));
    let timestamps = command.as_ref().is_ok_and(Command::timestamps);
    let say = Say::start(color, timestamps);
    let result = command.and_then(|command| {
        signals::fail_beyond_file_size_limit()?;
        match command {
            Command::Print(text) => print(&text),
            Command::Listen(args) => listen::run(*args, &say),
            Command::Send(args) => send::run(&args, &say),
            Command::Cert(args) => cert::run(&args, &say),
        }
    });
    let failure = result.err();
    say.finish(failure.as_ref());
    ExitCode::from(failure.map_or(0, |failure| failure.status))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => {
            written.map_err(|error| Failure::failed(format!("can't write the output: {error}")))
        }
    }
}

fn start_thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|error| Failure::failed(format!("can't start a thread: {error}")))
}
