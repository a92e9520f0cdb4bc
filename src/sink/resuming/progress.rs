//! The progress of a resumed stream: what its output has, and what its sender is told of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use memchr::memrchr;

use super::Keeper;
use crate::conn::ResumedAt;
use crate::hold::Hold;
use crate::resume::{Answer, Channel, Position, Progress};

/// The most positions that wait until their bytes are through. A further one replaces the last.
const MAX_POSITIONS: usize = 1024;

/// A stream that goes on on this connection.
#[derive(Debug)]
pub(in crate::sink) struct ResumedStream {
    channel: Arc<Channel>,
    keeper: Keeper,
    resumed: Arc<ResumedAt>,
    /// The number of bytes that came on this connection before the stream went on.
    received: u64,
    /// The position behind the bytes that the output took. Here and below, an output that keeps
    /// positions computes their checksums itself, and only their offsets are right.
    taken: Position,
    /// The position behind the last newline of them.
    line_end: Position,
    /// The positions behind newlines for which the output was flushed, and that are not through yet.
    flushed: VecDeque<Position>,
    /// The offset that the sender was told of, or that is being kept.
    acknowledged: u64,
    /// The offset that is kept, or that the outcome waits for.
    kept: u64,
    /// The sink is to answer after its next flush.
    pub(super) is_answering: bool,
}

impl ResumedStream {
    /// A stream that goes on after so many bytes were `received` on its connection.
    pub(super) fn new(
        channel: Arc<Channel>,
        keeper: Keeper,
        resumed: Arc<ResumedAt>,
        received: u64,
    ) -> Self {
        let at = resumed.at;
        ResumedStream {
            channel,
            keeper,
            resumed,
            received,
            taken: at,
            line_end: at,
            flushed: VecDeque::new(),
            acknowledged: at.offset,
            kept: at.offset,
            is_answering: false,
        }
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Notes that the output took these bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let lines = memrchr(b'\n', bytes).map_or(0, |newline| newline.saturating_add(1));
        let (lines, rest) = bytes.split_at_checked(lines).unwrap_or((&[], bytes));
        if !lines.is_empty() {
            self.line_end = self.behind(lines);
            self.taken = self.line_end;
        }
        self.taken = self.behind(rest);
    }

    /// The position behind the next bytes.
    fn behind(&self, bytes: &[u8]) -> Position {
        match self.resumed.by_output {
            true => Position {
                offset: self.taken.offset.saturating_add(bytes.len() as u64),
                ..self.taken
            },
            false => self.taken.behind(bytes),
        }
    }

    /// The checksum of the bytes that were delivered on this connection, if all of them are through.
    pub(super) fn checksum(&self, delivered: u64) -> u32 {
        let began = self.resumed.at;
        let crc32c = match self.resumed.by_output {
            true => self.resumed.handed.load(Ordering::Acquire),
            false => self.taken.crc32c,
        };
        let end = Position {
            offset: began.offset.saturating_add(delivered),
            crc32c,
        };
        end.checksum_since(began)
    }

    /// Whether the output took lines for which it was not flushed.
    pub(super) fn is_unflushed(&self) -> bool {
        let flushed = self.flushed.back();
        self.line_end.offset > flushed.map_or(self.acknowledged, |at| at.offset)
    }

    /// Forgets the lines for which the output was not flushed, and never will be.
    pub(super) fn drop_unflushed(&mut self) {
        let flushed = self.flushed.back();
        self.line_end.offset = flushed.map_or(self.acknowledged, |at| at.offset);
    }

    /// The offset on this connection for which the output was flushed; `is_flushed` says that it just
    /// was.
    pub(super) fn flushed(&mut self, is_flushed: bool) -> u64 {
        if is_flushed && self.is_unflushed() {
            self.flushed.truncate(MAX_POSITIONS.saturating_sub(1));
            self.flushed.push_back(self.line_end);
        }
        let flushed = self.flushed.back();
        let offset = flushed.map_or(self.acknowledged, |at| at.offset);
        offset.saturating_sub(self.resumed.at.offset)
    }

    /// Notes that the output is through with everything up to this offset on this connection, and keeps
    /// the position. Returns the acknowledgement that is due.
    pub(super) fn through(&mut self, through: u64) -> Option<Vec<u8>> {
        let through = self.resumed.at.offset.saturating_add(through);
        let passed = self.flushed.iter().take_while(|at| at.offset <= through);
        let passed = passed.count();
        let last = self.flushed.drain(..passed).next_back();
        if self.resumed.by_output {
            return self.acknowledge(through);
        }
        if let Some(position) = last {
            self.keep(position, None);
        }
        None
    }

    /// The position behind the last byte that the output took.
    pub(super) fn end(&self) -> Position {
        self.taken
    }

    /// The position behind the last newline that the output took.
    pub(super) fn line_end(&self) -> Position {
        self.line_end
    }

    /// Whether the stream may go on over another connection, after so many bytes were `received` on this
    /// one: if any are the stream's, after one line at least, so that each connection makes progress.
    pub(super) fn may_retire(&self, received: u64) -> bool {
        self.line_end.offset > self.resumed.at.offset || received == self.received
    }

    /// The answer to a sender that is to go on over another connection: everything up to the last
    /// newline is kept.
    pub(super) fn goodbye(&self) -> Vec<u8> {
        Answer::Go(self.acknowledged).to_line()
    }

    /// Keeps the position of the stream's end, with which the output is through. `hold` is done when it
    /// is kept. Returns `false` if it is kept already.
    pub(super) fn keep_end(&mut self, end: Position, hold: impl FnOnce() -> Hold) -> bool {
        let is_kept = self.resumed.by_output || end.offset <= self.kept;
        if !is_kept {
            self.kept = end.offset;
            self.keep(end, Some(hold()));
        }
        !is_kept
    }

    fn keep(&mut self, position: Position, hold: Option<Hold>) {
        self.acknowledged = position.offset;
        let Keeper(offsets) = &self.keeper;
        let stream = &self.resumed.stream;
        offsets.keep(Progress::new(stream, position, &self.channel, hold));
    }

    /// Notes that everything up to this offset is kept. Returns the acknowledgement, if it is due.
    pub(super) fn acknowledge(&mut self, kept: u64) -> Option<Vec<u8>> {
        if self.resumed.by_output && kept <= self.acknowledged {
            return None;
        }
        self.acknowledged = self.acknowledged.max(kept);
        self.kept = self.kept.max(kept);
        Some(Answer::Acknowledged(kept).to_line())
    }
}
