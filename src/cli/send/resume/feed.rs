//! The bytes of a stream: read ahead, kept until they are acknowledged.

use async_channel::Receiver;
use futures_lite::{FutureExt, future};
use tlsink::resume::Position;

use super::super::super::Failure;
use super::super::follow::{Followed, FollowedBytes, MAX_PIECE, News, ServerState, Servers};
use super::super::input::{Input, InputPiece};
use super::backlog::Backlog;
use super::keeper::Keeper;
use super::standing::Standing;

/// Reads the stream, and keeps what is not acknowledged.
pub(super) struct Feed {
    source: Source,
    backlog: Backlog,
    servers: Servers,
    keeper: Option<Keeper>,
    /// The most bytes that are kept.
    buffer: u64,
    /// Everything that there is for now was read.
    is_caught_up: bool,
    /// Bytes are read that the server has.
    is_catching_up: bool,
    /// The stream has ended.
    has_ended: bool,
    /// The bytes that are there and were not read.
    unread: u64,
    standing: Standing,
}

/// The origin of the bytes.
pub(super) enum Source {
    /// A file, which has no end of its own: the stream ends when the channel `stop` is closed.
    File {
        news: News,
        stop: Receiver<()>,
    },
    Input(Input),
}

impl Feed {
    pub(super) fn new(
        source: Source,
        start: Position,
        servers: Servers,
        keeper: Option<Keeper>,
        buffer: u64,
        standing: Standing,
    ) -> Self {
        Feed {
            source,
            backlog: Backlog::new(start),
            servers,
            keeper,
            buffer,
            is_caught_up: false,
            is_catching_up: false,
            has_ended: false,
            unread: 0,
            standing,
        }
    }

    pub(super) fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Whether it is a followed file, and not standard input.
    pub(super) fn is_of_file(&self) -> bool {
        matches!(self.source, Source::File { .. })
    }

    /// Whether the stream has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether no bytes are added unless some are acknowledged, or the source gets more.
    pub(super) fn is_at_rest(&self) -> bool {
        self.is_caught_up || self.has_ended || !self.is_of_file() || !self.has_room()
    }

    /// Whether nothing more can be read before a part of a line is acknowledged.
    pub(super) fn is_full_of_one_line(&self) -> bool {
        let unacknowledged = self.backlog.len().saturating_add(MAX_PIECE as u64);
        unacknowledged > self.buffer && !self.backlog.has_newline()
    }

    /// Whether more may be read. Bytes of a file count until the state says that they are
    /// acknowledged: so many may have to be read again after the program was killed.
    fn has_room(&self) -> bool {
        let start = match &self.keeper {
            Some(keeper) => keeper.saved(),
            None => self.backlog.acknowledged().offset,
        };
        let kept = self.backlog.end().saturating_sub(start);
        let buffer = match self.is_catching_up {
            true => self.buffer.saturating_mul(2),
            false => self.buffer,
        };
        kept.saturating_add(MAX_PIECE as u64) <= buffer
    }

    /// Lets more bytes be read, or no longer: the position that the server has must be reached.
    pub(super) fn set_catching_up(&mut self, is_catching_up: bool) {
        self.is_catching_up = is_catching_up;
    }

    /// Whether the stream was stopped before everything that is there was read.
    pub(super) fn is_cut_short(&self) -> bool {
        self.has_ended && self.is_of_file() && !self.is_caught_up
    }

    /// Adds bytes, or does other work that is due; waits until there is some. The call can be dropped
    /// and made again.
    ///
    /// # Errors
    ///
    /// When the source can't be read.
    pub(super) async fn work(&mut self) -> Result<(), Failure> {
        let may_read = !self.has_ended && self.has_room();
        let stop = match &self.source {
            Source::File { stop, .. } if !self.has_ended => Some(stop.clone()),
            _ => None,
        };
        let (acknowledged, behind) = self.numbers();
        let standing = async {
            self.standing.show(acknowledged, behind).await;
            Ok(None)
        };
        let keeping = async {
            match &mut self.keeper {
                Some(keeper) => keeper.work().await,
                None => future::pending().await,
            }
            Ok(None)
        };
        let reading = async {
            match may_read {
                true => self.source.next().await.map(Some),
                false => future::pending().await,
            }
        };
        let stopped = async {
            match stop {
                Some(stop) => while stop.recv().await.is_ok() {},
                None => future::pending().await,
            }
            Ok(Some(Read::End))
        };
        if let Some(read) = stopped.or(keeping).or(reading).or(standing).await? {
            self.add(read);
        }
        Ok(())
    }

