//! Reading ahead of rustls, which asks for 4 KiB at a time: one system call brings in what then
//! takes many small reads from memory.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWrite};

/// The most that is read at once, in bytes.
const SCRATCH: usize = 64 * 1024;

thread_local! {
    /// What this thread reads into. A connection has it only while it is polled, so one that waits
    /// for its peer holds no buffer.
    static SCRATCH_BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// How much may be read ahead: as much as there is room for when it is decrypted, which makes it
/// shorter. Without that bound, every connection could be left with a scratch buffer of its own.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<AtomicUsize>);

/// Nothing is read ahead: rustls reads what it asks for.
const DIRECT: usize = usize::MAX;

impl Allowance {
    fn new() -> Self {
        Allowance(Arc::new(AtomicUsize::new(DIRECT)))
    }

    /// From now on, at most `bytes` are read.
    pub(super) fn set(&self, bytes: usize) {
        // One task has both ends.
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// Ends that; yields whether all of it was used up.
    pub(super) fn finish(&self) -> bool {
        self.0.swap(DIRECT, Ordering::Relaxed) == 0
    }
}

/// A transport that is read ahead as far as its [`Allowance`] goes.
pub(super) struct Ahead<IO> {
    io: IO,
    allowance: Allowance,
    /// What was read and not yet asked for, from `at` on.
    bytes: Box<[u8]>,
    at: usize,
    end: usize,
}

impl<IO> Ahead<IO> {
    pub(super) fn new(io: IO) -> Self {
        Ahead {
            io,
            allowance: Allowance::new(),
            bytes: Box::default(),
            at: 0,
            end: 0,
        }
    }

    pub(super) fn allowance(&self) -> Allowance {
        self.allowance.clone()
    }

    /// Hands on what was read ahead.
    fn take(&mut self, buf: &mut [u8]) -> usize {
        let ready = self.bytes.get(self.at..self.end).unwrap_or_default();
        let len = ready.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), ready.get(..len)) {
            to.copy_from_slice(from);
        }
        self.at = self.at.saturating_add(len);
        if self.at >= self.end && !self.bytes.is_empty() {
            SCRATCH_BUFFER.set(Some(std::mem::take(&mut self.bytes)));
        }
        len
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Ahead<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.at < this.end {
            return Poll::Ready(Ok(this.take(buf)));
        }
        let allowed = match this.allowance.0.load(Ordering::Relaxed) {
            DIRECT => return Pin::new(&mut this.io).poll_read(cx, buf),
            // Whoever allows this much asks again.
            0 => return Poll::Pending,
            allowed => allowed,
        };
        let mut scratch = SCRATCH_BUFFER
            .take()
            .unwrap_or_else(|| vec![0; SCRATCH].into());
        let most = allowed.min(scratch.len());
        let room = scratch.get_mut(..most).unwrap_or_default();
        let read = match Pin::new(&mut this.io).poll_read(cx, room) {
            Poll::Ready(Ok(read)) if read > 0 => read.min(most),
            other => {
                SCRATCH_BUFFER.set(Some(scratch));
                return other;
            }
        };
        this.allowance.set(allowed - read);
        (this.bytes, this.at, this.end) = (scratch, 0, read);
        Poll::Ready(Ok(this.take(buf)))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Ahead<IO> {
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

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}
