//! The streams that outlive their connection, as lanes see them: which bytes of the stream are in which
//! bytes of a batch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::conn::{Conn, ConnId, ResumedAt};
use crate::resume::{Opening, Position, Resumed};

pub(super) use super::journal::Journal;
pub(super) use super::journaled::Journaled;
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
    resumed: Arc<ResumedAt>,
    conn: ConnId,
    /// The position behind all bytes that came, where only [`Track::take`] counts them.
    taken: Position,
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
                resumed: Arc::clone(resumed),
                conn: connection.id(),
                taken: resumed.at,
                handed: resumed.at,
            });
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Counts bytes that came, of which [`part_before`](Self::part_before) tells later which are in a
    /// batch.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if let Some(tracked) = &mut self.0 {
            tracked.taken = tracked.taken.behind(bytes);
        }
    }

    /// The part of the stream that all bytes are that came, but for the last ones, which are kept.
    pub(super) fn part_before(&mut self, kept: &[u8]) -> Option<(Part, u64)> {
        let tracked = self.0.as_mut()?;
        let end = tracked.taken.before(kept);
        Some(tracked.part(end, false))
    }

    /// The part of the stream that these bytes are. If `is_verbatim`, the batch has the same ones.
    pub(super) fn part(&mut self, bytes: [&[u8]; 2], is_verbatim: bool) -> Option<(Part, u64)> {
        let tracked = self.0.as_mut()?;
        let [first, second] = bytes;
        let end = tracked.handed.behind(first).behind(second);
        Some(tracked.part(end, is_verbatim))
    }
}

impl Tracked {
    /// The part from the end of the last one to this position, and the offset on the connection behind
    /// it.
    fn part(&mut self, end: Position, is_verbatim: bool) -> (Part, u64) {
        let part = Part {
            stream: Arc::clone(&self.resumed.stream),
            conn: self.conn,
            len: 0,
            from: self.handed,
            end,
            is_verbatim,
        };
        self.handed = end;
        self.resumed.handed.store(end.crc32c, Ordering::Release);
        let began = self.resumed.at.offset;
        (part, end.offset.saturating_sub(began))
    }
}

impl Part {
    /// Takes the number of its bytes in the batch; returns the number of those in the stream.
    pub(super) fn take_len(&mut self, len: usize) -> usize {
        self.len = len;
        let count = self.end.offset.saturating_sub(self.from.offset);
        usize::try_from(count).unwrap_or(usize::MAX)
    }
}
