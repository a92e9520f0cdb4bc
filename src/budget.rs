//! A bounded quantity that many share: bytes of memory, or places for connections.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use event_listener::{Event, EventListener};

/// How much of something there is, and how much of it is taken.
#[derive(Debug)]
pub(crate) struct Budget {
    taken: AtomicUsize,
    limit: usize,
    freed: Event,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Budget {
            taken: AtomicUsize::new(0),
            limit,
            freed: Event::new(),
        })
    }

    /// Takes `amount`, if at least `leaving` is left for others afterwards.
    pub(crate) fn try_take(self: &Arc<Self>, amount: usize, leaving: usize) -> Option<Share> {
        self.reserve(amount, leaving).then(|| Share {
            budget: Arc::clone(self),
            amount,
        })
    }

    /// Takes `amount` as soon as there is room for it. `waiting` is the caller's place in the
    /// queue: one for each task, kept between calls.
    pub(crate) fn poll_take(
        self: &Arc<Self>,
        amount: usize,
        waiting: &mut Option<EventListener>,
        cx: &mut Context<'_>,
    ) -> Poll<Share> {
        loop {
            if let Some(share) = self.try_take(amount, 0) {
                *waiting = None;
                return Poll::Ready(share);
            }
            // Listen first, then look once more: room that is made in between is not missed.
            match waiting {
                None => *waiting = Some(self.freed.listen()),
                Some(listener) => match Pin::new(listener).poll(cx) {
                    Poll::Ready(()) => *waiting = None,
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    fn reserve(&self, amount: usize, leaving: usize) -> bool {
        let most = self.limit.saturating_sub(leaving);
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                taken.checked_add(amount).filter(|total| *total <= most)
            })
            .is_ok()
    }

    fn release(&self, amount: usize) {
        if amount > 0 {
            self.taken.fetch_sub(amount, Ordering::AcqRel);
            // One is enough: whoever wakes up takes a share, and wakes the next by dropping it.
            self.freed.notify(1);
        }
    }
}

/// A part of a [`Budget`]; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    amount: usize,
}

impl Share {
    /// Makes this share at least `amount` large, if at least `leaving` is left for others
    /// afterwards.
    fn try_grow(&mut self, amount: usize, leaving: usize) -> bool {
        let more = amount.saturating_sub(self.amount);
        let granted = more == 0 || self.budget.reserve(more, leaving);
        if granted {
            self.amount += more;
        }
        granted
    }

    /// Makes this share at most `amount` large.
    pub(crate) fn shrink(&mut self, amount: usize) {
        let less = self.amount.saturating_sub(amount);
        self.amount -= less;
        self.budget.release(less);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.release(self.amount);
    }
}

/// The memory that a server's connections share; see [`Builder::max_memory`].
///
/// An output that keeps bytes for its connections, as [`Lines`] keeps unfinished lines, counts
/// them here, so that one limit holds for everything.
///
/// [`Builder::max_memory`]: crate::Builder::max_memory
/// [`Lines`]: crate::output::Lines
#[derive(Clone, Debug)]
pub struct Memory(pub(crate) Arc<Budget>);

impl Memory {
    /// Memory of `bytes` bytes.
    pub fn new(bytes: usize) -> Self {
        Memory(Budget::new(bytes))
    }

    /// Takes `bytes` for something that may stay (a window, an unfinished line). A quarter of the
    /// whole, at most [`TRANSIT`], is kept back for chunks on their way: they come and go, and
    /// nothing would move without them.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Share> {
        self.0.try_take(bytes, self.transit())
    }

    /// The most that can ever be taken for something that may stay, in bytes.
    #[cfg(feature = "zstd")]
    pub(crate) fn most(&self) -> usize {
        self.0.limit.saturating_sub(self.transit())
    }

    /// Makes a share at least so large, under the same condition.
    pub(crate) fn try_grow(&self, share: &mut Share, bytes: usize) -> bool {
        share.try_grow(bytes, self.transit())
    }

    fn transit(&self) -> usize {
        (self.0.limit / 4).min(TRANSIT)
    }
}

/// Memory that only chunks may use, in bytes: enough to keep two hundred connections reading at
/// full speed while everything else is taken by windows and unfinished lines.
const TRANSIT: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_goes_back_when_it_is_dropped() {
        let budget = Budget::new(10);
        let share = budget.try_take(10, 0).unwrap();
        assert!(budget.try_take(1, 0).is_none());
        drop(share);
        assert!(budget.try_take(10, 0).is_some());
    }

    #[test]
    fn what_is_kept_back_is_left_to_others() {
        let budget = Budget::new(10);
        assert!(budget.try_take(8, 3).is_none());
        let mut share = budget.try_take(7, 3).unwrap();
        assert!(!share.try_grow(8, 3));
        assert!(share.try_grow(8, 2));
        assert!(budget.try_take(3, 0).is_none());
        share.shrink(1);
        assert!(budget.try_take(9, 0).is_some());
    }

    #[test]
    fn a_sum_that_would_overflow_is_refused() {
        let budget = Budget::new(usize::MAX);
        let _one = budget.try_take(1, 0).unwrap();
        assert!(budget.try_take(usize::MAX, 0).is_none());
    }
}
