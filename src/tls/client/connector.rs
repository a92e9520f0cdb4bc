//! The sender's side of TLS, for the command `send`.
//!
//! What async-tls 0.13's client does not do is made up for here:
//!
//! - A write that fails hides what the server said before it cut the connection: later reads fail
//!   by trying the write again. Below it, a [`SenderTransport`] keeps a failed write to itself, so that the
//!   server's alert is still read, and reported in place of a broken pipe.
//! - A write also reads, and may meet the alert, or the end. The first error is kept until
//!   everything before it has been read, as in `stream.rs`.
//! - When a handshake fails, it writes once: what was to be sent before the alert, perhaps, and not
//!   the alert that tells the server why. Polled once more, it writes the rest.
//! - A read also writes, and could send our close_notify and read the answer to it in one go, so
//!   that it could not be told from a server that ended first. While we close, reads write nothing.
//! - What rustls answers by itself, such as a request to renegotiate, is kept without bound while it
//!   can't be sent. A server that takes nothing is read only so far.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use async_tls::TlsConnector;
use async_tls::client::TlsStream;
use futures_lite::{AsyncRead, AsyncWrite, future};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConfigBuilder, SignatureScheme, WantsVerifier};
use rustls_pki_types::ServerName;

use super::error::{ConnectError, SendError};
use super::verifier::{RecordingServerVerifier, ServerVerifier};
use crate::error::TlsError;
use crate::tls::identity::Identity;
use crate::tls::server::{NormalizedTransport, tls_error};
use crate::tls::suites;
use crate::tls::x509::pem;

/// Connects to servers and sends to them.
///
/// TLS 1.2 and 1.3; no session is resumed, so that each server is verified anew.
///
/// ```no_run
/// use tlsink::{Connector, ServerVerifier};
///
/// # smol::block_on(async {
/// let connector = Connector::new(ServerVerifier::from_ca_pem_file("ca.pem")?)?;
/// let tcp = smol::net::TcpStream::connect("logs.example.net:4433").await?;
/// let mut sender = connector.connect("logs.example.net", tcp).await?;
/// sender.send(b"one line\n").await?;
/// sender.finish().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # });
/// ```
#[derive(Clone)]
pub struct Connector {
    start: ConfigBuilder<ClientConfig, WantsVerifier>,
    verifier: Arc<ServerVerifier>,
    identity: Option<Identity>,
    answer: usize,
}

/// What a server may answer, in bytes, unless [`Connector::max_answer`] says otherwise.
pub const MAX_ANSWER: usize = 4096;

/// How much is read while nothing can be sent, in bytes, beside what a server may answer: alerts, and
/// whatever else TLS has to say.
const UNANSWERED: usize = 64 * 1024;

impl Connector {
    /// Verifies servers like this, and shows no certificate.
    ///
    /// # Errors
    ///
    /// When there is no TLS to be had.
    pub fn new(verifier: ServerVerifier) -> Result<Self, TlsError> {
        Ok(Connector {
            start: ClientConfig::builder()
                .with_cipher_suites(suites::in_order())
                .with_safe_default_kx_groups()
                .with_protocol_versions(&[&TLS13, &TLS12])
                .map_err(pem::unusable)?,
            verifier: Arc::new(verifier),
            identity: None,
            answer: MAX_ANSWER,
        })
    }

    /// Shows this certificate to servers that ask for one.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The most that a server may answer, in bytes: one that sends more ends the stream with
    /// [`SendError::Answer`]. [`MAX_ANSWER`](crate::limits::MAX_ANSWER) by default.
    pub fn max_answer(mut self, bytes: usize) -> Self {
        self.answer = bytes;
        self
    }

