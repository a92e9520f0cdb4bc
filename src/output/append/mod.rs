//! The output that appends lines to files, which streams share.
//!
//! Lanes gather whole lines, and hand them over at each flush. One thread, the [`AppendWriter`], owns the
//! files and their names; another one syncs them. Holds tell the lanes when lines are written.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, SendError, Sender};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::backlog::Backlog;
use super::json::Objects;
use super::partial::{Partials, Taken, split_lines};
use super::prefix::{Front, LineFront, Prefix};
use super::template::PathTemplate;
use super::turn::turn_of;
use super::{Output, Portion, StreamError, records_as_lines};
use crate::conn::{Conn, ConnId};
use crate::end::End;
use crate::frame::Records;
use crate::hold::{Hold, HoldPoint};
use crate::memory::Memory;

mod closed;
mod commit;
mod file;
mod format;
#[cfg(all(unix, feature = "resume"))]
mod journal;
#[cfg(all(unix, feature = "resume"))]
mod journaled;
mod notice;
#[cfg(feature = "compress")]
mod pack;
#[cfg(all(unix, feature = "resume"))]
mod resumed;
#[cfg(not(all(unix, feature = "resume")))]
mod unresumed;
mod writer;

pub use closed::Keep;
use format::{Format, Pages};
#[cfg(all(unix, feature = "resume"))]
pub use journal::{Journal, JournalKeeper, KeeperWriter, Recovery};
pub use notice::AppendNotice;
use resumed::{Part, StreamCommand, Track};
#[cfg(not(all(unix, feature = "resume")))]
use unresumed as resumed;
pub use writer::AppendWriter;

/// Appends the lines of all streams to files. Streams for which the [template](PathTemplate) makes
/// the same path share that file, and a line of one is never spliced with a line of another.
///
/// Only whole lines are written. An unfinished line is kept until it is finished or its connection
/// ends, which adds a newline. A line that outgrows [`max_line`](Self::max_line) is written in
/// pieces, each with a newline of its own. Lines are written as they came, unless they get
/// [labels](Self::labels), a [prefix](Self::prefix), or become [objects](Self::json).
///
/// Lines are handed to a [`AppendWriter`], which runs on a thread of its own, so no call of this output
/// waits for a disk. It takes a [hold](Conn::hold) for the lines that it hands over, which is done
/// when they are written, or [synced](AppendWriter::sync): until then, no end is clean and no frame is
/// acknowledged. An error of a file ends the streams whose lines it had to take, as
/// [`Cut::Output`](crate::Cut::Output), and no others; the next lines of that name are tried anew.
///
/// With a [`Journal`](crate::output::Journal), each line of a [resumed](crate::resume) stream is in its
/// file exactly once, whatever dies when.
///
/// Clones share the writer, but each has unfinished lines of its own: give one clone to each lane.
///
/// ```no_run
/// use std::thread;
///
/// use tlsink::Server;
/// use tlsink::output::Appended;
///
/// let (appended, writer) = Appended::new("logs", "{client}/{date}.log".parse()?);
/// let writing = thread::spawn(|| writer.sync(true).rotate(Some(1 << 30)).run());
///
/// let (server, sink) = Server::builder().build()?;
/// sink.run_blocking(appended)?;
/// writing.join().expect("the writer does not panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Appended {
    /// Unused by objects, which have unfinished lines of their own.
    partials: Partials,
    format: Format,
    batches: Batches,
}

/// Asks for what concerns all files of an [`Appended`], from any thread.
#[derive(Clone, Debug)]
pub struct AppendHandle {
    /// Weak, so that the writer ends with its outputs.
    queue: Weak<Sender<Command>>,
    backlog: Arc<Backlog>,
}

/// A message to the writer.
#[derive(Debug)]
enum Command {
    Append(Vec<Batch>),
    /// Close all files: the next lines open them anew.
    Reopen,
    #[cfg_attr(
        not(all(unix, feature = "resume")),
        expect(dead_code, reason = "no streams are resumed")
    )]
    Stream(StreamCommand),
    /// Nothing can be committed any more.
    Failed,
}

