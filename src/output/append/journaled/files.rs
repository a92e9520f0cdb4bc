//! The files: each is known to the journal before it is written to.

use std::io::ErrorKind;
use std::sync::Arc;

use super::super::AppendNotice;
use super::super::file::{AppendFile, Written, rename_to_free, rotation};
use super::super::journal::{Batch, Identity, Record, find, mend, sync_folder};
use super::super::writer::OpenFiles;
use super::{Trouble, closed};
use crate::output::files::is_full;
use crate::output::shared::copy_of;
use crate::resume::Position;

impl OpenFiles {
    /// Notes in the journal which bytes these are, with their checksum, and writes them to the open file
    /// of this name.
    pub(super) fn write_bytes(
        &mut self,
        name: &Arc<str>,
        bytes: &[u8],
        crc32c: u32,
        streams: Vec<(u32, Position)>,
    ) -> Result<Arc<Written>, Trouble> {
        let file = self.files.get(name).ok_or_else(closed)?;
        let (position, written) = (file.len(), Arc::clone(&file.written));
        let is_resumed = !streams.is_empty();
        let batch = Batch {
            position,
            len: bytes.len() as u64,
            crc32c,
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
        // The bytes of a resumed stream come again. Those of others stay, and the next file record has
        // them.
        let mut given_up = Record::Undo { file, from: number };
        if is_resumed
            && let Some(open) = self.files.get_mut(name)
            && let Err(error) = open.truncate(position)
        {
            written.give_up(&error);
            given_up = Record::Lost { file };
        }
        self.close(name);
        self.record(&given_up)?;
        Err(Trouble::File(failed))
    }

    /// Opens the file of this name, if it is not open, and checks that nobody else has written to it.
    /// Returns its number.
    pub(super) fn open_journaled(&mut self, name: &Arc<str>) -> Result<u64, Trouble> {
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
    pub(super) fn sync_record(&mut self, file: u64) -> Result<(), Trouble> {
        if let Some(own) = &mut self.journaled
            && own.known.insert(file)
        {
            let synced = own.journal.sync();
            return self.note(synced);
        }
        Ok(())
    }

    /// Gives a file its next name when everything in it is committed, unless it has lost its own.
    pub(super) fn rotate_journaled(&mut self, name: &Arc<str>) -> Result<(), Trouble> {
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
        self.announce_closed(to.clone());
        (self.on_notice)(&AppendNotice::Rotated { path, to });
        Ok(())
    }

    /// Notes that a file is closed, and everything in it committed or lost.
    pub(in super::super) fn note_closed(&mut self, file: &Arc<Written>) {
        if let Some(own) = &mut self.journaled {
            own.known.remove(&file.id);
            // An error is noted.
            let _ = self.record(&Record::Closed { file: file.id });
        }
    }

    /// Syncs the journal, if there is one. Files that it knows as closed may be removed then: of others, it
    /// could not tell any more that their lines are whole. Returns whether that is sure now.
    pub(in super::super) fn sync_journal(&mut self) -> bool {
        match &self.journaled {
            Some(own) => {
                let synced = own.journal.sync();
                self.note(synced).is_ok()
            }
            None => true,
        }
    }

    /// Removes the bytes that come again from a file whose sync has failed, as far as that can be done.
    /// It may have been renamed in its folder.
    pub(in super::super) fn mend_lost(&mut self, file: &Arc<Written>) {
        let Some(own) = &self.journaled else { return };
        let state = own.journal.with_file(file.id, Clone::clone);
        if let Some(mut state) = state
            && state.batches.iter().any(|(_, batch)| batch.is_resumed())
            && let Ok(Some(path)) = find(&file.path, state.identity)
        {
            state.is_lost = true;
            // Nothing in it is sure any more.
            let _ = mend(&path, &state);
        }
    }
}
