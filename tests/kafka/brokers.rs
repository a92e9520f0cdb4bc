//! A cluster of three nodes, by tests/kafka/cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

use crate::common::clients::has_module;
use crate::common::program::{FREE, Program, Stdout};
use crate::common::skip::missing;

/// The exit status of tests/kafka/cluster where no cluster can run.
const SKIPPED: i32 = 77;

/// The numbers of the nodes.
pub const NODES: [u32; 3] = [1, 2, 3];

/// A cluster, which is stopped when this is dropped.
pub struct Brokers {
    folder: TempDir,
    addresses: String,
    /// The configuration of Kerberos, as KRB5_CONFIG has it.
    kerberos: Option<PathBuf>,
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
        Brokers::start_by(&["start"], None)
    }

    /// Starts a cluster that listens for TLS and SASL as well; [reports](missing) if none can run here.
    #[track_caller]
    pub fn start_secure() -> Option<Brokers> {
        Brokers::start_by(&["start", "--secure"], None)
    }

    /// The same, with Kerberos, by this configuration and the keys of the nodes.
    #[cfg(feature = "kafka-gssapi")]
    #[track_caller]
    pub fn start_with_kerberos(config: &Path, keytab: &Path) -> Option<Brokers> {
        let keytab = keytab.to_str().unwrap();
        Brokers::start_by(&["start", "--secure", "--keytab", keytab], Some(config))
    }

    #[track_caller]
    fn start_by(args: &[&str], kerberos: Option<&Path>) -> Option<Brokers> {
        if !has_module("python3", "confluent_kafka") {
            return None;
        }
        let mut brokers = Brokers {
            folder: TempDir::new().unwrap(),
            addresses: String::new(),
            kerberos: kerberos.map(Path::to_owned),
        };
        let started = brokers.try_to_run(args);
        match started.status.code() {
            Some(0) => {
                text(started.stdout)
                    .trim()
                    .clone_into(&mut brokers.addresses);
                Some(brokers)
            }
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

    /// The addresses of the nodes for this listener, separated by commas.
    pub fn addresses_of(&self, listener: &str) -> String {
        self.run(&["addresses", listener]).trim().to_owned()
    }

    /// A file for TLS: `ca.pem`, or `client.pem` and `client.key`.
    pub fn tls_file(&self, name: &str) -> String {
        let path = self.data().join("tls").join(name);
        path.to_str().unwrap().to_owned()
    }

    /// Runs all nodes again, with a certificate for this name.
    pub fn certify(&self, name: &str) {
        self.run(&["certificate", name]);
        self.kill_all();
        self.revive_all();
    }

    /// Gives the user another password for SCRAM-SHA-512.
    pub fn change_password(&self, password: &str) {
        self.run(&["password", password]);
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

    /// Stops a node with SIGSTOP.
    pub fn suspend(&self, node: u32) {
        self.run(&["suspend", &node.to_string()]);
    }

    /// Lets a suspended node go on.
    pub fn resume(&self, node: u32) {
        self.run(&["resume", &node.to_string()]);
    }

    /// The node that is the active controller; `None` while there is an election.
    pub fn controller(&self) -> Option<u32> {
        self.run(&["controller"]).trim().parse().ok()
    }

    /// Whether the nodes have this setting, `KEY=VALUE`.
    pub fn has_setting(&self, setting: &str) -> bool {
        let properties = self.data().join("1/server.properties");
        let properties = fs::read_to_string(properties).unwrap();
        properties.lines().any(|line| line == setting)
    }

    /// Copies the output of the nodes to this folder.
    pub fn keep_output(&self, folder: &Path) {
        for node in NODES {
            let output = self.data().join(format!("{node}/output"));
            _ = fs::copy(output, folder.join(format!("broker-{node}")));
        }
    }

    /// Starts the program, which produces to this topic.
    pub fn start_program(&self, topic: &str, args: &[&str]) -> Program {
        self.start_program_on(FREE, topic, args)
    }

    /// Starts the program on this address.
    pub fn start_program_on(&self, address: &str, topic: &str, args: &[&str]) -> Program {
        let args = [&["--kafka", self.addresses(), "--topic", topic], args].concat();
        Program::start_on(&[address], &args, Stdout::Collected)
    }

    /// The lines of a topic, each once, by the consumer in examples.
    pub fn lines(&self, topic: &str) -> Vec<String> {
        let (lines, has_gap) = self.consume(topic);
        assert!(!has_gap);
        lines
    }

    /// The lines of a topic, each once, and whether there is a gap before others, by the consumer in
    /// examples.
    pub fn consume(&self, topic: &str) -> (Vec<String>, bool) {
        let consumer = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/kafka-consumer.py");
        let mut command = Command::new(consumer);
        let consumed = command.args([self.addresses(), topic, "--end"]).output();
        let consumed = consumed.unwrap();
        let has_gap = consumed.stderr.ends_with(b"there is a gap\n");
        assert!(consumed.status.success() || has_gap, "{consumed:?}");
        let lines = text(consumed.stdout).lines().map(str::to_owned).collect();
        (lines, has_gap)
    }

    fn run(&self, args: &[&str]) -> String {
        let done = self.try_to_run(args);
        assert!(done.status.success(), "{args:?}: {done:?}");
        text(done.stdout)
    }

    fn try_to_run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/cluster"));
        command.arg("--data").arg(self.data()).args(args);
        if let Some(kerberos) = &self.kerberos {
            command.env("KRB5_CONFIG", kerberos);
        }
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        self.try_to_run(&["stop"]);
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}
