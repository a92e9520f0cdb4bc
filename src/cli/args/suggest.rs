//! Errors about unknown arguments, with a hint at the probable intent.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::Path;

use super::super::Failure;
use super::super::address::HostPort;
use super::options::{COMMANDS, LISTEN, Options, SEND};

/// The commands, as users type them.
pub(super) const NAMES: [&str; 5] = ["listen", "send", "cert", "help", "version"];

/// The error for an unknown option of a command.
pub(super) fn unknown_option(name: &str, options: &Options) -> Failure {
    let elsewhere = COMMANDS.iter().find(|other| other.find(name).is_some());
    let hint = if let Some(other) = elsewhere {
        format!("{} has it", other.command)
    } else if is_part_of_address(name) && options.command == LISTEN.command {
        "--listen takes host and port together: --listen 127.0.0.1:4433".to_owned()
    } else if is_part_of_address(name) && options.command == SEND.command {
        "host and port are given together: tlsink send HOST:PORT".to_owned()
    } else {
        nearest(name, options.names(), options.see)
    };
    Failure::misused(format!("unknown option {name}")).hint(hint)
}

/// Whether other programs have this option for a part of the address.
fn is_part_of_address(name: &str) -> bool {
    let digits = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit());
    matches!(name, "--port" | "--host" | "--bind" | "--address" | "-port")
        || name.strip_prefix("-p").is_some_and(digits)
}

/// The error for an unknown command.
pub(super) fn unknown_command(word: &OsStr) -> Failure {
    let shown = word.to_string_lossy();
    let hint = free_argument(word).unwrap_or(LISTEN.see.to_owned());
    Failure::misused(format!("unknown command {shown}")).hint(nearest(&shown, NAMES, &hint))
}

/// The error for an argument of a command that takes none.
pub(super) fn unexpected_argument(word: &OsStr) -> Failure {
    let shown = word.to_string_lossy();
    let hint = match NAMES.contains(&&*shown) {
        true => Some(format!("the command comes first: tlsink {shown}")),
        false => free_argument(word),
    };
    Failure::misused(format!("unexpected argument {shown}"))
        .hint(hint.unwrap_or(LISTEN.see.to_owned()))
}

/// A hint for an argument that is an address or a file.
fn free_argument(word: &OsStr) -> Option<String> {
    let shown = word.to_string_lossy();
    let is_address = HostPort::parse(&shown).is_ok() || shown.parse::<IpAddr>().is_ok();
    if is_address {
        return Some(
            "--listen HOST:PORT receives there, and tlsink send HOST:PORT sends to it".to_owned(),
        );
    }
    let is_file = shown.contains(['.', '/']) || Path::new(word).is_file();
    is_file.then(|| format!("tlsink send HOST:PORT {shown} sends it"))
}

/// A hint at the most similar name, or else at all of them.
fn nearest(given: &str, names: impl IntoIterator<Item = &'static str>, all: &str) -> String {
    let nearest = names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(name, given), name))
        .min();
    match nearest {
        Some((distance, name)) if distance <= given.trim_start_matches('-').len() / 3 => {
            format!("did you mean {name}?")
        }
        _ => all.to_owned(),
    }
}
