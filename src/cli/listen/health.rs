//! Whether the threads of the program still turn.
//!
//! A thread that hangs ends nothing and says nothing: its senders only wait. So each part of the
//! program is asked again and again to run a small task, and a part that does not is named to those who
//! want to know: the service manager, and `/healthz`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lane::LaneExecutor;
use super::space;

/// The time between two questions to each part.
pub(super) const BEAT: Duration = Duration::from_secs(2);

/// The state of the program's parts.
pub(crate) struct Health {
    parts: Vec<Part>,
    stopping: AtomicBool,
}

/// A thread, or several that share an executor.
struct Part {
    name: String,
    executor: LaneExecutor,
    /// The time of the question that the part has not answered yet.
    asked: Arc<Mutex<Option<Instant>>>,
}

impl Health {
    /// The health of these lanes, and of the executor that accepts connections and does handshakes.
    pub(super) fn new(lanes: &[LaneExecutor], accepting: &LaneExecutor) -> Arc<Self> {
        let lanes = lanes.iter().enumerate();
        let lanes = lanes.map(|(index, lane)| (format!("lane {}", index.saturating_add(1)), lane));
        let accepting = ("the accept loop".to_owned(), accepting);
        let parts = lanes.chain([accepting]).map(|(name, executor)| Part {
            name,
            executor: Arc::clone(executor),
            asked: Arc::default(),
        });
        Arc::new(Health {
            parts: parts.collect(),
            stopping: AtomicBool::new(false),
        })
    }

    /// Asks each part that has answered the last question.
    pub(super) fn beat(&self) {
        for part in &self.parts {
            let mut asked = lock(&part.asked);
            if asked.is_none() {
                *asked = Some(Instant::now());
                let asked = Arc::clone(&part.asked);
                part.executor
                    .spawn(async move { *lock(&asked) = None })
                    .detach();
            }
        }
    }

    /// Names a part that has not turned for longer than this.
    pub(super) fn hanging(&self, limit: Duration) -> Option<String> {
        self.parts.iter().find_map(|part| {
            let silent = lock(&part.asked).map_or(Duration::ZERO, |since| since.elapsed());
            (silent > limit)
                .then(|| format!("{} has not turned for {} s", part.name, silent.as_secs()))
        })
    }

    /// Whether a part hangs that a restart would help: one that waits for space on a disk would wait
    /// again, and has data that a restart would lose.
    pub(super) fn needs_restart(&self, limit: Duration) -> bool {
        !space::is_waited_for() && self.hanging(limit).is_some()
    }

    /// Notes that the program takes no more connections.
    pub(super) fn stops(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

fn lock(asked: &Mutex<Option<Instant>>) -> std::sync::MutexGuard<'_, Option<Instant>> {
    // Nothing panics while it holds this.
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_does_not_turn_is_named_until_it_does() {
        let (lane, accepting) = (LaneExecutor::default(), LaneExecutor::default());
        let health = Health::new(&[Arc::clone(&lane)], &accepting);
        assert_eq!(health.hanging(Duration::ZERO), None);
        health.beat();
        assert!(lane.try_tick());
        // Until it has answered, a part is not asked again.
        health.beat();
        health.beat();
        let named = || health.hanging(Duration::ZERO);
        assert_eq!(named().as_deref(), Some("lane 1 has not turned for 0 s"));
        assert!(health.needs_restart(Duration::ZERO));
        while lane.try_tick() {}
        let accepts_no_more = "the accept loop has not turned for 0 s";
        assert_eq!(named().as_deref(), Some(accepts_no_more));
        assert_eq!(health.hanging(Duration::from_secs(3600)), None);
        assert!(accepting.try_tick());
        assert!(!accepting.try_tick());
        assert_eq!(named(), None);
    }
}
