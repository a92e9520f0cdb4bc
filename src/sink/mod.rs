//! The sink: receives events, decodes in turns, delivers.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use futures_lite::future;

use crate::channel::EventReceiver;
use crate::conn::{Conn, ConnId};
use crate::decode::{Format, Limits};
use crate::end::{Cut, End};
use crate::event::{Event, Kind};
#[cfg(feature = "forward")]
use crate::frame::SharedKey;
use crate::frame::{Framing, Records, Unframer};
use crate::hold::Holds;
use crate::memory::Memory;
use crate::output::turn::MAX_TURN_OUTPUT;
use crate::output::{Output, OutputError, Portion, StreamError};
use crate::totals::{Counters, Totals};

mod answers;
mod holds;
#[cfg_attr(not(feature = "resume"), path = "unresumed.rs")]
pub(crate) mod resuming;
mod schedule;
mod stream;

use holds::HeldStreams;
use schedule::Schedule;
use stream::{LEAST_WORK, Source, Stream, Turn, TurnBuffers};

/// The number of turns after a stream's end at which the output is flushed and the outcome is due,
/// even if there is more to decode: other streams may go on forever, while the sender waits for a
/// receipt. A turn delivers at most [`MAX_TURN_OUTPUT`], and one flush for every few streams costs
/// nothing beside their handshakes.
const TURNS_BEFORE_FLUSH: usize = 8;

/// The work after which the output is flushed, even if there is more to decode, in bytes. A line
/// waits no longer for its flush than this work takes, which is a few milliseconds.
const WORK_BEFORE_FLUSH: usize = 8 * MAX_TURN_OUTPUT;

/// The number of turns after which the executor's other tasks come first. Although they are few,
/// they are usually all that is waiting.
const TURNS_BEFORE_YIELD: usize = 8;

/// The work after which the executor's other tasks come first, in bytes: about a millisecond.
const WORK_BEFORE_YIELD: usize = 2 * MAX_TURN_OUTPUT;

/// The most that the sink still decodes of all streams that the server has cut, in bytes. The last
/// lines of thousands of live senders fit into it, and a slow output takes it in a moment.
const AFTER_CUT: usize = 4 * MAX_TURN_OUTPUT;

/// Decodes and delivers the data that a [`Server`]'s connections receive.
///
/// A sink owns a queue and a decoder for each connection. Connections with data to decode take
/// turns, each of at most [`MAX_TURN_OUTPUT`] bytes of output. The data of a connection is
/// delivered in order, and before the error behind it.
///
/// Use it in one of two ways: pull with [`next`](Self::next), or push into an [`Output`] with
/// [`run`](Self::run). Both end when the server is [stopped](crate::Server::stop), all its
/// connections have ended, and no [hold](crate::Conn::hold) is out. When a sink is dropped before
/// that, its connections end as [`Cut::SinkGone`](crate::Cut::SinkGone).
///
/// [`Server`]: crate::Server
#[derive(Debug)]
pub struct Sink {
    events: EventReceiver,
    // Boxed: a hash table has more slots than entries.
    streams: HashMap<ConnId, Box<Stream>>,
    schedule: Schedule,
    /// The stream that had the last turn and has more to do. It is scheduled again before the next
    /// turn, once the work of its last turn is known.
    unscheduled: Option<ConnId>,
    buffers: TurnBuffers,
    /// Streams that have ended, whose connections have yet to hear of it.
    closed: Vec<Closed>,
    /// Streams that have answers to send once the output is flushed.
    answering: Vec<ConnId>,
    held: HeldStreams,
    /// The unused part of [`AFTER_CUT`]; whole again when there is nothing to do.
    after_cut: usize,
    /// The work of all turns, in bytes.
    work: u64,
    counters: Arc<Counters>,
    settings: SinkSettings,
}

/// An event that [`Sink::next`] returns.
#[derive(Debug)]
#[non_exhaustive]
pub enum SinkEvent<'a> {
    /// A connection completed its handshake.
    Open(&'a Conn),
    /// Decoded bytes of a connection: at least one, at most [`MAX_TURN_OUTPUT`].
    Data(&'a Conn, &'a [u8]),
    /// Records of a connection whose stream has a [framing](crate::frame).
    Records(&'a Conn, Records<'a>),
    /// A connection has ended: nothing more comes from it.
    Close(&'a Conn, &'a End),
}

