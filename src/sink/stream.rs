//! One stream on the sink's side: its queue of chunks, its decoder, and its turns.

use std::collections::VecDeque;

use super::SinkSettings;
use super::answers::Answers;
use super::schedule::WorkAccount;
use crate::conn::{Conn, ConnId};
use crate::decode::{Decoder, Format, Limits};
use crate::end::{Cut, End, Layer, Truncation};
use crate::event::{Chunk, Close, Open};
use crate::frame::{Framing, RecordBuffer, Records, Unframer};
use crate::limit::Limit;
use crate::link::{Outcome, SinkLink};
use crate::memory::Reservation;
use crate::output::turn::MAX_TURN_OUTPUT;

/// The most input that one turn decodes, in bytes. Input that decodes to nothing, such as one empty
/// zstd frame after another, gets no longer turns than other input.
pub(super) const MAX_TURN_INPUT: usize = 16 * 1024;

/// The least work that a turn is charged for, in bytes: looking up the stream takes about as long
/// as decoding this many bytes.
pub(super) const LEAST_WORK: usize = 1024;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) conn: Conn,
    pub(super) link: SinkLink,
    decoder: Decoder,
    /// Makes records of the decoded bytes; `None` once it is known that there are no frames.
    unframer: Option<Box<Unframer>>,
    queue: VecDeque<Chunk>,
    /// The number of bytes of the first chunk that are decoded.
    at: usize,
    /// Decoded bytes, or records of them, that the output did not take in the stream's last turn.
    rest: Option<Box<Rest>>,
    /// The number of decoded bytes that this turn's records were made of.
    in_records: usize,
    /// The answers to send once their records are delivered and flushed, and the output's holds are
    /// done.
    answers: Answers,
    /// CRC-32C of the delivered bytes; 0 unless receipts are on.
    pub(super) crc32c: u32,
    announced: bool,
    pub(super) account: WorkAccount,
    /// The output holds so much of the stream that it gets no turn.
    pub(super) is_held_back: bool,
    /// The reason why the sink drops all further data of the stream.
    refused: Option<Box<End>>,
    close: Option<Box<Close>>,
}

#[derive(Debug)]
struct Rest {
    records: RecordBuffer,
    /// The number of bytes that the output has taken.
    at: usize,
    /// The number of decoded bytes that the records were made of; `None` if they are the decoded
    /// bytes themselves.
    made_of: Option<usize>,
    _memory: Reservation,
}

/// The result of a turn. Its bytes are borrowed later, by [`Stream::bytes`]: nothing may be
/// borrowed while the sink looks for the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Open(ConnId),
    Data(ConnId, Source),
    Close(ConnId),
    /// The turn produced nothing.
    Nothing,
    /// No stream has anything to do until more events arrive.
    Idle,
}

/// The place of the bytes of a [`Turn::Data`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The first bytes of the output buffer: this many.
    Decoded(usize),
    /// The spent chunk, from this byte on: its bytes are passed through.
    Spent(usize),
    /// The records that were made of the decoded bytes.
    Records,
    /// The stream's [`Rest`].
    Rest,
}

/// The working buffers of a turn, which all streams share.
#[derive(Debug)]
pub(super) struct TurnBuffers {
    /// A turn's decoded bytes.
    pub(super) output: Vec<u8>,
    /// The chunk that the last turn finished. Its credit returns with the next turn.
    spent: Option<Chunk>,
    /// The records of a turn's decoded bytes.
    records: RecordBuffer,
}

impl TurnBuffers {
    pub(super) fn new() -> Self {
        TurnBuffers {
            output: vec![0; MAX_TURN_OUTPUT],
            spent: None,
            records: RecordBuffer::default(),
        }
    }

    /// Returns the credit of the chunk that the last turn finished.
    pub(super) fn release(&mut self) {
        self.spent = None;
    }
}

impl Stream {
    pub(super) fn new(open: Open, settings: &SinkSettings) -> Self {
        let Open { mut conn, link } = open;
        conn.format = settings.format;
        conn.framing = settings.framing;
        let limits = Limits {
            max_window: settings.max_window,
            memory: conn.memory.clone(),
        };
        Stream {
            conn,
            link,
            decoder: Decoder::new(settings.format, &limits),
            unframer: match settings.framing {
                Framing::None => None,
                framing => Some(Box::new(Unframer::new(framing))),
            },
            queue: VecDeque::new(),
            at: 0,
            rest: None,
            in_records: 0,
            answers: Answers::default(),
            crc32c: 0,
            announced: false,
            account: WorkAccount::default(),
            is_held_back: false,
            refused: None,
            close: None,
        }
    }

    pub(super) fn receive(&mut self, chunk: Chunk) {
        self.conn.received = self.conn.received.saturating_add(chunk.len() as u64);
        self.queue.push_back(chunk);
    }

