//! Senders and receivers die at any moment, connections are cut, disks are full, clocks go back: no
//! acknowledged line is missing, and each byte of a resumed stream is in the files once.
//!
//! `TLSINK_CRASH_SEED=N` replays the round with this seed, `TLSINK_CRASH_ROUNDS=N` runs so many, with the
//! seeds that follow. A seed decides what happens, the machine how it coincides.

use std::any::Any;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use tempfile::TempDir;

mod files;
mod plan;
mod proxy;
mod senders;
mod writer;

use crate::common::dice::Dice;
use crate::common::preload::compile;
use crate::common::program::{FREE, Outcome, Program, Stderr, Stdout};
use crate::common::skip::is_installed;
use crate::machine;
use plan::{Plan, Step};
use proxy::Proxy;
use senders::Resender;
use writer::{Kind, write_log};

const SEED: &str = "TLSINK_CRASH_SEED";
const ROUNDS: &str = "TLSINK_CRASH_ROUNDS";

/// Rounds at the same time: they mostly wait.
const AT_ONCE: usize = 4;

/// The time limit for all that was sent to arrive, once nothing more dies. A sender may wait for half a
/// minute before it connects again.
const PATIENCE: Duration = Duration::from_secs(150);

/// `TLSINK_CRASH_ROUNDS=500 cargo test --release --test load crash`
#[test]
fn whatever_dies_acknowledged_lines_are_there_and_resumed_ones_once() {
    let _machine = machine::shared();
    let number = |name| -> Option<u64> {
        let value = env::var(name).ok()?;
        Some(value.parse().expect("it is a number"))
    };
    let given = number(SEED);
    let rounds = number(ROUNDS).unwrap_or(if given.is_some() { 1 } else { 20 });
    let clock = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let first = given.unwrap_or_else(clock);
    let Some(tools) = Tools::new() else { return };
    let next = AtomicU64::new(0);
    let failed: Mutex<Option<(u64, Box<dyn Any + Send>)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= rounds || failed.lock().unwrap().is_some() {
                        break;
                    }
                    let seed = first.wrapping_add(number);
                    let plan = Plan::roll(seed);
                    eprintln!("{SEED}={seed} replays {plan:?}");
                    let run = AssertUnwindSafe(|| Round::new(plan, &tools).run());
                    if let Err(panic) = catch_unwind(run) {
                        failed.lock().unwrap().get_or_insert((seed, panic));
                    }
                }
            });
        }
    });
    if let Some((seed, panic)) = failed.into_inner().unwrap() {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        panic!("{SEED}={seed} replays this: {}", text.unwrap_or_default());
    }
}

#[test]
fn a_receiver_that_dies_while_its_journal_is_compacted_loses_nothing() {
    let _machine = machine::shared();
    let Some(tools) = Tools::new() else { return };
    let plan = Plan::of_compaction(Dice::fresh().next());
    eprintln!("{plan:?}");
    Round::new(plan, &tools).run();
}

/// The tools that all rounds need.
struct Tools {
    _folder: TempDir,
    /// The libraries that receivers preload.
    libraries: [PathBuf; 2],
}

impl Tools {
    /// `None` if something is not installed, which is reported.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let full_disk = compile("tests/program/full_disk/preload.c", folder.path())?;
        let clock = compile("tests/load/crash/clock.c", folder.path())?;
        is_installed("zstd").then(|| Tools {
            libraries: [full_disk, clock],
            _folder: folder,
        })
    }
}

struct Round<'a> {
    plan: Plan,
    tools: &'a Tools,
    folder: TempDir,
    proxy: Proxy,
    receiver: Option<Program>,
    followers: Vec<Follower>,
    /// Lines that were in the files when a receiver had died, and must never be gone.
    seen: BTreeSet<Vec<u8>>,
    starts: usize,
    /// Whether an old copy of the journal was put back.
    is_restored: bool,
    dice: Dice,
}

/// A sender that follows a file.
struct Follower {
    args: Vec<String>,
    program: Option<Program>,
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        // Programs that wait for it end first.
        self.followers.clear();
        self.receiver = None;
    }
}

