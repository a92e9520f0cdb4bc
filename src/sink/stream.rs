//! One stream on the sink's side: its queue of chunks, its decoder, and its turns.

use std::collections::VecDeque;

use super::SinkSettings;
use super::answers::Answers;
use super::resuming::Resuming;
use super::schedule::WorkAccount;
use crate::conn::{Conn, ConnId};
use crate::decode::{Decoder, Format, Limits, Step};
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
    pub(super) resuming: Resuming,
    /// Makes records of the decoded bytes; `None` once it is known that there are no frames.
    unframer: Option<Box<Unframer>>,
    pub(super) queue: VecDeque<Chunk>,
    /// The number of bytes of the first chunk that are decoded.
    pub(super) at: usize,
    /// Decoded bytes, or records of them, that the output did not take in the stream's last turn.
    rest: Option<Box<Rest>>,
    /// Decoded bytes of which no records are made yet: their frames expand to more than a turn's
    /// worth.
    framed: Option<Box<Framed>>,
    /// The number of bytes that were decompressed within frames.
    unpacked: u64,
    /// The number of decoded bytes that this turn's records were made of.
    in_records: usize,
    /// The answers to send once their records are delivered and flushed, and the output's holds are
    /// done.
    answers: Answers,
    /// CRC-32C of the delivered bytes; 0 unless receipts are on.
    pub(super) crc32c: u32,
    announced: bool,
    pub(super) account: WorkAccount,
    /// The connection is old: its sender is told to connect again as soon as it can be.
    is_aged: bool,
    /// The output holds so much of the stream that it gets no turn.
    pub(super) is_held_back: bool,
    /// The reason why the sink drops all further data of the stream.
    refused: Option<Box<End>>,
    pub(super) close: Option<Box<Close>>,
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

#[derive(Debug)]
struct Framed {
    bytes: Vec<u8>,
    /// The number of bytes of which records are made.
    at: usize,
    _memory: Option<Reservation>,
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
    /// The stream's [`Framed`] bytes.
    Framed,
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

