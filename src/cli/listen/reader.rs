//! The program that reads standard output through a pipe, such as head(1).

use std::fs::File;
use std::future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use smol::Async;

use super::super::args::Destination;
use super::super::stdio;

/// The reader of the data.
#[derive(Clone, Debug)]
pub(super) struct Reader(Arc<Pipe>);

#[derive(Debug)]
struct Pipe {
    /// The end of the pipe that is written to.
    file: Async<File>,
    /// The streams that were cut as nobody reads any more.
    cut: AtomicU64,
}

impl Reader {
    /// The reader of standard output, if the data goes there and it is a pipe.
    pub(super) fn of(destination: &Destination) -> Option<Reader> {
        let Destination::Stdout { .. } = destination else {
            return None;
        };
        let pipe = stdio::own(io::stdout()).ok()?;
        // A pipe that is open for both directions always has a reader.
        let is_pipe = FileType::from_raw_mode(fstat(&pipe).ok()?.st_mode) == FileType::Fifo
            && fcntl_getfl(&pipe).ok()? & OFlags::RWMODE == OFlags::WRONLY;
        if !is_pipe {
            return None;
        }
        Some(Reader(Arc::new(Pipe {
            file: Async::new_nonblocking(pipe).ok()?,
            cut: AtomicU64::new(0),
        })))
    }

    /// Counts a stream that was cut, if nobody reads any more; returns whether it did.
    pub(super) fn count_cut(&self) -> bool {
        let is_gone = self.is_gone();
        if is_gone {
            self.0.cut.fetch_add(1, Ordering::Relaxed);
        }
        is_gone
    }

    /// The streams that were counted.
    pub(super) fn cut(&self) -> u64 {
        self.0.cut.load(Ordering::Relaxed)
    }

    /// Whether nobody reads any more.
    fn is_gone(&self) -> bool {
        // pipe(7) and poll(2): POLLERR is reported whatever is asked for.
        let mut pipe = [PollFd::new(&self.0.file, PollFlags::empty())];
        let now = Timespec::default();
        let polled = poll(&mut pipe, Some(&now));
        polled.is_ok()
            && pipe
                .iter()
                .any(|pipe| pipe.revents().contains(PollFlags::ERR))
    }

    /// Waits until nobody reads any more.
    pub(super) async fn gone(&self) {
        while !self.is_gone() {
            // Nothing can be read at this end, so it only becomes readable by an error.
            if self.0.file.readable().await.is_err() {
                future::pending().await
            }
        }
    }
}