    pub(super) fn close(&mut self, close: Box<Close>) {
        self.close = Some(close);
    }

    /// Whether so many answers are unread, or held, that no more data is decoded before they are gone.
    pub(super) fn waits_for_answers(&self) -> bool {
        self.close.is_none() && (self.link.is_unread() || self.answers.are_many())
    }

    /// Whether answers are due once the output is flushed.
    pub(super) fn has_answers(&self) -> bool {
        self.answers.are_unflushed()
    }

    /// Sends the answers that are due, if all that they acknowledge is delivered; the output has been
    /// flushed. Returns `false` if they must wait for another flush.
    pub(super) fn answer(&mut self) -> bool {
        if self.rest.is_some() {
            return false;
        }
        // A peer that has ended its stream may not read, and its data may hold any number of frames.
        if self.close.is_some() && self.answers.are_many() {
            self.answers.drop_unflushed();
        }
        self.answers.hold(self.conn.delivered);
        self.send_answers();
        true
    }

    /// Sends the answers for which the output has been flushed, as far as its holds are done.
    pub(super) fn send_answers(&mut self) {
        while let Some(at) = self.answers.first()
            && self.conn.is_through(at)
        {
            let answers = self.answers.pop();
            if self.close.is_none() || !self.link.is_unread() {
                self.link.answer(&answers);
            }
        }
    }

    /// Drops the answers for which the output was not flushed, and never will be.
    pub(super) fn drop_answers(&mut self) {
        self.answers.drop_unflushed();
    }

    /// Whether the stream has something to do.
    pub(super) fn has_more(&self) -> bool {
        self.rest.is_some() || !self.queue.is_empty() || self.close.is_some()
    }

    /// Takes a turn; returns its result and its work, in bytes.
    pub(super) fn turn(
        &mut self,
        buffers: &mut TurnBuffers,
        settings: &SinkSettings,
    ) -> (Turn, usize) {
        let (mut turn, read) = self.advance(buffers, settings);
        let decoded = self.bytes(turn, buffers).len();
        if self.unframer.is_some() {
            turn = self.unframe(turn, buffers, settings);
        }
        if self.queue.is_empty() {
            // A connection that waits for its peer holds no memory that it does not need.
            self.queue = VecDeque::new();
        }
        // Few records may be made of many bytes.
        self.conn.given = self.bytes(turn, buffers).len();
        let written = self.conn.given.max(decoded);
        // The most input that a turn may decode weighs as much as the most output.
        let decoding = read
            .saturating_sub(written)
            .saturating_mul(MAX_TURN_OUTPUT / MAX_TURN_INPUT);
        let work = written.max(decoding);
        (turn, work.max(LEAST_WORK))
    }

    /// Makes the result of a turn; also returns how many bytes of input were decoded for it.
    fn advance(&mut self, buffers: &mut TurnBuffers, settings: &SinkSettings) -> (Turn, usize) {
        let id = self.conn.id;
        if !std::mem::replace(&mut self.announced, true) {
            return (Turn::Open(id), 0);
        }
        if let Some(rest) = &self.rest {
            let len = match rest.made_of {
                None => rest.records.records().behind(rest.at).lines().len(),
                Some(made_of) => {
                    self.in_records = made_of;
                    made_of
                }
            };
            self.conn.delivered = self.conn.delivered.saturating_add(len as u64);
            return (Turn::Data(id, Source::Rest), 0);
        }
        if self.refused.is_some() {
            self.queue.clear();
            return match &self.close {
                Some(_) => (Turn::Close(id), 0),
                None => (Turn::Nothing, 0),
            };
        }
        let allowed = settings.max_decoded.saturating_sub(self.conn.delivered);
        match self.queue.front() {
            Some(chunk)
                if self.decoder.is_pass_through()
                    && chunk.len().saturating_sub(self.at) as u64 <= allowed =>
            {
                let from = std::mem::take(&mut self.at);
                let len = chunk.len().saturating_sub(from);
                self.conn.delivered = self.conn.delivered.saturating_add(len as u64);
                buffers.spent = self.queue.pop_front();
                (Turn::Data(id, Source::Spent(from)), 0)
            }
            Some(_) => self.decode(buffers, allowed),
            None if self.close.is_some() => {
                self.decoder.finish();
                match self.decode(buffers, allowed) {
                    (Turn::Nothing, read) if self.refused.is_none() => (Turn::Close(id), read),
                    turn => turn,
                }
            }
            None => (Turn::Nothing, 0),
        }
    }

