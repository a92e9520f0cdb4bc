//! Where the data goes: standard output, or a file.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// An open descriptor, unbuffered.
///
/// A file can be [reopened](Reopen) between two lines: right after a newline, or after a flush,
/// behind which comes nothing that belongs to what is in front of it. So each line is in one file,
/// unless it is overlong and in pieces; then the next piece may be in the next file. A newline that
/// ends another connection's last line may be the first thing in it.
pub(crate) struct Target {
    file: File,
    reopen: Option<Reopen>,
    /// Whether what is written next begins a line, or may be parted from what is there.
    between_lines: bool,
}

impl Target {
    /// Standard output, as a descriptor of our own: `std`'s is line-buffered.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left.
    pub(crate) fn stdout() -> io::Result<Self> {
        let own = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Target::new(own.into(), None))
    }

    /// A file, which is made if there is none, and appended to.
    ///
    /// # Errors
    ///
    /// When it can't be opened.
    pub(crate) fn append(path: &Path) -> io::Result<Self> {
        let reopen = Reopen {
            path: path.into(),
            next: Arc::default(),
        };
        Ok(Target::new(appending().open(path)?, Some(reopen)))
    }

    fn new(file: File, reopen: Option<Reopen>) -> Self {
        Target {
            file,
            reopen,
            between_lines: true,
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.file.is_terminal()
    }

    /// What opens the file anew; standard output has no name to do that by.
    pub(crate) fn reopen(&self) -> Option<Reopen> {
        self.reopen.clone()
    }

    /// Goes on in the file that was opened anew, if there is one.
    fn switch(&mut self) {
        if self.between_lines
            && let Some(reopen) = &self.reopen
            && let Some(next) = reopen.next().take()
        {
            self.file = next;
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.switch();
        let written = Waiting(&mut self.file).write(bytes)?;
        if let Some(last) = written.checked_sub(1) {
            self.between_lines = bytes.get(last) == Some(&b'\n');
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.between_lines = true;
        self.switch();
        Ok(())
    }
}

/// Opens a [`Target`]'s file anew, from any thread: after the file was renamed, so that another one
/// takes its place.
#[derive(Clone)]
pub(crate) struct Reopen {
    path: Arc<Path>,
    /// What the target takes as soon as it is between two lines.
    next: Arc<Mutex<Option<File>>>,
}

impl Reopen {
    /// Opens the file now, and makes it if there is none. The next write goes there, unless it is
    /// in the middle of a line; the old file is closed then.
    ///
    /// # Errors
    ///
    /// When it can't be opened, or is a FIFO that nobody reads. Then the old file stays in use.
    ///
    /// # Blocking
    ///
    /// As long as the system takes to open it.
    pub(crate) fn request(&self) -> io::Result<()> {
        let at_once = OFlags::NONBLOCK.bits() as i32;
        let file = appending().custom_flags(at_once).open(&self.path);
        let file = file.map_err(|error| match Errno::from_io_error(&error) {
            // open(2)
            Some(Errno::NXIO) => io::Error::new(error.kind(), "nobody reads this FIFO"),
            _ => error,
        })?;
        *self.next() = Some(file);
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn next(&self) -> MutexGuard<'_, Option<File>> {
        // Nothing panics while it holds this.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn appending() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    options
}

/// A descriptor to which a write waits until there is room. It may be non-blocking: we opened it so,
/// or whoever we share a terminal or a pipe with made it so.
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::BufWriter;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn after_a_reopening_the_next_write_goes_to_the_new_file() {
        let log = Log::new();
        let mut target = Target::append(&log.path).unwrap();
        let reopen = target.reopen().unwrap();
        target.write_all(b"first\n").unwrap();
        log.rotate(1);
        target.write_all(b"renamed\n").unwrap();
        reopen.request().unwrap();
        // It is there before there is anything to write.
        assert_eq!(log.read(0), "");
        target.write_all(b"second\n").unwrap();
        assert_eq!(log.read(1), "first\nrenamed\n");
        assert_eq!(log.read(0), "second\n");
        // Nothing is lost when it was not renamed.
        reopen.request().unwrap();
        target.write_all(b"third\n").unwrap();
        assert_eq!(log.read(0), "second\nthird\n");
    }

    #[test]
    fn a_line_that_has_begun_is_finished_in_the_old_file() {
        let log = Log::new();
        let mut target = Target::append(&log.path).unwrap();
        let reopen = target.reopen().unwrap();
        target.write_all(b"one\nbeg").unwrap();
        log.rotate(1);
        reopen.request().unwrap();
        target.write_all(b"un").unwrap();
        target.write_all(b"\n").unwrap();
        target.write_all(b"next\n").unwrap();
        assert_eq!(log.read(1), "one\nbegun\n");
        assert_eq!(log.read(0), "next\n");
    }

    #[test]
    fn what_was_flushed_is_parted_from_what_comes() {
        let log = Log::new();
        let mut target = Target::append(&log.path).unwrap();
        let reopen = target.reopen().unwrap();
        target.write_all(b"no newline").unwrap();
        target.flush().unwrap();
        log.rotate(1);
        reopen.request().unwrap();
        target.write_all(b"more").unwrap();
        log.rotate(2);
        reopen.request().unwrap();
        target.flush().unwrap();
        target.write_all(b"the rest").unwrap();
        assert_eq!(log.read(1), "no newline");
        assert_eq!(log.read(2), "more");
        assert_eq!(log.read(0), "the rest");
    }

    #[test]
    fn a_file_that_can_not_be_reopened_stays_in_use() {
        let log = Log::new();
        let mut target = Target::append(&log.path).unwrap();
        let reopen = target.reopen().unwrap();
        target.write_all(b"first\n").unwrap();
        log.rotate(1);
        fs::create_dir(&log.path).unwrap();
        let error = reopen.request().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        target.write_all(b"second\n").unwrap();
        assert_eq!(log.read(1), "first\nsecond\n");
        fs::remove_dir(&log.path).unwrap();
        reopen.request().unwrap();
        target.write_all(b"third\n").unwrap();
        assert_eq!(log.read(0), "third\n");
        assert_eq!(reopen.path(), log.path);
    }

    #[test]
    fn standard_output_has_no_name_to_reopen_it_by() {
        assert!(Target::stdout().unwrap().reopen().is_none());
    }

    #[test]
    fn rotated_by_another_thread_no_line_is_torn_or_lost() {
        const LINES: usize = 100_000;
        let log = Log::new();
        let target = Target::append(&log.path).unwrap();
        let reopen = target.reopen().unwrap();
        let done = AtomicBool::new(false);
        let rotations = thread::scope(|scope| {
            let rotating = scope.spawn(|| {
                let mut rotations = 0;
                while !done.load(Ordering::Acquire) || rotations == 0 {
                    rotations += 1;
                    log.rotate(rotations);
                    reopen.request().unwrap();
                    // What is not taken before the next one comes stays empty.
                    while reopen.next().is_some() && !done.load(Ordering::Acquire) {
                        thread::yield_now();
                    }
                }
                rotations
            });
            // In two parts, as labelled lines are written: the buffer may end between them.
            let mut writer = BufWriter::with_capacity(64, target);
            for line in 0..LINES {
                writer.write_all(b"line ").unwrap();
                writer.write_all(format!("{line}\n").as_bytes()).unwrap();
            }
            writer.flush().unwrap();
            done.store(true, Ordering::Release);
            rotating.join().unwrap()
        });
        assert!(rotations > 1);
        let files = (1..=rotations).chain([0]).map(|number| log.read(number));
        let files: Vec<_> = files.filter(|text| !text.is_empty()).collect();
        assert!(files.iter().all(|text| text.ends_with('\n')));
        let expected: String = (0..LINES).map(|line| format!("line {line}\n")).collect();
        assert!(files.concat() == expected, "what was written differs");
    }

    /// A file, and what it was renamed to.
    struct Log {
        folder: tempfile::TempDir,
        path: PathBuf,
    }

    impl Log {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            Log { folder, path }
        }

        /// Renames it, as logrotate(8) does.
        fn rotate(&self, number: usize) {
            fs::rename(&self.path, self.folder.path().join(format!("log.{number}"))).unwrap();
        }

        fn read(&self, number: usize) -> String {
            let path = match number {
                0 => self.path.clone(),
                number => self.folder.path().join(format!("log.{number}")),
            };
            fs::read_to_string(path).unwrap()
        }
    }
}
