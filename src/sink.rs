//! The sink: receives events, decodes in turns, delivers.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use futures_lite::future;

use crate::budget::Memory;
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

/// Steps after which the executor's other tasks come first: several milliseconds, if each is a full
/// [`TURN`]; usually it is all that there was to do.
const STEPS: usize = 32;

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
    /// The spent chunk.
    Transparent(ConnId),
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
    /// All of the spent chunk is output, as it is.
    Transparent(usize),
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
            let done = match self.hand_over(step) {
                Some(Decoded::Open(conn)) => output.open(conn),
                Some(Decoded::Data(conn, bytes)) => output.data(conn, bytes),
                Some(Decoded::Close(conn, end)) => output.close(conn, end),
                None => Ok(()),
            };
            let done = done.or_else(|error| self.fail_stream(step, error));
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
        let (id, refused) = match step {
            Step::Open(id) => (id, 0),
            Step::Decoded(id, len) => (id, len as u64),
            Step::Transparent(id) => (
                id,
                self.spent.as_ref().map_or(0, |chunk| chunk.len() as u64),
            ),
            Step::Close => {
                if let Some(closed) = self.closed.last_mut() {
                    closed.end = end;
                }
                return Ok(());
            }
            Step::Nothing | Step::Idle => return Ok(()),
        };
        self.counters.delivered.take_back(refused);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.conn.delivered = stream.conn.delivered.saturating_sub(refused);
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
            let turn = stream.turn(&mut self.output, &mut self.spent, &self.settings);
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
                Turn::Transparent(len) => {
                    self.counters.delivered.add(len as u64);
                    return Step::Transparent(id);
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
        Step::Idle
    }

    /// Shows what a step found, and takes its checksum: what is shown is what counts.
    fn hand_over(&mut self, step: Step) -> Option<Decoded<'_>> {
        if self.settings.checksums {
            let (id, bytes) = match &step {
                Step::Decoded(id, len) => (id, self.output.get(..*len)),
                Step::Transparent(id) => (id, self.spent.as_deref()),
                _ => (&ConnId(0), None),
            };
            if let (Some(stream), Some(bytes)) = (self.streams.get_mut(id), bytes) {
                stream.crc32c = crc32c::crc32c_append(stream.crc32c, bytes);
            }
        }
        self.decoded(step)
    }

    fn decoded(&self, step: Step) -> Option<Decoded<'_>> {
        let conn = |id| self.streams.get(id).map(|stream| &stream.conn);
        Some(match &step {
            Step::Open(id) => Decoded::Open(conn(id)?),
            Step::Decoded(id, len) => Decoded::Data(conn(id)?, self.output.get(..*len)?),
            Step::Transparent(id) => Decoded::Data(conn(id)?, self.spent.as_deref()?),
            Step::Close => {
                let closed = self.closed.last()?;
                Decoded::Close(&closed.stream.conn, &closed.end)
            }
            Step::Nothing | Step::Idle => return None,
        })
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
            },
            link: open.link,
            decoder: Decoder::new(settings.format, &settings.limits),
            queue: VecDeque::new(),
            at: 0,
            crc32c: 0,
            announced: false,
            in_turn: true,
            refused: None,
            close: None,
        }
    }

    fn has_more(&self) -> bool {
        !self.queue.is_empty() || self.close.is_some()
    }

    /// Does the next thing. A chunk that is done with is left in `spent`.
    fn turn(&mut self, output: &mut [u8], spent: &mut Option<Chunk>, settings: &Settings) -> Turn {
        if !std::mem::replace(&mut self.announced, true) {
            return Turn::Open;
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
                if self.at == 0
                    && self.decoder.is_transparent()
                    && chunk.len() as u64 <= allowed =>
            {
                let len = chunk.len();
                self.conn.delivered += len as u64;
                *spent = self.queue.pop_front();
                Turn::Transparent(len)
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

    /// Takes no more of this stream.
    fn refuse(&mut self, end: End) {
        self.link.refuse();
        self.refused = Some(Box::new(end));
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
