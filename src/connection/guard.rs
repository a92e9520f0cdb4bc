//! The part of a connection that outlives each of its phases. It speaks to the sink, and ensures
//! that the end of a stream is never lost.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::channel::{EventSender, SinkGone};
use crate::clients::ClientCounters;
use crate::conn::Conn;
use crate::end::{Cut, End};
use crate::event::{self, Event, Kind};
use crate::link::{Link, Outcome, SinkLink};
use crate::peer::Peer;
use crate::places::Place;
use crate::report::Report;
use crate::shared::Shared;

/// A connection as its server and its sink know it. Dropping it reports an end that is not reported
/// yet, as [`Cut::Dropped`].
pub(super) struct Guard {
    pub(super) conn: Conn,
    pub(super) shared: Arc<Shared>,
    pub(super) link: Arc<Link>,
    /// The channel to the sink; `None` if the server was stopped before, and once the connection is
    /// done.
    channel: Option<EventSender>,
    /// Shared with the stream's `Close`: the place is free once both the sink and the peer have
    /// finished with the connection.
    pub(super) place: Option<Arc<Place>>,
    /// Whether the connection counts for the peer's address. It does not while that is a proxy's.
    counted: bool,
    /// The peer is a proxy that has passed nobody's connection on.
    pub(super) probe: bool,
    /// Those of the peer, if it is a verified client that is counted.
    client: Option<Arc<ClientCounters>>,
    known: Known,
    /// Events are queued for which the sink has not been woken.
    wake_pending: bool,
}

/// The stage of the connection that the sink knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing: the handshake is not completed.
    Nothing,
    /// The connection is open.
    Open,
    /// The stream has ended, or the sink is gone.
    End,
    /// The connection has resolved.
    Done { established: bool },
}

/// The reason why a connection that has completed its handshake is not opened.
pub(super) enum NotOpened {
    /// The server was stopped.
    Stopped,
    /// No sink is left to hear of the connection.
    SinkGone,
}

impl Guard {
    /// Registers a connection with its server. Also returns the connection limit, if the peer's
    /// address exceeds it.
    pub(super) fn new(shared: &Arc<Shared>, peer: Peer) -> (Self, Option<usize>) {
        let link = Link::new();
        shared.handshakes.fetch_add(1, Relaxed);
        let registration = shared.register(&link, &peer);
        let guard = Guard {
            conn: Conn::new(registration.id, peer, shared.memory.clone()),
            shared: Arc::clone(shared),
            link,
            channel: registration.channel,
            place: shared.places.try_take().map(Arc::new),
            counted: true,
            probe: false,
            client: None,
            known: Known::Nothing,
            wake_pending: false,
        };
        (guard, registration.too_many)
    }

