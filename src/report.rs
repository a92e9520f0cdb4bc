//! The final report on a connection.

use crate::conn::ConnId;
use crate::decode::Format;
use crate::error::End;
use crate::peer::Peer;

/// The result of one connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The connection's number.
    pub id: ConnId,
    /// The peer, with its verified names.
    pub peer: Peer,
    /// Whether the handshake was completed, so that the sink has seen the connection.
    pub established: bool,
    /// How the stream ended.
    pub end: End,
    /// The compression format; [`Format::Auto`] if too little data arrived to detect it.
    pub format: Format,
    /// Bytes received, decrypted and still compressed.
    pub received: u64,
    /// Decompressed bytes delivered to the output, without those of a call that
    /// [failed](crate::Cut::Output).
    pub delivered: u64,
    /// Received bytes that were not decoded, because the [server was cut](crate::Server::cut)
    /// before their turn.
    pub undecoded: u64,
}

impl Report {
    /// Whether one side refused the other: the connection was not [established](Self::established),
    /// and its end is [`Refused`](End::Refused) (perhaps by an alert from the peer),
    /// [`Limit`](End::Limit) or [`Timeout`](End::Timeout). A peer that merely closes or breaks the
    /// connection is not refused, nor is one that a stop cuts.
    pub fn is_refused(&self) -> bool {
        let refused = matches!(
            self.end,
            End::Refused { .. } | End::Limit(_) | End::Timeout(_)
        );
        refused && !self.established
    }

    /// Whether this looks like a load balancer's health check: the peer completed the handshake, sent
    /// nothing, and reset or closed the connection without a close_notify or another alert.
    pub fn is_health_check(&self) -> bool {
        self.established && self.received == 0 && self.end.is_departure()
    }
}
