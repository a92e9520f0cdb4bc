//! One file that is appended to, and the names that it can get.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use memchr::{memchr, memrchr};

use crate::output::files::{is_same_file, is_there, take_number};
use crate::output::shared::copy_of;
use crate::time;

/// An open file, for the thread that writes.
#[derive(Debug)]
pub(super) struct AppendFile {
    pub(super) written: Arc<Written>,
    /// The number of bytes in it, if nobody else writes to it.
    len: u64,
    /// Its last byte is within a line, of which the rest is yet to be written.
    within_line: bool,
    /// When a line was last written to it, in steps of the writer.
    pub(super) used: u64,
}

/// An open file, for the thread that syncs.
#[derive(Debug)]
pub(super) struct Written {
    /// Its number, unique in the process.
    pub(super) id: u64,
    pub(super) path: PathBuf,
    file: File,
    /// The folders to sync before the file, as its name may be new in them.
    folders: Mutex<Vec<PathBuf>>,
    /// The error of the sync that failed, which is never tried again: the system may have dropped
    /// the bytes.
    failed: OnceLock<io::Error>,
}

impl AppendFile {
    /// Opens a file below the directory, and creates it, with its folders, if needed. A file that
    /// ends within a line gets a newline.
    pub(super) fn open(directory: &Path, name: &str) -> io::Result<Self> {
        let path = directory.join(name);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let mut file = match options.open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound && name.contains('/') => {
                // Only folders in the directory are made, not the directory itself.
                fs::metadata(directory)?;
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder)?;
                }
                options.open(&path)?
            }
            opened => opened?,
        };
        let facts = file.metadata()?;
        if !facts.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut len = facts.len();
        if len > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                len = len.saturating_add(1);
            }
        }
        let folders = path.ancestors().skip(1);
        let folders = folders.take(1 + name.matches('/').count());
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        Ok(AppendFile {
            written: Arc::new(Written {
                id: LAST_ID.fetch_add(1, Ordering::Relaxed),
                folders: Mutex::new(folders.map(PathBuf::from).collect()),
                path,
                file,
                failed: OnceLock::new(),
            }),
            len,
            within_line: false,
            used: 0,
        })
    }

    /// The number of these bytes that fit into a file of this size, up to the end of a line: none if
    /// the next line belongs to another file. A file that is empty takes any line, and one takes the
    /// rest of the line that it has begun.
    pub(super) fn room_for(&self, lines: &[u8], size: u64) -> usize {
        self.room_behind(0, lines, size)
    }

    /// The same, when so many bytes have been written more.
    pub(super) fn room_behind(&self, more: u64, lines: &[u8], size: u64) -> usize {
        let len = self.len.saturating_add(more);
        let room = usize::try_from(size.saturating_sub(len)).unwrap_or(usize::MAX);
        if lines.len() <= room {
            return lines.len();
        }
        let end = |newline: usize| newline.saturating_add(1);
        let fitting = lines.get(..room).unwrap_or(lines);
        match memrchr(b'\n', fitting) {
            Some(newline) => end(newline),
            None if len == 0 || (more == 0 && self.within_line) => {
                memchr(b'\n', lines).map_or(lines.len(), end)
            }
            None => 0,
        }
    }

    /// Writes the first of these bytes; returns their number.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = (&self.written.file).write(bytes)?;
        let Some(last) = count.checked_sub(1) else {
            return Err(ErrorKind::WriteZero.into());
        };
        self.len = self.len.saturating_add(count as u64);
        self.within_line = bytes.get(last) != Some(&b'\n');
        Ok(count)
    }

    /// The number of bytes in it, if nobody else writes to it.
    #[cfg(all(unix, feature = "resume"))]
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Removes the bytes from this length on.
    #[cfg(all(unix, feature = "resume"))]
    pub(super) fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.written.file.set_len(len)?;
        (self.len, self.within_line) = (len, false);
        Ok(())
    }

    pub(super) fn is_within_line(&self) -> bool {
        self.within_line
    }

    /// Leaves it to the thread that syncs, with its path.
    pub(super) fn close(self) -> (PathBuf, Arc<Written>) {
        (self.written.path.clone(), self.written)
    }
}

impl Written {
    /// Syncs the file, and before the first time its folders.
    pub(super) fn sync(&self) -> io::Result<()> {
        if let Some(error) = self.failed.get() {
            return Err(copy_of(error));
        }
        let folders =
            std::mem::take(&mut *self.folders.lock().unwrap_or_else(PoisonError::into_inner));
        let mut folders = folders.iter();
        folders
            .try_for_each(|folder| File::open(folder)?.sync_all())
            .and_then(|()| self.file.sync_data())
            .inspect_err(|error| _ = self.failed.set(copy_of(error)))
    }

    /// Never syncs it again, as with an error of its sync.
    #[cfg(all(unix, feature = "resume"))]
    pub(super) fn give_up(&self, error: &io::Error) {
        let _ = self.failed.set(copy_of(error));
    }

