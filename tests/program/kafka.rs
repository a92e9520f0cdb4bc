//! `--kafka`: lines as records of a topic. The brokers are librdkafka's mock cluster, in this process; the
//! records are read by librdkafka's consumer.

#![cfg(all(
    feature = "cli",
    feature = "kafka",
    feature = "gzip",
    feature = "zstd",
    feature = "octet",
    feature = "relp"
))]

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rustix::process::Signal;

use super::refused::each_is_refused;
use super::service::{Manager, WATCHED};
use super::status::{named_metrics, promtool};
use crate::common::authority::{Authority, dns};
use crate::common::client::TLS13;
use crate::common::pack::gzip;
use crate::common::process::memory;
use crate::common::program::{BINARY, Client, FREE, LIMIT, Outcome, Program, send, tcp};
use crate::common::skip::is_installed;
use crate::common::status::{get, sample, status, wait_for_health, wait_for_sample};

const TOPIC: &str = "logs";

/// All brokers.
const ALL: i32 = -1;

/// Brokers in this process, with one topic.
struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    partitions: i32,
}

/// A record as a consumer sees it.
#[derive(Debug)]
struct Record {
    value: String,
    key: Option<String>,
    partition: i32,
    time: i64,
    headers: Vec<(String, String)>,
}

impl Cluster {
    /// As many brokers as partitions, of which each leads one.
    fn new(partitions: i32) -> Self {
        let mock = MockCluster::new(partitions).unwrap();
        mock.create_topic(TOPIC, partitions, 1).unwrap();
        for partition in 0..partitions {
            mock.partition_leader(TOPIC, partition, Some(partition + 1))
                .unwrap();
        }
        Cluster { mock, partitions }
    }

    fn start(&self, args: &[&str]) -> Program {
        self.start_by(Command::new(BINARY), args)
    }

    fn start_by(&self, mut command: Command, args: &[&str]) -> Program {
        let brokers = self.mock.bootstrap_servers();
        command.args(["--listen", FREE, "--kafka", &brokers, "--topic", TOPIC]);
        command.args(args);
        Program::start_by(command, 1)
    }

    /// Waits for this number of records, which are all that there are, in the order of each partition.
    fn records(&self, count: usize) -> Vec<Record> {
        let consumer = self.consumer();
        let mut all = TopicPartitionList::new();
        for partition in 0..self.partitions {
            all.add_partition_offset(TOPIC, partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&all).unwrap();
        let deadline = Instant::now() + LIMIT;
        let mut records = Vec::new();
        while records.len() < count {
            assert!(Instant::now() < deadline, "{} of {count}", records.len());
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                records.push(Record::new(&message.unwrap()));
            }
        }
        assert_eq!(self.count(&consumer), count);
        records
    }

    /// The number of records that came, of which a mock partition keeps the last 5 MiB.
    fn count(&self, consumer: &BaseConsumer) -> usize {
        let ends = (0..self.partitions).map(|partition| {
            let (_, end) = consumer.fetch_watermarks(TOPIC, partition, LIMIT).unwrap();
            usize::try_from(end).unwrap()
        });
        ends.sum()
    }

    fn consumer(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", self.mock.bootstrap_servers())
            .set("group.id", "test")
            .create()
            .unwrap()
    }

    fn values(&self, count: usize) -> Vec<String> {
        let records = self.records(count).into_iter();
        records.map(|record| record.value).collect()
    }
}

