//! Receivers, brokers, the controller and the balancer die or are stopped, while senders of all kinds send:
//! every acknowledged message is in the topic, in order for its stream, and once for a consumer that drops
//! duplicates. The processes run by the commands and configurations in GUIDE.md.
//!
//! `TLSINK_SEED=N` makes other things happen, `TLSINK_KILL_SECONDS=N` for so long.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

mod oracle;
mod schedule;
mod senders;
mod site;

use crate::brokers::NODES;
use crate::common::clients::{
    FLUENT_LOGGER, FLUENT_LOGGER_GO, FLUENT_ORG, GO_LUMBER, Kind, LOGSTASH_ASYNC, PYLOGBEAT,
};
use crate::common::dice::Dice;
use crate::common::shipped::until;
use oracle::{Fault, Record, Topic, judge, message};
use schedule::Schedule;
use senders::{Ended, Field, How, Sender};
use site::{Site, TOPIC};

const SEED: u64 = 24;

/// The duration of the kills, unless `TLSINK_KILL_SECONDS` sets another.
const SECONDS: u64 = 90;

/// The time limit for all that was sent to be acknowledged, once everything works again. A sender may wait
/// for half a minute before it connects again.
const PATIENCE: Duration = Duration::from_secs(150);

/// Two of these tests at the same time would be too much for a small machine.
static MACHINE: Mutex<()> = Mutex::new(());

/// In their other configurations, the clients give an acknowledgement up after a second.
const PATIENT_ORG: Kind = Kind {
    changes: &[],
    ..FLUENT_ORG
};
const PATIENT_LOGGER: Kind = Kind {
    changes: &[],
    ..FLUENT_LOGGER
};

/// 200 senders.
const SENDERS: [(&str, How, usize); 12] = [
    ("follow", How::Follow, 50),
    ("resume", How::Resume, 10),
    ("receipt", How::Receipt, 30),
    ("octet", How::Octet, 20),
    ("relp", How::Relp, 26),
    ("rsyslog", How::Rsyslog, 4),
    ("lumber", How::Client(&GO_LUMBER), 20),
    ("pylogbeat", How::Client(&PYLOGBEAT), 6),
    ("logstash", How::Client(&LOGSTASH_ASYNC), 4),
    ("fluent-go", How::Client(&FLUENT_LOGGER_GO), 20),
    ("fluent-org", How::Client(&PATIENT_ORG), 6),
    ("fluent-logger", How::Client(&PATIENT_LOGGER), 4),
];

/// `TLSINK_KILL_SECONDS=1200 cargo test --release --features kafka --test kafka kills`
#[test]
fn whatever_dies_every_acknowledged_message_is_in_the_topic() {
    let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = env::var("TLSINK_KILL_SECONDS").map_or(SECONDS, |seconds| {
        seconds.parse().expect("it is a number of seconds")
    });
    let Some(mut site) = Site::start(None, &["--client-auth", "optional"]) else {
        return;
    };
    let mut dice = Dice::fixed(SEED);
    let field = Field::new(&site);
    let senders = SENDERS.iter().flat_map(|(name, how, count)| {
        let names = (0..*count).map(move |number| format!("{name}-{number}"));
        names.map(|name| Sender::new(&field, name, *how))
    });
    let senders: Vec<_> = senders.collect();
    let ended = thread::scope(|scope| {
        let _ending = Ending(&field);
        let running = senders.iter().map(|sender| {
            let dice = Dice::new(dice.next());
            scope.spawn(|| sender.run(dice))
        });
        let running: Vec<_> = running.collect();
        until("all senders to work", Duration::from_millis(100), || {
            senders.iter().all(Sender::works).then_some(())
        });
        Schedule::new(&mut site, dice, field.start).run(Duration::from_secs(seconds));
        println!(
            "{:6.1} s: all work again",
            field.start.elapsed().as_secs_f64()
        );
        field.end(PATIENCE);
        join(running)
    });
    println!(
        "{:6.1} s: all have ended",
        field.start.elapsed().as_secs_f64()
    );
    let late = ended.iter().filter(|ended| !ended.is_through);
    let late: Vec<_> = late.map(|ended| &ended.told.name).collect();

    let topic = Topic::new(site.brokers.addresses(), TOPIC);
    let told: Vec<_> = ended.iter().map(|ended| &ended.told).collect();
    let shipped: Vec<_> = (ended.iter().filter(|ended| ended.shipper.is_some()))
        .map(|ended| &ended.told)
        .collect();
    let deadline = Instant::now() + PATIENCE;
    let records = loop {
        let records = topic.read();
        if Instant::now() > deadline || judge(&records, &shipped).is_empty() {
            break records;
        }
        thread::sleep(Duration::from_secs(1));
    };
    let faults = judge(&records, &told);
    report(&records, &ended);
    if !faults.is_empty() {
        write_records(&records, &site.folder().join("records"));
    }
    assert!(
        faults.is_empty(),
        "{} faults: {:#?}",
        faults.len(),
        &faults[..faults.len().min(20)]
    );
    assert!(late.is_empty(), "{late:?} are never through");
    assert!(told.iter().all(|told| !told.acknowledged.is_empty()));

    // The consumer that GUIDE.md recommends agrees.
    let (lines, _) = site.brokers.consume(TOPIC);
    for sender in told.iter().filter(|told| told.is_resumed) {
        let messages = lines.iter().filter_map(|line| message(line));
        let numbers = messages.filter(|(name, _)| *name == sender.name);
        let count = sender.acknowledged.last().unwrap().1;
        assert!(
            numbers.map(|(_, number)| number).eq(0..count),
            "{}",
            sender.name
        );
    }
}

