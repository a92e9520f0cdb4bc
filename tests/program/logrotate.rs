//! Debian's logrotate(8): of files that the receiver appends to, and of files that a sender follows.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::program::{Client, FREE, LIMIT, Outcome, Program, Stderr, Stdout};
use crate::common::skip::missing;

/// Rotations of a test. logrotate keeps more files.
const ROTATIONS: usize = 4;

#[test]
fn appended_files_are_moved_and_the_receiver_gets_sighup() {
    for create in ["create", "nocreate"] {
        for sync in [&[][..], &["--sync"]] {
            let Some(logs) = Logs::new() else { return };
            let program = logs.start_receiver(FREE, sync);
            let hangup = format!(
                "{create}\npostrotate\nkill -HUP {}\nendscript",
                program.id()
            );
            let mut client = Client::connect(program.address());
            let mut sent = Lines::default();
            for round in 1..=ROTATIONS {
                // Without a line, there may be no file to rotate.
                sent.write(1, |line| client.write(line).unwrap());
                logs.wait_for("logs/all.log", |text| text.ends_with(sent.last()));
                sent.write(200, |line| client.write(line).unwrap());
                logs.rotate("logs/all.log", &hangup);
                program.wait_for_lines(round, |line| line.ends_with(" reopened"));
            }
            sent.write(1, |line| client.write(line).unwrap());
            client.finish().unwrap();
            assert_eq!(program.stop().status, 0);
            assert_eq!(logs.all("logs/all.log"), sent.text);
            assert_eq!(logs.count("logs"), ROTATIONS + 1);
        }
    }
}

#[test]
fn appended_files_are_moved_and_the_receiver_notices() {
    for create in ["create", "nocreate"] {
        let Some(logs) = Logs::new() else { return };
        let program = logs.start_receiver(FREE, &["--sync"]);
        let mut client = Client::connect(program.address());
        let mut sent = Lines::default();
        for _ in 0..ROTATIONS {
            sent.write(200, |line| client.write(line).unwrap());
            logs.wait_until(|| logs.all("logs/all.log") == sent.text);
            logs.rotate("logs/all.log", create);
            // Until then, lines go to the file that was moved.
            while logs.read("logs/all.log").is_empty() {
                sent.write(1, |line| client.write(line).unwrap());
            }
        }
        client.finish().unwrap();
        assert_eq!(program.stop().status, 0);
        assert_eq!(logs.all("logs/all.log"), sent.text);
        assert_eq!(logs.count("logs"), ROTATIONS + 1);
    }
}

#[test]
fn a_followed_file_is_moved_while_everything_runs() {
    follow("create", Down::Nobody);
}

#[test]
fn a_followed_file_is_moved_while_no_sender_runs() {
    follow("create", Down::Sender);
}

#[test]
fn a_followed_file_is_moved_while_no_receiver_runs() {
    follow("create", Down::Receiver);
}

#[test]
fn a_followed_file_is_truncated_while_everything_runs() {
    follow("copytruncate", Down::Nobody);
}

#[test]
fn a_followed_file_is_truncated_while_no_sender_runs() {
    follow("copytruncate", Down::Sender);
}

#[test]
fn a_followed_file_is_truncated_while_no_receiver_runs() {
    follow("copytruncate", Down::Receiver);
}

/// The program that does not run while logrotate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Down {
    Nobody,
    Sender,
    Receiver,
}

/// Rotates a file that is followed: each line arrives once, in order.
fn follow(how: &str, down: Down) {
    let Some(logs) = Logs::new() else { return };
    let state = logs.path("state").display().to_string();
    let listen = ["--state", &state];
    let mut receiver = Some(logs.start_receiver(FREE, &listen));
    let address = receiver.as_ref().map(Program::address).unwrap();
    let mut sender = Some(logs.start_sender(address));
    let input = logs.path("input/app.log");
    let mut sent = Lines::default();
    let arrived = |sent: &Lines| logs.wait_until(|| logs.all("logs/all.log") == sent.text);

    sent.write(200, |line| append(&input, line));
    arrived(&sent);
    for _ in 0..2 {
        match down {
            Down::Nobody => {}
            Down::Sender => assert_eq!(sender.take().map(stop), Some(0)),
            Down::Receiver => assert_eq!(receiver.take().map(stop), Some(0)),
        }
        // No reader gets lines that are truncated before it has read them.
        if how != "copytruncate" {
            sent.write(50, |line| append(&input, line));
        }
        logs.rotate("input/app.log", how);
        // Often a truncated file is longer than before when the sender looks at it.
        sent.write(sent.count, |line| append(&input, line));
        sender.get_or_insert_with(|| logs.start_sender(address));
        receiver.get_or_insert_with(|| logs.start_receiver(&address.to_string(), &listen));
        sent.write(10, |line| append(&input, line));
        arrived(&sent);
        sent.write(100, |line| append(&input, line));
        arrived(&sent);
    }
    assert_eq!(sender.map(stop), Some(0));
    assert_eq!(receiver.map(stop), Some(0));
    assert_eq!(logs.all("logs/all.log"), sent.text);
    assert_eq!(logs.count("input"), 3);
}

