//! The level of messages.

/// The level of a message, or the least important level that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Errors.
    Error,
    /// News of interest to most users.
    Info,
    /// Details for a closer look.
    Detail,
}
