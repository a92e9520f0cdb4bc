//! The transport that async-tls uses: it makes few system calls of the many small reads and writes
//! of rustls.
//!
//! rustls asks for 4 KiB at a time. Where records are small, one call reads ahead, and many small
//! reads are then served from memory. async-tls writes each record by itself, six of them for its
//! part of a handshake; they are gathered, and sent together before the next read. Separate writes
//! would also each wake the peer.
//!
//! A record behind which a stream may end is handed to rustls with nothing behind it: rustls would
//! take data behind a close_notify for data before it.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread::LocalKey;

use futures_lite::{AsyncRead, AsyncWrite};

use super::hello;

/// The most bytes that are read ahead at once.
pub(super) const SCRATCH: usize = 32 * 1024;

/// A record with this many bytes or more yet to come is read by rustls itself, into its own buffer:
/// it fits in few calls, and is not copied once more.
const LARGE: u16 = 4 * 1024;

/// The number of bytes that rustls is handed at once when records are small. It moves all the
/// remaining bytes to the front of its buffer after each record.
const PIECE: usize = 1024;

/// The number of gathered bytes at which they are sent before more are gathered. A usual
/// certificate chain is a quarter of it.
const GATHERED: usize = 16 * 1024;

thread_local! {
    /// The buffer that this thread reads into. A connection has it only while it is polled, so one
    /// that waits for its peer holds no buffer.
    static SCRATCH_BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };

    /// The number of bytes that the connection that this thread polls may read ahead; `None` if
    /// rustls reads as much as it asks for.
    static ALLOWANCE: Cell<Option<usize>> = const { Cell::new(None) };

    /// The alert that the connection that this thread polls sends before it reads on, as its last
    /// record.
    static LAST_ALERT: Cell<Option<LastAlert>> = const { Cell::new(None) };

    /// Whether the connection that this thread polls closes its transport once all is sent.
    static SHUTS_DOWN: Cell<bool> = const { Cell::new(false) };
}

/// Polls, allowing `bytes` of read-ahead: the caller's free space for plaintext, which is shorter
/// than the ciphertext. Without that bound, every connection that has to wait could be left with a
/// scratch buffer of its own; with it, only a connection that waits for the rest of a record is.
///
/// Also yields whether the whole allowance was used: then more may have come, and no waker is
/// registered for it.
pub(crate) fn reading_ahead<R>(bytes: usize, poll: impl FnOnce() -> R) -> (R, bool) {
    with(&ALLOWANCE, Some(bytes), || {
        let result = poll();
        (result, ALLOWANCE.get() == Some(0))
    })
}

/// Polls a flush that then closes the transport for writing. async-tls itself closes it only behind
/// a close_notify.
pub(super) fn shutting_down<R>(poll_flush: impl FnOnce() -> R) -> R {
    with(&SHUTS_DOWN, true, poll_flush)
}

/// A fatal alert that is sent in place of the one of rustls when a handshake fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastAlert {
    /// Its description (RFC 8446, section 6).
    pub(super) description: u8,
    /// Whether an alert that rustls has sent for the same error takes precedence.
    pub(super) only_after_silence: bool,
}

/// Polls a failed handshake, which sends this alert, unless records are encrypted already. Other
/// unsent records are dropped: a peer that got our ServerHello would expect the alert encrypted.
pub(super) fn ending_with<R>(alert: LastAlert, poll: impl FnOnce() -> R) -> R {
    with(&LAST_ALERT, Some(alert), poll)
}

/// Polls with another value in a cell of this thread, and restores the value before it even if the
/// poll panics: other connections may be polled on this thread.
fn with<T: Copy + 'static, R>(
    cell: &'static LocalKey<Cell<T>>,
    value: T,
    poll: impl FnOnce() -> R,
) -> R {
    struct Restored<T: Copy + 'static>(&'static LocalKey<Cell<T>>, T);
    impl<T: Copy> Drop for Restored<T> {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _restored = Restored(cell, cell.replace(value));
    poll()
}

/// A transport that reads ahead, and sends written bytes at the next read, flush or close.
pub(super) struct Wire<IO> {
    io: IO,
    /// Bytes that were read ahead: those from `at` to `end` are not handed on yet.
    bytes: Box<[u8]>,
    at: usize,
    end: usize,
    /// The position in the stream of records of the next byte to hand on.
    position: RecordPosition,
    /// Bytes that were written, and not sent yet.
    gathered: Vec<u8>,
    /// Whether those begin inside a record whose first part was sent.
    is_torn: bool,
}

impl<IO> Wire<IO> {
    pub(super) fn new(io: IO) -> Self {
        Wire {
            io,
            bytes: Box::default(),
            at: 0,
            end: 0,
            position: RecordPosition::default(),
            gathered: Vec::new(),
            is_torn: false,
        }
    }

