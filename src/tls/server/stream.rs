//! The stream that hides the peculiarities of async-tls 0.13. Each of them has a test in
//! `tests/library/async_tls.rs`:
//!
//! - After a TLS error, `poll_read` yields the error first, and then the good plaintext that came
//!   before it. Here the plaintext comes first.
//! - When the bytes that complete the handshake also hold such an error, `Accept` fails and keeps
//!   the plaintext; polled once more, it yields the stream.
//! - A transport's `ConnectionAborted` becomes a clean end. Here it is a reset.
//! - An end without close_notify is an error of its own kind.
//! - `Accept` panics when rustls can't make a session: [`Tls`](super::Tls) has made one before.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_tls::TlsAcceptor;
use async_tls::server::TlsStream;
use futures_lite::{AsyncRead, AsyncWrite};

use super::error::{HandshakeError, ReadError};
use super::hello::Hello;
use super::refused_client::RefusedClient;
use super::verifier::VerifyOutcome;
use super::wire::{self, LastAlert, Wire};
use crate::tls::TlsSession;
use crate::tls::transport::{NormalizedTransport, tls_error};

/// A handshake in progress.
pub(crate) struct Accept<IO> {
    tls: async_tls::Accept<Wire<NormalizedTransport<IO>>>,
    /// The outcome of verifying the sender, if it is verified.
    outcome: Option<Arc<VerifyOutcome>>,
    hello: Hello,
}

/// A completed handshake.
pub(crate) struct Accepted<IO> {
    pub(crate) stream: ServerStream<IO>,
    /// The names that the sender has proved to have, the one to show first.
    pub(crate) names: Vec<String>,
    pub(crate) session: Option<TlsSession>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Accept<IO> {
    pub(super) fn new(acceptor: &TlsAcceptor, outcome: Option<Arc<VerifyOutcome>>, io: IO) -> Self {
        Accept {
            tls: acceptor.accept(Wire::new(NormalizedTransport(io))),
            outcome,
            hello: Hello::default(),
        }
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Accepted<IO>, HandshakeError>> {
        // Data behind the handshake in the same packet is handed on too, up to a close_notify.
        let (polled, used_up) = self
            .hello
            .noting(|| wire::reading_ahead(wire::SCRATCH, || Pin::new(&mut self.tls).poll(cx)));
        if used_up {
            // More may have come, and no waker was registered for it.
            cx.waker().wake_by_ref();
        }
        let result = match ready!(polled) {
            Ok(tls) => Ok((tls, None)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(error),
            // The handshake may be complete, and the error be in the data behind its last message,
            // or, in TLS 1.2, in the read that follows our last message. If it is not complete,
            // this poll sends the alert.
            Err(error) => {
                let mut poll = || Pin::new(&mut self.tls).poll(cx);
                let polled = match last_alert(&error) {
                    Some(alert) => wire::ending_with(alert, poll),
                    None => poll(),
                };
                match polled {
                    Poll::Ready(Ok(tls)) => Ok((tls, Some(Box::new(error.into())))),
                    _ => Err(error),
                }
            }
        };
        let outcome = self.outcome.as_ref().and_then(|outcome| outcome.take());
        Poll::Ready(match (result, outcome) {
            (_, Some(Err(refusal))) => Err(refusal.into()),
            (Err(error), Some(Ok(names))) if is_bad_signature(&error) => {
                Err(RefusedClient::wrong_key(&names).into())
            }
            (Err(error), _) => Err(error.into()),
            (Ok((mut tls, failed)), outcome) => {
                // In TLS 1.2 the last message is the server's. The next read sends the part of it
                // that can't be sent now.
                let _ = Pin::new(&mut tls).poll_flush(cx);
                Ok(Accepted {
                    stream: ServerStream { tls, failed },
                    names: outcome.and_then(Result::ok).unwrap_or_default(),
                    session: std::mem::take(&mut self.hello).into_session(),
                })
            }
        })
    }
}

/// A TLS stream after its handshake. It yields authenticated data before the error behind it.
pub(crate) struct ServerStream<IO> {
    tls: TlsStream<Wire<NormalizedTransport<IO>>>,
    /// The first error, kept until all data before it has been read.
    failed: Option<Box<ReadError>>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> ServerStream<IO> {
    /// Reads into `buf`, and leaves it untouched when pending; 0 says that a close_notify came.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<usize, ReadError>> {
        let mut result = Pin::new(&mut self.tls).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &result
            && error.kind() == io::ErrorKind::InvalidData
            && self.failed.is_none()
        {
            self.failed = Some(Box::new(error.into()));
            // This sends the alert, and does not wait for a peer that does not read it.
            let _ = Pin::new(&mut self.tls).poll_flush(cx);
            result = Pin::new(&mut self.tls).poll_read(cx, buf);
        }
        match (result, self.failed.is_some()) {
            (Poll::Ready(Ok(n)), true) if n > 0 => Poll::Ready(Ok(n)),
            (_, true) => match self.failed.take() {
                Some(first) => Poll::Ready(Err(*first)),
                None => Poll::Ready(Ok(0)),
            },
            (result, false) => result.map_err(|error| ReadError::from(&error)),
        }
    }

    /// Encrypts and sends from `bytes`, which is never empty.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }

    /// Sends all data that was written.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    /// Sends all data that was written and closes the transport for writing, without a
    /// close_notify.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        wire::shutting_down(|| Pin::new(&mut self.tls).poll_flush(cx))
    }

    /// Sends a close_notify and closes the transport for writing.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_close(cx)
    }
}

/// The alert for an error for which rustls 0.21 sends none, or one of another TLS version. In TLS
/// 1.3 it sends none about a certificate with an extension either, but only an encrypted alert
/// could tell of that.
fn last_alert(error: &io::Error) -> Option<LastAlert> {
    use rustls::Error::{InvalidMessage, NoCertificatesPresented, PeerMisbehaved};
    use rustls::PeerMisbehaved as Misbehaved;
    let (description, only_after_silence) = match tls_error(error)? {
        PeerMisbehaved(Misbehaved::InvalidKeyShare | Misbehaved::ServerNameDifferedOnRetry) => {
            (ILLEGAL_PARAMETER, false)
        }
        PeerMisbehaved(Misbehaved::OfferedEmptyApplicationProtocol) => (DECODE_ERROR, false),
        // This is a key share of TLS 1.2 that can't be parsed, or a message for which rustls sends
        // an alert.
        InvalidMessage(_) => (DECODE_ERROR, true),
        // For this, rustls sends certificate_required, which TLS 1.2 does not have. In TLS 1.3 that
        // alert is encrypted, and stays.
        NoCertificatesPresented => (HANDSHAKE_FAILURE, false),
        _ => return None,
    };
    Some(LastAlert {
        description,
        only_after_silence,
    })
}

/// Alerts (RFC 8446, section 6.2; RFC 5246, section 7.2.2).
const HANDSHAKE_FAILURE: u8 = 40;
const ILLEGAL_PARAMETER: u8 = 47;
const DECODE_ERROR: u8 = 50;

/// Whether the sender's signature was not made with the key of its certificate.
fn is_bad_signature(error: &io::Error) -> bool {
    use rustls::{CertificateError::BadSignature, Error::InvalidCertificate};
    matches!(tls_error(error), Some(InvalidCertificate(BadSignature)))
}
