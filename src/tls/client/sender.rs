//! A stream to a server.

use std::fmt;
use std::future::poll_fn;
use std::io;
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
/// The server's answer is kept, up to a limit. When the server refuses, ends or breaks the stream,
/// the pending call ends with that error. A stream that is dropped before it is
/// [finished](Self::finish) is incomplete, and the server can tell.
pub struct Sender<IO> {
    tls: TlsStream<SenderTransport<IO>>,
    /// The first error, kept until all data before it has been read.
    failed: Option<io::Error>,
    resolver: Arc<ClientCertificateResolver>,
    answer: Vec<u8>,
    max_answer: usize,
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

    /// Hands all buffered bytes to the transport.
    ///
    /// # Errors
    ///
    /// For the reasons of [`send`](Self::send).
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

    /// Waits until the server ends the stream, while there is nothing to send. The call can be
    /// dropped and made again.
    pub async fn ended(&mut self) -> SendError {
        poll_fn(|cx| match self.check(cx) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        })
        .await
    }

    /// Sends a close_notify (RFC 8446, section 6.1) and waits for the server's. Then
    /// [`answer`](Self::answer) has the whole answer.
    ///
    /// In TLS 1.3 a sender completes its handshake before the server looks at its certificate:
    /// until this call has returned, the server may have read nothing.
    ///
    /// # Errors
    ///
    /// For the reasons of [`send`](Self::send), and when the server ends without a close_notify.
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

    /// The server's answer so far.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// Reads all data that has come, and fails if the stream has ended.
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
