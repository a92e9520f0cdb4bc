//! The settings of a producer.

use std::io::{self, ErrorKind};

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::RECORD;
use crate::output::each_line::CALL;

/// The brokers and the topic that a [`Kafka`](super::Kafka) output produces to, and how.
///
/// librdkafka has settings of its own, which [`set`](Self::set) changes. These are set unless they are
/// set otherwise:
///
/// - `enable.idempotence=true` and `acks=all`: a record is acknowledged when all in-sync replicas have
///   it, and what is sent again after a lost answer is written once.
/// - `message.timeout.ms=0`: no record is given up because its broker is away.
/// - `partitioner=murmur2_random`: a key has the partition that Java's producers choose for it.
/// - `queue.buffering.max.messages=0` and `queue.buffering.max.kbytes=2147483647`: the queue has no
///   limit of its own, since [holds](crate::Hold) bound what is in it.
/// - `max.in.flight.requests.per.connection=1`: a broker handles the requests of a connection one by one
///   (Kafka's protocol guide, section Network), so more of them gain little, and librdkafka's threads would
///   spin while all busy partitions wait for acknowledgements.
/// - `reconnect.backoff.max.ms=2000`: after an outage, records wait 2 seconds more at most, and not 10.
/// - `client.id=tlsink`.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    pub(super) topic: String,
    pub(super) key: KafkaKey,
    pub(super) record: KafkaRecord,
    pub(super) config: ClientConfig,
}

/// The key of a record, which decides about its partition. Records of one partition stay in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KafkaKey {
    /// The first of the sender's verified [names](crate::Conn::names), or else its address.
    #[default]
    Client,
    /// The sender's address without its port.
    Peer,
    /// The stream: the value of the header `stream`.
    Conn,
    /// No key: any partition, so that a stream's records do not stay in order.
    None,
}

/// The content of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KafkaRecord {
    /// A line, or a frame.
    #[default]
    Line,
    /// Up to 256 KiB of whole lines or frames of a stream, with newlines between them. A block waits for
    /// nothing: it has what came together. Pieces of a line, and longer lines, are records of their own.
    Block,
}

/// Settings that are chosen unless the first of these names, or another one for the same, is set.
const CHOSEN: [(&[&str], &str); 9] = [
    (&["enable.idempotence"], "true"),
    (&["acks", "request.required.acks"], "all"),
    (&["message.timeout.ms", "delivery.timeout.ms"], "0"),
    (&["partitioner"], "murmur2_random"),
    (&["queue.buffering.max.messages"], "0"),
    (&["queue.buffering.max.kbytes"], "2147483647"),
    (
        &["max.in.flight.requests.per.connection", "max.in.flight"],
        "1",
    ),
    (
        &["reconnect.backoff.max.ms", "reconnect.backoff.ms"],
        "2000",
    ),
    (&["client.id"], "tlsink"),
];

/// Settings that would break a promise, and what to do instead.
const REFUSED: [(&str, &str); 4] = [
    ("bootstrap.servers", "the brokers are named apart from it"),
    (
        "metadata.broker.list",
        "the brokers are named apart from it",
    ),
    (
        "delivery.report.only.error",
        "acknowledgements would never come",
    ),
    (
        "transactional.id",
        "records are not produced in transactions",
    ),
];

/// The limit of a request, and so of a record, unless it is set: librdkafka's default, in bytes.
const MESSAGE: usize = 1_000_000;

/// The longest block, in bytes.
const BLOCK: usize = 256 * 1024;

/// The bytes of a request that are left for what is not the record's value.
const ROOM: usize = 64 * 1024;

impl KafkaSettings {
    /// The brokers to ask for the others, each as `HOST:PORT`, separated by commas; and the topic.
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        KafkaSettings {
            topic: topic.into(),
            key: KafkaKey::default(),
            record: KafkaRecord::default(),
            config,
        }
    }

    /// The key of the records.
    pub fn key(mut self, key: KafkaKey) -> Self {
        self.key = key;
        self
    }

    /// The content of the records.
    pub fn record(mut self, record: KafkaRecord) -> Self {
        self.record = record;
        self
    }

    /// Sets one of librdkafka's settings, as its `CONFIGURATION.md` lists them.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a setting that would break a promise of this
    /// output. Unknown settings, and invalid values, are those of [`check`](Self::check).
    pub fn set(mut self, key: &str, value: &str) -> io::Result<Self> {
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
            return Err(invalid(format!("{key} can't be set: {reason}")));
        }
        self.config.set(key, value);
        Ok(self)
    }

    /// Checks each setting by itself, without connecting to anything.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) with the name of the setting.
    pub fn check(&self) -> io::Result<()> {
        // librdkafka counts its length with 16 bits, and has no name for an empty one.
        if self.topic.is_empty() || self.topic.contains('\0') {
            return Err(invalid("the topic has no name".to_owned()));
        }
        let native = self.complete().create_native_config();
        native.map(drop).map_err(|error| unusable(&error))
    }

    /// All settings, with those that are chosen.
    pub(super) fn complete(&self) -> ClientConfig {
        let mut config = self.config.clone();
        for (names, value) in CHOSEN {
            if let [name, ..] = names
                && names.iter().all(|name| config.get(name).is_none())
            {
                config.set(*name, value);
            }
        }
        config
    }

    /// The bytes that taking a line counts as.
    pub(super) fn cost(&self) -> usize {
        match self.record {
            KafkaRecord::Line => RECORD,
            KafkaRecord::Block => CALL,
        }
    }

    /// The longest block, in bytes; 0 if each line is a record.
    pub(super) fn max_block(&self) -> usize {
        match self.record {
            KafkaRecord::Line => 0,
            KafkaRecord::Block => BLOCK.min(self.max_value()),
        }
    }

    /// The longest value of a record, in bytes.
    pub(super) fn max_value(&self) -> usize {
        let message = self.config.get("message.max.bytes");
        let message = message.and_then(|bytes| bytes.trim().parse().ok());
        message.unwrap_or(MESSAGE).saturating_sub(ROOM).max(1)
    }
}

/// The error for settings that librdkafka does not take.
pub(super) fn unusable(error: &KafkaError) -> io::Error {
    match error {
        // The value may be a secret.
        KafkaError::ClientConfig(_, description, key, _) => {
            invalid(format!("{key}: {description}"))
        }
        KafkaError::ClientCreation(description) => invalid(description.clone()),
        error => io::Error::other(error.to_string()),
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, text)
}
