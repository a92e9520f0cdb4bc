//! Syncing, and telling streams that their lines are written.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::file::Written;
use super::resumed::Journal;
use super::{Backlog, Command};
use crate::hold::Hold;
use crate::output::StreamError;
use crate::output::shared::copy_of;

/// The shortest time from the beginning of one sync to the next, unless a stream waits for its turn.
/// Lines that come meanwhile share the next one, and a sender that waits for an acknowledgement loses
/// less than on a spinning disk.
const INTERVAL: Duration = Duration::from_millis(5);

/// A message to the thread that syncs.
#[derive(Debug)]
pub(super) enum Request {
    Commit(Commit),
    /// Say when all commits before it are done.
    Tell(SyncSender<()>),
    /// Send this to the writer when all commits before it are done.
    #[cfg_attr(
        not(all(unix, feature = "resume")),
        expect(dead_code, reason = "only streams wait so")
    )]
    Return(Command),
}

/// Lines that are written.
#[derive(Debug)]
pub(super) struct Commit {
    /// The files that hold them.
    pub(super) files: Vec<Arc<Written>>,
    pub(super) holds: Vec<Hold>,
    pub(super) bytes: usize,
    /// The journal's records below this number are of lines in this commit, and in those before it.
    pub(super) below: u64,
}

/// The thread that syncs.
pub(super) struct Syncing {
    pub(super) requests: Receiver<Request>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) journal: Option<Journal>,
    /// The way to the writer. It is weak, so that the writer ends with its outputs.
    pub(super) queue: Weak<Sender<Command>>,
}

impl Request {
    /// Whether somebody makes no progress before it is done.
    fn is_urgent(&self) -> bool {
        match self {
            Request::Commit(commit) => commit.holds.iter().any(Hold::is_waited_for),
            Request::Tell(_) => true,
            Request::Return(_) => false,
        }
    }
}

impl Commit {
    /// Tells the streams that their lines are through, or lost.
    pub(super) fn finish(self, result: Result<(), (&Path, &io::Error)>, backlog: &Backlog) {
        backlog.remove(self.bytes);
        for hold in self.holds {
            match result {
                Ok(()) => hold.done(),
                Err((path, error)) => {
                    let text = match path.as_os_str().is_empty() {
                        true => error.to_string(),
                        false => format!("{}: {error}", path.display()),
                    };
                    hold.fail(StreamError::new(io::Error::new(error.kind(), text)));
                }
            }
        }
    }
}

impl Syncing {
    /// Syncs files, as many commits at once as have come, until there will be none.
    ///
    /// # Errors
    ///
    /// When the journal can't be written or synced, or its thread not be started. Then nothing more is
    /// synced.
    pub(super) fn run(self) -> io::Result<()> {
        let beside = self.journal.as_ref().map(Journal::another);
        let beside = beside.map(JournalSync::start).transpose()?;
        let mut last: Option<Instant> = None;
        while let Ok(first) = self.requests.recv() {
            let mut group = vec![first];
            while let Some(last) = last
                && !group.last().is_some_and(Request::is_urgent)
                && let Some(rest) = INTERVAL.checked_sub(last.elapsed())
                && let Ok(next) = self.requests.recv_timeout(rest)
            {
                group.push(next);
            }
            last = Some(Instant::now());
            group.extend(self.requests.try_iter());
            self.sync_group(group, beside.as_ref())
                .inspect_err(|_| self.tell(Command::Failed))?;
        }
        match &self.journal {
            Some(journal) => journal.sync(),
            None => Ok(()),
        }
    }

    fn sync_group(&self, group: Vec<Request>, beside: Option<&JournalSync>) -> io::Result<()> {
        let mut below = 0;
        for request in &group {
            if let Request::Commit(commit) = request {
                below = below.max(commit.below);
            }
        }
        let (synced, committed) = match (&self.journal, beside) {
            (Some(journal), Some(beside)) => {
                let (synced, recorded) = beside.beside(|| sync_files(&group));
                let lost = synced.iter().filter(|(_, error)| error.is_some());
                let lost: Vec<_> = lost.map(|(file, _)| *file).collect();
                (synced, recorded.and_then(|()| journal.commit(below, &lost)))
            }
            _ => (sync_files(&group), Ok(())),
        };
        for request in group {
            match request {
                Request::Commit(commit) => {
                    let files = commit.files.clone();
                    let failed = files.iter().find_map(|file| {
                        let error = synced.get(&file.id)?.as_ref()?;
                        Some((&*file.path, error))
                    });
                    let failed = match &committed {
                        Ok(()) => failed,
                        // It names the journal.
                        Err(error) => Some((Path::new(""), error)),
                    };
                    commit.finish(failed.map_or(Ok(()), Err), &self.backlog);
                }
                // Nobody waits any more if the writer is gone.
                Request::Tell(told) if committed.is_ok() => _ = told.send(()),
                Request::Return(command) if committed.is_ok() => self.tell(command),
                Request::Tell(_) | Request::Return(_) => {}
            }
        }
        committed
    }

    /// Tells the writer, unless it has ended.
    fn tell(&self, command: Command) {
        if let Some(queue) = self.queue.upgrade() {
            let _ = queue.send(command);
        }
    }
}

/// Syncs the files of these commits, each once. Returns their errors, by the numbers of the files.
fn sync_files(group: &[Request]) -> HashMap<u64, Option<io::Error>> {
    let mut synced = HashMap::new();
    for request in group {
        if let Request::Commit(commit) = request {
            for file in &commit.files {
                synced
                    .entry(file.id)
                    .or_insert_with(|| file.sync().err().map(|error| copy_of(&error)));
            }
        }
    }
    synced
}

/// Syncs a journal on a thread of its own, while files are synced: each of them waits for a disk.
struct JournalSync {
    ask: SyncSender<()>,
    synced: Receiver<io::Result<()>>,
}

impl JournalSync {
    /// Starts the thread, which ends when this is dropped.
    fn start(journal: Journal) -> io::Result<Self> {
        let (ask, asked) = mpsc::sync_channel(1);
        let (tell, synced) = mpsc::channel();
        let thread = thread::Builder::new().name("sync journal".to_owned());
        thread.spawn(move || {
            while let Ok(()) = asked.recv() {
                if tell.send(journal.sync()).is_err() {
                    return;
                }
            }
        })?;
        Ok(JournalSync { ask, synced })
    }

    /// Syncs the journal while `others` are synced.
    fn beside<T>(&self, others: impl FnOnce() -> T) -> (T, io::Result<()>) {
        let asked = self.ask.send(());
        let others = others();
        let synced = match asked {
            Ok(()) => self.synced.recv().ok(),
            Err(_) => None,
        };
        let ended = || {
            Err(io::Error::other(
                "the thread that syncs the journal has ended",
            ))
        };
        (others, synced.unwrap_or_else(ended))
    }
}