impl Record {
    fn new(message: &impl Message) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = message.headers().unwrap().iter();
        Record {
            // Not a null, which would be a tombstone.
            value: text(message.payload().unwrap()),
            key: message.key().map(text),
            partition: message.partition(),
            time: message.timestamp().to_millis().unwrap(),
            headers: headers
                .map(|header| (header.key.to_owned(), text(header.value.unwrap())))
                .collect(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter().filter(|(key, _)| key == name);
        headers.next().map(|(_, value)| &**value)
    }

    fn offset(&self) -> u64 {
        self.header("offset").unwrap().parse().unwrap()
    }
}

fn end_of(program: &Program, address: SocketAddr) -> String {
    let start = format!("tlsink: {address}: ");
    program.wait_for_line(|line| line.starts_with(&start) && line.contains(" delivered, "))
}

fn millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[test]
fn a_line_is_a_record_with_a_key_and_headers() {
    let cluster = Cluster::new(1);
    let ca = Authority::new("Plant CA");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    fs::write(&path, ca.pem()).unwrap();
    let ca_args = ["--client-ca", path.to_str().unwrap()];
    let program = cluster.start(&[&ca_args[..], &["--client-auth", "optional"]].concat());
    let before = millis();

    let boiler = ca.sender("c", &[dns("boiler.example")]);
    let tcp: TcpStream = tcp(program.address()).unwrap();
    let named = tcp.local_addr().unwrap();
    let mut client = Client::over(tcp, boiler.config(&TLS13), "localhost").unwrap();
    client.write(b"one\r\n\nthr").unwrap();
    client.write(b"ee\nunfinished").unwrap();
    client.finish().unwrap();
    let mut client = Client::connect(program.address());
    let anonymous = client.local_address();
    client.write(b"four\n").unwrap();
    client.finish().unwrap();

    let records = cluster.records(5);
    let shown = |record: &Record| (record.value.clone(), record.key.clone(), record.offset());
    let boiler = Some("boiler.example".to_owned());
    let expected = [
        ("one\r".to_owned(), boiler.clone(), 0),
        (String::new(), boiler.clone(), 5),
        ("three".to_owned(), boiler.clone(), 6),
        ("unfinished".to_owned(), boiler, 12),
        ("four".to_owned(), Some("127.0.0.1".to_owned()), 0),
    ];
    assert_eq!(records.iter().map(shown).collect::<Vec<_>>(), expected);
    let random = records[0]
        .header("stream")
        .unwrap()
        .strip_suffix("-1")
        .unwrap();
    assert!(
        random.len() == 16 && u64::from_str_radix(random, 16).is_ok(),
        "{random}"
    );
    for (index, record) in records.iter().enumerate() {
        let (conn, peer, client) = match index {
            4 => (2, anonymous, None),
            _ => (1, named, Some("boiler.example")),
        };
        let stream = format!("{random}-{conn}");
        assert_eq!(record.header("stream"), Some(&*stream));
        assert_eq!(record.header("peer"), Some(&*peer.to_string()));
        assert_eq!(record.header("client"), client);
        assert_eq!(record.header("part"), None);
        assert!((before..=millis()).contains(&record.time));
    }
    assert_eq!(program.stop().status, 0);
}

#[test]
fn the_key_is_chosen() {
    for key in ["peer", "conn", "none"] {
        let cluster = Cluster::new(1);
        let program = cluster.start(&["--kafka-key", key]);
        send(program.address(), b"line\n");
        let records = cluster.records(1);
        let expected = match key {
            "peer" => Some("127.0.0.1"),
            "conn" => records[0].header("stream"),
            _ => None,
        };
        assert_eq!(records[0].key.as_deref(), expected, "{key}");
    }
}

#[test]
fn a_stream_is_clean_when_the_brokers_have_acknowledged_it() {
    const ROUND_TRIP: Duration = Duration::from_millis(700);
    let cluster = Cluster::new(1);
    let program = cluster.start(&["--receipt"]);
    cluster
        .mock
        .broker_round_trip_time(ALL, ROUND_TRIP)
        .unwrap();
    let mut client = Client::connect(program.address());
    let sent = Instant::now();
    client.write(b"line\n").unwrap();
    let receipt = client.finish_for_receipt().unwrap();
    assert!(sent.elapsed() >= ROUND_TRIP);
    assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
    assert_eq!(cluster.values(1), ["line"]);
}

#[test]
fn a_frame_is_acknowledged_when_its_record_is() {
    let cluster = Cluster::new(1);
    let program = cluster.start(&[]);
    let mut client = Client::connect(program.address());
    client
        .write(b"1 open 30 relp_version=1\ncommands=syslog\n")
        .unwrap();
    // The answer to `open` is several lines.
    while !client
        .read_line()
        .unwrap()
        .unwrap()
        .contains("commands=syslog")
    {}
    cluster.mock.broker_down(ALL).unwrap();
    client
        .write(b"2 syslog 7 one\ntwo\n3 syslog 5 three\n")
        .unwrap();
    program.wait_for_line(|line| line.contains("can't reach the brokers"));
    cluster.mock.broker_up(ALL).unwrap();
    assert_eq!(client.read_line().unwrap().unwrap(), "2 rsp 6 200 OK");
    let records = cluster.records(2);
    let shown: Vec<_> = records
        .iter()
        .map(|one| (&*one.value, one.offset()))
        .collect();
    // A newline in a frame is part of the record.
    assert_eq!(shown, [("one\ntwo", 0), ("three", 8)]);
}

#[test]
fn offsets_count_decoded_bytes() {
    let cluster = Cluster::new(1);
    let program = cluster.start(&[]);
    let lines: Vec<_> = (0..5000).map(|line| format!("line {line}")).collect();
    let text = lines.join("\n") + "\n";
    let mut client = Client::connect(program.address());
    for piece in gzip(text.as_bytes()).chunks(997) {
        client.write(piece).unwrap();
    }
    client.finish().unwrap();
    let records = cluster.records(lines.len());
    let mut offset = 0;
    for (record, line) in records.iter().zip(&lines) {
        assert_eq!((&record.value, record.offset()), (line, offset));
        offset += line.len() as u64 + 1;
    }
    send(program.address(), b"11 <13>one\ntwo9 <13>three");
    let records = cluster.records(lines.len() + 2);
    let framed = records[lines.len()..].iter();
    let framed: Vec<_> = framed.map(|one| (&*one.value, one.offset())).collect();
    assert_eq!(framed, [("<13>one\ntwo", 0), ("<13>three", 12)]);
}

#[test]
fn an_overlong_line_comes_in_numbered_parts() {
    let cluster = Cluster::new(1);
    let program = cluster.start(&["--max-line", "4"]);
    send(program.address(), b"0123456789\nnext\n01234");
    let records = cluster.records(6);
    let shown: Vec<_> = (records.iter())
        .map(|one| (&*one.value, one.offset(), one.header("part")))
        .collect();
    let expected = [
        ("0123", 0, Some("1")),
        ("4567", 4, Some("2")),
        ("89", 8, Some("3/3")),
        ("next", 11, None),
        ("0123", 16, Some("1")),
        ("4", 20, Some("2/2")),
    ];
    assert_eq!(shown, expected);
    // No record is larger than a request, whatever the line's limit is.
    let cluster = Cluster::new(1);
    let program = cluster.start(&["--max-line", "8M"]);
    send(program.address(), &vec![b'x'; 3_000_000]);
    let records = cluster.records(4);
    assert_eq!(records[3].header("part"), Some("4/4"));
    assert_eq!(
        records.iter().map(|one| one.value.len()).sum::<usize>(),
        3_000_000
    );
}

#[test]
fn a_block_has_whole_lines_that_came_together() {
    let cluster = Cluster::new(1);
    let program = cluster.start(&["--kafka-record", "block", "--max-line", "300K"]);
    let lines = (0..50_000).map(|line| format!("line {line}\n"));
    let overlong = format!("{}\n", "x".repeat(400_000));
    let long = format!("{}\n", "y".repeat(280_000));
    let text = lines.collect::<String>() + &overlong + &long + "\n\nthe end";
    let mut client = Client::connect(program.address());
    let address = client.local_address();
    client.write(&gzip(text.as_bytes())).unwrap();
    client.finish().unwrap();
    end_of(&program, address);
    let count = cluster.count(&cluster.consumer());
    let mut rebuilt = String::new();
    for record in cluster.records(count) {
        assert_eq!(record.offset(), rebuilt.len() as u64);
        rebuilt += &record.value;
        let is_piece = record.header("part") == Some("1");
        if !is_piece {
            rebuilt.push('\n');
        }
        let is_one_line = !record.value.contains('\n');
        assert!(record.value.len() <= 256 << 10 || is_one_line);
    }
    assert!(rebuilt == text + "\n");
    assert!(count < 100, "{count}");
}

#[test]
fn errors_that_pass_are_tried_again_and_order_is_kept() {
    let cluster = Cluster::new(1);
    let program = cluster.start(&[]);
    cluster.mock.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
        ],
    );
    let lines: Vec<_> = (0..2000).map(|line| format!("line {line}")).collect();
    let mut client = Client::connect(program.address());
    for line in &lines {
        client.write(format!("{line}\n").as_bytes()).unwrap();
    }
    client.finish().unwrap();
    assert_eq!(cluster.values(lines.len()), lines);
    assert_eq!(program.stop().status, 0);
}

