//! Records that the brokers have yet to acknowledge.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::waits::Wait;
use crate::hold::Hold;
use crate::output::StreamError;
use crate::output::backlog::Backlog;

/// What all records of a stream have in common.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) key: Option<String>,
    /// The header `stream`.
    pub(super) name: String,
    /// The header `start`.
    pub(super) start: Option<String>,
    pub(super) peer: String,
    pub(super) client: Option<String>,
    /// A record is lost, so nothing that comes behind it is produced.
    has_failed: AtomicBool,
}

/// The records of a batch, until all are acknowledged or one is lost. Each of them has a reference to it
/// in librdkafka.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) stream: Arc<Stream>,
    /// The number of records that are not acknowledged.
    left: AtomicUsize,
    /// Empty once they are finished.
    holds: Mutex<Vec<Hold>>,
    bytes: usize,
    backlog: Arc<Backlog>,
    /// Over when librdkafka has none of the records any more.
    _wait: Wait,
}

impl Stream {
    pub(super) fn new(
        key: Option<String>,
        name: String,
        start: u64,
        peer: String,
        client: Option<String>,
    ) -> Self {
        Stream {
            key,
            name,
            start: (start > 0).then(|| start.to_string()),
            peer,
            client,
            has_failed: AtomicBool::new(false),
        }
    }

    /// The number of bytes that each of its records has of these.
    pub(super) fn len(&self) -> usize {
        let key = self.key.as_ref().map_or(0, String::len);
        let start = self.start.as_ref().map_or(0, String::len);
        let client = self.client.as_ref().map_or(0, String::len);
        let lens = [key, self.name.len(), start, self.peer.len(), client];
        lens.into_iter().fold(0, usize::saturating_add)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }
}

impl Pending {
    /// Waits for so many `records`, at least one, which are so many `bytes` of the stream.
    pub(super) fn new(
        stream: Arc<Stream>,
        records: usize,
        holds: Vec<Hold>,
        bytes: usize,
        backlog: Arc<Backlog>,
        wait: Wait,
    ) -> Arc<Self> {
        Arc::new(Pending {
            stream,
            left: AtomicUsize::new(records),
            holds: Mutex::new(holds),
            bytes,
            backlog,
            _wait: wait,
        })
    }

    /// One of the records is acknowledged.
    pub(super) fn acknowledged(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            for hold in self.finish() {
                hold.done();
            }
        }
    }

    /// One of the records is lost, for this reason.
    pub(super) fn lost(&self, reason: &str) {
        self.stream.has_failed.store(true, Ordering::Release);
        for hold in self.finish() {
            hold.fail(StreamError::new(io::Error::other(reason)));
        }
    }

    /// Takes the holds, the first time.
    fn finish(&self) -> Vec<Hold> {
        let holds = mem::take(&mut *self.holds.lock());
        if !holds.is_empty() {
            self.backlog.remove(self.bytes);
        }
        holds
    }
}
