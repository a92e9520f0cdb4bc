//! Numbers of things, in words.

use std::fmt;

/// A number of things, whose name is in the singular: `1 byte`, `2 bytes`.
pub(crate) struct Count(pub(crate) u64, pub(crate) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count(number, name) = self;
        match number {
            1 => write!(f, "1 {name}"),
            number => write!(f, "{number} {name}s"),
        }
    }
}
