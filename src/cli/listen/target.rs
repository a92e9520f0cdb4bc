//! A single destination of the data: standard output, or a file.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;

use super::super::blocking::BlockingWriter;
use super::super::stdio;
use super::space::{SpaceWait, is_full};

/// An open descriptor, unbuffered.
///
/// A file can be [reopened](Reopen) between two lines: after a newline, or after a flush, where
/// later data is independent of earlier data. So each line is in one file, except an overlong one
/// that is written in pieces, whose next piece may be in the next file, and one that a full disk
/// parts. The next file may begin with the newline that ends another connection's last line.
pub(crate) struct Target {
    file: File,
    reopen: Option<Reopen>,
    /// Whether the next write begins a line, or is independent of the data before it.
    between_lines: bool,
    /// Whether the end of the file must be checked before the next write: another program may have
    /// left a line unfinished, which ours must not continue.
    unseen: bool,
    form: Form,
    space: Option<SpaceWait>,
}

/// The kind of data that a [`Target`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Lines, of which the first begins a line of the file.
    Lines,
    /// Bytes, which are appended as they are.
    Bytes,
}

impl Target {
    /// Standard output, as a descriptor of our own: `std`'s is line-buffered.
    ///
    /// # Errors
    ///
    /// As [`stdio::own`].
    pub(crate) fn stdout(form: Form) -> io::Result<Self> {
        let own = stdio::own(io::stdout())?;
        Ok(Target::new(own, None, form))
    }

    /// Opens a file for appending, and creates it if needed. A path of one of our own descriptors,
    /// such as `/dev/stdout`, stands for that descriptor.
    ///
    /// # Errors
    ///
    /// When it can't be opened; as [`stdio::own`] for standard output and standard error.
    ///
    /// # Blocking
    ///
    /// As long as the system takes to open it: opening a FIFO waits for a reader.
    pub(crate) fn append(path: &Path, form: Form) -> io::Result<Self> {
        match stdio::descriptor(path) {
            Some(1) => return Target::stdout(form),
            Some(2) => return Ok(Target::new(stdio::own(io::stderr())?, None, form)),
            _ => {}
        }
        match appending().open(path) {
            Ok(file) => {
                let reopen = Reopen {
                    path: path.into(),
                    next: Arc::default(),
                };
                Ok(Target::new(file, Some(reopen), form))
            }
            Err(error) => match stdio::inherited_socket(path, &error) {
                Some(socket) => Ok(Target::new(socket, None, form)),
                None => Err(error),
            },
        }
    }

    fn new(file: File, reopen: Option<Reopen>, form: Form) -> Self {
        Target {
            file,
            reopen,
            between_lines: true,
            unseen: true,
            form,
            space: None,
        }
    }

    /// Waits while there is no space for a regular file, rather than to fail.
    ///
    /// # Blocking
    ///
    /// A write then blocks until there is space. A file that is reopened meanwhile ends the wait
    /// also within a line: the old file, if it was removed, gives its space back only when it is
    /// closed.
    pub(crate) fn waiting_for_space(mut self, space: SpaceWait) -> Self {
        self.space = Some(space);
        self
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.file.is_terminal()
    }

    /// A handle for reopening the file; standard output has no path.
    pub(crate) fn reopen(&self) -> Option<Reopen> {
        self.reopen.clone()
    }

    /// Switches to the reopened file, if there is one, and returns whether there is.
    fn switch(&mut self) -> bool {
        let next = self.reopen.as_ref().and_then(|reopen| reopen.next().take());
        let Some(next) = next else {
            return false;
        };
        // In the same file, an unfinished line is our own.
        self.unseen |= !is_same(&self.file, &next);
        self.file = next;
        true
    }

