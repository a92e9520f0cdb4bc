//! Packing a closed file with zstd.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use zstd_safe::zstd_sys::ZSTD_EndDirective as Directive;
use zstd_safe::{CCtx, CParameter, DCtx, InBuffer, OutBuffer, get_error_name};

use crate::output::files::{WhenFull, hard_link, is_same_file, is_there, rename_new};

/// The bytes that are read, and packed, at a time: a look at the clock comes in between.
const STEP: usize = 128 * 1024;

/// Packs the file `plain` to `packed`, by way of `part`, and removes it. Nothing is overwritten, and
/// the packed file is complete, synced and in its folder before the other one is removed. Mode and
/// time of modification stay. Returns `false` if `is_late` became true before; then `plain` is
/// unchanged.
///
/// # Errors
///
/// The first error of the file system. Then `plain` is unchanged, and there is no `part`.
pub(super) fn pack(
    plain: &Path,
    part: &Path,
    packed: &Path,
    is_late: impl Fn() -> bool,
) -> io::Result<bool> {
    let from = File::open(plain)?;
    let facts = from.metadata()?;
    let is_ours = || {
        let there = fs::symlink_metadata(plain)?;
        Ok::<_, io::Error>(there.is_file() && is_same_file(&there, &facts))
    };
    if !is_ours()? {
        return Err(io::Error::other("not a regular file"));
    }
    if is_there(packed) {
        // A packed file has its name only when it is complete: an earlier run may have ended before
        // it removed the other one.
        return match holds(packed, from, &is_late)? {
            Some(true) => remove(plain, packed).map(|()| true),
            Some(false) => Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "its packed file is there, and holds something else",
            )),
            None => Ok(false),
        };
    }
    let to = create(part, &facts)?;
    let done = write(&from, &facts, &to, &is_late).and_then(|done| {
        if !done {
            return Ok(false);
        }
        if !is_ours()? {
            return Err(io::Error::other("another file has taken its place"));
        }
        rename_new(&to, part, packed, hard_link, &WhenFull::default())?;
        Ok(true)
    });
    if !matches!(done, Ok(true)) {
        // It is not there if it has its name already.
        let _ = fs::remove_file(part);
        return done;
    }
    remove(plain, packed).map(|()| true)
}

/// Creates the file, readable by nobody who could not read the other one.
fn create(part: &Path, facts: &Metadata) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        options.mode(facts.permissions().mode() & 0o777);
    }
    #[cfg(not(unix))]
    let _ = facts;
    options.open(part)
}

/// Writes all of `from`, with its mode and time, to `to`, and syncs it. Returns `false` if it was too
/// late for that.
fn write(
    mut from: &File,
    facts: &Metadata,
    mut to: &File,
    is_late: impl Fn() -> bool,
) -> io::Result<bool> {
    let mut context = CCtx::try_create().ok_or(ErrorKind::OutOfMemory)?;
    let checksum = CParameter::ChecksumFlag(true);
    context.set_parameter(checksum).map_err(described)?;
    let (mut input, mut output) = (vec![0; STEP], vec![0; CCtx::out_size()]);
    let mut read = 0_u64;
    loop {
        if is_late() {
            return Ok(false);
        }
        let count = read_some(&mut from, &mut input)?;
        read = read.saturating_add(count as u64);
        let directive = match count {
            0 => Directive::ZSTD_e_end,
            _ => Directive::ZSTD_e_continue,
        };
        let mut source = InBuffer::around(input.get(..count).unwrap_or_default());
        loop {
            let mut sink = OutBuffer::around(&mut output[..]);
            let left = context
                .compress_stream2(&mut sink, &mut source, directive)
                .map_err(described)?;
            to.write_all(sink.as_slice())?;
            let is_done = match count {
                0 => left == 0,
                count => source.pos() == count,
            };
            if is_done {
                break;
            }
        }
        if count == 0 {
            break;
        }
    }
    let now = from.metadata()?;
    let modified = facts.modified()?;
    if (now.len(), now.modified()?) != (read, modified) {
        return Err(io::Error::other("somebody writes to it"));
    }
    to.set_permissions(facts.permissions())?;
    to.set_modified(modified)?;
    to.sync_all()?;
    Ok(true)
}

/// Whether a packed file holds exactly these bytes; `None` if it was too late to find out.
fn holds(packed: &Path, mut plain: File, is_late: impl Fn() -> bool) -> io::Result<Option<bool>> {
    if !fs::symlink_metadata(packed)?.is_file() {
        return Ok(Some(false));
    }
    let mut from = File::open(packed)?;
    let mut context = DCtx::try_create().ok_or(ErrorKind::OutOfMemory)?;
    let (mut input, mut output) = (vec![0; STEP], vec![0; DCtx::out_size()]);
    let mut expected = vec![0; output.len()];
    // Whether a frame goes on.
    let mut is_open = true;
    loop {
        if is_late() {
            return Ok(None);
        }
        let count = read_some(&mut from, &mut input)?;
        if count == 0 {
            let is_at_end = read_some(&mut plain, &mut expected)? == 0;
            return Ok(Some(is_at_end && !is_open));
        }
        let mut source = InBuffer::around(input.get(..count).unwrap_or_default());
        loop {
            let mut sink = OutBuffer::around(&mut output[..]);
            let Ok(left) = context.decompress_stream(&mut sink, &mut source) else {
                return Ok(Some(false));
            };
            is_open = left > 0;
            let unpacked = sink.as_slice();
            let expected = expected.get_mut(..unpacked.len()).unwrap_or_default();
            match plain.read_exact(expected) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Some(false)),
                read => read?,
            }
            if unpacked != expected {
                return Ok(Some(false));
            }
            let has_room = unpacked.len() < sink.capacity();
            if source.pos() == count && (has_room || !is_open) {
                break;
            }
        }
    }
}

/// Removes the file whose packed form outlives a crash from now on.
fn remove(plain: &Path, packed: &Path) -> io::Result<()> {
    let folder = packed.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    fs::remove_file(plain)
}

fn read_some(from: &mut impl Read, input: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(input) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

fn described(code: usize) -> io::Error {
    io::Error::other(get_error_name(code))
}
