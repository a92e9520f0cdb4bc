//! A file for each connection: opening the directory, and logging the files.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tlsink::output::{Files, Output, label};
use tlsink::{Conn, End};

use super::super::Failure;
use super::super::args::Directory;
use super::super::say::Say;
use super::space::SpaceWait;

/// Opens the directory, and checks that files can be created in it, and synced if that is wanted.
///
/// # Errors
///
/// When files can't be created or synced there.
pub(crate) fn open(directory: &Directory, say: &Say) -> Result<LoggedFiles, Failure> {
    let path = &directory.path;
    let files = Files::new(path).map_err(|error| unusable(path, &error))?;
    if directory.sync {
        check_sync(path)?;
    }
    let files = files.name(directory.name.clone()).sync(directory.sync);
    let wait = SpaceWait::new(format!("files in {}", path.display()), None, say);
    Ok(LoggedFiles::new(files, wait, say))
}

/// The error for a directory in which no files can be made.
pub(super) fn unusable(directory: &Path, error: &io::Error) -> Failure {
    let shown = directory.display();
    let failure = Failure::misused(format!("can't make files in {shown}: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => failure.hint("--output-dir must exist: make it first"),
        io::ErrorKind::NotADirectory => {
            failure.hint("give --output-dir a directory; --output takes one file for all")
        }
        io::ErrorKind::PermissionDenied => {
            failure.hint("the user who runs tlsink must be allowed to write there")
        }
        _ => failure,
    }
}

/// Checks that a directory can be synced: an error is better found now than by the first stream.
///
/// # Errors
///
/// When it can't be.
pub(super) fn check_sync(directory: &Path) -> Result<(), Failure> {
    let synced = File::open(directory).and_then(|opened| opened.sync_all());
    synced.map_err(|error| {
        Failure::misused(format!("can't sync {}: {error}", directory.display()))
            .hint("--sync needs a readable directory, on a file system that supports it")
    })
}

/// Logs each file when it is created, and waits while there is no space for one.
pub(crate) struct LoggedFiles {
    files: Files,
    space: Arc<SpaceWait>,
    say: Say,
}

impl LoggedFiles {
    fn new(files: Files, space: SpaceWait, say: &Say) -> Self {
        let space = Arc::new(space);
        let wait = Arc::clone(&space);
        LoggedFiles {
            files: files.when_full(move |_, error| {
                wait.wait(error);
                true
            }),
            space,
            say: say.clone(),
        }
    }

    /// The files of another thread.
    pub(crate) fn another(&self) -> Self {
        LoggedFiles::new(self.files.clone(), self.space.another(), &self.say)
    }
}

impl Output for LoggedFiles {
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        let is_first = self.files.path(connection.id()).is_none();
        let done = self.files.data(connection, bytes);
        self.space.over(&done);
        if is_first && let Some(path) = self.files.path(connection.id()) {
            let peer = label(connection.peer());
            self.say
                .detail(|| format!("{peer}: writing to {}", path.display()));
        }
        done
    }

    fn open(&mut self, connection: &Conn) -> io::Result<()> {
        self.files.open(connection)
    }

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        let done = self.files.close(connection, end);
        self.space.over(&done);
        done
    }

    fn flush(&mut self) -> io::Result<()> {
        self.files.flush()
    }
}
