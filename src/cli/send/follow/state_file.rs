//! The file that keeps the state of following a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::super::super::Failure;
use super::rotated::{FileId, folder_of};
use super::state::State;

/// The longest state, in bytes: it names as many servers as arguments have room for.
const MAX_STATE: u64 = 8 << 20;

/// The file that keeps the state. No two programs have it at a time.
///
/// The file is replaced as a whole. The one that has its name is always locked (flock(2)): the new one
/// is locked before it takes the name.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// Holds the lock.
    _locked: File,
}

impl StateFile {
    /// Opens the file and reads the state, or makes it with the state that `new` returns.
    ///
    /// # Errors
    ///
    /// When another program has it, when it is damaged, and when it can't be read or made.
    pub(crate) fn open(
        path: &Path,
        new: impl FnOnce() -> Result<State, Failure>,
    ) -> Result<(Self, State), Failure> {
        let shown = path.display();
        let mut new = Some(new);
        let mut state = None;
        loop {
            match Self::open_existing(path) {
                Ok(Some((file, text))) => {
                    return match State::parse(&text) {
                        Some(state) => Ok((file, state)),
                        None => Err(Failure::misused(format!(
                            "{shown} is damaged, or is no state of tlsink send"
                        ))
                        .hint(
                            "without it, the followed file is sent from its start, as a new \
                             stream: remove it only if that is wanted, or else restore it",
                        )),
                    };
                }
                // Another file took its name between two steps.
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Failure::misused(format!(
                        "{shown} is in use: another tlsink send follows the file with it"
                    ))
                    .hint("--follow-state FILE keeps the state of each in a file of its own"));
                }
                Err(error) => {
                    return Err(Failure::misused(format!("can't use {shown}: {error}")));
                }
            }
            if let Some(new) = new.take() {
                state = Some(new()?);
            }
            let Some(state) = &state else { continue };
            match Self::create(path, state) {
                Ok(file) => return Ok((file, state.clone())),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(
                        Failure::misused(format!("can't make {shown}: {error}")).hint(
                            "--follow-state FILE keeps the state in another file, in a folder \
                             where tlsink can write",
                        ),
                    );
                }
            }
        }
    }

    /// Opens the file, locks it, and reads its text; `None` if another one has its name meanwhile.
    fn open_existing(path: &Path) -> io::Result<Option<(Self, String)>> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        if FileId::of(&file.metadata()?) != FileId::of(&fs::metadata(path)?) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        (&mut file).take(MAX_STATE).read_to_end(&mut bytes)?;
        let file = StateFile {
            path: path.to_owned(),
            _locked: file,
        };
        // No valid state is longer, and none is not UTF-8.
        Ok(Some((file, String::from_utf8(bytes).unwrap_or_default())))
    }

    /// Makes the file, unless there is one.
    fn create(path: &Path, state: &State) -> io::Result<Self> {
        let aside = with_suffix(path, &format!(".new-{}", std::process::id()));
        let made = write_aside(&aside, state).and_then(|file| {
            fs::hard_link(&aside, path)?;
            sync_folder(path)?;
            Ok(StateFile {
                path: path.to_owned(),
                _locked: file,
            })
        });
        let _ = fs::remove_file(&aside);
        made
    }

    /// Replaces the state, which survives a crash of the system then.
    ///
    /// # Errors
    ///
    /// When it can't be written or synced. The former state is there then, or the new one.
    ///
    /// # Blocking
    ///
    /// As long as the disk takes to sync it.
    pub(crate) fn save(&mut self, state: &State) -> io::Result<()> {
        let aside = with_suffix(&self.path, ".new");
        let file = write_aside(&aside, state)?;
        fs::rename(&aside, &self.path)?;
        self._locked = file;
        sync_folder(&self.path)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Writes and syncs a file, which is locked.
fn write_aside(path: &Path, state: &State) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    file.write_all(state.to_text().as_bytes())?;
    file.sync_all()?;
    Ok(file)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::state;
    use super::*;

    #[test]
    fn the_file_is_made_replaced_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let (mut file, made) = StateFile::open(&path, || Ok(state(0))).unwrap();
        assert_eq!(made, state(0));
        file.save(&state(1)).unwrap();
        file.save(&state(2)).unwrap();
        drop(file);
        let (_, read) = StateFile::open(&path, || unreachable!()).unwrap();
        assert_eq!(read, state(2));
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn nobody_else_opens_the_file_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let (mut file, _) = StateFile::open(&path, || Ok(state(0))).unwrap();
        for number in 0..3 {
            let error = StateFile::open(&path, || unreachable!()).unwrap_err();
            assert!(error.what.ends_with("follows the file with it"));
            file.save(&state(number)).unwrap();
        }
        drop(file);
        StateFile::open(&path, || unreachable!()).unwrap();
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let whole = state(1).to_text();
        for damaged in [&b""[..], &whole.as_bytes()[..40], b"\xff", b"{}\n"] {
            fs::write(&path, damaged).unwrap();
            let error = StateFile::open(&path, || unreachable!()).unwrap_err();
            assert!(error.what.contains("is damaged"), "{}", error.what);
            assert_eq!(fs::read(&path).unwrap(), damaged);
        }
    }
}
