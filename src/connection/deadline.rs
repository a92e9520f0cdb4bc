//! The time limits of a connection.

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