/// With `acks=1`, a leader acknowledges what only it has. All the other replicas stop, a leader acknowledges,
/// dies, and is not the leader any more when it is back.
#[test]
fn a_message_that_is_acknowledged_too_early_is_found_missing() {
    let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let early = [
        "--kafka-set",
        "acks=1",
        "--kafka-set",
        "enable.idempotence=false",
    ];
    let Some(site) = Site::start(Some(1), &early) else {
        return;
    };
    let topic = Topic::new(site.brokers.addresses(), TOPIC);
    let leader = || topic.leaders().map(|leaders| leaders[0]);
    let field = Field::new(&site);
    let sender = Sender::new(&field, "early".to_owned(), How::Octet);
    let ended = thread::scope(|scope| {
        let _ending = Ending(&field);
        let running = scope.spawn(|| sender.run(Dice::new(SEED)));
        let await_more = |count| {
            let enough = sender.acknowledged() + count;
            until("acknowledgements", Duration::from_millis(10), || {
                (sender.acknowledged() >= enough).then_some(())
            });
        };
        await_more(1);
        let first = until("a leader", Duration::from_millis(100), leader);
        let others = NODES.into_iter().filter(|node| *node != first);
        others.clone().for_each(|node| site.brokers.suspend(node));
        // A request of each replica, which came before, can still be answered with one write.
        await_more(3 * senders::LINES);
        site.brokers.kill(first);
        others.for_each(|node| site.brokers.resume(node));
        until("another leader", Duration::from_millis(100), || {
            leader().filter(|leader| *leader != first)
        });
        site.brokers.revive(first);
        await_more(1);
        field.end(PATIENCE);
        join(vec![running])
    });
    let records = topic.read();
    let told = [&ended[0].told];
    let faults = judge(&records, &told);
    assert!(ended[0].is_through);
    let is_missing = |fault: &Fault<'_>| matches!(fault, Fault::Missing { .. });
    assert!(faults.iter().any(is_missing), "{faults:?}");
}

/// Ends the senders at once after a panic.
struct Ending<'a>(&'a Field);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end(Duration::ZERO);
        }
    }
}

/// Those whose client is installed.
fn join(running: Vec<ScopedJoinHandle<'_, Option<Ended>>>) -> Vec<Ended> {
    let ended = running.into_iter().map(|thread| thread.join().unwrap());
    ended.flatten().collect()
}

/// libtest shows this only if the test fails.
fn report(records: &[Record], ended: &[Ended]) {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for Ended { told, .. } in ended {
        let (kind, _) = told.name.rsplit_once('-').unwrap();
        let (senders, messages) = counts.entry(kind).or_default();
        *senders += 1;
        *messages += told.acknowledged.last().map_or(0, |(_, count)| *count);
    }
    println!(
        "{} records; by kind, senders and acknowledged messages: {counts:?}",
        records.len()
    );
}

fn write_records(records: &[Record], path: &Path) {
    let text: String = records
        .iter()
        .map(|record| format!("{record:?}\n"))
        .collect();
    fs::write(path, text).unwrap();
}
