//! The folder of the journal: locking it, and what its recovery says.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

use tlsink::output::Journal;

use super::super::super::Failure;
use super::super::super::say::Say;
use super::lock_file;

/// The file in the folder that is locked.
const LOCK: &str = "lock";

/// Locks the folder, and waits for that while another process has locked it. Then opens its journal,
/// and repairs the files in `output` before that. Returns the journal and the lock.
///
/// # Errors
///
/// When the folder can't be used, the journal is damaged, or the files can't be repaired.
pub(super) fn open(folder: &Path, output: &Path, say: &Say) -> Result<(Journal, File), Failure> {
    let shown = folder.display();
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    let lock = options.write(true).create(true).truncate(false).open(&path);
    let lock = lock.map_err(|error| {
        let failure = Failure::misused(format!("can't keep the state in {shown}: {error}"));
        match error.kind() {
            ErrorKind::NotFound => failure.hint("--state must exist: make it first"),
            ErrorKind::NotADirectory => failure.hint("give --state a directory of its own"),
            ErrorKind::PermissionDenied => {
                failure.hint("the user who runs tlsink must be allowed to write there")
            }
            _ => failure,
        }
    })?;
    let waits = format!("another process keeps its state in {shown}");
    lock_file(&lock, &path, &waits, say)?;
    let (journal, recovery) = Journal::open(folder, output).map_err(|error| {
        let failure = Failure::misused(format!("can't use the state in {shown}: {error}"));
        match error.kind() {
            ErrorKind::InvalidData => failure.hint(
                "move it away to begin anew: senders go on from their last acknowledgement, so \
                 nothing is missing, but lines may come twice",
            ),
            _ => failure,
        }
    })?;
    if !recovery.gone.is_empty() || !recovery.short.is_empty() {
        say.error(&recovery.to_string());
    } else if !recovery.is_empty() {
        say.info(&recovery.to_string());
    }
    Ok((journal, lock))
}
