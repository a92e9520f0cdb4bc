//! Reading a followed file on.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::SourceFile;
use super::mark::{MARKED, Mark};
use super::rotated::{FileId, Modified, modified};

/// The size of a read.
const CHUNK: usize = 256 << 10;

/// The length from which a line is sent before it ends.
const MAX_UNFINISHED: usize = 1 << 20;

/// The most bytes that are delivered at once: a line that has not ended, and a read.
pub(crate) const MAX_PIECE: usize = MAX_UNFINISHED + CHUNK;

/// The size of a buffer to read into.
pub(super) const BUFFER: usize = MARKED + CHUNK;

/// A file that is read.
pub(super) struct Reading {
    pub(super) file: File,
    pub(super) source: Arc<SourceFile>,
    /// The place up to which it was read.
    pub(super) mark: Mark,
    /// The beginning of a line, which is read and not delivered.
    pub(super) line: Vec<u8>,
    /// The bytes that were delivered do not end with a newline.
    pub(super) is_within_line: bool,
    /// The last change that was seen while the file had its name.
    pub(super) modified: Modified,
    /// The time since which the file has another name, and is unchanged.
    pub(super) still_since: Option<Instant>,
}

/// The result of reading on.
pub(super) enum Grown {
    Bytes(usize),
    No,
    /// The file has other bytes than before.
    Replaced(String),
}

impl Reading {
    pub(super) fn new(file: File, facts: &Metadata, start: Mark) -> Self {
        Reading {
            file,
            is_within_line: start.last().last().is_some_and(|byte| *byte != b'\n'),
            source: Arc::new(SourceFile {
                id: FileId::of(facts),
                start: start.clone(),
            }),
            mark: start,
            line: Vec::new(),
            modified: modified(facts),
            still_since: None,
        }
    }

    /// A file that was renamed before it was opened.
    pub(super) fn renamed(file: File, facts: &Metadata, start: Mark) -> Self {
        let age = facts
            .modified()
            .ok()
            .and_then(|modified| SystemTime::now().duration_since(modified).ok());
        let now = Instant::now();
        let since = age.and_then(|age| now.checked_sub(age));
        Reading {
            still_since: Some(since.unwrap_or(now)),
            ..Reading::new(file, facts, start)
        }
    }

    /// Reads on into `buf`, whose front is for bytes that were read before: they must be the same.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> io::Result<Grown> {
        let (len, at) = (self.file.metadata()?.len(), self.mark.offset());
        if len < at {
            let what = format!("shrank from {at} to {len} bytes");
            return Ok(Grown::Replaced(what));
        }
        if len == at {
            return Ok(Grown::No);
        }
        let before = self.mark.last().len();
        let room = buf
            .get_mut(..before.saturating_add(CHUNK))
            .unwrap_or_default();
        let read = read_at(&self.file, room, at.saturating_sub(before as u64))?;
        let read = room.get(..read).unwrap_or_default();
        match read.split_at_checked(before) {
            Some((same, [])) if same == self.mark.last() => Ok(Grown::No),
            Some((same, more)) if same == self.mark.last() => {
                self.mark.advance(more);
                let more = more.len();
                buf.copy_within(before..before.saturating_add(more), 0);
                Ok(Grown::Bytes(more))
            }
            _ => Ok(Grown::Replaced("was overwritten".to_owned())),
        }
    }

    /// Appends bytes that were read, and takes all that can be delivered.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let newline = memchr::memrchr(b'\n', bytes).map(|at| at.saturating_add(1));
        let kept = self.line.len();
        self.line.extend_from_slice(bytes);
        let end = match newline {
            Some(end) => kept.saturating_add(end),
            None if self.is_within_line || self.line.len() >= MAX_UNFINISHED => self.line.len(),
            None => return Vec::new(),
        };
        let rest = self.line.split_off(end);
        let whole = std::mem::replace(&mut self.line, rest);
        if let Some(last) = whole.last() {
            self.is_within_line = *last != b'\n';
        }
        whole
    }

    /// The place up to which its bytes were delivered.
    pub(super) fn delivered(&self) -> u64 {
        self.mark.offset().saturating_sub(self.line.len() as u64)
    }
}

fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buf, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
