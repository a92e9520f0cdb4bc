//! Senders of all kinds that have acknowledgements. Each sends a few lines a second until it is to end, and
//! then waits until the last one is acknowledged.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::oracle::Told;
use super::site::Site;
use crate::common::authority::Authority;
use crate::common::child::Running;
use crate::common::client::TLS13;
use crate::common::clients::{self, Kind, Messages};
use crate::common::dice::Dice;
use crate::common::program::{BINARY, Client, tcp};
use crate::common::shipped::{RSYSLOG_INPUT, Shipped, guide};
use crate::common::skip::is_installed;

/// The lines that a sender sends each second.
pub const LINES: usize = 3;

const PAUSE: Duration = Duration::from_secs(1);

/// The most lines in a session of RELP.
const SESSION: usize = 30;

/// The number of seconds after which a follower is killed, on average.
const LIFE: usize = 60;

/// The surroundings of all senders.
pub struct Field {
    authority: Arc<Authority>,
    /// The balancer.
    address: SocketAddr,
    pub start: Instant,
    /// A file that exists when senders are to end.
    over: PathBuf,
    /// The time at which they have to have ended, once they are to end.
    deadline: Mutex<Option<Instant>>,
}

#[derive(Clone, Copy)]
pub enum How {
    /// `tlsink send --follow`, which is killed now and then.
    Follow,
    /// `tlsink send --resume`.
    Resume,
    /// `tlsink send --receipt`, once for a few lines.
    Receipt,
    /// A connection with octet-counted frames, and a receipt, for a few lines.
    Octet,
    /// `tlsink send --framing relp`, once for some lines.
    Relp,
    /// rsyslog's omrelp, which tells nobody about acknowledgements.
    Rsyslog,
    Client(&'static Kind),
}

/// One sender.
pub struct Sender<'a> {
    field: &'a Field,
    name: String,
    how: How,
    shipped: Shipped,
    /// The number of acknowledged messages, and when.
    acknowledged: Mutex<Vec<(Duration, usize)>>,
    has_ended: AtomicBool,
}

/// A sender that has ended.
pub struct Ended {
    pub told: Told,
    /// Whether all that it sent is acknowledged.
    pub is_through: bool,
    /// One that goes on, because it does not know what is acknowledged.
    pub shipper: Option<Running>,
}

impl Field {
    pub fn new(site: &Site) -> Self {
        Field {
            authority: Arc::clone(&site.authority),
            address: site.address(),
            start: Instant::now(),
            over: site.folder().join("over"),
            deadline: Mutex::default(),
        }
    }

    /// Lets the senders end, in this time.
    pub fn end(&self, patience: Duration) {
        let deadline = self.deadline.lock();
        let mut deadline = deadline.unwrap_or_else(PoisonError::into_inner);
        deadline.get_or_insert(Instant::now() + patience);
        File::create(&self.over).unwrap();
    }

    fn is_over(&self) -> bool {
        self.deadline.lock().unwrap().is_some()
    }

    fn is_late(&self) -> bool {
        let deadline = *self.deadline.lock().unwrap();
        deadline.is_some_and(|deadline| deadline < Instant::now())
    }
}

impl<'a> Sender<'a> {
    pub fn new(field: &'a Field, name: String, how: How) -> Self {
        Sender {
            shipped: Shipped::of(&field.authority, &name),
            field,
            name,
            how,
            acknowledged: Mutex::default(),
            has_ended: AtomicBool::new(false),
        }
    }

    /// Whether a message was acknowledged, as far as the sender can tell before its end.
    pub fn works(&self) -> bool {
        let tells = !matches!(self.how, How::Resume | How::Rsyslog);
        !tells || self.acknowledged() > 0 || self.has_ended.load(Ordering::Acquire)
    }

