//! What a connection comes to in the end.

use crate::decode::Format;
use crate::error::End;
use crate::peer::{ConnId, Peer};

/// What became of one connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The connection's number.
    pub id: ConnId,
    /// Who was at the other end, with its verified names.
    pub peer: Peer,
    /// Whether the handshake was completed, so that the sink has seen the connection.
    pub established: bool,
    /// How it ended.
    pub end: End,
    /// What the stream was compressed with; [`Format::Auto`] if too little came to tell.
    pub format: Format,
    /// Bytes received, decrypted and still compressed.
    pub received: u64,
    /// Bytes handed to the output, decompressed; without those of a call that
    /// [failed](crate::Cut::Output).
    pub delivered: u64,
    /// Bytes of those received that were not decoded, as the [server](crate::Server::cut) was cut
    /// before their turn came.
    pub undecoded: u64,
}

impl Report {
    /// Whether one side turned the other away: the connection was not
    /// [established](Self::established), and its end is [`Refused`](End::Refused), which may be by an
    /// alert of the peer's, [`Limit`](End::Limit) or [`Timeout`](End::Timeout). A peer that just
    /// closes or breaks the connection is not refused, nor is one that is cut by a stop.
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
