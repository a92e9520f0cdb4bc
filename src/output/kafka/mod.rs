//! The output that produces lines to a topic of Kafka.
//!
//! Lanes gather records, and hand them over at each flush. One thread, the [`KafkaWriter`], gives them to
//! librdkafka, whose answers another thread takes. Holds tell the lanes when records are acknowledged.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, SendError, Sender};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::backlog::Backlog;
use super::each_line::{Assembly, Line};
use super::prefix;
use super::{Output, Portion, StreamError};
use crate::conn::{Conn, ConnId};
use crate::end::End;
use crate::frame::Records;
use crate::hold::Hold;
use crate::memory::Memory;
use crate::resume::Instance;

mod link;
mod notice;
mod pending;
mod settings;
mod waits;
mod watch;
mod writer;

use link::Link;
pub use notice::KafkaNotice;
use pending::Stream;
pub use settings::{KafkaKey, KafkaRecord, KafkaSettings};
pub use writer::KafkaWriter;

/// What librdkafka keeps for a record beside its value, its key and the values of its headers, in bytes, as
/// measured. Held bytes count it, so that a stream of empty lines does not fill the memory.
const RECORD: usize = 600;

/// Produces the lines of all streams to a topic of Kafka, or of whatever speaks its protocol.
///
/// A record is a line without its newline, or a frame, or a [block](KafkaRecord::Block) of those. Its time is
/// when the line came, its key the one of the [settings](KafkaSettings::key). It has these headers:
///
/// | header | value |
/// |---|---|
/// | `stream` | 64 random bits of this output, in hexadecimal, `-`, and the connection's number; of a [resumed](crate::resume) stream, its client with `%` as `%25` and `/` as `%2F`, `/`, its name, `#`, and the `id` of its [instance](crate::resume::Instance) in hexadecimal |
/// | `offset` | the number of bytes of the stream before the record, with a newline behind each line and frame |
/// | `start` | the offset at which the stream begins, if that is not 0, as the instance says |
/// | `peer` | the sender's address |
/// | `client` | the first of its verified [names](Conn::names), if it has one |
/// | `part` | for a piece of a line that outgrew [`max_line`](Self::max_line): its number on this connection, from 1; behind the last one's, `/` and the same number |
///
/// Records of a stream are produced in order. They may come twice: what was not acknowledged when its
/// sender lost the connection comes again. `stream` and `offset` let a consumer drop those of resumed
/// streams. An unfinished line at the end of a connection is a record, unless it comes again; in a resumed
/// stream, it is a piece, since the stream may go on within it.
///
/// Records are handed to a [`KafkaWriter`], which runs on a thread of its own, so no call of this output
/// waits for a broker. It takes a [hold](Conn::hold) for what it hands over, which is done when the brokers
/// have acknowledged every record of it: until then, no end is clean and no frame is acknowledged. A record
/// that they refuse for good ends its stream, as [`Cut::Output`](crate::Cut::Output), and no more of that
/// stream is produced; records behind it that librdkafka had already may still be written.
///
/// Clones share the writer, but each has unfinished lines of its own: give one clone to each lane.
///
/// ```no_run
/// use std::thread;
///
/// use tlsink::Server;
/// use tlsink::output::{Kafka, KafkaSettings};
///
/// let (kafka, writer) = Kafka::new(KafkaSettings::new("127.0.0.1:9092", "logs"))?;
/// let writing = thread::spawn(|| writer.run());
///
/// let (server, sink) = Server::builder().build()?;
/// sink.run_blocking(kafka)?;
/// writing.join().expect("the writer does not panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Kafka {
    assembly: Assembly,
    gathered: Gathered,
    max_value: usize,
    link: Arc<Link>,
}

/// Asks for what concerns all clones of a [`Kafka`] output, from any thread.
#[derive(Clone, Debug)]
pub struct KafkaHandle {
    backlog: Arc<Backlog>,
    link: Arc<Link>,
}

/// The records that were produced so far, by their fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KafkaTotals {
    /// The number of records that the brokers have acknowledged.
    pub acknowledged_records: u64,
    /// The number of bytes in the values of these.
    pub acknowledged_bytes: u64,
    /// The number of records that will not be acknowledged: the brokers or librdkafka have refused them for
    /// good, or a fatal error ended their producer. Their streams were cut.
    pub lost_records: u64,
    /// The number of producers that had a fatal error.
    pub replaced_producers: u64,
}

