//! The handshake of forward: the receiver speaks first, and the sender shows that it knows a key.
//!
//! | from | message |
//! |---|---|
//! | receiver | `["HELO", {"nonce": …, "auth": "", "keepalive": true}]` |
//! | sender | `["PING", its name, salt, SHA-512 of salt, name, nonce and key, user, password]` |
//! | receiver | `["PONG", whether it is accepted, reason, our name, SHA-512 of salt, our name, nonce and key]` |

use std::fmt;
use std::sync::Arc;

use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

use super::super::fault::FaultKind;
use super::super::{MAX_TAG, RecordBuffer};
use super::msgpack::Token;

/// Our name. A sender refuses a receiver of its own name.
const NAME: &[u8] = b"tlsink";

/// The elements of a sender's message.
const ELEMENTS: usize = 6;

/// A key that senders of [`Framing::Forward`](crate::frame::Framing::Forward) share with the receiver.
/// Its debug form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedKey(Arc<[u8]>);

impl SharedKey {
    /// A key of these bytes.
    pub fn new(key: impl Into<Vec<u8>>) -> Self {
        SharedKey(key.into().into())
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKey").finish_non_exhaustive()
    }
}

/// The handshake of one stream.
#[derive(Debug)]
pub(super) struct Greeting {
    key: SharedKey,
    /// `None` if the system has no random bytes.
    nonce: Option<[u8; 16]>,
    /// The elements of the sender's message so far.
    ping: Vec<Vec<u8>>,
    has_begun: bool,
}

impl Greeting {
    pub(super) fn new(key: &SharedKey) -> Self {
        let mut nonce = [0; 16];
        let filled = SystemRandom::new().fill(&mut nonce);
        Greeting {
            key: key.clone(),
            nonce: filled.is_ok().then_some(nonce),
            ping: Vec::new(),
            has_begun: false,
        }
    }

    /// The first message, which is the receiver's.
    pub(super) fn helo(&self) -> Vec<u8> {
        let mut helo = b"\x92\xa4HELO\x83\xa5nonce\xc4\x10".to_vec();
        helo.extend(self.nonce.unwrap_or_default());
        helo.extend(b"\xa4auth\xa0\xa9keepalive\xc3");
        helo
    }

    /// Takes the next token of the sender's message, and answers it once it is complete. Returns whether
    /// the sender has shown that it knows the key.
    pub(super) fn push(
        &mut self,
        token: Token<'_>,
        records: &mut RecordBuffer,
    ) -> Result<bool, FaultKind> {
        let elements = self.ping.len();
        match (token, self.ping.last_mut()) {
            (Token::Array(6), None) if !self.has_begun => self.has_begun = true,
            (Token::Bytes(len), _) if self.has_begun && len <= MAX_TAG && elements < ELEMENTS => {
                self.ping.push(Vec::with_capacity(len));
            }
            (Token::Part(part, is_last), Some(element)) => {
                element.extend_from_slice(part);
                if is_last && elements == ELEMENTS {
                    return self.answer(records);
                }
            }
            _ => return Err(FaultKind::SharedKey),
        }
        Ok(false)
    }

    fn answer(&self, records: &mut RecordBuffer) -> Result<bool, FaultKind> {
        let [ping, name, salt, digest, ..] = &*self.ping else {
            return Err(FaultKind::SharedKey);
        };
        if ping != b"PING" {
            return Err(FaultKind::SharedKey);
        }
        // The digest is of a nonce that comes only once: how long the comparison takes tells nothing
        // about the next one.
        let is_known = self.nonce.is_some() && *digest == self.digest(salt, name);
        if !is_known {
            records.answer(&pong(false, b"shared_key mismatch", b""));
            return Err(FaultKind::SharedKey);
        }
        records.answer(&pong(true, b"", &self.digest(salt, NAME)));
        Ok(true)
    }

    /// The proof that the owner of this name knows the key, in hexadecimal digits.
    fn digest(&self, salt: &[u8], name: &[u8]) -> Vec<u8> {
        let mut sha512 = digest::Context::new(&digest::SHA512);
        sha512.update(salt);
        sha512.update(name);
        sha512.update(&self.nonce.unwrap_or_default());
        sha512.update(&self.key.0);
        let digest = sha512.finish();
        let digits = digest.as_ref().iter();
        digits
            .flat_map(|byte| format!("{byte:02x}").into_bytes())
            .collect()
    }
}

