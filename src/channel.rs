//! The channel from connections to one sink.
//!
//! async-channel carries the events, but does not wake the sink. Its own wake-up holds a lock that
//! the receiver needs next: on one core, the two threads would switch back and forth over it. The
//! waker of a [`Lane`] has no lock, and costs a sender next to nothing while the sink is awake.

use std::sync::Arc;
use std::task::{Context, Poll};

use async_channel::{Receiver, Sender, TryRecvError};

use crate::event::Event;
use crate::lane::Lane;

/// The connections' end of the channel to one sink.
#[derive(Clone, Debug)]
pub(crate) struct EventSender {
    // Dropped in this order: by the time the last sender wakes the sink, the channel is closed.
    events: Sender<Event>,
    sink: Alarm,
}

/// The sink's end of the channel.
#[derive(Debug)]
pub(crate) struct EventReceiver {
    events: Receiver<Event>,
    lane: Arc<Lane>,
}

/// The sink was dropped.
pub(crate) struct SinkGone;

/// Wakes the sink when it is dropped.
#[derive(Clone, Debug)]
struct Alarm(Arc<Lane>);

/// Makes an unbounded channel. It still holds little: each connection has one `Open`, one `Close`,
/// and as many chunks as it has credits.
pub(crate) fn channel() -> (EventSender, EventReceiver) {
    let (events, inbox) = async_channel::unbounded();
    let lane = Arc::new(Lane::new());
    let sender = EventSender {
        events,
        sink: Alarm(Arc::clone(&lane)),
    };
    let receiver = EventReceiver {
        events: inbox,
        lane,
    };
    (sender, receiver)
}

impl EventSender {
    /// Queues an event for the sink, which finds it after the next [wake-up](Self::wake).
    pub(crate) fn push(&self, event: Event) -> Result<(), SinkGone> {
        self.events.try_send(event).map_err(|_| SinkGone)
    }

    pub(crate) fn wake(&self) {
        self.sink.0.wake();
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.sink.0
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl EventReceiver {
    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Takes the next event, if one is queued.
    pub(crate) fn next(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Waits for the next event; `None` once the channel is closed and empty.
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Event>> {
        self.lane.register(cx);
        match self.events.try_recv() {
            Ok(event) => Poll::Ready(Some(event)),
            Err(TryRecvError::Empty) => Poll::Pending,
            Err(TryRecvError::Closed) => Poll::Ready(None),
        }
    }

    /// Closes the channel and drops the queued events.
    pub(crate) fn close(&self) {
        self.events.close();
        while self.next().is_some() {}
    }
}
