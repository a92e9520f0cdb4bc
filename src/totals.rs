//! What has gone through a sink, for whoever wants to know while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a sink has handled, or all sinks of a server together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Connections that completed their handshake.
    pub connections: u64,
    /// Those of them that ended clean.
    pub clean: u64,
    /// Bytes received, decrypted and still compressed.
    pub received: u64,
    /// Bytes handed on, decompressed.
    pub delivered: u64,
    /// Those of them that an output has flushed.
    pub flushed: u64,
}

impl std::ops::Add for Totals {
    type Output = Totals;

    fn add(self, other: Totals) -> Totals {
        Totals {
            connections: self.connections.saturating_add(other.connections),
            clean: self.clean.saturating_add(other.clean),
            received: self.received.saturating_add(other.received),
            delivered: self.delivered.saturating_add(other.delivered),
            flushed: self.flushed.saturating_add(other.flushed),
        }
    }
}

/// The same, live. Only its sink changes it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: Counter,
    pub(crate) clean: Counter,
    pub(crate) received: Counter,
    pub(crate) delivered: Counter,
    pub(crate) flushed: Counter,
}

impl Counters {
    pub(crate) fn totals(&self) -> Totals {
        Totals {
            connections: self.connections.value(),
            clean: self.clean.value(),
            received: self.received.value(),
            delivered: self.delivered.value(),
            flushed: self.flushed.value(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// There is one writer, so this needs no locked instruction.
    pub(crate) fn add(&self, n: u64) {
        self.set(self.value().saturating_add(n));
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}
