//! The stream to a peer, with or without TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWrite};

use crate::end::{End, Layer, Reset, Truncation};
use crate::tls;

pub(super) enum PeerStream<IO> {
    Tls(Box<tls::ServerStream<IO>>),
    Plain(Box<tls::NormalizedTransport<IO>>),
    /// The first byte of the stream has been read.
    Begun(u8, Box<tls::NormalizedTransport<IO>>),
    Gone,
}

/// The result of one series of reads.
pub(super) struct Filled {
    pub(super) len: usize,
    /// More data may be available, for which nothing will wake the task.
    pub(super) more: bool,
    pub(super) end: Option<End>,
}

impl<IO> PeerStream<IO> {
    /// A stream without TLS, whose first byte may have been read.
    pub(super) fn plain(io: IO, first: Option<u8>) -> Self {
        let io = Box::new(tls::NormalizedTransport(io));
        match first {
            Some(first) => PeerStream::Begun(first, io),
            None => PeerStream::Plain(io),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> PeerStream<IO> {
    /// Reads until the buffer is full or no more data is available. Small records arrive in groups:
    /// one chunk and one wake-up of the sink serve them all. `offset` is the number of bytes read
    /// before.
    pub(super) fn fill(&mut self, cx: &mut Context<'_>, buffer: &mut [u8], offset: u64) -> Filled {
        let room = buffer.len();
        let ((len, end), used_up) =
            tls::reading_ahead(room, || self.fill_as_allowed(cx, buffer, offset));
        Filled {
            len,
            more: end.is_none() && (used_up || len == room),
            end,
        }
    }

    fn fill_as_allowed(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        offset: u64,
    ) -> (usize, Option<End>) {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.poll_read(cx, rest) {
                Poll::Ready(Ok(0)) => return (filled, Some(End::Clean)),
                Poll::Ready(Ok(n)) => filled += n.min(rest.len()),
                Poll::Ready(Err(error)) => {
                    let offset = offset.saturating_add(filled as u64);
                    return (filled, Some(end_of(error, offset)));
                }
                Poll::Pending => break,
            }
        }
        (filled, None)
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<usize, tls::ReadError>> {
        match self {
            PeerStream::Tls(tls) => tls.poll_read(cx, buf),
            PeerStream::Plain(io) => {
                Pin::new(io)
                    .poll_read(cx, buf)
                    .map_err(|error| tls::ReadError::Reset {
                        reason: error.to_string(),
                    })
            }
            PeerStream::Begun(first, _) => {
                let first = *first;
                let PeerStream::Begun(_, io) = std::mem::replace(self, PeerStream::Gone) else {
                    return Poll::Ready(Ok(0));
                };
                *self = PeerStream::Plain(io);
                // The buffer is never empty.
                Poll::Ready(Ok(buf.first_mut().map_or(0, |byte| {
                    *byte = first;
                    1
                })))
            }
            PeerStream::Gone => Poll::Ready(Ok(0)),
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            PeerStream::Tls(tls) => tls.poll_write(cx, bytes),
            PeerStream::Plain(io) | PeerStream::Begun(_, io) => Pin::new(io).poll_write(cx, bytes),
            PeerStream::Gone => Poll::Ready(Ok(0)),
        }
    }

    /// Sends all data that was written.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            PeerStream::Tls(tls) => tls.poll_flush(cx),
            PeerStream::Plain(io) | PeerStream::Begun(_, io) => Pin::new(io).poll_flush(cx),
            PeerStream::Gone => Poll::Ready(Ok(())),
        }
    }

    /// Sends a close_notify and closes the transport for writing.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            PeerStream::Tls(tls) => tls.poll_close(cx),
            PeerStream::Plain(io) | PeerStream::Begun(_, io) => Pin::new(io).poll_close(cx),
            PeerStream::Gone => Poll::Ready(Ok(())),
        }
    }

    /// Closes the transport for writing without a close_notify.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            PeerStream::Tls(tls) => tls.poll_shutdown(cx),
            PeerStream::Plain(io) | PeerStream::Begun(_, io) => Pin::new(io).poll_close(cx),
            PeerStream::Gone => Poll::Ready(Ok(())),
        }
    }
}

fn end_of(error: tls::ReadError, offset: u64) -> End {
    match error {
        tls::ReadError::NoCloseNotify => End::Truncated(Truncation::NoCloseNotify),
        tls::ReadError::Reset { reason } => End::Reset(Reset::Transport { reason }),
        tls::ReadError::Alert(alert) => End::Reset(Reset::Alert(alert)),
        tls::ReadError::Tls { reason } => End::Corrupt {
            layer: Layer::Tls,
            offset,
            reason,
        },
    }
}
