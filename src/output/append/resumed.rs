//! The streams that outlive their connection, as lanes see them: which bytes of the stream are in which
//! bytes of a batch.

use std::sync::Arc;

use crate::conn::{Conn, ConnId};
use crate::resume::{Position, Resumed};

pub(super) use super::journal::Journal;
pub(super) use super::journaled::Journaled;
pub(super) use crate::resume::Opening;

/// A request about a stream, for the writer.
#[derive(Debug)]
pub(super) enum StreamCommand {
    /// A sender wants to go on with it.
    Open(Opening),
    /// The same; everything that was written of it before is committed or lost.
    Opened(Opening),
}

/// A part of a batch: bytes of one stream.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) stream: Arc<Resumed>,
    pub(super) conn: ConnId,
    /// The number of bytes in the batch.
    pub(super) len: usize,
    /// The position in the stream before them, and behind them.
    pub(super) from: Position,
    pub(super) end: Position,
    /// They are the very bytes of the stream, so that each of their lines can be counted.
    pub(super) is_verbatim: bool,
}

/// How much of a connection's stream is in batches, if the writer keeps its position.
#[derive(Debug, Default)]
pub(super) struct Track(Option<Tracked>);

#[derive(Debug)]
struct Tracked {
    stream: Arc<Resumed>,
    conn: ConnId,
    /// The offset in the stream at which the connection went on with it.
    began: u64,
    /// The position behind the bytes that are in batches.
    handed: Position,
}

impl Track {
    /// Notes which stream goes on on a connection, once that is known.
    pub(super) fn look(&mut self, connection: &Conn) {
        if let Track(None) = self
            && let Some(resumed) = &connection.resumed
            && resumed.by_output
        {
            self.0 = Some(Tracked {
                stream: Arc::clone(&resumed.stream),
                conn: connection.id(),
                began: resumed.at.offset,
                handed: resumed.at,
            });
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Counts bytes of the stream, of which a batch has `len` bytes; they are the same if `is_verbatim`.
    /// Returns them as a part, and the offset on the connection behind them.
    pub(super) fn part(
        &mut self,
        bytes: [&[u8]; 2],
        len: usize,
        is_verbatim: bool,
    ) -> Option<(Part, u64)> {
        let tracked = self.0.as_mut()?;
        let from = tracked.handed;
        let [first, second] = bytes;
        let end = from.behind(first).behind(second);
        tracked.handed = end;
        let part = Part {
            stream: Arc::clone(&tracked.stream),
            conn: tracked.conn,
            len,
            from,
            end,
            is_verbatim,
        };
        Some((part, end.offset.saturating_sub(tracked.began)))
    }
}
