//! Writes refused senders to the output, as `--format json` does.
//!
//! A refusal comes from a handshake thread, which must not wait for the output. It is queued here,
//! and a lane, which may wait, writes it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::Sender;
use tlsink::Report;
use tlsink::output::Json;

use super::lane::LaneExecutor;
use super::reason::{OTHER_REASONS, REASONS};
use super::target::Target;

/// The most refusals in the queue; further ones are counted by their reasons. At the rate of
/// [`RateLimitedLog`](super::rate_limited_log::RateLimitedLog), this is more than come in ten
/// seconds, in which any output that is read at all takes some.
const MAX_PENDING: usize = 256;

/// Writes refusals to the output that lanes share.
pub(crate) struct Refusals {
    json: Json<Target>,
    lane: LaneExecutor,
    on_error: Box<dyn Fn(io::Error) + Send + Sync>,
    /// Keeps the program from ending before the queue is written.
    _running: Sender<Report>,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    refused: Vec<Report>,
    /// The numbers of further refusals, by reason.
    more: Vec<(String, u64)>,
    /// A lane has been asked to write.
    asked: bool,
}

impl Refusals {
    /// Writes on this lane, and calls `on_error` when the output fails.
    pub(crate) fn new(
        json: Json<Target>,
        lane: LaneExecutor,
        on_error: impl Fn(io::Error) + Send + Sync + 'static,
        running: Sender<Report>,
    ) -> Arc<Self> {
        Arc::new(Refusals {
            json,
            lane,
            on_error: Box::new(on_error),
            _running: running,
            pending: Mutex::default(),
        })
    }

    /// Queues a refusal. `reason` is its reason without quotations and numbers.
    pub(crate) fn refused(self: &Arc<Self>, report: &Report, reason: &str) {
        let mut pending = self.lock();
        if pending.refused.len() < MAX_PENDING {
            pending.refused.push(report.clone());
        } else {
            pending.count(reason, 1);
        }
        self.ask(pending);
    }

    /// Queues a number of further refusals.
    pub(crate) fn more(self: &Arc<Self>, reason: &str, more: u64) {
        let mut pending = self.lock();
        pending.count(reason, more);
        self.ask(pending);
    }

    fn ask(self: &Arc<Self>, mut pending: MutexGuard<'_, Pending>) {
        if !std::mem::replace(&mut pending.asked, true) {
            let this = Arc::clone(self);
            let writing = async move {
                if let Err(error) = this.write() {
                    (this.on_error)(error);
                }
            };
            self.lane.spawn(writing).detach();
        }
    }

    /// Writes the queue. After an error, nothing more is written.
    fn write(&self) -> io::Result<()> {
        loop {
            let pending = {
                let mut pending = self.lock();
                if pending.refused.is_empty() && pending.more.is_empty() {
                    pending.asked = false;
                    return Ok(());
                }
                let left = std::mem::take(&mut *pending);
                pending.asked = true;
                left
            };
            for report in &pending.refused {
                self.json.refused(&report.conn, &report.end)?;
            }
            for (reason, more) in &pending.more {
                self.json.refused_more(reason, *more)?;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Nothing panics while it holds this.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn count(&mut self, mut reason: &str, more: u64) {
        let mut place = self.more.iter().position(|(one, _)| one == reason);
        if place.is_none() && self.more.len() >= REASONS {
            reason = OTHER_REASONS;
            place = self.more.iter().position(|(one, _)| one == reason);
        }
        match place.and_then(|place| self.more.get_mut(place)) {
            Some((_, counted)) => *counted = counted.saturating_add(more),
            None => self.more.push((reason.to_owned(), more)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use futures_lite::io::Cursor;
    use tlsink::{Peer, Server};

    use super::super::target::Form;

    use super::*;

    #[test]
    fn refusals_that_wait_for_the_output_are_bounded_and_all_are_counted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let json = Json::new(Target::append(file.path(), Form::Lines).unwrap());
        let lane = LaneExecutor::default();
        let (running, ran) = async_channel::unbounded();
        let refusals = Refusals::new(json, Arc::clone(&lane), |error| panic!("{error}"), running);

        // This server takes nothing, as it has no certificate.
        let (server, _sink) = Server::builder().build().unwrap();
        let io = Cursor::new(Vec::new());
        let report = smol::block_on(server.connection(io, Peer::label("peer")));
        for _ in 0..MAX_PENDING + 44 {
            refusals.refused(&report, "no certificate");
        }
        refusals.more("no certificate", 7);
        for number in 0..REASONS * 2 {
            refusals.more(&"x".repeat(number), 1);
        }
        assert_eq!(refusals.lock().refused.len(), MAX_PENDING);
        assert_eq!(refusals.lock().more.len(), REASONS + 1);

        // The refusals is dropped, yet the queue is written before the program ends.
        drop(refusals);
        assert!(!ran.is_closed());
        while lane.try_tick() {}
        assert!(ran.is_closed());
        let written = fs::read_to_string(file.path()).unwrap();
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines.len(), MAX_PENDING + REASONS + 1);
        for (ending, lines_with_it) in [
            (
                r#","peer":"peer","reason":"this server has no certificate"}"#,
                MAX_PENDING,
            ),
            (r#","reason":"no certificate","more":51}"#, 1),
            (&format!(r#","reason":"{OTHER_REASONS}","more":65}}"#), 1),
        ] {
            let with_it = lines.iter().filter(|line| line.ends_with(ending));
            assert_eq!(with_it.count(), lines_with_it, "{ending}");
        }
    }
}