    /// Notes that the turn finished this chunk.
    #[cfg(feature = "resume")]
    pub(super) fn spend(&mut self, chunk: Option<Chunk>) {
        self.spent = chunk;
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
        let unframer = settings.unframer(&limits).map(Box::new);
        if let Some(greeting) = unframer.as_ref().and_then(|unframer| unframer.greeting()) {
            link.answer(&greeting);
        }
        Stream {
            conn,
            link,
            decoder: Decoder::new(settings.format, &limits),
            resuming: Resuming::new(settings),
            unframer,
            queue: VecDeque::new(),
            at: 0,
            rest: None,
            framed: None,
            unpacked: 0,
            in_records: 0,
            answers: Answers::default(),
            crc32c: 0,
            announced: false,
            account: WorkAccount::default(),
            is_aged: false,
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

    /// Whether so many answers are unread, or held, that no more data is decoded before they are gone;
    /// or the answer that says where the stream goes on is not there yet.
    pub(super) fn waits_for_answers(&self) -> bool {
        self.close.is_none()
            && (self.link.is_unread() || self.answers.are_many() || self.resuming.is_opening())
    }

    /// Whether answers are due once the output is flushed.
    pub(super) fn has_answers(&self) -> bool {
        self.answers.are_unflushed()
    }

    /// Sends the answers that are due, if all that they acknowledge is delivered; the output has been
    /// flushed. Returns `false` if they must wait for another flush.
    pub(super) fn answer(&mut self) -> bool {
        self.acknowledge(true);
        if self.rest.is_some() {
            return false;
        }
        // A peer that has ended its stream may not read, and its data may hold any number of frames.
        if self.close.is_some() && self.answers.are_many() {
            self.answers.drop_unflushed();
        }
        self.answers.hold(self.conn.offset);
        self.send_answers();
        self.retire_resumed();
        true
    }

    /// Notes that the connection is old.
    pub(super) fn grow_old(&mut self) {
        self.is_aged = true;
        self.retire_resumed();
        if let Some(mut unframer) = self.unframer.take() {
            self.retire_framed(&mut unframer);
            self.unframer = Some(unframer);
        }
    }

    /// Ends a stream whose connection is old, if its framing has a way to tell the sender so, and it may
    /// end here. Returns whether it does. The sender is told behind all other answers.
    fn retire_framed(&mut self, unframer: &mut Unframer) -> bool {
        let goodbye = match self.may_retire() {
            true => unframer.close(),
            false => None,
        };
        if let Some(goodbye) = goodbye {
            self.answers.add(goodbye.to_vec());
            // The sender sends what is not acknowledged over another connection.
            self.retire(End::Clean);
        }
        goodbye.is_some()
    }

    /// Whether the sender is to be told to connect again.
    pub(super) fn may_retire(&self) -> bool {
        self.is_aged && self.refused.is_none() && self.close.is_none()
    }

    /// Takes no more of the stream, whose sender is told to connect again.
    pub(super) fn retire(&mut self, end: End) {
        self.link.retire();
        self.refused = Some(Box::new(end));
    }

    /// Sends the answers for which the output has been flushed, as far as its holds are done.
    pub(super) fn send_answers(&mut self) {
        self.acknowledge(false);
        let mut due = Vec::new();
        while let Some(at) = self.answers.first()
            && self.conn.is_through(at)
        {
            due.push(self.answers.pop());
        }
        // Once the peer has its answer, nothing follows that it does not wait for.
        self.keep_alive();
        for answers in due {
            if self.close.is_none() || !self.link.is_unread() {
                self.link.answer(&answers);
            }
        }
    }

    /// Keeps a peer from giving up while it waits for an answer, if its framing has a way to.
    pub(super) fn keep_alive(&mut self) {
        let is_answered = !self.answers.are_any();
        let unframer = self.unframer.as_ref();
        let keep_alive = unframer.and_then(|unframer| unframer.keep_alive(is_answered));
        self.link
            .keep_alive(keep_alive.or_else(|| self.resuming.keep_alive()));
    }

    /// Drops the answers for which the output was not flushed, and never will be.
    pub(super) fn drop_answers(&mut self) {
        self.answers.drop_unflushed();
        self.resuming.drop_unflushed();
    }

    /// Whether the stream has something to do.
    pub(super) fn has_more(&self) -> bool {
        self.rest.is_some()
            || self.framed.is_some()
            || !self.queue.is_empty()
            || self.close.is_some()
    }

    /// Takes a turn; returns its result and its work, in bytes.
    pub(super) fn turn(
        &mut self,
        buffers: &mut TurnBuffers,
        settings: &SinkSettings,
    ) -> (Turn, usize) {
        let (mut turn, read) = self.advance(buffers, settings);
        let mut decoded = self.bytes(turn, buffers).len();
        if self.unframer.is_some() {
            let before = self.unpacked;
            turn = self.unframe(turn, buffers, settings);
            let unpacked = self.unpacked.saturating_sub(before);
            decoded = decoded.max(usize::try_from(unpacked).unwrap_or(usize::MAX));
        }
        if self.queue.is_empty() {
            // A connection that waits for its peer holds no memory that it does not need.
            self.queue = VecDeque::new();
        }
        // Few records may be made of many bytes.
        self.conn.given = self.bytes(turn, buffers).len();
        self.conn.offset = self.conn.offset.saturating_add(self.conn.given as u64);
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
            self.framed = None;
            return match &self.close {
                Some(_) => (Turn::Close(id), 0),
                None => (Turn::Nothing, 0),
            };
        }
        if let Some(framed) = &self.framed {
            let len = framed.bytes.len().saturating_sub(framed.at);
            self.conn.delivered = self.conn.delivered.saturating_add(len as u64);
            return (Turn::Data(id, Source::Framed), 0);
        }
        if self.resuming.is_beginning()
            && let Some(begun) = self.begin(buffers, settings)
        {
            return begun;
        }
        let allowed = self.allowed(settings);
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
            Some(_) => self.decode(buffers, settings),
            None if self.close.is_some() => {
                self.decoder.finish();
                match self.decode(buffers, settings) {
                    (Turn::Nothing, read) if self.refused.is_none() => (Turn::Close(id), read),
                    turn => turn,
                }
            }
            None => (Turn::Nothing, 0),
        }
    }

    /// The number of bytes that the stream may still decode to.
    fn allowed(&self, settings: &SinkSettings) -> u64 {
        let decoded = self.conn.delivered.saturating_add(self.unpacked);
        settings.max_decoded.saturating_sub(decoded)
    }

    /// Decodes more of the first chunk, or of no input, to at most `allowed` bytes.
    fn decode(&mut self, buffers: &mut TurnBuffers, settings: &SinkSettings) -> (Turn, usize) {
        let allowed = self.allowed(settings);
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
        let is_spent = self.at >= input.len() && step.written < room;
        let decoded = self.decoded(step, allowed, settings);
        if is_spent && !self.is_refused() {
            buffers.spent = self.queue.pop_front();
            self.at = 0;
        }
        decoded
    }

