//! Writing with a journal.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use super::commit::{Commit, Request};
use super::file::{AppendFile, Written, rename_to_free, rotation};
use super::journal::{Batch as Bytes, Identity, Journal, MOST_STREAMS, Record, mend, sync_folder};
use super::resumed::{Opening, Part, StreamCommand};
use super::writer::OpenFiles;
use super::{AppendHandle, AppendNotice, AppendWriter, Batch, Command};
use crate::conn::ConnId;
use crate::end::{Cut, End};
use crate::hold::Hold;
use crate::limit::Limit;
use crate::output::StreamError;
use crate::output::files::is_full;
use crate::output::shared::copy_of;
use crate::resume::{Offsets, Owner, Position, Progress};

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

/// A part of a batch that is yet to be written.
struct Piece {
    part: Part,
    /// The number of its stream.
    number: u32,
    /// The position of its bytes in the batch.
    at: usize,
    hold: Hold,
}

impl AppendWriter {
    /// Keeps a journal, and with it the positions of resumed streams: give
    /// [`ServerBuilder::offsets`](crate::ServerBuilder::offsets) the
    /// [handle](super::Appended::handle). Files are [synced](Self::sync). None by default.
    ///
    /// The journal must have been opened for the directory of this output.
    ///
    /// - Lines are through when they are committed: their file is synced, and then the journal.
    /// - A file that is rotated gets its next name only when everything in it is committed, and an
    ///   [`AppendNotice::Rotated`] follows.
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

/// Keeps the positions of resumed streams in the [journal](AppendWriter::journal) of the writer. Without
/// one, they are refused. All streams of the server must go to this output.
impl Offsets for AppendHandle {
    fn open(&self, opening: Opening) {
        if let Some(queue) = self.queue.upgrade() {
            // A writer that has ended refuses the stream, by dropping this.
            let _ = queue.send(Command::Stream(StreamCommand::Open(opening)));
        }
    }

    /// The writer keeps them, when it finishes a hold.
    fn keep(&self, _: Progress) {}
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
                    // Each commit of the journal is of everything before it.
                    self.commit(vec![Arc::clone(&file)], Vec::new(), 0);
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
        let file = self.write_bytes(name, lines, Vec::new())?;
        Ok(Some((room, file)))
    }

    /// Writes lines of resumed streams.
    fn append_resumed(&mut self, batch: Batch) {
        let Batch {
            name,
            lines,
            holds,
            parts,
        } = batch;
        let mut pieces = VecDeque::new();
        let mut at = 0_usize;
        for (part, hold) in parts.into_iter().zip(holds) {
            let number = self.journaled.as_ref();
            let number = number.and_then(|own| own.journal.stream(&part.stream));
            let piece = Piece {
                number: number.unwrap_or(u32::MAX),
                at,
                hold,
                part,
            };
            at = at.saturating_add(piece.part.len);
            pieces.push_back(piece);
        }
        while !pieces.is_empty() {
            match self.write_pieces(&name, &lines, &mut pieces) {
                Ok(()) => {}
                Err(Trouble::File(error)) if is_full(&error) => {
                    self.wait_for_space(&self.directory.join(&*name), error);
                }
                Err(trouble) => {
                    let error = self.error(trouble);
                    self.waited_for_space(false);
                    for Piece {
                        part, number, hold, ..
                    } in pieces
                    {
                        if self.owner(number) == Some(part.conn) {
                            self.break_stream(number);
                        }
                        self.lose(&name, vec![hold], part.len, &error);
                    }
                    return;
                }
            }
        }
        self.waited_for_space(true);
    }