#[derive(Debug)]
pub(crate) struct SinkSettings {
    pub(crate) format: Format,
    pub(crate) framing: Framing,
    /// The key that senders of forward must know.
    #[cfg(feature = "forward")]
    pub(crate) forward_key: Option<SharedKey>,
    /// The largest zstd window, in bytes.
    pub(crate) max_window: u64,
    /// The memory that all connections share.
    pub(crate) memory: Memory,
    /// The most that one stream may decode to, in bytes.
    pub(crate) max_decoded: u64,
    /// Whether to compute checksums, for receipts.
    pub(crate) checksums: bool,
    /// The keeper of the positions of resumed streams.
    #[cfg(feature = "resume")]
    pub(crate) keeper: Option<resuming::Keeper>,
}

impl SinkSettings {
    /// Makes the unframer of a stream; `None` if streams have no frames.
    fn unframer(&self, limits: &Limits) -> Option<Unframer> {
        #[cfg(feature = "forward")]
        if let Some(key) = &self.forward_key {
            return Some(Unframer::with_key(key, limits));
        }
        match self.framing {
            Framing::None => None,
            framing => Some(Unframer::new(framing, limits)),
        }
    }
}

#[derive(Debug)]
struct Closed {
    stream: Box<Stream>,
    end: End,
}

impl Closed {
    /// Tells the connection how it ended.
    fn report(self, counters: &Counters) {
        let Closed { stream, end } = self;
        let is_check = stream.conn.received == 0 && end.is_departure();
        match is_check {
            true => counters.health_checks.add(1),
            false => counters.count_end(&end),
        }
        stream.report(end);
    }
}

impl Sink {
    pub(crate) fn new(events: EventReceiver, settings: SinkSettings) -> Self {
        Sink {
            events,
            streams: HashMap::new(),
            schedule: Schedule::default(),
            unscheduled: None,
            buffers: TurnBuffers::new(),
            closed: Vec::new(),
            answering: Vec::new(),
            held: HeldStreams::default(),
            after_cut: AFTER_CUT,
            work: 0,
            counters: Arc::default(),
            settings,
        }
    }

