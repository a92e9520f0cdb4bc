//! Paths from a peer's certificate up to a trusted CA, and reasons why there is none.

pub(crate) mod authorities;
pub(crate) mod candidates;
pub(crate) mod explain;
pub(crate) mod presented;
pub(crate) mod revocation;
pub(crate) mod signatures;
