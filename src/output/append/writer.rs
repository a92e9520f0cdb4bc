//! The thread that owns all appended files.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::closed::{ClosedSettings, Closer, Keep};
use super::commit::{Commit, Request, Syncing};
use super::file::{AppendFile, Written, rotate, set_aside};
use super::notice::{AppendNotice, OnNotice, SharedNotice};
use super::resumed::Journaled;
use super::{Backlog, Batch, Command};
use crate::output::files::is_full;
use crate::output::shared::copy_of;
use crate::output::template::PathTemplate;

/// The time between two looks at the paths of open files, and between two tries to write to a full
/// disk.
const INTERVAL: Duration = Duration::from_secs(1);

/// The default number of files that stay open.
const OPEN_FILES: usize = 1024;

/// Writes the lines of an [`Appended`](super::Appended) output to their files. It does nothing before
/// it [runs](Self::run).
///
/// - Files are created when their first line comes, in folders that are created as well, with the
///   default permissions of the process. A file that ends within a line, as a crash may leave it,
///   gets a newline before anything else.
/// - A file that was renamed or removed by another program is noticed within a second. The next
///   lines go to a new one of its name.
/// - On a full disk, lines wait: the write is tried again each second. Their streams are held
///   meanwhile.
pub struct AppendWriter {
    directory: PathBuf,
    template: PathTemplate,
    commands: Receiver<Command>,
    /// The way to itself, for the thread that syncs.
    queue: Weak<Sender<Command>>,
    backlog: Arc<Backlog>,
    sync: bool,
    rotate: Option<u64>,
    open_files: usize,
    closed: ClosedSettings,
    on_notice: OnNotice,
    pub(super) journaled: Option<Journaled>,
}

impl AppendWriter {
    pub(super) fn new(
        directory: PathBuf,
        template: PathTemplate,
        commands: Receiver<Command>,
        queue: Weak<Sender<Command>>,
        backlog: Arc<Backlog>,
    ) -> Self {
        AppendWriter {
            directory,
            template,
            commands,
            queue,
            backlog,
            sync: false,
            rotate: None,
            open_files: OPEN_FILES,
            closed: ClosedSettings::default(),
            on_notice: Box::new(|_| {}),
            journaled: None,
        }
    }

    /// Whether lines are through only when they outlive a crash of the system: when their file is
    /// synced (fdatasync(2)), and before its first lines also its folders. Off by default.
    ///
    /// All lines that come during one sync share the next one, which begins at least 5 ms after the
    /// one before, unless a stream has so many held bytes that it has no turn. A sync that fails is never
    /// tried again, since the system may have dropped the bytes: the file becomes `NAME.bad-TIME`, and
    /// the streams whose lines were not synced end as [`Cut::Output`](crate::Cut::Output).
    pub fn sync(mut self, on: bool) -> Self {
        self.sync = on;
        self
    }

    /// The size, in bytes, at which a file is renamed to `NAME.YYYYMMDDTHHMMSSZ`, and a new one
    /// begins. No limit by default.
    ///
    /// A file ends with a whole line, and is larger only if its first line is. The time is the
    /// present one, or later than that of the file before it, so that the files of one name sort in
    /// the order of their lines.
    pub fn rotate(mut self, size: Option<u64>) -> Self {
        self.rotate = size;
        self
    }

    /// The most files that stay open; at least 1, and 1024 by default. With further ones, those are
    /// closed that were not written to for longest, after their sync if files are synced.
    pub fn open_files(mut self, most: usize) -> Self {
        self.open_files = most.max(1);
        self
    }

    /// Whether files that [`rotate`](Self::rotate) has closed are packed with zstd (RFC 8878), to
    /// `NAME.YYYYMMDDTHHMMSSZ.zst`. Off by default.
    ///
    /// A thread of its own packs one file after another, once all their lines are through. The
    /// packed file is `.zst.part` until it is complete; it is synced, and so is its folder, before
    /// the other one is removed. It has the mode and the time of modification of the other. Nothing
    /// is overwritten. On a full disk, a file waits, and lines are written meanwhile.
    ///
    /// Files that an earlier run has closed are packed too, and its incomplete ones removed. For
    /// that, [`run`](Self::run) looks through the directory for names that the template can have
    /// made, with the additions of closed files. When the writer ends, files that are not packed
    /// within half a second are left to the next run.
    ///
    /// A file whose hour has passed is not closed, since a late line may open it again.
    #[cfg(feature = "compress")]
    pub fn compress(mut self, on: bool) -> Self {
        self.closed.compress = on;
        self
    }

