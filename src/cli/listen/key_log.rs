//! The file that `--key-log` writes the secrets of connections to.

use std::env;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::Failure;
use super::super::say::Say;
use super::target::end_line;

/// Finds the file for the secrets. If it exists, it must be our own: the owner of a file can read
/// it, whatever its permissions.
pub(super) fn key_log_file() -> Result<PathBuf, Failure> {
    let file = env::var_os("SSLKEYLOGFILE")
        .filter(|file| !file.is_empty())
        .map(PathBuf::from)
        .ok_or_else(|| {
            Failure::misused("--key-log needs a file's name in SSLKEYLOGFILE")
                .hint("SSLKEYLOGFILE=FILE tlsink --key-log writes the secrets to FILE")
        })?;
    let is_anothers = fs::metadata(&file).is_ok_and(|metadata| {
        metadata.is_file() && metadata.uid() != rustix::process::geteuid().as_raw()
    });
    match is_anothers {
        false => Ok(file),
        true => Err(Failure::misused(format!(
            "{} can't hold secrets: it belongs to another user",
            file.display()
        ))
        .hint("name a new file in SSLKEYLOGFILE, in a folder of your own")),
    }
}

/// Announces the file, and ends an unfinished line in it: a secret behind half a line is useless.
pub(super) fn announce_key_log(file: &Path, say: &Say) -> Result<(), Failure> {
    let shown = file.display();
    OpenOptions::new()
        .append(true)
        .open(file)
        .and_then(|mut file| end_line(&mut file))
        .map_err(|error| Failure::misused(format!("can't write to {shown}: {error}")))?;
    say.warning(&format!(
        "the secrets of all connections are written to {shown}"
    ));
    Ok(())
}