    /// Writes some of these bytes, as soon as there is space for them.
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            if self.between_lines {
                self.switch();
            }
            let written = self.try_write(bytes);
            if let Err(error) = &written
                && self.waits_after(error)
            {
                // Within a line, a reopened file is used only where the old one is full.
                if !self.switch()
                    && let Some(space) = &self.space
                {
                    space.wait(error);
                }
                continue;
            }
            // After a part, the next one may find no space again.
            if let Some(space) = &self.space
                && written.as_ref().map_or(true, |count| *count == bytes.len())
            {
                space.over(&written);
            }
            return written;
        }
    }

    /// Whether a write that failed is tried again. A device can be full too, but nobody makes space
    /// on `/dev/full`.
    fn waits_after(&self, error: &io::Error) -> bool {
        let is_regular = || self.file.metadata().is_ok_and(|facts| facts.is_file());
        self.space.is_some() && is_full(error) && is_regular()
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unseen && !bytes.is_empty() {
            self.begin_line()?;
        }
        BlockingWriter(&mut self.file).write(bytes)
    }

    /// Ends the line that another program left unfinished, if there is one. This happens at the
    /// first write rather than at opening: until then, others may write to the file.
    fn begin_line(&mut self) -> io::Result<()> {
        if self.form == Form::Lines {
            end_line(&mut self.file)?;
        }
        self.unseen = false;
        Ok(())
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.write_some(bytes)?;
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

/// Reopens the file of a [`Target`], from any thread, after it was renamed: a new file takes its
/// place.
#[derive(Clone)]
pub(crate) struct Reopen {
    path: Arc<Path>,
    /// The next file, which the target switches to between two lines.
    next: Arc<Mutex<Option<File>>>,
}

impl Reopen {
    /// Opens the file now, and creates it if needed. The next write goes there, unless it continues
    /// a line; the old file is closed then.
    ///
    /// # Errors
    ///
    /// When it can't be opened, or is a FIFO without a reader. The old file stays in use.
    ///
    /// # Blocking
    ///
    /// As long as the system takes to open it.
    pub(crate) fn request(&self) -> io::Result<()> {
        let at_once = OFlags::NONBLOCK.bits() as i32;
        let file = appending().custom_flags(at_once).open(&self.path);
        let file = file.map_err(|error| match Errno::from_io_error(&error) {
            // open(2)
            Some(Errno::NXIO) => io::Error::new(error.kind(), "the FIFO has no reader"),
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

/// Ends the unfinished line at the end of a file, if there is one.
///
/// # Errors
///
/// When the file can't be examined, or the newline can't be written.
pub(crate) fn end_line(file: &mut File) -> io::Result<()> {
    match ends_within_line(file)? {
        true => BlockingWriter(file).write_all(b"\n"),
        false => Ok(()),
    }
}

/// Whether the next write to a file would continue a line. Only a regular file can tell. One that
/// can't be read counts as unfinished, unless it is empty: an empty line does less harm than two
/// lines joined.
fn ends_within_line(file: &File) -> io::Result<bool> {
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Ok(false);
    }
    let end = match fcntl_getfl(file)?.contains(OFlags::APPEND) {
        true => facts.len(),
        // Others may have written to a file opened by `>file` before us.
        false => (&*file).stream_position()?,
    };
    let Some(last) = end.checked_sub(1) else {
        return Ok(false);
    };
    let mut byte = [0];
    // The descriptor itself may be for writing alone.
    let read = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .and_then(|reader| reader.read_at(&mut byte, last));
    Ok(!(matches!(read, Ok(1)) && byte == *b"\n"))
}

fn is_same(one: &File, other: &File) -> bool {
    let identity = |file: &File| file.metadata().map(|facts| (facts.dev(), facts.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

fn appending() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    options
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::BufWriter;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn after_a_reopening_the_next_write_goes_to_the_new_file() {
        let log = Log::new();
        let mut target = Target::append(&log.path, Form::Lines).unwrap();
        let reopen = target.reopen().unwrap();
        target.write_all(b"first\n").unwrap();
        log.rotate(1);
        target.write_all(b"renamed\n").unwrap();
        reopen.request().unwrap();
        // The file exists before anything is written to it.
        assert_eq!(log.read(0), "");
        target.write_all(b"second\n").unwrap();
        assert_eq!(log.read(1), "first\nrenamed\n");
        assert_eq!(log.read(0), "second\n");
        // Reopening a file that was not renamed loses nothing.
        reopen.request().unwrap();
        target.write_all(b"third\n").unwrap();
        assert_eq!(log.read(0), "second\nthird\n");
    }

    #[test]
    fn a_line_that_has_begun_is_finished_in_the_old_file() {
        let log = Log::new();
        let mut target = Target::append(&log.path, Form::Lines).unwrap();
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
    fn flushed_bytes_are_parted_from_later_ones() {
        let log = Log::new();
        let mut target = Target::append(&log.path, Form::Lines).unwrap();
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
        let mut target = Target::append(&log.path, Form::Lines).unwrap();
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
        assert!(Target::stdout(Form::Lines).unwrap().reopen().is_none());
    }

    #[test]
    fn rotated_by_another_thread_no_line_is_torn_or_lost() {
        const LINES: usize = 100_000;
        let log = Log::new();
        let target = Target::append(&log.path, Form::Lines).unwrap();
        let reopen = target.reopen().unwrap();
        let (done, rotations) = (AtomicBool::new(false), AtomicUsize::new(0));
        let lines = thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    log.rotate(rotations.load(Ordering::Acquire) + 1);
                    reopen.request().unwrap();
                    rotations.fetch_add(1, Ordering::AcqRel);
                    // A file that is not taken before the next one stays empty.
                    while reopen.next().is_some() && !done.load(Ordering::Acquire) {
                        thread::yield_now();
                    }
                }
            });
            // In two parts, as labelled lines are written: the buffer may end between them.
            let mut writer = BufWriter::with_capacity(64, target);
            let mut lines = 0;
            while lines < LINES || rotations.load(Ordering::Acquire) < 2 {
                writer.write_all(b"line ").unwrap();
                writer.write_all(format!("{lines}\n").as_bytes()).unwrap();
                lines += 1;
            }
            writer.flush().unwrap();
            done.store(true, Ordering::Release);
            lines
        });
        let files = (1..=rotations.into_inner()).chain([0]);
        let files = files.map(|number| log.read(number));
        let files: Vec<_> = files.filter(|text| !text.is_empty()).collect();
        assert!(files.iter().all(|text| text.ends_with('\n')));
        let expected: String = (0..lines).map(|line| format!("line {line}\n")).collect();
        assert!(files.concat() == expected, "what was written differs");
    }

    /// A file, and its renamed predecessors.
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