/// Whole lines for one file.
#[derive(Debug)]
struct Batch {
    /// The path, below the directory.
    name: Arc<str>,
    lines: Vec<u8>,
    /// The holds of the streams that the lines come from.
    holds: Vec<Hold>,
    /// The parts that the lines are, one for each hold, if they come from streams whose positions are
    /// kept here; empty if not.
    parts: Vec<Part>,
}

/// The lines of one lane since its last flush.
#[derive(Debug)]
struct Batches {
    template: PathTemplate,
    streams: HashMap<ConnId, Stream>,
    by_name: HashMap<Arc<str>, Batch>,
    /// The same, of streams whose positions are kept here.
    resumed: HashMap<Arc<str>, Batch>,
    /// The time of these lines, once there is one.
    now: Option<SystemTime>,
    /// The number of bytes added in this turn.
    added: usize,
    queue: Arc<Sender<Command>>,
    backlog: Arc<Backlog>,
}

/// An open connection.
#[derive(Debug)]
struct Stream {
    opened: SystemTime,
    /// The name of its file in this hour; `None` before its first lines.
    name: Option<(u64, Arc<str>)>,
    /// The end of the bytes that came.
    at: HoldPoint,
    /// The last line was overlong, and goes on.
    in_pieces: bool,
    /// The front of its lines, if they have one; `None` before the first.
    front: Option<LineFront>,
    /// The object that says that it was opened, until the name of its file is known.
    opening: Vec<u8>,
    track: Track,
}

impl Appended {
    /// Appends to files in `directory`, which must exist, with paths made by `template`.
    pub fn new(directory: impl Into<PathBuf>, template: PathTemplate) -> (Self, AppendWriter) {
        let (queue, commands) = mpsc::channel();
        let queue = Arc::new(queue);
        let backlog = Arc::<Backlog>::default();
        let writer = AppendWriter::new(
            directory.into(),
            template.clone(),
            commands,
            Arc::downgrade(&queue),
            Arc::clone(&backlog),
        );
        let batches = Batches::new(template, queue, backlog);
        let partials = Partials::new();
        let appended = Appended {
            partials,
            format: Format::Lines(Front::Nothing),
            batches,
        };
        (appended, writer)
    }

    /// Whether each line begins with its sender, as with [`Lines::labels`](super::Lines::labels). Off
    /// by default.
    ///
    /// Each piece of an overlong line has the label again.
    pub fn labels(mut self, on: bool) -> Self {
        self.format = Format::Lines(match on {
            true => Front::Label,
            false => Front::Nothing,
        });
        self
    }

    /// Begins each line with this, in place of a [label](Self::labels). By default, lines have none.
    ///
    /// Each piece of an overlong line has the prefix again. Its times are those that choose the file:
    /// the time at which the first lines came that the writer was not handed yet.
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.format = Format::Lines(Front::Prefix(prefix));
        self
    }

    /// Whether each line becomes a JSON object, and each connection that opens or closes has one, as
    /// [`Json`](super::Json) prints them, in the file of that stream. Off by default; takes the place
    /// of labels and prefix.
    ///
    /// A connection that sends nothing has two objects, too. If the [template](PathTemplate) has
    /// `{stream}`, its first object is written with the next one: before, the name of its file is not
    /// known. A refused connection is no stream, and has none.
    pub fn json(mut self, on: bool) -> Self {
        self.format = match on {
            true => {
                let mut objects = Objects::new(Pages::default(), self.partials.another());
                objects.max_line(self.partials.max_line);
                Format::Json(Box::new(objects))
            }
            false => Format::Lines(Front::Nothing),
        };
        self
    }

    /// The longest line that is kept whole, in bytes. 1 MiB by default.
    pub fn max_line(mut self, bytes: usize) -> Self {
        self.partials.max_line = bytes;
        if let Format::Json(objects) = &mut self.format {
            objects.max_line(bytes);
        }
        self
    }

    /// The memory from which unfinished lines are reserved; see [`Sink::memory`]. By default, they
    /// have 1 GiB of their own. When the memory is used up, the longest line is written out as if
    /// it had outgrown [`max_line`](Self::max_line).
    ///
    /// [`Sink::memory`]: crate::Sink::memory
    pub fn memory(mut self, memory: Memory) -> Self {
        if let Format::Json(objects) = &mut self.format {
            objects.memory(memory.clone());
        }
        self.partials.memory = memory;
        self
    }

    /// A handle for all clones of this output.
    pub fn handle(&self) -> AppendHandle {
        AppendHandle {
            queue: Arc::downgrade(&self.batches.queue),
            backlog: Arc::clone(&self.batches.backlog),
        }
    }
}

