//! Bringing one file back to what its records tell.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::record::{Batch, Identity};
use super::state::FileState;
use crate::output::append::file::rename_to_free;
use crate::output::files::take_number;
use crate::resume::Position;
use crate::time;

/// The most bytes of a file that are in memory at once.
const PIECE: u64 = 64 * 1024;

/// The facts about a file that was mended.
#[derive(Debug, Default)]
pub(in super::super) struct Mended {
    /// The positions that streams have reached by batches that were not committed.
    pub(super) streams: Vec<(u32, Position)>,
    /// The number of bytes that were cut off.
    pub(super) cut: u64,
    /// The file with those of them that nobody sends again.
    pub(super) saved: Option<PathBuf>,
    /// The file is shorter than it was when it was synced.
    pub(super) is_short: bool,
}

/// The use of the bytes of a file.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// The position behind the bytes that stay.
    end: u64,
    streams: Vec<(u32, Position)>,
    /// The bytes behind `end` that are to be saved.
    saved: Vec<Span>,
}

/// Bytes of a file, from one position to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u64,
    end: u64,
}

impl Span {
    fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

fn span(start: u64, end: u64) -> Span {
    Span { start, end }
}

impl Identity {
    pub(in super::super) fn of(facts: &Metadata) -> Self {
        let born = facts.created().ok();
        let born = born.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|since| u64::try_from(since.as_nanos()).ok());
        Identity {
            inode: facts.ino(),
            born: born.unwrap_or_default(),
        }
    }

    fn is_of(self, facts: &Metadata) -> bool {
        facts.is_file() && Identity::of(facts) == self
    }
}

