//! Writing with a journal.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::commit::Commit;
use super::file::Written;
use super::journal::{Journal, Record};
use super::writer::{OpenFiles, syncing_ended};
use super::{AppendWriter, Batch};
use crate::conn::ConnId;
use crate::hold::Hold;
use crate::output::files::is_full;
use crate::output::shared::copy_of;
use crate::resume::{Owner, Position};

mod files;
mod pieces;
mod streams;

/// The journal, for the thread that writes.
pub(super) struct Journaled {
    journal: Journal,
    live: HashMap<u32, Live>,
    /// The files whose record is synced.
    known: HashSet<u64>,
    /// The error of the journal, after which nothing can be written.
    failed: Option<io::Error>,
}

/// A stream that was opened since the start.
#[derive(Debug)]
struct Live {
    /// The connection that it goes on on; `None` while none may add to it.
    owner: Option<Owner>,
    /// The position up to which it is written. If that is not committed yet, all between is in `file`.
    written: Position,
    file: Option<u64>,
    /// A part of it is lost, so its connection must not add more.
    is_broken: bool,
    /// The last connection whose sender wanted to go on with it.
    wanted: ConnId,
}

/// An error of writing a batch.
enum Trouble {
    /// Of its file.
    File(io::Error),
    /// Of the journal, which ends the writer; it is noted.
    Journal,
}

impl AppendWriter {
    /// Keeps a journal, and with it the positions of resumed streams: give
    /// [`ServerBuilder::offsets`](crate::ServerBuilder::offsets) the
    /// [handle](super::Appended::handle). Files are [synced](Self::sync). None by default.
    ///
    /// The journal must have been opened for the directory of this output.
    ///
    /// - Lines are through when they are committed: their file is synced, and the journal, at the same time.
    /// - A file that is rotated gets its next name only when everything in it is committed, and an
    ///   [`AppendNotice::Rotated`](super::AppendNotice::Rotated) follows.
    /// - When the journal has no room and the disk has none for a new one, lines wait.
    pub fn journal(mut self, journal: Journal) -> Self {
        self.journaled = Some(Journaled {
            journal,
            live: HashMap::new(),
            known: HashSet::new(),
            failed: None,
        });
        self.sync(true)
    }
}

impl Journaled {
    pub(super) fn journal(&self) -> Journal {
        self.journal.another()
    }

    pub(super) fn failure(&mut self) -> Option<io::Error> {
        self.failed.take()
    }

    /// The connection that a stream goes on on.
    fn owner(&self, number: u32) -> Option<ConnId> {
        self.live.get(&number)?.owner.as_ref().map(Owner::id)
    }

    /// Lets the connection of a stream add nothing more.
    fn break_stream(&mut self, number: u32) {
        if let Some(live) = self.live.get_mut(&number) {
            live.owner = None;
            live.is_broken = true;
        }
    }

    /// Whether all that was written of a stream is committed.
    fn is_committed(&self, number: u32) -> bool {
        let live = self.live.get(&number);
        live.is_some_and(|live| self.journal.committed(number) == Some(live.written))
    }

    /// Whether a stream can go on in a file without a wait for its commits.
    fn goes_on_in(&self, number: u32, file: u64) -> bool {
        let live = self.live.get(&number);
        live.is_some_and(|live| live.file == Some(file)) || self.is_committed(number)
    }
}

impl OpenFiles {
    /// Writes a batch, and sees to its holds.
    pub(super) fn append_journaled(&mut self, batch: Batch) {
        match batch.parts.is_empty() {
            true => self.append_others(batch),
            false => self.append_resumed(batch),
        }
    }

    /// Writes lines of streams that are not resumed.
    fn append_others(&mut self, batch: Batch) {
        let Batch {
            name, lines, holds, ..
        } = batch;
        let mut files: Vec<Arc<Written>> = Vec::new();
        let mut rest = &lines[..];
        let written = loop {
            if rest.is_empty() {
                break Ok(());
            }
            match self.write_others(&name, rest) {
                Ok(None) => {}
                Ok(Some((count, file))) => {
                    rest = rest.get(count..).unwrap_or_default();
                    // Each commit of the journal is of everything before it, and the last one follows below.
                    if !rest.is_empty() {
                        self.commit(vec![Arc::clone(&file)], Vec::new(), 0);
                    }
                    if files.last().is_none_or(|last| last.id != file.id) {
                        files.push(file);
                    }
                }
                Err(Trouble::File(error)) if is_full(&error) => {
                    self.wait_for_space(&self.directory.join(&*name), error);
                }
                Err(trouble) => break Err(trouble),
            }
        };
        self.waited_for_space(written.is_ok());
        match written {
            Ok(()) => self.commit(files, holds, lines.len()),
            Err(trouble) => {
                self.close(&name);
                let error = self.error(trouble);
                self.lose(&name, holds, lines.len(), &error);
            }
        }
    }

