//! The time limits of a connection.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_io::Timer;

use crate::end::{End, Timeout};

/// A point in time, or never. Boxed: connections spend most of their time without one.
#[derive(Default)]
pub(super) struct Deadline(Option<Box<(Duration, Timer)>>);

impl Deadline {
    pub(super) fn after(limit: Option<Duration>) -> Self {
        Deadline(limit.map(|limit| Box::new((limit, Timer::after(limit)))))
    }

    /// A deadline after about so long: up to a tenth more or less, at random, lest connections that
    /// began together end together.
    pub(super) fn about(limit: Option<Duration>) -> Self {
        Deadline::after(limit.map(|limit| {
            // Each of these has other keys.
            let random = RandomState::new().build_hasher().finish();
            let part = f64::from(random as u32) / f64::from(u32::MAX);
            let seconds = limit.as_secs_f64() * (0.9 + 0.2 * part);
            Duration::try_from_secs_f64(seconds).unwrap_or(limit)
        }))
    }

    pub(super) fn is_never(&self) -> bool {
        self.0.is_none()
    }

    /// Waits for the deadline; yields its time limit.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        match self.0.as_deref_mut() {
            Some((limit, timer)) => Pin::new(timer).poll(cx).map(|_| *limit),
            None => Poll::Pending,
        }
    }
}

/// The time since data last arrived.
pub(super) struct Idle {
    limit: Option<Duration>,
    /// The start of the wait for the peer; `None` while nothing is expected of it.
    since: Option<Instant>,
    /// Set once, and reset when it fires: resetting it at each read would cost more than the read.
    timer: Option<Box<Timer>>,
}

impl Idle {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Idle {
            limit,
            since: None,
            timer: None,
        }
    }

    pub(super) fn restart(&mut self) {
        self.since = None;
    }

    /// Waits until the limit is reached.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        let Some(deadline) = since.checked_add(limit) else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::new(Timer::at(deadline)));
        loop {
            ready!(Pin::new(&mut **timer).poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(End::Timeout(Timeout::Idle(limit)));
            }
            timer.set_at(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_after_about_a_time_is_up_to_a_tenth_earlier_or_later() {
        let limit = Duration::from_secs(100);
        let times: Vec<_> = (0..100)
            .filter_map(|_| Some(Deadline::about(Some(limit)).0?.0.as_secs_f64()))
            .collect();
        assert_eq!(times.len(), 100);
        assert!(times.iter().all(|time| (90.0..=110.0).contains(time)));
        let earlier = times.iter().filter(|time| **time < 100.0).count();
        assert!((20..=80).contains(&earlier), "{earlier}");
        assert!(Deadline::about(None).is_never());
        let _ = Deadline::about(Some(Duration::MAX));
    }
}
