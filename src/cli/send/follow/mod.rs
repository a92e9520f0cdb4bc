//! Following a file: its lines as they are added, also after it is rotated.
//!
//! A thread of its own looks at the file every now and then, as inotify(7) tells nothing of files on
//! other machines. It reads ahead until nobody takes what it has read.

use std::collections::VecDeque;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};

use super::super::say::Say;
use super::super::{Failure, start_thread};

mod mark;
mod reading;
mod rotated;
mod state;
mod state_file;

pub(crate) use mark::Mark;
pub(crate) use reading::MAX_PIECE;
use reading::{BUFFER, Grown, Reading};
pub(crate) use rotated::FileId;
use rotated::modified;
pub(crate) use state::{FilePlace, ServerState, Servers, State};
pub(crate) use state_file::StateFile;

/// The time between two looks at a file that does not grow.
const POLL: Duration = Duration::from_millis(250);

/// The time for which a renamed file has to stay unchanged until it counts as finished: its writer may
/// write to it for a while.
const STILL: Duration = Duration::from_secs(5);

/// The number of files that are remembered after they were read to their ends.
const MAX_FINISHED: usize = 8;

/// The pieces that wait in the channel, in addition to the buffer of its receiver.
const AHEAD: usize = 1;

/// The way from the thread that follows.
pub(crate) type News = Receiver<Result<Followed, Failure>>;

/// News of the followed file.
#[derive(Debug)]
pub(crate) enum Followed {
    /// The next bytes of the stream.
    Bytes(FollowedBytes),
    /// Everything that is in the file, up to its last newline, was read.
    CaughtUp,
}

/// The next bytes of the stream, which end with a newline, except within a very long line.
#[derive(Debug)]
pub(crate) struct FollowedBytes {
    pub(crate) bytes: Vec<u8>,
    pub(crate) source: Arc<SourceFile>,
    /// The last byte is a newline that the file lacks.
    pub(crate) newline_added: bool,
    /// The bytes of the file behind these.
    pub(crate) left: u64,
}

/// A file whose bytes are in the stream, all from one place on.
#[derive(Debug)]
pub(crate) struct SourceFile {
    pub(crate) id: FileId,
    /// The place of the first byte that was read from it.
    pub(crate) start: Mark,
}

/// The place at which following begins.
pub(crate) enum Begun {
    /// The place that is in the state.
    Again,
    /// The start of a file.
    At(FilePlace),
    /// No file is there yet.
    Nowhere,
}

/// Begins to follow a file, from the place on that is in the state, if there is one and it is found.
///
/// # Errors
///
/// When the file can't be opened, unless it does not exist yet.
pub(crate) fn follow(path: &Path, state: &State, say: &Say) -> Result<(News, Begun), Failure> {
    let (out, news) = async_channel::bounded(AHEAD);
    let mut follower = Follower {
        path: path.to_owned(),
        reading: None,
        queue: VecDeque::new(),
        finished: state.before.into_iter().collect(),
        out,
        say: say.clone(),
        buf: vec![0; BUFFER],
        has_caught_up: false,
        is_missed: false,
        is_unopened: false,
    };
    let is_found = follower.begin(state.file.as_ref()).map_err(|error| {
        let failure = Failure::misused(format!("can't follow {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::InvalidInput => {
                failure.hint("--resume sends standard input, which may be a pipe")
            }
            _ => failure,
        }
    })?;
    let begun = match &follower.reading {
        _ if is_found => Begun::Again,
        Some(reading) => Begun::At(reading.source.place(&reading.mark)),
        None => Begun::Nowhere,
    };
    start_thread("follow", move || follower.run())?;
    Ok((news, begun))
}

struct Follower {
    path: PathBuf,
    reading: Option<Reading>,
    /// The files behind the one that is read, the newest last.
    queue: VecDeque<(File, Metadata)>,
    /// The ends of the files that were read last, the newest last.
    finished: Vec<FilePlace>,
    out: Sender<Result<Followed, Failure>>,
    say: Say,
    buf: Vec<u8>,
    /// The news that everything was read is sent, and nothing was read since.
    has_caught_up: bool,
    /// It was said that no file has the name.
    is_missed: bool,
    /// It was said that the file can't be opened.
    is_unopened: bool,
}

impl SourceFile {
    /// A place in it.
    pub(crate) fn place(&self, mark: &Mark) -> FilePlace {
        FilePlace {
            device: self.id.device,
            inode: self.id.inode,
            fingerprint: mark.fingerprint(),
            newline_added: false,
        }
    }
}

/// The receiver of the news is gone.
struct Over;

/// The next thing to do after a step.
enum Next {
    Step,
    Rest,
}

impl Follower {
    fn run(mut self) {
        loop {
            match self.step() {
                Ok(Next::Step) => {}
                Ok(Next::Rest) if self.out.is_closed() => return,
                Ok(Next::Rest) => thread::sleep(POLL),
                Err(Over) => return,
            }
        }
    }

