//! The power of a sender's machine is lost: its stream goes on with the state that is found.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::disk::{Disk, Tree};
use super::record::Event;
use super::{DRAWS, Library, RECOVERIES};
use crate::common::dice::Dice;
use crate::common::program::{LIMIT, Program, Stderr};

const STREAM: &str = "stream-x";

/// The name of the state below the watched folder.
const STATE: &str = "state/app";

/// The number of states that are written, a second after each other.
const STATES: usize = 3;

#[test]
fn before_a_sender_sends_anything_its_state_is_on_the_disk_and_stays() {
    let mut dice = Dice::fresh();
    let Some(sent) = Sent::new() else { return };
    let mut disk = sent.empty_disk();
    let moments: Vec<_> = (0..RECOVERIES)
        .map(|_| dice.below(sent.events.len()))
        .collect();
    let mut has_sent = false;
    for (number, event) in sent.events.iter().enumerate() {
        disk.apply(event);
        has_sent |= matches!(event, Event::Sent { .. });
        for _ in 0..DRAWS {
            let tree = disk.draw(&mut dice);
            assert_eq!(fault(&tree, has_sent), None);
            if moments.contains(&number) {
                sent.recover_from(&tree);
            }
        }
    }
    assert!(has_sent);

    // The control: the syncs are not superfluous.
    let mut disk = sent.empty_disk();
    let events = sent.events.iter();
    let mut unsynced = events.filter(|event| !matches!(event, Event::Sync { .. }));
    assert!(unsynced.any(|event| {
        disk.apply(event);
        let has_sent = matches!(event, Event::Sent { .. });
        fault(&disk.draw(&mut dice), has_sent).is_some()
    }));
    assert_eq!(sent.receiver.stop().status, 0);
}

/// A sender that followed a file, and the receiver, which goes on.
struct Sent {
    library: Library,
    events: Vec<Event>,
    receiver: Program,
    folder: TempDir,
}

impl Sent {
    /// `None` if there is no C compiler.
    fn new() -> Option<Self> {
        let library = Library::new()?;
        fs::create_dir_all(library.root().join("state")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for name in ["logs", "journal"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        File::create(folder.path().join("app.log")).unwrap();
        let shown = |name: &str| folder.path().join(name).display().to_string();
        let (logs, journal) = (shown("logs"), shown("journal"));
        let args = ["--output-dir", &logs, "--append", "--name", "all.log"];
        let receiver = Program::start(&[&args[..], &["--state", &journal]].concat());
        let mut sent = Sent {
            library,
            events: Vec::new(),
            receiver,
            folder,
        };
        let log = sent.library.folder.path().join("log");
        let commands = sent.library.commands(&log, "");
        let args = sent.args();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let sender = Program::start_command_after(&commands, &args, Stdio::null());
        for _ in 0..STATES {
            sent.write();
            sent.wait_for_all();
            sent.wait_for_state();
        }
        sender.signal(Signal::KILL);
        sender.outcome();
        sent.events = Event::read_all(&log);
        Some(sent)
    }

    fn args(&self) -> Vec<String> {
        let log = self.log().display().to_string();
        let state = self.library.root().join(STATE).display().to_string();
        let to = self.receiver.address().to_string();
        let args = ["send", "--insecure", "--stream", STREAM];
        let files = ["--follow", &log, "--follow-state", &state, &to];
        args.iter()
            .chain(&files)
            .map(|arg| (*arg).to_owned())
            .collect()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("app.log")
    }

    fn written(&self) -> Vec<u8> {
        fs::read(self.log()).unwrap()
    }

    /// Adds some lines to the file that is followed.
    fn write(&self) {
        let mut options = OpenOptions::new();
        let mut file = options.append(true).open(self.log()).unwrap();
        let before = self.written().len();
        for number in 0..20 {
            writeln!(file, "line {number} behind {before}").unwrap();
        }
    }

    fn wait_for_all(&self) {
        let logs = self.folder.path().join("logs/all.log");
        let written = self.written();
        wait_until(|| fs::read(&logs).is_ok_and(|there| there == written));
    }

    /// Waits until the state tells that everything is acknowledged.
    fn wait_for_state(&self) {
        let written = self.written().len() as u64;
        let path = self.library.root().join(STATE);
        let is_kept = |state: Value| state["acknowledged"] == written;
        wait_until(|| parse(&fs::read(&path).unwrap()).is_some_and(is_kept));
    }

    fn empty_disk(&self) -> Disk {
        let empty = tempfile::tempdir().unwrap();
        fs::create_dir(empty.path().join("state")).unwrap();
        Disk::of(empty.path())
    }

    /// Starts the sender on what was found, and compares what has arrived.
    fn recover_from(&self, tree: &Tree) {
        let root = self.library.root();
        fs::remove_dir_all(&root).unwrap();
        fs::create_dir(&root).unwrap();
        tree.make(&root, &self.library.kept());
        let args = self.args();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let sender = Program::start_command(&args, Stdio::null(), Stderr::Pipe);
        self.write();
        self.wait_for_all();
        // A second copy of something would be behind that.
        assert_eq!(sender.stop().status, 0);
        self.wait_for_all();
    }
}

/// The fault of a state that is found.
fn fault(tree: &Tree, has_sent: bool) -> Option<&'static str> {
    match tree.file(STATE) {
        None => has_sent.then_some("there is no state, but something was sent"),
        Some(state) => match parse(&state) {
            Some(state) if state["stream"] == STREAM => None,
            _ => Some("the state is not whole"),
        },
    }
}

fn parse(state: &[u8]) -> Option<Value> {
    serde_json::from_slice(state).ok()
}

fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never becomes so");
        thread::sleep(Duration::from_millis(5));
    }
}
