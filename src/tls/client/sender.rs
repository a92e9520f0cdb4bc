//! A stream to a server.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_tls::client::TlsStream;
use futures_lite::{AsyncRead, AsyncWrite};

use super::error::SendError;
use super::resolver::ClientCertificateResolver;
use super::transport::SenderTransport;
use crate::tls::transport::tls_error;

/// A stream to a server, which reads the server's answer while it sends.
///
/// The server's answer is kept, up to a limit, until it is [taken](Self::take_answer). When the server
/// refuses, ends or breaks the stream, the pending call ends with that error, and so does each call
/// after it. A stream that is dropped before it is [finished](Self::finish) is incomplete, and the
/// server can tell.
///
/// # As a writer
///
/// A sender is an [`AsyncWrite`], for whatever writes to one: copying, a buffer, a compressor. Its
/// errors hold a [`SendError`] ([`io::Error::downcast`]). Closing the writer is
/// [finishing](Self::finish) the stream: it succeeds once the server has confirmed the whole of it,
/// and takes as long as the server does. Some writers close the one below and drop its error; after
/// them, `finish` returns the same result again.
///
/// ```no_run
/// use futures_lite::{AsyncWriteExt, io};
/// use smol::fs::File;
/// use smol::net::TcpStream;
/// use tlsink::client::{Connector, ServerVerifier};
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let connector = Connector::new(ServerVerifier::from_ca_pem_file("ca.pem")?)?;
///     smol::block_on(async {
///         let tcp = TcpStream::connect("127.0.0.1:4433").await?;
///         let mut sender = connector.connect("localhost", tcp).await?;
///         let sent = io::copy(File::open("app.log").await?, &mut sender).await?;
///         sender.close().await?;
///         println!("the server has all {sent} bytes");
///         Ok(())
///     })
/// }
/// ```
pub struct Sender<IO> {
    tls: TlsStream<SenderTransport<IO>>,
    /// The first error, kept until all data before it has been read.
    failed: Option<io::Error>,
    stage: Stage,
    /// The end of the stream, once it is known. It stays the same.
    end: Option<Result<(), SendError>>,
    resolver: Arc<ClientCertificateResolver>,
    answer: Vec<u8>,
    max_answer: usize,
}