fn stop(program: Program) -> i32 {
    let Outcome { status, .. } = program.stop();
    status
}

/// Adds a line to a file, as a program does that is told of the rotation or opens the file each time.
fn append(path: &Path, line: &[u8]) {
    let mut file = OpenOptions::new();
    let mut file = file.append(true).create(true).open(path).unwrap();
    file.write_all(line).unwrap();
}

/// Numbered lines.
#[derive(Default)]
struct Lines {
    text: String,
    count: usize,
}

impl Lines {
    fn write(&mut self, count: usize, mut write: impl FnMut(&[u8])) {
        for _ in 0..count {
            let line = format!("line {} {}\n", self.count, "x".repeat(self.count % 100));
            write(line.as_bytes());
            self.text += &line;
            self.count += 1;
        }
    }

    fn last(&self) -> &str {
        self.text.split_inclusive('\n').next_back().unwrap_or("")
    }
}

/// The folders of a test.
struct Logs {
    folder: TempDir,
    logrotate: &'static str,
}

impl Logs {
    /// `None` if logrotate is not installed, which is reported.
    fn new() -> Option<Self> {
        let Some(logrotate) = ["logrotate", "/usr/sbin/logrotate"]
            .into_iter()
            .find(|name| {
                let mut tried = Command::new(name);
                let tried = tried.arg("--version").stderr(Stdio::null()).output();
                !tried.is_err_and(|error| error.kind() == ErrorKind::NotFound)
            })
        else {
            missing("logrotate is not installed");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        for name in ["logs", "input", "state"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            // It rotates nothing in a folder that others may change.
            fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
        }
        File::create(folder.path().join("input/app.log")).unwrap();
        Some(Logs { folder, logrotate })
    }

    fn start_receiver(&self, listen: &str, args: &[&str]) -> Program {
        let logs = self.path("logs").display().to_string();
        let common = ["--output-dir", &logs, "--append", "--name", "all.log"];
        Program::start_on(&[listen], &[&common, args].concat(), Stdout::Collected)
    }

    fn start_sender(&self, address: SocketAddr) -> Program {
        let input = self.path("input/app.log").display().to_string();
        let state = self.path("follow.state").display().to_string();
        let address = address.to_string();
        let args = ["send", "--insecure", "--follow", &input, "--follow-state"];
        let args = [&args[..], &[&state, &address]].concat();
        Program::start_command(&args, Stdio::null(), Stderr::Pipe)
    }

    /// Rotates a file now, with these directives.
    fn rotate(&self, name: &str, directives: &str) {
        let config = self.path("logrotate.conf");
        let path = self.path(name);
        let text = format!(
            "{} {{\nrotate 20\nmissingok\nnocompress\n{directives}\n}}\n",
            path.display()
        );
        fs::write(&config, text).unwrap();
        fs::set_permissions(&config, Permissions::from_mode(0o600)).unwrap();
        let mut command = Command::new(self.logrotate);
        command
            .arg("--force")
            .arg("--state")
            .arg(self.path("logrotate.state"));
        let rotated = command.arg(config).output().unwrap();
        assert!(
            rotated.status.success() && rotated.stderr.is_empty(),
            "{rotated:?}"
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text of a file, which may not be there.
    fn read(&self, name: &str) -> String {
        match fs::read_to_string(self.path(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.unwrap(),
        }
    }

    /// The text of a file and of the ones that it was rotated to, the oldest first.
    fn all(&self, name: &str) -> String {
        let old = (1..=20)
            .rev()
            .map(|number| self.read(&format!("{name}.{number}")));
        old.chain([self.read(name)]).collect()
    }

    fn count(&self, folder: &str) -> usize {
        fs::read_dir(self.path(folder)).unwrap().count()
    }

    fn wait_for(&self, name: &str, is_so: impl Fn(&str) -> bool) {
        self.wait_until(|| is_so(&self.read(name)));
    }

    fn wait_until(&self, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_so() {
            assert!(Instant::now() < deadline, "it never becomes so");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