    /// Decodes bytes that come before those in the queue.
    #[cfg(feature = "resume")]
    pub(super) fn decode_early(
        &mut self,
        bytes: &[u8],
        buffers: &mut TurnBuffers,
        settings: &SinkSettings,
    ) -> (Turn, usize) {
        let allowed = self.allowed(settings);
        let most = usize::try_from(allowed.saturating_add(1)).unwrap_or(usize::MAX);
        let room = buffers.output.len().min(most);
        let output = buffers.output.get_mut(..room).unwrap_or_default();
        let step = self.decoder.decode(bytes, output);
        self.decoded(step, allowed, settings)
    }

    /// Notes what was decoded in a turn, of at most `allowed` bytes; also returns how many bytes of input
    /// were decoded for it.
    fn decoded(&mut self, step: Step, allowed: u64, settings: &SinkSettings) -> (Turn, usize) {
        self.conn.format = self.decoder.format();
        let mut written = step.written;
        if let Some(fault) = step.fault {
            self.refuse(fault.into());
        } else if written as u64 > allowed {
            written -= 1;
            self.refuse(End::Limit(Limit::Decoded {
                most: settings.max_decoded,
            }));
        }
        self.conn.delivered = self.conn.delivered.saturating_add(written as u64);
        let turn = match written {
            0 => Turn::Nothing,
            written => Turn::Data(self.conn.id, Source::Decoded(written)),
        };
        (turn, step.read)
    }

    /// Makes records of a turn's decoded bytes. At the end of the stream, makes them of the bytes that
    /// the detection of its framing holds back.
    fn unframe(&mut self, turn: Turn, buffers: &mut TurnBuffers, settings: &SinkSettings) -> Turn {
        let source = match turn {
            Turn::Data(_, source @ (Source::Decoded(_) | Source::Spent(_) | Source::Framed)) => {
                Some(source)
            }
            Turn::Close(_) => None,
            turn => return turn,
        };
        let Some(mut unframer) = self.unframer.take() else {
            return turn;
        };
        let mut records = std::mem::take(&mut buffers.records);
        records.clear();
        let bytes = self.bytes(turn, buffers);
        let allowed = self.allowed(settings).saturating_add(bytes.len() as u64);
        records.limit_unpacked(allowed);
        let pushed = unframer.push(bytes, &mut records);
        let taken = match pushed {
            Ok(taken) => taken,
            Err(_) => bytes.len(),
        };
        let left = bytes.len().saturating_sub(taken);
        if settings.checksums {
            let taken = bytes.get(..taken).unwrap_or(bytes);
            self.crc32c = crc32c::crc32c_append(self.crc32c, taken);
        }
        if source.is_none() {
            unframer.finish(&mut records);
        }
        self.in_records = taken;
        self.conn.delivered = self.conn.delivered.saturating_sub(left as u64);
        self.unpacked = self.unpacked.saturating_add(records.unpacked() as u64);
        self.answers.add(records.take_answers());
        buffers.records = records;
        self.conn.framing = unframer.framing();
        self.conn.skipped = unframer.skipped();
        let mut end = pushed.err().map(End::from);
        if unframer.has_more() && self.allowed(settings) == 0 {
            end = Some(End::Limit(Limit::Decoded {
                most: settings.max_decoded,
            }));
        }
        if let Some(source) = source
            && end.is_none()
            && !self.retire_framed(&mut unframer)
        {
            let has_more = unframer.has_more() || left > 0;
            end = self.keep_framed(source, left, has_more, buffers).err();
        }
        if let Some(end) = end {
            self.refuse(end);
        }
        if self.conn.framing != Framing::None {
            self.unframer = Some(unframer);
        }
        self.keep_alive();
        match buffers.records.records().lines() {
            [] if source.is_some() => Turn::Nothing,
            [] => turn,
            _ => Turn::Data(self.conn.id, Source::Records),
        }
    }

