//! The place where positions are kept, and what a sink and it tell each other.

use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Position, Resumed};
use crate::conn_id::ConnId;
use crate::end::End;
use crate::hold::Hold;
use crate::lane::Lane;
use crate::stream_error::StreamError;

/// Keeps the positions of resumed streams: how much of each there is.
///
/// Its calls come from the task or thread of a sink, and must not block: another thread may answer.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
///
/// use tlsink::resume::{Offsets, Opening, Owner, Position, Progress};
///
/// /// Keeps positions for as long as the program runs.
/// #[derive(Default)]
/// struct InMemory(Mutex<HashMap<String, (Position, Option<Owner>)>>);
///
/// impl Offsets for InMemory {
///     fn open(&self, opening: Opening) {
///         let mut streams = self.0.lock().unwrap();
///         let from = opening.from();
///         let (at, owner) = streams
///             .entry(opening.stream().to_owned())
///             .or_insert((from, None));
///         if let Some(before) = owner.take() {
///             before.take_over();
///         }
///         *owner = Some(opening.accept(*at));
///     }
///
///     fn keep(&self, progress: Progress) {
///         let mut streams = self.0.lock().unwrap();
///         if let Some((at, Some(owner))) = streams.get_mut(progress.stream())
///             && owner.id() == progress.id()
///         {
///             *at = progress.position();
///             progress.done();
///         }
///     }
/// }
/// ```
pub trait Offsets: Send + Sync {
    /// A sender wants to go on with a stream. [Accept](Opening::accept) it with the position that is
    /// kept, or with [`from`](Opening::from) if the stream is not known, or
    /// [refuse](Opening::refuse) it.
    ///
    /// The stream may still be open on an older connection, whose sender may be gone without a trace.
    /// That connection must add nothing more to it: let the new one [take it over](Owner::take_over).
    fn open(&self, opening: Opening);

    /// The output is through with the stream up to a position: keep it, and say that it is
    /// [done](Progress::done). Only then does the sender hear of it.
    fn keep(&self, progress: Progress);
}

/// A connection whose sender wants to go on with a stream. Dropping it refuses the stream.
#[derive(Debug)]
pub struct Opening {
    stream: Arc<Resumed>,
    from: Position,
    /// `None` once it is answered.
    channel: Option<Arc<Channel>>,
}

/// A position in a stream up to which the output is through with it. Dropping it leaves the sender
/// without an acknowledgement; if it is the end of the stream, that is not clean then.
#[derive(Debug)]
pub struct Progress {
    stream: Arc<Resumed>,
    position: Position,
    channel: Arc<Channel>,
    /// The hold of a stream whose end waits for this.
    hold: Option<Hold>,
}

/// The connection on which a stream is open.
#[derive(Clone, Debug)]
pub struct Owner(pub(super) Arc<Channel>);

/// The way to a sink from whoever keeps the position of one of its streams.
#[derive(Debug)]
pub(crate) struct Channel {
    id: ConnId,
    lane: Arc<Lane>,
    news: Mutex<News>,
}

/// The news for a sink about one stream.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The answer to its opening.
    pub(crate) opened: Option<Result<Accepted, Box<End>>>,
    /// The offset up to which it is kept now.
    pub(crate) kept: Option<u64>,
    /// Another connection has taken the stream over.
    pub(crate) is_taken_over: bool,
}

/// The position at which a stream goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) at: Position,
    /// The output keeps the position of all bytes for which it finishes a hold.
    pub(crate) by_output: bool,
}

impl Opening {
    pub(crate) fn new(stream: &Arc<Resumed>, from: Position, channel: &Arc<Channel>) -> Self {
        Opening {
            stream: Arc::clone(stream),
            from,
            channel: Some(Arc::clone(channel)),
        }
    }

    /// The name of the stream. Different [clients](Self::client) have different streams of one name.
    pub fn stream(&self) -> &str {
        &self.stream.name
    }

    /// The first verified name of the client, who owns the stream; `None` if it is anonymous.
    pub fn client(&self) -> Option<&str> {
        self.stream.client.as_deref()
    }

