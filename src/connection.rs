//! One connection: handshake, reading on credit, the end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_io::Timer;
use event_listener::EventListener;
use futures_lite::{AsyncRead, AsyncWrite, future};

use crate::channel::{EventSender, SinkGone};
use crate::conn::ConnId;
use crate::error::{Cut, End, Timeout, Truncation};
use crate::event::{self, Event, Kind};
use crate::limit::Limit;
use crate::link::{CREDITS, Link, Outcome, Request, SinkLink};
use crate::memory::{Memory, Waiting};
use crate::peer::Peer;
use crate::places::Place;
use crate::receipt;
use crate::report::Report;
use crate::shared::Shared;
use crate::tls;

/// The time limit for sending the answer to a stream and discarding late data. An answer is short:
/// only a peer that has stopped reading makes it wait.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A future that receives one stream, from the handshake to the outcome at the sink.
///
/// Made by [`Server::connection`] and [`Server::plain`]. It does nothing unless polled, spawns
/// nothing, and is `Send` if `IO` is. Dropped before it resolves, it cuts the stream: the sink
/// delivers the data that had arrived, and reports [`Cut::Dropped`].
///
/// While a connection waits for its peer, it holds no read buffer. It reads only while it holds a
/// credit; it has four, and each returns when the sink has handed on the chunk that was read with
/// it.
///
/// [`Server::connection`]: crate::Server::connection
/// [`Server::plain`]: crate::Server::plain
#[must_use = "a connection does nothing unless it is polled"]
pub struct Connection<IO> {
    phase: Phase<IO>,
    guard: Guard,
}

pub(crate) enum Transport<IO> {
    Tls(IO),
    Plain(IO),
}

enum Phase<IO> {
    /// Waiting for a free place.
    Waiting {
        transport: Option<Transport<IO>>,
        /// The connection limit, if the peer's address exceeds it.
        too_many: Option<usize>,
        listener: Option<EventListener>,
    },
    Handshake {
        // Boxed, like the stream that it becomes: a TLS session is large, and the phases before
        // and after it need none.
        accept: Box<tls::Accept<IO>>,
        deadline: Deadline,
    },
    Reading(Reading<IO>),
    /// Waiting for the outcome from the sink, which decides how to answer the stream, if the
    /// transport is still there.
    AwaitingOutcome(PeerStream<IO>),
    // Boxed: an answer is larger than the phases in which connections spend their time.
    Answering(Box<Answer<IO>>),
    Done,
}

/// The successor of a phase: another phase, or the outcome.
enum Next<IO> {
    Phase(Phase<IO>),
    Done(Outcome),
}

/// The state that outlives each phase. Its `Drop` ensures that a stream's end is never lost.
struct Guard {
    id: ConnId,
    peer: Peer,
    shared: Arc<Shared>,
    link: Arc<Link>,
    channel: Option<EventSender>,
    /// Shared with the stream's `Close`: the place is free once both the sink and the peer have
    /// finished with the connection.
    place: Option<Arc<Place>>,
    /// The sink knows of the end, or is gone.
    closed: bool,
    /// The sink knows of the connection.
    opened: bool,
    /// The handshake failed for the sender's certificate.
    unverified: bool,
    /// The future has resolved.
    done: bool,
    received: u64,
    /// Events are queued for which the sink has not been woken.
    wake_pending: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    pub(crate) fn new(shared: &Arc<Shared>, transport: Transport<IO>, peer: Peer) -> Self {
        let link = Link::new();
        let registration = shared.register(&link, &peer);
        Connection {
            guard: Guard {
                id: registration.id,
                peer,
                shared: Arc::clone(shared),
                link,
                channel: registration.channel,
                place: shared.places.try_take().map(Arc::new),
                closed: false,
                opened: false,
                unverified: false,
                done: false,
                received: 0,
                wake_pending: false,
            },
            phase: Phase::Waiting {
                transport: Some(transport),
                too_many: registration.too_many,
                listener: None,
            },
        }
    }

    /// Waits until the handshake is over; returns whether the stream is open.
    ///
    /// A connection that is simply awaited needs no such call. It serves callers that continue open
    /// streams elsewhere, such as on the thread of [their sink](Self::lane). In either case, await
    /// the connection afterwards. Dropping the future loses nothing.
    pub async fn established(&mut self) -> bool {
        future::poll_fn(|cx| self.poll_established(cx)).await
    }

