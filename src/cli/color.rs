//! The colours of messages.

use std::env;
use std::io::{self, IsTerminal};

use anstyle::{AnsiColor, Style};
use anstyle_query::{clicolor, no_color, term_supports_color};

use super::level::Level;

/// Errors, and ends of streams that are not clean.
const BAD: Style = AnsiColor::Red.on_default().bold();

const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// Words that most users need not read: hints, and ends that are as they should be.
pub(super) const DIM: Style = Style::new().dimmed();

/// The style of the label before a message.
pub(super) fn of_label(level: Level) -> Style {
    match level {
        Level::Error => BAD,
        Level::Warning => WARNING,
        Level::Info | Level::Detail => Style::new(),
    }
}

/// The style of the end of a stream, in a message of this level: a bad end is a warning.
pub(super) fn of_end(level: Level) -> Style {
    match level {
        Level::Error | Level::Warning => BAD,
        Level::Info | Level::Detail => DIM,
    }
}

/// `--color`: whether messages have colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Color {
    /// On a terminal, as far as the environment does not say otherwise.
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    /// The choice with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Color::Auto),
            "always" => Some(Color::Always),
            "never" => Some(Color::Never),
            _ => None,
        }
    }

    /// Whether messages have colours. `NO_COLOR` is that of <https://no-color.org>, `CLICOLOR` and
    /// `CLICOLOR_FORCE` those of <https://bixense.com/clicolors>.
    pub(super) fn is_on(self) -> bool {
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if no_color() => false,
            Color::Auto if is_forced() => true,
            Color::Auto => clicolor() != Some(false) && is_terminal(),
        }
    }
}

/// Whether `CLICOLOR_FORCE` asks for colours. Users take 0 for a no, which anstyle-query does not.
fn is_forced() -> bool {
    env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Whether standard error is a terminal that obeys escape sequences. One whose `TERM` is `dumb`, or
/// missing, shows them instead.
pub(super) fn is_terminal() -> bool {
    io::stderr().is_terminal() && term_supports_color()
}
