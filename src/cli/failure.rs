//! The reason why the program ends before it is done.

/// A fault that the user must mend before the program can run, or an error that ended it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status.
    pub(super) status: u8,
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

/// The exit status when running failed.
const FAILED: u8 = 1;
/// The exit status for wrong arguments and unreadable configuration.
pub(super) const MISUSED: u8 = 2;

impl Failure {
    pub(super) fn misused(what: impl Into<String>) -> Self {
        Failure {
            status: MISUSED,
            what: what.into(),
            hint: None,
        }
    }

    pub(super) fn failed(what: impl Into<String>) -> Self {
        Failure {
            status: FAILED,
            what: what.into(),
            hint: None,
        }
    }

    /// Adds more to the error, on its line.
    #[cfg(feature = "send")]
    pub(super) fn more(mut self, more: &str) -> Self {
        self.what.push_str("; ");
        self.what.push_str(more);
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
