//! The sink: receives events, decodes in turns, delivers.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use futures_lite::future;

use crate::budget::{Memory, Share};
use crate::decode::{Decoder, Format, Limits};
use crate::error::{Cut, End, OutputError, StreamError};
use crate::event::{Chunk, Close, Event, Kind, Open};
use crate::lane::Inbox;
use crate::limit::Limit;
use crate::link::{SinkLink, Verdict};
use crate::output::Output;
use crate::peer::{Conn, ConnId};
use crate::totals::{Counters, Totals};

/// The most that one turn delivers, in bytes. A chunk that decodes to gigabytes has the sink for
/// so long (a few hundred microseconds), then everyone else has a turn.
pub const TURN: usize = 256 * 1024;

/// The most that one turn decodes, in bytes of input. What decodes to nothing, such as one empty
/// zstd frame after another, has the sink for no longer than what decodes to much.
const BITE: usize = 16 * 1024;

/// Steps after which a stream that is through is flushed, and its verdict is due, even if there is
/// more to decode: others may go on forever, and its sender waits for a receipt. A step is at most
/// a [`TURN`], and a flush for each few streams costs nothing beside their handshakes.
const UNFLUSHED: usize = 8;

/// Steps after which the executor's other tasks come first: a few milliseconds, if each is a full
/// [`TURN`]; usually it is all that there was to do.
const STEPS: usize = 8;

/// The most that is still decoded of streams that the server has cut, all together, in bytes. The last
/// lines of thousands of live senders fit into it, and a slow output takes it in a moment.
const AFTER_CUT: usize = 4 * TURN;

/// A turn of a stream that was cut counts as so many bytes at least: it may decode to nothing.
const LEAST_TURN: usize = 1024;

/// Decodes and delivers what a [`Server`]'s connections receive.
///
/// It owns a queue and a decoder for each connection. Connections that have something to decode
/// take turns, each of at most [`TURN`] bytes of output. What a connection sent is delivered in
/// order, and before the error behind it.
///
/// Use it in one of two ways: pull with [`next`](Self::next), or push into an [`Output`] with
/// [`run`](Self::run). Both end when the server is [stopped](crate::Server::stop) and all its
/// connections are through. When a sink is dropped before that, its connections end as
/// [`Cut::SinkGone`](crate::Cut::SinkGone).
///
/// [`Server`]: crate::Server
#[derive(Debug)]
pub struct Sink {
    inbox: Inbox,
    // Boxed: a table has room for more than what is in it.
    streams: HashMap<ConnId, Box<Stream>>,
    /// Whose turn is next; each stream that has something to do is in here once.
    turns: VecDeque<ConnId>,
    output: Vec<u8>,
    /// The chunk that the last step is done with: its credit returns with the next step.
    spent: Option<Chunk>,
    /// Streams that are through, whose connections are still to hear of it.
    closed: Vec<Closed>,
    /// What is left of [`AFTER_CUT`], until there is nothing to do.
    after_cut: usize,
    counters: Arc<Counters>,
    settings: Settings,
}

/// What [`Sink::next`] found.
#[derive(Debug)]
#[non_exhaustive]
pub enum Decoded<'a> {
    /// A connection completed its handshake.
    Open(&'a Conn),
    /// Decoded bytes of a connection; never empty, and at most [`TURN`] of them.
    Data(&'a Conn, &'a [u8]),
    /// A connection is through: nothing more comes from it.
    Close(&'a Conn, &'a End),
}

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) format: Format,
    pub(crate) limits: Limits,
    /// The most that one stream may be decoded to, in bytes.
    pub(crate) max_decoded: u64,
    /// Whether checksums are taken, for receipts.
    pub(crate) checksums: bool,
}

#[derive(Debug)]
struct Stream {
    conn: Conn,
    link: SinkLink,
    decoder: Decoder,
    queue: VecDeque<Chunk>,
    /// How much of the first chunk is decoded.
    at: usize,
    /// Decoded bytes that did not fit into the output's last turn.
    rest: Option<Box<Rest>>,
    /// CRC-32C of what was handed over, if that is wanted.
    crc32c: u32,
    announced: bool,
    /// It waits for its turn.
    in_turn: bool,
    /// Why the rest is thrown away.
    refused: Option<Box<End>>,
    close: Option<Box<Close>>,
}

