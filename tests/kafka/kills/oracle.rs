//! The promise: a topic agrees with the acknowledgements, whatever died.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::common::program::LIMIT;

/// A record of the topic.
pub struct Record {
    partition: i32,
    stream: String,
    /// The first offset of the stream.
    start: u64,
    /// The offset in the stream, and that behind the record.
    offset: u64,
    end: u64,
    value: Vec<u8>,
}

/// The knowledge of a sender in the end.
pub struct Told {
    pub name: String,
    /// The number of messages that were acknowledged, and when the sender knew, since the start.
    pub acknowledged: Vec<(Duration, usize)>,
    /// Whether its messages are to be in the topic once, after duplicates are dropped.
    pub is_resumed: bool,
}

/// A contradiction between the topic and what senders were told.
pub enum Fault<'a> {
    /// A message is acknowledged, and no record has it, or only one behind a gap.
    Missing {
        sender: &'a str,
        message: usize,
        acknowledged: Duration,
    },
    /// A record with the offset of another one is not the same, or is only a part of it.
    Different { stream: &'a str, offset: u64 },
    /// Records of a stream are in several partitions, which have no order.
    Scattered { stream: &'a str },
    /// Without duplicates, the messages of a resumed stream are not all, once, in order.
    NotOnce {
        sender: &'a str,
        at: usize,
        found: Option<usize>,
    },
}

pub struct Topic {
    consumer: BaseConsumer,
    name: &'static str,
}

impl Topic {
    pub fn new(brokers: &str, name: &'static str) -> Self {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "test")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        Topic { consumer, name }
    }

    /// The leaders of all partitions; `None` while one has no leader, or nobody answers.
    pub fn leaders(&self) -> Option<Vec<u32>> {
        let metadata = self.consumer.fetch_metadata(Some(self.name), LIMIT).ok()?;
        let partitions = metadata.topics().first()?.partitions().iter();
        let leaders = partitions.map(|partition| u32::try_from(partition.leader()).ok());
        leaders.collect()
    }

    /// Reads all records from the start on. The topic must not grow any more.
    pub fn read(&self) -> Vec<Record> {
        let metadata = self
            .consumer
            .fetch_metadata(Some(self.name), LIMIT)
            .unwrap();
        let mut all = TopicPartitionList::new();
        let mut left = 0;
        for partition in metadata.topics()[0].partitions() {
            let marks = (self.consumer).fetch_watermarks(self.name, partition.id(), LIMIT);
            let (low, high) = marks.unwrap();
            assert_eq!(low, 0, "Kafka has deleted records");
            left += usize::try_from(high).unwrap();
            all.add_partition_offset(self.name, partition.id(), Offset::Beginning)
                .unwrap();
        }
        self.consumer.assign(&all).unwrap();
        let mut records = Vec::with_capacity(left);
        let mut last = Instant::now();
        while records.len() < left {
            assert!(
                last.elapsed() < LIMIT,
                "{} of {left} records",
                records.len()
            );
            // A connection that broke is made anew.
            if let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(100)) {
                records.push(Record::new(&message));
                last = Instant::now();
            }
        }
        records
    }
}

impl Record {
    fn new(message: &impl Message) -> Self {
        let headers: HashMap<_, _> = (message.headers().unwrap().iter())
            .map(|header| (header.key, str::from_utf8(header.value.unwrap()).unwrap()))
            .collect();
        assert_eq!(headers.get("part"), None, "no line is so long");
        let value = message.payload().unwrap().to_vec();
        let offset = headers["offset"].parse().unwrap();
        Record {
            partition: message.partition(),
            stream: headers["stream"].to_owned(),
            start: headers
                .get("start")
                .map_or(0, |start| start.parse().unwrap()),
            offset,
            end: offset + value.len() as u64 + 1,
            value,
        }
    }

    fn message(&self) -> Option<(&str, usize)> {
        message(str::from_utf8(&self.value).ok()?)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = String::from_utf8_lossy(&self.value);
        let Record {
            partition,
            stream,
            offset,
            ..
        } = self;
        write!(f, "{partition} {stream} {offset} {value}")
    }
}

