//! The folder of the journal: locking it, what its recovery says, and positions without files.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tlsink::output::{Journal, JournalKeeper, KeeperWriter};

use super::super::say::Say;
use super::super::{Failure, start_thread};
use super::space::SpaceWait;

/// The file in the folder that is locked.
const LOCK: &str = "lock";

/// Locks the folder, and waits for that while another process has locked it. Then opens its journal,
/// and repairs the files in `output` before that. Returns the journal and the lock.
///
/// # Errors
///
/// When the folder can't be used, the journal is damaged, or the files can't be repaired.
pub(super) fn open(folder: &Path, output: &Path, say: &Say) -> Result<(Journal, File), Failure> {
    let shown = folder.display();
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    let lock = options.write(true).create(true).truncate(false).open(&path);
    let lock = lock.map_err(|error| {
        let failure = Failure::misused(format!("can't keep the state in {shown}: {error}"));
        match error.kind() {
            ErrorKind::NotFound => failure.hint("--state must exist: make it first"),
            ErrorKind::NotADirectory => failure.hint("give --state a directory of its own"),
            ErrorKind::PermissionDenied => {
                failure.hint("the user who runs tlsink must be allowed to write there")
            }
            _ => failure,
        }
    })?;
    let waits = format!("another process keeps its state in {shown}");
    lock_file(&lock, &path, &waits, say)?;
    let (journal, recovery) = Journal::open(folder, output).map_err(|error| {
        let failure = Failure::misused(format!("can't use the state in {shown}: {error}"));
        match error.kind() {
            ErrorKind::InvalidData => failure.hint(
                "move it away to begin anew: senders go on from their last acknowledgement, so \
                 nothing is missing, but lines may come twice",
            ),
            _ => failure,
        }
    })?;
    let lost = [&recovery.gone, &recovery.short, &recovery.set_aside];
    if lost.iter().any(|paths| !paths.is_empty()) {
        say.warning(&recovery.to_string());
    } else if !recovery.is_empty() {
        say.info(&recovery.to_string());
    }
    Ok((journal, lock))
}

/// Locks a directory or file, and waits for that while another process has locked it, which `waits`
/// says.
pub(super) fn lock_file(lock: &File, path: &Path, waits: &str, say: &Say) -> Result<(), Failure> {
    let mut locked = flock(lock, FlockOperation::NonBlockingLockExclusive);
    if locked == Err(Errno::WOULDBLOCK) {
        say.warning(&format!("{waits}; waiting until it ends"));
        locked = rustix::io::retry_on_intr(|| flock(lock, FlockOperation::LockExclusive));
    }
    locked.map_err(|error| {
        let error = io::Error::from(error);
        Failure::misused(format!("can't lock {}: {error}", path.display()))
    })
}

/// The positions of streams whose lines go to standard output.
pub(super) struct Positions {
    pub(super) keeper: JournalKeeper,
    writer: KeeperWriter,
    lock: File,
}

impl Positions {
    /// Opens the journal in this folder, in which no files are known.
    ///
    /// # Errors
    ///
    /// The same as for [`open`].
    pub(super) fn open(folder: &Path, say: &Say) -> Result<Self, Failure> {
        let (journal, lock) = open(folder, folder, say)?;
        let wait = SpaceWait::new(format!("the state in {}", folder.display()), None, say);
        let (keeper, writer) = journal.keeper();
        Ok(Positions {
            keeper,
            writer: writer.when_full(move |full| match full {
                Some(error) => wait.wait(error),
                None => wait.over(&Ok(())),
            }),
            lock,
        })
    }

    /// Starts the thread that writes the journal; it calls `failed` when it can't go on.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(super) fn start(
        self,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> Result<JournalKeeper, Failure> {
        let Positions {
            keeper,
            writer,
            lock,
        } = self;
        start_thread("journal", move || {
            if let Err(error) = writer.run() {
                failed(error);
            }
            drop(lock);
        })?;
        Ok(keeper)
    }
}
