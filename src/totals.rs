//! Live counters: bytes and streams handled, and connections never established.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::end::{Cut, End};

/// The counters of one sink, or of all sinks of a server together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Connections that completed their handshake.
    pub connections: u64,
    /// Connections among them that have ended, by their ends; health checks are not among these.
    pub ends: Ends,
    /// Connections among them that sent nothing and went away, as [health
    /// checks](crate::Report::is_health_check) do.
    pub health_checks: u64,
    /// Bytes received, decrypted and still compressed.
    pub received: u64,
    /// Decompressed bytes delivered.
    pub delivered: u64,
    /// Delivered bytes that an output has flushed.
    pub flushed: u64,
}

impl std::ops::Add for Totals {
    type Output = Totals;

    fn add(self, other: Totals) -> Totals {
        Totals {
            connections: self.connections.saturating_add(other.connections),
            ends: self.ends + other.ends,
            health_checks: self.health_checks.saturating_add(other.health_checks),
            received: self.received.saturating_add(other.received),
            delivered: self.delivered.saturating_add(other.delivered),
            flushed: self.flushed.saturating_add(other.flushed),
        }
    }
}

/// The number of established connections that have ended, by the [word](End::word) of their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ends {
    /// The stream is complete.
    pub clean: u64,
    /// The stream stopped before its end.
    pub truncated: u64,
    /// The data is not valid.
    pub corrupt: u64,
    /// The connection broke.
    pub reset: u64,
    /// The peer took too long.
    pub timeout: u64,
    /// The sender was refused, or its data is of a kind that is not supported.
    pub refused: u64,
    /// The stream exceeded one of the receiver's limits.
    pub limit: u64,
    /// This side ended the stream.
    pub cut: u64,
    /// This side ended the connection, and the stream goes on over another one: those of
    /// [`Cut::MaxAge`] and [`Cut::TakenOver`], which are not counted as `cut`.
    pub moved: u64,
}

impl Ends {
    /// Each word, with the number of connections that ended so.
    pub fn by_word(&self) -> [(&'static str, u64); 9] {
        let Ends {
            clean,
            truncated,
            corrupt,
            reset,
            timeout,
            refused,
            limit,
            cut,
            moved,
        } = *self;
        [
            ("clean", clean),
            ("truncated", truncated),
            ("corrupt", corrupt),
            ("reset", reset),
            ("timeout", timeout),
            ("refused", refused),
            ("limit", limit),
            ("cut", cut),
            ("moved", moved),
        ]
    }

    /// The sum of all ends.
    pub fn total(&self) -> u64 {
        let ends = self.by_word().into_iter();
        ends.fold(0, |total, (_, ends)| total.saturating_add(ends))
    }
}

impl std::ops::Add for Ends {
    type Output = Ends;

    fn add(self, other: Ends) -> Ends {
        Ends {
            clean: self.clean.saturating_add(other.clean),
            truncated: self.truncated.saturating_add(other.truncated),
            corrupt: self.corrupt.saturating_add(other.corrupt),
            reset: self.reset.saturating_add(other.reset),
            timeout: self.timeout.saturating_add(other.timeout),
            refused: self.refused.saturating_add(other.refused),
            limit: self.limit.saturating_add(other.limit),
            cut: self.cut.saturating_add(other.cut),
            moved: self.moved.saturating_add(other.moved),
        }
    }
}

/// The number of connections that were never established, by the reason in their
/// [`Report`](crate::Report).
///
/// The sinks never see these connections, so the [`Totals`] do not count them. On a server that
/// faces a network, most of them are scanners, and health checks that connect and close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failures {
    /// The peer did not speak TLS, or has no version, cipher suite or the like in common with this
    /// server; or the sender gave up, perhaps because it does not trust the server's certificate.
    pub refused: u64,
    /// The sender's certificate is missing, not valid, revoked, or not for an allowed name.
    pub unverified: u64,
    /// The peer closed the connection during the handshake.
    pub closed: u64,
    /// The connection broke during the handshake.
    pub reset: u64,
    /// The handshake took [too long](crate::ServerBuilder::handshake_timeout).
    pub timeout: u64,
    /// There were [too many](crate::ServerBuilder::max_per_ip) connections from the same address.
    pub limit: u64,
    /// This side gave up: the server was stopped or cut, or the [`Connection`](crate::Connection)
    /// was dropped.
    pub cut: u64,
    /// A proxy connected to see whether the server is there: a [health
    /// check](crate::Report::is_health_check) that completed no handshake.
    pub health_checks: u64,
}

