//! The way to a sink besides its channel: its waker, and notes that are no events.
//!
//! A note needs no sender of the channel, so holds that are out do not keep the channel open.

use std::mem;
use std::sync::PoisonError;
use std::task::Context;

use crate::conn_id::ConnId;
use crate::sync::{self, AtomicBool, AtomicWaker, Mutex, MutexGuard, Ordering};

/// The state that a sink shares with its channel's senders, with holds, and with its server.
#[derive(Debug)]
pub(crate) struct Lane {
    waker: AtomicWaker,
    /// Set while there are notes. Without notes, this is all that the sink reads in a turn.
    noted: AtomicBool,
    notes: Mutex<Notes>,
}

/// Notes for a sink.
#[derive(Debug)]
pub(crate) struct Notes {
    /// Streams whose holds the sink has to look at.
    pub(crate) streams: Vec<ConnId>,
    /// The last connection that the server has cut; all before it are cut as well.
    pub(crate) cut: ConnId,
}

impl Lane {
    pub(crate) fn new() -> Self {
        Lane {
            waker: AtomicWaker::new(),
            noted: AtomicBool::new(false),
            notes: Mutex::new(Notes {
                streams: Vec::new(),
                cut: ConnId(0),
            }),
        }
    }

    /// Registers the task to wake. Call it before looking for events and for notes.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        sync::register(&self.waker, cx);
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Asks the sink to look at a stream's holds.
    pub(crate) fn note(&self, stream: ConnId) {
        self.write(|notes| notes.streams.push(stream));
    }

    /// Tells the sink that all connections up to `last` are cut.
    pub(crate) fn cut(&self, last: ConnId) {
        self.write(|notes| notes.cut = notes.cut.max(last));
    }

    pub(crate) fn has_notes(&self) -> bool {
        self.noted.load(Ordering::Acquire)
    }

    /// Takes all notes. The last cut stays noted.
    pub(crate) fn take_notes(&self) -> Notes {
        let mut notes = self.lock();
        self.noted.store(false, Ordering::Release);
        Notes {
            streams: mem::take(&mut notes.streams),
            cut: notes.cut,
        }
    }

    fn write(&self, write: impl FnOnce(&mut Notes)) {
        let mut notes = self.lock();
        write(&mut notes);
        // Under the lock, so that a sink that takes notes leaves none without the flag.
        self.noted.store(true, Ordering::Release);
        drop(notes);
        self.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loom models; `src/link.rs` has the command.
#[cfg(all(test, tlsink_loom))]
mod models {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Poll;

    use loom::future::block_on;
    use loom::thread;

    use super::*;

    #[test]
    fn a_note_that_is_made_while_the_sink_goes_to_sleep_is_not_missed() {
        loom::model(|| {
            let lane = Arc::new(Lane::new());
            let writer = Arc::clone(&lane);
            let writer = thread::spawn(move || writer.note(ConnId(1)));
            let notes = block_on(poll_fn(|cx| {
                lane.register(cx);
                match lane.has_notes() {
                    true => Poll::Ready(lane.take_notes()),
                    false => Poll::Pending,
                }
            }));
            assert_eq!(notes.streams, [ConnId(1)]);
            writer.join().unwrap();
            assert!(!lane.has_notes());
        });
    }

    #[test]
    fn a_cut_beside_a_note_is_not_missed() {
        loom::model(|| {
            let lane = Arc::new(Lane::new());
            let server = Arc::clone(&lane);
            let server = thread::spawn(move || server.cut(ConnId(2)));
            lane.note(ConnId(1));
            let first = lane.take_notes();
            server.join().unwrap();
            assert!(lane.has_notes() || first.cut == ConnId(2));
            assert_eq!(first.streams, [ConnId(1)]);
            assert_eq!(lane.take_notes().cut, ConnId(2));
        });
    }
}