impl AppendHandle {
    /// Closes all files. Lines that are flushed from now on go to files of the same names, which are
    /// created if the old ones were renamed.
    ///
    /// A file that was renamed or removed is noticed within a second without this.
    pub fn reopen(&self) {
        if let Some(queue) = self.queue.upgrade() {
            // A writer that has ended has no files open.
            let _ = queue.send(Command::Reopen);
        }
    }

    /// The number of bytes that the writer has yet to write, or to sync.
    pub fn backlog(&self) -> usize {
        self.backlog.bytes()
    }
}

impl Clone for Appended {
    fn clone(&self) -> Self {
        let Batches {
            template,
            queue,
            backlog,
            ..
        } = &self.batches;
        Appended {
            partials: self.partials.another(),
            format: self.format.another(),
            batches: Batches::new(template.clone(), Arc::clone(queue), Arc::clone(backlog)),
        }
    }
}

impl Output for Appended {
    fn open(&mut self, connection: &Conn) -> io::Result<()> {
        let stream = Stream {
            opened: SystemTime::now(),
            name: None,
            at: connection.hold_point(),
            in_pieces: false,
            front: None,
            opening: Vec::new(),
            track: Track::default(),
        };
        let id = connection.id();
        self.batches.streams.insert(id, stream);
        let Format::Json(objects) = &mut self.format else {
            return Ok(());
        };
        objects.open(connection)?;
        let pages = objects.sink().take();
        if let Some(stream) = self.batches.streams.get_mut(&id) {
            stream.opening = pages.into_iter().flat_map(|(_, page)| page).collect();
        }
        if !self.batches.template.has_stream() {
            self.batches.begin(connection, b"", 0)?;
        }
        Ok(())
    }

    fn turn(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        let taken = match &mut self.format {
            Format::Lines(Front::Nothing) => bytes.len(),
            Format::Lines(front) => turn_of(bytes, self.batches.front(connection, front)),
            Format::Json(objects) => {
                let portion = objects.turn(connection, bytes)?;
                let left = bytes.len().saturating_sub(portion.taken);
                self.batches.begin(connection, b"", left)?;
                let taken = bytes.get(..portion.taken).unwrap_or(bytes);
                self.batches.take(connection.id(), taken);
                self.batches.add_pages(objects);
                return Ok(portion);
            }
        };
        let (now, later) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
        self.batches.added = 0;
        self.lines(connection, now, later.len())?;
        Ok(Portion::new(taken, self.batches.added.max(taken)))
    }

    fn records(&mut self, connection: &Conn, records: Records<'_>) -> io::Result<Portion> {
        let Format::Json(objects) = &mut self.format else {
            return records_as_lines(self, connection, records);
        };
        let portion = objects.records(connection, records)?;
        let left = connection.given.saturating_sub(portion.taken);
        self.batches.begin(connection, b"", left)?;
        self.batches.add_pages(objects);
        Ok(portion)
    }

    fn data(&mut self, connection: &Conn, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let Portion { taken, .. } = self.turn(connection, bytes)?;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        let id = connection.id();
        if let Format::Json(objects) = &mut self.format {
            objects.close(connection, end)?;
            self.batches.begin(connection, b"", 0)?;
            match connection.comes_again(end) {
                true => self.batches.add_notes(objects.sink().take()),
                false => self.batches.add_pages(objects),
            }
        }
        let last = self.partials.take_last(connection, end);
        if !last.is_empty() {
            self.batches.begin(connection, b"", 0)?;
            self.batches.add(id, last, b"", b"\n");
        }
        self.batches.streams.remove(&id);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.batches.hand_over();
        Ok(())
    }
}