    /// The closed files of each name that are kept. All of them by default.
    ///
    /// The others are removed, packed or not, the oldest ones first: when a further file is closed,
    /// at the start, and, for an age, once a minute. Only files are removed that
    /// [`rotate`](Self::rotate) has closed, in this run or an earlier one: whose names are one that
    /// the template can have made, the time of closing, and the ending of a packed file if it is
    /// one, complete or left incomplete by a crash.
    pub fn keep(mut self, keep: Option<Keep>) -> Self {
        self.closed.keep = keep;
        self
    }

    /// Calls `on_notice` for what may be worth a message, on the thread that writes, or the one that
    /// packs and removes closed files; never on both at once.
    pub fn on_notice(mut self, on_notice: impl FnMut(&AppendNotice) + Send + 'static) -> Self {
        self.on_notice = Box::new(on_notice);
        self
    }

    /// Writes until all clones of the output are dropped, and everything is written. If files are
    /// synced, it starts another thread for that, and ends it; and so it does for closed files, if
    /// they are packed or removed.
    ///
    /// # Errors
    ///
    /// When such a thread can't be started: then nothing is written, and streams are cut. With a journal,
    /// also when that can't be written or synced; the streams whose lines were not committed are cut.
    ///
    /// # Blocking
    ///
    /// Blocks for as long as that takes.
    pub fn run(self) -> io::Result<()> {
        let AppendWriter {
            directory,
            template,
            commands,
            queue,
            backlog,
            sync,
            rotate,
            open_files,
            closed,
            on_notice,
            journaled,
        } = self;
        let shared: SharedNotice = Arc::new(Mutex::new(on_notice));
        let closer = Closer::start(closed, &directory, &template, &shared)?;
        let on_notice: OnNotice = Box::new(move |notice| (shared.lock())(notice));
        let (commits, syncing) = match sync {
            true => {
                let (sender, requests) = mpsc::channel();
                let syncing = Syncing {
                    requests,
                    backlog: Arc::clone(&backlog),
                    journal: journaled.as_ref().map(Journaled::journal),
                    queue,
                };
                let thread = thread::Builder::new().name("sync".to_owned());
                (Some(sender), Some(thread.spawn(move || syncing.run())?))
            }
            false => (None, None),
        };
        let mut files = OpenFiles {
            directory,
            files: HashMap::new(),
            uncommitted: Vec::new(),
            step: 0,
            looked: Instant::now(),
            commits,
            rotate,
            most: open_files,
            closer,
            on_notice,
            backlog,
            full: None,
            journaled,
        };
        let served = files.serve(&commands);
        files.commits = None;
        if let Some(syncing) = syncing {
            // If it has panicked, its holds have failed.
            syncing.join().unwrap_or(Ok(()))?;
        }
        served?;
        files.close_all();
        files.look();
        let failure = files.failure();
        if let Some(closer) = files.closer.take() {
            closer.finish();
        }
        failure
    }
}

impl fmt::Debug for AppendWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppendWriter")
            .field("directory", &self.directory)
            .field("sync", &self.sync)
            .field("rotate", &self.rotate)
            .finish_non_exhaustive()
    }
}

/// The files, for the thread that writes.
pub(super) struct OpenFiles {
    pub(super) directory: PathBuf,
    pub(super) files: HashMap<Arc<str>, AppendFile>,
    /// Closed files that may not be synced yet, and their paths.
    uncommitted: Vec<(PathBuf, Arc<Written>)>,
    /// The number of batches so far.
    pub(super) step: u64,
    /// When the paths of the files were last looked at.
    looked: Instant,
    /// The way to the thread that syncs, if files are synced.
    pub(super) commits: Option<Sender<Request>>,
    pub(super) rotate: Option<u64>,
    pub(super) most: usize,
    /// The thread that packs and removes closed files, if that is wanted.
    pub(super) closer: Option<Closer>,
    pub(super) on_notice: OnNotice,
    pub(super) backlog: Arc<Backlog>,
    /// The path for which there is no space.
    full: Option<PathBuf>,
    pub(super) journaled: Option<Journaled>,
}