    /// Shows how far the stream is acknowledged, if that is due and [`work`](Self::work) is not called.
    pub(super) fn show_standing(&mut self) {
        let (acknowledged, behind) = self.numbers();
        self.standing.update(acknowledged, behind);
    }

    /// The number of bytes that are acknowledged, and of those that are not.
    fn numbers(&self) -> (u64, u64) {
        let behind = self.backlog.len().saturating_add(self.unread);
        (self.backlog.acknowledged().offset, behind)
    }

    fn add(&mut self, read: Read) {
        match read {
            Read::Followed(Followed::Bytes(read)) => {
                let FollowedBytes {
                    bytes,
                    source,
                    newline_added,
                    left,
                } = read;
                if let Some(keeper) = &mut self.keeper {
                    keeper.begin(&source);
                }
                self.is_caught_up = false;
                self.unread = left;
                self.backlog.push(bytes, Some(source), newline_added);
            }
            Read::Followed(Followed::CaughtUp) => {
                self.is_caught_up = true;
                self.unread = 0;
            }
            Read::Bytes(bytes) => self.backlog.push(bytes, None, false),
            Read::End => self.has_ended = true,
        }
    }

    /// The progress of the stream at this server.
    pub(super) fn server(&self, server: &str) -> ServerState {
        self.servers.of(server)
    }

    /// This server keeps everything before this offset that it was sent.
    pub(super) fn acknowledge(&mut self, offset: u64, server: &str) {
        self.servers.acknowledge(server, offset);
        let keeper = &mut self.keeper;
        self.backlog.acknowledge(offset, |done| {
            if let Some(keeper) = keeper {
                keeper.acknowledge(&done);
            }
        });
        if let Some(keeper) = keeper {
            keeper.set_position(self.backlog.acknowledged(), &self.servers);
            keeper.poke();
        }
    }

    /// The stream, of which nothing was acknowledged, goes on where the server has it.
    pub(super) fn move_behind(&mut self, position: Position) {
        self.backlog.move_behind(position);
        self.standing.begin_again();
    }

    /// A stream of another name goes on at this server. Waits until the state has that name.
    ///
    /// # Errors
    ///
    /// When the source can't be read.
    pub(super) async fn set_generation(
        &mut self,
        server: &str,
        generation: u64,
    ) -> Result<(), Failure> {
        self.servers.begin(server, generation);
        if let Some(keeper) = &mut self.keeper {
            keeper.set_generation(generation, &self.servers);
        }
        while self
            .keeper
            .as_ref()
            .is_some_and(|keeper| !keeper.has_saved_generation())
        {
            self.work().await?;
        }
        Ok(())
    }

    /// Keeps the last state.
    ///
    /// # Errors
    ///
    /// When it can't be written.
    pub(super) fn finish(self) -> Result<(), Failure> {
        self.standing.over();
        self.keeper.map_or(Ok(()), Keeper::finish)
    }
}

/// A result of reading.
enum Read {
    Followed(Followed),
    Bytes(Vec<u8>),
    End,
}

impl Source {
    /// Waits for the next news. The call can be dropped and made again.
    async fn next(&mut self) -> Result<Read, Failure> {
        match self {
            Source::File { news, .. } => match news.recv().await {
                Ok(news) => news.map(Read::Followed),
                Err(_) => Err(Failure::failed("following the file has stopped")),
            },
            Source::Input(input) => match input.next().await? {
                InputPiece::Bytes(buffer, len) => {
                    let bytes = buffer.get(..len).unwrap_or_default().to_vec();
                    input.give_back(buffer);
                    Ok(Read::Bytes(bytes))
                }
                InputPiece::End => Ok(Read::End),
            },
        }
    }
}
