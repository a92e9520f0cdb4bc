//! Opening streams: each has one connection at a time.

use std::io;

use super::super::commit::Request;
use super::super::journal::MOST_STREAMS;
use super::super::resumed::StreamCommand;
use super::super::writer::OpenFiles;
use super::super::{AppendHandle, Command};
use super::{Live, Trouble, closed};
use crate::end::End;
use crate::limit::Limit;
use crate::resume::{Offsets, Opening, Progress};

/// Keeps the positions of resumed streams in the [journal](super::AppendWriter::journal) of the writer. Without
/// one, they are refused. All streams of the server must go to this output.
impl Offsets for AppendHandle {
    fn open(&self, opening: Opening) {
        if let Some(queue) = self.queue.upgrade() {
            // A writer that has ended refuses the stream, by dropping this.
            let _ = queue.send(Command::Stream(StreamCommand::Open(opening)));
        }
    }

    /// The writer keeps them, when it finishes a hold.
    fn keep(&self, _: Progress) {}
}

impl OpenFiles {
    /// Handles a request about a stream.
    pub(in super::super) fn handle_stream(&mut self, command: StreamCommand) {
        match command {
            // An error is noted, and the stream refused.
            StreamCommand::Open(opening) => _ = self.open_stream(opening),
            StreamCommand::Opened(opening) => self.go_on(opening),
        }
    }

    /// Ends the older connection of a stream, and lets the new one wait for the commits of that.
    fn open_stream(&mut self, opening: Opening) -> Result<(), Trouble> {
        let Some(own) = &mut self.journaled else {
            opening.refuse(io::Error::other("positions of streams are not kept"));
            return Ok(());
        };
        let number = match own.journal.stream(opening.resumed()) {
            Some(number) => {
                let used = own.journal.use_stream(number);
                self.note(used)?;
                number
            }
            None => {
                self.make_room()?;
                let own = self.journaled.as_ref().ok_or_else(closed)?;
                let is_in_use = |number| own.owner(number).is_some();
                let (name, from) = (opening.resumed(), opening.from());
                let added = own.journal.add_stream(name, from, is_in_use);
                match self.note(added)? {
                    Some(number) => number,
                    None => {
                        let most = MOST_STREAMS;
                        opening.refuse_as(End::Limit(Limit::Streams { most }));
                        return Ok(());
                    }
                }
            }
        };
        let own = self.journaled.as_mut().ok_or_else(closed)?;
        let live = own.live.entry(number).or_insert_with(|| Live {
            owner: None,
            written: opening.from(),
            file: None,
            is_broken: false,
            wanted: opening.id(),
        });
        live.wanted = opening.id();
        if let Some(owner) = live.owner.take() {
            owner.take_over();
        }
        if let Some(commits) = &self.commits {
            // If that thread has ended, this is the end of the writer, too.
            let opened = Command::Stream(StreamCommand::Opened(opening));
            let _ = commits.send(Request::Return(opened));
        }
        Ok(())
    }

    /// Lets a stream go on on its new connection, as everything that was written of it before is
    /// committed or lost.
    fn go_on(&mut self, opening: Opening) {
        let Some(own) = &mut self.journaled else {
            return;
        };
        let number = own.journal.stream(opening.resumed());
        let committed = number.and_then(|number| own.journal.committed(number));
        let live = number.and_then(|number| own.live.get_mut(&number));
        let (Some(live), Some(at)) = (live, committed) else {
            // Dropping it refuses the stream. One that was just opened is not forgotten.
            return;
        };
        let id = opening.id();
        let owner = opening.accept_by_output(at);
        if live.wanted != id {
            // Another one has come meanwhile, which this one must add nothing before.
            owner.take_over();
            return;
        }
        *live = Live {
            owner: Some(owner),
            written: at,
            file: None,
            is_broken: false,
            wanted: id,
        };
    }
}
