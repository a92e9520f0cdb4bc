//! Lines about peers that never completed a handshake: a few each second, then a count. A port
//! scan must not fill the disk with what is said about it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::{Executor, Timer};

use super::level::Level;
use super::say::Say;

/// Lines in one [`PERIOD`], at most.
const LINES: u64 = 10;

const PERIOD: Duration = Duration::from_secs(1);

/// Says what such peers did, up to the limit.
#[derive(Clone)]
pub(crate) struct Probes {
    say: Say,
    executor: Arc<Executor<'static>>,
    period: Arc<Mutex<Period>>,
}

struct Period {
    start: Instant,
    said: u64,
    unsaid: u64,
}

impl Probes {
    pub(crate) fn new(say: Say, executor: Arc<Executor<'static>>) -> Self {
        let period = Period {
            start: Instant::now(),
            said: 0,
            unsaid: 0,
        };
        Probes {
            say,
            executor,
            period: Arc::new(Mutex::new(period)),
        }
    }

    pub(crate) fn line(&self, text: &str, hint: Option<&str>) {
        let mut period = self.lock();
        if period.start.elapsed() >= PERIOD && period.unsaid == 0 {
            period.start = Instant::now();
            period.said = 0;
        }
        if period.said < LINES {
            period.said += 1;
            drop(period);
            self.say.line(Level::Info, text, hint);
            return;
        }
        period.unsaid += 1;
        if period.unsaid == 1 {
            let end = period.start + PERIOD;
            let probes = self.clone();
            let count = async move {
                Timer::at(end).await;
                probes.finish();
            };
            self.executor.spawn(count).detach();
        }
    }

    /// Says the count, if there is one, and begins another period.
    pub(crate) fn finish(&self) {
        let mut period = self.lock();
        let unsaid = std::mem::take(&mut period.unsaid);
        period.start = Instant::now();
        period.said = 0;
        drop(period);
        if unsaid > 0 {
            self.say
                .info(&format!("{unsaid} more peers completed no handshake"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Period> {
        self.period.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