/// librdkafka takes a record for acknowledged if a later one is, because brokers keep the order of a
/// producer. But the first record that a broker has of a producer, in a partition, can be any.
#[test]
fn a_record_that_failed_is_not_acknowledged_by_a_later_one() {
    let cluster = Cluster::new(2);
    // The producer has a connection to its leader, which is that of the other partition, too.
    cluster.mock.partition_leader(TOPIC, 1, Some(1)).unwrap();
    let ca = Authority::new("Plant CA");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    fs::write(&path, ca.pem()).unwrap();
    let ca_args = ["--client-ca", path.to_str().unwrap()];
    let more = ["--client-auth", "optional", "--receipt"];
    let in_flight = ["--kafka-set", "max.in.flight.requests.per.connection=5"];
    let program = cluster.start(&[&ca_args[..], &more, &in_flight].concat());
    // The producer is ready once this is acknowledged, in the other partition.
    let mut ready = Client::connect(program.address());
    ready.write(b"ready\n").unwrap();
    ready.finish_for_receipt().unwrap();
    let round_trip = Duration::from_millis(500);
    cluster
        .mock
        .broker_round_trip_time(ALL, round_trip)
        .unwrap();
    cluster.mock.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS],
    );
    let named = ca.sender("c", &[dns("pump.example")]).config(&TLS13);
    let connect = || {
        let tcp = tcp(program.address()).unwrap();
        Client::over(tcp, named.clone(), "localhost").unwrap()
    };
    let (mut first, mut later) = (connect(), connect());
    first.write(b"first\n").unwrap();
    // Several requests are on their way at the same time.
    for _ in 0..4 {
        thread::sleep(round_trip / 10);
        later.write(b"later\n").unwrap();
    }
    let first = first.finish_for_receipt().unwrap();
    let later = later.finish_for_receipt().unwrap();
    assert!(later.starts_with("{\"ok\":true,"), "{later}");
    // On a slow machine, a single request has all, and is tried again.
    let is_acknowledged = first.starts_with("{\"ok\":true,");
    cluster.values(if is_acknowledged { 6 } else { 5 });
}

#[test]
fn a_record_that_is_refused_for_good_ends_its_stream() {
    for (refusal, words) in [
        (
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            "Broker: Topic authorization failed",
        ),
        (
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD,
            "Broker: Broker failed to validate record",
        ),
    ] {
        let cluster = Cluster::new(1);
        let program = cluster.start(&[]);
        send(program.address(), b"before\n");
        cluster
            .mock
            .request_errors(RDKafkaApiKey::Produce, &[refusal]);
        let mut client = Client::connect(program.address());
        let address = client.local_address();
        client.write(b"refused\n").unwrap();
        let end = end_of(&program, address);
        let cut = format!("cut (the output failed: topic logs: {words})");
        assert!(end.ends_with(&cut), "{end}");
        // Nothing behind it is produced.
        let _ = client.write(b"behind\n");
        if refusal == RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD {
            send(program.address(), b"after\n");
            assert_eq!(cluster.values(2), ["before", "after"]);
        } else {
            // Until it asks for the topic again, librdkafka knows that it may not.
            assert_eq!(cluster.values(1), ["before"]);
        }
        assert_eq!(program.stop().status, 0);
    }
}

