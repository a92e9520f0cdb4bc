//! Version 1: a line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use memchr::memchr;

use super::{Fault, Header, MIN_HEADER, Parsed, Source};
use crate::peer::Address;

pub(super) const BEGINNING: &[u8] = b"PROXY ";

/// The longest line, in bytes, with CR and LF.
const MAX_LINE: usize = 107;

/// The words of a line with addresses, and the lengths of the shortest ones: `PROXY`, the protocol,
/// two addresses, two ports.
const SHORTEST_V4: [usize; 6] = [5, 4, 7, 7, 1, 1];
const SHORTEST_V6: [usize; 6] = [5, 4, 2, 2, 1, 1];

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Fault> {
    let first = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let Some(end) = memchr(b'\n', first) else {
        return match MAX_LINE.checked_sub(first.len()) {
            None | Some(0) => Err(Fault::TooLong),
            Some(room) => Ok(Parsed::Incomplete {
                missing: missing(first).clamp(1, room),
            }),
        };
    };
    let line = first.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let line = line.ok_or(invalid("end of line"))?;
    Ok(Parsed::Complete {
        header: Header {
            source: source(line)?,
            client_name: None,
        },
        len: end + 1,
    })
}

/// The source in a line without its end.
fn source(line: &str) -> Result<Source, Fault> {
    let mut words = line.split(' ').skip(1);
    let protocol = words.next().unwrap_or_default();
    let parse: fn(&str) -> Option<IpAddr> = match protocol {
        // Whatever follows is to be ignored.
        "UNKNOWN" => return Ok(Source::Unknown),
        "TCP4" => |word| word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |word| word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(invalid("protocol")),
    };
    let mut address = || words.next().and_then(parse).ok_or(invalid("address"));
    let (source, _) = (address()?, address()?);
    let mut port = || words.next().and_then(port).ok_or(invalid("port"));
    let (source_port, _) = (port()?, port()?);
    if words.next().is_some() {
        return Err(invalid("end of line"));
    }
    let source = SocketAddr::new(source.to_canonical(), source_port);
    Ok(Source::Sender(Address::Ip(source)))
}

/// Digits alone: no sign.
fn port(word: &str) -> Option<u16> {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| word.parse().ok()).flatten()
}

/// The number of bytes that are missing at least in an unfinished line.
fn missing(line: &[u8]) -> usize {
    if line.len() < MIN_HEADER {
        return MIN_HEADER - line.len();
    }
    if line.ends_with(b"\r") {
        return 1;
    }
    const END: usize = 2;
    let shortest = match line.get(BEGINNING.len()..) {
        Some([b'T', b'C', b'P', b'4', ..]) => SHORTEST_V4,
        Some([b'T', b'C', b'P', b'6', ..]) => SHORTEST_V6,
        _ => return END,
    };
    let mut words = line.split(|byte| *byte == b' ');
    let last = words.next_back().unwrap_or_default();
    let mut left = shortest.into_iter().skip(words.count());
    // A word that has begun may be complete.
    let word = left.next().filter(|_| last.is_empty()).unwrap_or(0);
    word + left.map(|len| len + 1).sum::<usize>() + END
}

fn invalid(part: &'static str) -> Fault {
    Fault::Malformed { part }
}