    /// The facts about the open file.
    #[cfg(all(unix, feature = "resume"))]
    pub(super) fn facts(&self) -> io::Result<fs::Metadata> {
        self.file.metadata()
    }

    /// The error of its sync, if that has failed.
    pub(super) fn failure(&self) -> Option<&io::Error> {
        self.failed.get()
    }

    /// Whether this path belongs to it.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let facts = fs::metadata(path).and_then(|there| Ok((there, self.file.metadata()?)));
        facts.is_ok_and(|(there, open)| is_same_file(&there, &open))
    }
}

/// Renames a file to `NAME.TIME`, with the present time, or one later than those of all files that
/// were renamed so before. Returns the new path.
pub(super) fn rotate(path: &Path) -> io::Result<PathBuf> {
    rename_to_free(path, &rotation(path)?)
}

/// The addition to the path of a file that is rotated now.
pub(super) fn rotation(path: &Path) -> io::Result<String> {
    let now = SystemTime::now();
    let time = match last_rotation(path)? {
        // Seconds are compared, as the names have no more.
        Some(last) if time::second(now) <= time::second(last) => {
            last.checked_add(Duration::from_secs(1)).unwrap_or(last)
        }
        _ => now,
    };
    Ok(format!(".{}", time::second(time)))
}

/// Renames a file that lacks lines to `NAME.bad-TIME`. Returns the new path.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    rename_to_free(path, &format!(".bad-{}", time::second(SystemTime::now())))
}

/// The latest time in the name of a file that this one had rotated to.
fn last_rotation(path: &Path) -> io::Result<Option<SystemTime>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(None);
    };
    let mut last = None;
    for entry in fs::read_dir(folder)? {
        let other = entry?.file_name();
        let added = other.as_encoded_bytes();
        let added = added.strip_prefix(name.as_encoded_bytes());
        let time = added.and_then(|added| added.strip_prefix(b".")?.get(..time::SECOND));
        let time = time.and_then(|time| time::parse_second(str::from_utf8(time).ok()?));
        last = last.max(time);
    }
    Ok(last)
}

/// Renames a file to its path with this addition, and with a number if that name is taken.
pub(super) fn rename_to_free(path: &Path, addition: &str) -> io::Result<PathBuf> {
    let numbered = |number| {
        let mut to = OsString::from(path);
        to.push(addition);
        if number > 0 {
            to.push(format!("-{number}"));
        }
        PathBuf::from(to)
    };
    let is_taken = |number| is_there(&numbered(number));
    // A rename replaces the file with that name: our own empty file, and nothing else. It leaves no
    // moment at which the file has two names.
    let (number, _) = take_number(0, is_taken, |number| File::create_new(numbered(number)))?;
    let to = numbered(number);
    fs::rename(path, &to).inspect_err(|_| _ = fs::remove_file(&to))?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_whole_lines_up_to_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = AppendFile::open(folder.path(), "log").unwrap();
        for (len, within_line, lines, taken) in [
            (0, false, "one\ntwo\n", 8),
            (2, false, "one\ntwo\n", 8),
            (3, false, "one\ntwo\n", 4),
            (6, false, "one\ntwo\n", 4),
            (7, false, "one\ntwo\n", 0),
            (10, false, "one\ntwo\n", 0),
            (11, false, "one\ntwo\n", 0),
            (0, false, "longer than ten\ntwo\n", 16),
            (9, true, "rest of a line\ntwo\n", 15),
            (3, true, "rest\ntwo\n", 5),
        ] {
            (file.len, file.within_line) = (len, within_line);
            let room = file.room_for(lines.as_bytes(), 10);
            assert_eq!(room, taken, "{len} {lines:?}");
        }
    }

    #[test]
    fn a_rotated_name_is_later_than_all_before_it_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let future = "29991231T235959Z";
        for other in [
            format!("log.{future}.zst"),
            "log.99991231".to_owned(),
            "log2.39991231T235959Z".to_owned(),
        ] {
            fs::write(folder.path().join(other), "").unwrap();
        }
        let mut names = Vec::new();
        for number in 0..3 {
            fs::write(&path, number.to_string()).unwrap();
            names.push(rotate(&path).unwrap());
        }
        let expected = ["30000101T000000Z", "30000101T000001Z", "30000101T000002Z"];
        let expected = expected.map(|time| folder.path().join(format!("log.{time}")));
        assert_eq!(names, expected);
        assert_eq!(fs::read_to_string(&names[1]).unwrap(), "1");
    }

    #[test]
    fn no_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for number in 0..3 {
            fs::write(&path, number.to_string()).unwrap();
            rename_to_free(&path, ".bad-x").unwrap();
        }
        for (name, content) in [
            ("log.bad-x", "0"),
            ("log.bad-x-1", "1"),
            ("log.bad-x-2", "2"),
        ] {
            let read = fs::read_to_string(folder.path().join(name)).unwrap();
            assert_eq!(read, content);
        }
        assert!(!is_there(&path));
    }
}