#[test]
fn after_a_fatal_error_streams_are_cut_and_others_go_on() {
    let cluster = Cluster::new(1);
    let program = cluster.start(&[]);
    send(program.address(), b"before\n");
    let mut other = Client::connect(program.address());
    let fatal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster
        .mock
        .request_errors(RDKafkaApiKey::Produce, &[fatal]);
    let mut client = Client::connect(program.address());
    let address = client.local_address();
    client.write(b"lost\n").unwrap();
    program.wait_for_line(|line| line.contains("the producer begins anew: "));
    let end = end_of(&program, address);
    assert!(
        end.contains("cut (the output failed: ") && end.contains("sequence"),
        "{end}"
    );
    other.write(b"other\n").unwrap();
    other.finish().unwrap();
    send(program.address(), b"after\n");
    let mut values = cluster.values(3);
    values.sort();
    assert_eq!(values, ["after", "before", "other"]);
    assert_eq!(program.stop().status, 0);
}

#[test]
fn while_no_broker_is_there_records_wait() {
    let cluster = Cluster::new(1);
    cluster.mock.broker_down(ALL).unwrap();
    let program = cluster.start(&[]);
    program.wait_for_line(|line| {
        line.starts_with("tlsink: can't reach the brokers: ") && line.ends_with("; trying again")
    });
    let address = program.address();
    let sending = thread::spawn(move || send(address, b"waits\n"));
    cluster.mock.broker_up(ALL).unwrap();
    sending.join().unwrap();
    program.wait_for_line(|line| line == "tlsink: the brokers can be reached again");
    assert_eq!(cluster.values(1), ["waits"]);
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    // It is said once, however often it is tried.
    assert_eq!(outcome.stderr.matches("can't reach the brokers").count(), 1);
}

/// A cluster of two brokers, each with a partition, the program, and a verified sender to each partition.
struct TwoPartitions {
    cluster: Cluster,
    program: Program,
    status: SocketAddr,
    senders: [rustls::ClientConfig; 2],
    /// The number of records so far.
    count: usize,
    _folder: tempfile::TempDir,
}

impl TwoPartitions {
    fn start() -> Self {
        let cluster = Cluster::new(2);
        let ca = Authority::new("Plant CA");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, ca.pem()).unwrap();
        let args = ["--client-ca", path.to_str().unwrap(), "--status", FREE];
        let program = cluster.start(&[&args[..], &["--receipt"]].concat());
        let configs: Vec<_> = (0..8)
            .map(|sender| {
                let sender = ca.sender("c", &[dns(&format!("s{sender}.example"))]);
                sender.config(&TLS13)
            })
            .collect();
        for (sender, config) in configs.iter().enumerate() {
            let tcp = tcp(program.address()).unwrap();
            let mut client = Client::over(tcp, config.clone(), "localhost").unwrap();
            client.write(format!("{sender}\n").as_bytes()).unwrap();
            client.finish_for_receipt().unwrap();
        }
        let records = cluster.records(configs.len());
        let of = |partition| {
            let mut of = records.iter().filter(|one| one.partition == partition);
            let sender: usize = of.next().unwrap().value.parse().unwrap();
            configs[sender].clone()
        };
        TwoPartitions {
            status: status(&program),
            senders: [of(0), of(1)],
            count: configs.len(),
            cluster,
            program,
            _folder: folder,
        }
    }

    /// A connection of the sender to this partition.
    fn connect(&self, partition: usize) -> Client {
        let tcp = tcp(self.program.address()).unwrap();
        Client::over(tcp, self.senders[partition].clone(), "localhost").unwrap()
    }

    fn sample(&self, series: &str) -> f64 {
        sample(&get(self.status, "/metrics").1, series).unwrap()
    }

    /// While partition 0 takes nothing, sends it more than all buffers on the way hold. Then sends to
    /// partition 1, with a receipt each time, until `is_enough`, and that must not take more memory. Lets
    /// partition 0 go on with `heal`, and looks for all records.
    fn one_stops_and_the_other_goes_on(
        mut self,
        mut is_enough: impl FnMut(&Self, u64) -> bool,
        heal: impl FnOnce(&Self),
    ) {
        const LINES: usize = 320_000;
        let mut client = self.connect(0);
        let line = [&[b'x'; 99][..], b"\n"].concat();
        let writing = thread::spawn(move || {
            let lines = line.repeat(LINES / 32);
            (0..32).try_for_each(|_| client.write(&lines)).unwrap();
            client.finish_for_receipt().unwrap()
        });
        let held = "tlsink_held_bytes";
        let deadline = Instant::now() + LIMIT;
        // The stream is held when what it holds no longer grows.
        let mut before = 0.0;
        while before == 0.0 || self.sample(held) != before {
            assert!(Instant::now() < deadline, "nothing is held");
            before = self.sample(held);
            thread::sleep(Duration::from_millis(50));
        }
        let (mut free, mut at_first) = (0, 0);
        while !is_enough(&self, free) {
            let mut client = self.connect(1);
            client.write(b"free\n").unwrap();
            let receipt = client.finish_for_receipt().unwrap();
            assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
            free += 1;
            assert!(self.sample(held) < f64::from(2 << 20));
            assert_eq!(get(self.status, "/healthz"), (200, "ok\n".to_owned()));
            assert!(!writing.is_finished(), "{free}");
            let memory = memory(self.program.id()).unwrap();
            if free == 10 {
                at_first = memory;
            }
            assert!(
                free <= 10 || memory < at_first + (8 << 20),
                "{at_first} {memory}"
            );
        }
        heal(&self);
        let receipt = writing.join().unwrap();
        assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
        self.count += usize::try_from(free).unwrap() + LINES;
        assert_eq!(self.cluster.count(&self.cluster.consumer()), self.count);
        assert_eq!(self.sample(held), 0.0);
        assert_eq!(self.sample(ACKNOWLEDGED), self.count as f64);
        assert_eq!(self.sample(LOST), 0.0);
    }
}

