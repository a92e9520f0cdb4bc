//! `--stats`: throughput and connections, shown while the program runs.

use std::time::{Duration, Instant};

use tlsink::{Server, Totals};

use super::super::bytes::Bytes;
use super::super::count::Count;
use super::super::say::Say;

/// The interval of the live line on a terminal.
const LIVE: Duration = Duration::from_millis(500);

/// The interval of the lines in a file or a pipe.
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
    /// Shows a live line if standard error is a terminal, unless the data goes to a terminal too:
    /// the two would run into each other.
    pub(crate) fn new(say: Say, server: Server, data_on_terminal: bool) -> Self {
        Stats {
            live: say.is_terminal() && !data_on_terminal,
            say,
            server,
            last: Totals::default(),
            at: Instant::now(),
        }
    }

    /// The time of the next line.
    pub(crate) fn due(&self) -> Instant {
        self.at + if self.live { LIVE } else { PLAIN }
    }

    /// Says the number of connections, the rates, and the totals so far.
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
            self.health_checks(),
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

    /// Those that completed their handshake, and those of proxies that did not.
    fn health_checks(&self) -> HealthChecks {
        let completed = self.server.totals().health_checks;
        HealthChecks(completed.saturating_add(self.server.failures().health_checks))
    }

    /// Says the totals at the end.
    pub(crate) fn finish(&self) {
        let totals = self.server.totals();
        self.say.info(&format!(
            "{}, {} of them clean{}, {} received, {} delivered",
            Count(totals.connections, "connection"),
            totals.ends.clean,
            self.health_checks(),
            Count(totals.received, "byte"),
            totals.delivered
        ));
    }
}

/// The number of health checks, which have no line of their own. It is left
/// out where it is zero.
struct HealthChecks(u64);

impl std::fmt::Display for HealthChecks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, ", {}", Count(count, "health check")),
        }
    }
}