/// The sender and the number of a message: `NAME message NUMBER`, wherever it is in the line.
pub fn message(line: &str) -> Option<(&str, usize)> {
    let (before, behind) = line.split_once(" message ")?;
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let name = before.bytes().rev().take_while(is_name).count();
    let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
    let number = behind[..digits].parse().ok()?;
    Some((&before[before.len() - name..], number))
}

/// Compares the records of a topic with what senders were told.
///
/// A record behind a gap does not count until the gap is filled: when a record is lost on its way to the
/// brokers, none behind it may be acknowledged. A sender that resumes its stream fills the gap, and others
/// send both again in another stream.
pub fn judge<'a>(records: &'a [Record], told: &[&'a Told]) -> Vec<Fault<'a>> {
    let mut faults = Vec::new();
    let mut streams: HashMap<&str, Stream> = HashMap::new();
    let mut found: HashMap<&str, Vec<usize>> = HashMap::new();
    for record in records {
        let taken = (streams.entry(&record.stream))
            .or_insert_with(|| Stream::new(record))
            .take(record, &mut faults);
        for (name, number) in taken.into_iter().flat_map(Record::message) {
            found.entry(name).or_default().push(number);
        }
    }
    for sender in told {
        let mut number = 0;
        let found = found.remove(&*sender.name).unwrap_or_default();
        let present: BTreeSet<_> = found.iter().copied().collect();
        for (time, count) in &sender.acknowledged {
            let missing = (number..*count).filter(|number| !present.contains(number));
            faults.extend(missing.map(|message| Fault::Missing {
                sender: &sender.name,
                message,
                acknowledged: *time,
            }));
            number = *count;
        }
        if sender.is_resumed {
            // It may end behind the last acknowledged one.
            let wrong = (0..number.max(found.len())).find(|at| found.get(*at) != Some(at));
            faults.extend(wrong.map(|at| Fault::NotOnce {
                sender: &sender.name,
                at,
                found: found.get(at).copied(),
            }));
        }
    }
    faults
}

/// A stream, as far as its records were read.
struct Stream<'a> {
    partition: i32,
    next: u64,
    values: HashMap<u64, &'a [u8]>,
    /// Records behind a gap.
    held: BTreeMap<u64, &'a Record>,
}

impl<'a> Stream<'a> {
    fn new(first: &Record) -> Self {
        Stream {
            partition: first.partition,
            next: first.start,
            values: HashMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// Returns the records that are next, which are none if this one is a duplicate or behind a gap.
    fn take(&mut self, record: &'a Record, faults: &mut Vec<Fault<'a>>) -> Vec<&'a Record> {
        let (stream, offset) = (&*record.stream, record.offset);
        if record.partition != self.partition {
            faults.push(Fault::Scattered { stream });
        }
        let before = self.values.insert(offset, &record.value);
        let is_known = before.is_none_or(|before| before == record.value);
        if !is_known || before.is_none() && offset < self.next {
            faults.push(Fault::Different { stream, offset });
        }
        if offset >= self.next {
            self.held.insert(offset, record);
        }
        let mut taken = Vec::new();
        while let Some(record) = self.held.remove(&self.next) {
            self.next = record.end;
            taken.push(record);
        }
        taken
    }
}

impl fmt::Debug for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing {
                sender,
                message,
                acknowledged,
            } => write!(
                f,
                "{sender}: message {message} is missing, which was acknowledged at {:.1} s",
                acknowledged.as_secs_f64()
            ),
            Fault::Different { stream, offset } => {
                write!(f, "{stream}: another record has the offset {offset}")
            }
            Fault::Scattered { stream } => write!(f, "{stream}: it is in several partitions"),
            Fault::NotOnce { sender, at, found } => {
                write!(f, "{sender}: in place of message {at}, there is {found:?}")
            }
        }
    }
}