const ACKNOWLEDGED: &str = "tlsink_kafka_records_total{result=\"acknowledged\"}";
const LOST: &str = "tlsink_kafka_records_total{result=\"lost\"}";
const OLDEST: &str = "tlsink_kafka_oldest_record_seconds";

#[test]
fn a_broker_that_is_away_stops_its_own_senders_and_they_are_slowed_down() {
    let partitions = TwoPartitions::start();
    partitions.cluster.mock.broker_down(1).unwrap();
    partitions.one_stops_and_the_other_goes_on(
        |_, free| free >= 20,
        |partitions| partitions.cluster.mock.broker_up(1).unwrap(),
    );
}

#[test]
fn a_broker_that_is_slow_stops_its_own_senders() {
    const ROUND_TRIP: Duration = Duration::from_secs(4);
    let partitions = TwoPartitions::start();
    let mock = &partitions.cluster.mock;
    mock.broker_round_trip_time(1, ROUND_TRIP).unwrap();
    let since = Instant::now();
    partitions.one_stops_and_the_other_goes_on(
        |_, free| free >= 20 && since.elapsed() >= ROUND_TRIP / 2,
        |partitions| {
            let mock = &partitions.cluster.mock;
            mock.broker_round_trip_time(1, Duration::ZERO).unwrap();
        },
    );
}

#[test]
fn a_partition_without_a_leader_stops_its_own_senders_and_the_operator_is_told_why() {
    let partitions = TwoPartitions::start();
    let mock = &partitions.cluster.mock;
    answer_without_leaders(mock);
    // The producer connects again, and learns the versions.
    mock.broker_down(ALL).unwrap();
    mock.broker_up(ALL).unwrap();
    mock.partition_leader(TOPIC, 0, None).unwrap();
    partitions.one_stops_and_the_other_goes_on(
        // The brokers that answer for the other are not silent, however long this takes.
        |partitions, _| partitions.sample(OLDEST) > 11.0,
        |partitions| {
            let Cluster { mock, .. } = &partitions.cluster;
            mock.partition_leader(TOPIC, 0, Some(2)).unwrap();
            let program = &partitions.program;
            program.wait_for_line(|line| {
                line == "tlsink: records wait for their brokers: partition 0: no leader; trying again"
            });
            let over = "tlsink: the brokers acknowledge all records again";
            program.wait_for_line(|line| line == over);
            let said = program.stderr();
            assert_eq!(said.matches("records wait").count(), 1, "{said}");
        },
    );
}

#[test]
fn a_reason_for_which_records_wait_is_said_when_it_becomes_known() {
    let cluster = Cluster::new(1);
    let mock = &cluster.mock;
    answer_without_leaders(mock);
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    mock.request_errors(RDKafkaApiKey::Produce, &[refusal; 1000]);
    let program = cluster.start(&["--receipt"]);
    let mut client = Client::connect(program.address());
    client.write(b"waits\n").unwrap();
    let said = |reason: &str| {
        let said = format!("tlsink: records wait for their brokers: {reason}; trying again");
        program.wait_for_line(|line| line == said);
    };
    said("they do not say why");
    mock.partition_leader(TOPIC, 0, None).unwrap();
    said("partition 0: no leader");
    mock.partition_leader(TOPIC, 0, Some(1)).unwrap();
    mock.clear_request_errors(RDKafkaApiKey::Produce);
    let receipt = client.finish_for_receipt().unwrap();
    assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
    program.wait_for_line(|line| line == "tlsink: the brokers acknowledge all records again");
    assert_eq!(program.stderr().matches("records wait").count(), 2);
}

/// Lets mock brokers tell of partitions without a leader.
fn answer_without_leaders(mock: &MockCluster<DefaultProducerContext>) {
    // From these versions on, a response about such a partition crashes the mock brokers of librdkafka 2.12.
    mock.apiversion(RDKafkaApiKey::Produce, Some(0), Some(9))
        .unwrap();
    mock.apiversion(RDKafkaApiKey::Fetch, Some(0), Some(11))
        .unwrap();
}

