//! A disk without space: the program waits, its senders with it, and goes on when there is some.
//!
//! A [library](full_disk/preload.c) that the program preloads simulates the disk.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt",
    feature = "relp",
    target_os = "linux",
    target_env = "gnu"
))]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::preload::compile;
use crate::common::process::peak_memory;
use crate::common::program::{Client, LIMIT, Outcome, Program, Stderr, send};
use crate::common::skip::skip;

/// Each call that needs space.
const ALL: &str = "wcl";

#[test]
fn a_file_of_several_senders_gets_each_line_once_and_in_order() {
    const SENDERS: usize = 4;
    const LINES: usize = 2000;
    let Some(disk) = Disk::new() else { return };
    let log = disk.path("log");
    for format in ["lines", "json"] {
        // The disk is full within a line.
        disk.fill(Errno::NOSPC, 10_001, "w", &log);
        let program = disk.start(&["--output", &log, "--lanes", "2", "--format", format]);
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                let address = program.address();
                scope.spawn(move || {
                    let lines = (0..LINES).map(|n| format!("sender {sender}, line {n}\n"));
                    send(address, lines.collect::<String>().as_bytes());
                });
            }
            disk.wait_for_failures(1);
            assert_eq!(fs::metadata(&log).unwrap().len(), 10_001);
            // A little space does not end the wait.
            disk.fill(Errno::NOSPC, 5, "w", &log);
            disk.wait_for(|| fs::metadata(&log).unwrap().len() == 10_006);
            disk.wait_for_failures(3);
            disk.free();
        });
        let outcome = program.stop();
        assert_eq!(outcome.status, 0);
        assert_eq!(
            said(&outcome),
            [
                format!("tlsink: no space left for {log}; waiting until there is"),
                hint().to_owned(),
                format!("tlsink: there is space for {log} again"),
            ]
        );
        let written = fs::read_to_string(&log).unwrap();
        for sender in 0..SENDERS {
            let name = format!("sender {sender}, line ");
            let numbers = written.lines().filter_map(|line| {
                let (_, number) = line.split_once(&name)?;
                let number = number.split('"').next()?;
                Some(number.parse::<usize>().unwrap())
            });
            assert!(numbers.eq(0..LINES), "{written}");
        }
        assert!(outcome.ends().iter().all(|end| end.end == "clean"));
        fs::remove_file(&log).unwrap();
        disk.forget_failures();
    }
}