impl Appended {
    /// Adds lines, and keeps the beginning of one, behind which the connection was given `later` bytes
    /// more.
    fn lines(&mut self, connection: &Conn, bytes: &[u8], later: usize) -> io::Result<()> {
        let Appended {
            partials,
            format,
            batches,
        } = self;
        let id = connection.id();
        if let Format::Lines(front) = format
            && !front.is_nothing()
        {
            batches.front(connection, front);
        }
        let bytes = batches.begin(connection, bytes, later)?;
        let (lines, rest) = split_lines(bytes);
        if !lines.is_empty() {
            batches.add(id, partials.take(id), lines, b"");
        }
        let kept = partials.keep(connection, rest, |id, line| {
            batches.add_piece(id, Taken::nothing(), line);
            Ok(0)
        })?;
        if !kept {
            batches.add_piece(id, partials.take(id), rest);
        }
        Ok(())
    }
}

impl Batches {
    fn new(template: PathTemplate, queue: Arc<Sender<Command>>, backlog: Arc<Backlog>) -> Self {
        Batches {
            template,
            streams: HashMap::new(),
            by_name: HashMap::new(),
            resumed: HashMap::new(),
            now: None,
            added: 0,
            queue,
            backlog,
        }
    }

    /// Prepares for the next bytes of a connection, behind which it was given `later` bytes more, and
    /// returns those that belong to a line: the newline behind the last piece of an overlong one is
    /// written already.
    fn begin<'a>(
        &mut self,
        connection: &Conn,
        bytes: &'a [u8],
        later: usize,
    ) -> io::Result<&'a [u8]> {
        let Some(stream) = self.streams.get_mut(&connection.id()) else {
            // This is an error, because nobody would notice the loss of these bytes.
            return Err(io::Error::other("a connection that was not opened"));
        };
        stream.track.look(connection);
        // The position of a stream that is kept here is that of its whole lines.
        if !stream.track.is_on() {
            let offset = connection.offset.saturating_sub(later as u64);
            stream.at.move_to(offset);
        }
        let now = *self.now.get_or_insert_with(SystemTime::now);
        let hour = match self.template.is_dated() {
            true => hours(now),
            false => 0,
        };
        if stream.name.as_ref().is_none_or(|(of, _)| *of != hour) {
            let name = self.template.path(connection, stream.opened, now);
            stream.name = Some((hour, name.into()));
        }
        let in_pieces = std::mem::take(&mut stream.in_pieces);
        let opening = std::mem::take(&mut stream.opening);
        if !opening.is_empty() {
            // It comes before the lines, and has no bytes of the stream.
            self.push(connection.id(), true, |stream, written| {
                written.extend_from_slice(&opening);
                stream.track.part([b"", b""], false)
            });
        }
        match bytes.strip_prefix(b"\n") {
            Some(rest) if in_pieces => {
                self.pass(connection.id(), b"\n");
                Ok(rest)
            }
            _ => Ok(bytes),
        }
    }

    /// Counts bytes that the objects of a connection took.
    fn take(&mut self, id: ConnId, bytes: &[u8]) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.track.take(bytes);
        }
    }

    /// Adds lines, of which the first may have a part that was kept, and behind them `end`, which the
    /// stream does not have.
    fn add(&mut self, id: ConnId, kept: Taken, lines: &[u8], end: &[u8]) {
        let now = self.now.unwrap_or(UNIX_EPOCH);
        self.push(id, true, |stream, written| {
            let is_verbatim = stream.front.is_none() && end.is_empty();
            match &mut stream.front {
                None => {
                    for bytes in [&kept, lines, end] {
                        written.extend_from_slice(bytes);
                    }
                }
                Some(front) if end.is_empty() => front.push_lines(written, &kept, lines, now),
                Some(front) => front.push_lines(written, &kept, &[lines, end].concat(), now),
            }
            // The hold reserves the memory of the kept part, too.
            stream.track.part([&kept, lines], is_verbatim)
        });
    }

    /// Passes bytes of a stream that are not written.
    fn pass(&mut self, id: ConnId, bytes: &[u8]) {
        let is_tracked = |stream: &Stream| stream.track.is_on();
        if self.streams.get(&id).is_some_and(is_tracked) {
            self.push(id, true, |stream, _| stream.track.part([bytes, b""], false));
        }
    }

    /// Adds pages of objects, each for its connection.
    fn add_pages(&mut self, objects: &mut Objects<Pages>) {
        for (id, page) in objects.sink().take() {
            self.push(id, true, |stream, written| {
                written.extend_from_slice(&page);
                stream.track.part_before(objects.kept(id))
            });
        }
    }

    /// Adds pages of objects that have no bytes of their streams, and that nobody sends again.
    fn add_notes(&mut self, pages: Vec<(ConnId, Vec<u8>)>) {
        for (id, page) in pages {
            self.push(id, false, |_, written| {
                written.extend_from_slice(&page);
                None
            });
        }
    }

    /// Adds lines of a connection, which `write` appends to the others of the same file. It returns the
    /// part of the stream that they are, and the offset on the connection behind it, if `is_data` and the
    /// position of the stream is kept here.
    fn push(
        &mut self,
        id: ConnId,
        is_data: bool,
        write: impl FnOnce(&mut Stream, &mut Vec<u8>) -> Option<(Part, u64)>,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let Some((_, name)) = &stream.name else {
            return;
        };
        let by_name = match is_data && stream.track.is_on() {
            true => &mut self.resumed,
            false => &mut self.by_name,
        };
        let batch = match by_name.get_mut(name) {
            Some(batch) => batch,
            None => by_name.entry(Arc::clone(name)).or_insert(Batch {
                name: Arc::clone(name),
                lines: Vec::new(),
                holds: Vec::new(),
                parts: Vec::new(),
            }),
        };
        let before = batch.lines.len();
        let counted = write(stream, &mut batch.lines);
        let len = batch.lines.len().saturating_sub(before);
        self.added = self.added.saturating_add(len);
        let mut held = len;
        if let Some((mut part, offset)) = counted {
            held = held.max(part.take_len(len));
            stream.at.move_to(offset);
            batch.parts.push(part);
        }
        batch.holds.push(stream.at.hold(held));
    }

    /// The length of the front of this connection's lines.
    fn front(&mut self, connection: &Conn, front: &Front) -> usize {
        let Some(stream) = self.streams.get_mut(&connection.id()) else {
            return 0;
        };
        let front = stream.front.get_or_insert_with(|| front.of(connection));
        front.len()
    }

    /// Adds a piece of an overlong line.
    fn add_piece(&mut self, id: ConnId, kept: Taken, piece: &[u8]) {
        self.add(id, kept, piece, b"\n");
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.in_pieces = true;
        }
    }

    /// Hands all lines to the writer.
    fn hand_over(&mut self) {
        self.now = None;
        if self.by_name.is_empty() && self.resumed.is_empty() {
            return;
        }
        // The object that says that a stream was closed comes last.
        let batches = self.resumed.drain().chain(self.by_name.drain());
        let batches: Vec<_> = batches.map(|(_, batch)| batch).collect();
        let bytes = batches.iter().map(|batch| batch.lines.len()).sum();
        self.backlog.add(bytes);
        if let Err(SendError(Command::Append(batches))) = self.queue.send(Command::Append(batches))
        {
            self.backlog.remove(bytes);
            for hold in batches.into_iter().flat_map(|batch| batch.holds) {
                hold.fail(StreamError::new(io::Error::other("the writer has ended")));
            }
        }
    }
}

