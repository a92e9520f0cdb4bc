//! One connection: handshake, reading on credit, the end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use event_listener::EventListener;
use futures_lite::{AsyncRead, AsyncWrite, future};

use crate::end::{Cut, End, Reset, Timeout, Truncation};
use crate::limit::Limit;
use crate::link::{Outcome, Request};
use crate::peer::Peer;
use crate::report::Report;
use crate::shared::Shared;
use crate::tls::{self, Refusal};

mod acknowledge;
mod answer;
mod deadline;
mod guard;
mod proxied;
mod reading;
mod stream;

use acknowledge::Acknowledgements;
use answer::Answer;
use deadline::Deadline;
use guard::{Guard, NotOpened};
use proxied::Proxied;
use reading::Reading;
use stream::PeerStream;

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
        /// Whether the peer is a proxy, which says first whose connection it passes on.
        proxied: bool,
        /// The connection limit, if the peer's address exceeds it.
        too_many: Option<usize>,
        listener: Option<EventListener>,
    },
    /// Reading what a proxy says of the peer.
    Proxied(Box<Proxied<IO>>),
    Handshake {
        // Boxed, like the stream that it becomes: a TLS session is large, and the phases before
        // and after it need none.
        accept: Box<tls::Accept<IO>>,
        deadline: Deadline,
    },
    Reading(Reading<IO>),
    /// Waiting for the outcome from the sink, and so for the output's holds. It decides how to answer
    /// the stream, if the transport is still there.
    AwaitingOutcome {
        stream: PeerStream<IO>,
        acknowledgements: Acknowledgements,
    },
    // Boxed: an answer is larger than the phases in which connections spend their time.
    Answering(Box<Answer<IO>>),
    Done,
}

/// The successor of a phase: another phase, or the outcome.
enum Next<IO> {
    Phase(Phase<IO>),
    Done(Outcome),
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    pub(crate) fn new(shared: &Arc<Shared>, transport: Transport<IO>, peer: Peer) -> Self {
        let (guard, too_many) = Guard::new(shared, peer);
        Connection {
            guard,
            phase: Phase::Waiting {
                transport: Some(transport),
                proxied: false,
                too_many,
                listener: None,
            },
        }
    }

    /// Takes the peer for a proxy, which sends a PROXY header (version 1 or 2) before anything else,
    /// and before any TLS. The sender that the header names becomes the [peer](crate::Conn::peer), whom
    /// limits and [`allow`](crate::ServerBuilder::allow) concern. Call this before the connection is
    /// polled.
    ///
    /// A header that names nobody leaves the proxy as the peer. The proxy's own connections (health
    /// checks) are neither limited nor refused by address; of a sender that the proxy does not name,
    /// `allow` is asked for the proxy. The header is subject to the [deadline](crate::ServerBuilder::handshake_timeout) of handshakes. A
    /// connection with anything else in its place ends with
    /// [`Refusal::Proxy`](crate::Refusal::Proxy).
    ///
    /// The name in a sender's certificate, if the proxy has verified it and gives it (HAProxy's
    /// `send-proxy-v2-ssl-cn`), becomes the peer's [name](crate::Peer::names) on connections without
    /// TLS of our own. Make sure that nobody but the proxy can connect: it is believed.
    pub fn behind_proxy(mut self) -> Self {
        if let Phase::Waiting {
            proxied, too_many, ..
        } = &mut self.phase
        {
            *proxied = true;
            *too_many = None;
            self.guard.await_peer();
        }
        self
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
        while let Phase::Waiting { .. } | Phase::Proxied(_) | Phase::Handshake { .. } = self.phase {
            self.phase = match ready!(self.poll_phase(cx)) {
                Next::Phase(phase) => phase,
                Next::Done(outcome) => {
                    self.guard.link.leave_outcome(outcome);
                    Phase::without_stream()
                }
            };
        }
        Poll::Ready(self.guard.is_established())
    }