    /// Writes the first of these pieces that belong to one file, or none if they belong to the next one,
    /// and removes them. Removes those that don't continue their stream.
    fn write_pieces(
        &mut self,
        name: &Arc<str>,
        lines: &[u8],
        pieces: &mut VecDeque<Piece>,
    ) -> Result<(), Trouble> {
        self.drop_strays(pieces);
        if pieces.is_empty() {
            return Ok(());
        }
        let file = self.open_journaled(name)?;
        if self.settle_elsewhere(file, pieces)? {
            return Ok(());
        }
        // Without its record, bytes in it that are not committed would not be found after a crash.
        self.sync_record(file)?;
        let (whole, split) = self.fitting(name, lines, pieces);
        if whole == 0 && split == 0 {
            return self.rotate_journaled(name);
        }
        let mut bytes = Cow::Borrowed(&lines[..0]);
        let mut streams: Vec<(u32, Position)> = Vec::new();
        let mut index = HashMap::new();
        for (place, piece) in pieces.iter().take(whole.saturating_add(1)).enumerate() {
            let (own, end) = match place < whole {
                true => (piece.bytes(lines), piece.part.end),
                false if split == 0 => break,
                false => {
                    let own = piece.bytes(lines).get(..split).unwrap_or_default();
                    (own, piece.part.from.behind(own))
                }
            };
            bytes.to_mut().extend_from_slice(own);
            let at = *index.entry(piece.number).or_insert(streams.len());
            match streams.get_mut(at) {
                Some((_, last)) => *last = end,
                None => streams.push((piece.number, end)),
            }
        }
        let written = self.write_bytes(name, &bytes, streams.clone())?;
        if let Some(own) = &mut self.journaled {
            for (number, end) in streams {
                if let Some(live) = own.live.get_mut(&number) {
                    live.written = end;
                    live.file = Some(file);
                }
            }
        }
        let mut holds = Vec::new();
        for _ in 0..whole {
            holds.extend(pieces.pop_front().map(|piece| piece.hold));
        }
        if let Some(piece) = pieces.front_mut()
            && split > 0
        {
            let own = piece.bytes(lines).get(..split).unwrap_or_default();
            piece.part.from = piece.part.from.behind(own);
            piece.at = piece.at.saturating_add(split);
            piece.part.len = piece.part.len.saturating_sub(split);
        }
        self.commit(vec![written], holds, bytes.len());
        Ok(())
    }

    /// Removes the pieces that are not of the connection that their stream goes on on, or not the next
    /// ones of it.
    fn drop_strays(&mut self, pieces: &mut VecDeque<Piece>) {
        let mut reached: HashMap<u32, Position> = HashMap::new();
        for piece in std::mem::take(pieces) {
            let Piece { part, number, .. } = &piece;
            let Some(own) = &mut self.journaled else {
                return;
            };
            let is_owned = own.owner(*number) == Some(part.conn);
            let written = own.live.get(number).map(|live| live.written);
            let before = reached.get(number).copied().or(written);
            if is_owned && before == Some(part.from) {
                reached.insert(*number, part.end);
                pieces.push_back(piece);
                continue;
            }
            if is_owned {
                own.break_stream(*number);
            }
            let is_broken = own.live.get(number).is_some_and(|live| live.is_broken);
            self.backlog.remove(part.len);
            match is_broken {
                true => {
                    let error = io::Error::other("lines before these are lost");
                    piece.hold.fail(StreamError::new(error));
                }
                false => piece.hold.fail_as(End::Cut(Cut::TakenOver)),
            }
        }
    }

    /// Waits until streams of these pieces are committed that have bytes in other files than this one,
    /// so that all bytes of a stream that are not committed are in one file. Returns whether it waited:
    /// then some may be lost.
    fn settle_elsewhere(&mut self, file: u64, pieces: &VecDeque<Piece>) -> Result<bool, Trouble> {
        let Some(own) = &self.journaled else {
            return Ok(false);
        };
        let elsewhere = pieces.iter().map(|piece| piece.number);
        let elsewhere: HashSet<_> = elsewhere
            .filter(|number| !own.goes_on_in(*number, file))
            .collect();
        if elsewhere.is_empty() {
            return Ok(false);
        }
        self.wait_for_commits()?;
        if let Some(own) = &mut self.journaled {
            for number in elsewhere {
                if !own.is_committed(number) {
                    own.break_stream(number);
                }
            }
        }
        Ok(true)
    }

