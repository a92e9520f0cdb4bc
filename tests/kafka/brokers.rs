//! A cluster of three nodes, by tests/kafka/cluster.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

use crate::common::program::Program;
use crate::common::skip::missing;

/// The exit status of tests/kafka/cluster where no cluster can run.
const SKIPPED: i32 = 77;

/// A cluster, which is stopped when this is dropped.
pub struct Brokers {
    folder: TempDir,
    addresses: String,
}

/// The cluster of tests that kill no node.
static SHARED: Mutex<Weak<Brokers>> = Mutex::new(Weak::new());

impl Brokers {
    /// A cluster that tests share which run at the same time. They must kill no node, and have topics of their
    /// own.
    #[track_caller]
    pub fn shared() -> Option<Arc<Brokers>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(brokers) = shared.upgrade() {
            return Some(brokers);
        }
        let brokers = Arc::new(Brokers::start()?);
        *shared = Arc::downgrade(&brokers);
        Some(brokers)
    }

    /// Starts a cluster; [reports](missing) if none can run here, or nothing can read from it.
    #[track_caller]
    pub fn start() -> Option<Brokers> {
        let mut import = Command::new("python3");
        let imported = import.args(["-c", "import confluent_kafka"]).output();
        if !imported.is_ok_and(|imported| imported.status.success()) {
            missing("confluent-kafka for Python is not installed");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let started = run(folder.path(), &["start"]);
        match started.status.code() {
            Some(0) => Some(Brokers {
                folder,
                addresses: text(started.stdout).trim().to_owned(),
            }),
            Some(SKIPPED) => {
                missing("no cluster of Kafka can run here");
                None
            }
            _ => panic!("{started:?}"),
        }
    }

    /// The addresses of the nodes, separated by commas.
    pub fn addresses(&self) -> &str {
        &self.addresses
    }

    /// Makes a topic, of which each node has a replica.
    pub fn topic(&self, name: &str, partitions: u32, settings: &[&str]) {
        let partitions = partitions.to_string();
        self.topic_on(name, &partitions, settings);
    }

    /// Makes a topic, of which each partition is on these nodes alone: `1:2,3` are two partitions.
    pub fn topic_on(&self, name: &str, nodes: &str, settings: &[&str]) {
        self.run(&[&["topic", name, nodes], settings].concat());
    }

    /// Kills node 1, 2 or 3.
    pub fn kill(&self, node: u32) {
        self.run(&["kill", &node.to_string()]);
    }

    /// Runs a killed node again, and waits until it takes part.
    pub fn revive(&self, node: u32) {
        self.run(&["run", &node.to_string()]);
    }

    /// Kills all nodes.
    pub fn kill_all(&self) {
        self.run(&["kill", "1", "2", "3"]);
    }

    /// Runs all nodes again, and waits until they take part.
    pub fn revive_all(&self) {
        self.run(&["run", "1", "2", "3"]);
    }

    /// Starts the program, which produces to this topic.
    pub fn start_program(&self, topic: &str, args: &[&str]) -> Program {
        Program::start(&[&["--kafka", self.addresses(), "--topic", topic], args].concat())
    }

    /// The lines of a topic, each once, by the consumer in examples.
    pub fn lines(&self, topic: &str) -> Vec<String> {
        let consumer = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/kafka-consumer.py");
        let mut command = Command::new(consumer);
        let consumed = command.args([self.addresses(), topic, "--end"]).output();
        let consumed = consumed.unwrap();
        assert!(consumed.status.success(), "{consumed:?}");
        text(consumed.stdout).lines().map(str::to_owned).collect()
    }

    fn run(&self, args: &[&str]) -> String {
        let done = run(self.folder.path(), args);
        assert!(done.status.success(), "{args:?}: {done:?}");
        text(done.stdout)
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        run(self.folder.path(), &["stop"]);
    }
}

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/cluster"));
    command.arg("--data").arg(folder.join("cluster")).args(args);
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}