#[test]
fn when_leaders_move_records_stay_in_order() {
    let cluster = Cluster::new(3);
    cluster.mock.partition_leader(TOPIC, 1, Some(1)).unwrap();
    let program = cluster.start(&["--receipt"]);
    let lines: Vec<_> = (0..3000).map(|line| format!("line {line}")).collect();
    let mut client = Client::connect(program.address());
    for (index, line) in lines.iter().enumerate() {
        client.write(format!("{line}\n").as_bytes()).unwrap();
        if index % 500 == 250 {
            for partition in 0..3 {
                let leader = i32::try_from(index / 500).unwrap() % 3 + 1;
                let mock = &cluster.mock;
                mock.partition_leader(TOPIC, partition, Some(leader))
                    .unwrap();
            }
        }
    }
    let receipt = client.finish_for_receipt().unwrap();
    assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
    assert_eq!(cluster.values(lines.len()), lines);
}

#[test]
fn brokers_that_are_silent_fail_the_health_check_but_need_no_restart() {
    let manager = Manager::new();
    let cluster = Cluster::new(1);
    cluster.mock.broker_down(ALL).unwrap();
    let program = cluster.start_by(manager.command(WATCHED), &["--status", FREE, "--receipt"]);
    let status = status(&program);
    program.wait_for_line(|line| line.starts_with("tlsink: can't reach the brokers: "));
    // No sender is to come before a broker was reached, which is noticed without one.
    let (code, fault) = get(status, "/healthz");
    assert_eq!(code, 503);
    assert!(fault.starts_with("no broker has answered yet: "), "{fault}");
    cluster.mock.broker_up(ALL).unwrap();
    assert_eq!(wait_for_health(status, 200), "ok\n");
    program.wait_for_line(|line| line == "tlsink: the brokers can be reached again");

    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    let refusals = [refusal; 1000];
    let mock = &cluster.mock;
    mock.request_errors(RDKafkaApiKey::Produce, &refusals);
    let mut client = Client::connect(program.address());
    let since = Instant::now();
    client.write(b"waits\n").unwrap();
    let fault = wait_for_health(status, 503);
    assert!(since.elapsed() >= Duration::from_secs(10));
    assert!(
        fault.starts_with("the brokers have acknowledged no record for 10 s: "),
        "{fault}"
    );
    let (_, metrics) = get(status, "/metrics");
    assert_eq!(sample(&metrics, "tlsink_healthy"), Some(0.0));
    assert!(sample(&metrics, "tlsink_kafka_silence_seconds").unwrap() >= 10.0);
    manager.wait_for_life();
    assert_eq!(get(status, "/healthz").0, 503);
    mock.clear_request_errors(RDKafkaApiKey::Produce);
    let receipt = client.finish_for_receipt().unwrap();
    assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
    assert_eq!(get(status, "/healthz"), (200, "ok\n".to_owned()));
    program.wait_for_line(|line| line == "tlsink: the brokers acknowledge all records again");
    assert_eq!(cluster.values(1), ["waits"]);
}

#[test]
fn metrics_count_what_became_of_records() {
    let cluster = Cluster::new(1);
    let program = cluster.start(&["--status", FREE]);
    let status = status(&program);
    send(program.address(), b"one\n\nthree\n");
    let metrics = wait_for_sample(status, ACKNOWLEDGED, 3.0);
    for (series, value) in [
        ("tlsink_kafka_acknowledged_bytes_total", 8.0),
        (LOST, 0.0),
        (OLDEST, 0.0),
        ("tlsink_kafka_silence_seconds", 0.0),
        ("tlsink_kafka_producers_replaced_total", 0.0),
        ("tlsink_held_bytes", 0.0),
    ] {
        assert_eq!(sample(&metrics, series), Some(value), "{series}");
    }
    for (refusal, lost, replaced) in [
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD, 1.0, 0.0),
        (
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
            2.0,
            1.0,
        ),
    ] {
        let mock = &cluster.mock;
        mock.request_errors(RDKafkaApiKey::Produce, &[refusal]);
        let mut client = Client::connect(program.address());
        client.write(b"lost\n").unwrap();
        wait_for_sample(status, LOST, lost);
        wait_for_sample(status, "tlsink_kafka_producers_replaced_total", replaced);
    }
    let (_, metrics) = get(status, "/metrics");
    assert_eq!(sample(&metrics, ACKNOWLEDGED), Some(3.0));
    for (file, name) in named_metrics() {
        let known = metrics.contains(&format!("# TYPE {name} "));
        assert!(known, "{file}: {name}");
    }
    if is_installed("promtool") {
        promtool(&["check", "metrics"], &metrics);
    }
}

#[test]
fn a_stop_without_brokers_reports_the_loss() {
    let cluster = Cluster::new(1);
    let program = cluster.start(&[]);
    send(program.address(), b"before\n");
    cluster.mock.broker_down(ALL).unwrap();
    let mut client = Client::connect(program.address());
    client.write(b"unacknowledged\n").unwrap();
    program.wait_for_line(|line| line.contains("can't reach the brokers"));
    program.signal(Signal::TERM);
    program.wait_for_line(|line| line.starts_with("tlsink: stopping: 1 connection open"));
    program.signal(Signal::TERM);
    let outcome = program.outcome();
    assert_eq!(outcome.status, 1);
    let hangs = "tlsink: the output hangs; up to 15 bytes";
    let hangs = outcome.stderr.lines().find(|line| line.starts_with(hangs));
    assert!(hangs.is_some(), "{}", outcome.stderr);
}