    /// Decodes more of the first chunk, or of no input, to at most `allowed` bytes.
    fn decode(&mut self, buffers: &mut TurnBuffers, allowed: u64) -> (Turn, usize) {
        let input = self.queue.front().map_or(&[][..], |chunk| chunk);
        // One byte of room beyond the limit shows whether the stream exceeds it.
        let most = usize::try_from(allowed.saturating_add(1)).unwrap_or(usize::MAX);
        let room = buffers.output.len().min(most);
        let input_range = self.at..self.at.saturating_add(MAX_TURN_INPUT).min(input.len());
        let step = self.decoder.decode(
            input.get(input_range).unwrap_or_default(),
            buffers.output.get_mut(..room).unwrap_or_default(),
        );
        self.at = self.at.saturating_add(step.read);
        self.conn.format = self.decoder.format();
        let mut written = step.written;
        if let Some(fault) = step.fault {
            self.refuse(fault.into());
        } else if written as u64 > allowed {
            written -= 1;
            self.refuse(End::Limit(Limit::Decoded {
                most: self.conn.delivered.saturating_add(allowed),
            }));
        } else if self.at >= input.len() && written < room {
            buffers.spent = self.queue.pop_front();
            self.at = 0;
        }
        self.conn.delivered = self.conn.delivered.saturating_add(written as u64);
        let found = match written {
            0 => Turn::Nothing,
            written => Turn::Data(self.conn.id, Source::Decoded(written)),
        };
        (found, step.read)
    }

    /// Makes records of a turn's decoded bytes. At the end of the stream, makes them of the bytes that
    /// the detection of its framing holds back.
    fn unframe(&mut self, turn: Turn, buffers: &mut TurnBuffers, settings: &SinkSettings) -> Turn {
        let is_decoded = match turn {
            Turn::Data(_, Source::Decoded(_) | Source::Spent(_)) => true,
            Turn::Close(_) => false,
            turn => return turn,
        };
        let Some(mut unframer) = self.unframer.take() else {
            return turn;
        };
        let mut records = std::mem::take(&mut buffers.records);
        records.clear();
        let bytes = self.bytes(turn, buffers);
        let in_records = bytes.len();
        let crc32c = match settings.checksums {
            true => crc32c::crc32c_append(self.crc32c, bytes),
            false => 0,
        };
        let pushed = unframer.push(bytes, &mut records);
        if !is_decoded {
            unframer.finish(&mut records);
        }
        self.answers.add(records.take_answers());
        buffers.records = records;
        self.crc32c = crc32c;
        self.in_records = in_records;
        self.conn.framing = unframer.framing();
        if let Err(error) = pushed {
            self.refuse(error.into());
        }
        if self.conn.framing != Framing::None {
            self.unframer = Some(unframer);
        }
        match buffers.records.records().lines() {
            [] if is_decoded => Turn::Nothing,
            [] => turn,
            _ => Turn::Data(self.conn.id, Source::Records),
        }
    }

    /// The decoded bytes, or the records, of a turn of this stream.
    pub(super) fn records<'a>(&'a self, turn: Turn, buffers: &'a TurnBuffers) -> Records<'a> {
        let Turn::Data(_, source) = turn else {
            return Records::of_lines(&[]);
        };
        let lines = match source {
            Source::Decoded(len) => buffers.output.get(..len),
            Source::Spent(from) => buffers.spent.as_deref().and_then(|chunk| chunk.get(from..)),
            Source::Records => return buffers.records.records(),
            Source::Rest => match &self.rest {
                Some(rest) => return rest.records.records().behind(rest.at),
                None => None,
            },
        };
        Records::of_lines(lines.unwrap_or_default())
    }

    /// The bytes of a turn of this stream.
    pub(super) fn bytes<'a>(&'a self, turn: Turn, buffers: &'a TurnBuffers) -> &'a [u8] {
        self.records(turn, buffers).lines()
    }

    /// Whether the turn's bytes are records that were made of the decoded bytes, and are counted with
    /// those.
    fn is_made(&self, source: Source) -> bool {
        match source {
            Source::Decoded(_) | Source::Spent(_) => false,
            Source::Records => true,
            Source::Rest => self
                .rest
                .as_ref()
                .is_some_and(|rest| rest.made_of.is_some()),
        }
    }

    /// The number of decoded bytes that a turn's bytes count as.
    pub(super) fn counted(&self, turn: Turn, buffers: &TurnBuffers) -> usize {
        match turn {
            Turn::Data(_, source) if self.is_made(source) => self.in_records,
            turn => self.bytes(turn, buffers).len(),
        }
    }

    /// Adds the first `taken` bytes of a turn to the stream's checksum. Those of records are in it
    /// already.
    pub(super) fn checksum(&mut self, turn: Turn, buffers: &TurnBuffers, taken: usize) {
        if let Turn::Data(_, source) = turn
            && !self.is_made(source)
        {
            let bytes = self.bytes(turn, buffers);
            let taken = bytes.get(..taken).unwrap_or(bytes);
            self.crc32c = crc32c::crc32c_append(self.crc32c, taken);
        }
    }