    /// Shakes hands with the server of this name, a DNS name or an IP address, over `io`. A DNS
    /// name is also what the server is asked for (SNI, RFC 6066, section 3).
    ///
    /// It takes as long as the server does: a deadline is for the caller to set.
    ///
    /// # Errors
    ///
    /// When the server is not the one that is meant, or takes no handshake like this one.
    pub async fn connect<IO>(&self, name: &str, io: IO) -> Result<Sender<IO>, ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        // A name with a dot at its end is the same, but in no certificate and in no hello.
        let name = name.strip_suffix('.').unwrap_or(name);
        let unusable = || ConnectError::Name {
            name: name.to_owned(),
        };
        let parsed = ServerName::try_from(name).map_err(|_| unusable())?;
        rustls::ServerName::try_from(name).map_err(|_| unusable())?;
        let verifier = Arc::new(RecordingServerVerifier {
            verifier: Arc::clone(&self.verifier),
            name: parsed.to_owned(),
            refused: Mutex::new(None),
        });
        let resolver = Arc::new(ClientCertificateResolver {
            key: self.identity.as_ref().map(Identity::key),
            asked: AtomicBool::new(false),
            shown: AtomicBool::new(false),
        });
        let mut config = self
            .start
            .clone()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_cert_resolver(Arc::clone(&resolver) as _);
        config.resumption = Resumption::disabled();
        let mut connecting = TlsConnector::from(Arc::new(config))
            .connect(name, SenderTransport::new(io, self.answer));
        let connected = (&mut connecting).await;
        if let Err(error) = &connected
            && error.kind() == io::ErrorKind::InvalidData
        {
            let _ = future::poll_once(&mut connecting).await;
        }
        match connected {
            Ok(tls) => Ok(Sender {
                tls,
                failed: None,
                resolver,
                answer: Vec::new(),
                limit: self.answer,
            }),
            Err(error) => Err(match verifier.refusal() {
                Some(refusal) => ConnectError::Untrusted {
                    fault: refusal.fault,
                    what: refusal.what,
                    fingerprint: refusal.fingerprint,
                },
                None => ConnectError::new(&error, &resolver),
            }),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("verifier", &self.verifier)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// A stream to a server, which hears the server out while it sends.
///
/// What the server answers is kept, up to a limit. When the server refuses, ends or breaks the
/// stream, whatever goes on ends with that. Dropped before it is [finished](Self::finish), the
/// stream is incomplete, and the server can tell.
pub struct Sender<IO> {
    tls: TlsStream<SenderTransport<IO>>,
    /// The first error, to be reported once everything before it has been read.
    failed: Option<io::Error>,
    resolver: Arc<ClientCertificateResolver>,
    answer: Vec<u8>,
    limit: usize,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Sender<IO> {
    /// Sends all these bytes. When it is dropped before it is done, some of them may be sent.
    ///
    /// A part of them may stay here until the next call, or the next [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// When the server ended the stream, or the connection broke.
    pub async fn send(&mut self, mut bytes: &[u8]) -> Result<(), SendError> {
        poll_fn(|cx| {
            loop {
                self.check(cx)?;
                if bytes.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                match ready!(Pin::new(&mut self.tls).poll_write(cx, bytes)) {
                    Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                    Err(error) => self.fail(error),
                }
            }
        })
        .await
    }

    /// Hands everything to the transport.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn flush(&mut self) -> Result<(), SendError> {
        poll_fn(|cx| {
            loop {
                self.check(cx)?;
                match ready!(Pin::new(&mut self.tls).poll_flush(cx)) {
                    Ok(()) if self.tls.get_ref().broken.is_none() => {
                        return Poll::Ready(Ok(()));
                    }
                    Ok(()) => {}
                    Err(error) => self.fail(error),
                }
            }
        })
        .await
    }

    /// Waits until the server ends the stream, while there is nothing to send. It can be dropped
    /// and called again.
    pub async fn ended(&mut self) -> SendError {
        poll_fn(|cx| match self.check(cx) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        })
        .await
    }

    /// Sends a close_notify (RFC 8446, section 6.1) and waits for the server's. What the server
    /// answered in between is the [`answer`](Self::answer) then.
    ///
    /// In TLS 1.3 a sender is done with its handshake before its certificate is looked at: until
    /// this has returned, the server may never have read anything.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and when the server ends without a close_notify.
    pub async fn finish(&mut self) -> Result<(), SendError> {
        poll_fn(|cx| {
            match Pin::new(&mut self.tls).poll_close(cx) {
                Poll::Ready(Ok(())) if self.tls.get_ref().broken.is_none() => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => self.fail(error),
                _ => {}
            }
            self.tls.get_mut().holds = true;
            let checked = self.check(cx);
            self.tls.get_mut().holds = false;
            checked?;
            Poll::Pending
        })
        .await?;
        poll_fn(|cx| self.poll_end(cx)).await
    }

    /// What the server has answered so far.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// Reads what there is, which is an error if it ends.
    fn check(&mut self, cx: &mut Context<'_>) -> Result<(), SendError> {
        match self.poll_end(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => Err(SendError::Ended),
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    /// Reads until the server's close_notify.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let mut buf = [0; 2048];
        loop {
            let read = match self.poll_read(cx, &mut buf) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(read)) => buf.get(..read).unwrap_or_default(),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(SendError::new(&error, &self.resolver)));
                }
            };
            if read.len() > self.limit.saturating_sub(self.answer.len()) {
                return Poll::Ready(Err(SendError::Answer { limit: self.limit }));
            }
            self.answer.extend_from_slice(read);
        }
    }

    /// Reads, and reports the first error once nothing comes before it any more.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut result = Pin::new(&mut self.tls).poll_read(cx, buf);
        // What was authenticated before what is not valid is still there.
        if let Poll::Ready(Err(error)) = &result
            && error.kind() == io::ErrorKind::InvalidData
            && self.failed.is_none()
        {
            self.failed = Some(again(error));
            result = Pin::new(&mut self.tls).poll_read(cx, buf);
        }
        if let Poll::Ready(Ok(1..)) = result {
            return result;
        }
        // The server's own word on the end counts before any that the system has for it.
        let ended = matches!(result, Poll::Ready(Ok(0)));
        let broken = &self.tls.get_ref().broken;
        match (&self.failed, broken) {
            (Some(failed), _) if tls_error(failed).is_some() => Poll::Ready(Err(again(failed))),
            (_, Some(broken)) if !ended => Poll::Ready(Err(again(broken))),
            (Some(failed), _) if !ended => Poll::Ready(Err(again(failed))),
            _ => result,
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.failed.get_or_insert(error);
    }
}