#[derive(Debug)]
struct Rest {
    bytes: Vec<u8>,
    /// How many of them the output has taken.
    at: usize,
    _memory: Share,
}

#[derive(Debug)]
struct Closed {
    stream: Box<Stream>,
    end: End,
}

/// What the sink found to do, by name, so that it can be looked up once nothing changes any more.
#[derive(Clone, Copy)]
enum Step {
    Open(ConnId),
    /// So many bytes of the output buffer.
    Decoded(ConnId, usize),
    /// The spent chunk, from there on.
    Transparent(ConnId, usize),
    /// The stream's rest.
    Rest(ConnId),
    /// The last of the closed streams.
    Close,
    /// It brought nothing; there may be more to do.
    Nothing,
    /// There was nothing to do; events may bring more.
    Idle,
}

/// What a stream did in its turn.
enum Turn {
    Open,
    /// It wrote so many bytes to the output buffer.
    Decoded(usize),
    /// The spent chunk is output as it is, from the first of these bytes on.
    Transparent(std::ops::Range<usize>),
    /// So many bytes were left from another turn.
    Rest(usize),
    Close(End),
    Nothing,
}

impl Sink {
    pub(crate) fn new(inbox: Inbox, settings: Settings) -> Self {
        Sink {
            inbox,
            streams: HashMap::new(),
            turns: VecDeque::new(),
            output: vec![0; TURN],
            spent: None,
            closed: Vec::new(),
            after_cut: AFTER_CUT,
            counters: Arc::default(),
            settings,
        }
    }