    /// Notes that the output took the first `taken` bytes of a turn, and keeps the others for the
    /// stream's next turn. Returns the number of decoded bytes that are not delivered yet; `None`,
    /// without any change, if there is no memory to keep the others in.
    pub(super) fn take(
        &mut self,
        source: Source,
        buffers: &mut TurnBuffers,
        taken: usize,
        settings: &SinkSettings,
    ) -> Option<usize> {
        let turn = Turn::Data(self.conn.id, source);
        let left = self.records(turn, buffers).behind(taken);
        let len = left.lines().len();
        let made_of = self.is_made(source).then_some(self.in_records);
        let rest = match source {
            Source::Decoded(_) | Source::Records if len > 0 => Some(Box::new(Rest {
                _memory: self.conn.memory.try_reserve(left.size())?,
                records: left.to_buffer(),
                at: 0,
                made_of,
            })),
            _ => None,
        };
        if settings.checksums {
            self.checksum(turn, buffers, taken);
        }
        match source {
            Source::Decoded(_) | Source::Records => self.rest = rest,
            Source::Spent(_) if len > 0 => {
                if let Some(chunk) = buffers.spent.take() {
                    self.at = chunk.len().saturating_sub(len);
                    self.queue.push_front(chunk);
                }
            }
            Source::Spent(_) => {}
            Source::Rest if len == 0 => self.rest = None,
            Source::Rest => {
                if let Some(rest) = &mut self.rest {
                    rest.at = rest.at.saturating_add(taken);
                }
            }
        }
        let undelivered = match made_of {
            Some(made_of) if len > 0 => made_of,
            _ => len,
        };
        self.conn.delivered = self.conn.delivered.saturating_sub(undelivered as u64);
        Some(undelivered)
    }

    /// Drops received bytes that are not delivered, because they may decode to any amount.
    pub(super) fn drop_undecoded(&mut self) {
        if self.rest.is_none() && self.queue.is_empty() {
            return;
        }
        let queued: usize = self.queue.drain(..).map(|chunk| chunk.len()).sum();
        let undecoded = queued.saturating_sub(std::mem::take(&mut self.at));
        self.conn.undecoded = self.conn.undecoded.saturating_add(undecoded as u64);
        self.rest = None;
        if self.refused.is_none() {
            self.refuse(End::Cut(Cut::Server));
        }
    }

    /// Takes back a turn's bytes, which the output has not taken, and refuses the rest of the
    /// stream.
    pub(super) fn take_back(&mut self, bytes: usize, end: End) {
        self.conn.delivered = self.conn.delivered.saturating_sub(bytes as u64);
        self.rest = None;
        self.drop_answers();
        self.refuse(end);
    }

    fn refuse(&mut self, end: End) {
        self.link.refuse();
        self.refused = Some(Box::new(end));
    }

    /// Releases the decoder's memory, once the stream has had its last turn. Its outcome may wait for
    /// long, and others may need a window.
    pub(super) fn release_decoder(&mut self) {
        let limits = Limits {
            max_window: 0,
            memory: self.conn.memory.clone(),
        };
        self.decoder = Decoder::new(Format::Plain, &limits);
        self.unframer = None;
    }

    /// The end of the stream, once it has had its last turn.
    pub(super) fn end(&self) -> End {
        match (&self.refused, &self.close) {
            (Some(refused), _) => End::clone(refused),
            (None, Some(close)) if !self.decoder.at_boundary() => {
                let layer = Layer::Compression(self.conn.format);
                close.end.clone().unfinished(layer)
            }
            (None, Some(close)) => match (&self.unframer, &close.end) {
                (Some(unframer), end) if !unframer.at_boundary() => {
                    let layer = Layer::Framing(unframer.framing());
                    end.clone().unfinished(layer)
                }
                // The sender knows what was acknowledged, and has sent nothing else.
                (Some(unframer), End::Truncated(Truncation::NoCloseNotify))
                    if unframer.framing().is_acknowledged() =>
                {
                    End::Clean
                }
                (_, end) => end.clone(),
            },
            (None, None) => End::Cut(Cut::SinkGone),
        }
    }

    /// Tells the connection how the stream ended.
    pub(super) fn report(mut self, end: End) {
        self.answer();
        if let Some(holds) = &self.conn.holds {
            holds.settle();
        }
        self.link.deliver(Outcome {
            end,
            format: self.conn.format,
            framing: self.conn.framing,
            delivered: self.conn.delivered,
            undecoded: self.conn.undecoded,
            crc32c: self.crc32c,
        });
    }
}
