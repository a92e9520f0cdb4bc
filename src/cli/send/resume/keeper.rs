//! Keeping the state of a followed file up to date.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future;
use smol::{Task, Timer};
use tlsink::resume::Position;

use super::super::super::Failure;
use super::super::super::say::Say;
use super::super::follow::{FilePlace, Mark, Servers, SourceFile, State, StateFile};
use super::backlog::Done;

/// The shortest time between two states. What is acknowledged meanwhile is known to the server.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the state, and writes it to its file.
pub(super) struct Keeper {
    state: State,
    /// The file of the last acknowledged byte, and the place behind that.
    place: Option<(Arc<SourceFile>, Mark)>,
    /// The file, unless it is being written.
    file: Option<StateFile>,
    writing: Option<Task<(StateFile, io::Result<()>)>>,
    /// The file lacks a change.
    is_changed: bool,
    /// The time at which the next state may be written.
    due: Instant,
    /// The facts that the file has, and those of the state being written.
    saved: Saved,
    saving: Saved,
    /// The number of acknowledged bytes after which the state is written sooner.
    most: u64,
    is_failing: bool,
    name: String,
    say: Say,
}

/// The part of a state that others ask for.
#[derive(Clone, Copy)]
struct Saved {
    generation: u64,
    acknowledged: u64,
}

impl Saved {
    fn of(state: &State) -> Self {
        Saved {
            generation: state.generation,
            acknowledged: state.acknowledged.offset,
        }
    }
}

impl Keeper {
    /// Keeps the state in a file of this name, at the latest after `most` acknowledged bytes.
    pub(super) fn new(file: StateFile, state: State, name: String, most: u64, say: &Say) -> Self {
        Keeper {
            saved: Saved::of(&state),
            saving: Saved::of(&state),
            most,
            state,
            place: None,
            file: Some(file),
            writing: None,
            is_changed: false,
            due: Instant::now(),
            is_failing: false,
            name,
            say: say.clone(),
        }
    }

    /// The first bytes of a file were read, of which none are acknowledged or sent. A file that is
    /// renamed before that has to be found again, also if the program is killed now: so the state is
    /// written at once, which happens only if there was no file at the start.
    pub(super) fn begin(&mut self, source: &Arc<SourceFile>) {
        if self.state.file.is_none() && self.place.is_none() {
            self.place = Some((Arc::clone(source), source.start.clone()));
            self.set_place(false);
            if let Some(file) = &mut self.file
                && file.save(&self.state).is_ok()
            {
                self.is_changed = false;
            }
        }
    }

    /// Bytes are acknowledged.
    pub(super) fn acknowledge(&mut self, done: &Done<'_>) {
        let Some(source) = done.source else { return };
        let mark = match &mut self.place {
            Some((now, mark)) if Arc::ptr_eq(now, source) => mark,
            place => {
                // A start goes on in the same file, and knows it by its inode.
                let is_other = self.state.file.is_some_and(|file| {
                    (file.device, file.inode) != (source.id.device, source.id.inode)
                });
                if is_other || place.is_some() {
                    self.state.before = self.state.file;
                }
                let start = source.start.clone();
                &mut place.insert((Arc::clone(source), start)).1
            }
        };
        mark.advance(done.bytes);
        self.set_place(done.newline_added);
    }

    fn set_place(&mut self, newline_added: bool) {
        if let Some((source, mark)) = &self.place {
            self.state.file = Some(FilePlace {
                newline_added,
                ..source.place(mark)
            });
            self.is_changed = true;
        }
    }

    /// Everything before this position is acknowledged, and each server has its part of it.
    pub(super) fn set_position(&mut self, position: Position, servers: &Servers) {
        if self.state.servers != *servers {
            self.state.servers.clone_from(servers);
            self.is_changed = true;
        }
        self.is_changed |= self.state.acknowledged != position;
        self.state.acknowledged = position;
        if position.offset.saturating_sub(self.saved()) >= self.most && !self.is_failing {
            self.due = Instant::now();
        }
    }

    /// The last acknowledged offset that the file has. If the program is killed, it begins there.
    pub(super) fn saved(&self) -> u64 {
        self.saved.acknowledged
    }

    /// Whether the file has the generation, or can't have it for now. If the program were killed before
    /// that, the next start would send bytes of this generation in the one before.
    pub(super) fn has_saved_generation(&self) -> bool {
        self.saved.generation == self.state.generation || self.is_failing
    }

    /// A stream of another name goes on at one of the servers.
    pub(super) fn set_generation(&mut self, generation: u64, servers: &Servers) {
        self.state.generation = generation;
        self.state.servers.clone_from(servers);
        self.is_changed = true;
        self.due = Instant::now();
    }

    /// Begins to write the state, if that is due.
    pub(super) fn poke(&mut self) {
        if self.is_changed
            && self.due <= Instant::now()
            && let Some(mut file) = self.file.take()
        {
            self.is_changed = false;
            let state = self.state.clone();
            self.saving = Saved::of(&state);
            self.writing = Some(smol::unblock(move || {
                let saved = file.save(&state);
                (file, saved)
            }));
        }
    }

    /// Waits until there is something to do, and does it. The call can be dropped and made again.
    pub(super) async fn work(&mut self) {
        self.poke();
        match &mut self.writing {
            Some(writing) => {
                let written = writing.await;
                self.written(written);
            }
            None if self.is_changed => {
                Timer::at(self.due).await;
            }
            None => future::pending().await,
        }
    }

    fn written(&mut self, (file, saved): (StateFile, io::Result<()>)) {
        self.writing = None;
        self.file = Some(file);
        let name = &self.name;
        match saved {
            Ok(()) => {
                self.saved = self.saving;
                if self.is_failing {
                    self.say.warning(&format!("{name} is written again"));
                }
                self.is_failing = false;
            }
            Err(error) => {
                self.is_changed = true;
                if !self.is_failing {
                    self.say
                        .error(&format!("can't write {name}: {error}; trying again"));
                }
                self.is_failing = true;
            }
        }
        self.due = Instant::now();
        // Nothing is sent before the file has the generation.
        if self.has_saved_generation() {
            self.due += INTERVAL;
        }
    }

    /// Writes the last state.
    ///
    /// # Errors
    ///
    /// When it can't be written.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        if let Some(writing) = self.writing.take() {
            let written = smol::block_on(writing);
            self.written(written);
        }
        let name = self.name;
        match &mut self.file {
            Some(file) if self.is_changed => file.save(&self.state).map_err(|error| {
                Failure::failed(format!("can't write {name}: {error}"))
                    .hint("the server knows what it has, so that nothing comes twice from there")
            }),
            _ => Ok(()),
        }
    }
}