    /// Waits for the next event; `None` when no more will come. To keep events, or to have a stream
    /// of them, see [`into_stream`](Self::into_stream).
    ///
    /// Calling it again says that the last event is dealt with: only then does its chunk's credit
    /// return, or does a closed connection hear how it ended and free its place. A caller that is
    /// not through with the event by then takes a [hold](Conn::hold) before. Dropping the future
    /// loses nothing.
    ///
    /// ```
    /// # use futures_lite::{future, io::Cursor};
    /// use tlsink::{Peer, Server, SinkEvent};
    ///
    /// # future::block_on(async {
    /// # let (server, mut sink) = Server::builder().build()?;
    /// # let connection = server.plain(Cursor::new(b"hello".to_vec()), Peer::label("test"));
    /// # server.stop();
    /// # let pulling = async {
    /// while let Some(event) = sink.next().await {
    ///     match event {
    ///         SinkEvent::Data(conn, bytes) => println!("{}: {} bytes", conn.id(), bytes.len()),
    ///         SinkEvent::Close(conn, end) if !end.is_clean() => {
    ///             println!("{} is incomplete: {}", conn.id(), end.word());
    ///         }
    ///         // Other events, and those that later versions add.
    ///         _ => {}
    ///     }
    /// }
    /// # };
    /// # future::zip(connection, pulling).await;
    /// # Ok::<(), tlsink::BuildError>(())
    /// # }).unwrap();
    /// ```
    pub async fn next(&mut self) -> Option<SinkEvent<'_>> {
        self.answer();
        self.report_closed();
        let mut turns = 0;
        let turn = loop {
            match self.next_turn() {
                Turn::Idle if !self.wait().await => return None,
                Turn::Idle => {}
                Turn::Nothing => {
                    turns += 1;
                    if turns % TURNS_BEFORE_YIELD == 0 {
                        future::yield_now().await;
                    }
                }
                turn => break turn,
            }
        };
        self.hand_over(turn)
    }

    /// Delivers everything to `output`, until nothing more comes.
    ///
    /// The output is flushed whenever there is nothing more to decode, and soon after a stream's
    /// end. A connection hears how it ended after the flush that follows its end, and after its
    /// [holds](Conn::hold) are done. A busy sink yields to its executor's other tasks about every
    /// millisecond.
    ///
    /// # Errors
    ///
    /// When the output fails with any other error than a [`StreamError`], which ends one stream.
    /// The bytes that the output was given last may be lost, and all open streams end as
    /// [`Cut::SinkGone`](crate::Cut::SinkGone). The server does not stop by itself.
    ///
    /// # Blocking
    ///
    /// While the output blocks, so does the executor's thread; see
    /// [`run_blocking`](Self::run_blocking).
    pub async fn run(mut self, mut output: impl Output) -> Result<Totals, OutputError> {
        let (mut turns, mut unflushed) = (0, 0);
        let (mut yielded_at, mut flushed_at) = (0, 0);
        loop {
            turns += 1;
            if turns == TURNS_BEFORE_YIELD || self.work - yielded_at >= WORK_BEFORE_YIELD as u64 {
                (turns, yielded_at) = (0, self.work);
                future::yield_now().await;
            }
            let turn = self.next_turn();
            let done = self
                .deliver(turn, &mut output)
                .or_else(|error| self.fail_stream(turn, error));
            let idle = matches!(turn, Turn::Idle);
            unflushed += usize::from(self.awaits_flush());
            let flush = idle
                || unflushed >= TURNS_BEFORE_FLUSH
                || self.work - flushed_at >= WORK_BEFORE_FLUSH as u64;
            done.and_then(|()| if flush { output.flush() } else { Ok(()) })
                .map_err(|source| self.failed(source))?;
            if flush {
                self.counters.flushed.set(self.counters.delivered.value());
                self.answer();
                self.report_closed();
                (unflushed, flushed_at) = (0, self.work);
            }
            if idle && !self.wait().await {
                return Ok(self.totals());
            }
        }
    }

    /// Delivers the result of a turn to the output. Bytes that the output does not take now are
    /// delivered in the stream's next turn.
    fn deliver(&mut self, turn: Turn, output: &mut impl Output) -> io::Result<()> {
        let mut all = Portion::default();
        loop {
            let (conn, records) = match self.event(turn) {
                Some(SinkEvent::Open(conn)) => return output.open(conn),
                Some(SinkEvent::Close(conn, end)) => return output.close(conn, end),
                Some(SinkEvent::Data(conn, bytes)) => (conn, Records::of_lines(bytes)),
                Some(SinkEvent::Records(conn, records)) => (conn, records),
                None => return Ok(()),
            };
            let len = records.lines().len();
            let is_resumed = conn.stream().is_some();
            all.add(give(output, conn, records.behind(all.taken))?);
            if self.is_dealt_with(turn, len, all, is_resumed) {
                return Ok(());
            }
        }
    }

    /// Notes the portion of a turn's bytes that the output took, and keeps the others for the
    /// stream's next turn. Returns `false` if there is no memory to keep them in.
    fn is_dealt_with(
        &mut self,
        turn: Turn,
        len: usize,
        portion: Portion,
        is_resumed: bool,
    ) -> bool {
        let Turn::Data(id, source) = turn else {
            return true;
        };
        let is_simple = portion.taken == len
            && portion.written.saturating_sub(len) < LEAST_WORK
            && source != Source::Rest
            && !self.settings.checksums
            && !is_resumed;
        if is_simple {
            // This is the usual case: there is nothing to note.
            return true;
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return true;
        };
        let kept = stream.take(source, &mut self.buffers, portion.taken, &self.settings);
        let Some(undelivered) = kept else {
            return false;
        };
        if stream.resuming.needs_answer() {
            self.answering.push(id);
        }
        let left = len.saturating_sub(portion.taken);
        // The decoded bytes are charged already, the additional bytes written for them are not.
        let more = portion.written.saturating_sub(len);
        self.schedule.charge(&mut stream.account, more);
        self.work = self.work.saturating_add(more as u64);
        if left > 0 {
            if self.held.is_cut(id) {
                // The output wrote more than its turn's worth.
                self.after_cut = self.after_cut.saturating_sub(2 * MAX_TURN_OUTPUT);
            }
            self.counters.delivered.take_back(undelivered as u64);
            self.unscheduled = Some(id);
        }
        true
    }

    /// Does the same as [`run`](Self::run) on the caller's thread, for outputs that block.
    ///
    /// # Errors
    ///
    /// The same as for [`run`](Self::run).
    ///
    /// # Blocking
    ///
    /// Blocks until the server is stopped, all connections have ended, and no hold is out.
    pub fn run_blocking(self, output: impl Output) -> Result<Totals, OutputError> {
        future::block_on(self.run(output))
    }

    /// The memory that this sink shares with its server, for outputs that keep bytes.
    pub fn memory(&self) -> Memory {
        self.settings.memory.clone()
    }

    /// The counters of this sink so far.
    pub fn totals(&self) -> Totals {
        self.counters.totals()
    }

    pub(crate) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Ends the stream of this turn, if the output's error concerns no other. The turn's bytes
    /// count as not delivered.
    fn fail_stream(&mut self, turn: Turn, error: io::Error) -> io::Result<()> {
        let end = End::from(error.downcast::<StreamError>()?);
        match turn {
            Turn::Open(id) | Turn::Data(id, _) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    let refused = stream.counted(turn, &self.buffers);
                    self.counters.delivered.take_back(refused as u64);
                    stream.take_back(refused, end);
                }
            }
            Turn::Close(_) => {
                if let Some(closed) = self.closed.last_mut() {
                    closed.stream.drop_answers();
                    closed.end = end;
                }
            }
            Turn::Nothing | Turn::Idle => {}
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> OutputError {
        let totals = self.totals();
        OutputError {
            source,
            streams: self.streams.len() + self.closed.len() + self.held.len(),
            unflushed: totals.delivered.saturating_sub(totals.flushed),
        }
    }

    /// Whether the output has to be flushed soon, even if there is more to decode.
    fn awaits_flush(&self) -> bool {
        !self.closed.is_empty() || !self.answering.is_empty() || self.held.awaits_flush
    }

    /// Sends the answers of all streams whose records were delivered before the last flush.
    fn answer(&mut self) {
        let streams = &mut self.streams;
        self.answering.retain(|id| match streams.get_mut(id) {
            Some(stream) => !stream.answer(),
            // A stream that has ended is answered with its outcome.
            None => false,
        });
    }

    /// Tells the closed connections how they ended, but for those whose output holds bytes.
    fn report_closed(&mut self) {
        self.held.awaits_flush = false;
        for closed in self.closed.drain(..) {
            if let Some(closed) = self.held.keep(closed) {
                closed.report(&self.counters);
            }
        }
    }

    fn next_turn(&mut self) -> Turn {
        self.buffers.release();
        if let Some(id) = self.unscheduled.take()
            && let Some(stream) = self.streams.get_mut(&id)
        {
            self.schedule.push(id, &mut stream.account);
        }
        while let Some(event) = self.events.next() {
            self.receive(event);
        }
        if self.events.lane().has_notes() {
            self.look_at_holds();
        }
        while let Some(id) = self.schedule.pop() {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            if stream.is_held_back {
                self.schedule.charge(&mut stream.account, 0);
                continue;
            }
            let is_cut = self.held.is_cut(id);
            if is_cut && self.after_cut == 0 {
                stream.drop_undecoded();
            }
            if stream.waits_for_answers() {
                // It is scheduled again once the peer has read, or fewer bytes are held.
                self.schedule.charge(&mut stream.account, 0);
                continue;
            }
            let before = stream.conn.delivered;
            let had_answers = stream.has_answers();
            let (turn, work) = stream.turn(&mut self.buffers, &self.settings);
            self.schedule.charge(&mut stream.account, work);
            self.work = self.work.saturating_add(work as u64);
            let delivered = stream.conn.delivered.saturating_sub(before);
            self.counters.delivered.add(delivered);
            if stream.has_answers() && !had_answers {
                self.answering.push(id);
            }
            if is_cut {
                let least = match turn {
                    Turn::Nothing => LEAST_WORK,
                    _ => 0,
                };
                let delivered = stream.bytes(turn, &self.buffers).len();
                self.after_cut = self.after_cut.saturating_sub(delivered.max(least));
            }
            match turn {
                Turn::Close(_) => {
                    if let Some(stream) = self.streams.remove(&id) {
                        let end = stream.end();
                        self.closed.push(Closed { stream, end });
                    }
                }
                _ if stream.has_more() => self.unscheduled = Some(id),
                _ => {}
            }
            if turn == Turn::Open(id) {
                self.counters.connections.add(1);
            }
            return turn;
        }
        self.after_cut = AFTER_CUT;
        Turn::Idle
    }

    /// Makes an event of a turn's result, and adds its bytes to the checksum: the checksum covers
    /// the bytes that are handed over.
    fn hand_over(&mut self, turn: Turn) -> Option<SinkEvent<'_>> {
        if let Turn::Data(id, _) = turn
            && let Some(stream) = self.streams.get_mut(&id)
            && stream.is_checked(&self.settings)
        {
            stream.checksum(turn, &self.buffers, usize::MAX);
            if stream.resuming.needs_answer() {
                self.answering.push(id);
            }
        }
        self.event(turn)
    }

    fn event(&self, turn: Turn) -> Option<SinkEvent<'_>> {
        match turn {
            Turn::Open(id) => Some(SinkEvent::Open(&self.streams.get(&id)?.conn)),
            Turn::Data(id, _) => {
                let stream = self.streams.get(&id)?;
                let records = stream.records(turn, &self.buffers);
                Some(match stream.conn.framing {
                    Framing::Auto | Framing::None | Framing::Resume => {
                        SinkEvent::Data(&stream.conn, records.lines())
                    }
                    _ => SinkEvent::Records(&stream.conn, records),
                })
            }
            Turn::Close(_) => {
                let closed = self.closed.last()?;
                Some(SinkEvent::Close(&closed.stream.conn, &closed.end))
            }
            Turn::Nothing | Turn::Idle => None,
        }
    }

    fn receive(&mut self, Event { id, kind }: Event) {
        if let Kind::Open(open) = kind {
            let mut stream = Box::new(Stream::new(*open, &self.settings));
            let holds = Holds::new(id, self.events.lane(), &stream.conn.memory);
            stream.conn.holds = Some(holds);
            self.schedule.push(id, &mut stream.account);
            self.streams.insert(id, stream);
            return;
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        match kind {
            Kind::Open(_) => {}
            Kind::Answered => {}
            Kind::Aged => stream.grow_old(),
            Kind::Data(chunk) => {
                self.counters.received.add(chunk.len() as u64);
                stream.receive(chunk);
            }
            Kind::Close(close) => stream.close(close),
        }
        self.schedule.push(id, &mut stream.account);
    }
}