    /// Hands on bytes that were read ahead.
    fn take(&mut self, buf: &mut [u8]) -> usize {
        let ready = self.bytes.get(self.at..self.end).unwrap_or_default();
        let ready = ready.get(..buf.len()).unwrap_or(ready);
        let len = self.position.pass_piece(ready);
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

impl<IO: AsyncRead + Unpin> Wire<IO> {
    fn poll_read_directly(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.position.pass(buf.get(..read).unwrap_or_default());
        Poll::Ready(Ok(read))
    }

    fn poll_read_ahead(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
        allowed: usize,
    ) -> Poll<io::Result<usize>> {
        let mut scratch = SCRATCH_BUFFER
            .take()
            .unwrap_or_else(|| vec![0; SCRATCH].into());
        let most = allowed.min(scratch.len());
        let room = scratch.get_mut(..most).unwrap_or_default();
        let read = match Pin::new(&mut self.io).poll_read(cx, room) {
            Poll::Ready(Ok(read)) if read > 0 => read.min(most),
            other => {
                SCRATCH_BUFFER.set(Some(scratch));
                return other;
            }
        };
        ALLOWANCE.set(Some(allowed.saturating_sub(read)));
        (self.bytes, self.at, self.end) = (scratch, 0, read);
        Poll::Ready(Ok(self.take(buf)))
    }
}

impl<IO: AsyncWrite + Unpin> Wire<IO> {
    /// Replaces the unsent bytes by an alert.
    fn replace_by(&mut self, alert: LastAlert) {
        let is_silent = self.gathered.is_empty();
        if self.is_torn || is_encrypted(&self.gathered) || (alert.only_after_silence && !is_silent)
        {
            return;
        }
        // Its level, 2, is fatal.
        self.gathered = vec![ALERT, 3, 3, 0, 2, 2, alert.description];
        LAST_ALERT.set(None);
    }

    /// Sends the gathered bytes.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(cx, &self.gathered))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.drain(..sent.min(self.gathered.len()));
            self.is_torn = true;
        }
        self.is_torn = false;
        // A connection that waits for its peer holds no buffer.
        self.gathered = Vec::new();
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(alert) = LAST_ALERT.get() {
            this.replace_by(alert);
        }
        // When a handshake fails, this read alone sends its alert.
        if !this.gathered.is_empty() {
            // A peer that reads no more, or not now, may have sent data nonetheless.
            match this.poll_send(cx) {
                Poll::Ready(Err(_)) => this.gathered = Vec::new(),
                // But a peer that does not read our answers may not cause more of them: rustls
                // would keep them.
                Poll::Pending if this.gathered.len() >= GATHERED => return Poll::Pending,
                _ => {}
            }
        }
        if this.at < this.end {
            return Poll::Ready(Ok(this.take(buf)));
        }
        match ALLOWANCE.get() {
            Some(allowed) if this.position.left < LARGE => match allowed {
                // The caller has used its allowance, and polls again.
                0 => Poll::Pending,
                allowed => this.poll_read_ahead(cx, buf, allowed),
            },
            Some(_) => {
                let rest = usize::from(this.position.left) + usize::from(HEADER);
                let most = rest.min(buf.len());
                this.poll_read_directly(cx, buf.get_mut(..most).unwrap_or_default())
            }
            None => this.poll_read_directly(cx, buf),
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Wire<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= GATHERED {
            ready!(self.poll_send(cx))?;
        }
        if LAST_ALERT.get().is_some() && !self.is_torn && !is_encrypted(&self.gathered) {
            return Poll::Ready(Ok(buf.len()));
        }
        hello::note_server_hello(buf);
        self.gathered.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        match SHUTS_DOWN.get() {
            true => Pin::new(&mut self.io).poll_close(cx),
            false => Pin::new(&mut self.io).poll_flush(cx),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_close(cx)
    }
}

/// The length of a record's header, in bytes (RFC 8446, section 5.1).
const HEADER: u8 = 5;

/// The content type of alerts (RFC 8446, section 5.1), which TLS 1.3 hides.
const ALERT: u8 = 21;

/// The content type of application data, and in TLS 1.3 of all encrypted records.
const APPLICATION_DATA: u8 = 23;

/// Whether one of these records of an incomplete handshake is encrypted. In TLS 1.2 no such record
/// of the server is.
fn is_encrypted(mut records: &[u8]) -> bool {
    while let Some((&[content_type, _, _, high, low], rest)) = records.split_first_chunk() {
        if content_type == APPLICATION_DATA {
            return true;
        }
        let length = u16::from_be_bytes([high, low]).into();
        records = rest.get(length..).unwrap_or_default();
    }
    false
}

/// The length of an encrypted alert in TLS 1.3, in bytes (RFC 8446, sections 5.2 and 6): its level
/// and description, its content type, and the tag of any cipher suite. With padding, which no sender
/// is known to give an alert, it would be longer.
const ENCRYPTED_ALERT: u16 = 2 + 1 + 16;

/// A position in a stream of records.
#[derive(Debug, Default)]
struct RecordPosition {
    /// The number of bytes of the next record's header that have come; 0 if the header is complete.
    in_header: u8,
    /// The first and the last of those bytes.
    content_type: u8,
    last: u8,
    /// The number of bytes yet to come of the record that has begun.
    left: u16,
    /// Whether the record that has begun, or the last one, may be an alert, and so the end of the
    /// stream.
    may_be_end: bool,
}

impl RecordPosition {
    /// Passes the bytes to hand on next, and says how many they are: whole records up to one that
    /// may be the end of the stream; otherwise, the header behind them too. Without a header behind
    /// them, rustls would free its buffer, and allocate it anew for the next record.
    fn pass_piece(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while bytes.len() - rest.len() < PIECE && !rest.is_empty() {
            rest = self.pass_record(rest);
            if self.may_be_end {
                // With a header behind it, rustls would not take it for the end.
                return bytes.len() - rest.len();
            }
        }
        bytes.len() - self.pass_header(rest).len()
    }

    /// Passes all of these bytes.
    fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.pass_record(rest);
        }
    }