impl OpenFiles {
    /// Handles commands until there will be none.
    fn serve(&mut self, commands: &Receiver<Command>) -> io::Result<()> {
        loop {
            match commands.recv_timeout(INTERVAL) {
                Ok(Command::Append(batches)) => {
                    for batch in batches {
                        self.step = self.step.saturating_add(1);
                        match self.journaled {
                            Some(_) => self.append_journaled(batch),
                            None => self.append(batch),
                        }
                        self.failure()?;
                    }
                }
                Ok(Command::Reopen) => self.close_all(),
                Ok(Command::Stream(command)) => self.handle_stream(command),
                Ok(Command::Failed) => {
                    return Err(io::Error::other("nothing can be committed any more"));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if self.looked.elapsed() >= INTERVAL {
                self.look();
            }
            self.failure()?;
        }
    }

    /// The error of the journal, if it has failed.
    fn failure(&mut self) -> io::Result<()> {
        match self.journaled.as_mut().and_then(Journaled::failure) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Writes a batch, and sees to its holds.
    fn append(&mut self, batch: Batch) {
        let Batch {
            name, lines, holds, ..
        } = batch;
        let mut commit = Commit {
            files: Vec::new(),
            holds,
            bytes: lines.len(),
            below: 0,
        };
        let path = self.directory.join(&*name);
        let mut rest = &lines[..];
        let written = loop {
            match self.write(&name, &mut rest, &mut commit.files) {
                Err(error) if is_full(&error) => self.wait_for_space(&path, error),
                written => break written,
            }
        };
        self.waited_for_space(written.is_ok());
        match written {
            Ok(()) if self.commits.is_some() => self.send_commit(commit, &path),
            Ok(()) => commit.finish(Ok(()), &self.backlog),
            Err(error) => {
                // The next batch opens it anew, and ends the line that this one left unfinished.
                self.close(&name);
                commit.finish(Err((&path, &error)), &self.backlog);
            }
        }
    }

    /// Sends lines that are written to be committed. If no thread syncs any more, they are lost, with
    /// an error about `path`.
    pub(super) fn send_commit(&self, commit: Commit, path: &Path) {
        let request = Request::Commit(commit);
        let unsent = match &self.commits {
            Some(commits) => commits.send(request).map_err(|error| error.0),
            None => Err(request),
        };
        if let Err(Request::Commit(commit)) = unsent {
            commit.finish(Err((path, &syncing_ended())), &self.backlog);
        }
    }

    /// Waits until everything that was sent to be committed is committed or lost. Returns `false` if
    /// the thread that syncs has ended, and with it all syncs.
    pub(super) fn await_commits(&self) -> bool {
        self.commits.as_ref().is_some_and(|commits| {
            let (tell, told) = mpsc::sync_channel(1);
            commits.send(Request::Tell(tell)).is_ok() && told.recv().is_ok()
        })
    }

    /// Lets a rotated file, all lines of which are committed, be packed or removed.
    pub(super) fn announce_closed(&mut self, path: PathBuf) {
        if self.sync_journal()
            && let Some(closer) = &self.closer
        {
            closer.announce(path);
        }
    }

    /// Waits until the next try to write to a full disk, and says so the first time.
    pub(super) fn wait_for_space(&mut self, path: &Path, error: io::Error) {
        if self.full.is_none() {
            let path = path.to_owned();
            self.full = Some(path.clone());
            (self.on_notice)(&AppendNotice::Full { path, error });
        }
        thread::sleep(INTERVAL);
    }

    /// Ends the wait, if there was one, as everything is written or given up.
    pub(super) fn waited_for_space(&mut self, is_written: bool) {
        if let Some(path) = self.full.take()
            && is_written
        {
            (self.on_notice)(&AppendNotice::Space(path));
        }
    }

    /// Writes lines, notes the files that take some, and removes what is written from `rest`.
    fn write(
        &mut self,
        name: &Arc<str>,
        rest: &mut &[u8],
        written: &mut Vec<Arc<Written>>,
    ) -> io::Result<()> {
        while !rest.is_empty() {
            let size = self.rotate;
            let file = self.open(name)?;
            let room = match size {
                Some(size) => file.room_for(rest, size),
                None => rest.len(),
            };
            if room == 0 {
                self.rotate(name)?;
                continue;
            }
            let is_noted = written
                .last()
                .is_some_and(|last| last.id == file.written.id);
            if !is_noted {
                written.push(Arc::clone(&file.written));
            }
            match file.write(rest.get(..room).unwrap_or(rest)) {
                Ok(count) => *rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The open file of this name, opened if it is not.
    fn open(&mut self, name: &Arc<str>) -> io::Result<&mut AppendFile> {
        if let Some(file) = self.files.get(name)
            && let Some(error) = file.written.failure()
        {
            let (within_line, error) = (file.is_within_line(), copy_of(error));
            self.close(name);
            self.look_at_uncommitted();
            if within_line {
                return Err(error);
            }
        }
        if !self.files.contains_key(name) {
            while self.files.len() >= self.most {
                self.close_oldest();
            }
            let file = AppendFile::open(&self.directory, name)?;
            (self.on_notice)(&AppendNotice::Opened(file.written.path.clone()));
            self.files.insert(Arc::clone(name), file);
        }
        let file = self.files.get_mut(name);
        let file = file.ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
        file.used = self.step;
        Ok(file)
    }

    /// Gives a file its next name, unless it has lost its own.
    fn rotate(&mut self, name: &Arc<str>) -> io::Result<()> {
        if let Some(file) = self.files.get(name)
            && file.written.is_at(&file.written.path)
        {
            let path = file.written.path.clone();
            let to = rotate(&path)?;
            if let Some(file) = self.files.remove(name) {
                self.uncommitted.push((to.clone(), file.written));
            }
            (self.on_notice)(&AppendNotice::Rotated { path, to });
        }
        self.close(name);
        Ok(())
    }

    pub(super) fn close(&mut self, name: &Arc<str>) {
        let file = self.files.remove(name);
        self.uncommitted.extend(file.map(AppendFile::close));
    }

    fn close_all(&mut self) {
        let files = self.files.drain();
        self.uncommitted.extend(files.map(|(_, file)| file.close()));
    }

    /// Closes the file that was not written to for longest, once it is synced.
    pub(super) fn close_oldest(&mut self) {
        let oldest = self.files.iter().min_by_key(|(_, file)| file.used);
        if let Some(name) = oldest.map(|(name, _)| Arc::clone(name)) {
            self.close(&name);
        }
        self.look_at_uncommitted();
        if !self.uncommitted.is_empty() {
            self.await_commits();
            self.look_at_uncommitted();
        }
    }

    /// Closes the files whose path belongs to another file by now, and those whose sync has failed. Others
    /// may remove the closed files then, as logrotate does that packs them.
    fn look(&mut self) {
        self.looked = Instant::now();
        let moved = self.files.extract_if(|_, AppendFile { written, .. }| {
            written.failure().is_some() || !written.is_at(&written.path)
        });
        self.uncommitted.extend(moved.map(|(_, file)| file.close()));
        self.look_at_uncommitted();
        self.sync_journal();
    }

    /// Forgets the closed files that are synced, and sets those aside whose sync has failed.
    pub(super) fn look_at_uncommitted(&mut self) {
        for (path, file) in std::mem::take(&mut self.uncommitted) {
            if let Some(error) = file.failure() {
                if file.is_at(&path) {
                    let (to, error) = (set_aside(&path), copy_of(error));
                    (self.on_notice)(&AppendNotice::SetAside { path, to, error });
                }
                self.mend_lost(&file);
                self.note_closed(&file);
            } else if Arc::strong_count(&file) > 1 {
                self.uncommitted.push((path, file));
            } else {
                self.note_closed(&file);
                if path != file.path {
                    // It was rotated, and all its lines are committed.
                    self.announce_closed(path);
                }
            }
        }
    }
}

pub(super) fn syncing_ended() -> io::Error {
    io::Error::other("the thread that syncs has ended")
}