    fn poll_established(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.guard.link.register(cx);
        while let Phase::Waiting { .. } | Phase::Handshake { .. } = self.phase {
            self.phase = match ready!(self.poll_phase(cx)) {
                Next::Phase(phase) => phase,
                Next::Done(outcome) => {
                    self.guard.link.leave_outcome(outcome);
                    Phase::AwaitingOutcome(PeerStream::Gone)
                }
            };
        }
        Poll::Ready(self.guard.opened)
    }

    /// Advances the current phase as far as possible.
    fn poll_phase(&mut self, cx: &mut Context<'_>) -> Poll<Next<IO>> {
        let guard = &mut self.guard;
        let next = match &mut self.phase {
            Phase::Waiting { .. } | Phase::Handshake { .. } if guard.is_cut() => {
                Next::unopened(End::Cut(Cut::Server))
            }
            Phase::Waiting {
                transport,
                too_many,
                listener,
            } => {
                if let Some(limit) = too_many {
                    return Poll::Ready(Next::unopened(End::Limit(Limit::PerIp { most: *limit })));
                }
                if guard.place.is_none() {
                    let place = ready!(guard.shared.places.poll_take(listener, cx));
                    guard.place = Some(Arc::new(place));
                }
                match (transport.take(), &guard.shared.settings.tls) {
                    (Some(Transport::Tls(io)), Some(tls)) => Next::Phase(Phase::Handshake {
                        accept: Box::new(tls.accept(io)),
                        deadline: Deadline::after(guard.shared.settings.handshake_timeout),
                    }),
                    (Some(Transport::Plain(io)), _) => {
                        guard.open(PeerStream::Plain(Box::new(tls::NormalizedTransport(io))))
                    }
                    (Some(Transport::Tls(_)), None) => Next::unopened(End::Refused {
                        what: "this server has no certificate".to_owned(),
                        claimed: Vec::new(),
                        hint: None,
                    }),
                    (None, _) => Next::Phase(Phase::Done),
                }
            }
            Phase::Handshake { accept, deadline } => match accept.poll(cx) {
                Poll::Ready(Ok(accepted)) => {
                    guard.peer.verified(accepted.names);
                    guard.open(PeerStream::Tls(Box::new(accepted.stream)))
                }
                Poll::Ready(Err(error)) => {
                    guard.unverified = matches!(error, tls::HandshakeError::Unverified { .. });
                    Next::unopened(error.into())
                }
                Poll::Pending => {
                    let limit = ready!(deadline.poll(cx));
                    Next::unopened(End::Timeout(Timeout::Handshake(limit)))
                }
            },
            Phase::Reading(reading) => {
                let end = ready!(reading.poll_read(guard, cx));
                let is_answered = match end {
                    // The answer, a close_notify, declares the stream clean. The sink decides
                    // whether it is.
                    End::Clean => true,
                    // A broken connection or TLS session carries no answer.
                    End::Reset { .. } | End::Corrupt { .. } => false,
                    _ => guard.shared.settings.receipts,
                };
                guard.close(end);
                let stream = std::mem::replace(&mut reading.stream, PeerStream::Gone);
                Next::Phase(Phase::AwaitingOutcome(match is_answered {
                    true => stream,
                    false => PeerStream::Gone,
                }))
            }
            Phase::AwaitingOutcome(stream) => match (guard.link.take_outcome(), stream) {
                (Some(outcome), PeerStream::Gone) => Next::Done(outcome),
                (Some(outcome), stream) => Next::Phase(Phase::Answering(Box::new(Answer::new(
                    std::mem::replace(stream, PeerStream::Gone),
                    receipt_of(guard, &outcome),
                    outcome,
                )))),
                (None, _) => return Poll::Pending,
            },
            Phase::Answering(answer) => {
                // A cut waits for no peer. A refusal by the sink is the very thing that this answer
                // tells the peer.
                let hurry = guard.link.requested() == Some(Request::Cut);
                if answer.poll(cx).is_pending() && !hurry {
                    ready!(answer.deadline.poll(cx));
                }
                Next::Done(answer.outcome.clone())
            }
            Phase::Done => return Poll::Pending,
        };
        Poll::Ready(next)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Connection<IO> {
    type Output = Report;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Report> {
        self.guard.link.register(cx);
        loop {
            match ready!(self.poll_phase(cx)) {
                Next::Phase(phase) => self.phase = phase,
                Next::Done(outcome) => {
                    self.phase = Phase::Done;
                    return Poll::Ready(self.guard.finish(outcome));
                }
            }
        }
    }
}

impl<IO> Connection<IO> {
    /// The index of the stream's sink among those that [`build_lanes`] returned.
    ///
    /// [`build_lanes`]: crate::ServerBuilder::build_lanes
    pub fn lane(&self) -> usize {
        self.guard.shared.lane(self.guard.id)
    }
}

impl<IO> Next<IO> {
    /// The end of a connection that the sink never sees.
    fn unopened(end: End) -> Self {
        Next::Done(Outcome::on_nothing(end))
    }
}

impl Guard {
    fn is_cut(&self) -> bool {
        self.channel.is_none() || self.link.requested().is_some()
    }

    /// Announces the connection to the sink.
    fn open<IO>(&mut self, stream: PeerStream<IO>) -> Next<IO> {
        if !self.shared.admit() {
            return Next::unopened(End::Cut(Cut::Server));
        }
        let memory = self.shared.memory.of(&self.peer);
        let open = Kind::Open(Box::new(event::Open {
            peer: self.peer.clone(),
            link: SinkLink::new(&self.link),
            memory: memory.clone(),
        }));
        self.opened = true;
        // The sink is woken after the first reads, once for this event and their data.
        if self.push(open).is_err() {
            // No sink is left to hear of the end.
            self.closed = true;
            return Next::Phase(Phase::AwaitingOutcome(PeerStream::Gone));
        }
        Next::Phase(Phase::Reading(Reading {
            stream,
            memory,
            waiting: None,
            idle: Idle::new(self.shared.settings.idle_timeout),
        }))
    }

    /// Tells the sink how the stream ended, once.
    fn close(&mut self, end: End) {
        if self.opened
            && let Some(place) = self.place.clone()
            && !std::mem::replace(&mut self.closed, true)
        {
            // If the event can't be sent, the sink is gone and has stored its outcome.
            let _ = self.push(Kind::Close(Box::new(event::Close { end, _place: place })));
            self.wake_sink();
        }
    }

    /// Queues an event, which the sink need not see before [`wake_sink`](Self::wake_sink).
    fn push(&mut self, kind: Kind) -> Result<(), SinkGone> {
        let event = Event { id: self.id, kind };
        self.wake_pending = true;
        match &self.channel {
            Some(channel) => channel.push(event),
            None => Err(SinkGone),
        }
    }

    /// Wakes the sink, if events are queued for it.
    fn wake_sink(&mut self) {
        if std::mem::take(&mut self.wake_pending)
            && let Some(channel) = &self.channel
        {
            channel.wake();
        }
    }

    /// Makes the report that the future resolves to, and releases everything that the connection
    /// holds, even if the future is kept.
    fn finish(&mut self, outcome: Outcome) -> Report {
        let report = Report {
            id: self.id,
            peer: self.peer.clone(),
            established: self.opened,
            end: outcome.end,
            format: outcome.format,
            received: self.received,
            delivered: outcome.delivered,
            undecoded: outcome.undecoded,
        };
        if !report.established {
            self.shared.failures.count(&report.end, self.unverified);
        }
        // A connection made after the stop is not one of those that are being stopped.
        if report.end == End::Cut(Cut::Server) && self.channel.is_some() {
            self.shared.remember_cut(&report);
        }
        self.forget();
        report
    }

    fn forget(&mut self) {
        self.done = true;
        self.place = None;
        self.channel = None;
        self.shared.forget(self.id, &self.peer);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let end = End::Cut(Cut::Dropped);
        if !self.opened {
            // A caller of `established` may know already that the handshake failed, and why.
            let failed = self.link.take_outcome().map(|outcome| outcome.end);
            let failed = failed.as_ref().unwrap_or(&end);
            self.shared.failures.count(failed, self.unverified);
        }
        self.close(end);
        self.forget();
    }
}

/// A stream that is being read.
struct Reading<IO> {
    stream: PeerStream<IO>,
    memory: Memory,
    /// The connection's place in the queue for read-buffer memory.
    waiting: Option<Waiting>,
    idle: Idle,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Reading<IO> {
    /// Reads available data and queues it for the sink, until the stream ends.
    fn poll_read(&mut self, guard: &mut Guard, cx: &mut Context<'_>) -> Poll<End> {
        match guard.link.requested() {
            Some(Request::Cut) => return Poll::Ready(End::Cut(Cut::Server)),
            // The sink reports its own reason.
            Some(Request::Refuse) => return Poll::Ready(End::Cut(Cut::SinkGone)),
            None => {}
        }
        for _ in 0..CREDITS {
            match self.read_chunk(guard, cx) {
                Attempt::More => {}
                Attempt::Ended(end) => return Poll::Ready(end),
                attempt => {
                    // One wake-up for all data read: on a busy core, each wake-up switches threads.
                    guard.wake_sink();
                    return match attempt {
                        Attempt::Drained => self.idle.poll(cx),
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
        let Poll::Ready(mut buffer) = buffers.poll_acquire(&self.memory, &mut self.waiting, cx)
        else {
            return Attempt::Held;
        };
        let Filled { len, more, end } = self.stream.fill(cx, &mut buffer, guard.received);
        if len > 0 {
            guard.received = guard.received.saturating_add(len as u64);
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
    Ended(End),
}

/// A stream whose peer is being told the outcome: by a receipt, if receipts are on, and by a
/// close_notify, if the stream was clean.
struct Answer<IO> {
    stream: PeerStream<IO>,
    outcome: Outcome,
    receipt: Vec<u8>,
    /// The bytes of the receipt that are sent.
    sent: usize,
    /// The transport is closed for writing.
    closed: bool,
    deadline: Deadline,
}

/// The number of reads in a row that are discarded before the executor's other tasks have a turn.
const DISCARDS: usize = 16;

impl<IO: AsyncRead + AsyncWrite + Unpin> Answer<IO> {
    fn new(stream: PeerStream<IO>, receipt: Vec<u8>, outcome: Outcome) -> Self {
        Answer {
            stream,
            outcome,
            receipt,
            sent: 0,
            closed: false,
            deadline: Deadline::after(Some(CLOSE_TIMEOUT)),
        }
    }

    /// Sends the answer and closes the transport for writing. After the receipt of a stream that was
    /// not clean, reads on until the peer closes too: closing with unread data would reset the
    /// connection, and could destroy the receipt on its way.
    ///
    /// An error leaves the peer without an answer, and does not change the outcome.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(rest) = self
            .receipt
            .get(self.sent..)
            .filter(|rest| !rest.is_empty())
        {
            match ready!(self.stream.poll_write(cx, rest)) {
                Ok(n) if n > 0 => self.sent = self.sent.saturating_add(n),
                _ => return Poll::Ready(()),
            }
        }
        let is_clean = self.outcome.end.is_clean();
        if !self.closed {
            let closed = match is_clean {
                true => ready!(self.stream.poll_close(cx)),
                false => ready!(self.stream.poll_shutdown(cx)),
            };
            if closed.is_err() {
                return Poll::Ready(());
            }
            self.closed = true;
        }
        if is_clean || self.receipt.is_empty() {
            return Poll::Ready(());
        }
        let mut discarded = [0; 4096];
        for _ in 0..DISCARDS {
            match ready!(self.stream.poll_read(cx, &mut discarded)) {
                Ok(n) if n > 0 => {}
                _ => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The receipt for a stream; empty if receipts are off.
fn receipt_of(guard: &Guard, outcome: &Outcome) -> Vec<u8> {
    match guard.shared.settings.receipts {
        true => receipt::line(guard.received, outcome),
        false => Vec::new(),
    }
}

enum PeerStream<IO> {
    Tls(Box<tls::ServerStream<IO>>),
    Plain(Box<tls::NormalizedTransport<IO>>),
    Gone,
}

/// The result of one series of reads.
struct Filled {
    len: usize,
    /// More data may be available, for which nothing will wake the task.
    more: bool,
    end: Option<End>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> PeerStream<IO> {
    /// Reads until the buffer is full or no more data is available. Small records arrive in groups:
    /// one chunk and one wake-up of the sink serve them all. `offset` is the number of bytes read
    /// before.
    fn fill(&mut self, cx: &mut Context<'_>, buffer: &mut [u8], offset: u64) -> Filled {
        let room = buffer.len();
        let ((len, end), used_up) =
            tls::reading_ahead(room, || self.fill_as_allowed(cx, buffer, offset));
        Filled {
            len,
            more: end.is_none() && (used_up || len == room),
            end,
        }
    }

    fn fill_as_allowed(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        offset: u64,
    ) -> (usize, Option<End>) {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.poll_read(cx, rest) {
                Poll::Ready(Ok(0)) => return (filled, Some(End::Clean)),
                Poll::Ready(Ok(n)) => filled += n.min(rest.len()),
                Poll::Ready(Err(error)) => {
                    let offset = offset.saturating_add(filled as u64);
                    return (filled, Some(end_of(error, offset)));
                }
                Poll::Pending => break,
            }
        }
        (filled, None)
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<usize, tls::ReadError>> {
        match self {
            PeerStream::Tls(tls) => tls.poll_read(cx, buf),
            PeerStream::Plain(io) => Pin::new(io)
                .poll_read(cx, buf)
                .map_err(|error| tls::ReadError::Reset(error.to_string())),
            PeerStream::Gone => Poll::Ready(Ok(0)),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            PeerStream::Tls(tls) => tls.poll_write(cx, bytes),
            PeerStream::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            PeerStream::Gone => Poll::Ready(Ok(0)),
        }
    }

    /// Sends a close_notify and closes the transport for writing.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            PeerStream::Tls(tls) => tls.poll_close(cx),
            PeerStream::Plain(io) => Pin::new(io).poll_close(cx),
            PeerStream::Gone => Poll::Ready(Ok(())),
        }
    }

    /// Closes the transport for writing without a close_notify.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            PeerStream::Tls(tls) => tls.poll_shutdown(cx),
            PeerStream::Plain(io) => Pin::new(io).poll_close(cx),
            PeerStream::Gone => Poll::Ready(Ok(())),
        }
    }
}

fn end_of(error: tls::ReadError, offset: u64) -> End {
    match error {
        tls::ReadError::NoCloseNotify => End::Truncated(Truncation::NoCloseNotify),
        tls::ReadError::Reset(what) => End::Reset { what, alert: false },
        tls::ReadError::Alert(what) => End::Reset { what, alert: true },
        tls::ReadError::Tls(what) => End::Corrupt {
            layer: "tls",
            offset,
            what,
        },
    }
}

impl From<tls::HandshakeError> for End {
    fn from(error: tls::HandshakeError) -> Self {
        match error {
            tls::HandshakeError::Closed => End::Truncated(Truncation::Handshake),
            tls::HandshakeError::Reset(what) => End::Reset { what, alert: false },
            tls::HandshakeError::Refused { what, hint } => End::Refused {
                what,
                claimed: Vec::new(),
                hint,
            },
            tls::HandshakeError::Unverified {
                what,
                claimed,
                hint,
            } => End::Refused {
                what,
                claimed,
                hint,
            },
        }
    }
}

/// A point in time, or never. Boxed: connections spend most of their time without one.
struct Deadline(Option<Box<(Duration, Timer)>>);

impl Deadline {
    fn after(limit: Option<Duration>) -> Self {
        Deadline(limit.map(|limit| Box::new((limit, Timer::after(limit)))))
    }

    /// Waits for the deadline; yields its time limit.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        match self.0.as_deref_mut() {
            Some((limit, timer)) => Pin::new(timer).poll(cx).map(|_| *limit),
            None => Poll::Pending,
        }
    }
}

/// The time since data last arrived.
struct Idle {
    limit: Option<Duration>,
    /// The start of the wait for the peer; `None` while nothing is expected of it.
    since: Option<Instant>,
    /// Set once, and reset when it fires: resetting it at each read would cost more than the read.
    timer: Option<Box<Timer>>,
}

impl Idle {
    fn new(limit: Option<Duration>) -> Self {
        Idle {
            limit,
            since: None,
            timer: None,
        }
    }

    fn restart(&mut self) {
        self.since = None;
    }

    /// Waits until the limit is reached.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
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
