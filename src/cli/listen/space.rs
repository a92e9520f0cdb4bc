//! Waiting for space on a full disk.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::super::level::Level;
use super::super::say::Say;

/// The time between two tries. A disk gets space by an operator or a rotation of logs, which take
/// longer.
const INTERVAL: Duration = Duration::from_secs(1);

/// The number of threads that wait for space.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Whether a thread waits for space.
pub(super) fn is_waited_for() -> bool {
    WAITING.load(Ordering::Relaxed) > 0
}

/// Whether an error says that there is no space for a file: the disk is full, or a quota is used up.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

/// The waits of one thread for space. [Others](Self::another) may wait for the same space: the first
/// to wait says so, and the last to go on says that.
///
/// A thread that waits serves none of its streams, so their senders wait too, and are told nothing
/// that is not yet true.
pub(crate) struct SpaceWait {
    shared: Arc<Shared>,
    /// Whether this thread counts as waiting.
    waits: AtomicBool,
}

struct Shared {
    /// The file or files that need space, as messages name them.
    what: String,
    hint: Option<String>,
    say: Say,
    /// The number of threads that wait. Locked while its changes are said, so that their order is
    /// that of the changes.
    waiting: Mutex<usize>,
}

impl SpaceWait {
    /// `what` is the file or the files that need space; `hint` is given with the message.
    pub(crate) fn new(what: String, hint: Option<String>, say: &Say) -> Self {
        SpaceWait {
            shared: Arc::new(Shared {
                what,
                hint,
                say: say.clone(),
                waiting: Mutex::new(0),
            }),
            waits: AtomicBool::new(false),
        }
    }

    /// The waits of another thread for the same space.
    pub(crate) fn another(&self) -> Self {
        SpaceWait {
            shared: Arc::clone(&self.shared),
            waits: AtomicBool::new(false),
        }
    }

    /// Waits until the next try is due. `error` is that of the last one.
    ///
    /// # Blocking
    ///
    /// For a second.
    pub(crate) fn wait(&self, error: &io::Error) {
        if !self.waits.swap(true, Ordering::Relaxed) {
            let mut waiting = self.shared.lock();
            if *waiting == 0 {
                self.shared.say_full(error);
            }
            *waiting = waiting.saturating_add(1);
            WAITING.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(INTERVAL);
    }

    /// Ends the wait, if there is one, as this thread has written everything or given it up.
    pub(crate) fn over<T>(&self, result: &io::Result<T>) {
        if !self.waits.load(Ordering::Relaxed) {
            return;
        }
        self.waits.store(false, Ordering::Relaxed);
        let mut waiting = self.shared.lock();
        *waiting = waiting.saturating_sub(1);
        WAITING.fetch_sub(1, Ordering::Relaxed);
        if *waiting == 0 && result.is_ok() {
            let Shared { what, say, .. } = &*self.shared;
            // Where the first message is shown, so is this one.
            say.warning(&format!("there is space for {what} again"));
        }
    }
}

impl Shared {
    fn say_full(&self, error: &io::Error) {
        let what = &self.what;
        let text = match error.kind() {
            // The file system has space, as df(1) shows, but not for us.
            ErrorKind::QuotaExceeded => {
                format!("the disk quota for {what} is used up; waiting until there is space")
            }
            _ => format!("no space left for {what}; waiting until there is"),
        };
        self.say.line(Level::Error, &text, self.hint.as_deref());
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        // Nothing panics while it holds this.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
