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
    pub(super) writer: BufWriter<Latch<W>>,
    pub(super) state: T,
}

impl<W: Write, T: Default> SharedWriter<W, T> {
    pub(super) fn new(writer: W) -> Self {
        SharedWriter(Arc::new(Mutex::new(Inner {
            writer: BufWriter::with_capacity(BUFFER, Latch::new(writer)),
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

/// A writer that stays failed: after an error, each later write and flush fails in the same way.
///
/// One lane meets the error, and the streams of all lanes are cut for it. Without the latch, a lane
/// that had nothing to write at that moment would report success.
#[derive(Debug)]
pub(super) struct Latch<W> {
    writer: W,
    failed: Option<io::Error>,
}

impl<W: Write> Latch<W> {
    fn new(writer: W) -> Self {
        Latch {
            writer,
            failed: None,
        }
    }

    fn attempt<R>(&mut self, write: impl FnOnce(&mut W) -> io::Result<R>) -> io::Result<R> {
        if let Some(error) = &self.failed {
            return Err(copy_of(error));
        }
        let result = write(&mut self.writer);
        if let Err(error) = &result
            && !is_temporary(error)
        {
            self.failed = Some(copy_of(error));
        }
        result
    }
}

impl<W: Write> Write for Latch<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(|writer| writer.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt(W::flush)
    }
}

/// Whether the writer may be tried again after this error.
fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

pub(super) fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails each other time.
    struct Flaky(bool);

    impl Write for Flaky {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = !self.0;
            match self.0 {
                true => Err(io::ErrorKind::BrokenPipe.into()),
                false => Ok(bytes.len()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_failed_for_one_lane_fails_for_the_others_too() {
        let one: SharedWriter<_, ()> = SharedWriter::new(Flaky(false));
        let other = one.clone();
        one.lock().writer.write_all(&[0; BUFFER]).unwrap_err();
        for _ in 0..2 {
            let error = other.flush().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
