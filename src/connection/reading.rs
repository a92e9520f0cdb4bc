//! Reading a stream on credit.

use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWrite};

use super::acknowledge::Acknowledgements;
use super::deadline::{Deadline, Idle};
use super::guard::Guard;
use super::stream::{Filled, PeerStream};
use crate::end::{Cut, End};
use crate::event::Kind;
use crate::link::{CREDITS, Request};
use crate::memory::Waiting;
use crate::rate::Throttle;
use crate::shared::ServerSettings;

/// A stream that is being read.
pub(super) struct Reading<IO> {
    pub(super) stream: PeerStream<IO>,
    pub(super) acknowledgements: Acknowledgements,
    /// The connection's place in the queue for read-buffer memory.
    waiting: Option<Waiting>,
    /// The limit of the sender's rate, if there is one.
    throttle: Option<Box<Throttle>>,
    idle: Idle,
    /// The time at which the sink learns that the connection is old.
    age: Deadline,
}

impl<IO> Reading<IO> {
    pub(super) fn new(
        stream: PeerStream<IO>,
        throttle: Option<Throttle>,
        settings: &ServerSettings,
    ) -> Self {
        Reading {
            stream,
            acknowledgements: Acknowledgements::default(),
            waiting: None,
            throttle: throttle.map(Box::new),
            idle: Idle::new(settings.idle_timeout),
            age: Deadline::about(settings.max_age),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Reading<IO> {
    /// Reads available data and queues it for the sink, until the stream ends.
    pub(super) fn poll_read(&mut self, guard: &mut Guard, cx: &mut Context<'_>) -> Poll<End> {
        match guard.link.requested() {
            Some(Request::Cut) => return Poll::Ready(End::Cut(Cut::Server)),
            // The sink reports its own reason.
            Some(Request::Refuse) => return Poll::Ready(End::Cut(Cut::SinkGone)),
            Some(Request::Retire) => return Poll::Ready(End::Cut(Cut::MaxAge)),
            None => {}
        }
        if self.age.poll(cx).is_ready() {
            self.age = Deadline::default();
            // If the sink is gone, reading finds out.
            let _ = guard.push(Kind::Aged);
        }
        self.acknowledgements.poll(&mut self.stream, guard, cx);
        for _ in 0..CREDITS {
            match self.read_chunk(guard, cx) {
                Attempt::More => {}
                Attempt::Ended(end) => return Poll::Ready(end),
                attempt => {
                    // One wake-up for all data read: on a busy core, each wake-up switches threads.
                    guard.wake_sink();
                    return match attempt {
                        Attempt::Drained => self.idle.poll(cx),
                        // The next read tells whether the sender is idle.
                        Attempt::Throttled => Poll::Pending,
                        // A sender that does not read its answers waits for itself.
                        _ if self.acknowledgements.are_unread() => self.idle.poll(cx),
                        // A sender that is kept waiting is not idle.
                        _ => {
                            self.idle.restart();
                            Poll::Pending
                        }
                    };
                }
            }
        }
        // Yields to the executor's other tasks.
        cx.waker().wake_by_ref();
        // Records that keep arriving may carry no data.
        self.idle.poll(cx)
    }

    /// Reads a chunk and queues it for the sink.
    fn read_chunk(&mut self, guard: &mut Guard, cx: &mut Context<'_>) -> Attempt {
        let Poll::Ready(credit) = guard.link.poll_credit() else {
            return Attempt::Held;
        };
        let buffers = &guard.shared.buffers;
        let memory = &guard.conn.memory;
        let Poll::Ready(mut buffer) = buffers.poll_acquire(memory, &mut self.waiting, cx) else {
            return Attempt::Held;
        };
        let mut allowance = None;
        let mut room = &mut *buffer;
        if let Some(throttle) = &mut self.throttle {
            let Poll::Ready(allowed) = throttle.poll(room.len(), cx) else {
                return Attempt::Throttled;
            };
            room = room.get_mut(..allowed.most()).unwrap_or_default();
            allowance = Some(allowed);
        }
        let Filled { len, more, end } = self.stream.fill(cx, room, guard.conn.received);
        if let Some(allowance) = allowance {
            allowance.spend(len);
        }
        if len > 0 {
            guard.received(len);
            self.idle.restart();
            let chunk = buffer.into_chunk(len, credit);
            if guard.push(Kind::Data(chunk)).is_err() {
                return Attempt::Ended(End::Cut(Cut::SinkGone));
            }
        }
        match end {
            Some(end) => Attempt::Ended(end),
            None if more => Attempt::More,
            None => Attempt::Drained,
        }
    }
}

/// The result of reading a chunk.
enum Attempt {
    /// Another chunk may be available at once.
    More,
    /// The peer has sent nothing more yet.
    Drained,
    /// There is no credit, or no memory.
    Held,
    /// The sender has reached its rate.
    Throttled,
    Ended(End),
}
