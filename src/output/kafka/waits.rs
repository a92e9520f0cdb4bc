//! The age of the oldest record that is not acknowledged.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Two waits that begin within this time may count as one.
const STEP: Duration = Duration::from_secs(1);

/// A wait that has begun at this time. It is over when all clones of it are dropped.
pub(super) type Wait = Arc<Instant>;

/// Waits, in the order in which they have begun. Nobody has to report the end of one, and waits of the same
/// second are one, so that a wait costs next to nothing.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<VecDeque<Weak<Instant>>>);

impl Waits {
    /// Begins a wait.
    pub(super) fn begin(&self) -> Wait {
        let mut waits = self.0.lock();
        while let Some(last) = waits.back() {
            match last.upgrade() {
                Some(last) if last.elapsed() < STEP => return last,
                Some(_) => {
                    // One for each step remains at most, and none that is over.
                    waits.retain(|wait| wait.strong_count() > 0);
                    break;
                }
                None => waits.pop_back(),
            };
        }
        let wait = Arc::new(Instant::now());
        waits.push_back(Arc::downgrade(&wait));
        wait
    }

    /// The time at which the oldest wait has begun that is not over.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let waits = self.0.lock();
        let oldest = waits.iter().find_map(Weak::upgrade);
        oldest.map(|began| *began)
    }
}

#[cfg(all(test, not(tlsink_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_the_first_that_is_not_over() {
        let waits = Waits::default();
        assert_eq!(waits.oldest(), None);
        let first = waits.begin();
        let same = waits.begin();
        assert_eq!(waits.oldest(), Some(*first));
        drop(first);
        assert_eq!(waits.oldest(), Some(*same));
        drop(same);
        assert_eq!(waits.oldest(), None);
    }

    #[test]
    fn those_that_are_over_are_not_kept() {
        let waits = Waits::default();
        let early = Instant::now().checked_sub(STEP).unwrap();
        let stuck = Arc::new(early);
        waits.0.lock().push_back(Arc::downgrade(&stuck));
        for _ in 0..1000 {
            drop(waits.begin());
        }
        assert!(waits.0.lock().len() <= 2);
        let over = Arc::new(early);
        waits.0.lock().push_back(Arc::downgrade(&over));
        drop(over);
        let last = Arc::new(early);
        waits.0.lock().push_back(Arc::downgrade(&last));
        let begun = waits.begin();
        assert_eq!(waits.0.lock().len(), 3);
        assert_eq!(waits.oldest(), Some(early));
        drop((stuck, last));
        assert_eq!(waits.oldest(), Some(*begun));
    }
}
