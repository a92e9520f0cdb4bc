//! `--stats`: what goes on, while it goes on.

use std::time::{Duration, Instant};

use tlsink::{Server, Totals};

use super::super::bytes::Bytes;
use super::super::count::Count;
use super::super::say::Say;

/// How often a terminal shows what goes on.
const LIVE: Duration = Duration::from_millis(500);

/// How often a file or a pipe is told.
const PLAIN: Duration = Duration::from_secs(10);

pub(crate) struct Stats {
    say: Say,
    server: Server,
    /// Whether there is a live line.
    live: bool,
    last: Totals,
    at: Instant,
}

impl Stats {
    /// With a live line if standard error is a terminal, unless the data goes to a terminal too: it
    /// would run into that line.
    pub(crate) fn new(say: Say, server: Server, data_on_terminal: bool) -> Self {
        Stats {
            live: say.is_terminal() && !data_on_terminal,
            say,
            server,
            last: Totals::default(),
            at: Instant::now(),
        }
    }

    /// When it is time for the next line.
    pub(crate) fn due(&self) -> Instant {
        self.at + if self.live { LIVE } else { PLAIN }
    }

    /// Says how many are connected, how fast data comes and goes, and how much there was.
    pub(crate) fn tick(&mut self) {
        let totals = self.server.totals();
        let seconds = self.at.elapsed().as_secs_f64().max(f64::EPSILON);
        let rate = |now: u64, before: u64| {
            format!("{}/s", Bytes(now.saturating_sub(before) as f64 / seconds))
        };
        let text = format!(
            "{} connected, {} in, {} out, {}{}, {} received, {} delivered",
            self.server.connections(),
            rate(totals.received, self.last.received),
            rate(totals.delivered, self.last.delivered),
            Count(totals.connections, "connection"),
            HealthChecks(totals.health_checks),
            Bytes(totals.received as f64),
            Bytes(totals.delivered as f64),
        );
        if self.live {
            self.say.live(&text);
        } else {
            self.say.info(&text);
        }
        self.last = totals;
        self.at = Instant::now();
    }

    /// Says what there was in all.
    pub(crate) fn finish(&self) {
        let totals = self.server.totals();
        self.say.info(&format!(
            "{}, {} of them clean{}, {} received, {} delivered",
            Count(totals.connections, "connection"),
            totals.clean,
            HealthChecks(totals.health_checks),
            Count(totals.received, "byte"),
            totals.delivered
        ));
    }
}

/// How many of the connections were health checks, which have no line of their own; nothing where
/// nobody makes them.
struct HealthChecks(u64);

impl std::fmt::Display for HealthChecks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, ", {}", Count(count, "health check")),
        }
    }
}
