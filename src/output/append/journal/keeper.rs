//! Positions of streams whose lines are kept elsewhere.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use super::{Journal, MOST_STREAMS};
use crate::conn::ConnId;
use crate::end::End;
use crate::limit::Limit;
use crate::output::files::is_full;
use crate::resume::{Offsets, Opening, Owner, Progress};

/// The time between two tries to write a new journal on a full disk.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the positions of resumed streams in a [`Journal`]: give it to
/// [`ServerBuilder::offsets`](crate::ServerBuilder::offsets). Clones share the journal.
///
/// It is for outputs that write no [appended](crate::output::Appended) files: a position is kept when
/// the output is through with the lines before it. After a crash, lines that the output has may come
/// again, and none is missing.
#[derive(Clone, Debug)]
pub struct JournalKeeper(Sender<Request>);

/// Writes the journal of a [`JournalKeeper`]. It does nothing before it [runs](Self::run).
pub struct KeeperWriter {
    journal: Journal,
    requests: Receiver<Request>,
    wait: Wait,
}

/// Waits before the next try, which an error of the last one makes necessary.
type Wait = Box<dyn FnMut(Option<&io::Error>) + Send>;

#[derive(Debug)]
enum Request {
    Open(Opening),
    Keep(Progress),
}

impl Journal {
    /// Keeps the positions of streams, and of nothing else.
    pub fn keeper(self) -> (JournalKeeper, KeeperWriter) {
        let (sender, requests) = mpsc::channel();
        let writer = KeeperWriter {
            journal: self,
            requests,
            wait: Box::new(|full| {
                if full.is_some() {
                    thread::sleep(INTERVAL);
                }
            }),
        };
        (JournalKeeper(sender), writer)
    }
}

/// A writer that has ended refuses streams, and keeps nothing.
impl Offsets for JournalKeeper {
    fn open(&self, opening: Opening) {
        let _ = self.0.send(Request::Open(opening));
    }

    fn keep(&self, progress: Progress) {
        let _ = self.0.send(Request::Keep(progress));
    }
}

impl KeeperWriter {
    /// Waits like this while the disk has no space for a new journal: `wait` is called with the error
    /// before each further try, and with `None` once there is space. By default, tries are a second apart.
    pub fn when_full(mut self, wait: impl FnMut(Option<&io::Error>) + Send + 'static) -> Self {
        self.wait = Box::new(wait);
        self
    }

    /// Writes until all clones of the keeper are dropped. What comes during a sync shares the next one.
    ///
    /// # Errors
    ///
    /// When the journal can't be written or synced. Streams are refused and not acknowledged from then
    /// on.
    ///
    /// # Blocking
    ///
    /// For as long as that takes.
    pub fn run(mut self) -> io::Result<()> {
        let mut owners: HashMap<u32, Owner> = HashMap::new();
        while let Ok(first) = self.requests.recv() {
            let (mut opened, mut kept) = (Vec::new(), Vec::new());
            for request in std::iter::once(first).chain(self.requests.try_iter()) {
                self.journal.make_room(&owners, &mut self.wait)?;
                match request {
                    Request::Open(opening) => {
                        let number = number(&self.journal, &owners, &opening)?;
                        match number {
                            Some(number) => {
                                if let Some(before) = owners.remove(&number) {
                                    before.take_over();
                                }
                                opened.push((number, opening));
                            }
                            None => {
                                opening.refuse_as(End::Limit(Limit::Streams { most: MOST_STREAMS }))
                            }
                        }
                    }
                    Request::Keep(progress) => {
                        let number = self.journal.stream(progress.resumed());
                        if let Some(number) = number
                            && is_owner(&owners, number, progress.id())
                        {
                            self.journal.move_stream(number, progress.position())?;
                            kept.push(progress);
                        }
                    }
                }
            }
            self.journal.sync()?;
            kept.into_iter().for_each(Progress::done);
            for (number, opening) in opened {
                if let Some(at) = self.journal.committed(number)
                    && let Some(before) = owners.insert(number, opening.accept(at))
                {
                    before.take_over();
                }
            }
        }
        Ok(())
    }
}

/// The number of the stream of an opening, which is added if it is not known; `None` if its client has
/// too many.
fn number(
    journal: &Journal,
    owners: &HashMap<u32, Owner>,
    opening: &Opening,
) -> io::Result<Option<u32>> {
    match journal.stream(opening.resumed()) {
        Some(number) => journal.use_stream(number).map(|()| Some(number)),
        None => {
            let is_in_use = |number| owners.contains_key(&number);
            journal.add_stream(opening.resumed(), opening.from(), is_in_use)
        }
    }
}

