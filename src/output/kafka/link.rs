//! The known facts about the brokers, and the notices about them.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::KafkaTotals;
use super::notice::{KafkaNotice, OnNotice};
use super::waits::Waits;

/// The time without an answer after which brokers that seem to be down are asked whether they are. A connection
/// that was idle is closed by its broker, and opened anew for the next record. A wait that is shorter is none.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// The time for which a broker whose handshakes fail is silent at most: librdkafka reports the same failure
/// every 30 s, and tries every 10 s.
const HANDSHAKES: Duration = Duration::from_secs(60);

/// The known facts about the brokers.
pub(super) struct Link {
    pub(super) topic: String,
    state: Mutex<LinkState>,
    /// The waits for acknowledgements.
    pub(super) waits: Waits,
    /// A record was acknowledged or lost.
    answered: Condvar,
    on_notice: Mutex<OnNotice>,
}

#[derive(Default)]
struct LinkState {
    /// The last problem with a broker.
    reason: Option<String>,
    /// The last failure of a TLS or SASL handshake, and its time.
    handshake: Option<(String, Instant)>,
    /// A broker has answered, in this run.
    was_reached: bool,
    /// All connections were down, and no broker has answered since.
    is_down: bool,
    /// The reason for which no broker can be reached, if the operator was told so.
    unreachable: Option<String>,
    /// The last time at which that was over.
    reached: Option<Instant>,
    /// The reason for which records wait, if the operator was told so.
    waiting: Option<String>,
    /// The last time at which a broker acknowledged or refused a record.
    last_answer: Option<Instant>,
    totals: KafkaTotals,
    /// The fatal error of the present producer.
    fatal: Option<String>,
    /// The fatal error that was said last, since a record was acknowledged.
    said_fatal: Option<String>,
}

impl Link {
    pub(super) fn new(topic: String) -> Self {
        Link {
            topic,
            state: Mutex::default(),
            waits: Waits::default(),
            answered: Condvar::new(),
            on_notice: Mutex::new(Box::new(|_| {})),
        }
    }

    /// Calls this for each notice from now on.
    pub(super) fn on_notice(&self, on_notice: impl FnMut(&KafkaNotice) + Send + 'static) {
        *self.on_notice.lock() = Box::new(on_notice);
    }

    pub(super) fn tell(&self, notice: &KafkaNotice) {
        (self.on_notice.lock())(notice);
    }

    pub(super) fn was_reached(&self) -> bool {
        self.state.lock().was_reached
    }

    /// Whether the operator need not be told that a broker can be reached.
    pub(super) fn is_reached(&self) -> bool {
        let state = self.state.lock();
        state.was_reached && state.unreachable.is_none()
    }

    pub(super) fn totals(&self) -> KafkaTotals {
        self.state.lock().totals
    }

    /// The reason for which brokers do not answer, as far as it is known.
    pub(super) fn trouble(&self) -> Option<String> {
        let LinkState {
            unreachable,
            waiting,
            reason,
            ..
        } = &*self.state.lock();
        let told = unreachable.as_ref().or(waiting.as_ref());
        told.or(reason.as_ref()).cloned()
    }

    /// Notes a problem with a broker.
    pub(super) fn note_problem(&self, reason: &str) {
        self.state.lock().reason = Some(reason.to_owned());
    }

    /// The last problem with a broker.
    pub(super) fn problem(&self) -> Option<String> {
        self.state.lock().reason.clone()
    }

    /// The time for which records have waited while no broker acknowledged or refused one.
    pub(super) fn silence(&self) -> Duration {
        self.waited(self.state.lock().last_answer)
    }

    /// The time for which a record has waited although brokers could be reached.
    pub(super) fn waited_in_reach(&self) -> Duration {
        self.waited(self.state.lock().reached)
    }

