//! The events that travel from a connection's task to its sink: `Open`, `Data`…, `Close`.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use crate::conn::{Conn, ConnId};
use crate::end::End;
use crate::link::{Credit, SinkLink};
use crate::memory::{Memory, Reservation, Waiting};
use crate::places::Place;

/// The most that one chunk carries, in bytes: four full TLS records. Larger chunks would save few
/// wake-ups and overflow the cache; a connection has [`CREDITS`](crate::limits::CREDITS) of them in
/// flight.
pub const CHUNK: usize = 64 * 1024;

/// A chunk of at most this many bytes is copied to a buffer of its own size, so that short lines do
/// not each hold 64 KiB.
const COPY: usize = CHUNK / 8;

/// The most unused buffers that the pool keeps for later reads.
const SPARE: usize = 16;

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: ConnId,
    pub(crate) kind: Kind,
}

/// A connection that completed its handshake sends one `Open`, any number of `Data`, one `Close`.
/// Before the `Close`, it may send `Answered`, and one `Aged`.
#[derive(Debug)]
pub(crate) enum Kind {
    Open(Box<Open>),
    Data(Chunk),
    /// The peer has read enough answers for its data to be decoded again.
    Answered,
    /// The connection is as old as connections may become.
    Aged,
    Close(Box<Close>),
}

#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) conn: Conn,
    pub(crate) link: SinkLink,
}

#[derive(Debug)]
pub(crate) struct Close {
    /// The end of the stream, as far as the network side can tell.
    pub(crate) end: End,
    /// Holds the connection's place under the maximum until the event is dropped.
    pub(crate) _place: Arc<Place>,
}

/// Decrypted bytes. A chunk holds its credit: dropping it returns the memory, the buffer, and the
/// right to read more.
#[derive(Debug)]
pub(crate) struct Chunk {
    bytes: ReadBuffer,
    len: usize,
    _credit: Credit,
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The buffers that connections read into. A connection that waits for its peer holds none.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    spare: Mutex<Vec<Box<[u8]>>>,
}

impl BufferPool {
    /// Acquires a buffer of [`CHUNK`] bytes as soon as there is memory for it. Its content is
    /// unspecified.
    pub(crate) fn poll_acquire(
        self: &Arc<Self>,
        memory: &Memory,
        waiting: &mut Option<Waiting>,
        cx: &mut Context<'_>,
    ) -> Poll<ReadBuffer> {
        let reserved = memory.poll_reserve_chunk(CHUNK, waiting, cx);
        reserved.map(|reservation| {
            let spare = self.spare().pop();
            ReadBuffer {
                bytes: spare.unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice()),
                buffers: Arc::clone(self),
                reservation,
            }
        })
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<Box<[u8]>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer that returns to its pool when it is dropped.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: Box<[u8]>,
    buffers: Arc<BufferPool>,
    reservation: Reservation,
}

impl ReadBuffer {
    /// Makes a chunk of the first `len` bytes.
    pub(crate) fn into_chunk(mut self, len: usize, credit: Credit) -> Chunk {
        let len = len.min(self.bytes.len());
        if len <= COPY {
            let copy = self.bytes[..len].into();
            let whole = std::mem::replace(&mut self.bytes, copy);
            self.recycle(whole);
            self.reservation.shrink(len);
        }
        Chunk {
            bytes: self,
            len,
            _credit: credit,
        }
    }

    fn recycle(&self, bytes: Box<[u8]>) {
        if bytes.len() == CHUNK {
            let mut spare = self.buffers.spare();
            if spare.len() < SPARE {
                spare.push(bytes);
            }
        }
    }
}

impl Deref for ReadBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for ReadBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.recycle(bytes);
    }
}
