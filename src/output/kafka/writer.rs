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

use super::notice::{KafkaNotice, OnNotice};
use super::pending::{Pending, Stream};
use super::settings::{KafkaSettings, initialise_openssl, unusable};
use super::waits::Waits;
use super::watch::{SILENCE, Watch};
use super::{Batch, KafkaTotals, Record};
use crate::output::backlog::Backlog;

pub(super) type Producer = BaseProducer<Context>;

/// The time of one look at librdkafka's answers. They are taken as they come; it is only the time until
/// the end of the program, or of the producer, is noticed.
const POLL: Duration = Duration::from_millis(100);

/// The time for which a broker whose handshakes fail is silent at most: librdkafka reports the same failure
/// every 30 s, and tries every 10 s.
const HANDSHAKES: Duration = Duration::from_secs(60);

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
    topic: &'a str,
    backlog: &'a Arc<Backlog>,
}

impl KafkaWriter {
    pub(super) fn new(
        settings: KafkaSettings,
        batches: Receiver<Vec<Batch>>,
        backlog: Arc<Backlog>,
        link: Arc<Link>,
    ) -> io::Result<Self> {
        let config = settings.complete();
        initialise_openssl();
        let producer = start(&config, &link, false).map_err(|error| unusable(&error))?;
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
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl Drop for Last<'_> {
    fn drop(&mut self) {
        self.0.is_last.store(true, Ordering::Release);
    }
}

fn start(config: &ClientConfig, link: &Arc<Link>, only_asks: bool) -> KafkaResult<Producer> {
    let is_idempotent = config.get("enable.idempotence").is_some_and(|value| {
        // librdkafka's ways to say yes.
        ["true", "t", "1"].contains(&value.to_ascii_lowercase().as_str())
    });
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
    fn down(&self, reason: &str) {
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

    pub(super) fn has_said_waiting(&self) -> bool {
        self.state.lock().waiting.is_some()
    }

    /// The TLS or SASL handshake with a broker has failed. Says so, unless the last one failed for the same
    /// reason.
    fn handshake_failed(&self, reason: &str) {
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
    fn acknowledged(&self, bytes: usize) {
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

    /// So many records are lost; by an answer of a broker, if it `is_answer`.
    fn lost(&self, records: usize, is_answer: bool) {
        let mut state = self.state.lock();
        let lost = &mut state.totals.lost_records;
        *lost = lost.saturating_add(records as u64);
        if is_answer {
            state.last_answer = Some(Instant::now());
        }
    }

    /// Another producer takes the place of one that has failed.
    fn replaced(&self) {
        let mut state = self.state.lock();
        state.fatal = None;
        let replaced = &mut state.totals.replaced_producers;
        *replaced = replaced.saturating_add(1);
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

impl ClientContext for Context {
    /// Errors come as such, too, but not the advice about a broker that hangs up.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        if facility == "FAIL" {
            let (_, reason) = text.split_once("]: ").unwrap_or(("", text));
            self.link.state.lock().reason = Some(reason.to_owned());
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
            _ => self.link.state.lock().reason = Some(reason.to_owned()),
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
        self.link.answered.notify_all();
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
