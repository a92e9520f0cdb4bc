//! Syncing, and telling streams that their lines are written.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use super::Backlog;
use super::file::Written;
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
}

/// Lines that are written.
#[derive(Debug)]
pub(super) struct Commit {
    /// The files that hold them.
    pub(super) files: Vec<Arc<Written>>,
    pub(super) holds: Vec<Hold>,
    pub(super) bytes: usize,
}

impl Request {
    /// Whether somebody makes no progress before it is done.
    fn is_urgent(&self) -> bool {
        match self {
            Request::Commit(commit) => commit.holds.iter().any(Hold::is_waited_for),
            Request::Tell(_) => true,
        }
    }
}

impl Commit {
    /// Tells the streams that their lines are through, or lost.
    pub(super) fn finish(self, result: Result<(), (&PathBuf, &io::Error)>, backlog: &Backlog) {
        backlog.remove(self.bytes);
        for hold in self.holds {
            match result {
                Ok(()) => hold.done(),
                Err((path, error)) => {
                    let text = format!("{}: {error}", path.display());
                    hold.fail(StreamError::new(io::Error::new(error.kind(), text)));
                }
            }
        }
    }
}

/// Syncs files, as many commits at once as have come, until there will be none.
pub(super) fn sync_all(requests: &Receiver<Request>, backlog: &Backlog) {
    let mut last: Option<Instant> = None;
    while let Ok(first) = requests.recv() {
        let mut group = vec![first];
        while let Some(last) = last
            && !group.last().is_some_and(Request::is_urgent)
            && let Some(rest) = INTERVAL.checked_sub(last.elapsed())
            && let Ok(next) = requests.recv_timeout(rest)
        {
            group.push(next);
        }
        last = Some(Instant::now());
        group.extend(requests.try_iter());
        sync_group(group, backlog);
    }
}

fn sync_group(group: Vec<Request>, backlog: &Backlog) {
    // Each file once, however many commits concern it.
    let mut synced: HashMap<u64, Option<io::Error>> = HashMap::new();
    for request in &group {
        if let Request::Commit(commit) = request {
            for file in &commit.files {
                synced
                    .entry(file.id)
                    .or_insert_with(|| file.sync().err().map(|error| copy_of(&error)));
            }
        }
    }
    for request in group {
        match request {
            Request::Commit(commit) => {
                let files = commit.files.clone();
                let failed = files.iter().find_map(|file| {
                    let error = synced.get(&file.id)?.as_ref()?;
                    Some((&file.path, error))
                });
                commit.finish(failed.map_or(Ok(()), Err), backlog);
            }
            // Nobody waits any more if the writer is gone.
            Request::Tell(told) => _ = told.send(()),
        }
    }
}