/// The number of full hours since 1970.
fn hours(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_secs() / 3600
}

#[cfg(all(test, not(tlsink_loom)))]
mod tests {
    use std::sync::mpsc::Receiver;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::hold::{Holds, MAX_HELD};
    use crate::lane::Lane;
    use crate::peer::Peer;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A lane, and its streams.
    struct Lines {
        output: Appended,
        commands: Receiver<Command>,
        memory: Memory,
    }

    impl Lines {
        fn new(template: &str, memory: usize) -> Self {
            let (queue, commands) = mpsc::channel();
            let template = template.parse().unwrap();
            let memory = Memory::new(memory);
            let mut partials = Partials::new();
            partials.memory = memory.clone();
            Lines {
                output: Appended {
                    partials,
                    format: Format::Lines(Front::Nothing),
                    batches: Batches::new(template, Arc::new(queue), Arc::default()),
                },
                commands,
                memory,
            }
        }

        fn open(&mut self, id: u64) -> Conn {
            let mut conn = Conn::new(ConnId(id), Peer::label("test"), self.memory.clone());
            let lane = Arc::new(Lane::new());
            conn.holds = Some(Holds::new(conn.id, &lane, &self.memory));
            self.output.open(&conn).unwrap();
            conn
        }

        fn send(&mut self, conn: &mut Conn, bytes: &[u8]) {
            conn.given = bytes.len();
            conn.offset += bytes.len() as u64;
            self.output.data(conn, bytes).unwrap();
        }

