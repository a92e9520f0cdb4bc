//! No sending: that is not built in.

use super::Failure;
use super::args::SendArgs;
use super::say::Say;

pub(crate) fn run(_: &SendArgs, _: &Say) -> Result<(), Failure> {
    Err(Failure::misused(
        "send needs the feature send, which is not built in",
    ))
}
