//! Resumed streams on the sink's side: their first line, the position at which they go on, and
//! acknowledgements.

use std::fmt;
use std::sync::Arc;

use super::SinkSettings;
use crate::decode::Format;
use crate::frame::Framing;
use crate::resume::{Channel, Instance, Offsets, Resumed, WAITING};

mod preamble;
mod progress;
mod turns;

use preamble::Held;
use progress::ResumedStream;

/// The place where the positions of streams are kept.
#[derive(Clone)]
pub(crate) struct Keeper(pub(crate) Arc<dyn Offsets>);

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}

/// Whether a stream is resumed.
#[derive(Debug)]
pub(super) enum Resuming {
    /// It is not.
    No,
    /// Its first bytes will tell.
    Looking(Box<Held>),
    /// It is not; these bytes of it come before those in its queue.
    Early(Vec<u8>),
    /// It waits for the position at which it goes on.
    Opening(Box<Waiting>),
    /// It is.
    Yes(Box<ResumedStream>),
}

/// A stream that waits for its position.
#[derive(Debug)]
pub(super) struct Waiting {
    channel: Arc<Channel>,
    keeper: Keeper,
    stream: Arc<Resumed>,
    instance: Option<Instance>,
}

impl Resuming {
    pub(super) fn new(settings: &SinkSettings) -> Self {
        #[cfg(feature = "forward")]
        if settings.forward_key.is_some() {
            return Resuming::No;
        }
        let detects = settings.format == Format::Auto && settings.framing == Framing::Auto;
        match settings.keeper.is_some() || detects {
            true => Resuming::Looking(Box::default()),
            false => Resuming::No,
        }
    }

    /// Whether the next turn is about the beginning of the stream.
    pub(super) fn is_beginning(&self) -> bool {
        !matches!(self, Resuming::No | Resuming::Yes(_))
    }

    /// Whether the stream waits for its position.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self, Resuming::Opening(_))
    }

    /// The line that keeps the sender waiting for its position.
    pub(super) fn keep_alive(&self) -> Option<&'static [u8]> {
        self.is_opening().then_some(WAITING)
    }

    /// Whether the stream is resumed.
    pub(super) fn is_on(&self) -> bool {
        matches!(self, Resuming::Yes(_))
    }

    /// Notes that the output took these bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if let Resuming::Yes(resumed) = self {
            resumed.take(bytes);
        }
    }

    /// Forgets the lines for which the output was not flushed, and never will be.
    pub(super) fn drop_unflushed(&mut self) {
        if let Resuming::Yes(resumed) = self {
            resumed.drop_unflushed();
        }
    }

    /// The checksum of the bytes that were delivered, if the stream is resumed and clean.
    pub(super) fn checksum(&self, delivered: u64) -> Option<u32> {
        match self {
            Resuming::Yes(resumed) => Some(resumed.checksum(delivered)),
            _ => None,
        }
    }

    /// Whether the sink has to answer after its next flush, and does not know so yet.
    pub(super) fn needs_answer(&mut self) -> bool {
        match self {
            Resuming::Yes(resumed) if resumed.is_unflushed() => {
                !std::mem::replace(&mut resumed.is_answering, true)
            }
            _ => false,
        }
    }
}
