//! The known facts about a connection.

use std::sync::Arc;
#[cfg(feature = "resume")]
use std::sync::atomic::AtomicU32;

pub use crate::conn_id::ConnId;
use crate::decode::Format;
use crate::end::End;
use crate::frame::Framing;
use crate::hold::{Hold, HoldPoint, Holds};
use crate::memory::Memory;
use crate::peer::Peer;
#[cfg(feature = "resume")]
use crate::resume::{Instance, Position, Resumed};
use crate::tls::TlsSession;

/// The known facts about a connection so far.
#[derive(Clone, Debug)]
pub struct Conn {
    pub(crate) id: ConnId,
    pub(crate) peer: Peer,
    /// Shared by all copies, so that a copy allocates nothing for it.
    pub(crate) tls: Option<Arc<TlsSession>>,
    pub(crate) format: Format,
    pub(crate) framing: Framing,
    pub(crate) received: u64,
    pub(crate) delivered: u64,
    pub(crate) undecoded: u64,
    pub(crate) skipped: u64,
    /// The account from which the connection's memory is reserved.
    pub(crate) memory: Memory,
    /// Shared by all copies that the sink gives out; `None` for those that it does not know.
    pub(crate) holds: Option<Arc<Holds>>,
    /// The number of bytes of the event that the sink gave last.
    pub(crate) given: usize,
    /// The number of bytes that the output was given so far. Holds count by it: of a few bytes, any
    /// number of records may be made.
    pub(crate) offset: u64,
    /// The stream that goes on on this connection.
    #[cfg(feature = "resume")]
    pub(crate) resumed: Option<Arc<ResumedAt>>,
}

/// A stream, and the position at which it goes on.
#[cfg(feature = "resume")]
#[derive(Debug)]
pub(crate) struct ResumedAt {
    pub(crate) stream: Arc<Resumed>,
    pub(crate) instance: Option<Instance>,
    pub(crate) at: Position,
    /// The output keeps the position of all bytes for which it finishes a hold.
    pub(crate) by_output: bool,
    /// The checksum of the stream up to the last byte that such an output has handed on.
    pub(crate) handed: AtomicU32,
}

impl Conn {
    /// A connection that has received nothing yet.
    pub(crate) fn new(id: ConnId, peer: Peer, memory: Memory) -> Self {
        Conn {
            id,
            peer,
            tls: None,
            format: Format::Auto,
            framing: Framing::Auto,
            received: 0,
            delivered: 0,
            undecoded: 0,
            skipped: 0,
            memory,
            holds: None,
            given: 0,
            offset: 0,
            #[cfg(feature = "resume")]
            resumed: None,
        }
    }

    /// The connection's number.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// The peer at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The verified names of the peer; the first is the one to show. Empty for an anonymous peer.
    pub fn names(&self) -> &[String] {
        self.peer.names()
    }

    /// The parameters of the TLS session; `None` for a [plain](crate::Server::plain) stream, and
    /// before the handshake is completed.
    pub fn tls(&self) -> Option<&TlsSession> {
        self.tls.as_deref()
    }

    /// The compression format; [`Format::Auto`] until enough data has arrived to detect it.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The framing of the decompressed bytes; [`Framing::Auto`] until enough bytes have come to
    /// detect it.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Bytes received so far, decrypted and still compressed. A sink counts those that have reached
    /// it, a [`Report`](crate::Report) all of them.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Decompressed bytes delivered to the output so far, without those of a call that
    /// [failed](crate::Cut::Output).
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Received bytes that were not decoded, because the [server was cut](crate::Server::cut)
    /// before their turn.
    pub fn undecoded(&self) -> u64 {
        self.undecoded
    }

    /// Items that are no log records and were passed over: the metrics and traces that
    /// [`Framing::Forward`] can hold.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The name of the [resumed](crate::ServerBuilder::offsets) stream that goes on on this connection,
    /// once it is known; `None` for any other stream.
    pub fn stream(&self) -> Option<&str> {
        #[cfg(feature = "resume")]
        if let Some(resumed) = &self.resumed {
            return Some(&resumed.stream.name);
        }
        None
    }

    /// The instance of that stream, if its sender names one.
    #[cfg(feature = "resume")]
    pub fn instance(&self) -> Option<Instance> {
        self.resumed.as_ref().and_then(|resumed| resumed.instance)
    }

    /// The offset in the [resumed](Self::stream) stream behind the last byte that the output was given.
    pub(crate) fn stream_offset(&self) -> Option<u64> {
        #[cfg(feature = "resume")]
        if let Some(resumed) = &self.resumed {
            return Some(resumed.at.offset.saturating_add(self.offset));
        }
        None
    }

    /// Whether the bytes behind the last newline come again, as the stream has ended like this.
    pub(crate) fn comes_again(&self, end: &End) -> bool {
        self.stream().is_some() && !end.is_clean()
    }

    /// The greatest known offset up to which everything is through, if the output was flushed up to the
    /// offset `flushed`.
    #[cfg(feature = "resume")]
    pub(crate) fn progress(&self, flushed: u64) -> u64 {
        match &self.holds {
            Some(holds) => holds.poll_progress(flushed),
            None => flushed,
        }
    }

    /// Whether everything up to the offset `at` is through.
    pub(crate) fn is_through(&self, at: u64) -> bool {
        self.holds
            .as_ref()
            .is_none_or(|holds| holds.poll_through(at))
    }

    /// The place in the stream up to which the output was given bytes.
    pub(crate) fn hold_point(&self) -> HoldPoint {
        HoldPoint::new(self.holds.clone(), self.offset)
    }

    /// Takes a hold of all bytes that were delivered up to the event that this connection was given
    /// with. Call it from within an [`Output`](crate::output::Output), or between two events of
    /// [`Sink::next`](crate::Sink::next) or [`Sink::into_stream`](crate::Sink::into_stream).
    ///
    /// The stream's end is not due before the hold is [done](Hold::done). The bytes of the event
    /// count as held, and in [`max_memory`](crate::ServerBuilder::max_memory), until then; an output
    /// that keeps bytes of several events takes a hold at each. A stream of which
    /// [`MAX_HELD`](crate::limits::MAX_HELD) bytes are held gets no turn until fewer are, and one
    /// whose held bytes found no memory gets none until they are through: its data waits, and its
    /// sender slows down.
    ///
    /// Several holds of one event count its bytes once. When the connection has heard how the
    /// stream ended, a hold has no effect.
    pub fn hold(&self) -> Hold {
        match &self.holds {
            Some(holds) => holds.hold(self.offset, self.given),
            None => Hold::of_nothing(),
        }
    }

    /// Takes a [hold](Self::hold), and gives the stream no turn until it is done, however little is
    /// held: for an output that can't take more of this stream yet. The other streams go on.
    pub fn hold_back(&self) -> Hold {
        match &self.holds {
            Some(holds) => holds.hold_back(self.offset, self.given),
            None => Hold::of_nothing(),
        }
    }

    /// Takes a hold of the stream's end alone, at any event of the stream. The end is not due before the
    /// hold is done, but no byte counts as held, and acknowledgements do not wait: for an output that
    /// learns only at the end whether all is well, and may learn at any time that it is not.
    pub fn hold_end(&self) -> Hold {
        match &self.holds {
            Some(holds) => holds.hold_end(),
            None => Hold::of_nothing(),
        }
    }
}