/// The records of one lane since its last flush.
#[derive(Debug)]
struct Gathered {
    key: KafkaKey,
    /// The longest block, in bytes; 0 if each line is a record.
    max_block: usize,
    /// The random bits in the names of streams.
    random: u64,
    streams: HashMap<ConnId, Position>,
    batches: HashMap<ConnId, Batch>,
    queue: Sender<Vec<Batch>>,
    backlog: Arc<Backlog>,
}

/// An open stream that has sent something.
#[derive(Debug)]
struct Position {
    stream: Arc<Stream>,
    /// The offset of its next record.
    next: u64,
    /// The number of pieces of its present line so far.
    pieces: u32,
}

/// Records of one stream.
#[derive(Debug)]
struct Batch {
    stream: Arc<Stream>,
    values: Vec<u8>,
    records: Vec<Record>,
    holds: Vec<Hold>,
    /// When they came, in milliseconds since 1970.
    time: i64,
}

/// The facts about a record that its stream does not have.
#[derive(Debug)]
struct Record {
    /// The end of its value among those of the batch.
    end: usize,
    offset: u64,
    piece: Option<Piece>,
}

/// The place of a piece in its line.
#[derive(Debug)]
struct Piece {
    /// Counted from 1.
    number: u32,
    goes_on: bool,
}

/// The stream of which an event is being handled.
struct Gathering<'a> {
    position: &'a mut Position,
    max_block: usize,
    batch: &'a mut Batch,
    /// The number of bytes that its new records take.
    taken: usize,
}

impl Kafka {
    /// Makes an output, and its writer. librdkafka connects to the brokers, and no broker has to be
    /// there yet.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if librdkafka does not take the settings; another
    /// kind if it can't start its threads.
    pub fn new(settings: KafkaSettings) -> io::Result<(Self, KafkaWriter)> {
        settings.check_apart()?;
        let (queue, batches) = mpsc::channel();
        let backlog = Arc::<Backlog>::default();
        let assembly = Assembly::new(settings.cost());
        let (key, max_block) = (settings.key, settings.max_block());
        let max_value = settings.max_value();
        let config = settings.complete();
        let link = Arc::new(Link::new(settings.topic));
        let writer = KafkaWriter::new(config, batches, Arc::clone(&backlog), Arc::clone(&link))?;
        let random = RandomState::new().build_hasher().finish();
        let kafka = Kafka {
            assembly,
            gathered: Gathered::new(key, max_block, random, queue, backlog),
            max_value,
            link,
        };
        Ok((kafka.max_line(1 << 20), writer))
    }

    /// The longest line that is kept whole, in bytes, and the longest piece of one that is not: 1 MiB by
    /// default, and never more than `message.max.bytes` less 64 KiB.
    pub fn max_line(mut self, bytes: usize) -> Self {
        self.assembly.max_line(bytes.min(self.max_value));
        self
    }

    /// The memory from which unfinished lines are reserved; see [`Sink::memory`]. By default, they
    /// have 1 GiB of their own. A line that finds no memory comes in pieces.
    ///
    /// [`Sink::memory`]: crate::Sink::memory
    pub fn memory(mut self, memory: Memory) -> Self {
        self.assembly.memory(memory);
        self
    }

    /// A handle for all clones of this output.
    pub fn handle(&self) -> KafkaHandle {
        KafkaHandle {
            backlog: Arc::clone(&self.gathered.backlog),
            link: Arc::clone(&self.link),
        }
    }
}

impl KafkaHandle {
    /// The number of bytes that the brokers have yet to acknowledge.
    pub fn backlog(&self) -> usize {
        self.backlog.bytes()
    }

    /// Whether a broker has ever answered the writer. It asks for the topic when it begins to run, until
    /// one has.
    pub fn was_reached(&self) -> bool {
        self.link.was_reached()
    }

    /// The time for which records have waited while the brokers acknowledged none; zero if none waits. What
    /// they refuse for good is answered too.
    ///
    /// A partition that is slow or has no leader is not silence, as long as others acknowledge records.
    pub fn silence(&self) -> Duration {
        self.link.silence()
    }

