//! The transport below TLS, on either side, and the errors that reach us through it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};

/// The transport of a stream, below TLS or without it. It tries a read again when that was
/// interrupted, and reports an aborted connection as a reset one.
pub(crate) struct NormalizedTransport<IO>(pub(crate) IO);

impl<IO: AsyncRead + Unpin> AsyncRead for NormalizedTransport<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match ready!(Pin::new(&mut self.0).poll_read(cx, buf)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result.map_err(not_aborted)),
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for NormalizedTransport<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0)
            .poll_write(cx, buf)
            .map_err(not_aborted)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// async-tls takes `ConnectionAborted`, from a read or from a write, for the end of the stream.
fn not_aborted(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::ConnectionAborted => {
            io::Error::new(io::ErrorKind::ConnectionReset, error.to_string())
        }
        _ => error,
    }
}

pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
