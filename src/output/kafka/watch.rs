//! The thread that watches whether brokers answer.
//!
//! librdkafka reports no error that it tries again after. So when records have waited for long, this thread
//! asks for the state of their topic, which is where the usual reasons are.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rdkafka::error::KafkaResult;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::producer::Producer as _;

use super::link::{SILENCE, words};
use super::notice::KafkaNotice;
use super::writer::{Current, Producer};

/// The age at which a record that waits is worth a message, although brokers can be reached.
const LONG: Duration = Duration::from_secs(5);

/// The longest wait for facts about the topic.
const LOOK: Duration = Duration::from_secs(5);

/// The reason for which brokers can't be reached if librdkafka has given none.
const NO_ANSWER: &str = "no broker has answered";

/// The reason for which records wait while none is known.
const NO_REASON: &str = "they do not say why";

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// The tools of the thread that watches.
pub(super) struct Watch<'a> {
    current: &'a Current,
    /// A client to ask, while something is wrong.
    asking: Option<Producer>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(current: &'a Current) -> Self {
        Watch {
            current,
            asking: None,
        }
    }

    /// Watches until the other half of this channel is dropped.
    pub(super) fn run(mut self, ended: &Receiver<()>) {
        loop {
            match self.current.link.is_reached() {
                false => self.look_for_topic(),
                true => self.look_for_waits(),
            }
            if ended.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Says so if there is no such topic, or no broker to ask. Brokers that create topics do it now.
    fn look_for_topic(&mut self) {
        let link = &*self.current.link;
        match self.topic(|topic| topic.error()) {
            Ok(error) => {
                link.reached();
                if let Some(error) = error {
                    link.tell(&KafkaNotice::Topic {
                        topic: link.topic.clone(),
                        reason: words(error.into()),
                    });
                }
            }
            Err(_) => link.say_down(NO_ANSWER),
        }
    }

    /// Says so if records wait for long, also when it learns why, and when none does any more.
    fn look_for_waits(&mut self) {
        let link = &*self.current.link;
        let said = link.waiting();
        let oldest = link.waits.oldest();
        if said.is_some() && oldest.is_none_or(|oldest| oldest.elapsed() < SILENCE) {
            link.say_waiting(None);
            return;
        }
        let is_unexplained = said.as_deref().is_none_or(|reason| reason == NO_REASON);
        let waits_long = is_unexplained && link.waited_in_reach() >= LONG;
        if waits_long || link.seems_down() {
            match self.topic(why) {
                Ok(reason) if waits_long => {
                    match reason.or_else(|| link.problem()) {
                        Some(reason) => link.say_waiting(Some(reason)),
                        // Brokers that acknowledge some records are only slow if no reason is known.
                        None if said.is_none() && link.silence() >= LONG => {
                            link.say_waiting(Some(NO_REASON.to_owned()));
                        }
                        None => {}
                    }
                }
                // Only the connections that there were are down.
                Ok(_) => link.note_up(),
                // Others than the one that was asked may answer.
                Err(_) if link.silence() >= SILENCE => link.say_down(NO_ANSWER),
                Err(_) => {}
            }
        } else {
            self.asking = None;
        }
    }

    /// Finds something in the facts about the topic.
    ///
    /// # Errors
    ///
    /// When no broker gives them in time.
    fn topic<T>(
        &mut self,
        find: impl FnOnce(&MetadataTopic) -> Option<T>,
    ) -> KafkaResult<Option<T>> {
        let asking = match &mut self.asking {
            Some(asking) => asking,
            none => none.insert(self.current.asking()?),
        };
        let topic = &self.current.link.topic;
        let facts = asking.client().fetch_metadata(Some(topic), LOOK);
        // It may say why there are none.
        asking.poll(Duration::ZERO);
        Ok(facts?.topics().first().and_then(find))
    }
}

/// The reason for which records of this topic may wait, if there is one.
fn why(topic: &MetadataTopic) -> Option<String> {
    if let Some(error) = topic.error() {
        return Some(words(error.into()));
    }
    let partitions = topic.partitions();
    let failed = partitions.iter().find_map(|one| {
        let error = one.error().map(|error| words(error.into()));
        let error = error.or_else(|| (one.leader() < 0).then(|| "no leader".to_owned()))?;
        Some(format!("partition {}: {error}", one.id()))
    });
    if failed.is_some() {
        return failed;
    }
    let missing = |one: &&MetadataPartition| one.replicas().len().saturating_sub(one.isr().len());
    let worst = partitions.iter().max_by_key(missing);
    let worst = worst.filter(|one| missing(one) > 0)?;
    let (id, all, synced) = (worst.id(), worst.replicas().len(), worst.isr().len());
    Some(format!(
        "{synced} of the {all} replicas of partition {id} are in sync"
    ))
}