    /// Writes the first of these lines; returns the number of their bytes and their file, or `None` if
    /// they belong to the next file.
    fn write_others(
        &mut self,
        name: &Arc<str>,
        lines: &[u8],
    ) -> Result<Option<(usize, Arc<Written>)>, Trouble> {
        self.open_journaled(name)?;
        let room = match (self.rotate, self.files.get(name)) {
            (Some(size), Some(file)) => file.room_for(lines, size),
            _ => lines.len(),
        };
        if room == 0 {
            self.rotate_journaled(name)?;
            return Ok(None);
        }
        let lines = lines.get(..room).unwrap_or(lines);
        let file = self.write_bytes(name, lines, crc32c::crc32c(lines), Vec::new())?;
        Ok(Some((room, file)))
    }

    /// Sends lines that are written to be committed.
    fn commit(&self, files: Vec<Arc<Written>>, holds: Vec<Hold>, bytes: usize) {
        let Some(own) = &self.journaled else { return };
        let commit = Commit {
            files,
            holds,
            bytes,
            below: own.journal.next(),
        };
        self.send_commit(commit, &self.directory);
    }

    /// Tells streams that their lines are lost.
    fn lose(&mut self, name: &str, holds: Vec<Hold>, bytes: usize, error: &io::Error) {
        let commit = Commit {
            files: Vec::new(),
            holds,
            bytes,
            below: 0,
        };
        let path = self.directory.join(name);
        commit.finish(Err((&path, error)), &self.backlog);
    }

    /// Waits until everything that was sent to be committed is committed or lost.
    fn wait_for_commits(&mut self) -> Result<(), Trouble> {
        match self.await_commits() {
            true => Ok(()),
            false => self.note(Err(syncing_ended())),
        }
    }

    /// Appends a record to the journal, for which there is room; returns its number.
    fn record(&mut self, record: &Record) -> Result<u64, Trouble> {
        self.make_room()?;
        let own = self.journaled.as_ref().ok_or_else(closed)?;
        let recorded = own.journal.record(record);
        self.note(recorded)
    }

    /// Replaces a journal that is nearly full.
    fn make_room(&mut self) -> Result<(), Trouble> {
        let own = self.journaled.as_ref().ok_or_else(closed)?;
        if !own.journal.is_nearly_full() {
            return Ok(());
        }
        self.wait_for_commits()?;
        loop {
            let own = self.journaled.as_mut().ok_or_else(closed)?;
            let Journaled { journal, live, .. } = own;
            let is_in_use = |number| live.get(&number).is_some_and(|live| live.owner.is_some());
            match journal.compact(is_in_use) {
                Ok(()) => {
                    live.retain(|number, _| journal.committed(*number).is_some());
                    self.waited_for_space(true);
                    return Ok(());
                }
                Err(error) if is_full(&error) => {
                    let path = journal.path().to_owned();
                    self.wait_for_space(&path, error);
                }
                failed => return self.note(failed),
            }
        }
    }

    /// Notes an error of the journal.
    fn note<T>(&mut self, result: io::Result<T>) -> Result<T, Trouble> {
        result.map_err(|error| {
            if let Some(own) = &mut self.journaled {
                own.failed.get_or_insert(error);
            }
            Trouble::Journal
        })
    }

    /// The error that streams are told of.
    fn error(&self, trouble: Trouble) -> io::Error {
        let failed = self.journaled.as_ref().and_then(|own| own.failed.as_ref());
        match (trouble, failed) {
            (Trouble::File(error), _) => error,
            (Trouble::Journal, Some(error)) => copy_of(error),
            (Trouble::Journal, None) => syncing_ended(),
        }
    }
}

impl fmt::Debug for Journaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.journal.fmt(f)
    }
}

/// The error of a file that is not open, which does not happen.
fn closed() -> Trouble {
    Trouble::File(ErrorKind::NotFound.into())
}

#[cfg(all(test, not(tlsink_loom)))]
mod tests;