    /// The time for which the oldest record has waited that the brokers have yet to acknowledge, give or
    /// take a second; zero if none waits.
    pub fn oldest(&self) -> Duration {
        let oldest = self.link.waits.oldest();
        oldest.map_or(Duration::ZERO, |oldest| oldest.elapsed())
    }

    /// The reason for which brokers do not answer, as far as it is known: that of the last
    /// [notice](KafkaNotice), unless it is over, or the last problem with a broker.
    pub fn trouble(&self) -> Option<String> {
        self.link.trouble()
    }

    /// The records so far, by their fate.
    pub fn totals(&self) -> KafkaTotals {
        self.link.totals()
    }
}

impl Clone for Kafka {
    fn clone(&self) -> Self {
        let Gathered {
            key,
            max_block,
            random,
            queue,
            backlog,
            ..
        } = &self.gathered;
        Kafka {
            assembly: self.assembly.another(),
            gathered: Gathered::new(
                *key,
                *max_block,
                *random,
                queue.clone(),
                Arc::clone(backlog),
            ),
            max_value: self.max_value,
            link: Arc::clone(&self.link),
        }
    }
}

impl Output for Kafka {
    fn turn(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        let mut gathering = self.gathered.begin(connection);
        let add = &mut |_: &Conn, line: Line<'_>| gathering.add(line);
        let portion = self.assembly.turn(connection, bytes, add)?;
        gathering.hold(connection, bytes.len().saturating_sub(portion.taken));
        Ok(portion)
    }

    fn records(&mut self, connection: &Conn, records: Records<'_>) -> io::Result<Portion> {
        let mut gathering = self.gathered.begin(connection);
        let add = &mut |_: &Conn, line: Line<'_>| gathering.add(line);
        let portion = self.assembly.records(connection, records, add)?;
        gathering.hold(connection, connection.given.saturating_sub(portion.taken));
        Ok(portion)
    }

    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        let mut gathering = self.gathered.begin(connection);
        let add = &mut |_: &Conn, line: Line<'_>| gathering.add(line);
        self.assembly.data(connection, bytes, add)?;
        gathering.hold(connection, 0);
        Ok(())
    }

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        let mut gathering = self.gathered.begin(connection);
        let is_resumed = connection.stream().is_some();
        // The stream may go on within the line, which has no newline yet.
        let add = &mut |_: &Conn, line: Line<'_>| match is_resumed {
            true if line.bytes.is_empty() => Ok(()),
            true => gathering.add(Line {
                goes_on: true,
                ..line
            }),
            false => gathering.add(line),
        };
        self.assembly.close(connection, end, add)?;
        gathering.hold(connection, 0);
        self.gathered.streams.remove(&connection.id());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.gathered.hand_over();
        Ok(())
    }
}

impl Gathered {
    fn new(
        key: KafkaKey,
        max_block: usize,
        random: u64,
        queue: Sender<Vec<Batch>>,
        backlog: Arc<Backlog>,
    ) -> Self {
        Gathered {
            key,
            max_block,
            random,
            streams: HashMap::new(),
            batches: HashMap::new(),
            queue,
            backlog,
        }
    }

    /// Prepares for an event of a stream.
    fn begin(&mut self, connection: &Conn) -> Gathering<'_> {
        let id = connection.id();
        let (key, random) = (self.key, self.random);
        let position = self.streams.entry(id).or_insert_with(|| {
            let behind = connection.stream_offset().unwrap_or(connection.offset);
            Position {
                stream: Arc::new(stream(connection, key, random)),
                next: behind.saturating_sub(connection.given as u64),
                pieces: 0,
            }
        });
        let batch = self.batches.entry(id).or_insert_with(|| Batch {
            stream: Arc::clone(&position.stream),
            values: Vec::new(),
            records: Vec::new(),
            holds: Vec::new(),
            time: now(),
        });
        Gathering {
            position,
            max_block: self.max_block,
            batch,
            taken: 0,
        }
    }

    /// Hands all records to the writer.
    fn hand_over(&mut self) {
        let batches = self.batches.drain().map(|(_, batch)| batch);
        let batches: Vec<_> = batches.filter(|batch| !batch.records.is_empty()).collect();
        if batches.is_empty() {
            return;
        }
        let bytes = batches.iter().map(Batch::bytes).sum();
        self.backlog.add(bytes);
        if let Err(SendError(batches)) = self.queue.send(batches) {
            self.backlog.remove(bytes);
            for hold in batches.into_iter().flat_map(|batch| batch.holds) {
                hold.fail(StreamError::new(io::Error::other("the producer has ended")));
            }
        }
    }
}