    /// The number of messages that were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        let acknowledged = self.acknowledged.lock().unwrap();
        acknowledged.last().map_or(0, |(_, count)| *count)
    }

    /// Sends until it is over; `None` if its client is missing.
    pub fn run(&self, dice: Dice) -> Option<Ended> {
        let ended = self.send(dice);
        self.has_ended.store(true, Ordering::Release);
        ended
    }

    fn send(&self, dice: Dice) -> Option<Ended> {
        let mut shipper = None;
        let is_through = match self.how {
            How::Follow => self.follow(dice),
            How::Resume => self.resume(),
            How::Receipt => self.send_windows(|lines| self.send_for_receipt(lines)),
            How::Octet => self.send_windows(|lines| self.send_octet(lines).unwrap_or(false)),
            How::Relp => self.relp(),
            How::Rsyslog => {
                shipper = Some(self.rsyslog()?);
                true
            }
            How::Client(kind) => self.client(kind)?,
        };
        Some(Ended {
            told: Told {
                name: self.name.clone(),
                acknowledged: self.acknowledged.lock().unwrap().clone(),
                is_resumed: matches!(self.how, How::Follow | How::Resume),
            },
            is_through,
            shipper,
        })
    }

    fn follow(&self, mut dice: Dice) -> bool {
        let path = self.shipped.path("app.log");
        let mut file = File::create(&path).unwrap();
        // The byte behind each line.
        let mut ends = Vec::new();
        let args = ["--follow", &path];
        let mut sender = self.spawn(&args, Stdio::null());
        while !self.field.is_over() {
            for _ in 0..LINES {
                let line = self.line(ends.len());
                file.write_all(line.as_bytes()).unwrap();
                ends.push(ends.last().map_or(0, |end| *end) + line.len() as u64);
            }
            self.note_bytes(&ends);
            if dice.below(LIFE) == 0 {
                drop(sender);
                sender = self.spawn(&args, Stdio::null());
            }
            thread::sleep(PAUSE);
        }
        while self.note_bytes(&ends) < ends.len() {
            let ended = sender.0.try_wait().unwrap();
            assert_eq!(ended, None, "{}", self.said());
            if self.field.is_late() {
                return false;
            }
            thread::sleep(PAUSE / 10);
        }
        kill_process(Pid::from_child(&sender.0), Signal::TERM).unwrap();
        self.succeeds(&mut sender)
    }

    /// Notes the lines that are acknowledged by the state of a follower, and returns their number.
    fn note_bytes(&self, ends: &[u64]) -> usize {
        // There is none before the first acknowledgement.
        let state = fs::read_to_string(self.shipped.path(".app.log.tlsink")).unwrap_or_default();
        let (_, number) = state.rsplit_once(",\"acknowledged\":").unwrap_or_default();
        let digits = number.split(',').next().unwrap_or_default();
        let bytes = digits.parse().unwrap_or(0);
        let count = ends.partition_point(|end| *end <= bytes);
        self.note(count);
        count
    }

    fn resume(&self) -> bool {
        let mut sender = self.spawn(&["--resume"], Stdio::piped());
        let mut stdin = sender.0.stdin.take().unwrap();
        let mut sent = 0;
        while !self.field.is_over() {
            stdin.write_all(self.lines(sent).as_bytes()).unwrap();
            sent += LINES;
            thread::sleep(PAUSE);
        }
        drop(stdin);
        let is_through = self.succeeds(&mut sender);
        if is_through {
            self.note(sent);
        }
        is_through
    }

    /// Sends a few lines again and again, until they are acknowledged; then the next ones.
    fn send_windows(&self, send: impl Fn(&str) -> bool) -> bool {
        let mut sent = 0;
        while !self.field.is_over() {
            let lines = self.lines(sent);
            while !send(&lines) {
                if self.field.is_late() {
                    return false;
                }
                thread::sleep(PAUSE);
            }
            sent += LINES;
            self.note(sent);
            thread::sleep(PAUSE);
        }
        true
    }

    fn send_for_receipt(&self, lines: &str) -> bool {
        let input = self.shipped.path("input");
        fs::write(&input, lines).unwrap();
        let input = File::open(input).unwrap();
        let mut sender = self.spawn(&["--receipt"], input.into());
        self.wait(&mut sender)
            .is_some_and(|status| status.success())
    }

    fn send_octet(&self, lines: &str) -> io::Result<bool> {
        let tcp = tcp(self.field.address)?;
        let credentials = self.field.authority.sender(&self.name, &[]);
        let mut client = Client::over(tcp, credentials.config(&TLS13), "localhost")?;
        for line in lines.lines() {
            let frame = format!("<13>{line}");
            client.write(format!("{} {frame}", frame.len()).as_bytes())?;
        }
        let receipt = client.finish_for_receipt()?;
        Ok(receipt.starts_with("{\"ok\":true,"))
    }

    /// Pipes lines to sessions, each of which ends after some lines or with its connection. What is not
    /// acknowledged is sent in the next one.
    fn relp(&self) -> bool {
        let mut done = 0;
        let mut most = 0;
        while done < most || !self.field.is_over() {
            if self.field.is_late() {
                return false;
            }
            let said = self.said().len();
            let args = ["--framing", "relp", "--encode", "none"];
            let mut sender = self.spawn(&args, Stdio::piped());
            let mut stdin = sender.0.stdin.take().unwrap();
            let mut sent = done;
            while sent < done + SESSION && (sent < most || !self.field.is_over()) {
                // Its connection has ended.
                if stdin.write_all(self.lines(sent).as_bytes()).is_err() {
                    break;
                }
                sent += LINES;
                most = most.max(sent);
                thread::sleep(PAUSE);
            }
            drop(stdin);
            let Some(status) = self.wait(&mut sender) else {
                return false;
            };
            done += match status.success() {
                true => sent - done,
                false => acknowledged(&self.said()[said..]),
            };
            self.note(done);
            thread::sleep(PAUSE);
        }
        true
    }

    /// Everything that it writes counts as acknowledged, because nothing else tells that rsyslog, which
    /// goes on, may forget it.
    fn rsyslog(&self) -> Option<Running> {
        let config = RSYSLOG_INPUT.to_owned()
            + &guide("RELP", "text").replacen("action(", "action(action.resumeInterval=\"1\" ", 1);
        let mut file = File::create(self.shipped.path("messages")).unwrap();
        if !is_installed("rsyslogd") {
            return None;
        }
        let port = self.field.address.port();
        let shipper = self.shipped.start_rsyslog(&config, port);
        let mut sent = 0;
        while !self.field.is_over() {
            file.write_all(self.lines(sent).as_bytes()).unwrap();
            sent += LINES;
            thread::sleep(PAUSE);
        }
        self.note(sent);
        Some(shipper)
    }

    fn client(&self, kind: &Kind) -> Option<bool> {
        let over = self.field.over.to_str().unwrap();
        let messages = Messages::Paced {
            name: &self.name,
            over,
        };
        let port = self.field.address.port();
        let start = clients::Sender::start_with;
        let mut client = start(&self.shipped, kind, port, &messages, |config| config)?;
        loop {
            let status = client.ended();
            let told = client.acknowledgements().into_iter();
            let told = told.map(|(time, count)| (time - self.field.start, count));
            *self.acknowledged.lock().unwrap() = told.collect();
            match status {
                None if !self.field.is_late() => thread::sleep(PAUSE),
                Some(status) if status.success() => return Some(true),
                _ => {
                    println!("{}: {status:?}\n{}", self.name, client.said());
                    return Some(false);
                }
            }
        }
    }

    /// Starts `tlsink send`.
    fn spawn(&self, args: &[&str], stdin: Stdio) -> Running {
        let mut command = Command::new(BINARY);
        command.args(["send", "--ca", &self.shipped.path("ca.pem")]);
        command.args(["--cert", &self.shipped.path("client.pem")]);
        command.args(["--key", &self.shipped.path("client.key")]);
        command.args(args);
        command.arg(format!("localhost:{}", self.field.address.port()));
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        Running(
            command
                .stdin(stdin)
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap(),
        )
    }

    fn log(&self) -> String {
        self.shipped.path("log")
    }

    /// All that `tlsink send` said so far.
    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Waits until a sender has ended; `None` if that is late.
    fn wait(&self, sender: &mut Running) -> Option<ExitStatus> {
        loop {
            if let Some(status) = sender.0.try_wait().unwrap() {
                return Some(status);
            }
            if self.field.is_late() {
                return None;
            }
            thread::sleep(PAUSE / 10);
        }
    }

    fn succeeds(&self, sender: &mut Running) -> bool {
        self.wait(sender).is_some_and(|status| {
            assert!(status.success(), "{}", self.said());
            true
        })
    }

    fn note(&self, count: usize) {
        if count > self.acknowledged() {
            let time = self.field.start.elapsed();
            self.acknowledged.lock().unwrap().push((time, count));
        }
    }

    fn lines(&self, first: usize) -> String {
        (first..first + LINES)
            .map(|number| self.line(number))
            .collect()
    }

    /// Lines have different lengths.
    fn line(&self, number: usize) -> String {
        format!(
            "{} message {number} {}\n",
            self.name,
            "x".repeat(number * 7 % 100)
        )
    }
}

/// The number of lines that a RELP server acknowledged before the sender failed.
fn acknowledged(said: &str) -> usize {
    let (_, count) = said.rsplit_once("acknowledged ").unwrap_or_default();
    let count = count.split(' ').next().unwrap_or_default();
    count.parse().unwrap_or(0)
}
