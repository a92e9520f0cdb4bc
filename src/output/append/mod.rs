//! The output that appends lines to files, which streams share.
//!
//! Lanes gather whole lines, and hand them over at each flush. One thread, the [`AppendWriter`], owns the
//! files and their names; another one syncs them. Holds tell the lanes when lines are written.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SendError, Sender};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::partial::{Partials, Taken, split_lines};
use super::template::PathTemplate;
use super::{Output, StreamError};
use crate::conn::{Conn, ConnId};
use crate::end::End;
use crate::hold::{Hold, HoldPoint};
use crate::memory::Memory;

mod commit;
mod file;
#[cfg(all(unix, feature = "resume"))]
mod journal;
#[cfg(all(unix, feature = "resume"))]
mod journaled;
#[cfg(all(unix, feature = "resume"))]
mod resumed;
#[cfg(not(all(unix, feature = "resume")))]
mod unresumed;
mod writer;

#[cfg(all(unix, feature = "resume"))]
pub use journal::{Journal, Recovery};
use resumed::{Part, StreamCommand, Track};
#[cfg(not(all(unix, feature = "resume")))]
use unresumed as resumed;
pub use writer::{AppendNotice, AppendWriter};

/// Appends the lines of all streams to files. Streams for which the [template](PathTemplate) makes
/// the same path share that file, and a line of one is never spliced with a line of another.
///
/// Only whole lines are written. An unfinished line is kept until it is finished or its connection
/// ends, which adds a newline. A line that outgrows [`max_line`](Self::max_line) is written in
/// pieces, each with a newline of its own.
///
/// Lines are handed to a [`AppendWriter`], which runs on a thread of its own, so no call of this output
/// waits for a disk. It takes a [hold](Conn::hold) for the lines that it hands over, which is done
/// when they are written, or [synced](AppendWriter::sync): until then, no end is clean and no frame is
/// acknowledged. An error of a file ends the streams whose lines it had to take, as
/// [`Cut::Output`](crate::Cut::Output), and no others; the next lines of that name are tried anew.
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
    partials: Partials,
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

/// The number of bytes that are handed over, and neither written, nor synced if they are to be, nor
/// lost.
#[derive(Debug, Default)]
struct Backlog(AtomicUsize);

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
    track: Track,
}

impl Appended {
    /// Appends to files in `directory`, which must exist, with paths made by `template`.
    pub fn new(directory: impl Into<PathBuf>, template: PathTemplate) -> (Self, AppendWriter) {
        let (queue, commands) = mpsc::channel();
        let queue = Arc::new(queue);
        let backlog = Arc::<Backlog>::default();
        let told = Arc::downgrade(&queue);
        let writer = AppendWriter::new(directory.into(), commands, told, Arc::clone(&backlog));
        let batches = Batches::new(template, queue, backlog);
        let partials = Partials::new();
        (Appended { partials, batches }, writer)
    }

    /// The longest line that is kept whole, in bytes. 1 MiB by default.
    pub fn max_line(mut self, bytes: usize) -> Self {
        self.partials.max_line = bytes;
        self
    }

    /// The memory from which unfinished lines are reserved; see [`Sink::memory`]. By default, they
    /// have 1 GiB of their own. When the memory is used up, the longest line is written out as if
    /// it had outgrown [`max_line`](Self::max_line).
    ///
    /// [`Sink::memory`]: crate::Sink::memory
    pub fn memory(mut self, memory: Memory) -> Self {
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
        self.backlog.0.load(Ordering::Relaxed)
    }
}