    /// Advances the current phase as far as possible.
    fn poll_phase(&mut self, cx: &mut Context<'_>) -> Poll<Next<IO>> {
        let guard = &mut self.guard;
        let next = match &mut self.phase {
            Phase::Waiting { .. } | Phase::Proxied(_) | Phase::Handshake { .. }
                if guard.is_cut() =>
            {
                Next::unopened(End::Cut(Cut::Server))
            }
            Phase::Waiting {
                transport,
                proxied,
                too_many,
                listener,
            } => {
                if !*proxied && !guard.allows_peer() {
                    return Poll::Ready(Next::unopened(End::Refused(Refusal::Address)));
                }
                if let Some(limit) = too_many {
                    return Poll::Ready(Next::unopened(End::Limit(Limit::PerIp { most: *limit })));
                }
                if guard.place.is_none() {
                    let place = ready!(guard.shared.places.poll_take(listener, cx));
                    guard.place = Some(Arc::new(place));
                }
                match transport.take() {
                    Some(transport) if *proxied => {
                        let proxied = Proxied::new(transport, &guard.shared.settings);
                        Next::Phase(Phase::Proxied(Box::new(proxied)))
                    }
                    Some(transport) => Next::begun(guard, transport, None, None),
                    None => Next::Phase(Phase::Done),
                }
            }
            Phase::Proxied(proxied) => match ready!(proxied.poll(guard, cx)) {
                Ok(transport) => {
                    let deadline = std::mem::take(&mut proxied.deadline);
                    Next::begun(guard, transport, proxied.first, Some(deadline))
                }
                Err(end) => Next::unopened(end),
            },
            Phase::Handshake { accept, deadline } => match accept.poll(cx) {
                Poll::Ready(Ok(accepted)) => {
                    guard.conn.peer.verified(accepted.names);
                    guard.conn.tls = accepted.session.map(Arc::new);
                    Next::opened(guard, PeerStream::Tls(Box::new(accepted.stream)))
                }
                Poll::Ready(Err(error)) => Next::unopened(error.into()),
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
                    // The answer tells the sender to connect again.
                    End::Cut(Cut::MaxAge) => true,
                    // A broken connection or TLS session carries no answer.
                    End::Reset(_) | End::Corrupt { .. } => false,
                    _ => guard.gives_receipt(),
                };
                guard.close(end);
                let stream = std::mem::replace(&mut reading.stream, PeerStream::Gone);
                Next::Phase(Phase::AwaitingOutcome {
                    stream: match is_answered {
                        true => stream,
                        false => PeerStream::Gone,
                    },
                    acknowledgements: std::mem::take(&mut reading.acknowledgements),
                })
            }
            Phase::AwaitingOutcome {
                stream,
                acknowledgements,
            } => match (guard.link.take_outcome(), stream) {
                (Some(outcome), PeerStream::Gone) => Next::Done(outcome),
                (Some(outcome), stream) => Next::Phase(Phase::Answering(Box::new(Answer::new(
                    std::mem::replace(stream, PeerStream::Gone),
                    acknowledgements.take_rest(guard),
                    outcome,
                    guard,
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
        self.guard.shared.lane(self.guard.conn.id())
    }
}

impl<IO> Phase<IO> {
    /// Waiting for the outcome of a stream that is gone.
    fn without_stream() -> Self {
        Phase::AwaitingOutcome {
            stream: PeerStream::Gone,
            acknowledgements: Acknowledgements::default(),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Next<IO> {
    /// Begins the handshake, if there is one. The first byte of a stream without TLS may have been
    /// read.
    fn begun(
        guard: &mut Guard,
        transport: Transport<IO>,
        first: Option<u8>,
        deadline: Option<Deadline>,
    ) -> Self {
        let settings = &guard.shared.settings;
        match (transport, &settings.tls) {
            (Transport::Tls(io), Some(tls)) => Next::Phase(Phase::Handshake {
                accept: Box::new(tls.accept(io)),
                deadline: deadline.unwrap_or_else(|| Deadline::after(settings.handshake_timeout)),
            }),
            (Transport::Plain(io), _) => Next::opened(guard, PeerStream::plain(io, first)),
            (Transport::Tls(_), None) => Next::unopened(End::Refused(Refusal::NoServerCertificate)),
        }
    }

    /// Announces the connection to the sink, and reads from it.
    fn opened(guard: &mut Guard, stream: PeerStream<IO>) -> Self {
        match guard.open() {
            Ok(()) => {
                let throttle = guard.shared.rates.as_ref();
                let throttle = throttle.map(|rates| rates.of(guard.conn.peer()));
                let settings = &guard.shared.settings;
                Next::Phase(Phase::Reading(Reading::new(stream, throttle, settings)))
            }
            Err(NotOpened::Stopped) => Next::unopened(End::Cut(Cut::Server)),
            Err(NotOpened::SinkGone) => Next::Phase(Phase::without_stream()),
        }
    }

    /// The end of a connection that the sink never sees.
    fn unopened(end: End) -> Self {
        Next::Done(Outcome::on_nothing(end))
    }
}

impl From<tls::HandshakeError> for End {
    fn from(error: tls::HandshakeError) -> Self {
        match error {
            tls::HandshakeError::Closed => End::Truncated(Truncation::Handshake),
            tls::HandshakeError::Reset { reason } => End::Reset(Reset::Transport { reason }),
            tls::HandshakeError::Refused(refusal) => End::Refused(refusal),
        }
    }
}