/// Finds a file that had this path, and may have been renamed in its folder.
///
/// # Errors
///
/// When the folder can't be read.
pub(in super::super) fn find(path: &Path, identity: Identity) -> io::Result<Option<PathBuf>> {
    if fs::metadata(path).is_ok_and(|facts| identity.is_of(&facts)) {
        return Ok(Some(path.to_owned()));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.metadata().is_ok_and(|facts| identity.is_of(&facts)) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Mends the file with this path: batches that are whole stay and count, the others are dealt with,
/// and the file is synced. It can be repeated, also if it was interrupted.
///
/// No batch counts if the file has lost bytes by a failed sync.
///
/// # Errors
///
/// When the file can't be read, changed or synced.
pub(in super::super) fn mend(path: &Path, state: &FileState) -> io::Result<Mended> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    let is_short = len < state.committed;
    let is_whole = |batch: &Batch| -> io::Result<bool> {
        Ok(!state.is_lost
            && !is_short
            && batch.end() <= len
            && checksum(&file, &[span(batch.position, batch.end())])? == batch.crc32c)
    };
    let batches: Vec<_> = state.batches.iter().map(|(_, batch)| batch).collect();
    let Verdict {
        end,
        streams,
        saved,
    } = judge(&batches, state.committed.min(len), len, is_whole)?;
    let mut mended = Mended {
        streams,
        is_short,
        ..Mended::default()
    };
    let is_own_newline = !batches.is_empty()
        && len == end.saturating_add(1)
        && ends_within_line(&file, end)?
        && !ends_within_line(&file, len)?;
    if len > end && !is_own_newline {
        if saved.iter().any(|part| part.len() > 0) {
            mended.saved = Some(save(path, &file, &saved)?);
        }
        file.set_len(end)?;
        mended.cut = len.saturating_sub(end);
    }
    if !batches.is_empty() && !is_own_newline && ends_within_line(&file, end)? {
        file.seek(SeekFrom::Start(end))?;
        file.write_all(b"\n")?;
    }
    match file.sync_all() {
        // It is not trusted anyway.
        Err(_) if state.is_lost => Ok(mended),
        synced => synced.map(|()| mended),
    }
}

/// Decides about the bytes of a file of this size, of which the first `committed` stay.
fn judge(
    batches: &[&Batch],
    committed: u64,
    len: u64,
    mut is_whole: impl FnMut(&Batch) -> io::Result<bool>,
) -> io::Result<Verdict> {
    let mut verdict = Verdict {
        end: committed,
        streams: Vec::new(),
        saved: Vec::new(),
    };
    let mut rest = batches;
    while let Some((batch, behind)) = rest.split_first() {
        if batch.position != verdict.end {
            break;
        }
        if is_whole(batch)? {
            verdict.streams.extend(&batch.streams);
            verdict.end = batch.end();
            rest = behind;
            continue;
        }
        if !batch.is_resumed() {
            // Nobody sends its bytes again, so they stay as they are. They may not end a line.
            verdict.end = batch.end().min(len);
            rest = behind;
        }
        break;
    }
    let known = rest.last().map_or(verdict.end, |batch| batch.end());
    verdict.saved = match known < len {
        // Some bytes are of no batch that is known, so others may not be what they seem.
        true => vec![span(verdict.end, len)],
        false => {
            let others = rest.iter().filter(|batch| !batch.is_resumed());
            let clipped = |at: u64| at.clamp(verdict.end, len);
            others
                .map(|batch| span(clipped(batch.position), clipped(batch.end())))
                .collect()
        }
    };
    Ok(verdict)
}

/// Copies parts of a file to `NAME.cut-TIME`, unless they are in such a file already. Returns its path.
fn save(path: &Path, file: &File, parts: &[Span]) -> io::Result<PathBuf> {
    if let Some(saved) = find_saved(path, file, parts)? {
        return Ok(saved);
    }
    let addition = format!(".cut-{}", time::second(SystemTime::now()));
    let numbered = |number: u32| {
        let mut to = OsString::from(path);
        to.push(&addition);
        if number > 0 {
            to.push(format!("-{number}"));
        }
        PathBuf::from(to)
    };
    let is_taken = |number| fs::symlink_metadata(numbered(number)).is_ok();
    let (number, mut to) = take_number(0, is_taken, |number| File::create_new(numbered(number)))?;
    let saved = numbered(number);
    each_piece(file, parts, |piece| to.write_all(piece))
        .and_then(|()| to.sync_all())
        .inspect_err(|_| _ = fs::remove_file(&saved))?;
    // The bytes are removed from the file next.
    sync_folder(path)?;
    Ok(saved)
}

/// Finds a file that an earlier, interrupted try has saved these parts in.
fn find_saved(path: &Path, file: &File, parts: &[Span]) -> io::Result<Option<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(None);
    };
    let mut beginning = name.to_owned();
    beginning.push(".cut-");
    let lens = parts.iter().map(|part| part.len());
    let len = lens.fold(0, u64::saturating_add);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let begins = name
            .as_encoded_bytes()
            .starts_with(beginning.as_encoded_bytes());
        if begins
            && entry
                .metadata()
                .is_ok_and(|facts| facts.is_file() && facts.len() == len)
        {
            let saved = File::open(entry.path())?;
            if checksum(&saved, &[span(0, len)])? == checksum(file, parts)? {
                return Ok(Some(entry.path()));
            }
        }
    }
    Ok(None)
}

/// Gives a file that is complete its next path, as `to` tells, or with the present time if that is
/// taken.
///
/// # Errors
///
/// When it can't be renamed.
pub(super) fn finish_rotation(path: &Path, to: &Path) -> io::Result<()> {
    // An empty file is what the interrupted rename reserved its name with.
    let is_free = fs::symlink_metadata(to).is_ok_and(|facts| facts.is_file() && facts.len() == 0)
        || fs::symlink_metadata(to).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    match is_free {
        true => fs::rename(path, to),
        false => {
            let addition = format!(".{}", time::second(SystemTime::now()));
            rename_to_free(path, &addition).map(|_| ())
        }
    }
}