/// Gives records to an output, which takes one at least.
fn give(output: &mut impl Output, conn: &Conn, records: Records<'_>) -> io::Result<Portion> {
    let lines = records.lines();
    let mut portion = match records.has_newlines() {
        true => output.records(conn, records)?,
        false => output.turn(conn, lines)?,
    };
    portion.taken = portion.taken.min(lines.len());
    match portion.taken {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(portion),
    }
}

impl Drop for Sink {
    /// Tells the connections whose ends are not reported yet that the sink is gone.
    fn drop(&mut self) {
        // Events in the channel would stay there for as long as there is a sender.
        self.events.close();
        let open = self.streams.drain().map(|(_, stream)| stream);
        let closed = self.closed.drain(..).chain(self.held.drain());
        let closed = closed.map(|closed| closed.stream);
        for mut stream in open.chain(closed) {
            stream.drop_answers();
            stream.link.refuse();
            stream.report(End::Cut(Cut::SinkGone));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};
    use futures_lite::io::Cursor;

    use super::*;
    use crate::{Peer, Server};

    #[test]
    fn the_checksum_is_of_what_is_handed_over_not_of_what_was_decoded() {
        let (server, mut sink) = Server::builder().receipts(true).build().unwrap();
        let io = Cursor::new(b"hello\n".to_vec());
        let mut connection = server.plain(io, Peer::label("test"));
        assert!(block_on(poll_once(&mut connection)).is_none());
        block_on(sink.wait());
        assert!(matches!(sink.next_turn(), Turn::Open(_)));
        let turn = sink.next_turn();
        let Turn::Data(id, Source::Decoded(6)) = turn else {
            panic!("it was not decoded");
        };
        sink.buffers.output[0] ^= 1;
        sink.hand_over(turn);
        assert_eq!(sink.streams[&id].crc32c, crc32c::crc32c(b"iello\n"));
    }

    #[test]
    #[cfg(feature = "zstd")]
    fn a_turn_is_not_longer_for_what_decodes_to_nothing() {
        use crate::event::CHUNK;

        // A frame of one empty block (RFC 8878, section 3.1.1).
        const EMPTY: [u8; 9] = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0];
        let (server, mut sink) = Server::builder().build().unwrap();
        let mut connections = [EMPTY.repeat(CHUNK / EMPTY.len()), b"line\n".to_vec()]
            .map(|bytes| server.plain(Cursor::new(bytes), Peer::label("test")));
        for connection in &mut connections {
            assert!(block_on(poll_once(connection)).is_none());
        }
        block_on(sink.wait());
        assert!(matches!(sink.next_turn(), Turn::Open(_)));
        assert!(matches!(sink.next_turn(), Turn::Open(_)));
        assert!(matches!(sink.next_turn(), Turn::Nothing));
        // Next, the other stream has its turn.
        assert!(matches!(
            sink.next_turn(),
            Turn::Data(_, Source::Decoded(5))
        ));
        let mut turns = 1;
        loop {
            match sink.next_turn() {
                Turn::Nothing => turns += 1,
                Turn::Idle => break,
                _ => {}
            }
        }
        assert_eq!(turns, CHUNK.div_ceil(stream::MAX_TURN_INPUT));
    }
}
