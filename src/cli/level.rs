//! The level of messages.

use anstyle::Style;

use super::color::{BAD, WARNING};

/// The level of a message, or the least important level that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Errors: something that tlsink was told to do fails.
    Error,
    /// Warnings: tlsink goes on, and somebody should know. A refused sender is one, and so is a stream
    /// that did not end clean.
    Warning,
    /// News of interest to most users.
    Info,
    /// Details for a closer look.
    Detail,
}

impl Level {
    /// The style of the label before a message.
    pub(crate) fn style(self) -> Style {
        match self {
            Level::Error => BAD,
            Level::Warning => WARNING,
            Level::Info | Level::Detail => Style::new(),
        }
    }

    /// The priority of the message in the journal (sd-daemon(3)), which begins the line there.
    pub(crate) fn priority(self) -> &'static str {
        match self {
            Level::Error => "<3>",
            Level::Warning => "<4>",
            Level::Info | Level::Detail => "<6>",
        }
    }
}
