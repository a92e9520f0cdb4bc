//! The facts that the first messages of a handshake tell. async-tls hides the session that knows
//! them; the code that rustls calls while a handshake is polled notes them here.

use std::cell::Cell;

use crate::tls::{CipherSuite, TlsSession};

thread_local! {
    /// The facts of the handshake that this thread polls.
    static POLLED: Cell<Option<Hello>> = const { Cell::new(None) };
}

/// The facts that are known so far.
#[derive(Debug, Default)]
pub(super) struct Hello {
    server_name: Option<Box<str>>,
    cipher_suite: Option<CipherSuite>,
}

impl Hello {
    /// Polls the handshake that these facts belong to.
    pub(super) fn noting<R>(&mut self, poll: impl FnOnce() -> R) -> R {
        POLLED.set(Some(std::mem::take(self)));
        let result = poll();
        *self = POLLED.take().unwrap_or_default();
        result
    }

    /// The session, once the server has chosen its cipher suite.
    pub(super) fn into_session(self) -> Option<TlsSession> {
        Some(TlsSession {
            cipher_suite: self.cipher_suite?,
            server_name: self.server_name,
        })
    }
}

/// Notes the name of the server that the sender of this thread's handshake asks for.
pub(super) fn note_server_name(name: Option<&str>) {
    if let Some(mut hello) = POLLED.take() {
        hello.server_name = name.map(Box::from);
        POLLED.set(Some(hello));
    }
}

/// Notes the cipher suite of this thread's handshake, if this record is the server's hello.
pub(super) fn note_server_hello(record: &[u8]) {
    if let Some(suite) = cipher_suite(record)
        && let Some(mut hello) = POLLED.take()
    {
        hello.cipher_suite = Some(suite);
        POLLED.set(Some(hello));
    }
}

/// The cipher suite in a record, if that holds a ServerHello (RFC 8446, section 4.1.3). One that
/// asks for another ClientHello has the same suite.
fn cipher_suite(record: &[u8]) -> Option<CipherSuite> {
    const HANDSHAKE: u8 = 22;
    const SERVER_HELLO: u8 = 2;
    let ([content_type, _, _, _, _, message_type, ..], message) =
        record.split_first_chunk::<9>()?;
    if (*content_type, *message_type) != (HANDSHAKE, SERVER_HELLO) {
        return None;
    }
    // The version, and the random number.
    let (_, rest) = message.split_first_chunk::<34>()?;
    let (session_id, rest) = rest.split_first()?;
    let rest = rest.get(usize::from(*session_id)..)?;
    let (suite, _) = rest.split_first_chunk()?;
    Some(CipherSuite(u16::from_be_bytes(*suite)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_hello(session_id: &[u8]) -> Vec<u8> {
        let mut record = vec![22, 3, 3, 0, 0, 2, 0, 0, 0, 3, 3];
        record.extend([0xab; 32]);
        record.push(session_id.len() as u8);
        record.extend(session_id);
        record.extend([0x13, 0x02, 0]);
        record
    }

    #[test]
    fn a_server_hello_tells_its_cipher_suite_and_no_other_bytes_do() {
        for session_id in [&[][..], &[7; 32]] {
            let record = server_hello(session_id);
            assert_eq!(cipher_suite(&record), Some(CipherSuite(0x1302)));
            for len in 0..record.len() - 1 {
                assert_eq!(cipher_suite(&record[..len]), None, "{len}");
            }
        }
        let mut certificate = server_hello(&[]);
        certificate[5] = 11;
        assert_eq!(cipher_suite(&certificate), None);
    }

    #[test]
    fn facts_are_noted_for_the_handshake_that_is_polled_alone() {
        note_server_name(Some("nobody.example"));
        let mut one = Hello::default();
        one.noting(|| note_server_name(Some("one.example")));
        one.noting(|| note_server_hello(&server_hello(&[])));
        note_server_hello(&server_hello(&[]));
        let mut other = Hello::default();
        other.noting(|| {});
        assert_eq!(other.into_session(), None);
        let session = one.into_session().unwrap();
        assert_eq!(session.server_name(), Some("one.example"));
        assert_eq!(session.cipher_suite().code(), 0x1302);
    }
}
