//! A connection's socket.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};
use rustix::net::sockopt;
use smol::Async;

/// A read of fewer bytes than this into a larger buffer has emptied the socket. The next read then
/// waits for more instead of trying in vain, which saves one or two system calls for each small
/// record. A sender of larger reads has often sent more by the time of the next one.
const LITTLE: usize = 8 * 1024;

/// Like async-net's `TcpStream`, but smaller: that one keeps two waits, and makes a future for
/// each.
pub(crate) struct Socket {
    io: Async<TcpStream>,
    /// The last read emptied the socket.
    drained: bool,
    /// Something was written since the last read.
    wrote: bool,
}

impl From<Async<TcpStream>> for Socket {
    fn from(socket: Async<TcpStream>) -> Self {
        Socket {
            io: socket,
            drained: false,
            wrote: false,
        }
    }
}

impl Socket {
    /// Makes the kernel acknowledge at once, both later data and data that it has not acknowledged
    /// yet.
    ///
    /// After a write, Linux expects another one to carry the acknowledgement, and delays it by 40 ms
    /// or more. This side writes during the handshake, and then nothing. A client with Nagle's
    /// algorithm (RFC 896) on sends no small segment while another is unacknowledged: its first line
    /// waits behind its Finished (TLS 1.3), its second line behind the first (TLS 1.2).
    ///
    /// The kernel resets the flag with the next write only (tcp(7), `TCP_QUICKACK`), so that one
    /// call for each flight of the handshake is enough, and later reads need none.
    fn acknowledge_at_once(&self) {
        // On failure, the connection is only slower.
        let _ = sockopt::set_tcp_quickack(&self.io, true);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.wrote {
            self.acknowledge_at_once();
            self.wrote = false;
        }
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
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.wrote = true;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Shuts the socket down for writing. `Async` does not, as it is not for sockets alone.
    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Late data is discarded, so its acknowledgements are not urgent.
        self.wrote = false;
        Poll::Ready(self.io.get_ref().shutdown(Shutdown::Write))
    }
}