/// Syncs the folder of a file.
///
/// # Errors
///
/// When it can't be synced.
pub(in super::super) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Whether the byte before a position is within a line.
fn ends_within_line(mut file: &File, end: u64) -> io::Result<bool> {
    let Some(last) = end.checked_sub(1) else {
        return Ok(false);
    };
    let mut byte = [0];
    file.seek(SeekFrom::Start(last))?;
    file.read_exact(&mut byte)?;
    Ok(byte != *b"\n")
}

fn checksum(file: &File, parts: &[Span]) -> io::Result<u32> {
    let mut checksum = 0;
    each_piece(file, parts, |piece| {
        checksum = crc32c::crc32c_append(checksum, piece);
        Ok(())
    })?;
    Ok(checksum)
}

/// Reads parts of a file.
fn each_piece(
    mut file: &File,
    parts: &[Span],
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(PIECE).unwrap_or_default()];
    for part in parts {
        file.seek(SeekFrom::Start(part.start))?;
        let mut left = part.len();
        while left > 0 {
            let len = usize::try_from(left.min(PIECE)).unwrap_or_default();
            let piece = buffer.get_mut(..len).unwrap_or_default();
            file.read_exact(piece)?;
            take(piece)?;
            left = left.saturating_sub(len as u64);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(position: u64, len: u64, is_resumed: bool) -> Batch {
        let stream = (1, Position::START);
        Batch {
            position,
            len,
            crc32c: 0,
            streams: vec![stream; usize::from(is_resumed)],
        }
    }

    #[test]
    fn each_byte_stays_or_is_saved_or_is_sent_again() {
        // Letters are batches of 10 bytes behind the first 100: r and o are whole, R and O are not,
        // of resumed streams and of others.
        for (letters, len, end, saved) in [
            ("", 100, 100, vec![]),
            ("", 105, 100, vec![span(100, 105)]),
            ("ro", 120, 120, vec![]),
            ("ro", 121, 120, vec![span(120, 121)]),
            ("rR", 115, 110, vec![]),
            ("rR", 120, 110, vec![]),
            ("rR", 121, 110, vec![span(110, 121)]),
            ("oO", 115, 115, vec![]),
            ("oO", 110, 110, vec![]),
            ("Or", 120, 110, vec![]),
            ("Oor", 130, 110, vec![span(110, 120)]),
            ("rRo", 130, 110, vec![span(120, 130)]),
            ("rRr", 130, 110, vec![]),
            ("rROr", 140, 110, vec![span(120, 130)]),
            ("rRO", 125, 110, vec![span(120, 125)]),
            ("rRO", 115, 110, vec![span(115, 115)]),
            ("OR", 105, 105, vec![]),
            ("Oo", 105, 105, vec![span(105, 105)]),
        ] {
            let batches: Vec<_> = (0..)
                .zip(letters.bytes())
                .map(|(number, letter)| {
                    batch(100 + 10 * number, 10, letter.eq_ignore_ascii_case(&b'r'))
                })
                .collect();
            let wholes: Vec<_> = letters
                .bytes()
                .map(|letter| letter.is_ascii_lowercase())
                .collect();
            let is_whole = |batch: &Batch| {
                Ok(wholes[(batch.position as usize - 100) / 10] && batch.end() <= len)
            };
            let batches: Vec<_> = batches.iter().collect();
            let verdict = judge(&batches, 100, len, is_whole).unwrap();
            assert_eq!(
                (verdict.end, verdict.saved),
                (end, saved),
                "{letters} {len}"
            );
        }
    }

    #[test]
    fn bytes_are_saved_once_and_others_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "0123456789").unwrap();
        let file = File::open(&path).unwrap();
        let first = save(&path, &file, &[span(2, 4), span(6, 7)]).unwrap();
        assert_eq!(fs::read_to_string(&first).unwrap(), "236");
        assert_eq!(
            save(&path, &file, &[span(2, 4), span(6, 7)]).unwrap(),
            first
        );
        let second = save(&path, &file, &[span(2, 5)]).unwrap();
        assert_ne!(second, first);
        assert_eq!(fs::read_to_string(&second).unwrap(), "234");
    }
}
