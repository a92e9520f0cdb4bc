//! Version 2: a binary block.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::tlv::Extensions;
use super::{Fault, Header, MAX_HEADER, MIN_HEADER, Parsed, Source};
use crate::peer::Address;

pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family and protocol, and the length of the rest.
const FIXED: usize = 16;

/// The room for the path of a Unix socket.
const PATH: usize = 108;

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Fault> {
    let Some((fixed, _)) = bytes.split_first_chunk::<FIXED>() else {
        let enough = match bytes.len() {
            ..MIN_HEADER => MIN_HEADER,
            _ => FIXED,
        };
        return Ok(Parsed::Incomplete {
            missing: enough - bytes.len(),
        });
    };
    let [.., command, family, high, low] = *fixed;
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        0x22..=0x2f => return Err(invalid("command")),
        _ => return Err(invalid("version")),
    };
    let len = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if len > MAX_HEADER {
        return Err(Fault::TooLong);
    }
    let Some(block) = bytes.get(..len) else {
        return Ok(Parsed::Incomplete {
            missing: len.saturating_sub(bytes.len()),
        });
    };
    let header = match is_local {
        // The family and the rest are to be ignored.
        true => Header {
            source: Source::Proxy,
            client_name: None,
        },
        false => proxied(family, block)?,
    };
    Ok(Parsed::Complete { header, len })
}

/// Parses the whole block of a connection that is passed on.
fn proxied(family: u8, block: &[u8]) -> Result<Header, Fault> {
    let rest = block.get(FIXED..).unwrap_or_default();
    // The protocol is none, stream or datagram.
    if family & 0xf > 2 {
        return Err(invalid("protocol"));
    }
    let (source, rest) = match family >> 4 {
        0 => (Source::Unknown, rest),
        1 => {
            let (source, rest) = ends::<4>(rest)?;
            let (port, rest) = port(rest)?;
            (ip(Ipv4Addr::from(source).into(), port), rest)
        }
        2 => {
            let (source, rest) = ends::<16>(rest)?;
            let (port, rest) = port(rest)?;
            (ip(Ipv6Addr::from(source).into(), port), rest)
        }
        3 => {
            let (source, rest) = ends::<PATH>(rest)?;
            // A name that begins with NUL is abstract (unix(7)), and no path.
            let path = source.split(|byte| *byte == 0).next().unwrap_or_default();
            let path = (!path.is_empty()).then(|| path_of(path));
            (Source::Sender(Address::Unix(path)), rest)
        }
        _ => return Err(invalid("address family")),
    };
    let extensions = match Extensions::parse(block, rest) {
        // Without a family, addresses may precede the extensions, and are to be ignored.
        Err(Fault::Malformed { .. }) if source == Source::Unknown => Extensions::default(),
        extensions => extensions?,
    };
    Ok(Header {
        source,
        client_name: extensions.client_name,
    })
}

/// The source, and what follows the destination.
fn ends<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Fault> {
    let (source, rest) = bytes.split_first_chunk::<N>().ok_or(invalid("address"))?;
    let (_, rest) = rest.split_first_chunk::<N>().ok_or(invalid("address"))?;
    Ok((*source, rest))
}

/// The port of the source, and what follows that of the destination.
fn port(bytes: &[u8]) -> Result<(u16, &[u8]), Fault> {
    let (&[high, low, _, _], rest) = bytes.split_first_chunk::<4>().ok_or(invalid("port"))?;
    Ok((u16::from_be_bytes([high, low]), rest))
}

fn ip(address: IpAddr, port: u16) -> Source {
    Source::Sender(Address::Ip(SocketAddr::new(address.to_canonical(), port)))
}

fn invalid(part: &'static str) -> Fault {
    Fault::Malformed { part }
}
/// A path, as its bytes.
#[cfg(unix)]
fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;

    std::ffi::OsStr::from_bytes(bytes).into()
}

/// A path as text: elsewhere, paths have no bytes of their own.
#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> PathBuf {
    String::from_utf8_lossy(bytes).into_owned().into()
}