#[test]
fn standard_output_waits_where_it_is_a_file_also_for_a_quota() {
    let Some(disk) = Disk::new() else { return };
    let file = disk.path("file");
    for (redirect, error, full) in [
        (
            format!("exec >{file}"),
            Errno::NOSPC,
            "no space left for standard output; waiting until there is",
        ),
        (
            format!("exec >>{file}"),
            Errno::DQUOT,
            "the disk quota for standard output is used up; waiting until there is space",
        ),
    ] {
        disk.fill(error, 3, "w", &file);
        let program = disk.start_after(&redirect, &["--format", "raw"]);
        let mut client = Client::connect(program.address());
        client.write(b"in two parts").unwrap();
        program.wait_for_line(|line| line == format!("tlsink: {full}"));
        assert_eq!(fs::read(&file).unwrap(), b"in ");
        disk.free();
        client.finish().unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"in two parts");
        let outcome = program.stop();
        assert_eq!(outcome.status, 0);
        let again = "tlsink: there is space for standard output again";
        assert_eq!(
            said(&outcome),
            [format!("tlsink: {full}"), again.to_owned()]
        );
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn a_file_for_each_connection_is_made_written_and_named_when_there_is_space() {
    let Some(disk) = Disk::new() else { return };
    for sync in [&[][..], &["--sync"]] {
        for (error, calls, space, before) in [
            (Errno::NOSPC, "w", 4, Some("1.part")),
            (Errno::DQUOT, "w", 0, Some("1.part")),
            (Errno::NOSPC, "c", 0, None),
            (Errno::DQUOT, "c", 0, None),
            (Errno::NOSPC, "l", 0, Some("1.part")),
        ] {
            let directory = disk.path("incoming");
            fs::create_dir(&directory).unwrap();
            let args = ["--output-dir", &directory, "--name", "{conn}", "--receipt"];
            let program = disk.start(&[&args, sync].concat());
            disk.fill(error, space, calls, &directory);
            let mut client = Client::connect(program.address());
            client.write(b"the whole stream").unwrap();
            let receipt = thread::scope(|scope| {
                let receipt = scope.spawn(move || client.finish_for_receipt().unwrap());
                disk.wait_for_failures(1);
                assert_eq!(names(&directory), Vec::from_iter(before));
                disk.free();
                receipt.join().unwrap()
            });
            assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
            assert_eq!(names(&directory), ["1"]);
            let written = fs::read(Path::new(&directory).join("1")).unwrap();
            assert_eq!(written, b"the whole stream");
            let outcome = program.stop();
            assert_eq!(outcome.status, 0);
            let user = format!("files in {directory}");
            let full = match error {
                Errno::DQUOT => {
                    format!("the disk quota for {user} is used up; waiting until there is space")
                }
                _ => format!("no space left for {user}; waiting until there is"),
            };
            assert_eq!(
                said(&outcome),
                [
                    format!("tlsink: {full}"),
                    format!("tlsink: there is space for {user} again"),
                ]
            );
            fs::remove_dir_all(&directory).unwrap();
            disk.forget_failures();
        }
    }
}

#[test]
fn all_lanes_together_say_once_that_they_wait_and_once_that_they_go_on() {
    const STREAMS: usize = 16;
    let Some(disk) = Disk::new() else { return };
    let directory = disk.path("incoming");
    fs::create_dir(&directory).unwrap();
    let program = disk.start(&[
        "--output-dir",
        &directory,
        "--name",
        "{conn}",
        "--lanes",
        "4",
    ]);
    disk.fill(Errno::NOSPC, 0, ALL, &directory);
    thread::scope(|scope| {
        for n in 0..STREAMS {
            let address = program.address();
            scope.spawn(move || send(address, format!("stream {n}").as_bytes()));
        }
        // Four lanes try each second.
        disk.wait_for_failures(9);
        disk.free();
    });
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    assert_eq!(said(&outcome).len(), 2, "{}", outcome.stderr);
    let mut streams: Vec<_> = names(&directory)
        .iter()
        .map(|name| fs::read_to_string(Path::new(&directory).join(name)).unwrap())
        .collect();
    streams.sort_unstable();
    let mut expected = Vec::from_iter((0..STREAMS).map(|n| format!("stream {n}")));
    expected.sort_unstable();
    assert_eq!(streams, expected);
}

#[test]
fn it_tries_once_a_second_and_reads_no_more_than_it_has_room_for() {
    const SENT: usize = 128 << 20;
    const MOST: u64 = 64 << 20;
    let Some(disk) = Disk::new() else { return };
    let file = disk.path("file");
    disk.fill(Errno::NOSPC, 100_000, "w", &file);
    let program = disk.start(&["--output", &file, "--format", "raw", "-d", "none"]);
    let address = program.address();
    let started = Instant::now();
    thread::scope(|scope| {
        let sender = scope.spawn(move || send(address, &vec![b'x'; SENT]));
        disk.wait_for_failures(4);
        assert!(started.elapsed() >= Duration::from_secs(3));
        assert!(!sender.is_finished());
        let memory = peak_memory(program.id()).unwrap();
        assert!(memory < MOST, "{memory} bytes are in use");
        disk.free();
    });
    assert_eq!(fs::metadata(&file).unwrap().len(), SENT as u64);
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_sender_hears_that_its_data_is_written_only_when_it_is() {
    let Some(disk) = Disk::new() else { return };
    let log = disk.path("log");
    for args in [&["--receipt"][..], &["--framing", "relp"]] {
        let receipt: &[_] = match args {
            ["--receipt"] => args,
            _ => &[],
        };
        for goes_on in [true, false] {
            disk.fill(Errno::NOSPC, 4, "w", &log);
            let program = disk.start(&[&["--output", &log], receipt].concat());
            let sender = sender(&program, args, "one\ntwo\nthree\n");
            disk.wait_for_failures(1);
            if goes_on {
                disk.free();
                assert_eq!(sender.outcome().status, 0);
                assert_eq!(fs::read(&log).unwrap(), b"one\ntwo\nthree\n");
                assert_eq!(program.stop().status, 0);
            } else {
                stop_at_once(program);
                let outcome = sender.outcome();
                assert_eq!(outcome.status, 1);
                let is_told = match receipt {
                    [] => !outcome.stderr.contains("acknowledged 0 lines of 3"),
                    _ => outcome.stderr.contains("receipt matches"),
                };
                assert!(!is_told, "{}", outcome.stderr);
                assert_eq!(fs::read(&log).unwrap(), b"one\n");
            }
            fs::remove_file(&log).unwrap();
            disk.forget_failures();
        }
    }
}

#[test]
fn asked_to_stop_it_goes_on_if_there_is_space_in_time() {
    let Some(disk) = Disk::new() else { return };
    let (log, directory) = (disk.path("log"), disk.path("incoming"));
    fs::create_dir(&directory).unwrap();
    for (args, file) in [
        (["--output", &log].as_slice(), log.clone()),
        (
            &["--output-dir", &directory, "--name", "{conn}"],
            format!("{directory}/1"),
        ),
    ] {
        let program = disk.start(args);
        disk.fill(Errno::NOSPC, 2, "w", &file);
        let mut client = Client::connect(program.address());
        client.write(b"to the end\n").unwrap();
        disk.wait_for_failures(1);
        program.signal(Signal::TERM);
        program.wait_for_line(|line| line.starts_with("tlsink: stopping: "));
        disk.free();
        client.finish().unwrap();
        let outcome = program.outcome();
        assert_eq!(outcome.status, 0);
        assert_eq!(outcome.ends()[0].end, "clean");
        assert_eq!(fs::read(&file).unwrap(), b"to the end\n");
        disk.forget_failures();
    }
}

#[test]
fn a_second_signal_ends_the_wait_and_what_is_lost_is_said() {
    let Some(disk) = Disk::new() else { return };
    let (log, directory) = (disk.path("log"), disk.path("incoming"));
    fs::create_dir(&directory).unwrap();
    for args in [["--output", &log], ["--output-dir", &directory]] {
        let program = disk.start(&args);
        disk.fill(Errno::NOSPC, 2, "w", &disk.path(""));
        let mut client = Client::connect(program.address());
        client.write(b"too much\n").unwrap();
        disk.wait_for_failures(1);
        stop_at_once(program);
        drop(client);
        disk.forget_failures();
    }
    assert_eq!(fs::read(&log).unwrap(), b"to");
    let [name] = &names(&directory)[..] else {
        panic!("one stream has one file");
    };
    assert!(name.ends_with(".part"), "{name}");
    assert_eq!(fs::read(format!("{directory}/{name}")).unwrap(), b"to");
}

#[test]
fn after_the_drain_time_it_waits_no_longer_than_for_an_output_that_hangs() {
    let Some(disk) = Disk::new() else { return };
    let log = disk.path("log");
    disk.fill(Errno::NOSPC, 2, "w", &log);
    let program = disk.start(&["--output", &log, "--drain", "0"]);
    let mut client = Client::connect(program.address());
    client.write(b"too much\n").unwrap();
    disk.wait_for_failures(1);
    let outcome = program.stop();
    assert_eq!(outcome.status, 1);
    let lost = "tlsink: the output hangs; up to 9 bytes may be lost, and 1 stream is cut\n";
    assert!(outcome.stderr.ends_with(lost), "{}", outcome.stderr);
    drop(client);
}

#[test]
fn a_full_file_that_was_renamed_or_removed_is_left_on_sighup_also_within_a_line() {
    let Some(disk) = Disk::new() else { return };
    let (log, old) = (disk.path("log"), disk.path("log.1"));
    for (space, first, second) in [
        (4, "one\n", "two\nthree\n"),
        (6, "one\ntw", "o\nthree\n"),
        (0, "", "one\ntwo\nthree\n"),
    ] {
        for removed in [false, true] {
            disk.fill(Errno::NOSPC, space, "w", &log);
            let program = disk.start(&["--output", &log]);
            let mut client = Client::connect(program.address());
            client.write(b"one\ntwo\nthree\n").unwrap();
            disk.wait_for_failures(1);
            assert_eq!(fs::read_to_string(&log).unwrap(), first);
            fs::rename(&log, &old).unwrap();
            // Only the old file has no space.
            disk.fill(Errno::NOSPC, 0, "w", &old);
            if removed {
                fs::remove_file(&old).unwrap();
            }
            disk.wait_for_more_failures();
            program.signal(Signal::HUP);
            client.finish().unwrap();
            assert_eq!(fs::read_to_string(&log).unwrap(), second);
            if !removed {
                assert_eq!(fs::read_to_string(&old).unwrap(), first);
            }
            let outcome = program.stop();
            assert_eq!(outcome.status, 0);
            assert_eq!(
                said(&outcome),
                [
                    format!("tlsink: no space left for {log}; waiting until there is"),
                    hint().to_owned(),
                    format!("tlsink: {log} reopened"),
                    format!("tlsink: there is space for {log} again"),
                ]
            );
            fs::remove_file(&log).unwrap();
            disk.forget_failures();
        }
    }
}

#[test]
fn on_sighup_a_line_is_finished_in_the_old_file_if_there_is_space_for_it() {
    let Some(disk) = Disk::new() else { return };
    let (log, old) = (disk.path("log"), disk.path("log.1"));
    disk.fill(Errno::NOSPC, 6, "w", &log);
    let program = disk.start(&["--output", &log]);
    let mut client = Client::connect(program.address());
    client.write(b"one\ntwo\n").unwrap();
    disk.wait_for_failures(1);
    fs::rename(&log, &old).unwrap();
    disk.free();
    program.signal(Signal::HUP);
    program.wait_for_line(|line| line == format!("tlsink: {log} reopened"));
    client.write(b"three\n").unwrap();
    client.finish().unwrap();
    assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntwo\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "three\n");
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_file_that_can_not_be_reopened_for_want_of_space_is_reopened_later() {
    let Some(disk) = Disk::new() else { return };
    let (log, old) = (disk.path("log"), disk.path("log.1"));
    let program = disk.start(&["--output", &log]);
    send(program.address(), b"before\n");
    fs::rename(&log, &old).unwrap();
    disk.fill(Errno::NOSPC, 0, ALL, &log);
    program.signal(Signal::HUP);
    disk.wait_for_failures(3);
    disk.free();
    program.wait_for_line(|line| line == format!("tlsink: {log} reopened"));
    send(program.address(), b"after\n");
    assert_eq!(fs::read_to_string(&old).unwrap(), "before\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "after\n");
    let outcome = program.stop();
    let error = io::Error::from(Errno::NOSPC);
    assert_eq!(
        said(&outcome),
        [
            format!("tlsink: can't reopen {log}: {error}; waiting until there is space"),
            "hint: the old file stays in use, under its new name if it was renamed".to_owned(),
            format!("tlsink: {log} reopened"),
        ]
    );
}

#[test]
fn the_newline_that_ends_another_programs_line_waits_too() {
    let Some(disk) = Disk::new() else { return };
    let log = disk.path("log");
    fs::write(&log, "unfinished").unwrap();
    disk.fill(Errno::NOSPC, 0, "w", &log);
    let program = disk.start(&["--output", &log]);
    let mut client = Client::connect(program.address());
    client.write(b"line\n").unwrap();
    disk.wait_for_failures(2);
    disk.free();
    client.finish().unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), "unfinished\nline\n");
    assert_eq!(program.stop().status, 0);
}

#[test]
fn only_regular_files_are_waited_for() {
    let ends_at_once = |program: Program| {
        let mut client = Client::connect(program.address());
        client.write(b"lost\n").unwrap();
        let outcome = program.outcome();
        assert_eq!(outcome.status, 1);
        let error = io::Error::from(Errno::NOSPC);
        let full = format!("tlsink: can't write the output: {error}; up to 5 bytes may be lost");
        assert!(outcome.stderr.contains(&full), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("waiting"), "{}", outcome.stderr);
    };
    match Path::new("/dev/full").exists() {
        true => ends_at_once(Program::start(&["--output", "/dev/full"])),
        false => skip("there is no /dev/full"),
    }

    let Some(disk) = Disk::new() else { return };
    let fifo = disk.path("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let both = File::options().read(true).write(true).open(&fifo).unwrap();
    disk.fill(Errno::NOSPC, 0, "w", &fifo);
    ends_at_once(disk.start(&["--output", &fifo]));
    drop(both);
}

/// A folder in which files may have no space.
pub struct Disk {
    folder: TempDir,
    library: PathBuf,
}

impl Disk {
    /// `None` if there is no C compiler, which is reported.
    pub fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("files")).unwrap();
        let library = compile("tests/program/full_disk/preload.c", folder.path())?;
        Some(Disk { folder, library })
    }

    /// The path of a file on this disk.
    pub fn path(&self, name: &str) -> String {
        let path = self.folder.path().join("files").join(name);
        path.to_str().unwrap().to_owned()
    }

    pub fn start(&self, args: &[&str]) -> Program {
        self.start_after(":", args)
    }

    pub fn start_after(&self, commands: &str, args: &[&str]) -> Program {
        let commands = format!(
            "{commands}; export FULL_DISK='{}' LD_PRELOAD='{}'",
            self.state().display(),
            self.library.display()
        );
        Program::start_after(&commands, args)
    }

    /// From now on, these calls fail with this error where the path begins with `path`, writes only
    /// after so many bytes more. The program writes no such file at the moment.
    pub fn fill(&self, error: Errno, space: usize, calls: &str, path: &str) {
        let next = self.folder.path().join("next");
        let state = format!("{} {space} {calls} {path}\n", error.raw_os_error());
        fs::write(&next, state).unwrap();
        fs::rename(next, self.state()).unwrap();
    }

    /// From now on, there is space for everything.
    pub fn free(&self) {
        fs::remove_file(self.state()).unwrap();
    }

    pub fn wait_for_failures(&self, count: u64) {
        self.wait_for(|| self.failures() >= count);
    }

    pub fn wait_for_more_failures(&self) {
        let before = self.failures();
        self.wait_for(|| self.failures() > before);
    }

    pub fn failures(&self) -> u64 {
        fs::metadata(self.failed()).map_or(0, |facts| facts.len())
    }

    pub fn forget_failures(&self) {
        fs::remove_file(self.failed()).unwrap();
    }

    pub fn wait_for(&self, wanted: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !wanted() {
            assert!(Instant::now() < deadline, "the disk never becomes so");
            thread::yield_now();
        }
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn failed(&self) -> PathBuf {
        self.folder.path().join("state.failed")
    }
}

/// Starts `tlsink send` with this input.
fn sender(program: &Program, args: &[&str], input: &'static str) -> Program {
    let address = program.address().to_string();
    let args = [&["send", "--insecure", "-e", "none"], args, &[&address]].concat();
    let mut sender = Program::start_command(&args, Stdio::piped(), Stderr::Pipe);
    io::Write::write_all(&mut sender.stdin(), input.as_bytes()).unwrap();
    sender
}

/// Sends two signals to a program that waits for space, which then ends with 1 and says its loss.
fn stop_at_once(program: Program) {
    program.signal(Signal::TERM);
    program.wait_for_line(|line| line.starts_with("tlsink: stopping: "));
    program.signal(Signal::TERM);
    let outcome = program.outcome();
    assert_eq!(outcome.status, 1);
    let last = outcome.stderr.lines().last().unwrap();
    assert!(last.starts_with("tlsink: the output hangs"), "{last}");
    assert!(last.contains("1 stream"), "{last}");
}

fn hint() -> &'static str {
    "hint: if you remove or rename it, send SIGHUP too: until then, it stays in use"
}

/// The messages about space and files.
fn said(outcome: &Outcome) -> Vec<String> {
    let about = ["space", "quota", "hint", "open"];
    let lines = outcome.stderr.lines().filter(|line| {
        about.iter().any(|about| line.contains(about)) && !line.contains("stopping")
    });
    lines
        .filter(|line| !line.contains("try: "))
        .map(str::to_owned)
        .collect()
}

/// The names in a directory, in order.
fn names(directory: &str) -> Vec<String> {
    let files = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}
