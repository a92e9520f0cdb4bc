//! `--stats`: throughput and connections, shown while the program runs.

use std::time::{Duration, Instant};

use tlsink::{Server, Totals};

use super::super::bytes::Bytes;
use super::super::count::Count;
use super::super::live::LiveLine;
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

    /// Says the number of connections, the totals so far, and the rates.
    pub(crate) fn tick(&mut self) {
        let totals = self.server.totals();
        let seconds = self.at.elapsed().as_secs_f64().max(f64::EPSILON);
        let rate = |now: u64, before: u64| {
            format!("({}/s)", Bytes(now.saturating_sub(before) as f64 / seconds))
        };
        let connected = self.server.connections();
        let received = Bytes(totals.received as f64);
        let delivered = Bytes(totals.delivered as f64);
        let mut line = LiveLine::default()
            .text(2, "", format_args!("{connected} connected"))
            .text(1, ", ", format_args!("{received} in"))
            .text(3, " ", rate(totals.received, self.last.received))
            .text(0, ", ", format_args!("{delivered} out"))
            .text(4, " ", rate(totals.delivered, self.last.delivered))
            .text(5, ", ", Count(totals.connections, "connection"));
        if let Some(health_checks) = self.health_checks() {
            line = line.text(6, ", ", health_checks);
        }
        if self.live {
            self.say.live(line);
        } else {
            self.say.info(&line.whole());
        }
        self.last = totals;
        self.at = Instant::now();
    }

    /// The number of health checks, which have no line of their own, unless it is zero: of those that
    /// completed their handshake, and of those of proxies that did not.
    fn health_checks(&self) -> Option<Count> {
        let completed = self.server.totals().health_checks;
        let all = completed.saturating_add(self.server.failures().health_checks);
        (all > 0).then_some(Count(all, "health check"))
    }

    /// Says the totals at the end.
    pub(crate) fn finish(&self) {
        let totals = self.server.totals();
        let health_checks = self.health_checks().map(|checks| format!(", {checks}"));
        self.say.info(&format!(
            "{}, {} of them clean{}, {} received, {} delivered",
            Count(totals.connections, "connection"),
            totals.ends.clean,
            health_checks.unwrap_or_default(),
            Count(totals.received, "byte"),
            totals.delivered
        ));
    }
}