    /// The number of the first pieces that belong to this file, and the number of bytes of the next one
    /// that do.
    fn fitting(&self, name: &Arc<str>, lines: &[u8], pieces: &VecDeque<Piece>) -> (usize, usize) {
        let (Some(size), Some(file)) = (self.rotate, self.files.get(name)) else {
            return (pieces.len(), 0);
        };
        let mut taken = 0;
        for (place, piece) in pieces.iter().enumerate() {
            let bytes = piece.bytes(lines);
            let room = file.room_behind(taken, bytes, size);
            if room < bytes.len() {
                let begins_file = file.len() == 0 && taken == 0;
                return match piece.part.is_verbatim {
                    true => (place, room),
                    false => (place.saturating_add(usize::from(begins_file)), 0),
                };
            }
            taken = taken.saturating_add(bytes.len() as u64);
        }
        (pieces.len(), 0)
    }

    /// Notes in the journal which bytes these are, and writes them to the open file of this name.
    fn write_bytes(
        &mut self,
        name: &Arc<str>,
        bytes: &[u8],
        streams: Vec<(u32, Position)>,
    ) -> Result<Arc<Written>, Trouble> {
        let file = self.files.get(name).ok_or_else(closed)?;
        let (position, written) = (file.len(), Arc::clone(&file.written));
        let is_resumed = !streams.is_empty();
        let batch = Bytes {
            position,
            len: bytes.len() as u64,
            crc32c: crc32c::crc32c(bytes),
            streams,
        };
        let file = written.id;
        let number = self.record(&Record::Batch { file, batch })?;
        let mut rest = bytes;
        let failed = loop {
            if rest.is_empty() {
                return Ok(written);
            }
            if let Some(error) = written.failure() {
                break copy_of(error);
            }
            let file = self.files.get_mut(name).ok_or_else(closed)?;
            match file.write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_full(&error) => self.wait_for_space(&written.path, error),
                Err(error) => break error,
            }
        };
        // The bytes of a resumed stream come again.
        if is_resumed
            && let Some(file) = self.files.get_mut(name)
            && let Err(error) = file.truncate(position)
        {
            written.give_up(&error);
        }
        self.close(name);
        self.record(&Record::Undo {
            file: written.id,
            from: number,
        })?;
        Err(Trouble::File(failed))
    }

    /// Opens the file of this name, if it is not open, and checks that nobody else has written to it.
    /// Returns its number.
    fn open_journaled(&mut self, name: &Arc<str>) -> Result<u64, Trouble> {
        loop {
            if let Some(file) = self.files.get_mut(name) {
                let len = file.written.facts().map_err(Trouble::File)?.len();
                if file.written.failure().is_none() && file.len() == len {
                    file.used = self.step;
                    return Ok(file.written.id);
                }
                if len < file.len() {
                    let path = file.written.path.clone();
                    (self.on_notice)(&AppendNotice::Shortened(path));
                }
                self.close(name);
                self.look_at_uncommitted();
            }
            while self.files.len() >= self.most {
                self.close_oldest();
            }
            let file = AppendFile::open(&self.directory, name).map_err(Trouble::File)?;
            let facts = file.written.facts().map_err(Trouble::File)?;
            if self.settle(Identity::of(&facts), &file)? {
                continue;
            }
            self.record(&Record::File {
                file: file.written.id,
                identity: Identity::of(&facts),
                name: name.to_string(),
                len: file.len(),
            })?;
            (self.on_notice)(&AppendNotice::Opened(file.written.path.clone()));
            self.files.insert(Arc::clone(name), file);
        }
    }

    /// Settles what is in a file that the journal knows from before it was closed: the journal knows a
    /// file once at most. Returns whether it has to be opened again, as it may have another name now.
    fn settle(&mut self, identity: Identity, file: &AppendFile) -> Result<bool, Trouble> {
        let own = self.journaled.as_ref().ok_or_else(closed)?;
        let Some(known) = own.journal.find_file(identity) else {
            return Ok(false);
        };
        // Another name may lead to the same file.
        let open = self.files.iter().find(|(_, file)| file.written.id == known);
        if let Some(name) = open.map(|(name, _)| Arc::clone(name)) {
            self.close(&name);
        }
        self.wait_for_commits()?;
        self.look_at_uncommitted();
        if !file.written.is_at(&file.written.path) {
            return Ok(true);
        }
        self.record(&Record::Closed { file: known })?;
        Ok(false)
    }

    /// Syncs the record of a file, if that was not done.
    fn sync_record(&mut self, file: u64) -> Result<(), Trouble> {
        if let Some(own) = &mut self.journaled
            && own.known.insert(file)
        {
            let synced = own.journal.sync();
            return self.note(synced);
        }
        Ok(())
    }

    /// Gives a file its next name when everything in it is committed, unless it has lost its own.
    fn rotate_journaled(&mut self, name: &Arc<str>) -> Result<(), Trouble> {
        let file = self.files.get(name).ok_or_else(closed)?;
        let written = Arc::clone(&file.written);
        let path = written.path.clone();
        if !written.is_at(&path) {
            self.close(name);
            return Ok(());
        }
        let addition = rotation(&path).map_err(Trouble::File)?;
        self.record(&Record::Rotate {
            file: written.id,
            to: format!("{name}{addition}"),
        })?;
        self.wait_for_commits()?;
        if written.failure().is_some() {
            // It is set aside instead.
            return Ok(());
        }
        let to = rename_to_free(&path, &addition).map_err(Trouble::File)?;
        self.files.remove(name);
        sync_folder(&path).map_err(Trouble::File)?;
        self.note_closed(&written);
        if let Some(closer) = &self.closer {
            closer.announce(to.clone());
        }
        (self.on_notice)(&AppendNotice::Rotated { path, to });
        Ok(())
    }

    /// Notes that a file is closed, and everything in it committed or lost.
    pub(super) fn note_closed(&mut self, file: &Arc<Written>) {
        if let Some(own) = &mut self.journaled {
            own.known.remove(&file.id);
            // An error is noted.
            let _ = self.record(&Record::Closed { file: file.id });
        }
    }

    /// Removes the bytes that come again from a file whose sync has failed, as far as that can be done.
    pub(super) fn mend_lost(&mut self, path: &Path, file: &Arc<Written>) {
        let Some(own) = &self.journaled else { return };
        let state = own.journal.with_file(file.id, Clone::clone);
        if let Some(mut state) = state
            && state.batches.iter().any(|(_, batch)| batch.is_resumed())
        {
            state.is_lost = true;
            // Nothing in it is sure any more.
            let _ = mend(path, &state);
        }
    }

    /// Handles a request about a stream.
    pub(super) fn handle_stream(&mut self, command: StreamCommand) {
        match command {
            // An error is noted, and the stream refused.
            StreamCommand::Open(opening) => _ = self.open_stream(opening),
            StreamCommand::Opened(opening) => self.go_on(opening),
        }
    }

    /// Ends the older connection of a stream, and lets the new one wait for the commits of that.
    fn open_stream(&mut self, opening: Opening) -> Result<(), Trouble> {
        let Some(own) = &mut self.journaled else {
            opening.refuse(io::Error::other("positions of streams are not kept"));
            return Ok(());
        };
        let number = match own.journal.stream(opening.resumed()) {
            Some(number) => {
                let used = own.journal.use_stream(number);
                self.note(used)?;
                number
            }
            None => {
                self.make_room()?;
                let own = self.journaled.as_ref().ok_or_else(closed)?;
                let is_in_use = |number| own.owner(number).is_some();
                let (name, from) = (opening.resumed(), opening.from());
                let added = own.journal.add_stream(name, from, is_in_use);
                match self.note(added)? {
                    Some(number) => number,
                    None => {
                        let most = MOST_STREAMS;
                        opening.refuse_as(End::Limit(Limit::Streams { most }));
                        return Ok(());
                    }
                }
            }
        };
        let own = self.journaled.as_mut().ok_or_else(closed)?;
        let live = own.live.entry(number).or_insert_with(|| Live {
            owner: None,
            written: opening.from(),
            file: None,
            is_broken: false,
            wanted: opening.id(),
        });
        live.wanted = opening.id();
        if let Some(owner) = live.owner.take() {
            owner.take_over();
        }
        if let Some(commits) = &self.commits {
            // If that thread has ended, this is the end of the writer, too.
            let _ = commits.send(Request::Open(opening));
        }
        Ok(())
    }

    /// Lets a stream go on on its new connection, as everything that was written of it before is
    /// committed or lost.
    fn go_on(&mut self, opening: Opening) {
        let Some(own) = &mut self.journaled else {
            return;
        };
        let number = own.journal.stream(opening.resumed());
        let committed = number.and_then(|number| own.journal.committed(number));
        let live = number.and_then(|number| own.live.get_mut(&number));
        let (Some(live), Some(at)) = (live, committed) else {
            // Dropping it refuses the stream. One that was just opened is not forgotten.
            return;
        };
        let id = opening.id();
        let owner = opening.accept_by_output(at);
        if live.wanted != id {
            // Another one has come meanwhile, which this one must add nothing before.
            owner.take_over();
            return;
        }
        *live = Live {
            owner: Some(owner),
            written: at,
            file: None,
            is_broken: false,
            wanted: id,
        };
    }

    /// Sends lines that are written to be committed.
    fn commit(&mut self, files: Vec<Arc<Written>>, holds: Vec<Hold>, bytes: usize) {
        let Some(own) = &self.journaled else { return };
        let commit = Commit {
            files,
            holds,
            bytes,
            below: own.journal.next(),
        };
        if let Some(commits) = &self.commits
            && let Err(error) = commits.send(Request::Commit(commit))
            && let Request::Commit(commit) = error.0
        {
            let error = ended();
            commit.finish(Err((&self.directory, &error)), &self.backlog);
        }
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
        let (tell, told) = mpsc::sync_channel(1);
        let sent = self.commits.as_ref().map(|commits| {
            let sent = commits.send(Request::Tell(tell));
            sent.is_ok() && told.recv().is_ok()
        });
        match sent {
            Some(true) => Ok(()),
            _ => self.note(Err(ended())),
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

    /// The connection that a stream goes on on.
    fn owner(&self, number: u32) -> Option<ConnId> {
        self.journaled.as_ref()?.owner(number)
    }

    fn break_stream(&mut self, number: u32) {
        if let Some(own) = &mut self.journaled {
            own.break_stream(number);
        }
    }

    /// The error that streams are told of.
    fn error(&self, trouble: Trouble) -> io::Error {
        let failed = self.journaled.as_ref().and_then(|own| own.failed.as_ref());
        match (trouble, failed) {
            (Trouble::File(error), _) => error,
            (Trouble::Journal, Some(error)) => copy_of(error),
            (Trouble::Journal, None) => ended(),
        }
    }
}

impl Piece {
    /// Its bytes, of those of the batch.
    fn bytes<'a>(&self, lines: &'a [u8]) -> &'a [u8] {
        let end = self.at.saturating_add(self.part.len);
        lines.get(self.at..end).unwrap_or_default()
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

fn ended() -> io::Error {
    io::Error::other("the thread that syncs has ended")
}