impl Batch {
    /// Adds a record.
    fn push(&mut self, value: &[u8], offset: u64, piece: Option<Piece>) {
        self.values.extend_from_slice(value);
        self.records.push(Record {
            end: self.values.len(),
            offset,
            piece,
        });
    }

    /// Adds a line to the last record, if that makes no block that is longer than `max_block` bytes.
    /// Returns whether it did.
    fn join(&mut self, line: &[u8], max_block: usize) -> bool {
        let [before @ .., last] = &mut self.records[..] else {
            return false;
        };
        let begin = before.last().map_or(0, |record| record.end);
        let block = last.end.saturating_sub(begin);
        let block = block.saturating_add(1).saturating_add(line.len());
        if last.piece.is_some() || block > max_block {
            return false;
        }
        self.values.push(b'\n');
        self.values.extend_from_slice(line);
        last.end = self.values.len();
        true
    }

    /// The number of bytes that the records are in their stream, with their newlines.
    fn bytes(&self) -> usize {
        self.values.len().saturating_add(self.records.len())
    }
}

impl Gathering<'_> {
    /// Adds a record.
    fn add(&mut self, line: Line<'_>) -> io::Result<()> {
        let position = &mut *self.position;
        let number = position.pieces.saturating_add(1);
        let piece = (line.goes_on || position.pieces > 0).then_some(Piece {
            number,
            goes_on: line.goes_on,
        });
        position.pieces = if line.goes_on { number } else { 0 };
        let offset = position.next;
        let len = line.bytes.len();
        let newline = u64::from(!line.goes_on);
        position.next = offset.saturating_add(len as u64).saturating_add(newline);
        let taken = match piece.is_none() && self.batch.join(line.bytes, self.max_block) {
            true => len.saturating_add(1),
            false => {
                self.batch.push(line.bytes, offset, piece);
                let facts = RECORD.saturating_add(position.stream.len());
                len.saturating_add(facts)
            }
        };
        self.taken = self.taken.saturating_add(taken);
        Ok(())
    }

    /// Takes a hold for what was added. Of the bytes that the connection was given, `later` are not
    /// taken.
    fn hold(self, connection: &Conn, later: usize) {
        if self.taken > 0 {
            let mut point = connection.hold_point();
            point.move_to(connection.offset.saturating_sub(later as u64));
            self.batch.holds.push(point.hold(self.taken));
        }
    }
}

/// What all records of a stream have in common.
fn stream(connection: &Conn, key: KafkaKey, random: u64) -> Stream {
    let client = connection.names().first().cloned();
    let (name, start) = match connection.stream() {
        Some(name) => resumed_stream(client.as_deref(), name, connection.instance()),
        None => (format!("{random:016x}-{}", connection.id()), 0),
    };
    let key = match key {
        KafkaKey::Client => Some(match &client {
            Some(client) => client.clone(),
            None => prefix::peer(connection),
        }),
        KafkaKey::Peer => Some(prefix::peer(connection)),
        KafkaKey::Conn => Some(name.clone()),
        KafkaKey::None => None,
    };
    Stream::new(key, name, start, connection.peer().to_string(), client)
}

/// The name of a resumed stream of this client, and the offset of its first byte. In the name of the client, `/`
/// and `%` are encoded, so that nobody else's streams have the same names. An anonymous one has no name.
fn resumed_stream(client: Option<&str>, name: &str, instance: Option<Instance>) -> (String, u64) {
    let client = client.unwrap_or_default();
    let client = client.replace('%', "%25").replace('/', "%2F");
    match instance {
        Some(Instance { id, start }) => (format!("{client}/{name}#{id:016x}"), start),
        None => (format!("{client}/{name}"), 0),
    }
}

/// The milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    i64::try_from(millis).unwrap_or(i64::MAX)
}