#[test]
fn a_full_queue_waits() {
    let cluster = Cluster::new(1);
    let program = cluster.start(&["--kafka-set", "queue.buffering.max.messages=10"]);
    let lines: Vec<_> = (0..500).map(|line| format!("line {line}")).collect();
    send(program.address(), (lines.join("\n") + "\n").as_bytes());
    assert_eq!(cluster.values(lines.len()), lines);
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_missing_topic_is_said() {
    let cluster = Cluster::new(1);
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.mock.topic_error(TOPIC, error).unwrap();
    let program = cluster.start(&[]);
    program.wait_for_line(|line| line == "tlsink: topic logs: Broker: Unknown topic or partition");
}

#[test]
fn settings_come_from_options_and_a_file() {
    let cluster = Cluster::new(1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings");
    fs::write(
        &file,
        "# Each may be overridden.\n\nacks = 1\ncompression.type=gzip\n",
    )
    .unwrap();
    let file = ["--kafka-file", file.to_str().unwrap()];
    let own = [
        "--kafka-set",
        "acks=all",
        "--kafka-set",
        "compression.type=lz4",
    ];
    let program = cluster.start(&[&file[..], &own].concat());
    send(program.address(), b"line\n");
    assert_eq!(cluster.values(1), ["line"]);
}

#[test]
fn what_can_not_be_produced_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad"), "acks=all\npassword\n").unwrap();
    let without_effect = "has no effect with security.protocol=plaintext: set that to ".to_owned();
    let in_a_file = "put it in a file that only tlsink can read, and give --kafka-file";
    let fill = |text: &str| text.replace("DIR", folder.path().to_str().unwrap());
    let expected = "expected HOST:PORT, such as 127.0.0.1:9092; commas part several";
    let alone = "lines go to the topic alone, and streams are resumed without --state";
    let a_line = "each record is a line as it came, and says in its headers who sent it";
    let settings = "--kafka-set takes the settings in librdkafka's CONFIGURATION.md";
    let beside = |option: &str| format!("{option} can't be combined with --kafka");
    let refusals = [
        ("--kafka h:1", "--kafka needs --topic".to_owned(), ""),
        ("--topic t", "--topic needs --kafka".to_owned(), ""),
        (
            "--kafka-record block",
            "--kafka-record needs --kafka".to_owned(),
            "",
        ),
        (
            "--kafka-key peer",
            "--kafka-key needs --kafka".to_owned(),
            "",
        ),
        (
            "--kafka-set a=b",
            "--kafka-set needs --kafka".to_owned(),
            "",
        ),
        (
            "--kafka-file f",
            "--kafka-file needs --kafka".to_owned(),
            "",
        ),
        ("--kafka h --topic t", format!("--kafka h: {expected}"), ""),
        (
            "--kafka h:1,:2 --topic t",
            format!("--kafka h:1,:2: {expected}"),
            "",
        ),
        (
            "--kafka h:1 --topic t --kafka-set x",
            "--kafka-set x: expected KEY=VALUE, such as compression.type=zstd".to_owned(),
            "",
        ),
        (
            "--kafka h:1 --topic t --kafka-set no.such=1",
            "--kafka: no.such: No such configuration property: \"no.such\"".to_owned(),
            settings,
        ),
        (
            "--kafka h:1 --topic t --kafka-set bootstrap.servers=i:1",
            "--kafka: bootstrap.servers can't be set: the brokers are named apart from it"
                .to_owned(),
            settings,
        ),
        (
            "--kafka h:1 --topic t --kafka-set acks=1",
            "--kafka: `acks` must be set to `all` when `enable.idempotence` is true".to_owned(),
            settings,
        ),
        (
            "--kafka h:1 --topic t --kafka-file DIR/none",
            "can't read the settings in DIR/none: No such file or directory (os error 2)"
                .to_owned(),
            "",
        ),
        (
            "--kafka h:1 --topic t --kafka-file DIR/bad",
            "DIR/bad, line 2: expected KEY=VALUE, such as compression.type=zstd".to_owned(),
            "",
        ),
        (
            "--kafka h:1 --topic t --kafka-set sasl.password=secret",
            "--kafka-set sasl.password: other users can see it".to_owned(),
            in_a_file,
        ),
        (
            "--kafka h:1 --topic t --kafka-set ssl.key.pem=secret",
            "--kafka-set ssl.key.pem: other users can see it".to_owned(),
            in_a_file,
        ),
        (
            "--kafka h:1 --topic t --kafka-set sasl.username=u",
            format!("--kafka: sasl.username {without_effect}sasl_ssl"),
            settings,
        ),
        (
            "--kafka h:1 --topic t --kafka-set ssl.ca.location=f",
            format!("--kafka: ssl.ca.location {without_effect}ssl or sasl_ssl"),
            settings,
        ),
        (
            "--kafka h:1 --topic t --kafka-set security.protocol=ssl --kafka-set ssl.ca.location=DIR/none",
            "--kafka: ssl.ca.location: DIR/none: No such file or directory (os error 2)".to_owned(),
            settings,
        ),
        (
            "--kafka h:1 --topic t --kafka-set security.protocol=sasl_ssl --kafka-set sasl.username=u",
            "--kafka: sasl.username has no effect with sasl.mechanism=GSSAPI, the default: set \
             sasl.mechanism to SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN"
                .to_owned(),
            settings,
        ),
        (
            "--kafka h:1 --topic t --output f",
            beside("--output"),
            alone,
        ),
        (
            "--kafka h:1 --topic t --output-dir d",
            beside("--output-dir"),
            alone,
        ),
        ("--kafka h:1 --topic t --append", beside("--append"), alone),
        ("--kafka h:1 --topic t --state d", beside("--state"), alone),
        ("--kafka h:1 --topic t --exec cat", beside("--exec"), alone),
        (
            "--kafka h:1 --topic t --format raw",
            beside("--format raw"),
            a_line,
        ),
        (
            "--kafka h:1 --topic t --format json",
            beside("--format json"),
            a_line,
        ),
        ("--kafka h:1 --topic t --label", beside("--label"), a_line),
        (
            "--kafka h:1 --topic t --prefix x",
            beside("--prefix"),
            a_line,
        ),
    ];
    let refusals: Vec<_> = (refusals.iter())
        .map(|(args, error, hint)| (*args, &**error, *hint))
        .collect();
    each_is_refused(&refusals, || Command::new(BINARY), fill);
}

#[test]
fn a_check_finds_settings_that_no_producer_takes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, "no certificate\n").unwrap();
    let ca = format!("ssl.ca.location={}", file.display());
    let unusable = [
        (
            vec!["acks=1"],
            "`acks` must be set to `all` when `enable.idempotence` is true",
        ),
        (
            vec!["security.protocol=ssl", &ca],
            "ssl.ca.location failed: ",
        ),
        (
            vec!["security.protocol=sasl_ssl", "sasl.mechanism=SCRAM-SHA-512"],
            "sasl.username and sasl.password must be set",
        ),
        #[cfg(not(feature = "kafka-gssapi"))]
        (
            vec!["security.protocol=sasl_ssl"],
            "sasl.mechanism=GSSAPI, the default, needs the feature kafka-gssapi",
        ),
    ];
    for (settings, words) in unusable {
        let outcome = check(&settings, &[]);
        assert_eq!(outcome.status, 2);
        let error = format!("tlsink: --kafka: {words}");
        assert!(outcome.stderr.starts_with(&error), "{}", outcome.stderr);
    }
}