impl<IO> fmt::Debug for Sender<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// The same error once more.
fn again(error: &io::Error) -> io::Error {
    match tls_error(error) {
        Some(tls) => io::Error::new(error.kind(), tls.clone()),
        None => match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error.to_string()),
        },
    }
}

/// The transport under async-tls. A write that fails is kept here, and what is written after it
/// goes nowhere, so that what the server sent can still be read.
struct SenderTransport<IO> {
    io: NormalizedTransport<IO>,
    /// The most to read while a write waits, in bytes.
    most: usize,
    /// How much has been read since a write began to wait, if one does, in bytes.
    unanswered: Option<usize>,
    /// Why nothing more can be written.
    broken: Option<io::Error>,
    /// Nothing is written at the moment. Whoever sets this has asked for room before.
    holds: bool,
}

impl<IO> SenderTransport<IO> {
    fn new(io: IO, answer: usize) -> Self {
        SenderTransport {
            io: NormalizedTransport(io),
            most: answer.saturating_add(UNANSWERED),
            unanswered: None,
            broken: None,
            holds: false,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for SenderTransport<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // async-tls has tried to write just before: that wakes it.
        if self.unanswered.is_some_and(|read| read >= self.most) {
            return Poll::Pending;
        }
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if let Some(unanswered) = &mut self.unanswered {
            *unanswered = unanswered.saturating_add(read);
        }
        Poll::Ready(Ok(read))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for SenderTransport<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        if self.holds {
            return Poll::Pending;
        }
        loop {
            let written = Pin::new(&mut self.io).poll_write(cx, buf);
            self.unanswered = match &written {
                Poll::Pending => self.unanswered.or(Some(0)),
                Poll::Ready(_) => None,
            };
            match ready!(written) {
                Ok(0) if !buf.is_empty() => self.broken = Some(io::ErrorKind::WriteZero.into()),
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.broken = Some(error),
            }
            return Poll::Ready(Ok(buf.len()));
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_none()
            && let Err(error) = ready!(Pin::new(&mut self.io).poll_flush(cx))
        {
            self.broken = Some(error);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // By now the close_notify is written. Where the server has closed the connection at once,
        // there is nothing left to close.
        let _ = ready!(Pin::new(&mut self.io).poll_close(cx));
        Poll::Ready(Ok(()))
    }
}

/// Our certificate, for a server that asks for one, and whether it did.
pub(super) struct ClientCertificateResolver {
    pub(super) key: Option<Arc<CertifiedKey>>,
    pub(super) asked: AtomicBool,
    /// The server takes keys of this kind.
    pub(super) shown: AtomicBool,
}

impl ResolvesClientCert for ClientCertificateResolver {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        let suits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let key = self.key.as_ref().filter(suits)?;
        self.shown.store(true, Ordering::Relaxed);
        Some(Arc::clone(key))
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}
