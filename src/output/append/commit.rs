//! Syncing, and telling streams that their lines are written.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::sync::{Arc, Weak};
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
    /// When the journal can't be written or synced. Then nothing more is synced.
    pub(super) fn run(self) -> io::Result<()> {
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
            self.sync_group(group)
                .inspect_err(|_| self.tell(Command::Failed))?;
        }
        Ok(())
    }

    fn sync_group(&self, group: Vec<Request>) -> io::Result<()> {
        // Each file once, however many commits concern it.
        let mut synced: HashMap<u64, Option<io::Error>> = HashMap::new();
        let mut below = 0;
        for request in &group {
            if let Request::Commit(commit) = request {
                below = below.max(commit.below);
                for file in &commit.files {
                    synced
                        .entry(file.id)
                        .or_insert_with(|| file.sync().err().map(|error| copy_of(&error)));
                }
            }
        }
        let lost = synced.iter().filter(|(_, error)| error.is_some());
        let lost: Vec<_> = lost.map(|(file, _)| *file).collect();
        let committed = match &self.journal {
            Some(journal) => journal.commit(below, &lost),
            None => Ok(()),
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