impl<'a> Round<'a> {
    fn new(plan: Plan, tools: &'a Tools) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["logs", "state", "input"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Round {
            dice: Dice::new(!plan.seed),
            proxy: Proxy::start(plan.seed),
            plan,
            tools,
            folder,
            receiver: None,
            followers: Vec::new(),
            seen: BTreeSet::new(),
            starts: 0,
            is_restored: false,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text_path(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn run(mut self) {
        self.start_receiver();
        self.start_followers();
        let (kind, lines) = (self.plan.kind, self.plan.lines);
        let logs = self.path("logs");
        let resender = Resender {
            address: self.proxy.address.to_string(),
            folder: self.path("input"),
            deadline: Instant::now() + PATIENCE,
        };
        let is_over = AtomicBool::new(false);
        let seed = self.dice.next();
        let dice = |number: usize| Dice::new(seed.wrapping_add(number as u64));
        let plan = self.plan.clone();
        thread::scope(|scope| {
            let _over = Over(&is_over);
            let (logs, resender, is_over) = (&logs, &resender, &is_over);
            let mut senders = Vec::new();
            for (number, rotation) in plan.followed.iter().enumerate() {
                let path = self.path(&format!("input/follow-{number}"));
                let (tag, rotation) = (format!("follow-{number}"), *rotation);
                let dice = dice(number);
                senders.push(scope.spawn(move || {
                    let is_delivered = |all: &[u8]| {
                        // A receiver that is gone delivers nothing.
                        is_over.load(Ordering::Acquire) || delivered(logs, kind, &tag) == all
                    };
                    let what = (kind, &tag[..], lines);
                    let all = write_log(&path, what, rotation, is_delivered, dice);
                    (tag, all)
                }));
            }
            for number in 0..plan.resumed {
                let (tag, dice) = (format!("resume-{number}"), dice(10 + number));
                senders.push(scope.spawn(move || {
                    let all = resender.resume((kind, &tag, lines), dice);
                    (tag, all)
                }));
            }
            let mut acknowledged = Vec::new();
            for number in 0..plan.relp {
                let (tag, dice) = (format!("relp-{number}"), dice(20 + number));
                acknowledged.push(scope.spawn(move || resender.relp(&tag, lines, dice)));
            }
            for number in 0..plan.plain {
                let (tag, dice) = (format!("plain-{number}"), dice(30 + number));
                acknowledged.push(scope.spawn(move || resender.plain(&tag, lines / 10, dice)));
            }

            for step in plan.steps.clone() {
                self.wait_a_while();
                self.take(step);
            }
            self.proxy.calm();
            self.free_disk();

            let acknowledged: Vec<_> = acknowledged
                .into_iter()
                .flat_map(|sender| sender.join().expect("it is served at last"))
                .collect();
            if plan.restores {
                // Streams may stop, or go on as new ones. Their senders are not waited for.
                is_over.store(true, Ordering::Release);
                drop(senders);
                self.wait_a_while();
                self.kill_receiver();
                self.followers.clear();
                self.start_receiver();
                self.stop_receiver();
                self.verify_kept();
                return;
            }
            let sent: Vec<_> = senders
                .into_iter()
                .map(|sender| sender.join().expect("it is served at last"))
                .collect();
            let deadline = Instant::now() + PATIENCE;
            let all_there = || {
                sent.iter()
                    .all(|(tag, all)| delivered(logs, kind, tag) == *all)
            };
            while !all_there() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(50));
            }
            for follower in &mut self.followers {
                // Until then, a signal ends it as it ends any program.
                follower.wait();
                let outcome = follower.program.take().expect("it runs").stop();
                // Of twins, the one that lost the stream waits for half a minute.
                let may_wait = plan.has_twins && outcome.stderr.contains("took the stream over");
                let Outcome { status, stderr, .. } = outcome;
                assert!(status == 0 || status == 1 && may_wait, "{status}: {stderr}");
            }
            self.stop_receiver();
            for (tag, all) in &sent {
                verify_same(&delivered(logs, kind, tag), all, tag);
            }
            let there = files::lines(logs);
            for line in &acknowledged {
                assert!(there.contains(line.as_bytes()), "{line:?} was acknowledged");
            }
            self.verify_kept();
        });
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::CutAll => self.proxy.cut_all(),
            Step::KillReceiver { pause } => {
                self.kill_receiver();
                self.move_journal();
                thread::sleep(pause);
                self.start_receiver();
            }
            Step::StopReceiver => {
                self.proxy.set_target(None);
                let receiver = self.receiver.take().expect("it runs");
                receiver.signal(Signal::TERM);
                receiver.signal(Signal::TERM);
                receiver.outcome();
                self.look();
                self.start_receiver();
            }
            Step::KillFollower(number) => self.restart_follower(number, Duration::ZERO),
            Step::KillBoth { number, pause } => {
                self.kill_receiver();
                self.restart_follower(number, pause);
                self.start_receiver();
            }
            Step::KillReceiverInCompaction { pause } => {
                let new = self.path("state/journal.new");
                let deadline = Instant::now() + PATIENCE;
                while !new.exists() {
                    assert!(Instant::now() < deadline, "the journal is never full");
                    thread::sleep(Duration::from_millis(1));
                }
                thread::sleep(pause);
                self.kill_receiver();
                self.start_receiver();
            }
            Step::FillDisk { time } => {
                let state = format!("28 0 wc {}/\n", self.text_path("logs"));
                fs::write(self.path("next"), state).unwrap();
                fs::rename(self.path("next"), self.path("disk")).unwrap();
                thread::sleep(time);
                self.free_disk();
            }
        }
    }

    /// Waits until some bytes have come, but not for long.
    fn wait_a_while(&mut self) {
        let most = self.dice.one_of(&[100, 10_000, 100_000]);
        let wanted = self.proxy.passed() + self.dice.below(most) as u64;
        let most = Duration::from_millis(self.dice.below(400) as u64);
        let start = Instant::now();
        while self.proxy.passed() < wanted && start.elapsed() < most {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn free_disk(&self) {
        // It is not there if there is space.
        let _ = fs::remove_file(self.path("disk"));
    }

    fn start_receiver(&mut self) {
        if self.starts > 0 && self.dice.below(3) == 0 {
            self.interrupt_start();
        }
        let (commands, args) = self.receiver();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let program = Program::start_after_into(&commands, &args, Stdout::Collected);
        self.starts += 1;
        self.proxy.set_target(Some(program.address()));
        self.receiver = Some(program);
    }

    /// Starts a receiver that dies while it repairs what the one before has left.
    fn interrupt_start(&mut self) {
        let (commands, args) = self.receiver();
        let args = ["--listen", FREE]
            .into_iter()
            .chain(args.iter().map(String::as_str));
        let args: Vec<_> = args.collect();
        let program = Program::start_command_after(&commands, &args, Stdio::null());
        thread::sleep(Duration::from_millis(self.dice.below(100) as u64));
        program.signal(Signal::KILL);
        program.outcome();
        self.look();
    }

    /// The shell commands before a receiver is started, and its arguments.
    fn receiver(&mut self) -> (String, Vec<String>) {
        let offset = match self.starts {
            0 => 0,
            _ => self.dice.one_of(&[0, 0, -10, -3600, -86_400, 3600]),
        };
        let libraries = self.tools.libraries.each_ref().map(|path| path.display());
        let [full_disk, clock] = libraries;
        let commands = format!(
            "export FULL_DISK='{}' CLOCK_OFFSET={offset} LD_PRELOAD='{full_disk} {clock}'",
            self.text_path("disk")
        );
        let logs = self.text_path("logs");
        let file = format!("{logs}/{}", files::NAME);
        let state = self.text_path("state");
        let mut args = vec!["--receipt"];
        match &self.plan.name {
            Some(name) => args.extend(["--output-dir", &logs, "--append", "--name", name]),
            None => args.extend(["--output", &file]),
        }
        args.extend(["--state", &state]);
        args.extend(&self.plan.receiver);
        (commands, args.into_iter().map(str::to_owned).collect())
    }

    fn kill_receiver(&mut self) {
        self.proxy.set_target(None);
        let receiver = self.receiver.take().expect("it runs");
        receiver.signal(Signal::KILL);
        let outcome = receiver.outcome();
        let killed = -(Signal::KILL.as_raw());
        assert_eq!(
            outcome.status, killed,
            "it ended by itself: {}",
            outcome.stderr
        );
        self.look();
    }

    fn stop_receiver(&mut self) -> Outcome {
        let outcome = self.receiver.take().expect("it runs").stop();
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        outcome
    }

    /// Notes the lines that are in the files while no receiver runs.
    fn look(&mut self) {
        let lines = files::lines(&self.path("logs"));
        // Those of resumed streams that are not acknowledged may be cut off, as they come again.
        let all_stay = self.plan.restores && self.is_restored;
        let stays =
            |line: &Vec<u8>| all_stay || line.starts_with(b"relp-") || line.starts_with(b"plain-");
        self.seen.extend(lines.into_iter().filter(stays));
    }

    fn verify_kept(&self) {
        let there = files::lines(&self.path("logs"));
        let gone = self.seen.iter().find(|line| !there.contains(*line));
        let gone = gone.map(|line| String::from_utf8_lossy(line));
        assert_eq!(gone, None, "a line is gone that was there");
    }

    /// Makes a copy of the journal, or puts an old one back, if that is planned.
    fn move_journal(&mut self) {
        if !self.plan.restores {
            return;
        }
        let (state, copy) = (self.path("state"), self.path("copy"));
        if copy.exists() {
            fs::remove_dir_all(&state).unwrap();
            copy_folder(&copy, &state);
            self.is_restored = true;
            self.look();
        } else {
            copy_folder(&state, &copy);
        }
    }

    fn start_followers(&mut self) {
        let follow = |number: usize, state: &str, stream: &[&str]| {
            let mut args: Vec<String> = ["send", "-v", "--insecure", "--encode", self.plan.encode]
                .map(str::to_owned)
                .into();
            let path = self.text_path(&format!("input/follow-{number}"));
            let state = self.text_path(&format!("input/{state}-{number}"));
            let given = ["--follow", &path, "--follow-state", &state];
            args.extend(
                given
                    .into_iter()
                    .chain(stream.iter().copied())
                    .map(str::to_owned),
            );
            args.push(self.proxy.address.to_string());
            args
        };
        let mut all = Vec::new();
        for number in 0..self.plan.followed.len() {
            match self.plan.has_twins && number == 0 {
                true => all.extend(["state", "twin"].map(|s| follow(0, s, &["--stream", "twin"]))),
                false => all.push(follow(number, "state", &[])),
            }
            // A file that is not there yet would be another test.
            fs::write(self.path(&format!("input/follow-{number}")), "").unwrap();
        }
        for args in all {
            let mut follower = Follower {
                args,
                program: None,
            };
            follower.start();
            // It can't know of a file that is renamed before that.
            follower.wait();
            self.followers.push(follower);
        }
    }

    fn restart_follower(&mut self, number: usize, pause: Duration) {
        let count = self.followers.len();
        let Some(follower) = self.followers.get_mut(number % count.max(1)) else {
            return;
        };
        if let Some(program) = follower.program.take() {
            program.signal(Signal::KILL);
            let outcome = program.outcome();
            let killed = -(Signal::KILL.as_raw());
            assert_eq!(
                outcome.status, killed,
                "it ended by itself: {}",
                outcome.stderr
            );
        }
        thread::sleep(pause);
        follower.start();
    }
}

impl Follower {
    fn start(&mut self) {
        let args: Vec<_> = self.args.iter().map(String::as_str).collect();
        let program = Program::start_command(&args, Stdio::null(), Stderr::Pipe);
        self.program = Some(program);
    }

    /// Waits until it has opened its file.
    fn wait(&self) {
        let program = self.program.as_ref().expect("it runs");
        program.wait_for_lines(1, |line| line.starts_with("tlsink: following "));
    }
}

/// Tells others when it is dropped, after a failure, too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The bytes of a stream that are in the files. The only one may have lines without its tag.
fn delivered(logs: &Path, kind: Kind, tag: &str) -> Vec<u8> {
    let text = files::text(logs);
    match kind {
        Kind::Any => text,
        Kind::Tagged => files::lines_of(&text, tag),
    }
}

fn verify_same(found: &[u8], sent: &[u8], tag: &str) {
    if found == sent {
        return;
    }
    let same = found
        .iter()
        .zip(sent)
        .take_while(|(one, other)| one == other);
    let same = same.count();
    let around = |bytes: &[u8]| {
        let shown = &bytes[same.saturating_sub(100)..bytes.len().min(same + 100)];
        String::from_utf8_lossy(shown).into_owned()
    };
    panic!(
        "of {tag}, {} bytes were sent and {} found, the same up to {same}: {:?} was sent, {:?} found",
        sent.len(),
        found.len(),
        around(sent),
        around(found),
    );
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_folder(&path, &to),
            false => _ = fs::copy(path, to).unwrap(),
        }
    }
}