impl Failures {
    /// The sum of all counters.
    pub fn total(&self) -> u64 {
        let Failures {
            refused,
            unverified,
            closed,
            reset,
            timeout,
            limit,
            cut,
            health_checks,
        } = *self;
        [
            refused,
            unverified,
            closed,
            reset,
            timeout,
            limit,
            cut,
            health_checks,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

/// The live counters behind [`Failures`]. Each connection that is never established increments one
/// of them, once.
#[derive(Debug, Default)]
pub(crate) struct FailureCounters {
    refused: AtomicU64,
    unverified: AtomicU64,
    closed: AtomicU64,
    reset: AtomicU64,
    timeout: AtomicU64,
    limit: AtomicU64,
    cut: AtomicU64,
    health_checks: AtomicU64,
}

impl FailureCounters {
    /// Counts a connection that was never established. `probe` is whether its peer is a proxy that has
    /// passed nobody's connection on.
    pub(crate) fn count(&self, end: &End, probe: bool) {
        let counter = match end {
            end if probe && end.is_departure() => &self.health_checks,
            End::Refused(refusal) if refusal.concerns_certificate() => &self.unverified,
            // Only an established stream can be corrupt, unsupported or clean.
            End::Refused(_) | End::Corrupt { .. } | End::Unsupported { .. } | End::Clean => {
                &self.refused
            }
            End::Truncated(_) => &self.closed,
            End::Reset(_) => &self.reset,
            End::Timeout(_) => &self.timeout,
            End::Limit(_) => &self.limit,
            End::Cut(_) => &self.cut,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failures(&self) -> Failures {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Failures {
            refused: value(&self.refused),
            unverified: value(&self.unverified),
            closed: value(&self.closed),
            reset: value(&self.reset),
            timeout: value(&self.timeout),
            limit: value(&self.limit),
            cut: value(&self.cut),
            health_checks: value(&self.health_checks),
        }
    }
}

/// The live counters behind [`Totals`]. Only their sink changes them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: Counter,
    ends: EndCounters,
    pub(crate) health_checks: Counter,
    pub(crate) received: Counter,
    pub(crate) delivered: Counter,
    pub(crate) flushed: Counter,
}

impl Counters {
    pub(crate) fn totals(&self) -> Totals {
        Totals {
            connections: self.connections.value(),
            ends: self.ends.ends(),
            health_checks: self.health_checks.value(),
            received: self.received.value(),
            delivered: self.delivered.value(),
            flushed: self.flushed.value(),
        }
    }
}

impl Counters {
    /// Counts the end of a connection.
    pub(crate) fn count_end(&self, end: &End) {
        let ends = &self.ends;
        let counter = match end {
            End::Clean => &ends.clean,
            End::Truncated(_) => &ends.truncated,
            End::Corrupt { .. } => &ends.corrupt,
            End::Reset(_) => &ends.reset,
            End::Timeout(_) => &ends.timeout,
            End::Refused(_) | End::Unsupported { .. } => &ends.refused,
            End::Limit(_) => &ends.limit,
            End::Cut(Cut::MaxAge | Cut::TakenOver) => &ends.moved,
            End::Cut(_) => &ends.cut,
        };
        counter.add(1);
    }
}

/// The live counters behind [`Ends`].
#[derive(Debug, Default)]
struct EndCounters {
    clean: Counter,
    truncated: Counter,
    corrupt: Counter,
    reset: Counter,
    timeout: Counter,
    refused: Counter,
    limit: Counter,
    cut: Counter,
    moved: Counter,
}

impl EndCounters {
    fn ends(&self) -> Ends {
        Ends {
            clean: self.clean.value(),
            truncated: self.truncated.value(),
            corrupt: self.corrupt.value(),
            reset: self.reset.value(),
            timeout: self.timeout.value(),
            refused: self.refused.value(),
            limit: self.limit.value(),
            cut: self.cut.value(),
            moved: self.moved.value(),
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

    pub(crate) fn take_back(&self, n: u64) {
        self.set(self.value().saturating_sub(n));
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}
