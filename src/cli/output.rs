//! Where the data goes: standard output, or a file.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};

/// An open descriptor, unbuffered.
#[derive(Debug)]
pub(crate) struct Target(File);

impl Target {
    /// Standard output, as a descriptor of our own: `std`'s is line-buffered.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left.
    pub(crate) fn stdout() -> io::Result<Self> {
        let own = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Target(own.into()))
    }

    /// A file, which is made if there is none, and appended to.
    ///
    /// # Errors
    ///
    /// When it can't be opened.
    pub(crate) fn append(path: &Path) -> io::Result<Self> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map(Target)
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Waiting(&mut self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A descriptor to which a write waits until there is room. Whoever we share a terminal or a pipe
/// with may have made it non-blocking.
pub(crate) struct Waiting<W>(pub(crate) W);

impl<W: Write + AsFd> Write for Waiting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_for_room(self.0.as_fd())?;
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn wait_for_room(fd: BorrowedFd<'_>) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None) {
        Err(rustix::io::Errno::INTR) | Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
