//! A connection's socket.

use std::io::{self, Read};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};
use smol::Async;

use super::super::platform;

/// A read of fewer bytes than this into a larger buffer has emptied the socket. The next read then
/// waits for more instead of trying in vain, which saves one or two system calls for each small
/// record. A sender of larger reads has often sent more by the time of the next one.
const LITTLE: usize = 8 * 1024;

/// Like async-net's `TcpStream`, but smaller: that one keeps two waits, and makes a future for
/// each.
///
/// It may be a Unix socket too: std's `TcpStream` makes the same system calls for any stream socket,
/// and one type for both costs a TCP socket nothing.
pub(crate) struct Socket {
    io: Async<TcpStream>,
    /// The last read emptied the socket.
    drained: bool,
    /// A read has waited for more since then.
    waited: bool,
    /// Something was written since the last read.
    wrote: bool,
}

impl From<Async<TcpStream>> for Socket {
    fn from(socket: Async<TcpStream>) -> Self {
        Socket {
            io: socket,
            drained: false,
            waited: false,
            wrote: false,
        }
    }
}

impl Socket {
    /// Takes a connected Unix socket.
    ///
    /// # Errors
    ///
    /// When it can't be watched.
    pub(super) fn of_unix(socket: UnixStream) -> io::Result<Self> {
        Async::new(TcpStream::from(OwnedFd::from(socket))).map(Socket::from)
    }

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
        // A Unix socket has no such delay, and no such option.
        platform::acknowledge_at_once(&self.io);
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
        let read = loop {
            if self.drained {
                // When another thread was already collecting events as the wait began, async-io
                // takes the event for an old one and waits for the next, over and over if that
                // thread is quicker each time. So after a wake, a read decides, not async-io.
                let is_readable = self.io.poll_readable(cx)?.is_ready();
                if !is_readable && !mem::replace(&mut self.waited, true) {
                    return Poll::Pending;
                }
                self.waited = false;
            }
            match self.io.get_ref().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.drained = true,
                read => break read?,
            }
        };
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::task::{Wake, Waker};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// The time limit of every wait. Only a failing test takes so long.
    const LIMIT: Duration = Duration::from_secs(60);

    struct Woken(Sender<()>);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            // The test may have ended.
            let _ = self.0.send(());
        }
    }

    #[test]
    fn a_wake_is_enough_to_read_while_another_thread_collects_events() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        let arrived = receiver.try_clone().unwrap();
        let mut socket = Socket::from(Async::new(receiver).unwrap());
        let (woken, wakes) = channel();
        let waker = Waker::from(Arc::new(Woken(woken)));
        let mut cx = Context::from_waker(&waker);
        let mut buf = [0; 100];
        let mut read = move || Pin::new(&mut socket).poll_read(&mut cx, &mut buf);
        assert!(read().is_pending());
        for _ in 0..100 {
            sender.write_all(b"a record").unwrap();
            // The first wake may be due to an event that an earlier wait has left behind.
            wakes.recv_timeout(LIMIT).unwrap();
            while arrived.peek(&mut [0]).is_err() {
                thread::yield_now();
            }
            assert!(matches!(read(), Poll::Ready(Ok(8))));
            assert!(read().is_pending());
        }
    }
}