#[test]
fn settings_that_are_not_secure_are_warned_of() {
    let warnings = [
        (
            vec![
                "security.protocol=ssl",
                "enable.ssl.certificate.verification=FALSE",
            ],
            "tlsink: the brokers are not verified: enable.ssl.certificate.verification is false\n",
        ),
        (
            vec![
                "security.protocol=ssl",
                "ssl.endpoint.identification.algorithm=none",
            ],
            "tlsink: the names of the brokers are not verified: \
             ssl.endpoint.identification.algorithm is none\n",
        ),
        (vec!["security.protocol=ssl"], ""),
    ];
    for (settings, warning) in warnings {
        let outcome = check(&settings, &[]);
        assert_eq!((outcome.status, &*outcome.stderr), (0, warning));
    }
}

#[test]
fn a_file_of_secrets_that_every_user_can_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kafka.conf");
    let shown = file.display();
    let settings = "security.protocol=sasl_plaintext\nsasl.mechanism=PLAIN\nsasl.username=u\n";
    let unencrypted =
        "tlsink: the password is sent unencrypted: security.protocol is sasl_plaintext\n";
    let readable = format!(
        "tlsink: every user can read the secrets in {shown}: take that from others, as by chmod o-r\n"
    );
    let password = "sasl.password=secret\n";
    for (secret, mode, warning) in [
        (password, 0o604, &*readable),
        (password, 0o640, ""),
        ("", 0o644, ""),
    ] {
        fs::write(&file, [settings, secret].concat()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let outcome = check(&[], &["--kafka-file", file.to_str().unwrap()]);
        if secret.is_empty() {
            assert_eq!(outcome.status, 2);
            assert!(!outcome.stderr.contains("every user"), "{}", outcome.stderr);
        } else {
            let said = [warning, unencrypted].concat();
            assert_eq!((outcome.status, outcome.stderr), (0, said));
        }
    }
}

/// Checks these settings.
fn check(settings: &[&str], more: &[&str]) -> Outcome {
    let mut args = vec![
        "--listen", FREE, "--kafka", "h:1", "--topic", "logs", "--check",
    ];
    for setting in settings {
        args.extend(["--kafka-set", setting]);
    }
    Program::run(&[&args, more].concat())
}

#[test]
fn a_check_says_where_lines_would_go() {
    let args = [
        "--listen", FREE, "--kafka", "h:1,i:2", "--topic", "logs", "--check",
    ];
    let outcome = Program::run(&args);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let plan = outcome.stdout_text();
    assert_eq!(
        plan.lines().last(),
        Some("would write lines to the topic logs of h:1,i:2")
    );
}