    /// Waits for the next thing to happen; `None` when nothing will. To keep what it lends, or to
    /// have a stream of it, see [`into_stream`](Self::into_stream).
    ///
    /// Calling it again says that the last result is dealt with: only then does its chunk's credit
    /// return, or does a closed connection hear how it ended and make place for another. Dropping
    /// the future loses nothing.
    pub async fn next(&mut self) -> Option<Decoded<'_>> {
        self.settle();
        let mut steps = 0;
        let step = loop {
            match self.step() {
                Step::Idle if !self.wait().await => return None,
                Step::Idle => {}
                Step::Nothing => {
                    steps += 1;
                    if steps % STEPS == 0 {
                        future::yield_now().await;
                    }
                }
                step => break step,
            }
        };
        self.hand_over(step)
    }

    /// Delivers everything to `output`, until nothing more comes.
    ///
    /// The output is flushed whenever there is nothing more to decode, and soon after a stream's
    /// end. A connection hears how it ended after the flush that follows its end. Before it is
    /// through with what there is to do, other tasks of its executor have their turns.
    ///
    /// # Errors
    ///
    /// When the output fails, other than with a [`StreamError`], which ends one stream. What it was
    /// given last may be lost, and all that is open ends as
    /// [`Cut::SinkGone`](crate::Cut::SinkGone). The server does not stop by itself.
    ///
    /// # Blocking
    ///
    /// When the output blocks, the executor's thread does; see [`run_blocking`](Self::run_blocking).
    pub async fn run(mut self, mut output: impl Output) -> Result<Totals, OutputError> {
        let (mut steps, mut unflushed) = (0, 0);
        loop {
            steps += 1;
            if steps == STEPS {
                steps = 0;
                future::yield_now().await;
            }
            let step = self.step();
            let done = self
                .deliver(step, &mut output)
                .or_else(|error| self.fail_stream(step, error));
            let idle = matches!(step, Step::Idle);
            unflushed += usize::from(!self.closed.is_empty());
            let flush = idle || unflushed >= UNFLUSHED;
            done.and_then(|()| if flush { output.flush() } else { Ok(()) })
                .map_err(|source| self.failed(source))?;
            if flush {
                self.counters.flushed.set(self.counters.delivered.value());
                self.settle();
                unflushed = 0;
            }
            if idle && !self.wait().await {
                return Ok(self.totals());
            }
        }
    }

    /// Gives the output what a step found. Bytes that it does not take now it gets in the stream's
    /// next turn.
    fn deliver(&mut self, step: Step, output: &mut impl Output) -> io::Result<()> {
        let mut taken = 0;
        loop {
            match self.decoded(step) {
                Some(Decoded::Open(conn)) => return output.open(conn),
                Some(Decoded::Close(conn, end)) => return output.close(conn, end),
                Some(Decoded::Data(conn, bytes)) => {
                    let rest = bytes.get(taken..).unwrap_or_default();
                    match output.turn(conn, rest)?.min(rest.len()) {
                        0 => return Err(io::ErrorKind::WriteZero.into()),
                        more => taken += more,
                    }
                    let is_all = taken == bytes.len();
                    if is_all && !self.settings.checksums && !matches!(step, Step::Rest(_)) {
                        // As it nearly always is: there is nothing to note.
                        return Ok(());
                    }
                }
                None => return Ok(()),
            }
            if self.is_dealt_with(step, taken) {
                return Ok(());
            }
        }
    }

    /// Notes that the output took the first bytes that a step found, so many of them, and keeps the
    /// others for the stream's next turn. `false` if there is no memory to keep them in.
    fn is_dealt_with(&mut self, step: Step, taken: usize) -> bool {
        let (Step::Decoded(id, _) | Step::Transparent(id, _) | Step::Rest(id)) = step else {
            return true;
        };
        let Some(stream) = self.streams.get(&id) else {
            return true;
        };
        let bytes = step_bytes(step, &self.output, self.spent.as_deref(), stream);
        let left = bytes.get(taken..).unwrap_or_default();
        let rest = match step {
            Step::Decoded(..) if !left.is_empty() => {
                let Some(memory) = self.settings.limits.memory.try_take(left.len()) else {
                    return false;
                };
                Some(Box::new(Rest {
                    bytes: left.to_vec(),
                    at: 0,
                    _memory: memory,
                }))
            }
            _ => None,
        };
        let left = left.len();
        self.checksum(step, taken);
        let Some(stream) = self.streams.get_mut(&id) else {
            return true;
        };
        match step {
            Step::Decoded(..) => stream.rest = rest,
            Step::Transparent(..) if left > 0 => {
                if let Some(chunk) = self.spent.take() {
                    stream.at = chunk.len().saturating_sub(left);
                    stream.queue.push_front(chunk);
                }
            }
            Step::Rest(_) if left == 0 => stream.rest = None,
            Step::Rest(_) => {
                if let Some(rest) = &mut stream.rest {
                    rest.at += taken;
                }
            }
            _ => {}
        }
        if left > 0 {
            if stream.link.is_cut() {
                // The output wrote more than its turn's worth.
                self.after_cut = self.after_cut.saturating_sub(2 * TURN);
            }
            let left = left as u64;
            stream.conn.delivered = stream.conn.delivered.saturating_sub(left);
            self.counters.delivered.take_back(left);
        }
        let has_more = stream.has_more();
        if has_more && !std::mem::replace(&mut stream.in_turn, true) {
            self.turns.push_back(id);
        }
        true
    }

    /// [`run`](Self::run) on the caller's thread, for outputs that block.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Blocking
    ///
    /// Until nothing more comes.
    pub fn run_blocking(self, output: impl Output) -> Result<Totals, OutputError> {
        future::block_on(self.run(output))
    }

    /// The memory that this sink shares with its server, for outputs that keep bytes.
    pub fn memory(&self) -> Memory {
        self.settings.limits.memory.clone()
    }

    /// What this sink has handled so far.
    pub fn totals(&self) -> Totals {
        self.counters.totals()
    }

    pub(crate) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Ends the stream that a step was about, if the output's error concerns no other. What the
    /// output was given with that step counts as not delivered.
    fn fail_stream(&mut self, step: Step, error: io::Error) -> io::Result<()> {
        let end = End::from(error.downcast::<StreamError>()?);
        let id = match step {
            Step::Open(id) | Step::Decoded(id, _) | Step::Transparent(id, _) | Step::Rest(id) => id,
            Step::Close => {
                if let Some(closed) = self.closed.last_mut() {
                    closed.end = end;
                }
                return Ok(());
            }
            Step::Nothing | Step::Idle => return Ok(()),
        };
        if let Some(stream) = self.streams.get_mut(&id) {
            let bytes = step_bytes(step, &self.output, self.spent.as_deref(), stream);
            let refused = bytes.len() as u64;
            self.counters.delivered.take_back(refused);
            stream.conn.delivered = stream.conn.delivered.saturating_sub(refused);
            stream.rest = None;
            stream.refuse(end);
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> OutputError {
        let totals = self.totals();
        OutputError {
            source,
            streams: self.streams.len() + self.closed.len(),
            unflushed: totals.delivered.saturating_sub(totals.flushed),
        }
    }

    /// Tells the closed connections how they ended.
    fn settle(&mut self) {
        for Closed { stream, end } in self.closed.drain(..) {
            let is_check = stream.conn.received == 0 && end.is_departure();
            self.counters.clean.add(u64::from(end.is_clean()));
            self.counters.health_checks.add(u64::from(is_check));
            stream.link.deliver(Verdict {
                end,
                format: stream.conn.format,
                delivered: stream.conn.delivered,
                undecoded: stream.conn.undecoded,
                crc32c: stream.crc32c,
            });
        }
    }

    /// Waits for an event; `false` when none will come.
    async fn wait(&mut self) -> bool {
        let event = future::poll_fn(|cx| self.inbox.poll_next(cx)).await;
        event.map(|event| self.receive(event)).is_some()
    }

    fn step(&mut self) -> Step {
        self.spent = None;
        while let Some(event) = self.inbox.next() {
            self.receive(event);
        }
        while let Some(id) = self.turns.pop_front() {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            let is_cut = stream.link.is_cut();
            if is_cut && self.after_cut == 0 {
                stream.drop_undecoded();
            }
            let turn = stream.turn(&mut self.output, &mut self.spent, &self.settings);
            if is_cut {
                let bytes = match &turn {
                    Turn::Decoded(len) | Turn::Rest(len) => *len,
                    Turn::Transparent(bytes) => bytes.len(),
                    Turn::Open | Turn::Close(_) => 0,
                    Turn::Nothing => LEAST_TURN,
                };
                self.after_cut = self.after_cut.saturating_sub(bytes);
            }
            stream.in_turn = stream.has_more();
            if stream.in_turn {
                self.turns.push_back(id);
            }
            if stream.queue.is_empty() {
                // A connection that waits for its peer holds no memory that it does not need.
                stream.queue = VecDeque::new();
            }
            match turn {
                Turn::Open => {
                    self.counters.connections.add(1);
                    return Step::Open(id);
                }
                Turn::Decoded(len) => {
                    self.counters.delivered.add(len as u64);
                    return Step::Decoded(id, len);
                }
                Turn::Transparent(bytes) => {
                    self.counters.delivered.add(bytes.len() as u64);
                    return Step::Transparent(id, bytes.start);
                }
                Turn::Rest(len) => {
                    self.counters.delivered.add(len as u64);
                    return Step::Rest(id);
                }
                Turn::Close(end) => {
                    if let Some(stream) = self.streams.remove(&id) {
                        self.closed.push(Closed { stream, end });
                        return Step::Close;
                    }
                }
                Turn::Nothing => return Step::Nothing,
            }
        }
        self.after_cut = AFTER_CUT;
        Step::Idle
    }

    /// Shows what a step found, and takes its checksum: what is shown is what counts.
    fn hand_over(&mut self, step: Step) -> Option<Decoded<'_>> {
        self.checksum(step, usize::MAX);
        self.decoded(step)
    }

    /// Adds the first bytes that a step found, so many of them, to their stream's checksum.
    fn checksum(&mut self, step: Step, taken: usize) {
        if !self.settings.checksums {
            return;
        }
        let (Step::Decoded(id, _) | Step::Transparent(id, _) | Step::Rest(id)) = step else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let bytes = step_bytes(step, &self.output, self.spent.as_deref(), stream);
        let taken = bytes.get(..taken).unwrap_or(bytes);
        stream.crc32c = crc32c::crc32c_append(stream.crc32c, taken);
    }

    fn decoded(&self, step: Step) -> Option<Decoded<'_>> {
        match step {
            Step::Open(id) => Some(Decoded::Open(&self.streams.get(&id)?.conn)),
            Step::Decoded(id, _) | Step::Transparent(id, _) | Step::Rest(id) => {
                let stream = self.streams.get(&id)?;
                let bytes = step_bytes(step, &self.output, self.spent.as_deref(), stream);
                Some(Decoded::Data(&stream.conn, bytes))
            }
            Step::Close => {
                let closed = self.closed.last()?;
                Some(Decoded::Close(&closed.stream.conn, &closed.end))
            }
            Step::Nothing | Step::Idle => None,
        }
    }

    fn receive(&mut self, Event { id, kind }: Event) {
        if let Kind::Open(open) = kind {
            let stream = Stream::new(id, *open, &self.settings);
            self.streams.insert(id, Box::new(stream));
            self.turns.push_back(id);
            return;
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        match kind {
            Kind::Open(_) => {}
            Kind::Data(chunk) => {
                let received = chunk.len() as u64;
                stream.conn.received = stream.conn.received.saturating_add(received);
                self.counters.received.add(received);
                stream.queue.push_back(chunk);
            }
            Kind::Close(close) => stream.close = Some(close),
        }
        if !std::mem::replace(&mut stream.in_turn, true) {
            self.turns.push_back(id);
        }
    }
}

