//! Brokers, receivers and a balancer, by the commands and configurations in GUIDE.md.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::brokers::Brokers;
use crate::common::authority::Authority;
use crate::common::child::Running;
use crate::common::dice::Dice;
use crate::common::program::BINARY;
use crate::common::shipped::{blocks, until};
use crate::common::skip::is_installed;

/// The section of GUIDE.md.
const SECTION: &str = "Past one machine";

/// The topic there.
pub const TOPIC: &str = "logs";

/// The balancer's address here; there, it is another network. The receivers follow at 11.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);

pub const RECEIVERS: usize = 3;

/// The kernel gives clients their ports from above these, so the ports of a dead process stay free for it.
const PORTS: std::ops::Range<u16> = 20000..32000;

/// Everything but the senders. The folder is kept if the test fails.
pub struct Site {
    folder: TempDir,
    pub brokers: Brokers,
    pub receivers: Vec<Daemon>,
    pub balancer: Daemon,
    pub authority: Arc<Authority>,
    /// The port of the balancer.
    pub port: u16,
}

/// A process that can be killed and started again. It is killed when this is dropped.
pub struct Daemon {
    program: &'static str,
    args: Vec<String>,
    /// The file of its output.
    log: PathBuf,
    running: Option<Running>,
}

impl Site {
    /// Starts everything, the receivers with these further arguments; reports if something is missing.
    pub fn start(partitions: Option<u32>, more: &[&str]) -> Option<Site> {
        if !is_installed("haproxy") {
            return None;
        }
        let brokers = Brokers::start()?;
        for setting in block("properties", 0).lines() {
            assert!(brokers.has_setting(setting), "{setting}");
        }
        let command = block("sh", 0);
        let creation = Creation::parse(&command);
        let partitions = partitions.unwrap_or(creation.partitions);
        brokers.topic(TOPIC, partitions, &creation.settings);

        let folder = TempDir::new().unwrap();
        let authority = Arc::new(Authority::new("CA"));
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", &authority.pem());
        let server = authority.server(&["logs.example.net", "localhost"]);
        write("server.pem", &server.pem());
        write("server.key", &server.key_pem());

        let [port, status] = free_ports();
        let here = |text: &str| {
            text.replace(
                "10.0.0.21:9092,10.0.0.22:9092,10.0.0.23:9092",
                brokers.addresses(),
            )
            .replace("10.0.0.", "127.0.0.")
            .replace("4433", &port.to_string())
            .replace("9101", &status.to_string())
            // Twice as many file descriptors may be more than are allowed here.
            .replace("maxconn 20000", "maxconn 1000")
            .replace("/etc/tlsink", folder.path().to_str().unwrap())
        };
        let command = here(&block("sh", 1));
        let receivers = (0..RECEIVERS).map(|number| {
            let command = command.replace("127.0.0.11", &receiver(number).to_string());
            let mut args = words(&command)
                .skip(1)
                .map(str::to_owned)
                .collect::<Vec<_>>();
            args.extend(more.iter().map(|&argument| argument.to_owned()));
            Daemon::new(
                BINARY,
                args,
                folder.path().join(format!("receiver-{number}")),
            )
        });
        let receivers = receivers.collect();

        let config = folder.path().join("haproxy.cfg");
        fs::write(&config, here(&block("text", 0))).unwrap();
        let args = ["-db", "-f", config.to_str().unwrap()].map(str::to_owned);
        let balancer = Daemon::new("haproxy", args.to_vec(), folder.path().join("haproxy"));
        let mut site = Site {
            folder,
            brokers,
            receivers,
            balancer,
            authority,
            port,
        };
        for number in 0..RECEIVERS {
            site.receivers[number].start_on(SocketAddr::from((receiver(number), port)));
        }
        let address = site.address();
        site.balancer.start_on(address);
        Some(site)
    }

    /// The address of the balancer.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((BALANCER, self.port))
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        self.folder.disable_cleanup(true);
        let folder = self.folder.path();
        self.brokers.keep_output(folder);
        eprintln!("the output of all processes is in {}", folder.display());
    }
}

impl Daemon {
    fn new(program: &'static str, args: Vec<String>, log: PathBuf) -> Self {
        Daemon {
            program,
            args,
            log,
            running: None,
        }
    }

    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.unwrap();
        let child = Command::new(self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.running = Some(Running(child.unwrap()));
    }

    /// Starts it, and waits until it listens on this address.
    fn start_on(&mut self, address: SocketAddr) {
        self.start();
        until("a listener", Duration::from_millis(10), || {
            self.check();
            TcpStream::connect(address).ok()
        });
    }

    /// Kills it, and waits until it is dead.
    pub fn kill(&mut self) {
        self.running = None;
    }

    pub fn signal(&self, signal: Signal) {
        let running = self.running.as_ref().expect("it runs");
        // A process that has ended by itself has its reason in its output.
        _ = kill_process(Pid::from_child(&running.0), signal);
    }

    /// Fails if it has ended by itself.
    pub fn check(&mut self) {
        let running = self.running.as_mut().expect("it runs");
        let ended = running.0.try_wait().unwrap();
        assert_eq!(ended, None, "see {}", self.log.display());
    }
}

/// The arguments of `kafka-topics.sh --create` that a cluster for tests does not have anyway.
struct Creation<'a> {
    partitions: u32,
    settings: Vec<&'a str>,
}

impl<'a> Creation<'a> {
    fn parse(command: &'a str) -> Self {
        let words: Vec<_> = words(command).collect();
        let values = |name| {
            let pairs = words.windows(2).filter(move |pair| pair[0] == name);
            pairs.map(|pair| pair[1])
        };
        assert!(values("--topic").eq([TOPIC]));
        assert!(values("--replication-factor").eq(["3"]));
        Creation {
            partitions: values("--partitions").next().unwrap().parse().unwrap(),
            settings: values("--config").collect(),
        }
    }
}

/// The words of a command that may go on in further lines.
fn words(command: &str) -> impl Iterator<Item = &str> {
    command.split_whitespace().filter(|word| *word != "\\")
}

/// A block of this language in the section.
fn block(language: &str, number: usize) -> String {
    blocks(SECTION, language).swap_remove(number)
}

fn receiver(number: usize) -> Ipv4Addr {
    let [a, b, c, _] = BALANCER.octets();
    Ipv4Addr::new(a, b, c, 11 + u8::try_from(number).unwrap())
}

/// Ports that are free on the addresses of the balancer and of all receivers.
fn free_ports() -> [u16; 2] {
    let addresses: Vec<_> = (0..RECEIVERS).map(receiver).chain([BALANCER]).collect();
    let is_free = |port: &u16| {
        let mut bound = addresses.iter().map(|address| {
            let address = SocketAddr::from((IpAddr::from(*address), *port));
            TcpListener::bind(address)
        });
        bound.all(|bound| bound.is_ok())
    };
    let mut dice = Dice::new(u64::from(std::process::id()));
    let mut ports = std::iter::from_fn(|| Some(PORTS.start + dice.below(PORTS.len()) as u16));
    let one = ports.find(is_free).unwrap();
    let other = ports.find(|port| *port != one && is_free(port)).unwrap();
    [one, other]
}
