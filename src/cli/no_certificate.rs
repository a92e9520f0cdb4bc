//! No certificates made in memory: that is not built in.

use tlsink::tls::Identity;

use super::Failure;

pub(crate) enum SelfSigned {}

impl SelfSigned {
    pub(crate) fn new(_: &[String]) -> Result<Self, Failure> {
        Err(
            Failure::misused("a fresh certificate needs the feature cert, which is not built in")
                .hint("give --cert and --key"),
        )
    }

    pub(crate) fn identity(&self) -> &Identity {
        match *self {}
    }

    pub(crate) fn fingerprint(&self) -> &str {
        match *self {}
    }
}
