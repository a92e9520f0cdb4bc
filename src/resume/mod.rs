//! Streams that outlive their connection.
//!
//! A sender names its stream, and asks how much of it the server has; then it sends the rest. The server
//! acknowledges what it keeps, so that whatever breaks, the sender knows where to go on. Both sides
//! speak lines of JSON:
//!
//! ```text
//! sender                                              server
//! tlsink/1 {"stream":"NAME","from":10,"crc32c":"…"}
//!                                                     {"wait":true}, every 2 s, if it takes long
//!                                                     {"at":14,"crc32c":"…"}
//! the stream from byte 14 on, compressed or not
//!                                                     {"ack":20}
//!                                                     {"ack":31}
//! close_notify
//!                                                     a receipt, close_notify
//! ```
//!
//! At any time, a server that has [had the connection for long](crate::ServerBuilder::max_age) may end it
//! by `{"ack":31,"go":true}`, without a close_notify: it takes nothing behind byte 31 over this
//! connection, and the sender goes on over another one, to another server if it knows one.
//!
//! A server speaks these lines with [`ServerBuilder::offsets`](crate::ServerBuilder::offsets), which takes the
//! place where positions are kept: an implementation of [`Offsets`]. [`Stateless`] keeps none.

mod answer;
mod instance;
mod opening;
mod preamble;
mod stateless;

pub(crate) use answer::WAITING;
pub use answer::{Answer, ParseAnswerError};
pub use instance::Instance;
pub(crate) use opening::{Accepted, Channel};
pub use opening::{Offsets, Opening, Owner, Progress};
pub(crate) use preamble::{PREFIX, Resumed};
pub use preamble::{Preamble, PreambleError};
pub use stateless::Stateless;

/// The longest line of this protocol, in bytes, with its newline.
pub const MAX_LINE: usize = 4096;

/// The longest name of a stream, in bytes.
pub const MAX_NAME: usize = 255;

/// A position in a stream, and the checksum of everything before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// The number of bytes before it.
    pub offset: u64,
    /// The CRC-32C (RFC 3720, appendix B.4) of these bytes.
    pub crc32c: u32,
}

impl Position {
    /// The beginning of a stream.
    pub const START: Position = Position {
        offset: 0,
        crc32c: 0,
    };

    /// The position behind these bytes.
    ///
    /// ```
    /// use tlsink::resume::Position;
    ///
    /// let position = Position::START.behind(b"1234").behind(b"56789");
    /// assert_eq!((position.offset, position.crc32c), (9, 0xe306_9283));
    /// ```
    pub fn behind(self, bytes: &[u8]) -> Self {
        Position {
            offset: self.offset.saturating_add(bytes.len() as u64),
            crc32c: crc32c::crc32c_append(self.crc32c, bytes),
        }
    }

    #[cfg(unix)]
    /// The position before these bytes, which are the last ones before it.
    pub(crate) fn before(self, bytes: &[u8]) -> Self {
        /// The polynomial, with its bits reversed.
        const POLYNOMIAL: u32 = 0x82f6_3b78;
        let mut register = !self.crc32c;
        for byte in bytes.iter().rev() {
            for _ in 0..8 {
                // Its highest bit is set only where a step has added it.
                register = match register >> 31 {
                    0 => register << 1,
                    _ => ((register ^ POLYNOMIAL) << 1) | 1,
                };
            }
            register ^= u32::from(*byte);
        }
        Position {
            offset: self.offset.saturating_sub(bytes.len() as u64),
            crc32c: !register,
        }
    }
}

impl Position {
    /// The CRC-32C of the bytes from an earlier position of the same stream to this one.
    ///
    /// ```
    /// use tlsink::resume::Position;
    ///
    /// let earlier = Position::START.behind(b"before");
    /// let position = earlier.behind(b"123456789");
    /// assert_eq!(position.checksum_since(earlier), 0xe306_9283);
    /// ```
    pub fn checksum_since(self, earlier: Position) -> u32 {
        let len = self.offset.saturating_sub(earlier.offset);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.crc32c ^ crc32c::crc32c_combine(earlier.crc32c, 0, len)
    }
}

/// Parses a checksum: eight lower-case hexadecimal digits.
fn parse_checksum(text: &str) -> Option<u32> {
    parse_hex(text, 8).and_then(|checksum| checksum.try_into().ok())
}

/// Parses a number of exactly so many lower-case hexadecimal digits.
fn parse_hex(text: &str, digits: usize) -> Option<u64> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == digits && text.bytes().all(is_digit))
        .then(|| u64::from_str_radix(text, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_between_two_positions_is_that_of_the_bytes() {
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for (from, to) in [(0, 0), (0, 100_000), (1, 2), (77, 99_999), (5, 5)] {
            let earlier = Position::START.behind(&bytes[..from]);
            let position = earlier.behind(&bytes[from..to]);
            let expected = crc32c::crc32c(&bytes[from..to]);
            assert_eq!(position.checksum_since(earlier), expected, "{from} {to}");
        }
    }

    proptest! {
        #[test]
        fn the_position_before_bytes_is_the_one_that_they_are_behind(
            offset in 0..u64::MAX / 2,
            crc32c: u32,
            bytes in vec(any::<u8>(), 0..100),
        ) {
            let position = Position { offset, crc32c };
            prop_assert_eq!(position.behind(&bytes).before(&bytes), position);
        }
    }
}
