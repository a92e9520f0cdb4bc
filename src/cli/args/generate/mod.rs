//! Man pages, and completions of arguments, out of the table of options.

use super::help::Topic;
use super::manual;
use super::options::{ANSWERS, Opt, Options};
use super::suggest::NAMES;

mod bash;
mod fish;
mod man;
mod zsh;

/// The kinds of text that are generated.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Man,
    Bash,
    Zsh,
    Fish,
}

impl Kind {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "man" => Some(Kind::Man),
            "bash" => Some(Kind::Bash),
            "zsh" => Some(Kind::Zsh),
            "fish" => Some(Kind::Fish),
            _ => None,
        }
    }

    /// The man page about this topic, or the completions for the whole program.
    pub(super) fn text(self, topic: Topic) -> String {
        match self {
            Kind::Man => man::page(topic),
            Kind::Bash => bash::script(),
            Kind::Zsh => zsh::script(),
            Kind::Fish => fish::script(),
        }
    }
}

/// A command, as shells complete it.
struct Command {
    name: &'static str,
    summary: &'static str,
    options: &'static Options,
    /// The words that may follow its name.
    words: &'static [&'static str],
    /// Its other arguments that are no options.
    free: Values,
}

/// The arguments that a shell offers.
#[derive(Clone, Copy)]
enum Values {
    /// None, as it can't know them.
    Unknown,
    Files,
    Directories,
    Programs,
    Words(&'static [&'static str]),
}

/// All commands. The first one is the default.
static COMMANDS: [Command; 5] = [
    Command {
        name: "listen",
        summary: manual::LISTEN.summary,
        options: manual::LISTEN.options,
        words: &[],
        free: Values::Unknown,
    },
    Command {
        name: "send",
        summary: manual::SEND.summary,
        options: manual::SEND.options,
        words: &[],
        free: Values::Files,
    },
    Command {
        name: "cert",
        summary: manual::CERT.summary,
        options: manual::CERT.options,
        words: &["server", "client"],
        free: Values::Directories,
    },
    Command {
        name: "help",
        summary: "describe a command",
        options: &ANSWERS,
        words: &NAMES,
        free: Values::Unknown,
    },
    Command {
        name: "version",
        summary: "print the version",
        options: &ANSWERS,
        words: &[],
        free: Values::Unknown,
    },
];

/// The values of an option that takes one.
fn values(option: &Opt) -> Option<Values> {
    option.value.map(|placeholder| match placeholder {
        _ if !option.choices.is_empty() => Values::Words(option.choices),
        "FILE" => Values::Files,
        "DIR" => Values::Directories,
        "CMD" => Values::Programs,
        _ => Values::Unknown,
    })
}

/// The description of an option, on one line.
fn about(option: &Opt) -> String {
    option.about.replace('\n', " ")
}

fn joined(names: impl IntoIterator<Item = &'static str>, between: &str) -> String {
    names.into_iter().collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::super::options;
    use super::*;

    #[test]
    fn shells_complete_each_command() {
        assert_eq!(COMMANDS.each_ref().map(|command| command.name), NAMES);
        for options in options::COMMANDS {
            let has = |command: &&Command| command.options.command == options.command;
            assert!(COMMANDS.iter().any(|command| has(&command)));
        }
    }

    #[test]
    fn options_without_a_value_have_none_to_complete() {
        for option in options::COMMANDS.iter().flat_map(|command| command.all()) {
            assert_eq!(values(option).is_some(), option.value.is_some());
            assert!(option.value.is_some() || option.choices.is_empty());
        }
    }
}
