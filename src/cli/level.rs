//! How much the program says.

/// How much is said: lines of this level and of those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// What went wrong.
    Error,
    /// What people want to know.
    Info,
    /// What they want to know only when they look closely.
    Detail,
}