    /// The position from which on the sender can send the stream.
    pub fn from(&self) -> Position {
        self.from
    }

    /// The connection's number.
    pub fn id(&self) -> ConnId {
        self.channel
            .as_ref()
            .map_or(ConnId(0), |channel| channel.id)
    }

    pub(crate) fn resumed(&self) -> &Arc<Resumed> {
        &self.stream
    }

    /// Lets the stream go on at this position.
    pub fn accept(self, at: Position) -> Owner {
        self.answer_accepted(at, false)
    }

    #[cfg(unix)]
    /// Lets the stream go on at this position. The output keeps it up to each offset for which it
    /// finishes a hold.
    pub(crate) fn accept_by_output(self, at: Position) -> Owner {
        self.answer_accepted(at, true)
    }

    fn answer_accepted(mut self, at: Position, by_output: bool) -> Owner {
        let channel = self.channel.take().unwrap_or_else(Channel::of_nobody);
        channel.tell(|news| news.opened = Some(Ok(Accepted { at, by_output })));
        Owner(channel)
    }

    /// Refuses the stream: it ends as [`Cut::Output`](crate::Cut::Output), and its sender is told of
    /// this error.
    pub fn refuse(self, error: impl Into<io::Error>) {
        self.refuse_as(StreamError::new(error.into()).into());
    }

    /// Refuses the stream, which ends like this.
    pub(crate) fn refuse_as(mut self, end: End) {
        if let Some(channel) = self.channel.take() {
            channel.tell(|news| news.opened = Some(Err(Box::new(end))));
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(channel) = self.channel.take() {
            let error = StreamError::new(io::Error::other("the stream was not accepted"));
            channel.tell(|news| news.opened = Some(Err(Box::new(error.into()))));
        }
    }
}

impl Progress {
    pub(crate) fn new(
        stream: &Arc<Resumed>,
        position: Position,
        channel: &Arc<Channel>,
        hold: Option<Hold>,
    ) -> Self {
        Progress {
            stream: Arc::clone(stream),
            position,
            channel: Arc::clone(channel),
            hold,
        }
    }

    /// The name of the stream.
    pub fn stream(&self) -> &str {
        &self.stream.name
    }

    /// The first verified name of the client, who owns the stream; `None` if it is anonymous.
    pub fn client(&self) -> Option<&str> {
        self.stream.client.as_deref()
    }

    #[cfg(unix)]
    pub(crate) fn resumed(&self) -> &Resumed {
        &self.stream
    }

    /// The position.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The connection's number.
    pub fn id(&self) -> ConnId {
        self.channel.id
    }

    /// The position is kept: the sender may forget everything before it.
    pub fn done(self) {
        let offset = self.position.offset;
        self.channel
            .tell(|news| news.kept = news.kept.max(Some(offset)));
        if let Some(hold) = self.hold {
            hold.done();
        }
    }
}

impl Owner {
    /// The connection's number.
    pub fn id(&self) -> ConnId {
        self.0.id
    }

    /// Ends the connection as [`Cut::TakenOver`](crate::Cut::TakenOver), because another one goes on
    /// with the stream. If it has ended, this has no effect.
    pub fn take_over(self) {
        self.0.take_over();
    }
}

impl Channel {
    pub(crate) fn new(id: ConnId, lane: &Arc<Lane>) -> Arc<Self> {
        Arc::new(Channel {
            id,
            lane: Arc::clone(lane),
            news: Mutex::default(),
        })
    }

    /// A channel that nobody listens to.
    fn of_nobody() -> Arc<Self> {
        Channel::new(ConnId(0), &Arc::new(Lane::new()))
    }

    /// As [`Owner::take_over`].
    pub(super) fn take_over(&self) {
        self.tell(|news| news.is_taken_over = true);
    }

    /// Takes the news.
    pub(crate) fn take(&self) -> News {
        mem::take(&mut *self.lock())
    }

    /// Tells news, and asks the sink to look at the stream.
    fn tell(&self, tell: impl FnOnce(&mut News)) {
        tell(&mut self.lock());
        self.lane.note(self.id);
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