    /// Keeps the last `left` bytes of a turn's decoded bytes, of which no records are made yet. Without
    /// any, the next turn still looks for further records if there are more.
    fn keep_framed(
        &mut self,
        source: Source,
        left: usize,
        has_more: bool,
        buffers: &mut TurnBuffers,
    ) -> Result<(), End> {
        if !has_more {
            self.framed = None;
            return Ok(());
        }
        if source == Source::Framed {
            if let Some(framed) = &mut self.framed {
                framed.at = framed.bytes.len().saturating_sub(left);
            }
            return Ok(());
        }
        if let Source::Spent(_) = source
            && left > 0
        {
            if let Some(chunk) = buffers.spent.take() {
                self.at = chunk.len().saturating_sub(left);
                self.queue.push_front(chunk);
            }
            return Ok(());
        }
        let bytes = match source {
            Source::Decoded(len) => buffers.output.get(len.saturating_sub(left)..len),
            _ => None,
        };
        let bytes = bytes.unwrap_or_default().to_vec();
        let memory = match bytes.len() {
            0 => None,
            len => Some(self.conn.memory.try_reserve(len).ok_or_else(|| {
                End::Limit(Limit::Memory {
                    purpose: format!("{len} bytes of a frame"),
                })
            })?),
        };
        self.framed = Some(Box::new(Framed {
            bytes,
            at: 0,
            _memory: memory,
        }));
        Ok(())
    }

    /// The decoded bytes, or the records, of a turn of this stream.
    pub(super) fn records<'a>(&'a self, turn: Turn, buffers: &'a TurnBuffers) -> Records<'a> {
        let Turn::Data(_, source) = turn else {
            return Records::of_lines(&[]);
        };
        let lines = match source {
            Source::Decoded(len) => buffers.output.get(..len),
            Source::Spent(from) => buffers.spent.as_deref().and_then(|chunk| chunk.get(from..)),
            Source::Framed => self
                .framed
                .as_ref()
                .and_then(|framed| framed.bytes.get(framed.at..)),
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
            Source::Decoded(_) | Source::Spent(_) | Source::Framed => false,
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

    /// Whether the bytes that the output takes are counted and added to a checksum.
    pub(super) fn is_checked(&self, settings: &SinkSettings) -> bool {
        settings.checksums || self.resuming.is_on()
    }

    /// Adds the first `taken` bytes of a turn to the stream's checksum. Those of records are in it
    /// already.
    pub(super) fn checksum(&mut self, turn: Turn, buffers: &TurnBuffers, taken: usize) {
        if let Turn::Data(_, source) = turn
            && !self.is_made(source)
        {
            // Lent for a moment, as the bytes may be the stream's own.
            let mut resuming = std::mem::replace(&mut self.resuming, Resuming::No);
            let bytes = self.bytes(turn, buffers);
            let taken = bytes.get(..taken).unwrap_or(bytes);
            let crc32c = match resuming.is_on() {
                // It has a checksum of the same bytes.
                true => self.crc32c,
                false => crc32c::crc32c_append(self.crc32c, taken),
            };
            resuming.take(taken);
            (self.crc32c, self.resuming) = (crc32c, resuming);
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
        if self.is_checked(settings) {
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
            Source::Spent(_) | Source::Framed => {}
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
        self.conn.offset = self.conn.offset.saturating_sub(len as u64);
        Some(undelivered)
    }

    /// Drops received bytes that are not delivered, because they may decode to any amount.
    pub(super) fn drop_undecoded(&mut self) {
        if self.rest.is_none() && self.framed.is_none() && self.queue.is_empty() {
            return;
        }
        let queued: usize = self.queue.drain(..).map(|chunk| chunk.len()).sum();
        let undecoded = queued.saturating_sub(std::mem::take(&mut self.at));
        self.conn.undecoded = self.conn.undecoded.saturating_add(undecoded as u64);
        self.rest = None;
        self.framed = None;
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

    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// No frames are made of the stream's bytes.
    #[cfg(feature = "resume")]
    pub(super) fn drop_unframer(&mut self) {
        self.unframer = None;
    }

    pub(super) fn refuse(&mut self, end: End) {
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
        self.framed = None;
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
                    if unframer.is_acknowledged() =>
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
        if end == End::Cut(Cut::MaxAge) {
            self.say_goodbye();
        }
        if let Some(holds) = &self.conn.holds {
            holds.settle();
        }
        let crc32c = self.resuming.checksum(self.conn.delivered);
        self.link.deliver(Outcome {
            end,
            format: self.conn.format,
            framing: self.conn.framing,
            delivered: self.conn.delivered,
            undecoded: self.conn.undecoded,
            skipped: self.conn.skipped,
            crc32c: crc32c.unwrap_or(self.crc32c),
            #[cfg(feature = "resume")]
            resumed: self.conn.resumed.take(),
        });
    }
}
