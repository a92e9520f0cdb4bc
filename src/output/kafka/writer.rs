//! The threads that talk to librdkafka.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode;

use super::link::Link;
use super::notice::KafkaNotice;
use super::pending::{Pending, Stream};
use super::settings::{initialise_openssl, unusable};
use super::watch::Watch;
use super::{Batch, Record};
use crate::output::backlog::Backlog;

pub(super) type Producer = BaseProducer<Context>;

/// The time of one look at librdkafka's answers. They are taken as they come; it is only the time until
/// the end of the program, or of the producer, is noticed.
const POLL: Duration = Duration::from_millis(100);

/// The shortest time from one producer to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// Produces the records of a [`Kafka`](super::Kafka) output. It does nothing before it [runs](Self::run).
///
/// - While no broker can be reached, or too few replicas are in sync, records wait, and their streams are
///   held.
/// - A fatal error of librdkafka's idempotent producer ends that producer. Streams of which a record is
///   not acknowledged then are cut, since nobody knows whether it was written. Others go on with a new
///   producer.
pub struct KafkaWriter {
    config: ClientConfig,
    batches: Receiver<Vec<Batch>>,
    backlog: Arc<Backlog>,
    producer: Producer,
    link: Arc<Link>,
}

/// What a producer calls.
pub(super) struct Context {
    link: Arc<Link>,
    /// The producer only asks for facts.
    only_asks: bool,
    /// An acknowledged record has an offset. (With `acks=0`, which excludes this, none has.)
    is_idempotent: bool,
}

/// The present producer.
pub(super) struct Current {
    config: ClientConfig,
    pub(super) link: Arc<Link>,
    /// The producer, and the number of those before it.
    producer: Mutex<(u64, Arc<Producer>)>,
    replaced: Condvar,
    /// No further records will come.
    is_last: AtomicBool,
}

/// Ends the thread that polls once all is answered, also when the one that produces has panicked.
struct Last<'a>(&'a Current);

/// What the thread that produces needs.
struct Producing<'a> {
    current: &'a Current,
    backlog: &'a Arc<Backlog>,
}

impl KafkaWriter {
    pub(super) fn new(
        config: ClientConfig,
        batches: Receiver<Vec<Batch>>,
        backlog: Arc<Backlog>,
        link: Arc<Link>,
    ) -> io::Result<Self> {
        initialise_openssl();
        let producer = start(&config, &link, false).map_err(|error| unusable(&error))?;
        Ok(KafkaWriter {
            config,
            batches,
            backlog,
            producer,
            link,
        })
    }

    /// Calls `on_notice` for what may be worth a message, on one of the writer's threads.
    pub fn on_notice(self, on_notice: impl FnMut(&KafkaNotice) + Send + 'static) -> Self {
        self.link.on_notice(on_notice);
        self
    }

    /// Produces until all clones of the output are dropped, and every record is acknowledged or lost. It
    /// starts a thread for librdkafka's answers and one that watches the brokers, and ends them.
    ///
    /// # Errors
    ///
    /// When a thread can't be started: then nothing is produced, and streams are cut.
    ///
    /// # Blocking
    ///
    /// Blocks for as long as that takes, which is forever if no broker can be reached.
    pub fn run(self) -> io::Result<()> {
        let KafkaWriter {
            config,
            batches,
            backlog,
            producer,
            link,
        } = self;
        let current = Current {
            config,
            link,
            producer: Mutex::new((0, Arc::new(producer))),
            replaced: Condvar::new(),
            is_last: AtomicBool::new(false),
        };
        let producing = Producing {
            current: &current,
            backlog: &backlog,
        };
        thread::scope(|scope| {
            let (polls, ended) = mpsc::channel();
            let (current, watch) = (&current, Watch::new(&current));
            let _last = Last(current);
            let thread = |name: &str| thread::Builder::new().name(name.to_owned());
            thread("kafka poll").spawn_scoped(scope, move || {
                let _polls: mpsc::Sender<()> = polls;
                current.poll();
            })?;
            thread("kafka watch").spawn_scoped(scope, move || watch.run(&ended))?;
            for batch in batches.iter().flatten() {
                producing.produce(batch);
            }
            Ok(())
        })
    }
}

impl fmt::Debug for KafkaWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaWriter")
            .field("topic", &self.link.topic)
            .finish_non_exhaustive()
    }
}

impl Drop for Last<'_> {
    fn drop(&mut self) {
        self.0.is_last.store(true, Ordering::Release);
    }
}

fn start(config: &ClientConfig, link: &Arc<Link>, only_asks: bool) -> KafkaResult<Producer> {
    // librdkafka has several ways to say yes, and one when it is asked.
    let is_idempotent = config.create_native_config()?.get("enable.idempotence")? == "true";
    let context = Context {
        link: Arc::clone(link),
        only_asks,
        is_idempotent,
    };
    Producer::from_config_and_context(config, context)
}

