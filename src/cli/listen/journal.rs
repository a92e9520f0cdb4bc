//! Refused senders in the output, as `--format json` has them.
//!
//! A refusal comes from a thread that shakes hands, which must not wait for the output. So it is
//! left here, and a lane writes it, which may wait.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::Sender;
use tlsink::Report;
use tlsink::output::Json;

use super::control::Event;
use super::lane::Tasks;
use super::output::Target;
use super::reason::{OTHER_REASONS, REASONS};

/// Refusals that wait to be written, at most; further ones are counted by their reasons. More than
/// come in ten seconds at the rate of [`Probes`](super::rate_limited_log::Probes), in which any output that is
/// read at all takes some.
const WAITING: usize = 256;

/// Writes refusals to the output that lanes share.
pub(crate) struct Journal {
    json: Json<Target>,
    lane: Tasks,
    events: Sender<Event>,
    /// The program does not end before this is gone, and so not before all is written.
    _running: Sender<Report>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    refused: Vec<Report>,
    /// How many more there were, by reason.
    more: Vec<(String, u64)>,
    /// A lane has been asked to write.
    asked: bool,
}

impl Journal {
    /// Writes on this lane, and tells when that fails.
    pub(crate) fn new(
        json: Json<Target>,
        lane: Tasks,
        events: Sender<Event>,
        running: Sender<Report>,
    ) -> Arc<Self> {
        Arc::new(Journal {
            json,
            lane,
            events,
            _running: running,
            waiting: Mutex::default(),
        })
    }

    /// Leaves a refusal to be written, whose reason is this without what it quotes.
    pub(crate) fn refused(self: &Arc<Self>, report: &Report, reason: &str) {
        let mut waiting = self.lock();
        if waiting.refused.len() < WAITING {
            waiting.refused.push(report.clone());
        } else {
            waiting.count(reason, 1);
        }
        self.ask(waiting);
    }

    /// Leaves a count of further ones to be written.
    pub(crate) fn more(self: &Arc<Self>, reason: &str, more: u64) {
        let mut waiting = self.lock();
        waiting.count(reason, more);
        self.ask(waiting);
    }

    fn ask(self: &Arc<Self>, mut waiting: MutexGuard<'_, Waiting>) {
        if !std::mem::replace(&mut waiting.asked, true) {
            let this = Arc::clone(self);
            let writing = async move {
                if let Err(error) = this.write() {
                    // Nobody is left to tell once the program is ending.
                    let _ = this.events.try_send(Event::Unwritten(error));
                }
            };
            self.lane.spawn(writing).detach();
        }
    }

    /// Writes what has been left. After an error nothing more is written.
    fn write(&self) -> io::Result<()> {
        loop {
            let waiting = {
                let mut waiting = self.lock();
                if waiting.refused.is_empty() && waiting.more.is_empty() {
                    waiting.asked = false;
                    return Ok(());
                }
                let left = std::mem::take(&mut *waiting);
                waiting.asked = true;
                left
            };
            for report in &waiting.refused {
                self.json.refused(report)?;
            }
            for (reason, more) in &waiting.more {
                self.json.refused_more(reason, *more)?;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it holds this.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
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

    use super::super::output::Form;

    use super::*;

    #[test]
    fn what_waits_for_the_output_is_bounded_and_nothing_of_it_is_uncounted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let json = Json::new(Target::append(file.path(), Form::Lines).unwrap());
        let lane = Tasks::default();
        let (events, _) = async_channel::unbounded();
        let (running, ran) = async_channel::unbounded();
        let journal = Journal::new(json, Arc::clone(&lane), events, running);

        // This server takes nothing, as it has no certificate.
        let (server, _sink) = Server::builder().build().unwrap();
        let io = Cursor::new(Vec::new());
        let report = smol::block_on(server.connection(io, Peer::label("peer")));
        for _ in 0..WAITING + 44 {
            journal.refused(&report, "no certificate");
        }
        journal.more("no certificate", 7);
        for number in 0..REASONS * 2 {
            journal.more(&"x".repeat(number), 1);
        }
        assert_eq!(journal.lock().refused.len(), WAITING);
        assert_eq!(journal.lock().more.len(), REASONS + 1);

        // Nobody waits for it any more, and yet it is written before the program ends.
        drop(journal);
        assert!(!ran.is_closed());
        while lane.try_tick() {}
        assert!(ran.is_closed());
        let written = fs::read_to_string(file.path()).unwrap();
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines.len(), WAITING + REASONS + 1);
        for (ending, lines_with_it) in [
            (
                r#","peer":"peer","reason":"this server has no certificate"}"#,
                WAITING,
            ),
            (r#","reason":"no certificate","more":51}"#, 1),
            (&format!(r#","reason":"{OTHER_REASONS}","more":65}}"#), 1),
        ] {
            let with_it = lines.iter().filter(|line| line.ends_with(ending));
            assert_eq!(with_it.count(), lines_with_it, "{ending}");
        }
    }
}
