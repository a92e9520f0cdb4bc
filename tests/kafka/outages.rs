//! Outages of the brokers: nothing is acknowledged meanwhile, the memory stays flat, and all goes on afterwards.

use std::env;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_send_buffer_size;

use crate::brokers::Brokers;
use crate::common::client::config;
use crate::common::process::memory;
use crate::common::program::{Client, FREE, LIMIT, Program, Version, tcp};
use crate::common::status::{get, sample, status, wait_for_health, wait_for_sample};

const ACKNOWLEDGED: &str = "tlsink_kafka_records_total{result=\"acknowledged\"}";
const LOST: &str = "tlsink_kafka_records_total{result=\"lost\"}";
const OLDEST: &str = "tlsink_kafka_oldest_record_seconds";

/// The variable with the seconds of an outage.
const SECONDS: &str = "TLSINK_OUTAGE_SECONDS";

/// The seconds of an outage, unless it is set.
const OUTAGE: u64 = 20;

/// The time without an answer after which the health check fails.
const SILENT: Duration = Duration::from_secs(10);

const SENDERS: usize = 50;

/// The bytes of a line.
const LINE: usize = 4000;

/// The system would let the buffer of a socket grow to several mebibytes.
const SEND_BUFFER: usize = 64 * 1024;

/// The lines of a sender before the outage.
const BEFORE: usize = 10;

/// More than the memory of a program that holds all it may varies by.
const MARGIN: u64 = 8 << 20;

#[test]
fn after_each_kind_of_outage_all_is_in_the_topic() {
    let Some(brokers) = Brokers::start() else {
        return;
    };
    too_few_replicas_are_in_sync(&brokers);
    no_broker_is_there(&brokers);
    a_partition_has_no_leader(&brokers);
}

fn too_few_replicas_are_in_sync(brokers: &Brokers) {
    brokers.topic("three", 4, &["min.insync.replicas=3"]);
    let program = outage(brokers, "three", || brokers.kill(1), || brokers.revive(1));
    // The node counts as in sync for some seconds after its death.
    program.wait_for_line(|line| {
        line.starts_with("tlsink: records wait for their brokers: ")
            && (line.contains("2 of the 3 replicas of partition ") || line.contains("refused"))
    });
    program.wait_for_line(|line| line == "tlsink: the brokers acknowledge all records again");
    let said = program.stderr();
    assert!(!said.contains("can't reach the brokers"), "{said}");
    assert_eq!(program.stop().status, 0);
}

fn no_broker_is_there(brokers: &Brokers) {
    brokers.topic("two", 4, &[]);
    let program = outage(
        brokers,
        "two",
        || brokers.kill_all(),
        || brokers.revive_all(),
    );
    program.wait_for_line(|line| line.starts_with("tlsink: can't reach the brokers: "));
    program.wait_for_line(|line| line == "tlsink: the brokers can be reached again");
    assert_eq!(program.stop().status, 0);
}

