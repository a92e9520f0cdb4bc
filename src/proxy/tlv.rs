//! The extensions of version 2: a type, a length and a value each.

use super::Fault;

/// A checksum of the whole header, whose own four bytes count as zero.
const CRC32C: u8 = 0x03;
/// Facts about TLS between the sender and the proxy.
const SSL: u8 = 0x20;
/// Within [`SSL`]: the common name in the sender's certificate.
const SSL_CN: u8 = 0x22;

/// The sender spoke TLS.
const CLIENT_SSL: u8 = 0x01;
/// The sender presented a certificate in this session, perhaps on an earlier connection of it.
const CLIENT_CERT_SESS: u8 = 0x04;

/// The extensions that matter here.
#[derive(Default)]
pub(super) struct Extensions {
    pub(super) client_name: Option<String>,
}

impl Extensions {
    /// Parses the extensions at the end of a header.
    pub(super) fn parse(header: &[u8], extensions: &[u8]) -> Result<Self, Fault> {
        let mut found = Extensions::default();
        let mut rest = extensions;
        let mut has = (false, false);
        while !rest.is_empty() {
            let before = rest;
            let (kind, value);
            (kind, value, rest) = next(before)?;
            match kind {
                CRC32C if std::mem::replace(&mut has.0, true) => return Err(INVALID),
                SSL if std::mem::replace(&mut has.1, true) => return Err(INVALID),
                CRC32C => check(header, value, rest)?,
                SSL => found.client_name = client_name(value)?,
                _ => {}
            }
        }
        Ok(found)
    }
}

const INVALID: Fault = Fault::Malformed { part: "extension" };

/// The first extension, and the others.
fn next(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), Fault> {
    let (&[kind, high, low], rest) = bytes.split_first_chunk::<3>().ok_or(INVALID)?;
    let len = usize::from(u16::from_be_bytes([high, low]));
    let (value, rest) = rest.split_at_checked(len).ok_or(INVALID)?;
    Ok((kind, value, rest))
}

/// Compares the checksum with that of the header, which has `rest` behind the checksum.
fn check(header: &[u8], value: &[u8], rest: &[u8]) -> Result<(), Fault> {
    let expected: [u8; 4] = value.try_into().map_err(|_| INVALID)?;
    let before = header
        .len()
        .checked_sub(rest.len() + expected.len())
        .and_then(|len| header.get(..len))
        .ok_or(INVALID)?;
    let parts = [before, &[0; 4], rest];
    let actual = parts.into_iter().fold(0, crc32c::crc32c_append);
    match actual == u32::from_be_bytes(expected) {
        true => Ok(()),
        false => Err(Fault::Checksum),
    }
}

/// The common name, if the proxy has verified the certificate. `verify` is 0 without a certificate
/// too.
fn client_name(ssl: &[u8]) -> Result<Option<String>, Fault> {
    let (&[client, verify @ ..], mut rest) = ssl.split_first_chunk::<5>().ok_or(INVALID)?;
    let verified = CLIENT_SSL | CLIENT_CERT_SESS;
    let is_verified = client & verified == verified && verify == [0; 4];
    let mut name = None;
    while !rest.is_empty() {
        let (kind, value);
        (kind, value, rest) = next(rest)?;
        if kind == SSL_CN && name.is_none() {
            name = std::str::from_utf8(value).ok();
        }
    }
    let name = name.filter(|name| is_verified && !name.is_empty());
    Ok(name.map(str::to_owned))
}
