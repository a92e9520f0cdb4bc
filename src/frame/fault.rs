//! The reasons why the records of a stream end early.

use std::borrow::Cow;
use std::fmt;

use super::Framing;
use crate::limit::Limit;

/// The reason why an [`Unframer`](super::Unframer) stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes are not valid.
    #[non_exhaustive]
    Corrupt {
        /// The framing whose rules the bytes break.
        framing: Framing,
        /// The position of the fault, in decompressed bytes from the start of the stream.
        offset: u64,
        /// The description of the fault.
        reason: Cow<'static, str>,
    },
    /// The frames need more resources than the receiver allows.
    Limit(Limit),
    /// The sender does not know the [key](crate::ServerBuilder::forward_key) that it must share with
    /// the receiver.
    SharedKey,
    /// The stream, or the compression of a frame, is of this protocol, which is recognised and not
    /// supported.
    Unsupported(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Corrupt {
                framing,
                offset,
                reason,
            } => write!(f, "{framing}: {reason} at byte {offset}"),
            Fault::Limit(limit) => limit.fmt(f),
            Fault::SharedKey => f.write_str("the sender does not know the shared key"),
            Fault::Unsupported(name) => write!(f, "{name} is not supported"),
        }
    }
}

impl std::error::Error for Fault {}

/// A fault of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FrameFault {
    /// The position of the byte at fault in the pushed bytes.
    pub(super) at: usize,
    /// The number of bytes by which the fault is before that position, perhaps in bytes that were pushed
    /// earlier.
    pub(super) back: u64,
    pub(super) kind: FaultKind,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    Corrupt(Cow<'static, str>),
    Limit(Limit),
    SharedKey,
    Unsupported(&'static str),
}

impl FrameFault {
    pub(super) fn corrupt(at: usize, reason: &'static str) -> Self {
        FrameFault::new(at, FaultKind::Corrupt(reason.into()))
    }

    pub(super) fn new(at: usize, kind: FaultKind) -> Self {
        FrameFault::before(at, 0, kind)
    }

    /// A fault `back` bytes before `at`.
    pub(super) fn before(at: usize, back: u64, kind: FaultKind) -> Self {
        FrameFault { at, back, kind }
    }

    /// The same fault, `taken` bytes further on.
    pub(super) fn behind(self, taken: usize) -> Self {
        FrameFault {
            at: self.at.saturating_add(taken),
            ..self
        }
    }

    /// The fault of a stream in this framing, of which `parsed` bytes came before the pushed ones.
    pub(super) fn into_fault(self, framing: Framing, parsed: u64) -> Fault {
        match self.kind {
            FaultKind::Corrupt(reason) => Fault::Corrupt {
                framing,
                offset: parsed
                    .saturating_add(self.at as u64)
                    .saturating_sub(self.back),
                reason,
            },
            FaultKind::Limit(limit) => Fault::Limit(limit),
            FaultKind::SharedKey => Fault::SharedKey,
            FaultKind::Unsupported(name) => Fault::Unsupported(name),
        }
    }
}