/// The progress of a stream towards its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Our close_notify is on its way.
    Closing,
    /// The transport has our close_notify.
    Closed,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Sender<IO> {
    pub(super) fn new(
        tls: TlsStream<SenderTransport<IO>>,
        resolver: Arc<ClientCertificateResolver>,
        max_answer: usize,
    ) -> Self {
        Sender {
            tls,
            failed: None,
            stage: Stage::Open,
            end: None,
            resolver,
            answer: Vec::new(),
            max_answer,
        }
    }

    /// Sends all these bytes. If the call is dropped before it is done, some of them may have been
    /// sent.
    ///
    /// A part of them may be buffered until the next call, or the next [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// When the server ended the stream, when the connection broke, and once
    /// [`finish`](Self::finish) was called.
    pub async fn send(&mut self, mut bytes: &[u8]) -> Result<(), SendError> {
        poll_fn(|cx| {
            loop {
                let sent = ready!(self.poll_send(cx, bytes))?;
                if bytes.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                bytes = bytes.get(sent..).unwrap_or_default();
            }
        })
        .await
    }

    /// Hands all buffered bytes to the transport.
    ///
    /// # Errors
    ///
    /// When the server ended the stream, or the connection broke.
    pub async fn flush(&mut self) -> Result<(), SendError> {
        poll_fn(|cx| self.poll_send_buffered(cx)).await
    }

    /// Waits until the server ends the stream, while there is nothing to send. The call can be
    /// dropped and made again.
    pub async fn ended(&mut self) -> SendError {
        poll_fn(|cx| match ready!(self.poll_end(cx)) {
            Ok(()) => Poll::Ready(SendError::Ended),
            Err(error) => Poll::Ready(error),
        })
        .await
    }

    /// Sends a close_notify (RFC 8446, section 6.1) and waits for the server's. Then
    /// [`answer`](Self::answer) has the whole answer. The call can be dropped and made again; once
    /// it has returned, it returns the same.
    ///
    /// In TLS 1.3 a sender completes its handshake before the server looks at its certificate:
    /// until this call has returned, the server may have read nothing.
    ///
    /// # Errors
    ///
    /// When the server ended the stream before, or ends it without a close_notify, and when the
    /// connection broke. A stream that has failed gets no close_notify.
    pub async fn finish(&mut self) -> Result<(), SendError> {
        poll_fn(|cx| self.poll_finish(cx)).await
    }

    /// The server's answer so far, without the bytes that were [taken](Self::take_answer).
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// Waits for bytes of the server's answer, and takes them, which makes room for as many:
    /// [`max_answer`](super::Connector::max_answer) limits the bytes that were not taken. Once the
    /// server has confirmed a [finished](Self::finish) stream, there are none. The call can be dropped
    /// and made again.
    ///
    /// This is for protocols in which the server answers while the stream goes on. The bytes come as
    /// they are read: one answer may come in several pieces, and several answers in one. All other
    /// calls read too, so that a server never waits for this one.
    ///
    /// ```no_run
    /// use smol::net::TcpStream;
    /// use tlsink::client::{SendError, Sender};
    ///
    /// /// Sends a line, and waits for the line that answers it.
    /// async fn ask(sender: &mut Sender<TcpStream>, line: &[u8]) -> Result<Vec<u8>, SendError> {
    ///     sender.send(line).await?;
    ///     sender.flush().await?;
    ///     let mut answer = Vec::new();
    ///     while !answer.ends_with(b"\n") {
    ///         answer.extend(sender.take_answer().await?);
    ///     }
    ///     Ok(answer)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// When the server ended the stream, or the connection broke, after all bytes before that were
    /// taken.
    pub async fn take_answer(&mut self) -> Result<Vec<u8>, SendError> {
        poll_fn(|cx| {
            let end = self.poll_end(cx);
            if !self.answer.is_empty() {
                return Poll::Ready(Ok(mem::take(&mut self.answer)));
            }
            Poll::Ready(ready!(end).map(|()| Vec::new()))
        })
        .await
    }

    /// Takes the bytes of the server's answer that have been read.
    #[cfg(feature = "resume")]
    pub(super) fn take_read(&mut self) -> Vec<u8> {
        mem::take(&mut self.answer)
    }

    /// Lets at least this many bytes of the server's answer wait.
    #[cfg(feature = "resume")]
    pub(super) fn raise_max_answer(&mut self, bytes: usize) {
        self.max_answer = self.max_answer.max(bytes);
    }

    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, SendError>> {
        if self.stage != Stage::Open {
            return Poll::Ready(self.known_end().and(Err(SendError::Finished)));
        }
        loop {
            self.check(cx)?;
            if bytes.is_empty() {
                return Poll::Ready(Ok(0));
            }
            match ready!(Pin::new(&mut self.tls).poll_write(cx, bytes)) {
                Ok(sent) => return Poll::Ready(Ok(sent)),
                Err(error) => self.fail(error),
            }
        }
    }

    pub(super) fn poll_send_buffered(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        if self.stage != Stage::Open {
            return self.poll_send_end(cx);
        }
        loop {
            self.check(cx)?;
            match ready!(Pin::new(&mut self.tls).poll_flush(cx)) {
                Ok(()) if self.tls.get_ref().broken.is_none() => return Poll::Ready(Ok(())),
                Ok(()) => {}
                Err(error) => self.fail(error),
            }
        }
    }

    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if self.stage == Stage::Open {
            self.check(cx)?;
            self.stage = Stage::Closing;
        }
        ready!(self.poll_send_end(cx))?;
        self.poll_end(cx)
    }

    /// Sends our close_notify.
    fn poll_send_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if self.stage == Stage::Closed {
            return Poll::Ready(self.known_end());
        }
        match Pin::new(&mut self.tls).poll_close(cx) {
            Poll::Ready(Ok(())) if self.tls.get_ref().broken.is_none() => {
                self.stage = Stage::Closed;
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Err(error)) => self.fail(error),
            _ => {}
        }
        self.check(cx)?;
        Poll::Pending
    }

    /// The error of a stream that is known to have failed.
    fn known_end(&self) -> Result<(), SendError> {
        self.end.clone().unwrap_or(Ok(()))
    }

    /// Reads all data that has come, and fails if the stream has ended.
    fn check(&mut self, cx: &mut Context<'_>) -> Result<(), SendError> {
        match self.poll_end(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(end) => end,
        }
    }

    /// Reads until the end of the stream. The server's close_notify is a good end only if it comes
    /// after ours.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if let Some(end) = &self.end {
            return Poll::Ready(end.clone());
        }
        self.tls.get_mut().holds = self.stage == Stage::Closing;
        let read = self.poll_read_answer(cx);
        self.tls.get_mut().holds = false;
        let end = match ready!(read) {
            Ok(()) if !self.tls.get_ref().is_complete => Err(SendError::Ended),
            end => end,
        };
        Poll::Ready(self.end.insert(end).clone())
    }

    /// Reads until the server's close_notify.
    fn poll_read_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
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
            if read.len() > self.max_answer.saturating_sub(self.answer.len()) {
                return Poll::Ready(Err(SendError::Answer {
                    limit: self.max_answer,
                }));
            }
            self.answer.extend_from_slice(read);
        }
    }

    /// Reads, and reports the first error once all data before it has been read.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut result = Pin::new(&mut self.tls).poll_read(cx, buf);
        // The data that was authenticated before the invalid record is still there.
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
        // The server's own reason for the end takes precedence over the system's.
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

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Sender<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, buf).map_err(io::Error::from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send_buffered(cx).map_err(io::Error::from)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_finish(cx).map_err(io::Error::from)
    }
}

impl<IO> fmt::Debug for Sender<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// A copy of the error.
fn again(error: &io::Error) -> io::Error {
    match tls_error(error) {
        Some(tls) => io::Error::new(error.kind(), tls.clone()),
        None => match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error.to_string()),
        },
    }
}
