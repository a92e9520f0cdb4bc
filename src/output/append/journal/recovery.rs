//! Bringing all files back to what the journal tells, at start.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::mend::{Mended, find, finish_rotation, mend, sync_folder};
use super::state::{FileState, State};
use crate::count::Count;
use crate::output::append::file::set_aside;

/// The repairs that were due when a [`Journal`](super::Journal) was opened, as the process before had
/// not ended in order. Printed, it is one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The number of files with bytes that were not committed.
    pub files: usize,
    /// The number of those that were cut back.
    pub cut_files: usize,
    /// The number of bytes that were cut off; their senders send them again, or they are saved.
    pub cut_bytes: u64,
    /// The files, named `NAME.cut-TIME`, with the bytes that were cut off and that nobody sends again.
    pub saved: Vec<PathBuf>,
    /// The files that are no longer in their folder, and had bytes that were not committed.
    pub gone: Vec<PathBuf>,
    /// The files that are shorter than they were when they were synced.
    pub short: Vec<PathBuf>,
    /// The files a sync of which had failed, which are named `NAME.bad-TIME` now.
    pub set_aside: Vec<PathBuf>,
}

impl Recovery {
    /// Whether nothing had to be repaired.
    pub fn is_empty(&self) -> bool {
        *self == Recovery::default()
    }

    fn add(&mut self, path: PathBuf, state: &FileState, mended: &Mended) {
        self.files += usize::from(mended.cut > 0 || !state.batches.is_empty());
        self.cut_files += usize::from(mended.cut > 0);
        self.cut_bytes = self.cut_bytes.saturating_add(mended.cut);
        self.saved.extend(mended.saved.clone());
        self.set_aside.extend(state.is_lost.then(|| path.clone()));
        if mended.is_short {
            self.short.push(path);
        }
    }
}

/// Repairs all files of a journal below the folder `output`, and leaves the streams alone in the state.
/// It can be repeated, also if it was interrupted.
///
/// # Errors
///
/// When a file or folder can't be read, changed or synced; the error names it.
pub(super) fn recover(state: &mut State, output: &Path) -> io::Result<Recovery> {
    let mut recovery = Recovery::default();
    let mut streams = Vec::new();
    let mut folders = BTreeSet::new();
    for (_, file) in state.files() {
        let path = output.join(&file.name);
        let about =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let Some(found) = find(&path, file.identity).map_err(about)? else {
            if !file.batches.is_empty() {
                recovery.gone.push(path);
            }
            continue;
        };
        let found = match file.is_lost && found == path {
            true => set_aside(&found).map_err(about)?,
            false => found,
        };
        let mended = mend(&found, file).map_err(about)?;
        recovery.add(found.clone(), file, &mended);
        if let Some(to) = &file.rotated
            && found == path
        {
            finish_rotation(&found, &output.join(to)).map_err(about)?;
            sync_folder(&path).map_err(about)?;
        }
        streams.extend(mended.streams);
        let below = path.ancestors().skip(1);
        let below = below.take(1 + file.name.matches('/').count());
        folders.extend(below.map(PathBuf::from));
    }
    for folder in folders {
        match File::open(&folder).and_then(|folder| folder.sync_all()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let text = format!("{}: {error}", folder.display());
                return Err(io::Error::new(error.kind(), text));
            }
            _ => {}
        }
    }
    for (stream, at) in streams {
        state.advance(stream, at);
    }
    state.close_files();
    Ok(recovery)
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recovered: {}", Count(self.files as u64, "file"))?;
        if self.cut_files > 0 {
            let bytes = Count(self.cut_bytes, "byte");
            write!(f, ", {} cut back by {bytes}", self.cut_files)?;
        }
        for (paths, what) in [
            (&self.saved, "bytes that nobody sends again are in"),
            (&self.gone, "this file is gone:"),
            (&self.short, "this file has lost bytes that were synced:"),
            (&self.set_aside, "a file that could not be synced is now"),
        ] {
            for path in paths {
                write!(f, "; {what} {}", path.display())?;
            }
        }
        Ok(())
    }
}