    /// Passes the available part of one record; yields the bytes behind it.
    fn pass_record<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let rest = self.pass_header(bytes);
        let passed = rest.len().min(usize::from(self.left));
        // It is at most `left`, a u16.
        self.left -= passed as u16;
        rest.get(passed..).unwrap_or_default()
    }

    /// Passes the available part of a header, unless a record has begun; yields the bytes behind
    /// it.
    fn pass_header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.left > 0 {
            return bytes;
        }
        // As a rule the whole header is available.
        if let (0, Some((&[content_type, _, _, high, low], rest))) =
            (self.in_header, bytes.split_first_chunk())
        {
            self.begin(content_type, u16::from_be_bytes([high, low]));
            return rest;
        }
        let mut rest = bytes;
        while let Some((&byte, behind)) = rest.split_first() {
            rest = behind;
            self.in_header += 1;
            if self.in_header == HEADER {
                self.in_header = 0;
                self.begin(self.content_type, u16::from_be_bytes([self.last, byte]));
                break;
            }
            if self.in_header == 1 {
                self.content_type = byte;
            }
            self.last = byte;
        }
        rest
    }

    fn begin(&mut self, content_type: u8, length: u16) {
        self.left = length;
        self.may_be_end = content_type == ALERT || length == ENCRYPTED_ALERT;
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;
    use futures_lite::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A peer that has sent data, and reads none.
    struct Deaf(&'static [u8]);

    impl AsyncRead for Deaf {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Deaf {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_panic_leaves_no_allowance_behind() {
        let panicked = std::panic::catch_unwind(|| reading_ahead(1, || panic!("as expected")));
        assert!(panicked.is_err());
        assert_eq!(ALLOWANCE.get(), None);
    }

    #[test]
    fn an_answer_is_sent_before_more_of_the_bytes_read_ahead_is_taken() {
        let (first, second) = (record(2000), record(2000));
        let mut wire = Wire::new(Listening {
            sent: [first, second].concat(),
            taken: Vec::new(),
        });
        let mut piece = [0; 1000];
        let (read, _) = reading_ahead(SCRATCH, || block_on(wire.read(&mut piece)));
        assert_eq!(read.unwrap(), piece.len());
        block_on(async {
            wire.write_all(b"alert").await.unwrap();
            wire.read(&mut piece).await.unwrap();
        });
        assert_eq!(wire.io.taken, b"alert");
    }

    /// A peer that has sent data, and reads all that is written.
    struct Listening {
        sent: Vec<u8>,
        taken: Vec<u8>,
    }

    impl AsyncRead for Listening {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let len = buf.len().min(self.sent.len());
            for (to, from) in buf.iter_mut().zip(self.sent.drain(..len)) {
                *to = from;
            }
            Poll::Ready(Ok(len))
        }
    }

    impl AsyncWrite for Listening {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.taken.extend_from_slice(buf);
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn data_of_a_peer_that_takes_no_answer_is_read() {
        let mut wire = Wire::new(Deaf(b"sent"));
        let read = block_on(async {
            wire.write_all(b"answer").await.unwrap();
            let mut read = Vec::new();
            wire.read_to_end(&mut read).await.map(|_| read)
        });
        assert_eq!(read.unwrap(), b"sent");
    }

    fn record(len: u16) -> Vec<u8> {
        let mut record = vec![23, 3, 3];
        record.extend(len.to_be_bytes());
        record.extend(vec![0; len.into()]);
        record
    }

    #[test]
    fn small_records_are_handed_on_whole_with_the_header_behind_them() {
        let bytes = record(95).repeat(20);
        let mut position = RecordPosition::default();
        assert_eq!(position.pass_piece(&bytes), 1100 + 5);
        assert_eq!(position.pass_piece(&bytes[1105..]), 2000 - 1105);
    }

    #[test]
    fn a_record_that_came_in_part_goes_on_where_it_stopped() {
        let mut bytes = record(16_000);
        bytes.extend(record(0));
        bytes.extend(record(16_000));
        for split in 0..bytes.len() {
            let mut position = RecordPosition::default();
            position.pass(&bytes[..split]);
            let behind = position.pass_record(&bytes[split..]);
            let ends = [16_005, 16_010, 32_015];
            let end = ends.into_iter().find(|end| *end > split);
            assert_eq!(Some(bytes.len() - behind.len()), end, "split at {split}");
        }
    }
}