impl Producing<'_> {
    /// Gives the records of a batch to librdkafka, until one of its stream is lost.
    fn produce(&self, batch: Batch) {
        let bytes = batch.bytes();
        let Batch {
            stream,
            values,
            records,
            holds,
            time,
        } = batch;
        let backlog = Arc::clone(self.backlog);
        let wait = self.current.link.waits.begin();
        let pending = Pending::new(stream, records.len(), holds, bytes, backlog, wait);
        let mut from = 0;
        for (index, record) in records.iter().enumerate() {
            let value = values.get(from..record.end).unwrap_or_default();
            from = record.end;
            if let Err(reason) = self.send(&pending, record, value, time) {
                let unsent = records.len().saturating_sub(index);
                self.current.link.lost(unsent, false);
                pending.lost(&reason);
                return;
            }
        }
    }

    /// Gives a record to librdkafka, as soon as it takes one.
    ///
    /// # Errors
    ///
    /// With the reason for which the stream can't go on.
    fn send(
        &self,
        pending: &Arc<Pending>,
        record: &Record,
        value: &[u8],
        time: i64,
    ) -> Result<(), String> {
        let stream = &pending.stream;
        loop {
            if stream.has_failed() {
                return Err("a record before it is lost".to_owned());
            }
            let (number, producer) = self.current.get();
            let topic = &self.current.link.topic;
            let mut sent = BaseRecord::with_opaque_to(topic, Arc::clone(pending))
                .payload(value)
                .timestamp(time)
                .headers(headers(stream, record));
            if let Some(key) = &stream.key {
                sent = sent.key(key.as_bytes());
            }
            let error = match producer.send(sent) {
                Ok(()) => return Ok(()),
                Err((error, _)) => error,
            };
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => self.current.link.await_answer(POLL),
                Some(RDKafkaErrorCode::Fatal) => self.current.await_another(number),
                code => return Err(self.current.link.reason(code, &error)),
            }
        }
    }
}

impl Current {
    /// Another client, which only asks for facts. On the connections of the producer, questions wait behind
    /// records for which a broker waits itself.
    pub(super) fn asking(&self) -> KafkaResult<Producer> {
        let mut config = self.config.clone();
        // It would ask for a number of its own, and the rest of its questions would wait for that.
        config.set("enable.idempotence", "false");
        config.set("enable.gapless.guarantee", "false");
        start(&config, &self.link, true)
    }

    /// The producer, and the number of those before it.
    fn get(&self) -> (u64, Arc<Producer>) {
        let current = self.producer.lock();
        (current.0, Arc::clone(&current.1))
    }

    /// Takes librdkafka's answers, until no record will come and all are answered.
    fn poll(&self) {
        let mut since = Instant::now();
        loop {
            let (_, producer) = self.get();
            producer.poll(POLL);
            if let Some((_, reason)) = producer.client().fatal_error() {
                self.replace(&producer, reason, &mut since);
            }
            if self.is_last.load(Ordering::Acquire) && producer.in_flight_count() == 0 {
                return;
            }
        }
    }

    /// Puts another producer in the place of one that has failed, once the streams are cut of which it has
    /// records that were not acknowledged.
    fn replace(&self, failed: &Producer, reason: String, since: &mut Instant) {
        self.link.fatal(reason);
        failed.purge(PurgeConfig::default().queue().inflight());
        while failed.in_flight_count() > 0 {
            failed.poll(Duration::from_millis(1));
        }
        let another = loop {
            // A reason that stays would otherwise make one after another.
            thread::sleep(INTERVAL.saturating_sub(since.elapsed()));
            *since = Instant::now();
            match start(&self.config, &self.link, false) {
                Ok(another) => break another,
                Err(error) => self.link.fatal(error.to_string()),
            }
        };
        self.link.replaced();
        let mut current = self.producer.lock();
        *current = (current.0.saturating_add(1), Arc::new(another));
        self.replaced.notify_all();
    }

    /// Waits for a producer with another number.
    fn await_another(&self, number: u64) {
        let mut current = self.producer.lock();
        while current.0 == number {
            self.replaced.wait(&mut current);
        }
    }
}

impl ClientContext for Context {
    /// Errors come as such, too, but not the advice about a broker that hangs up.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        if facility == "FAIL" {
            let (_, reason) = text.split_once("]: ").unwrap_or(("", text));
            self.link.note_problem(reason);
        }
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // Those that it knows may be fewer than there are.
            Some(RDKafkaErrorCode::AllBrokersDown) if self.only_asks => {}
            Some(RDKafkaErrorCode::AllBrokersDown) => self.link.down(reason),
            // The thread that polls looks for it.
            Some(RDKafkaErrorCode::Fatal) => {}
            Some(RDKafkaErrorCode::SSL | RDKafkaErrorCode::Authentication) => {
                self.link.handshake_failed(reason);
            }
            // With TLS 1.3, a broker refuses a client's certificate when the client is done.
            Some(RDKafkaErrorCode::BrokerTransportFailure)
                if reason.contains("SSL alert number") =>
            {
                self.link.handshake_failed(reason);
            }
            _ => self.link.note_problem(reason),
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Arc<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Arc<Pending>) {
        match result {
            // When a request fails and a later one succeeds, librdkafka takes the records of the first one
            // for acknowledged, too: a broker refuses records of an idempotent producer that don't follow
            // the last ones. But it takes any for the first ones that it has of a producer, in a partition.
            Ok(record) if self.is_idempotent && record.offset() < 0 => {
                self.link.lost(1, true);
                pending.lost("a record behind it was acknowledged, and it was not");
            }
            Ok(record) => {
                self.link.acknowledged(record.payload_len());
                pending.acknowledged();
            }
            Err((error, _)) => {
                let code = error.rdkafka_error_code();
                // Brokers have positive codes, and librdkafka negative ones.
                self.link.lost(1, code.is_some_and(|code| code as i32 > 0));
                pending.lost(&self.link.reason(code, error));
            }
        }
        self.link.wake();
    }
}

fn headers(stream: &Stream, record: &Record) -> OwnedHeaders {
    let offset = record.offset.to_string();
    let piece = record.piece.as_ref().map(|piece| piece.text());
    let facts = [
        ("stream", Some(&stream.name)),
        ("offset", Some(&offset)),
        ("start", stream.start.as_ref()),
        ("peer", Some(&stream.peer)),
        ("client", stream.client.as_ref()),
        ("part", piece.as_ref()),
    ];
    let given = facts.into_iter().filter(|(_, value)| value.is_some());
    given.fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value })
    })
}
