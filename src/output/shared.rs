//! One writer that several lanes share.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

/// The size of the write buffer, in bytes. Larger pieces bypass it: a full chunk, or a full turn,
/// is not copied once more.
pub(super) const BUFFER: usize = 32 * 1024;

/// A buffered writer with a state that belongs to it; clones share both.
///
/// The lock is a fair one: a lane that has held it for a millisecond leaves it to the lane that has
/// waited longest. The standard library's lock would go to the same lane again and again, while
/// another waits with a short line.
#[derive(Debug)]
pub(super) struct SharedWriter<W: Write, T>(Arc<Mutex<Inner<W, T>>>);

#[derive(Debug)]
pub(super) struct Inner<W: Write, T> {
    pub(super) writer: BufWriter<W>,
    pub(super) state: T,
}

impl<W: Write, T: Default> SharedWriter<W, T> {
    pub(super) fn new(writer: W) -> Self {
        SharedWriter(Arc::new(Mutex::new(Inner {
            writer: BufWriter::with_capacity(BUFFER, writer),
            state: T::default(),
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner<W, T>> {
        self.0.lock()
    }

    pub(super) fn flush(&self) -> io::Result<()> {
        self.lock().writer.flush()
    }
}

impl<W: Write, T> Clone for SharedWriter<W, T> {
    fn clone(&self) -> Self {
        SharedWriter(Arc::clone(&self.0))
    }
}
