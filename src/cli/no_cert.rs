//! No making of certificates as files: that is not built in.

use super::Failure;
use super::args::CertArgs;
use super::say::Say;

pub(crate) fn run(_: &CertArgs, _: &Say) -> Result<(), Failure> {
    Err(Failure::misused(
        "cert needs the feature cert, which is not built in",
    ))
}
