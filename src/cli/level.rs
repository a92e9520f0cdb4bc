//! The level of messages.

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
    /// The priority of the message in the journal (sd-daemon(3)), which begins the line there.
    pub(crate) fn priority(self) -> &'static str {
        match self {
            Level::Error => "<3>",
            Level::Warning => "<4>",
            Level::Info | Level::Detail => "<6>",
        }
    }
}
