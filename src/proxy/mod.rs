//! The PROXY protocol, versions 1 and 2: the header in which a proxy says whose connection it passes
//! on.
//!
//! The protocol is described in `doc/proxy-protocol.txt` of HAProxy. A [`Connection`] reads the header
//! itself if it is told to, by [`Connection::behind_proxy`]. [`parse`] is for applications that accept
//! connections in another way.
//!
//! [`Connection`]: crate::Connection
//! [`Connection::behind_proxy`]: crate::Connection::behind_proxy

use std::fmt;

use crate::peer::Address;

mod text;
mod tlv;
mod v2;

/// The longest header that is read, in bytes. One of version 1 has at most 107, and one of version 2
/// with addresses and the usual extensions has some 300. Its length field would allow 65,551.
pub const MAX_HEADER: usize = 4096;

/// The shortest header, in bytes: `PROXY UNKNOWN`, CR, LF.
const MIN_HEADER: usize = 15;

/// The description of a connection that its proxy sends before it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The origin of the connection.
    pub source: Source,
    /// The common name in the sender's certificate, if the proxy terminated TLS, asked for a
    /// certificate, and verified it. It may hold any characters.
    pub client_name: Option<String>,
}

/// The origin of a connection, as a proxy gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The proxy itself, for a health check (`LOCAL` in version 2).
    Proxy,
    /// A sender whose address the proxy does not give. Health checks in version 1 look like this too, or
    /// have the proxy's own address.
    Unknown,
    /// The sender's address: an IP address, or a Unix socket.
    Sender(Address),
}

/// The result of parsing the first bytes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parsed {
    /// The header goes on.
    #[non_exhaustive]
    Incomplete {
        /// The number of bytes that are missing at least: whoever reads no more than these reads
        /// nothing that follows the header.
        missing: usize,
    },
    /// The header is complete.
    #[non_exhaustive]
    Complete {
        /// The header.
        header: Header,
        /// Its length in bytes.
        len: usize,
    },
}

/// The reason why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes do not begin as a header of either version does.
    NotProxy,
    /// The header is longer than [`MAX_HEADER`], or than 107 bytes in version 1.
    TooLong,
    /// The checksum does not match (`PP2_TYPE_CRC32C`).
    Checksum,
    /// Another part is not valid.
    #[non_exhaustive]
    Malformed {
        /// The part.
        part: &'static str,
    },
}

/// Parses the header at the beginning of these bytes. Bytes behind it are ignored.
///
/// ```
/// use tlsink::proxy::{Parsed, Source, parse};
///
/// let Ok(Parsed::Complete { header, len, .. }) =
///     parse(b"PROXY TCP4 192.0.2.7 192.0.2.1 40312 4433\r\nrest")
/// else {
///     panic!("the header is complete");
/// };
/// let sender = std::net::SocketAddr::from(([192, 0, 2, 7], 40312));
/// assert_eq!(header.source, Source::Sender(tlsink::Address::Ip(sender)));
/// assert_eq!(len, 43);
/// ```
///
/// # Errors
///
/// [`Fault`] as soon as no further bytes could make it a header.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Fault> {
    if begins_like(bytes, v2::SIGNATURE) && !bytes.is_empty() {
        v2::parse(bytes)
    } else if begins_like(bytes, text::BEGINNING) {
        text::parse(bytes)
    } else {
        Err(Fault::NotProxy)
    }
}

/// Whether the bytes begin with the other ones, as far as there are bytes.
fn begins_like(bytes: &[u8], beginning: &[u8]) -> bool {
    let both = bytes.iter().zip(beginning);
    both.into_iter().all(|(one, other)| one == other)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotProxy => f.write_str("no PROXY header"),
            Fault::TooLong => f.write_str("PROXY header too long"),
            Fault::Checksum => f.write_str("PROXY header with a wrong checksum"),
            Fault::Malformed { part } => write!(f, "PROXY header with an invalid {part}"),
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
#[path = "../../tests/fuzz/proxy.rs"]
mod body;
