//! A connection's socket.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};
use smol::Async;

/// A read of less, with room for more, has taken all there was, in bytes. More is waited for then,
/// without a try that would find nothing: for small records, that is a system call or two for each
/// wait. Who sends more than this at once has often sent more by the time it is looked at again.
const LITTLE: usize = 8 * 1024;

/// As async-net's `TcpStream`, which has room for two waits in every stream, and makes a future for
/// each: more than the stream itself.
pub(crate) struct Socket {
    io: Async<TcpStream>,
    /// The last read took all there was.
    drained: bool,
}

impl From<Async<TcpStream>> for Socket {
    fn from(socket: Async<TcpStream>) -> Self {
        Socket {
            io: socket,
            drained: false,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.drained {
            ready!(self.io.poll_readable(cx))?;
            self.drained = false;
        }
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.drained = (1..buf.len().min(LITTLE)).contains(&read);
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Shuts it down for writing, which `Async` does not: it is not for sockets alone.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.io.get_ref().shutdown(Shutdown::Write))
    }
}