impl Drop for Sink {
    /// Whatever is not settled by now never will be.
    fn drop(&mut self) {
        // What is in the channel would stay there for as long as anyone can send.
        self.inbox.close();
        let open = self.streams.drain().map(|(_, stream)| stream);
        let closed = self.closed.drain(..).map(|closed| closed.stream);
        for stream in open.chain(closed) {
            stream.link.refuse();
            stream.link.deliver(Verdict {
                end: End::Cut(Cut::SinkGone),
                format: stream.conn.format,
                delivered: stream.conn.delivered,
                undecoded: stream.conn.undecoded,
                crc32c: stream.crc32c,
            });
        }
    }
}

impl Stream {
    fn new(id: ConnId, open: Open, settings: &Settings) -> Self {
        Stream {
            conn: Conn {
                id,
                peer: open.peer,
                format: settings.format,
                received: 0,
                delivered: 0,
                undecoded: 0,
            },
            link: open.link,
            decoder: Decoder::new(settings.format, &settings.limits),
            queue: VecDeque::new(),
            at: 0,
            rest: None,
            crc32c: 0,
            announced: false,
            in_turn: true,
            refused: None,
            close: None,
        }
    }

    fn has_more(&self) -> bool {
        self.rest.is_some() || !self.queue.is_empty() || self.close.is_some()
    }

