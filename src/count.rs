//! Counts, in words. The library and the program each compile this module.

use std::fmt;

/// A number of things, with their name in the singular: `1 byte`, `2 bytes`.
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

/// The loss when an output fails, printed as nothing or as words that begin with `; `.
pub(crate) struct Loss {
    /// Bytes that the output may not have passed on.
    pub(crate) bytes: u64,
    /// Streams that were open.
    pub(crate) streams: u64,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = Count(self.bytes, "byte");
        let streams = Count(self.streams, "stream");
        let are = if self.streams == 1 { "is" } else { "are" };
        match (self.bytes, self.streams) {
            (0, 0) => Ok(()),
            (0, _) => write!(f, "; {streams} {are} cut"),
            (_, 0) => write!(f, "; up to {bytes} may be lost"),
            (_, _) => write!(f, "; up to {bytes} may be lost, and {streams} {are} cut"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_lost_is_said_to_be_lost() {
        for (bytes, streams, said) in [
            (0, 0, ""),
            (1, 0, "; up to 1 byte may be lost"),
            (0, 1, "; 1 stream is cut"),
            (0, 2, "; 2 streams are cut"),
            (10, 1, "; up to 10 bytes may be lost, and 1 stream is cut"),
        ] {
            assert_eq!(Loss { bytes, streams }.to_string(), said);
        }
    }
}