    /// Takes the peer for a proxy, whose connections are not limited.
    pub(super) fn await_peer(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.shared.change_peer(Some(&self.conn.peer), None);
        }
    }

    /// Sets the peer that a proxy has named. Returns the connection limit, if the peer's address
    /// exceeds it.
    pub(super) fn found_peer(&mut self, peer: Peer) -> Option<usize> {
        self.counted = true;
        self.conn.peer = peer;
        self.shared.change_peer(None, Some(&self.conn.peer))
    }

    /// Whether the peer may connect.
    pub(super) fn allows_peer(&self) -> bool {
        let allow = self.shared.settings.allow.as_ref();
        allow.is_none_or(|allow| (allow.0)(&self.conn.peer))
    }

    /// Whether the connection has to end before it is opened.
    pub(super) fn is_cut(&self) -> bool {
        self.channel.is_none() || self.link.requested().is_some()
    }

    /// Whether the peer gets a receipt.
    pub(super) fn gives_receipt(&self) -> bool {
        self.shared.settings.receipts || self.link.wants_receipt()
    }

    /// Whether the sink has heard of the connection.
    pub(super) fn is_established(&self) -> bool {
        match self.known {
            Known::Nothing => false,
            Known::Open | Known::End => true,
            Known::Done { established } => established,
        }
    }

    /// Announces the connection to the sink, which is woken after the first reads, once for this
    /// event and their data.
    pub(super) fn open(&mut self) -> Result<(), NotOpened> {
        if !self.shared.admit() {
            return Err(NotOpened::Stopped);
        }
        self.conn.memory = self.shared.memory.of(self.conn.peer());
        let name = self.conn.peer().names().first();
        self.client = name.and_then(|name| self.shared.clients.opened(name));
        let open = Kind::Open(Box::new(event::Open {
            conn: self.conn.clone(),
            link: SinkLink::new(&self.link),
        }));
        self.shared.handshakes.fetch_sub(1, Relaxed);
        let pushed = self.push(open);
        self.known = match pushed {
            Ok(()) => Known::Open,
            Err(SinkGone) => Known::End,
        };
        pushed.map_err(|SinkGone| NotOpened::SinkGone)
    }

    /// Counts bytes that the peer has sent.
    pub(super) fn received(&mut self, bytes: usize) {
        self.conn.received = self.conn.received.saturating_add(bytes as u64);
        if let Some(client) = &self.client {
            client.received(bytes);
        }
    }

    /// Tells the sink how the stream ended, once.
    pub(super) fn close(&mut self, end: End) {
        if self.known == Known::Open
            && let Some(place) = self.place.clone()
        {
            self.known = Known::End;
            // If the event can't be sent, the sink is gone and has stored its outcome.
            let _ = self.push(Kind::Close(Box::new(event::Close { end, _place: place })));
            self.wake_sink();
        }
    }

    /// Queues an event, which the sink need not see before [`wake_sink`](Self::wake_sink).
    pub(super) fn push(&mut self, kind: Kind) -> Result<(), SinkGone> {
        let event = Event {
            id: self.conn.id(),
            kind,
        };
        self.wake_pending = true;
        match &self.channel {
            Some(channel) => channel.push(event),
            None => Err(SinkGone),
        }
    }

    /// Wakes the sink, if events are queued for it.
    pub(super) fn wake_sink(&mut self) {
        if std::mem::take(&mut self.wake_pending)
            && let Some(channel) = &self.channel
        {
            channel.wake();
        }
    }

    /// Makes the report that the connection resolves to, and releases everything that the
    /// connection holds, even if its future is kept.
    pub(super) fn finish(&mut self, outcome: Outcome) -> Report {
        self.conn.format = outcome.format;
        self.conn.framing = outcome.framing;
        self.conn.delivered = outcome.delivered;
        self.conn.undecoded = outcome.undecoded;
        self.conn.skipped = outcome.skipped;
        #[cfg(feature = "resume")]
        {
            self.conn.resumed = outcome.resumed;
        }
        let report = Report {
            conn: self.conn.clone(),
            established: self.is_established(),
            end: outcome.end,
            probe: self.probe,
        };
        if !report.established {
            self.shared.failures.count(&report.end, self.probe);
        }
        // A connection made after the stop is not one of those that are being stopped.
        if report.end == End::Cut(Cut::Server) && self.channel.is_some() {
            self.shared.remember_cut(&report);
        }
        self.forget();
        report
    }

    fn forget(&mut self) {
        if self.known == Known::Nothing {
            self.shared.handshakes.fetch_sub(1, Relaxed);
        }
        self.known = Known::Done {
            established: self.is_established(),
        };
        self.place = None;
        self.channel = None;
        self.client = None;
        let counted = std::mem::take(&mut self.counted);
        let peer = counted.then_some(&self.conn.peer);
        self.shared.forget(self.conn.id(), peer);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Known::Done { .. } = self.known {
            return;
        }
        let end = End::Cut(Cut::Dropped);
        if !self.is_established() {
            // A caller of `established` may know already that the handshake failed, and why.
            let failed = self.link.take_outcome().map(|outcome| outcome.end);
            let end = failed.as_ref().unwrap_or(&end);
            self.shared.failures.count(end, self.probe);
        }
        self.close(end);
        self.forget();
    }
}
