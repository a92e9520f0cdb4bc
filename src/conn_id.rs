//! The number of a connection.

use std::fmt;

/// The number of a connection, unique within its [`Server`](crate::Server), counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub(crate) u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<ConnId> for u64 {
    fn from(id: ConnId) -> u64 {
        id.0
    }
}
