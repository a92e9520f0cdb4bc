//! A connection's socket, with fewer system calls.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};
use smol::Async;

/// A stream that is not read when it is known to have nothing: a read that did not fill its buffer
/// took all there was (epoll(7)). What has come since makes it readable at once.
pub(crate) struct Socket {
    stream: Async<TcpStream>,
    /// Nothing is there until the system says so.
    drained: bool,
}

impl From<Async<TcpStream>> for Socket {
    fn from(stream: Async<TcpStream>) -> Self {
        Socket {
            stream,
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
        loop {
            if self.drained {
                ready!(self.stream.poll_readable(cx))?;
                self.drained = false;
            }
            match self.stream.get_ref().read(buf) {
                Ok(read) => {
                    self.drained = read < buf.len();
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.drained = true,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
