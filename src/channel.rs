//! The channel from connections to one sink.
//!
//! The channel is async-channel's; how the sink is woken is not. Its own way wakes a receiver while
//! it holds a lock that the receiver needs next: on one core the two would take turns over it, a
//! switch of threads each time. An [`AtomicWaker`] has no lock, and costs a sender next to nothing
//! while the sink is awake.

use std::sync::Arc;
use std::task::{Context, Poll};

use async_channel::{Receiver, Sender, TryRecvError};
use atomic_waker::AtomicWaker;

use crate::event::Event;

/// The way to a sink.
#[derive(Clone, Debug)]
pub(crate) struct EventSender {
    // In this order: when the last sender is dropped, the sink finds the channel closed.
    events: Sender<Event>,
    sink: Alarm,
}

/// Where a sink receives.
#[derive(Debug)]
pub(crate) struct EventReceiver {
    events: Receiver<Event>,
    waker: Arc<AtomicWaker>,
}

/// The sink was dropped.
pub(crate) struct SinkGone;

/// Wakes the sink when it is dropped.
#[derive(Clone, Debug)]
struct Alarm(Arc<AtomicWaker>);

/// Unbounded, and yet it holds little: each connection has one `Open`, one `Close`, and as many
/// chunks as it has credits.
pub(crate) fn channel() -> (EventSender, EventReceiver) {
    let (events, inbox) = async_channel::unbounded();
    let waker = Arc::new(AtomicWaker::new());
    let sender = EventSender {
        events,
        sink: Alarm(Arc::clone(&waker)),
    };
    let receiver = EventReceiver {
        events: inbox,
        waker,
    };
    (sender, receiver)
}

impl EventSender {
    /// Leaves an event for the sink, which finds it once somebody [wakes](Self::wake) it.
    pub(crate) fn push(&self, event: Event) -> Result<(), SinkGone> {
        self.events.try_send(event).map_err(|_| SinkGone)
    }

    pub(crate) fn wake(&self) {
        self.sink.0.wake();
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl EventReceiver {
    /// The next event, if one is there.
    pub(crate) fn next(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Waits for the next event; `None` when none will come.
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Event>> {
        self.waker.register(cx.waker());
        match self.events.try_recv() {
            Ok(event) => Poll::Ready(Some(event)),
            Err(TryRecvError::Empty) => Poll::Pending,
            Err(TryRecvError::Closed) => Poll::Ready(None),
        }
    }

    /// Takes no more, and drops what is there.
    pub(crate) fn close(&self) {
        self.events.close();
        while self.next().is_some() {}
    }
}