/// The last message. Its strings have fewer than 256 bytes.
fn pong(is_accepted: bool, reason: &[u8], digest: &[u8]) -> Vec<u8> {
    let mut pong = b"\x95\xa4PONG".to_vec();
    pong.push(if is_accepted { 0xc3 } else { 0xc2 });
    for text in [reason, NAME, digest] {
        pong.extend([0xd9, text.len() as u8]);
        pong.extend(text);
    }
    pong
}

#[cfg(test)]
mod tests {
    use super::super::super::{Fault, Framing, Unframer};
    use super::*;
    use crate::decode::Limits;

    const RECORD: &[u8] = b"\x93\xa1t\x01\x80";

    fn string(text: &[u8]) -> Vec<u8> {
        [&[0xd9, text.len() as u8], text].concat()
    }

    /// A sender's message, whose digest is of this key.
    fn ping(nonce: &[u8], key: &str) -> Vec<u8> {
        let digest = digest::digest(
            &digest::SHA512,
            &[&b"salt"[..], b"me", nonce, key.as_bytes()].concat(),
        );
        let digits: String = digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut ping = b"\x96\xa4PING\xa2me\xa4salt".to_vec();
        ping.extend(string(digits.as_bytes()));
        ping.extend(b"\xa0\xa0");
        ping
    }

    #[test]
    fn a_sender_that_knows_the_key_is_told_so_and_its_records_follow() {
        for (known, size) in [
            ("secret", 1),
            ("secret", 1000),
            ("other", 1),
            ("other", 1000),
        ] {
            let key = SharedKey::new("secret");
            let mut unframer = Unframer::with_key(&key, &Limits::default());
            let helo = unframer.greeting().unwrap();
            let nonce = helo
                .strip_prefix(b"\x92\xa4HELO\x83\xa5nonce\xc4\x10")
                .unwrap();
            let (nonce, rest) = nonce.split_at(16);
            assert_eq!(rest, b"\xa4auth\xa0\xa9keepalive\xc3");
            let stream = [&ping(nonce, known), RECORD].concat();
            let mut records = RecordBuffer::default();
            let pushed: Result<Vec<_>, _> = stream
                .chunks(size)
                .map(|piece| unframer.push(piece, &mut records))
                .collect();
            let answer = records.answers();
            if known == "other" {
                assert_eq!(pushed, Err(Fault::SharedKey));
                assert!(answer.starts_with(b"\x95\xa4PONG\xc2\xd9\x13shared_key mismatch"));
                assert!(records.records().lines().is_empty());
                continue;
            }
            pushed.unwrap();
            let proof = digest::digest(
                &digest::SHA512,
                &[&b"salt"[..], NAME, nonce, b"secret"].concat(),
            );
            let proof: String = proof
                .as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let expected = [
                &b"\x95\xa4PONG\xc3\xd9\0"[..],
                &string(NAME),
                &string(proof.as_bytes()),
            ];
            assert_eq!(answer, expected.concat());
            assert_eq!(records.records().iter().count(), 1);
            assert_eq!(unframer.framing(), Framing::Forward);
            assert!(unframer.at_boundary());
        }
        assert_eq!(
            format!("{:?}", SharedKey::new("secret")),
            "SharedKey { .. }"
        );
    }

    #[test]
    fn a_sender_that_does_not_say_what_it_must_is_refused() {
        for stream in [
            RECORD,
            b"\x95\xa4PING",
            b"\x96\xa4PONG\xa0\xa0\xa0\xa0\xa0",
            b"\x96\xa4PING\xa0\xa0\xa0\xa0\x96",
            b"\x96\xa4PING\xda\x04\x01",
            b"\xa4PING",
        ] {
            let key = SharedKey::new("secret");
            let mut unframer = Unframer::with_key(&key, &Limits::default());
            let mut records = RecordBuffer::default();
            assert_eq!(unframer.push(stream, &mut records), Err(Fault::SharedKey));
        }
    }
}
