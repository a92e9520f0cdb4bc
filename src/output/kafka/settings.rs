//! The settings of a producer.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};

use rdkafka::ClientConfig;
use rdkafka::config::{NativeClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::BaseProducer;

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
/// - `ssl.ca.location=probe` in a static program: the CAs of the system, where distributions have them. The
///   OpenSSL of other programs knows where.
///
/// With `security.protocol=ssl` or `sasl_ssl`, the certificates of brokers are verified, and their names.
#[derive(Clone)]
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
const CHOSEN: &[(&[&str], &str)] = &[
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
    #[cfg(target_feature = "crt-static")]
    (&["ssl.ca.location", "ssl.ca.pem"], PROBE),
];

/// An `ssl.ca.location` for the file of CAs that distributions have, wherever it is.
const PROBE: &str = "probe";

/// Settings that name a file or a folder. librdkafka has no clear words for one that is missing.
const FILES: [&str; 6] = [
    "sasl.kerberos.keytab",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
];

/// Settings whose values are secrets.
const SECRETS: [&str; 9] = [
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
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

    /// Whether the value of a setting is a secret, such as that of `sasl.password`.
    pub fn is_secret(key: &str) -> bool {
        SECRETS.contains(&key)
    }

    /// Checks the settings as far as it goes without connecting to anything. It reads the files that they
    /// name, such as that of `ssl.ca.location`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) with the name of the setting.
    ///
    /// # Blocking
    ///
    /// Blocks while files are read.
    pub fn check(&self) -> io::Result<()> {
        self.check_apart()?;
        let mut config = self.complete();
        // Without brokers, and without a ticket of Kerberos, there is nothing to connect to.
        config.remove("bootstrap.servers");
        config.set("sasl.kerberos.min.time.before.relogin", "0");
        initialise_openssl();
        let producer: KafkaResult<BaseProducer> = config.create();
        producer.map(drop).map_err(|error| unusable(&error))
    }

    /// The settings that are allowed, and let others pose as a broker or read a password on its way, each
    /// in a sentence for the operator. It is empty if a setting is invalid.
    pub fn warnings(&self) -> Vec<&'static str> {
        let Ok(native) = self.complete().create_native_config() else {
            return Vec::new();
        };
        let protocol = value(&native, "security.protocol").unwrap_or_default();
        let has = |key: &str, wanted: &str| value(&native, key).is_ok_and(|set| set == wanted);
        if is_encrypted(&protocol) && has("enable.ssl.certificate.verification", "false") {
            vec!["the brokers are not verified: enable.ssl.certificate.verification is false"]
        } else if is_encrypted(&protocol) && has("ssl.endpoint.identification.algorithm", "none") {
            vec![
                "the names of the brokers are not verified: ssl.endpoint.identification.algorithm is none",
            ]
        } else if protocol == "sasl_plaintext" && has("sasl.mechanisms", "PLAIN") {
            vec!["the password is sent unencrypted: security.protocol is sasl_plaintext"]
        } else {
            Vec::new()
        }
    }

    /// Checks what librdkafka does not say, or not so clearly, when it takes the settings.
    pub(super) fn check_apart(&self) -> io::Result<()> {
        // librdkafka counts its length with 16 bits, and has no name for an empty one.
        if self.topic.is_empty() || self.topic.contains('\0') {
            return Err(invalid("the topic has no name".to_owned()));
        }
        let native = self.complete().create_native_config();
        let native = native.map_err(|error| unusable(&error))?;
        self.check_security(&native)?;
        for key in FILES {
            let Some(path) = self.config.get(key).filter(|path| *path != PROBE) else {
                continue;
            };
            File::open(path).map_err(|error| invalid(format!("{key}: {path}: {error}")))?;
        }
        Ok(())
    }

    /// Checks that no setting for TLS or SASL is without effect: a program that seems to be secure would
    /// not be.
    fn check_security(&self, native: &NativeClientConfig) -> io::Result<()> {
        let protocol = value(native, "security.protocol")?;
        for key in self.config.config_map().into_keys() {
            let wanted = if key.starts_with("ssl.") && !is_encrypted(&protocol) {
                "ssl or sasl_ssl"
            } else if key.starts_with("sasl.") && !is_authenticated(&protocol) {
                "sasl_ssl"
            } else {
                continue;
            };
            return Err(invalid(format!(
                "{key} has no effect with security.protocol={protocol}: set that to {wanted}"
            )));
        }
        if is_authenticated(&protocol) && value(native, "sasl.mechanisms")? == "GSSAPI" {
            let others = "set sasl.mechanism to SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN";
            if self.config.get("sasl.username").is_some() {
                return Err(invalid(format!(
                    "sasl.username has no effect with sasl.mechanism=GSSAPI, the default: {others}"
                )));
            }
            if !cfg!(feature = "kafka-gssapi") {
                return Err(invalid(format!(
                    "sasl.mechanism=GSSAPI, the default, needs the feature kafka-gssapi, which is not built \
                     in; or {others}"
                )));
            }
        }
        Ok(())
    }

    /// All settings, with those that are chosen.
    pub(super) fn complete(&self) -> ClientConfig {
        let mut config = self.config.clone();
        // Of a connection that is closed without a word, the reason is no error but a log line.
        config.set_log_level(RDKafkaLogLevel::Info);
        for (names, value) in CHOSEN {
            if let [name, ..] = *names
                && names.iter().all(|name| config.get(name).is_none())
            {
                config.set(*name, *value);
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

impl fmt::Debug for KafkaSettings {
    /// Shows no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut config = self.config.clone();
        for key in SECRETS {
            config.remove(key);
        }
        f.debug_struct("KafkaSettings")
            .field("topic", &self.topic)
            .field("key", &self.key)
            .field("record", &self.record)
            .field("config", &config)
            .finish()
    }
}

/// Whether a `security.protocol` is TLS.
fn is_encrypted(protocol: &str) -> bool {
    matches!(protocol, "ssl" | "sasl_ssl")
}

/// Whether a `security.protocol` authenticates the client by SASL.
fn is_authenticated(protocol: &str) -> bool {
    matches!(protocol, "sasl_plaintext" | "sasl_ssl")
}

/// Initialises OpenSSL, before librdkafka does. Left to itself, OpenSSL frees its memory when the process
/// exits, although the threads of a producer may still be running.
pub(super) fn initialise_openssl() {
    // It has OPENSSL_INIT_NO_ATEXIT (OPENSSL_init_crypto(3)).
    openssl_sys::init();
}

/// The value of a setting, in librdkafka's spelling.
fn value(native: &NativeClientConfig, key: &str) -> io::Result<String> {
    native.get(key).map_err(|error| unusable(&error))
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

#[cfg(all(test, not(tlsink_loom)))]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let mut settings = KafkaSettings::new("h:1", "logs");
        for key in SECRETS {
            settings = settings.set(key, "hidden").unwrap();
        }
        let shown = format!("{settings:?}");
        assert!(
            shown.contains("h:1") && !shown.contains("hidden"),
            "{shown}"
        );
    }

    #[test]
    fn each_secret_is_a_setting() {
        for key in SECRETS {
            let settings = KafkaSettings::new("h:1", "logs").set(key, "").unwrap();
            // Some are known, but not built in.
            let checked = settings.check_apart().unwrap_err().to_string();
            assert!(!checked.contains("No such"), "{checked}");
        }
    }
}
