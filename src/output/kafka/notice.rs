//! Events of a producer that its operator may want to know.

use std::fmt;

/// A function that is told notices.
pub(super) type OnNotice = Box<dyn FnMut(&KafkaNotice) + Send>;

/// Something that a [`KafkaWriter`](super::KafkaWriter) met.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KafkaNotice {
    /// No broker can be reached, for this reason. The writer tries again, and says so once.
    Unreachable(String),
    /// The TLS or SASL handshake with a broker fails, for this reason: one side does not accept the other's
    /// certificate, name or password. The writer tries again, and says so once.
    Handshake(String),
    /// A broker has answered, after none could be reached.
    Reachable,
    /// Records have waited for seconds, for this reason, although a broker can be reached. The writer tries
    /// again, and says so once, and once more if it learns the reason later.
    Waiting(String),
    /// No record waits so long any more.
    Acknowledging,
    /// The brokers do not have the topic, or do not let us use it.
    Topic {
        /// The topic.
        topic: String,
        /// Their words.
        reason: String,
    },
    /// The producer can't go on for this reason, and another takes its place. Streams of which a record
    /// was not acknowledged are cut.
    Fatal(String),
}

impl fmt::Display for KafkaNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KafkaNotice::Unreachable(reason) => {
                write!(f, "can't reach the brokers: {reason}; trying again")
            }
            KafkaNotice::Handshake(reason) => {
                write!(
                    f,
                    "the handshake with a broker fails: {reason}; trying again"
                )
            }
            KafkaNotice::Reachable => f.write_str("the brokers can be reached again"),
            KafkaNotice::Waiting(reason) => {
                write!(f, "records wait for their brokers: {reason}; trying again")
            }
            KafkaNotice::Acknowledging => f.write_str("the brokers acknowledge all records again"),
            KafkaNotice::Topic { topic, reason } => write!(f, "topic {topic}: {reason}"),
            KafkaNotice::Fatal(reason) => write!(f, "the producer begins anew: {reason}"),
        }
    }
}