    fn step(&mut self) -> Result<Next, Over> {
        let Some(reading) = &mut self.reading else {
            return self.open_next();
        };
        match reading.read(&mut self.buf) {
            Ok(Grown::Bytes(read)) => {
                if reading.still_since.is_some() {
                    reading.still_since = Some(Instant::now());
                }
                let bytes = reading.take(self.buf.get(..read).unwrap_or_default());
                self.deliver(bytes, false)?;
                Ok(Next::Step)
            }
            Ok(Grown::Replaced(what)) => self.start_over(&what),
            Ok(Grown::No) => self.at_end(),
            Err(error) => self.fail(&error),
        }
    }

    /// Finds the file and the place in it. Returns whether it is there.
    fn begin(&mut self, place: Option<&FilePlace>) -> io::Result<bool> {
        let named = match rotated::open(&self.path) {
            Ok(opened) => Some(opened),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let Some(place) = place else {
            self.reading = named.map(|(file, facts)| Reading::new(file, &facts, Mark::default()));
            return Ok(false);
        };
        let shown = self.path.display();
        let found = rotated::find(&self.path, place).unwrap_or_else(|error| {
            // There may be no folder yet.
            if error.kind() != io::ErrorKind::NotFound {
                self.unsearched(&error);
            }
            None
        });
        let Some((file, mark)) = found else {
            let is_same =
                |facts: &Metadata| (facts.dev(), facts.ino()) == (place.device, place.inode);
            self.say.warning(&match &named {
                Some((_, facts)) if is_same(facts) => format!(
                    "{shown} was truncated or overwritten since it was followed: reading it from \
                     its start; lines may be missing"
                ),
                Some(_) => format!(
                    "{shown} is not the file that was followed before, which is not in its folder: \
                     lines of that one may be missing"
                ),
                None => format!(
                    "the file that was followed before is not in the folder of {shown}: lines of \
                     it may be missing"
                ),
            });
            self.reading = named.map(|(file, facts)| Reading::new(file, &facts, Mark::default()));
            return Ok(false);
        };
        let facts = file.metadata()?;
        let is_named = named
            .as_ref()
            .is_some_and(|(_, named)| FileId::of(named) == FileId::of(&facts));
        let mut reading = match is_named {
            true => Reading::new(file, &facts, mark),
            false => {
                self.say.info(&format!(
                    "{shown} was rotated: going on with the file that was followed before"
                ));
                Reading::renamed(file, &facts, mark)
            }
        };
        if place.newline_added {
            reading.is_within_line = false;
        }
        self.reading = Some(reading);
        if let Some(named) = named.filter(|_| !is_named) {
            self.enqueue(named);
        }
        Ok(true)
    }

    /// Puts the file that has the name behind the one that is read, and before it the files that had
    /// the name meanwhile.
    fn enqueue(&mut self, named: (File, Metadata)) {
        let mut known = vec![FileId::of(&named.1)];
        known.extend(self.queue.iter().map(|(_, facts)| FileId::of(facts)));
        let since = match (&self.reading, self.queue.back()) {
            (_, Some((_, newest))) => modified(newest),
            (Some(reading), None) => {
                known.push(reading.source.id);
                reading.modified
            }
            (None, None) => return self.queue.push_back(named),
        };
        match rotated::rotated_since(&self.path, since, &known, &self.finished) {
            Ok(between) => self.queue.extend(between),
            Err(error) => self.unsearched(&error),
        }
        self.queue.push_back(named);
    }

    fn unsearched(&self, error: &io::Error) {
        let shown = self.path.display();
        self.say.warning(&format!(
            "can't look for rotated files beside {shown}: {error}; lines of these may be missing"
        ));
    }

    /// Opens the next file, or waits for it.
    fn open_next(&mut self) -> Result<Next, Over> {
        if let Some((file, facts)) = self.queue.pop_front() {
            self.reading = Some(match self.queue.is_empty() {
                true => Reading::new(file, &facts, Mark::default()),
                false => Reading::renamed(file, &facts, Mark::default()),
            });
            return Ok(Next::Step);
        }
        let shown = self.path.display();
        match rotated::open(&self.path) {
            Ok((file, facts)) => {
                if self.is_missed {
                    self.say.info(&format!("{shown} is there now"));
                }
                self.is_missed = false;
                self.reading = Some(Reading::new(file, &facts, Mark::default()));
                return Ok(Next::Step);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !self.is_missed {
                    self.is_missed = true;
                    self.say
                        .info(&format!("{shown} does not exist yet: waiting for it"));
                }
            }
            Err(error) => self.unopened(&error),
        }
        self.catch_up()?;
        Ok(Next::Rest)
    }

    /// Everything was read: finds out whether the file has still its name.
    fn at_end(&mut self) -> Result<Next, Over> {
        let Some(reading) = &mut self.reading else {
            return Ok(Next::Step);
        };
        if let Ok(facts) = fs::metadata(&self.path)
            && FileId::of(&facts) == reading.source.id
        {
            reading.modified = modified(&facts);
            reading.still_since = None;
            (self.is_missed, self.is_unopened) = (false, false);
            self.catch_up()?;
            return Ok(Next::Rest);
        }
        let named = match rotated::open(&self.path) {
            Ok(named) => Some(named),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    self.unopened(&error);
                }
                None
            }
        };
        let Some(reading) = &mut self.reading else {
            return Ok(Next::Step);
        };
        let since = *reading.still_since.get_or_insert_with(Instant::now);
        let is_still = since.elapsed() >= STILL;
        match named {
            Some(named) => {
                (self.is_missed, self.is_unopened) = (false, false);
                let newest = self.queue.back().map(|(_, facts)| FileId::of(facts));
                // It may have got its name back since.
                let is_read = FileId::of(&named.1) == reading.source.id;
                if !is_read && newest != Some(FileId::of(&named.1)) {
                    self.enqueue(named);
                }
            }
            None if is_still && self.queue.is_empty() && !self.is_missed => {
                self.is_missed = true;
                let shown = self.path.display();
                self.say
                    .info(&format!("{shown} does not exist any more: waiting for it"));
            }
            None => {}
        }
        if self.queue.is_empty() {
            self.catch_up()?;
            return Ok(Next::Rest);
        }
        if !is_still {
            return Ok(Next::Rest);
        }
        self.finish_file()?;
        Ok(Next::Step)
    }

    /// The file has lost its former content: goes on with a copy of that, if there is one, and then
    /// from the start.
    fn start_over(&mut self, what: &str) -> Result<Next, Over> {
        let Some(reading) = &self.reading else {
            return Ok(Next::Step);
        };
        let shown = self.path.display();
        let copy = rotated::find_copy(&self.path, &reading.mark.fingerprint());
        let copy = copy.ok().flatten().and_then(|(file, _)| {
            let start = Mark::read(&file, reading.delivered()).ok()??;
            Some((file.metadata().ok()?, file, start))
        });
        let (file, facts) = match reading.file.try_clone().and_then(|file| {
            let facts = file.metadata()?;
            Ok((file, facts))
        }) {
            Ok(again) => again,
            Err(error) => return self.fail(&error),
        };
        match copy {
            Some((copied, copy, start)) => {
                self.say.info(&format!(
                    "{shown} {what}: reading the rest of its copy, and then the file from its start"
                ));
                self.queue.push_front((file, facts));
                self.reading = Some(Reading {
                    is_within_line: reading.is_within_line,
                    ..Reading::renamed(copy, &copied, start)
                });
            }
            None => {
                self.say
                    .warning(&format!("{shown} {what}: reading it from its start"));
                let renamed = reading.still_since;
                self.finish_file()?;
                let again = Reading::new(file, &facts, Mark::default());
                self.reading = Some(Reading {
                    still_since: renamed,
                    ..again
                });
            }
        }
        Ok(Next::Step)
    }

    /// Ends the last line of the file that is read, which gets no more bytes.
    fn finish_file(&mut self) -> Result<(), Over> {
        if let Some(reading) = &mut self.reading
            && (reading.is_within_line || !reading.line.is_empty())
        {
            let mut line = std::mem::take(&mut reading.line);
            line.push(b'\n');
            self.deliver(line, true)?;
        }
        if let Some(reading) = self.reading.take() {
            if self.finished.len() >= MAX_FINISHED {
                self.finished.remove(0);
            }
            self.finished.push(reading.source.place(&reading.mark));
        }
        Ok(())
    }

    fn deliver(&mut self, bytes: Vec<u8>, newline_added: bool) -> Result<(), Over> {
        let Some(reading) = &self.reading else {
            return Ok(());
        };
        if bytes.is_empty() {
            return Ok(());
        }
        self.has_caught_up = false;
        let len = reading.file.metadata().map_or(0, |facts| facts.len());
        let bytes = FollowedBytes {
            bytes,
            source: Arc::clone(&reading.source),
            newline_added,
            left: len.saturating_sub(reading.delivered()),
        };
        self.send(Ok(Followed::Bytes(bytes)))
    }

    fn catch_up(&mut self) -> Result<(), Over> {
        match self.has_caught_up {
            true => Ok(()),
            false => {
                self.has_caught_up = true;
                self.send(Ok(Followed::CaughtUp))
            }
        }
    }

    /// Says that the file can't be opened, which may pass: it may have yet to get its owner.
    fn unopened(&mut self, error: &io::Error) {
        if !self.is_unopened {
            self.is_unopened = true;
            let shown = self.path.display();
            self.say
                .error(&format!("can't open {shown}: {error}; trying again"));
        }
    }

    fn fail(&self, error: &io::Error) -> Result<Next, Over> {
        let shown = self.path.display();
        let failure = Failure::failed(format!("can't read {shown}: {error}"));
        self.send(Err(failure))?;
        Err(Over)
    }

    fn send(&self, news: Result<Followed, Failure>) -> Result<(), Over> {
        self.out.send_blocking(news).map_err(|_| Over)
    }
}