fn is_owner(owners: &HashMap<u32, Owner>, number: u32, id: ConnId) -> bool {
    owners.get(&number).is_some_and(|owner| owner.id() == id)
}

impl Journal {
    /// Replaces a journal that is nearly full, and waits while the disk is.
    fn make_room(
        &self,
        owners: &HashMap<u32, Owner>,
        wait: &mut dyn FnMut(Option<&io::Error>),
    ) -> io::Result<()> {
        let mut has_waited = false;
        while self.is_nearly_full() {
            match self.compact(|number| owners.contains_key(&number)) {
                Err(error) if is_full(&error) => {
                    has_waited = true;
                    wait(Some(&error));
                }
                compacted => {
                    if has_waited {
                        wait(None);
                    }
                    return compacted;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for KeeperWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeeperWriter")
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::lane::Lane;
    use crate::resume::{Channel, Position, Resumed};

    fn resumed(name: &str) -> Arc<Resumed> {
        Arc::new(Resumed {
            client: None,
            name: name.to_owned(),
        })
    }

    /// A connection that wants to go on with the stream `s`.
    fn open(keeper: &JournalKeeper, id: u64) -> Arc<Channel> {
        let channel = Channel::new(ConnId(id), &Arc::new(Lane::new()));
        keeper.open(Opening::new(&resumed("s"), Position::START, &channel));
        channel
    }

    fn keep(keeper: &JournalKeeper, channel: &Arc<Channel>, bytes: &[u8]) {
        let at = Position::START.behind(bytes);
        keeper.keep(Progress::new(&resumed("s"), at, channel, None));
    }

    /// Runs a keeper with a small journal, until `requests` have been handled.
    fn run(folder: &std::path::Path, requests: impl FnOnce(&JournalKeeper)) {
        let (journal, recovery) = Journal::open_sized(folder, folder, 0).unwrap();
        assert!(recovery.is_empty());
        let (keeper, writer) = journal.keeper();
        requests(&keeper);
        drop(keeper);
        writer.run().unwrap();
    }

    #[test]
    fn a_stream_goes_on_where_its_owner_was_through() {
        let folder = tempfile::tempdir().unwrap();
        let mut channels = Vec::new();
        run(folder.path(), |keeper| channels.push(open(keeper, 1)));
        let first = channels[0].take();
        assert_eq!(first.opened.unwrap().unwrap().at, Position::START);

        // Positions of a connection that was never accepted do not count.
        run(folder.path(), |keeper| keep(keeper, &channels[0], b"stray"));
        assert_eq!(channels[0].take().kept, None);
        let (journal, _) = Journal::open_sized(folder.path(), folder.path(), 0).unwrap();
        let (keeper, writer) = journal.keeper();
        let running = thread::spawn(|| writer.run());
        let first = open(&keeper, 2);
        let opened = |channel: &Channel| loop {
            if let Some(opened) = channel.take().opened {
                return opened.unwrap();
            }
            thread::yield_now();
        };
        assert_eq!(opened(&first).at, Position::START);
        keep(&keeper, &first, b"one\n");
        while first.take().kept != Some(4) {
            thread::yield_now();
        }
        let second = open(&keeper, 3);
        assert_eq!(opened(&second).at, Position::START.behind(b"one\n"));
        assert!(first.take().is_taken_over);
        keep(&keeper, &first, b"one\nstray\n");
        keep(&keeper, &second, b"one\ntwo\n");
        drop(keeper);
        running.join().unwrap().unwrap();
        assert_eq!(first.take().kept, None);

        let mut third = None;
        run(folder.path(), |keeper| third = Some(open(keeper, 4)));
        let at = third.unwrap().take().opened.unwrap().unwrap().at;
        assert_eq!(at, Position::START.behind(b"one\ntwo\n"));
    }

    #[test]
    fn a_full_journal_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open_sized(folder.path(), folder.path(), 0).unwrap();
        let (keeper, writer) = journal.keeper();
        let running = thread::spawn(|| writer.run());
        let channel = open(&keeper, 1);
        while channel.take().opened.is_none() {
            thread::yield_now();
        }
        // A record takes 40 bytes of a mebibyte.
        let mut at = Position::START;
        for _ in 0..30_000 {
            at = at.behind(b"line\n");
            keeper.keep(Progress::new(&resumed("s"), at, &channel, None));
        }
        drop(keeper);
        running.join().unwrap().unwrap();
        let len = std::fs::metadata(folder.path().join("journal"))
            .unwrap()
            .len();
        assert_eq!(len, 1 << 20);
        let mut again = None;
        run(folder.path(), |keeper| again = Some(open(keeper, 2)));
        assert_eq!(again.unwrap().take().opened.unwrap().unwrap().at, at);
    }
}