    /// Does the next thing. A chunk that is done with is left in `spent`.
    fn turn(&mut self, output: &mut [u8], spent: &mut Option<Chunk>, settings: &Settings) -> Turn {
        if !std::mem::replace(&mut self.announced, true) {
            return Turn::Open;
        }
        if let Some(rest) = &self.rest {
            let len = rest.bytes.len() - rest.at;
            self.conn.delivered = self.conn.delivered.saturating_add(len as u64);
            return Turn::Rest(len);
        }
        if let Some(end) = &self.refused {
            self.queue.clear();
            return match &self.close {
                Some(_) => Turn::Close(End::clone(end)),
                None => Turn::Nothing,
            };
        }
        let allowed = settings.max_decoded.saturating_sub(self.conn.delivered);
        match self.queue.front() {
            Some(chunk)
                if self.decoder.is_transparent()
                    && chunk.len().saturating_sub(self.at) as u64 <= allowed =>
            {
                let bytes = std::mem::take(&mut self.at)..chunk.len();
                self.conn.delivered += bytes.len() as u64;
                *spent = self.queue.pop_front();
                Turn::Transparent(bytes)
            }
            Some(_) => self.decode(output, spent, allowed),
            None => {
                let Some(close) = &self.close else {
                    return Turn::Nothing;
                };
                let end = close.end.clone();
                self.decoder.settle();
                match self.decode(output, spent, allowed) {
                    Turn::Nothing if self.refused.is_some() => Turn::Nothing,
                    Turn::Nothing if self.decoder.at_boundary() => Turn::Close(end),
                    Turn::Nothing => Turn::Close(end.unfinished(self.conn.format)),
                    turn => turn,
                }
            }
        }
    }

