//! The receiver's files, whatever they are called at the moment.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of the file that is appended to.
pub const NAME: &str = "all.log";

/// The text of all files below a folder that were not set aside, in the order in which they were written.
pub fn text(folder: &Path) -> Vec<u8> {
    all_text(folder, |name| {
        !name.contains(".cut-") && !name.contains(".bad-")
    })
}

/// The lines in all files, those that were set aside, too.
pub fn lines(folder: &Path) -> BTreeSet<Vec<u8>> {
    let text = all_text(folder, |_| true);
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    // A line without its end is not complete.
    let lines = lines.filter_map(|line| line.strip_suffix(b"\n"));
    lines.map(<[u8]>::to_vec).collect()
}

/// The lines that begin with this sender's tag.
pub fn lines_of(text: &[u8], tag: &str) -> Vec<u8> {
    let start = format!("{tag} ");
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.filter(|line| line.starts_with(start.as_bytes()));
    lines.flatten().copied().collect()
}

fn all_text(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<u8> {
    loop {
        // A file may get another name meanwhile.
        match try_all_text(folder, &wanted) {
            Ok(text) => return text,
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
    }
}

fn try_all_text(folder: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<u8>> {
    let before = names(folder)?;
    let mut text = Vec::new();
    for path in &before {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !wanted(&name) {
            continue;
        }
        match name.strip_suffix(".zst") {
            // The file that it was made of goes last.
            Some(original) if before.contains(&path.with_file_name(original)) => {}
            Some(_) => text.extend(unpack(path)?),
            None => text.extend(fs::read(path)?),
        }
    }
    match names(folder)? == before {
        true => Ok(text),
        false => Err(ErrorKind::NotFound.into()),
    }
}

/// The paths of all files, in the order in which they were written.
fn names(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.retain(|path| path.extension() != Some("part".as_ref()));
    files.sort_by_cached_key(|path| order(path));
    Ok(files)
}

/// The key by which the files of one sender sort in the order in which they were written: `NAME.log` after
/// `NAME.log.TIME`, and those of the stream `NAME.2`, which follows when the file that is sent shrank, behind
/// both.
fn order(path: &Path) -> (PathBuf, u32, bool, PathBuf) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stream = name.split_once(".log").map_or(&*name, |(stream, _)| stream);
    let numbered = stream.rsplit_once('.').and_then(|(first, number)| {
        let number: u32 = number.parse().ok()?;
        Some((first, number))
    });
    let (first, number) = numbered.unwrap_or((stream, 1));
    let is_last = path.extension() == Some("log".as_ref());
    (path.with_file_name(first), number, is_last, path.to_owned())
}

fn unpack(path: &Path) -> io::Result<Vec<u8>> {
    let unpacked = Command::new("zstd").arg("-dcq").arg(path).output()?;
    match unpacked.status.success() {
        true => Ok(unpacked.stdout),
        false if path.exists() => Err(io::Error::other(format!("{unpacked:?}"))),
        false => Err(ErrorKind::NotFound.into()),
    }
}

#[test]
fn the_files_of_a_sender_sort_as_they_were_written() {
    let expected = [
        "a.log.20260101T000000Z.zst",
        "a.log.20260102T000000Z",
        "a.log",
        "a.2.log.20260101T000000Z",
        "a.2.log",
        "a.10.log",
        "b/a.log",
    ];
    let mut files = expected.map(PathBuf::from);
    files.reverse();
    files.sort_by_cached_key(|path| order(path));
    assert_eq!(files, expected.map(PathBuf::from));
}