    /// The time for which a record has waited since then.
    fn waited(&self, since: Option<Instant>) -> Duration {
        let oldest = self.waits.oldest();
        let since = oldest.map(|oldest| since.map_or(oldest, |since| since.max(oldest)));
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// All brokers are down. That is worth a message if none of them was ever reached.
    pub(super) fn down(&self, reason: &str) {
        let mut state = self.state.lock();
        state.is_down = true;
        let was_reached = state.was_reached;
        drop(state);
        if !was_reached {
            self.say_down(reason);
        }
    }

    /// Whether all brokers may be down, while records wait for them.
    pub(super) fn seems_down(&self) -> bool {
        self.silence() >= SILENCE && self.state.lock().is_down
    }

    /// Notes that a broker is not down.
    pub(super) fn note_up(&self) {
        self.state.lock().is_down = false;
    }

    /// Says that no broker can be reached, the first time, with the last known reason.
    pub(super) fn say_down(&self, otherwise: &str) {
        let mut state = self.state.lock();
        if state.unreachable.is_some() {
            return;
        }
        let reason = state.reason.take();
        let handshake = state.handshake().cloned();
        let was_said = handshake.is_some();
        let reason = handshake.or(reason);
        let reason = reason.unwrap_or_else(|| otherwise.to_owned());
        state.unreachable = Some(reason.clone());
        drop(state);
        // A failed handshake was said by itself.
        if !was_said {
            self.tell(&KafkaNotice::Unreachable(reason));
        }
    }

    /// Says that records wait for this reason, or no longer.
    pub(super) fn say_waiting(&self, reason: Option<String>) {
        self.state.lock().waiting.clone_from(&reason);
        self.tell(&match reason {
            Some(reason) => KafkaNotice::Waiting(reason),
            None => KafkaNotice::Acknowledging,
        });
    }

    /// The reason for which records wait, if the operator was told so.
    pub(super) fn waiting(&self) -> Option<String> {
        self.state.lock().waiting.clone()
    }

    /// The TLS or SASL handshake with a broker has failed. Says so, unless the last one failed for the same
    /// reason.
    pub(super) fn handshake_failed(&self, reason: &str) {
        let (broker, failure) = handshake_failure(reason);
        let mut state = self.state.lock();
        let is_new = state.handshake() != Some(&failure);
        let shown = format!("{broker}: {failure}");
        state.handshake = Some((failure, Instant::now()));
        drop(state);
        if is_new {
            self.tell(&KafkaNotice::Handshake(shown));
        }
    }

    /// A broker has answered.
    pub(super) fn reached(&self) {
        self.update(|_| {});
    }

    /// A record with this number of bytes was acknowledged.
    pub(super) fn acknowledged(&self, bytes: usize) {
        self.update(|state| {
            state.said_fatal = None;
            state.last_answer = Some(Instant::now());
            let totals = &mut state.totals;
            totals.acknowledged_records = totals.acknowledged_records.saturating_add(1);
            totals.acknowledged_bytes = totals.acknowledged_bytes.saturating_add(bytes as u64);
        });
    }

    /// Notes that brokers can be reached, with what else is new.
    fn update(&self, update: impl FnOnce(&mut LinkState)) {
        let mut state = self.state.lock();
        update(&mut state);
        state.reason = None;
        state.was_reached = true;
        state.is_down = false;
        let was_said = state.unreachable.take().is_some();
        if was_said {
            state.handshake = None;
            state.reached = Some(Instant::now());
        }
        drop(state);
        if was_said {
            self.tell(&KafkaNotice::Reachable);
        }
    }

    /// This number of records is lost, by an answer of a broker if it `is_answer`.
    pub(super) fn lost(&self, records: usize, is_answer: bool) {
        let mut state = self.state.lock();
        let lost = &mut state.totals.lost_records;
        *lost = lost.saturating_add(records as u64);
        if is_answer {
            state.last_answer = Some(Instant::now());
        }
    }

    /// Another producer takes the place of one that has failed.
    pub(super) fn replaced(&self) {
        let mut state = self.state.lock();
        state.fatal = None;
        let replaced = &mut state.totals.replaced_producers;
        *replaced = replaced.saturating_add(1);
    }

    /// The present producer has failed. Says so, unless it is the same as the last time, and nothing was
    /// acknowledged since.
    pub(super) fn fatal(&self, reason: String) {
        let mut state = self.state.lock();
        state.fatal = Some(reason.clone());
        let is_new = state.said_fatal.as_ref() != Some(&reason);
        state.said_fatal = Some(reason.clone());
        drop(state);
        if is_new {
            self.tell(&KafkaNotice::Fatal(reason));
        }
    }

    /// The reason for which a record is lost.
    pub(super) fn reason(&self, code: Option<RDKafkaErrorCode>, error: &KafkaError) -> String {
        use RDKafkaErrorCode::{Fatal, PurgeInflight, PurgeQueue};
        let topic = &self.topic;
        match code {
            // The producer was given up.
            Some(Fatal | PurgeInflight | PurgeQueue) => {
                let fatal = self.state.lock().fatal.clone();
                fatal.unwrap_or_else(|| "the producer has ended".to_owned())
            }
            Some(code) => format!("topic {topic}: {}", words(code)),
            None => format!("topic {topic}: {error}"),
        }
    }

    /// Waits until a record is acknowledged or lost, at most for so long. A full queue has some.
    pub(super) fn await_answer(&self, limit: Duration) {
        let mut state = self.state.lock();
        // An answer may have come before.
        self.answered.wait_for(&mut state, limit);
    }

    /// Wakes those who wait until a record is acknowledged or lost.
    pub(super) fn wake(&self) {
        self.answered.notify_all();
    }
}

impl LinkState {
    /// The last failure of a handshake, unless it has stopped.
    fn handshake(&self) -> Option<&String> {
        let (failure, when) = self.handshake.as_ref()?;
        (when.elapsed() < HANDSHAKES).then_some(failure)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// The broker, and the failure of the handshake with it, of librdkafka's report: `PROTOCOL://BROKER:
/// FAILURE (after TIME in state STATE)`.
fn handshake_failure(report: &str) -> (&str, String) {
    let (broker, failure) = report.split_once(": ").unwrap_or(("a broker", report));
    let failure = failure
        .rsplit_once(" (after ")
        .map_or(failure, |(it, _)| it);
    // It has the same advice for another name, which does not help.
    let failure = match failure.split_once(": broker certificate could not be verified") {
        Some((failure, _)) => format!(
            "{failure}: its CA is not in ssl.ca.location, or it is not for this address or not valid now"
        ),
        None => failure.to_owned(),
    };
    (broker, failure)
}

/// The description of an error, in the words of the broker if it is the broker's.
pub(super) fn words(code: RDKafkaErrorCode) -> String {
    // Its text is `Name (description)`.
    let shown = code.to_string();
    let description = shown.split_once(" (").map(|(_, rest)| rest);
    let description = description.and_then(|rest| rest.strip_suffix(')'));
    description.unwrap_or(&shown).to_owned()
}