/// Sends to the topic before, while and after its brokers acknowledge nothing.
fn outage(brokers: &Brokers, topic: &str, begin: impl Fn(), end: impl Fn()) -> Program {
    let length = env::var(SECONDS).map_or(OUTAGE, |seconds| seconds.parse().unwrap());
    let length = Duration::from_secs(length);
    let program = brokers.start_program(topic, &["--receipt", "--status", FREE]);
    let (address, status) = (program.address(), status(&program));
    assert_eq!(wait_for_health(status, 200), "ok\n");

    let (begun, over) = (Barrier::new(SENDERS + 1), AtomicBool::new(false));
    let (begun, over) = (Arc::new(begun), Arc::new(over));
    let written = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (begun, over) = (Arc::clone(&begun), Arc::clone(&over));
            let written = Arc::clone(&written);
            thread::spawn(move || {
                let mut client = connect(address, length + 4 * LIMIT);
                let mut number = 0;
                while number < BEFORE || !over.load(Ordering::Relaxed) {
                    if number == BEFORE {
                        begun.wait();
                    }
                    client.write(line(sender, number).as_bytes()).unwrap();
                    client.write(b"\n").unwrap();
                    number += 1;
                    written.fetch_add(1, Ordering::Relaxed);
                }
                (number, client.finish_for_receipt().unwrap())
            })
        })
        .collect();
    let before = (SENDERS * BEFORE) as f64;
    wait_for_sample(status, ACKNOWLEDGED, before);
    begin();
    assert_eq!(get(status, "/healthz").0, 200);
    let since = Instant::now();
    begun.wait();
    let fault = wait_for_health(status, 503);
    assert!(since.elapsed() >= SILENT, "{:?}", since.elapsed());
    let silent = "the brokers have acknowledged no record for 1";
    assert!(fault.starts_with(silent), "{fault}");

    // Everything on the way is full when no sender can write any more.
    let deadline = Instant::now() + LIMIT;
    let mut count = 0;
    while written.load(Ordering::Relaxed) != count {
        assert!(Instant::now() < deadline, "nothing holds the senders back");
        count = written.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(500));
    }
    let full = memory(program.id()).unwrap();
    while since.elapsed() < length {
        let now = memory(program.id()).unwrap();
        assert!(now < full + MARGIN, "{full} {now}");
        let (_, metrics) = get(status, "/metrics");
        assert_eq!(sample(&metrics, ACKNOWLEDGED), Some(before));
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(get(status, "/healthz").0, 503);
    over.store(true, Ordering::Relaxed);
    end();
    assert_eq!(wait_for_health(status, 200), "ok\n");
    let sent: Vec<_> = senders
        .into_iter()
        .map(|sender| {
            let (count, receipt) = sender.join().unwrap();
            assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
            count
        })
        .collect();
    let (_, metrics) = get(status, "/metrics");
    let all = sent.iter().sum::<usize>() as f64;
    assert_eq!(sample(&metrics, ACKNOWLEDGED), Some(all));
    assert_eq!(sample(&metrics, LOST), Some(0.0));
    assert_eq!(sample(&metrics, "tlsink_held_bytes"), Some(0.0));
    println!(
        "{topic}: {} MiB in memory, {all} lines, {fault}",
        full >> 20
    );

    let mut next = [0; SENDERS];
    for read in brokers.lines(topic) {
        let sender: usize = read.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(read, line(sender, next[sender]));
        next[sender] += 1;
    }
    assert_eq!(next[..], sent);
    program
}

fn line(sender: usize, number: usize) -> String {
    let start = format!("{sender} {number} ");
    let filling = "x".repeat(LINE - start.len());
    start + &filling
}

/// Of three partitions, each on a node of its own, one has no leader.
fn a_partition_has_no_leader(brokers: &Brokers) {
    brokers.topic_on("one", "1,2,3", &["min.insync.replicas=1"]);
    let args = ["--kafka-key", "conn", "--receipt", "--status", FREE];
    let program = brokers.start_program("one", &args);
    let (address, status) = (program.address(), status(&program));
    assert_eq!(wait_for_health(status, 200), "ok\n");
    brokers.kill(2);
    // Each connection has a partition of its own, by chance.
    let mut senders = Vec::new();
    let deadline = Instant::now() + LIMIT;
    let waits = |metrics: &str| sample(metrics, OLDEST).unwrap() > 11.0;
    while !waits(&get(status, "/metrics").1) {
        assert!(Instant::now() < deadline, "no record waits");
        let number = senders.len();
        senders.push(thread::spawn(move || send(address, number)));
        assert_eq!(get(status, "/healthz"), (200, "ok\n".to_owned()));
        thread::sleep(Duration::from_millis(100));
    }
    // The brokers that answer for the others are not silent.
    assert_eq!(get(status, "/healthz"), (200, "ok\n".to_owned()));
    let stuck = senders
        .iter()
        .filter(|sender| !sender.is_finished())
        .count();
    assert!(stuck > 0 && stuck < senders.len() * 2 / 3, "{stuck}");
    program.wait_for_line(|line| {
        line.starts_with("tlsink: records wait for their brokers: partition ")
            && line.ends_with(": Broker: Leader not available; trying again")
    });
    brokers.revive(2);
    let count = senders.len();
    for sender in senders {
        let receipt = sender.join().unwrap();
        assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
    }
    program.wait_for_line(|line| line == "tlsink: the brokers acknowledge all records again");
    let mut lines = brokers.lines("one");
    lines.sort_by_key(|line| line.parse::<usize>().unwrap());
    let sent: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    assert_eq!(lines, sent);
    assert_eq!(program.stop().status, 0);
}

fn send(address: SocketAddr, number: usize) -> String {
    let mut client = connect(address, 4 * LIMIT);
    client.write(format!("{number}\n").as_bytes()).unwrap();
    client.finish_for_receipt().unwrap()
}

/// Connects a sender that waits for so long, and has a small buffer.
fn connect(address: SocketAddr, patience: Duration) -> Client {
    let tcp = tcp(address).unwrap();
    tcp.set_write_timeout(Some(patience)).unwrap();
    tcp.set_read_timeout(Some(patience)).unwrap();
    set_socket_send_buffer_size(&tcp, SEND_BUFFER).unwrap();
    Client::over(tcp, config(Version::Tls13.of_rustls()), "localhost").unwrap()
}
