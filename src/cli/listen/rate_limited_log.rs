//! A log of connections that were never established, for people and for the output. Anybody can
//! make any number of them, and a flood must not fill a disk: each second has a few lines, at least
//! one for each reason, and counts of the rest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::{Executor, Timer};
use tlsink::Report;

use super::super::count::Count;
use super::super::level::Level;
use super::super::say::Say;
use super::end;
use super::reason::{OTHER_REASONS, REASONS, without_particulars};
use super::refusals::Refusals;

/// Lines in one [`PERIOD`]. Beyond them, each reason without a line gets one.
const LINES: u64 = 10;

const PERIOD: Duration = Duration::from_secs(1);

/// Logs such connections, up to the limit. Dropping it logs the remaining counts.
pub(crate) struct RateLimitedLog {
    say: Say,
    executor: Arc<Executor<'static>>,
    /// Writes refusals to the output, if that is wanted.
    refusals: Option<Arc<Refusals>>,
    period: Mutex<Period>,
}

struct Period {
    start: Instant,
    /// Lines so far.
    said: u64,
    /// A task waits for its end, as there is something to count.
    counting: bool,
    /// At most [`REASONS`] and the rest, so a linear search is fast enough.
    kinds: Vec<(EndKind, Counted)>,
}

/// The common part of the ends of several connections.
#[derive(Clone, PartialEq, Eq)]
struct EndKind {
    refused: bool,
    /// The end's word, such as `refused`.
    word: &'static str,
    /// The end's reason, without quotations and numbers.
    reason: String,
}

/// The connections of one kind that have no line.
#[derive(Default)]
struct Counted {
    more: u64,
    /// Their reason, or that of their kind if they differ.
    reason: Option<String>,
}

impl RateLimitedLog {
    pub(crate) fn new(
        say: Say,
        executor: Arc<Executor<'static>>,
        refusals: Option<Arc<Refusals>>,
    ) -> Arc<Self> {
        Arc::new(RateLimitedLog {
            say,
            executor,
            refusals,
            period: Mutex::new(Period::begin()),
        })
    }

    /// Logs a connection that was not established.
    pub(crate) fn report(self: &Arc<Self>, report: &Report) {
        let reason = report.end.reason().unwrap_or_default();
        let kind = EndKind {
            refused: report.is_refused(),
            word: report.end.word(),
            reason: without_particulars(&reason),
        };
        let shown = {
            let mut period = self.lock();
            if period.start.elapsed() >= PERIOD && !period.counting {
                *period = Period::begin();
            }
            let shown = period.shows(&kind);
            if !shown && !std::mem::replace(&mut period.counting, true) {
                self.finish_at(period.start + PERIOD);
            }
            if !shown {
                period.count(&kind, &reason);
            }
            shown
        };
        if !shown {
            return;
        }
        end::say(&self.say, kind.level(), report);
        if let (Some(refusals), true) = (&self.refusals, kind.refused) {
            refusals.refused(report, &kind.reason);
        }
    }

    /// Logs the counts, if there are any, and begins a new period.
    pub(crate) fn finish(&self) {
        let ended = std::mem::replace(&mut *self.lock(), Period::begin());
        for (kind, Counted { more, reason }) in ended.kinds {
            if more == 0 {
                continue;
            }
            let reason = reason.as_deref().unwrap_or(&kind.reason);
            let end = format!("{} ({reason})", kind.word);
            let text = format!("{}: {end}", Count(more, "more peer"));
            self.say.end(kind.level(), &text, &end, None);
            if let (Some(refusals), true) = (&self.refusals, kind.refused) {
                refusals.more(reason, more);
            }
        }
    }

    fn finish_at(self: &Arc<Self>, end: Instant) {
        // A weak reference: the program does not wait for the period to end.
        let log = Arc::downgrade(self);
        let count = async move {
            Timer::at(end).await;
            if let Some(log) = log.upgrade() {
                log.finish();
            }
        };
        self.executor.spawn(count).detach();
    }

