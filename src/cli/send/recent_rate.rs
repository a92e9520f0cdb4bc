//! The rate of the last seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time over which the rate is the mean: long enough to be read, and short enough to show that a
/// connection has become slow.
const SPAN: Duration = Duration::from_secs(5);

/// The mean rate of a growing number of bytes since a time about [`SPAN`] ago, or since the start.
#[derive(Debug)]
pub(super) struct RecentRate {
    /// The earliest is the only one that may be older than the span.
    samples: VecDeque<(Instant, u64)>,
}

impl RecentRate {
    pub(super) fn since(start: Instant, bytes: u64) -> Self {
        RecentRate {
            samples: [(start, bytes)].into(),
        }
    }

    /// Takes a sample; returns the rate, in bytes per second.
    pub(super) fn at(&mut self, now: Instant, bytes: u64) -> f64 {
        self.samples.push_back((now, bytes));
        while let Some((second, _)) = self.samples.get(1)
            && now.duration_since(*second) >= SPAN
        {
            self.samples.pop_front();
        }
        let (then, before) = self.samples.front().copied().unwrap_or((now, bytes));
        per_second(bytes.saturating_sub(before), now.duration_since(then))
    }
}

/// The rate of this many bytes in this time; none in no time.
pub(super) fn per_second(bytes: u64, time: Duration) -> f64 {
    match time.as_secs_f64() {
        0.0 => 0.0,
        seconds => bytes as f64 / seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_forgets_what_is_longer_ago_than_its_span() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut rate = RecentRate::since(start, 1000);
        for (seconds, bytes, expected) in [
            (0.0, 1000, 0.0),
            (1.0, 3000, 2000.0),
            (2.0, 3000, 1000.0),
            // From here on, nothing moves, and the 2000 bytes of the first second are forgotten.
            (5.0, 3000, 400.0),
            (5.5, 3000, 2000.0 / 5.5),
            (6.0, 3000, 0.0),
            (100.0, 97_000, 1000.0),
        ] {
            assert_eq!(rate.at(at(seconds), bytes), expected, "{seconds}");
        }
        assert!(rate.samples.len() < 4);
    }
}
