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
    /// Bytes handed to the output, decompressed.
    pub delivered: u64,
}

impl Report {
    /// Whether the peer was turned away: the connection was not [established](Self::established),
    /// and neither did the peer just close or break it, nor was this side stopped. The end is
    /// [`Refused`](End::Refused), [`Limit`](End::Limit) or [`Timeout`](End::Timeout).
    pub fn is_refused(&self) -> bool {
        let refused = matches!(
            self.end,
            End::Refused { .. } | End::Limit(_) | End::Timeout(_)
        );
        refused && !self.established
    }
}