    /// Decodes the next of the first chunk, or of nothing, to at most `allowed` bytes.
    fn decode(&mut self, output: &mut [u8], spent: &mut Option<Chunk>, allowed: u64) -> Turn {
        let input = self.queue.front().map_or(&[][..], |chunk| chunk);
        // One byte of room beyond the limit tells whether there is more than it allows.
        let most = usize::try_from(allowed.saturating_add(1)).unwrap_or(usize::MAX);
        let room = output.len().min(most);
        let bite = self.at..self.at.saturating_add(BITE).min(input.len());
        let step = self.decoder.decode(
            input.get(bite).unwrap_or_default(),
            output.get_mut(..room).unwrap_or_default(),
        );
        self.at += step.read;
        self.conn.format = self.decoder.format();
        let mut written = step.written;
        if let Some(fault) = step.fault {
            self.refuse(fault.into());
        } else if written as u64 > allowed {
            written -= 1;
            self.refuse(End::Limit(Limit::Decoded {
                most: self.conn.delivered + allowed,
            }));
        } else if self.at >= input.len() && written < room {
            *spent = self.queue.pop_front();
            self.at = 0;
        }
        self.conn.delivered = self.conn.delivered.saturating_add(written as u64);
        match written {
            0 => Turn::Nothing,
            written => Turn::Decoded(written),
        }
    }

    /// Gives up what has come and is not delivered, as what it decodes to may have no end.
    fn drop_undecoded(&mut self) {
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

    /// Takes no more of this stream.
    fn refuse(&mut self, end: End) {
        self.link.refuse();
        self.refused = Some(Box::new(end));
    }
}

/// The decoded bytes that a step of this stream found.
fn step_bytes<'a>(
    step: Step,
    output: &'a [u8],
    spent: Option<&'a [u8]>,
    stream: &'a Stream,
) -> &'a [u8] {
    let bytes = match step {
        Step::Decoded(_, len) => output.get(..len),
        Step::Transparent(_, from) => spent.and_then(|chunk| chunk.get(from..)),
        Step::Rest(_) => stream
            .rest
            .as_ref()
            .and_then(|rest| rest.bytes.get(rest.at..)),
        Step::Open(_) | Step::Close | Step::Nothing | Step::Idle => None,
    };
    bytes.unwrap_or_default()
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
        assert!(matches!(sink.step(), Step::Open(_)));
        let step = sink.step();
        let Step::Decoded(id, 6) = step else {
            panic!("it was not decoded");
        };
        sink.output[0] ^= 1;
        sink.hand_over(step);
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
        assert!(matches!(sink.step(), Step::Open(_)));
        assert!(matches!(sink.step(), Step::Open(_)));
        assert!(matches!(sink.step(), Step::Nothing));
        // The other's turn comes after that.
        assert!(matches!(sink.step(), Step::Decoded(_, 5)));
        let mut turns = 1;
        loop {
            match sink.step() {
                Step::Nothing => turns += 1,
                Step::Idle => break,
                _ => {}
            }
        }
        assert_eq!(turns, CHUNK.div_ceil(BITE));
    }
}
