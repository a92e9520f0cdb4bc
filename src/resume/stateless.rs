//! Streams that go on without kept positions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::opening::{Channel, Offsets, Opening, Owner, Progress};
use super::preamble::Resumed;

/// Keeps no positions: each stream goes on behind the last acknowledgement that its sender knows.
///
/// This is for outputs that many servers share, each of which may get the stream next, such as a log engine.
/// No byte is missing there, but those that were not acknowledged when a connection was lost come again.
/// A stream has one connection on this server at a time: a second one takes it over. Other servers do
/// not know of it.
///
/// ```
/// use tlsink::Server;
/// use tlsink::resume::Stateless;
///
/// let (server, sink) = Server::builder().offsets(Stateless::new()).build()?;
/// # Ok::<(), tlsink::BuildError>(())
/// ```
#[derive(Debug, Default)]
pub struct Stateless {
    open: Mutex<Open>,
}

/// The connection of each open stream.
#[derive(Debug, Default)]
struct Open {
    channels: HashMap<Arc<Resumed>, Weak<Channel>>,
    /// The number of channels at which those of ended connections are removed.
    full: usize,
}

/// The least number of channels at which those of ended connections are looked for.
const MIN_FULL: usize = 64;

impl Stateless {
    /// Knows no stream yet.
    pub fn new() -> Self {
        Stateless::default()
    }
}

impl Open {
    /// Forgets connections that have ended, when they may be half of all.
    fn make_room(&mut self) {
        if self.channels.len() < self.full {
            return;
        }
        self.channels
            .retain(|_, channel| channel.strong_count() > 0);
        self.full = self.channels.len().saturating_mul(2).max(MIN_FULL);
    }
}

impl Offsets for Stateless {
    fn open(&self, opening: Opening) {
        let from = opening.from();
        let stream = Arc::clone(opening.resumed());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let before = open.channels.remove(&stream);
        if let Some(channel) = before.and_then(|channel| channel.upgrade()) {
            channel.take_over();
        }
        open.make_room();
        let Owner(channel) = opening.accept(from);
        open.channels.insert(stream, Arc::downgrade(&channel));
    }

    /// The sender keeps it.
    fn keep(&self, progress: Progress) {
        progress.done();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn_id::ConnId;
    use crate::lane::Lane;
    use crate::resume::{Position, Preamble};

    fn open(streams: &Stateless, name: &str, id: u64, from: Position) -> Arc<Channel> {
        let stream = Resumed::new(None, Preamble::new(name, from).unwrap());
        let channel = Channel::new(ConnId(id), &Arc::new(Lane::new()));
        streams.open(Opening::new(&stream, from, &channel));
        channel
    }

    #[test]
    fn a_stream_goes_on_where_its_sender_says() {
        let streams = Stateless::new();
        for bytes in [&b"one\n"[..], b"one\ntwo\n", b""] {
            let from = Position::START.behind(bytes);
            let channel = open(&streams, "s", 1, from);
            let accepted = channel.take().opened.unwrap().unwrap();
            assert_eq!(accepted.at, from);
        }
    }

    #[test]
    fn a_second_connection_takes_over() {
        let streams = Stateless::new();
        let first = open(&streams, "s", 1, Position::START);
        let other = open(&streams, "t", 2, Position::START);
        let second = open(&streams, "s", 3, Position::START);
        assert!(first.take().is_taken_over);
        assert!(!other.take().is_taken_over);
        assert!(!second.take().is_taken_over);
    }

    #[test]
    fn ended_connections_are_forgotten() {
        let streams = Stateless::new();
        let stays = open(&streams, "stays", 0, Position::START);
        for id in 1..10_000 {
            open(&streams, &id.to_string(), id, Position::START);
        }
        assert!(streams.open.lock().unwrap().channels.len() <= MIN_FULL);
        open(&streams, "stays", 10_000, Position::START);
        assert!(stays.take().is_taken_over);
    }
}
