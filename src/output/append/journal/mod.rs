//! The journal: which bytes of the appended files, and how much of each resumed stream, are sure to be
//! on the disk.
//!
//! Before bytes are written to a file, a [record](record) tells which, and the positions of the streams
//! behind them. When both the files and these records are synced, another record commits them. Records are [applied](state)
//! to the same state when they are written and when they are read again, so that
//! [recovery] begins with what was known when the process ended.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};

use crate::resume::{Position, Resumed};

mod file;
mod keeper;
mod mend;
mod record;
mod recovery;
mod state;

use file::{JournalFile, SIZE, Scanned};
pub use keeper::{JournalKeeper, KeeperWriter};
pub(super) use mend::{find, mend, sync_folder};
pub(super) use record::{Batch, Identity, Record};
pub use recovery::Recovery;
use state::{FileState, State};

/// The name of the journal in its folder.
const NAME: &str = "journal";

/// The time after which a stream that nobody uses is forgotten, in days.
const UNUSED: u32 = 30;

/// The most streams of a client that are known. A name costs the sender nothing, and the receiver some
/// 300 bytes of memory for a month.
pub(super) const MOST_STREAMS: usize = 10_000;

/// The memory of an [`AppendWriter`](super::AppendWriter) that outlives the process: with it, each line
/// of a [resumed](crate::resume) stream is in its file exactly once, whatever dies when.
///
/// ```no_run
/// use tlsink::Server;
/// use tlsink::output::{Appended, Journal};
///
/// let (journal, recovery) = Journal::open("state", "logs")?;
/// if !recovery.is_empty() {
///     eprintln!("{recovery}");
/// }
/// let (appended, writer) = Appended::new("logs", "{client}.log".parse()?);
/// let (server, sink) = Server::builder().offsets(appended.handle()).build()?;
/// let writing = std::thread::spawn(|| writer.journal(journal).run());
/// sink.run_blocking(appended)?;
/// writing.join().expect("the writer does not panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Journal {
    path: PathBuf,
    /// The least size of a journal, in bytes.
    least: u64,
    inner: Arc<Mutex<Inner>>,
    /// Held for each sync; whether one has failed.
    syncing: Arc<Mutex<bool>>,
}

#[derive(Debug)]
struct Inner {
    file: JournalFile,
    state: State,
}

impl Journal {
    /// Opens the journal in the folder `state`, and creates it if there is none. Before that, repairs
    /// the files below the folder `output` to which the process before was writing when it ended.
    ///
    /// Nobody else may use either folder meanwhile: lock them before.
    ///
    /// # Errors
    ///
    /// - [`InvalidData`](ErrorKind::InvalidData) when the journal is damaged: bytes that had been
    ///   synced are not what they were. Without it, streams that it knew begin where their senders
    ///   can still send them, so that lines may come twice.
    /// - When a file or a folder can't be read, written or synced.
    ///
    /// # Blocking
    ///
    /// For as long as the repair takes: it reads what was not committed.
    pub fn open(state: impl AsRef<Path>, output: impl AsRef<Path>) -> io::Result<(Self, Recovery)> {
        Journal::open_sized(state.as_ref(), output.as_ref(), SIZE)
    }

    pub(super) fn open_sized(
        folder: &Path,
        output: &Path,
        least: u64,
    ) -> io::Result<(Self, Recovery)> {
        let path = folder.join(NAME);
        let about = |error| about(&path, error);
        let mut state = State::default();
        let mut next = 0;
        if let Some(scanned) = Scanned::read(&path).map_err(about)? {
            for (number, record) in &scanned.records {
                state.apply(*number, record);
            }
            next = scanned.next;
        }
        let recovery = recovery::recover(&mut state, output)?;
        state.forget_unused(oldest_day(), |_| false);
        let snapshot = state.snapshot();
        let file = JournalFile::create(&path, next, &snapshot, least).map_err(about)?;
        let inner = Arc::new(Mutex::new(Inner { file, state }));
        let journal = Journal {
            path,
            least,
            inner,
            syncing: Arc::default(),
        };
        Ok((journal, recovery))
    }

