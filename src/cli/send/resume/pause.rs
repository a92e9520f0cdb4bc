//! The pauses between tries.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

/// The longest first pause. The next may be twice as long, and so on.
const FIRST: Duration = Duration::from_millis(500);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Pauses that grow. Each is a random part of the longest that it may be, so that many senders do not
/// come back to a server all at once.
#[derive(Debug)]
pub(super) struct Pauses {
    limit: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Pauses { limit: FIRST }
    }
}

impl Pauses {
    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        let limit = self.limit;
        self.limit = limit.saturating_mul(2).min(LONGEST);
        limit.mul_f64(random_part())
    }
}

/// A number from 0 to 1.
fn random_part() -> f64 {
    f64::from(random() as u32) / f64::from(u32::MAX)
}

/// A random number.
pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    // The system's generator does not fail once the program runs; if it did, 0 is as good.
    let _ = SystemRandom::new().fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_30_s_and_differ() {
        let mut pauses = Pauses::default();
        let mut limits = Vec::new();
        for _ in 0..9 {
            let limit = pauses.limit;
            assert!(pauses.next() <= limit);
            limits.push(limit.as_millis());
        }
        let expected = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000];
        assert_eq!(limits, expected);
        let all: Vec<_> = (0..20).map(|_| pauses.next()).collect();
        assert!(all.iter().any(|pause| *pause != all[0]));
    }
}
