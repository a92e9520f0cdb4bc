//! Errors about unknown arguments, with a hint at the probable intent.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::Path;

use super::super::Failure;
use super::super::address::{HostPort, LOCAL_NAMES};
use super::habits;
use super::options::{COMMANDS, LISTEN, Opt, Options};
use super::value;

/// The commands, as users type them.
pub(super) const NAMES: [&str; 5] = ["listen", "send", "cert", "help", "version"];

/// The error for an unknown option of a command.
pub(super) fn unknown_option(name: &str, options: &Options) -> Failure {
    let elsewhere = || {
        let other = COMMANDS.iter().find(|other| other.find(name).is_some())?;
        Some(format!("{} has it", other.command))
    };
    let with_value = || {
        let (name, _) = name.split_once(char::is_whitespace)?;
        options.find(name)?;
        Some(format!(
            "{name} and its value are two arguments, or joined by ="
        ))
    };
    let hint = habits::option(name, options)
        .or_else(elsewhere)
        .or_else(with_value)
        .or_else(|| choice(name, options))
        .unwrap_or_else(|| nearest(name, options.names(), options.see));
    Failure::misused(format!("unknown option {name}")).hint(hint)
}

/// A hint for the choice of an option that is given like a flag, such as `--json`.
fn choice(name: &str, options: &Options) -> Option<String> {
    let name = name.strip_prefix("--")?.to_ascii_lowercase();
    let has_it = |option: &&Opt| option.choices.contains(&&*name);
    let option = options.all().find(has_it)?;
    Some(format!("did you mean {} {name}?", option.long))
}

/// The error for an unknown command.
pub(super) fn unknown_command(word: &OsStr) -> Failure {
    let shown = word.to_string_lossy();
    // Word processors make such dashes of hyphens.
    let dash = shown.chars().next().filter(|c| ['–', '—', '−'].contains(c));
    let dash = dash.map(|dash| format!("options begin with -, not with {dash}"));
    let hint = dash.or_else(|| habits::command(&shown)).unwrap_or_else(|| {
        let other = free_argument(word).unwrap_or(LISTEN.see.to_owned());
        nearest(&shown, NAMES, &other)
    });
    Failure::misused(format!("unknown command {shown}")).hint(hint)
}

/// The error for an empty argument that is neither an option nor its value.
pub(super) fn empty_argument() -> Failure {
    Failure::misused("an argument is empty").hint("a variable of the shell may be unset")
}

/// The error for an argument of a command that takes none.
pub(super) fn unexpected_argument(word: &OsStr) -> Failure {
    let shown = word.to_string_lossy();
    let hint = if NAMES.contains(&&*shown) {
        Some(format!("the command comes first: tlsink {shown}"))
    } else if value::is_unit(&shown) {
        Some("a unit stands beside its number, without a space: 10min, 64k".to_owned())
    } else {
        free_argument(word)
    };
    Failure::misused(format!("unexpected argument {shown}"))
        .hint(hint.unwrap_or(LISTEN.see.to_owned()))
}

/// A hint for an argument that is an address or a file.
fn free_argument(word: &OsStr) -> Option<String> {
    let shown = word.to_string_lossy();
    let is_address = HostPort::parse(&shown).is_ok()
        || shown.parse::<IpAddr>().is_ok()
        || shown.contains("://")
        || LOCAL_NAMES.contains(&&*shown);
    if is_address {
        return Some(
            "--listen HOST:PORT receives there, and tlsink send HOST:PORT sends to it".to_owned(),
        );
    }
    let is_file = shown.contains(['.', '/']) || Path::new(word).is_file();
    is_file.then(|| format!("tlsink send HOST:PORT {shown} sends it"))
}

/// A hint at the most similar names, or else at all of them.
fn nearest(given: &str, names: impl IntoIterator<Item = &'static str>, all: &str) -> String {
    let lower_case = given.to_ascii_lowercase();
    let distance = |name| strsim::damerau_levenshtein(name, &lower_case);
    let mut names: Vec<_> = names
        .into_iter()
        .map(|name| (distance(name), name))
        .collect();
    let most = given.trim_start_matches('-').chars().count() / 3;
    let least = names.iter().map(|(distance, _)| *distance).min();
    names.retain(|(distance, _)| *distance <= most && Some(*distance) == least);
    match &names[..] {
        [] => all.to_owned(),
        nearest => {
            let names: Vec<_> = nearest.iter().map(|(_, name)| *name).collect();
            format!("did you mean {}?", names.join(" or "))
        }
    }
}
