//! Places for connections, of which there is a limited number.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use event_listener::{Event, EventListener};

/// A limited number of places, and how many of them are taken.
#[derive(Debug)]
pub(crate) struct Places {
    taken: AtomicUsize,
    limit: usize,
    freed: Event,
}

impl Places {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Places {
            taken: AtomicUsize::new(0),
            limit,
            freed: Event::new(),
        })
    }

    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Place> {
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                taken.checked_add(1).filter(|taken| *taken <= self.limit)
            })
            .ok()
            .map(|_| Place(Arc::clone(self)))
    }

    /// Takes a place as soon as one is free. `waiting` is the caller's position in the queue: one
    /// for each task, kept between calls.
    pub(crate) fn poll_take(
        self: &Arc<Self>,
        waiting: &mut Option<EventListener>,
        cx: &mut Context<'_>,
    ) -> Poll<Place> {
        loop {
            if let Some(place) = self.try_take() {
                *waiting = None;
                return Poll::Ready(place);
            }
            // Listen first, then look once more: a place that is freed in between is not missed.
            match waiting {
                None => *waiting = Some(self.freed.listen()),
                Some(listener) => match Pin::new(listener).poll(cx) {
                    Poll::Ready(()) => *waiting = None,
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

/// One of the [`Places`]; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let places = Places::new(2);
        let place = places.try_take().unwrap();
        let _other = places.try_take().unwrap();
        assert!(places.try_take().is_none());
        drop(place);
        assert!(places.try_take().is_some());
    }
}
