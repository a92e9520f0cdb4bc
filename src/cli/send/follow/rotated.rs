//! Finding files that were rotated away, in the folder of the followed file.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::mark::{Fingerprint, Mark};
use super::state::FilePlace;

/// The device and the inode of a file. While it is open, no other file has these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// The time at which a file was changed last, in seconds and nanoseconds.
pub(crate) type Modified = (i64, i64);

impl FileId {
    pub(crate) fn of(facts: &Metadata) -> Self {
        FileId {
            device: facts.dev(),
            inode: facts.ino(),
        }
    }
}

pub(crate) fn modified(facts: &Metadata) -> Modified {
    (facts.mtime(), facts.mtime_nsec())
}

/// Opens a file to follow it.
///
/// # Errors
///
/// When it is no regular file, or can't be opened.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // Opening a FIFO would wait for a writer.
    check(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    let facts = file.metadata()?;
    check(&facts)?;
    Ok((file, facts))
}

fn check(facts: &Metadata) -> io::Result<()> {
    match facts.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        )),
    }
}

/// Finds the file that has this place: first by its inode, also under another name, then by its
/// content alone, which a copy has too.
///
/// # Errors
///
/// When the folder can't be read.
pub(crate) fn find(path: &Path, place: &FilePlace) -> io::Result<Option<(File, Mark)>> {
    if let Some(found) = check_place(path, place) {
        return Ok(Some(found));
    }
    for candidate in siblings(path)? {
        // The inode of a file that is gone may be another one's by now.
        let is_likely = place.fingerprint.is_distinct() || begins_like(path, &candidate);
        if is_likely && let Some(found) = check_place(&candidate, place) {
            return Ok(Some(found));
        }
    }
    find_copy(path, &place.fingerprint)
}

fn check_place(candidate: &Path, place: &FilePlace) -> Option<(File, Mark)> {
    let (file, facts) = open(candidate).ok()?;
    // The number of a device may change with a restart of the system.
    let is_it = facts.ino() == place.inode
        && (facts.dev() == place.device || place.fingerprint.is_distinct());
    let mark = match is_it {
        true => place.fingerprint.find_in(&file).ok()??,
        false => return None,
    };
    Some((file, mark))
}

/// Finds a rotated file with this content: a copy, as rotation by copying and truncating leaves.
///
/// # Errors
///
/// When the folder can't be read.
pub(crate) fn find_copy(
    path: &Path,
    fingerprint: &Fingerprint,
) -> io::Result<Option<(File, Mark)>> {
    if !fingerprint.is_distinct() {
        return Ok(None);
    }
    for candidate in siblings(path)? {
        if !is_rotated(path, &candidate) && candidate.file_name() != path.file_name() {
            continue;
        }
        if let Ok((file, _)) = open(&candidate)
            && let Ok(Some(mark)) = fingerprint.find_in(&file)
        {
            return Ok(Some((file, mark)));
        }
    }
    Ok(None)
}

/// Opens the rotated files that were changed after this time, from the oldest on. Files that are open
/// already, and those that were read to these places, are left out: a writer may go on for a while
/// with a file that was rotated, and so make it newer than the next one.
///
/// # Errors
///
/// When the folder can't be read.
pub(crate) fn rotated_since(
    path: &Path,
    since: Modified,
    opened: &[FileId],
    finished: &[FilePlace],
) -> io::Result<Vec<(File, Metadata)>> {
    let is_finished = |file: &File, facts: &Metadata| {
        finished.iter().any(|place| {
            let is_same = (place.device, place.inode) == (facts.dev(), facts.ino());
            is_same && matches!(place.fingerprint.find_in(file), Ok(Some(_)))
        })
    };
    let mut found: Vec<(File, Metadata)> = siblings(path)?
        .into_iter()
        .filter(|candidate| is_rotated(path, candidate))
        .filter_map(|candidate| open(&candidate).ok())
        .filter(|(_, facts)| modified(facts) > since && !opened.contains(&FileId::of(facts)))
        .filter(|(file, facts)| !is_finished(file, facts))
        .collect();
    found.sort_by_key(|(_, facts)| (modified(facts), FileId::of(facts)));
    // A file may have several names.
    found.dedup_by_key(|(_, facts)| FileId::of(facts));
    Ok(found)
}

/// The folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// All files in the folder of `path`, that one first.
fn siblings(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![path.to_owned()];
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        if Some(&*entry.file_name()) != path.file_name() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether the name of the candidate begins with the name of the followed file.
fn begins_like(path: &Path, candidate: &Path) -> bool {
    let names = path.file_name().zip(candidate.file_name());
    names.is_some_and(|(name, candidate)| candidate.as_bytes().starts_with(name.as_bytes()))
}

/// Whether the name of the candidate is the name of the followed file, a point or a hyphen, and a
/// number or a time.
fn is_rotated(path: &Path, candidate: &Path) -> bool {
    let (Some(name), Some(candidate)) = (path.file_name(), candidate.file_name()) else {
        return false;
    };
    let rest = candidate.as_bytes().strip_prefix(OsStr::as_bytes(name));
    let Some([b'.' | b'-', rest @ ..]) = rest else {
        return false;
    };
    let is_of_time = |byte: &u8| byte.is_ascii_digit() || b"-._TZ".contains(byte);
    rest.iter().all(is_of_time) && rest.iter().any(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_has_a_number_or_a_time_behind_its_name() {
        for (name, expected) in [
            ("app.log.1", true),
            ("app.log-20260102", true),
            ("app.log.2026-01-02T03_04_05Z", true),
            ("app.log-1.2", true),
            ("app.log", false),
            ("app.log.", false),
            ("app.log.-", false),
            ("app.log1", false),
            ("app.log.1.gz", false),
            ("app.log.old", false),
            ("xapp.log.1", false),
            (".app.log.tlsink", false),
        ] {
            let candidate = Path::new("folder").join(name);
            assert_eq!(
                is_rotated(Path::new("folder/app.log"), &candidate),
                expected,
                "{name}"
            );
        }
    }
}