impl Backlog {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
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
            track: Track::default(),
        };
        self.batches.streams.insert(connection.id(), stream);
        Ok(())
    }

    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        let Appended { partials, batches } = self;
        let id = connection.id();
        let bytes = batches.begin(connection, bytes)?;
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

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        let id = connection.id();
        let last = self.partials.take(id);
        // The unfinished line of a stream that will be resumed comes again.
        let comes_again = connection.stream().is_some() && !end.is_clean();
        if !last.is_empty() && !comes_again {
            self.batches.begin(connection, b"")?;
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

impl Batches {
    fn new(template: PathTemplate, queue: Arc<Sender<Command>>, backlog: Arc<Backlog>) -> Self {
        Batches {
            template,
            streams: HashMap::new(),
            by_name: HashMap::new(),
            resumed: HashMap::new(),
            now: None,
            queue,
            backlog,
        }
    }

    /// Prepares for the next bytes of a connection, and returns those that belong to a line: the
    /// newline behind the last piece of an overlong one is written already.
    fn begin<'a>(&mut self, connection: &Conn, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        let Some(stream) = self.streams.get_mut(&connection.id()) else {
            // This is an error, because nobody would notice the loss of these bytes.
            return Err(io::Error::other("a connection that was not opened"));
        };
        stream.at.move_to(connection.offset);
        let now = *self.now.get_or_insert_with(SystemTime::now);
        let hour = match self.template.is_dated() {
            true => hours(now),
            false => 0,
        };
        if stream.name.as_ref().is_none_or(|(of, _)| *of != hour) {
            let name = self.template.path(connection, stream.opened, now);
            stream.name = Some((hour, name.into()));
        }
        stream.track.look(connection);
        let in_pieces = std::mem::take(&mut stream.in_pieces);
        match bytes.strip_prefix(b"\n") {
            Some(rest) if in_pieces => {
                if stream.track.is_on() {
                    self.add_unwritten(connection.id(), b"\n");
                }
                Ok(rest)
            }
            _ => Ok(bytes),
        }
    }

    /// Adds lines, of which the first may have a part that was kept, and behind them `end`, which the
    /// stream does not have.
    fn add(&mut self, id: ConnId, kept: Taken, lines: &[u8], end: &[u8]) {
        let len = kept.len().saturating_add(lines.len());
        let len = len.saturating_add(end.len());
        let (Some(batch), Some(stream)) = self.batch(id) else {
            return;
        };
        for bytes in [&kept, lines, end] {
            batch.lines.extend_from_slice(bytes);
        }
        let counted = stream.track.part([&kept, lines], len, end.is_empty());
        // The hold reserves the memory of the kept part, too.
        drop(kept);
        batch.push(stream, counted, len);
    }

    /// Counts bytes of a stream that are not written: its position must pass them.
    fn add_unwritten(&mut self, id: ConnId, bytes: &[u8]) {
        if let (Some(batch), Some(stream)) = self.batch(id) {
            let counted = stream.track.part([bytes, b""], 0, false);
            batch.push(stream, counted, bytes.len());
        }
    }

    /// Adds a piece of an overlong line.
    fn add_piece(&mut self, id: ConnId, kept: Taken, piece: &[u8]) {
        self.add(id, kept, piece, b"\n");
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.in_pieces = true;
        }
    }

    /// The batch that a stream's next lines belong to, and the stream.
    fn batch(&mut self, id: ConnId) -> (Option<&mut Batch>, Option<&mut Stream>) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return (None, None);
        };
        let Some((_, name)) = &stream.name else {
            return (None, None);
        };
        let by_name = match stream.track.is_on() {
            true => &mut self.resumed,
            false => &mut self.by_name,
        };
        if !by_name.contains_key(name) {
            let batch = Batch {
                name: Arc::clone(name),
                lines: Vec::new(),
                holds: Vec::new(),
                parts: Vec::new(),
            };
            by_name.insert(Arc::clone(name), batch);
        }
        (by_name.get_mut(name), Some(stream))
    }

    /// Hands all lines to the writer.
    fn hand_over(&mut self) {
        self.now = None;
        if self.by_name.is_empty() && self.resumed.is_empty() {
            return;
        }
        let batches = self.by_name.drain().chain(self.resumed.drain());
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

impl Batch {
    /// Takes the hold of the lines that were added last, for which `len` bytes are kept, and the part
    /// that they are.
    fn push(&mut self, stream: &mut Stream, counted: Option<(Part, u64)>, len: usize) {
        if let Some((part, offset)) = counted {
            // The position of the stream is that of its whole lines, not of all bytes that came.
            stream.at.move_to(offset);
            self.parts.push(part);
        }
        self.holds.push(stream.at.hold(len));
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
