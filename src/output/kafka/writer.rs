//! The threads that talk to librdkafka.

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode;

use super::notice::{KafkaNotice, OnNotice};
use super::pending::{Pending, Stream};
use super::settings::{KafkaSettings, unusable};
use super::{Batch, Record};
use crate::output::backlog::Backlog;

type Producer = BaseProducer<Context>;

/// The time of one look at librdkafka's answers. They are taken as they come; it is only the time until
/// the end of the program, or of the producer, is noticed.
const POLL: Duration = Duration::from_millis(100);

/// The longest wait for facts about the topic at the start.
const LOOK: Duration = Duration::from_secs(5);

/// The time without an answer after which brokers that are down are worth a message. A connection that was
/// idle is closed by its broker, and opened anew for the next record.
const SILENCE: Duration = Duration::from_secs(1);

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
    topic: String,
    batches: Receiver<Vec<Batch>>,
    backlog: Arc<Backlog>,
    producer: Producer,
    link: Arc<Link>,
}

/// What is known about the connection to the brokers.
struct Link {
    topic: String,
    state: Mutex<LinkState>,
    /// A record was acknowledged or lost.
    answered: Condvar,
    on_notice: Mutex<OnNotice>,
}

#[derive(Default)]
struct LinkState {
    /// The last problem with a broker.
    reason: Option<String>,
    /// A broker has answered, in this run.
    was_reached: bool,
    /// All brokers were down, and none has acknowledged a record since.
    is_down: bool,
    /// The operator was told that all brokers are down.
    is_said: bool,
    /// The time of the last acknowledgement.
    acknowledged: Option<Instant>,
    /// The fatal error of the present producer.
    fatal: Option<String>,
    /// The fatal error that was said last, since a record was acknowledged.
    said_fatal: Option<String>,
}

/// What a producer calls.
struct Context(Arc<Link>);

/// The present producer.
struct Current {
    config: ClientConfig,
    link: Arc<Link>,
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
    topic: &'a str,
    backlog: &'a Arc<Backlog>,
}

impl KafkaWriter {
    pub(super) fn new(
        settings: KafkaSettings,
        batches: Receiver<Vec<Batch>>,
        backlog: Arc<Backlog>,
    ) -> io::Result<Self> {
        let config = settings.complete();
        let link = Arc::new(Link {
            topic: settings.topic.clone(),
            state: Mutex::default(),
            answered: Condvar::new(),
            on_notice: Mutex::new(Box::new(|_| {})),
        });
        let producer = start(&config, &link).map_err(|error| unusable(&error))?;
        Ok(KafkaWriter {
            config,
            topic: settings.topic,
            batches,
            backlog,
            producer,
            link,
        })
    }

    /// Calls `on_notice` for what may be worth a message, on one of the writer's threads.
    pub fn on_notice(self, on_notice: impl FnMut(&KafkaNotice) + Send + 'static) -> Self {
        *self.link.on_notice.lock() = Box::new(on_notice);
        self
    }

    /// Produces until all clones of the output are dropped, and every record is acknowledged or lost. It
    /// starts another thread for librdkafka's answers, and ends it.
    ///
    /// # Errors
    ///
    /// When that thread can't be started: then nothing is produced, and streams are cut.
    ///
    /// # Blocking
    ///
    /// Blocks for as long as that takes, which is forever if no broker can be reached.
    pub fn run(self) -> io::Result<()> {
        let KafkaWriter {
            config,
            topic,
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
            topic: &topic,
            backlog: &backlog,
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("kafka poll".to_owned());
            thread.spawn_scoped(scope, || current.poll())?;
            let _last = Last(&current);
            producing.look_for_topic();
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
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl Drop for Last<'_> {
    fn drop(&mut self) {
        self.0.is_last.store(true, Ordering::Release);
    }
}

fn start(config: &ClientConfig, link: &Arc<Link>) -> KafkaResult<Producer> {
    Producer::from_config_and_context(config, Context(Arc::clone(link)))
}

impl Producing<'_> {
    /// Says so if there is no such topic, or no broker to ask. Brokers that create topics do it now.
    fn look_for_topic(&self) {
        let link = &self.current.link;
        let (_, producer) = self.current.get();
        match producer.client().fetch_metadata(Some(self.topic), LOOK) {
            Ok(facts) => {
                link.state.lock().was_reached = true;
                let error = facts.topics().first().and_then(|topic| topic.error());
                if let Some(error) = error {
                    link.tell(&KafkaNotice::Topic {
                        topic: self.topic.to_owned(),
                        reason: words(error.into()),
                    });
                }
            }
            Err(_) => link.say_down("no broker has answered"),
        }
    }

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
        let pending = Pending::new(stream, records.len(), holds, bytes, backlog);
        let mut from = 0;
        for record in &records {
            let value = values.get(from..record.end).unwrap_or_default();
            from = record.end;
            if let Err(reason) = self.send(&pending, record, value, time) {
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
            let mut sent = BaseRecord::with_opaque_to(self.topic, Arc::clone(pending))
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
                Some(RDKafkaErrorCode::QueueFull) => self.current.link.await_answer(),
                Some(RDKafkaErrorCode::Fatal) => self.current.await_another(number),
                code => return Err(self.current.link.reason(code, &error)),
            }
        }
    }
}