    /// The same journal, for another thread.
    pub(super) fn another(&self) -> Self {
        Journal {
            path: self.path.clone(),
            least: self.least,
            inner: Arc::clone(&self.inner),
            syncing: Arc::clone(&self.syncing),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a record, which is not synced; returns its number.
    ///
    /// # Errors
    ///
    /// When it can't be written. Then the journal can't be used any more.
    pub(super) fn record(&self, record: &Record) -> io::Result<u64> {
        let recorded = self.lock().record(record);
        recorded.map_err(|error| about(&self.path, error))
    }

    /// The number of the next record.
    pub(super) fn next(&self) -> u64 {
        self.lock().file.next()
    }

    /// Appends the losses of files whose sync failed, and the commit of all records below this number,
    /// which are synced, as are the other files.
    ///
    /// The commit itself need not be synced before it is acted on: the batches that it is of are sure to
    /// be whole, and so count at the next start as well. A loss must be, since its batches may look whole.
    ///
    /// # Errors
    ///
    /// When it can't be written or synced. Then the journal can't be used any more.
    ///
    /// # Blocking
    ///
    /// For the sync of a loss.
    pub(super) fn commit(&self, below: u64, lost: &[u64]) -> io::Result<()> {
        let noted = self.note_commit(below, lost);
        noted.map_err(|error| about(&self.path, error))?;
        match lost {
            [] => Ok(()),
            _ => self.sync(),
        }
    }

    fn note_commit(&self, below: u64, lost: &[u64]) -> io::Result<()> {
        let mut inner = self.lock();
        for file in lost {
            if inner.state.file(*file).is_some_and(|known| !known.is_lost) {
                inner.record(&Record::Lost { file: *file })?;
            }
        }
        if inner.state.is_pending(below) {
            let day = today();
            inner.record(&Record::Commit { below, day })?;
        }
        Ok(())
    }

    /// Syncs the records that are not.
    ///
    /// # Errors
    ///
    /// When that fails. Then the journal can't be used any more.
    ///
    /// # Blocking
    ///
    /// For the sync.
    pub(super) fn sync(&self) -> io::Result<()> {
        // The system tells an error to one of those who sync at the same time.
        let mut has_failed = self.syncing.lock();
        if *has_failed {
            let error = io::Error::other("an earlier sync has failed");
            return Err(about(&self.path, error));
        }
        let Some((file, end)) = self.lock().file.unsynced() else {
            return Ok(());
        };
        let synced = file.sync_data();
        *has_failed = synced.is_err();
        synced.map_err(|error| about(&self.path, error))?;
        self.lock().file.set_synced(end);
        Ok(())
    }

    pub(super) fn is_nearly_full(&self) -> bool {
        self.lock().file.is_nearly_full()
    }

    /// Writes a new journal of the committed state, without streams that were not used for long and are
    /// not in use. All batches must be committed or lost, and nobody else may sync the journal.
    ///
    /// # Errors
    ///
    /// When it can't be written or synced. The old one is still in use then.
    ///
    /// # Blocking
    ///
    /// For the sync.
    pub(super) fn compact(&self, is_in_use: impl Fn(u32) -> bool) -> io::Result<()> {
        let mut inner = self.lock();
        inner.state.forget_unused(oldest_day(), is_in_use);
        let (next, snapshot) = (inner.file.next(), inner.state.snapshot());
        inner.file = JournalFile::create(&self.path, next, &snapshot, self.least)?;
        Ok(())
    }

    /// The number of a stream.
    pub(super) fn stream(&self, name: &Resumed) -> Option<u32> {
        self.lock().state.number(name)
    }

    /// The position up to which a stream is committed.
    pub(super) fn committed(&self, stream: u32) -> Option<Position> {
        let inner = self.lock();
        inner.state.stream(stream).map(|stream| stream.committed)
    }

    /// Notes that a stream is used today.
    ///
    /// # Errors
    ///
    /// When that can't be written. Then the journal can't be used any more.
    pub(super) fn use_stream(&self, number: u32) -> io::Result<()> {
        let mut inner = self.lock();
        let day = today();
        if let Some(stream) = inner.state.stream(number)
            && stream.day < day
        {
            let record = Record::Stream {
                stream: number,
                name: Arc::clone(&stream.name),
                at: stream.committed,
                day,
            };
            inner.record(&record)?;
        }
        Ok(())
    }

    /// Notes that a stream, whose lines are in no file that is known here, has this position.
    ///
    /// # Errors
    ///
    /// When that can't be written. Then the journal can't be used any more.
    fn move_stream(&self, stream: u32, to: Position) -> io::Result<()> {
        let day = today();
        let moved = Record::Moved { stream, to, day };
        self.record(&moved).map(|_| ())
    }

    /// Adds a stream that is not known, at this position; returns its number, or `None` if its client has
    /// too many.
    ///
    /// # Errors
    ///
    /// When that can't be written. Then the journal can't be used any more.
    pub(super) fn add_stream(
        &self,
        name: &Arc<Resumed>,
        at: Position,
        is_in_use: impl Fn(u32) -> bool,
    ) -> io::Result<Option<u32>> {
        let mut inner = self.lock();
        if inner.state.count() >= MOST_STREAMS {
            let oldest = oldest_day();
            let of_client = inner.state.streams();
            let of_client = of_client.filter(|(_, stream)| stream.name.client == name.client);
            let of_client: Vec<_> = of_client.map(|(number, s)| (number, s.day)).collect();
            if of_client.len() >= MOST_STREAMS {
                let unused = of_client.into_iter();
                let unused = unused.filter(|(number, day)| *day < oldest && !is_in_use(*number));
                let unused: Vec<_> = unused.collect();
                if unused.is_empty() {
                    return Ok(None);
                }
                for (stream, _) in unused {
                    inner.record(&Record::Forget { stream })?;
                }
            }
        }
        let stream = inner.state.next_stream();
        inner.record(&Record::Stream {
            stream,
            name: Arc::clone(name),
            at,
            day: today(),
        })?;
        Ok(Some(stream))
    }

    /// Calls `look` with what is known of a file that is not closed.
    pub(super) fn with_file<T>(&self, file: u64, look: impl FnOnce(&FileState) -> T) -> Option<T> {
        self.lock().state.file(file).map(look)
    }

    /// The file of this identity that is not closed.
    pub(super) fn find_file(&self, identity: Identity) -> Option<u64> {
        let inner = self.lock();
        let mut files = inner.state.files();
        files
            .find(|(_, known)| known.identity == identity)
            .map(|(file, _)| file)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn record(&mut self, record: &Record) -> io::Result<u64> {
        let number = self.file.append(record)?;
        self.state.apply(number, record);
        Ok(number)
    }
}

/// An error of the journal with this path.
fn about(path: &Path, error: io::Error) -> io::Error {
    let text = match error.kind() {
        ErrorKind::InvalidData => format!("{} is damaged", path.display()),
        _ => format!("{}: {error}", path.display()),
    };
    io::Error::new(error.kind(), text)
}

/// The present day, counted from 1970.
fn today() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let days = since.unwrap_or_default().as_secs() / (24 * 3600);
    u32::try_from(days).unwrap_or(u32::MAX)
}

/// The day before which a stream was last used when it is forgotten.
fn oldest_day() -> u32 {
    today().saturating_sub(UNUSED)
}

#[cfg(test)]
mod tests;
