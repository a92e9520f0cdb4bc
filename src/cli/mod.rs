//! The command line program around the library.

use std::io::{self, Write};
use std::process::ExitCode;

mod address;
mod args;
mod blocking;
mod bytes;
mod cert;
mod certificate;
#[path = "../count.rs"]
mod count;
mod encoding;
mod failure;
mod keep_alive;
mod level;
mod listen;
mod listen_address;
mod networks;
mod platform;
mod resolve;
mod say;
mod send;
mod signals;
mod slow_open;
mod stdio;
mod unusable;

#[cfg(test)]
#[path = "../../tests/fuzz/arguments.rs"]
mod fuzz;

use args::Command;
pub(crate) use failure::Failure;
use say::Say;

pub(crate) fn run() -> ExitCode {
    let say = Say::start();
    let result = args::parse(std::env::args_os().skip(1)).and_then(|command| {
        if command.timestamps() {
            say.timestamps();
        }
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
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::failed(format!("can't write the output: {error}")))
}

fn start_thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|error| Failure::failed(format!("can't start a thread: {error}")))
}
