//! The transport under async-tls's client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};

use crate::tls::transport::NormalizedTransport;

/// The most bytes that are read while nothing can be sent, beside those of a server's answer:
/// alerts and other records that are not data.
const UNANSWERED: usize = 64 * 1024;

/// The transport under async-tls. It keeps a failed write to itself, and drops everything that is
/// written after it, so that the data that the server sent can still be read.
pub(super) struct SenderTransport<IO> {
    io: NormalizedTransport<IO>,
    /// The most bytes to read while a write waits.
    most: usize,
    /// The number of bytes that were read since a write began to wait, if one does.
    unanswered: Option<usize>,
    /// The error after which nothing more can be written.
    pub(super) broken: Option<io::Error>,
    /// Whether everything was written, our close_notify last.
    pub(super) is_complete: bool,
    /// Whether writes have to wait. A write was tried before this was set, so a waker is
    /// registered.
    pub(super) holds: bool,
}

impl<IO> SenderTransport<IO> {
    pub(super) fn new(io: IO, max_answer: usize) -> Self {
        SenderTransport {
            io: NormalizedTransport(io),
            most: max_answer.saturating_add(UNANSWERED),
            unanswered: None,
            broken: None,
            is_complete: false,
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
        // async-tls has just tried to write, which has registered a waker.
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
        // By now the close_notify is written.
        self.is_complete = self.broken.is_none();
        // If the server has closed the connection at once, nothing is left to close.
        let _ = ready!(Pin::new(&mut self.io).poll_close(cx));
        Poll::Ready(Ok(()))
    }
}