    fn lock(&self) -> MutexGuard<'_, Period> {
        self.period.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RateLimitedLog {
    fn drop(&mut self) {
        self.finish();
    }
}

impl EndKind {
    fn level(&self) -> Level {
        match self.refused {
            true => Level::Warning,
            false => Level::Info,
        }
    }
}

impl Period {
    fn begin() -> Self {
        Period {
            start: Instant::now(),
            said: 0,
            counting: false,
            kinds: Vec::new(),
        }
    }

    /// Whether another one of this kind gets a line. The kind is noted.
    fn shows(&mut self, kind: &EndKind) -> bool {
        let first = self.kinds.len() < REASONS && self.counted(kind).is_none();
        let shown = self.said < LINES || first;
        if shown {
            self.said += 1;
        }
        if first {
            self.kinds.push((kind.clone(), Counted::default()));
        }
        shown
    }

    fn count(&mut self, kind: &EndKind, reason: &str) {
        if let Some(counted) = self.counted(kind) {
            counted.add(reason, &kind.reason);
            return;
        }
        let other = EndKind {
            reason: OTHER_REASONS.to_owned(),
            ..kind.clone()
        };
        if let Some(counted) = self.counted(&other) {
            counted.add(OTHER_REASONS, OTHER_REASONS);
            return;
        }
        let mut counted = Counted::default();
        counted.add(OTHER_REASONS, OTHER_REASONS);
        self.kinds.push((other, counted));
    }

    fn counted(&mut self, kind: &EndKind) -> Option<&mut Counted> {
        let mut kinds = self.kinds.iter_mut();
        kinds.find_map(|(one, counted)| (one == kind).then_some(counted))
    }
}

impl Counted {
    fn add(&mut self, reason: &str, of_kind: &str) {
        self.more = self.more.saturating_add(1);
        match &self.reason {
            None => self.reason = Some(reason.to_owned()),
            Some(before) if before == reason => {}
            Some(_) => self.reason = Some(of_kind.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(reason: &str) -> EndKind {
        EndKind {
            refused: true,
            word: "refused",
            reason: without_particulars(reason),
        }
    }

    #[test]
    fn beyond_the_limit_each_reason_has_a_line_and_the_rest_is_counted() {
        let mut period = Period::begin();
        let often = kind("often");
        let shown = (0..LINES + 5).filter(|_| period.shows(&often)).count() as u64;
        assert_eq!(shown, LINES);
        assert!(period.shows(&kind("rare")));
        assert!(!period.shows(&kind("rare")));
        // Their number has a bound.
        let many = (0..10_000).map(|number| "x".repeat(number));
        let shown = many.filter(|reason| period.shows(&kind(reason))).count();
        assert_eq!(shown, REASONS - 2);
        assert_eq!(period.kinds.len(), REASONS);
    }

    #[test]
    fn a_count_has_the_reason_that_all_have_or_what_their_reasons_have_in_common() {
        let mut period = Period::begin();
        for reason in ["within 2 s", "within 2 s"] {
            period.shows(&kind(reason));
            period.count(&kind(reason), reason);
        }
        let reasons = |period: &Period| -> Vec<(Option<String>, u64)> {
            let counted = period.kinds.iter();
            counted
                .map(|(_, one)| (one.reason.clone(), one.more))
                .collect()
        };
        assert_eq!(reasons(&period), [(Some("within 2 s".to_owned()), 2)]);
        period.count(&kind("within 3 s"), "within 3 s");
        assert_eq!(reasons(&period), [(Some("within … s".to_owned()), 3)]);
        // The common reason stays.
        period.count(&kind("within 2 s"), "within 2 s");
        assert_eq!(reasons(&period), [(Some("within … s".to_owned()), 4)]);
        // A reason beyond the limit.
        period.count(&kind("new"), "new");
        assert!(reasons(&period).contains(&(Some(OTHER_REASONS.to_owned()), 1)));
    }
}