impl Current {
    /// The producer, and the number of those before it.
    fn get(&self) -> (u64, Arc<Producer>) {
        let current = self.producer.lock();
        (current.0, Arc::clone(&current.1))
    }

    /// Takes librdkafka's answers, until no record will come and all are answered.
    fn poll(&self) {
        let mut since = Instant::now();
        let mut busy: Option<Instant> = None;
        loop {
            let (_, producer) = self.get();
            producer.poll(POLL);
            if let Some((_, reason)) = producer.client().fatal_error() {
                self.replace(&producer, reason, &mut since);
            }
            if producer.in_flight_count() > 0 {
                self.link.look(*busy.get_or_insert_with(Instant::now));
            } else if self.is_last.load(Ordering::Acquire) {
                return;
            } else {
                busy = None;
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
            match start(&self.config, &self.link) {
                Ok(another) => break another,
                Err(error) => self.link.fatal(error.to_string()),
            }
        };
        self.link.state.lock().fatal = None;
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

impl Link {
    fn tell(&self, notice: &KafkaNotice) {
        (self.on_notice.lock())(notice);
    }

    /// All brokers are down. That is worth a message if none of them was ever reached.
    fn down(&self, reason: &str) {
        let mut state = self.state.lock();
        state.is_down = true;
        let was_reached = state.was_reached;
        drop(state);
        if !was_reached {
            self.say_down(reason);
        }
    }

    /// Says that all brokers are down if records wait for them, of which the first was produced then.
    fn look(&self, busy: Instant) {
        let state = self.state.lock();
        let since = state.acknowledged.map_or(busy, |last| last.max(busy));
        let is_down = state.is_down && since.elapsed() >= SILENCE;
        drop(state);
        if is_down {
            self.say_down("they are down");
        }
    }

    /// Says that no broker can be reached, the first time, with the last known reason.
    fn say_down(&self, otherwise: &str) {
        let mut state = self.state.lock();
        if mem::replace(&mut state.is_said, true) {
            return;
        }
        let reason = state.reason.take();
        drop(state);
        let reason = reason.unwrap_or_else(|| otherwise.to_owned());
        self.tell(&KafkaNotice::Unreachable(reason));
    }

    /// A record was acknowledged.
    fn acknowledged(&self) {
        let mut state = self.state.lock();
        state.said_fatal = None;
        state.reason = None;
        state.was_reached = true;
        state.is_down = false;
        state.acknowledged = Some(Instant::now());
        let was_said = mem::take(&mut state.is_said);
        drop(state);
        if was_said {
            self.tell(&KafkaNotice::Reachable);
        }
    }

    /// The present producer has failed. Says so, unless it is the same as the last time, and nothing was
    /// acknowledged since.
    fn fatal(&self, reason: String) {
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
    fn reason(&self, code: Option<RDKafkaErrorCode>, error: &KafkaError) -> String {
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

    /// Waits until a record is acknowledged or lost. A full queue has some.
    fn await_answer(&self) {
        let mut state = self.state.lock();
        // An answer may have come before.
        self.answered.wait_for(&mut state, POLL);
    }
}

impl ClientContext for Context {
    /// What concerns users comes as an error, too.
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.0.down(reason),
            // The thread that polls looks for it.
            Some(RDKafkaErrorCode::Fatal) => {}
            _ => self.0.state.lock().reason = Some(reason.to_owned()),
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Arc<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Arc<Pending>) {
        match result {
            Ok(_) => {
                self.0.acknowledged();
                pending.acknowledged();
            }
            Err((error, _)) => pending.lost(&self.0.reason(error.rdkafka_error_code(), error)),
        }
        self.0.answered.notify_all();
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

/// The description of an error, in the words of the broker if it is the broker's.
fn words(code: RDKafkaErrorCode) -> String {
    // Its text is `Name (description)`.
    let shown = code.to_string();
    let description = shown.split_once(" (").map(|(_, rest)| rest);
    let description = description.and_then(|rest| rest.strip_suffix(')'));
    description.unwrap_or(&shown).to_owned()
}