impl Piece {
    /// The value of its header.
    fn text(&self) -> String {
        let mut text = self.number.to_string();
        if !self.goes_on {
            // Writing to a String can't fail.
            let _ = write!(text, "/{}", self.number);
        }
        text
    }
}

#[cfg(all(test, not(tlsink_loom)))]
mod tests {
    use std::sync::mpsc::Receiver;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::hold::{Holds, MAX_HELD};
    use crate::lane::Lane;
    use crate::output::turn::MAX_WRITTEN;
    use crate::peer::Peer;

    /// A lane whose records nobody produces.
    struct Records {
        output: Kafka,
        queue: Receiver<Vec<Batch>>,
        memory: Memory,
    }

    impl Records {
        fn new(max_line: usize, max_block: usize) -> Self {
            let (sender, queue) = mpsc::channel();
            let gathered = Gathered::new(KafkaKey::Client, max_block, 1, sender, Arc::default());
            let output = Kafka {
                assembly: Assembly::new(RECORD),
                gathered,
                max_value: usize::MAX,
                link: Arc::new(Link::new("logs".to_owned())),
            };
            let memory = Memory::new(16 * MAX_HELD);
            Records {
                output: output.max_line(max_line).memory(memory.clone()),
                queue,
                memory,
            }
        }

        fn open(&self) -> Conn {
            let mut conn = Conn::new(ConnId(1), Peer::label("test"), self.memory.clone());
            let lane = Arc::new(Lane::new());
            conn.holds = Some(Holds::new(conn.id, &lane, &self.memory));
            conn
        }

        /// Gives bytes in turns, as a sink does, until the stream gets none. Returns those that are left.
        fn send<'a>(&mut self, conn: &mut Conn, mut bytes: &'a [u8]) -> &'a [u8] {
            while !bytes.is_empty() && !is_full(conn) {
                conn.given = bytes.len();
                conn.offset += bytes.len() as u64;
                let taken = self.output.turn(conn, bytes).unwrap().taken;
                bytes = &bytes[taken..];
                conn.offset -= bytes.len() as u64;
            }
            bytes
        }

        fn flush(&mut self) -> Vec<Batch> {
            self.output.flush().unwrap();
            self.queue.try_iter().flatten().collect()
        }
    }

    fn is_full(conn: &Conn) -> bool {
        conn.holds.as_ref().unwrap().look().is_full
    }

    #[test]
    fn a_stream_of_empty_lines_is_held_by_what_its_records_take() {
        let mut lane = Records::new(1 << 20, 0);
        let mut conn = lane.open();
        let sent = vec![b'\n'; MAX_HELD];
        let left = lane.send(&mut conn, &sent).len();
        let batches = lane.flush();
        let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
        assert_eq!(records, sent.len() - left);
        assert!(
            records <= (MAX_HELD + MAX_WRITTEN) / RECORD + 1,
            "{records}"
        );
        for hold in batches.into_iter().flat_map(|batch| batch.holds) {
            hold.done();
        }
        assert!(!is_full(&conn));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_byte_is_in_the_record_of_its_offset(
            parts in vec("[x\n]{1,12}", 1..12),
            max_line in 1_usize..12,
            max_block in 0_usize..20,
        ) {
            let mut lane = Records::new(max_line, max_block);
            let mut conn = lane.open();
            for part in &parts {
                assert!(lane.send(&mut conn, part.as_bytes()).is_empty());
            }
            conn.given = 0;
            lane.output.close(&conn, &End::Clean).unwrap();
            let mut rebuilt = String::new();
            for batch in lane.flush() {
                let mut from = 0;
                for record in &batch.records {
                    let value = std::str::from_utf8(&batch.values[from..record.end]).unwrap();
                    from = record.end;
                    assert!(value.len() <= max_line.max(max_block));
                    assert_eq!(record.offset, rebuilt.len() as u64);
                    rebuilt += value;
                    if record.piece.as_ref().is_none_or(|piece| !piece.goes_on) {
                        rebuilt.push('\n');
                    }
                }
                batch.holds.into_iter().for_each(Hold::done);
            }
            // An unfinished line is one, too.
            let mut sent = parts.concat();
            if !sent.ends_with('\n') {
                sent.push('\n');
            }
            assert_eq!(rebuilt, sent);
            assert!(conn.is_through(conn.offset));
        }
    }
}