        /// The names and lines that are handed over, and the holds.
        fn flush(&mut self) -> (Vec<(String, String)>, Vec<Hold>) {
            self.output.flush().unwrap();
            let (mut batches, mut holds) = (Vec::new(), Vec::new());
            while let Ok(Command::Append(all)) = self.commands.try_recv() {
                for batch in all {
                    let lines = String::from_utf8(batch.lines).unwrap();
                    batches.push((batch.name.to_string(), lines));
                    holds.extend(batch.holds);
                }
            }
            batches.sort();
            (batches, holds)
        }
    }

    fn batch(name: &str, lines: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), lines.to_owned())]
    }

    #[test]
    fn a_stream_goes_on_in_the_next_file_when_the_hour_changes() {
        let mut lane = Lines::new("{hour}", 1 << 20);
        let mut conn = lane.open(1);
        let mut holds = Vec::new();
        for (hour, sent, name, written) in [
            (9, "one\ntw", "09", "one\n"),
            (9, "o\n", "09", "two\n"),
            (10, "three\n", "10", "three\n"),
            (33, "four\n", "09", "four\n"),
        ] {
            lane.output.batches.now = Some(UNIX_EPOCH + hour * HOUR);
            lane.send(&mut conn, sent.as_bytes());
            let (batches, taken) = lane.flush();
            assert_eq!(batches, batch(name, written));
            holds.extend(taken);
        }
        holds.into_iter().for_each(Hold::done);
    }

    #[test]
    fn a_hold_counts_the_part_of_the_line_that_came_before() {
        let mut lane = Lines::new("log", 16 * MAX_HELD);
        let mut conn = lane.open(1);
        lane.output.partials.max_line = 2 * MAX_HELD;
        lane.send(&mut conn, &vec![b'x'; MAX_HELD]);
        assert!(lane.flush().0.is_empty());
        let is_full = |conn: &Conn| conn.holds.as_ref().unwrap().look().is_full;
        assert!(!is_full(&conn));
        lane.send(&mut conn, b"\n");
        assert!(is_full(&conn));
        let (_, holds) = lane.flush();
        assert!(holds.iter().all(Hold::is_waited_for));
        holds.into_iter().for_each(Hold::done);
        assert!(!is_full(&conn));
    }

    #[test]
    fn without_memory_the_longest_line_is_written_in_pieces_and_held() {
        let mut lane = Lines::new("log", 100);
        let [mut long, mut short] = [lane.open(1), lane.open(2)];
        lane.send(&mut long, &[b'l'; 60]);
        lane.send(&mut short, &[b's'; 50]);
        let (batches, holds) = lane.flush();
        let piece = "l".repeat(60) + "\n";
        assert_eq!(batches, batch("log", &piece));
        let is_through = |conn: &Conn| conn.is_through(60);
        assert!(!is_through(&long));
        holds.into_iter().for_each(Hold::done);
        assert!(is_through(&long));
        // Its line ended with the piece.
        lane.send(&mut long, b"\n");
        assert!(lane.flush().0.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn only_whole_lines_are_handed_over_and_newlines_added_only_behind_pieces(
            parts in vec("[x\n]{1,12}", 1..12),
            max_line in 1_usize..12,
        ) {
            let mut lane = Lines::new("log", 1 << 20);
            lane.output.partials.max_line = max_line;
            let mut conn = lane.open(1);
            let mut written = String::new();
            let mut take = |lane: &mut Lines| {
                let (batches, holds) = lane.flush();
                holds.into_iter().for_each(Hold::done);
                written.extend(batches.into_iter().map(|(_, lines)| lines));
                assert!(written.is_empty() || written.ends_with('\n'));
            };
            for part in &parts {
                lane.send(&mut conn, part.as_bytes());
                take(&mut lane);
            }
            lane.output.close(&conn, &End::Clean).unwrap();
            take(&mut lane);
            // The number of newlines before each x, and behind the last one.
            let newlines = |text: &str| text.split('x').map(str::len).collect::<Vec<_>>();
            let sent = newlines(&parts.concat());
            let written = newlines(&written);
            prop_assert_eq!(sent.len(), written.len());
            for (sent, written) in sent.iter().zip(&written) {
                prop_assert!(written == sent || (*sent, *written) == (0, 1));
            }
        }
    }

    #[test]
    fn a_hold_counts_the_bytes_that_are_written_and_ends_with_those_that_were_taken() {
        let prefix = "x".repeat(100);
        for is_json in [false, true] {
            let mut lane = Lines::new("log", 1 << 30);
            lane.output = match is_json {
                true => lane.output.json(true),
                false => lane.output.prefix(prefix.parse().unwrap()),
            };
            let mut conn = lane.open(1);
            lane.flush().1.into_iter().for_each(Hold::done);
            let all = vec![b'\n'; 2 * MAX_HELD / 100];
            conn.given = all.len();
            conn.offset += all.len() as u64;
            let portion = lane.output.turn(&conn, &all).unwrap();
            assert!(portion.taken < all.len() && portion.written > portion.taken * 50);
            let (batches, holds) = lane.flush();
            assert_eq!(batches[0].1.lines().count(), portion.taken);
            assert!(!conn.is_through(portion.taken as u64));
            let held = batches[0].1.len();
            assert_eq!(
                conn.holds.as_ref().unwrap().look().is_full,
                held >= MAX_HELD
            );
            holds.into_iter().for_each(Hold::done);
            assert!(conn.is_through(portion.taken as u64));
        }
    }

    #[test]
    fn without_memory_the_line_of_another_stream_becomes_an_object_of_its_own_file() {
        let mut lane = Lines::new("{conn}", 100);
        let memory = lane.memory.clone();
        lane.output = lane.output.json(true).memory(memory);
        let [mut long, mut short] = [lane.open(1), lane.open(2)];
        lane.flush().1.into_iter().for_each(Hold::done);
        lane.send(&mut long, &[b'l'; 60]);
        lane.send(&mut short, &[b's'; 50]);
        let (batches, holds) = lane.flush();
        let [(name, object)] = &batches[..] else {
            panic!("{batches:?}");
        };
        assert_eq!(name, "1");
        assert!(object.contains(&"l".repeat(60)) && object.ends_with("\"partial\":true}\n"));
        holds.into_iter().for_each(Hold::done);
    }

    #[test]
    fn without_a_writer_the_streams_are_cut() {
        let mut lane = Lines::new("log", 100);
        let mut conn = lane.open(1);
        lane.send(&mut conn, b"lost\n");
        let handle = lane.output.handle();
        (_, lane.commands) = mpsc::channel();
        lane.output.flush().unwrap();
        let failure = conn.holds.as_ref().unwrap().look().failure;
        let reason = failure.map(|end| end.to_string());
        let expected = "cut (the output failed: the writer has ended)";
        assert_eq!(reason.as_deref(), Some(expected));
        assert_eq!(handle.backlog(), 0);
    }
}
