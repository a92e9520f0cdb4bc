//! The power is lost at any moment: what was acknowledged is on the disk.
//!
//! A [library](power/shim.c) that the program preloads records what it does to its files and when it
//! answers. From the record, the test makes [disks](power/disk.rs) as they may be found after each
//! event.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt",
    feature = "relp",
    target_os = "linux",
    target_env = "gnu",
    target_arch = "x86_64"
))]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use tempfile::TempDir;

mod disk;
mod record;
mod sender;
mod session;
mod tests_of_disk;

use crate::common::dice::Dice;
use crate::common::preload::compile;
use crate::common::program::{Outcome, Program};
use disk::{Disk, Tree};
use record::Event;
use session::{Acknowledged, Resumed, What};

/// Disks drawn for each moment.
const DRAWS: usize = 2;

/// Events of which one is a moment, whatever follows.
const SOMETIMES: usize = 10;

/// Moments after which a receiver is started anew.
const RECOVERIES: usize = 5;

const SYNC: &[&str] = &["--sync", "--rotate", "2k", "--receipt"];

#[test]
fn every_acknowledged_line_is_on_the_disk() {
    let mut dice = Dice::fresh();
    for lanes in ["1", "2"] {
        let Some(run) = Run::new(
            Journal::No,
            &[SYNC, &["--lanes", lanes]].concat(),
            "",
            &mut dice,
        ) else {
            return;
        };
        assert!(run.acknowledged.len() > 100, "few lines are acknowledged");
        assert_eq!(run.outcome.status, 0);
        run.verify(&mut dice);
        run.recover(&mut dice);
    }
}

/// The control: these checks find what is wrong.
#[test]
fn without_sync_some_acknowledged_line_is_lost() {
    let mut dice = Dice::fresh();
    let args = ["--rotate", "2k", "--receipt"];
    let Some(run) = Run::new(Journal::No, &args, "", &mut dice) else {
        return;
    };
    assert!(run.first_loss(&mut dice).is_some());
}

/// The control for names: the folder's syncs are not superfluous.
#[test]
fn without_the_syncs_of_folders_some_acknowledged_line_would_be_lost() {
    let mut dice = Dice::fresh();
    let Some(mut run) = Run::new(Journal::No, SYNC, "", &mut dice) else {
        return;
    };
    let is_folder = |path: &str| ["", "logs", "logs/a"].contains(&path);
    run.events
        .retain(|event| !matches!(event, Event::Sync { path, .. } if is_folder(path)));
    assert!(run.first_loss(&mut dice).is_some());
}

#[test]
fn no_line_is_acknowledged_that_a_failed_sync_may_have_lost() {
    let mut dice = Dice::fresh();
    for (number, error) in [(1, "5"), (2, "28"), (7, "5")] {
        // The first sync of a folder is a try before any data.
        for what in ["logs/a/all.log", "logs/a"] {
            let fail = format!("{number} {error} {what}");
            let Some(run) = Run::new(Journal::No, SYNC, &fail, &mut dice) else {
                return;
            };
            let failed = |event: &&Event| matches!(event, Event::Sync { failed: true, .. });
            assert_eq!(run.events.iter().filter(failed).count(), 1);
            run.verify(&mut dice);
        }
    }
}

/// With a journal, a receiver that is started on what is found has each resumed stream once.
#[test]
fn after_the_loss_resumed_streams_go_on_where_they_were() {
    each_journaled(&[
        (&[], "", 0),
        (&["--rotate", "2k"], "", 0),
        (&["--rotate", "2k", "--compress"], "", 0),
        (&["--rotate", "2k"], "3 5 logs/a/all.log", 0),
        (&["--rotate", "20k"], "6 5 logs/a/all.log", 0),
    ]);
}

/// A journal whose sync has failed is sure of nothing any more.
#[test]
fn a_failed_sync_of_the_journal_ends_the_program_and_the_next_goes_on() {
    each_journaled(&[
        (&[], "3 5 state/journal", 1),
        (&["--rotate", "2k"], "20 28 state/journal", 1),
    ]);
}

/// Runs receivers with a journal with these arguments, of which some syncs fail, and which end with a
/// status.
fn each_journaled(runs: &[(&[&str], &str, i32)]) {
    thread::scope(|scope| {
        for (args, fail, status) in runs {
            scope.spawn(move || {
                let mut dice = Dice::fresh();
                let args = [args, &["--receipt"][..]].concat();
                let Some(run) = Run::new(Journal::Kept, &args, fail, &mut dice) else {
                    return;
                };
                assert_eq!(run.outcome.status, *status);
                run.verify(&mut dice);
                run.recover(&mut dice);
            });
        }
    });
}

/// Whether the receiver has a journal, for resumed streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Journal {
    No,
    Kept,
}

/// The record of a run in which the program served some senders.
struct Run {
    journal: Journal,
    args: Vec<String>,
    library: Library,
    events: Vec<Event>,
    acknowledged: Vec<Acknowledged>,
    streams: BTreeMap<String, Vec<u8>>,
    outcome: Outcome,
}

/// The library, made for a test, and the folder that it is in.
struct Library {
    folder: TempDir,
    path: PathBuf,
}

impl Library {
    /// `None` if there is no C compiler, which is reported.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = compile("tests/program/power/shim.c", folder.path())?;
        fs::create_dir(folder.path().join("kept")).unwrap();
        Some(Library { folder, path })
    }

    /// The folder that is watched.
    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("root")
    }

    /// The folder in which all files have a second name.
    fn kept(&self) -> PathBuf {
        self.folder.path().join("kept")
    }

    /// The shell commands that make a program preload it.
    fn commands(&self, log: &Path, fail: &str) -> String {
        format!(
            "export POWER_FOLDER='{}' POWER_LOG='{}' POWER_KEEP='{}' POWER_FAIL='{fail}' LD_PRELOAD='{}'",
            self.root().display(),
            log.display(),
            self.kept().display(),
            self.path.display()
        )
    }
}

/// The arguments for files below this folder.
fn args_for(root: &Path, journal: Journal, args: &[String]) -> Vec<String> {
    let below = |name: &str| root.join(name).display().to_string();
    let mut all: Vec<String> = ["--output-dir", &below("logs"), "--append", "--name"]
        .map(str::to_owned)
        .into();
    all.push("a/all.log".to_owned());
    if journal == Journal::Kept {
        all.extend(["--state".to_owned(), below("state")]);
    }
    all.extend_from_slice(args);
    all
}

impl Run {
    /// Runs the program while syncs [fail](shim.c). `None` if there is no C compiler.
    fn new(journal: Journal, args: &[&str], fail: &str, dice: &mut Dice) -> Option<Self> {
        let library = Library::new()?;
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let root = library.root();
        for folder in ["logs", "state"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let log = library.folder.path().join("log");
        let commands = library.commands(&log, fail);
        let all = args_for(&root, journal, &args);
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        let program = Program::start_after(&commands, &all);
        let address = program.address();
        let mut streams = BTreeMap::new();
        if journal == Journal::Kept {
            for name in ["stream-x", "stream-y"] {
                let lines = roll_lines(name, 150, dice);
                let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
                streams.insert(name.to_owned(), text.into_bytes());
            }
        }
        let relp: Vec<_> = [1, 10]
            .map(|n| (n, roll_lines(&format!("relp-{n}"), 100, dice)))
            .into();
        let plain = roll_lines("plain", 60, dice);
        let acknowledged = thread::scope(|scope| {
            let streams = streams.iter().map(|(name, all)| {
                scope.spawn(move || match Resumed::open(address, name, 0, "00000000") {
                    Ok(stream) => stream.send(all, 500),
                    Err(_) => Vec::new(),
                })
            });
            let relp = relp
                .iter()
                .map(|(window, lines)| scope.spawn(move || session::relp(address, lines, *window)));
            let plain = scope.spawn(|| {
                let parts = plain.chunks(7);
                parts
                    .flat_map(|part| session::receipt(address, part))
                    .collect()
            });
            let all: Vec<_> = streams.chain(relp).chain([plain]).collect();
            let all = all.into_iter().flat_map(|sender| sender.join().unwrap());
            all.collect()
        });
        let outcome = program.stop();
        Some(Run {
            events: Event::read_all(&log),
            acknowledged,
            journal,
            args,
            library,
            streams,
            outcome,
        })
    }

    /// Calls `look` with each event, the disk after it, and what was acknowledged by then.
    fn each_moment<T>(
        &self,
        mut look: impl FnMut(usize, &Disk, &[&Acknowledged]) -> Option<T>,
    ) -> Option<T> {
        let empty = tempfile::tempdir().unwrap();
        for folder in ["logs", "state"] {
            fs::create_dir(empty.path().join(folder)).unwrap();
        }
        let mut disk = Disk::of(empty.path());
        let mut sent: HashMap<u16, u64> = HashMap::new();
        let mut acknowledged: Vec<&Acknowledged> = Vec::new();
        let mut left: Vec<_> = self.acknowledged.iter().collect();
        for (number, event) in self.events.iter().enumerate() {
            disk.apply(event);
            if let Event::Sent { port, count } = event {
                *sent.entry(*port).or_default() += count;
                let is_sent = |one: &&Acknowledged| {
                    sent.get(&one.port)
                        .is_some_and(|sent| *sent >= one.received)
                };
                acknowledged.extend(left.extract_if(.., |one| is_sent(one)));
            }
            if let Some(found) = look(number, &disk, &acknowledged) {
                return Some(found);
            }
        }
        assert_eq!(left, Vec::<&Acknowledged>::new(), "nobody sent that");
        None
    }

    /// The first loss that is found, in words.
    ///
    /// Until something is synced, what may be found only becomes more, and so does what must be found: it
    /// is enough to look before each sync, and now and then.
    fn first_loss(&self, dice: &mut Dice) -> Option<String> {
        self.each_moment(|number, disk, acknowledged| {
            let is_due = match self.events.get(number + 1) {
                Some(Event::Sync { .. }) | None => true,
                Some(_) => number % SOMETIMES == 0,
            };
            if !is_due {
                return None;
            }
            (0..DRAWS).find_map(|_| {
                let tree = disk.draw(dice);
                let lost = self.lost(&tree, acknowledged)?;
                let events = &self.events[number.saturating_sub(20)..=number];
                Some(format!("{lost}, after event {number}: {events:#?}"))
            })
        })
    }

    fn verify(&self, dice: &mut Dice) {
        let loss = self.first_loss(dice);
        assert!(loss.is_none(), "{}", loss.unwrap_or_default());
        // The record is complete if it leads to the files that are there.
        let there = Tree::of(&self.library.root());
        self.each_moment(|number, disk, _| {
            let is_last = number + 1 == self.events.len();
            assert!(
                !is_last || disk.current().all == there.all,
                "{:?}",
                self.events
            );
            None::<()>
        });
    }

    /// The first acknowledged line or stream that is not in these files.
    fn lost(&self, tree: &Tree, acknowledged: &[&Acknowledged]) -> Option<String> {
        let text = all_text(tree);
        let text = String::from_utf8_lossy(&text);
        // Such a search and comparisons are fast in a debug build, too, unlike closures and hashes.
        let lines: BTreeSet<&str> = text.split('\n').collect();
        let mut streams: BTreeMap<&str, u64> = BTreeMap::new();
        for one in acknowledged {
            match &one.what {
                What::Line(line) if lines.contains(&**line) => {}
                What::Line(line) => return Some(line.clone()),
                What::Stream { name, offset } => {
                    let known = streams.entry(name).or_default();
                    *known = offset.max(known).to_owned();
                }
            }
        }
        streams.into_iter().find_map(|(name, offset)| {
            let sent = &self.streams[name][..usize::try_from(offset).unwrap()];
            let mut sent = std::str::from_utf8(sent).unwrap().split('\n');
            let lost = sent.find(|line| !line.is_empty() && !lines.contains(line))?;
            Some(lost.to_owned())
        })
    }

    /// Starts a receiver on disks of some moments, lets the senders go on, and compares.
    fn recover(&self, dice: &mut Dice) {
        let moments: BTreeSet<_> = (0..RECOVERIES)
            .map(|_| dice.below(self.events.len()))
            .collect();
        self.each_moment(|number, disk, acknowledged| {
            if moments.contains(&number) {
                let mut tree = disk.draw(dice);
                if dice.below(2) == 0 {
                    tree = self.interrupt_start(&tree, dice);
                }
                self.recover_from(&tree, acknowledged);
            }
            None::<()>
        });
    }

    /// Starts a receiver on these files, and loses the power again before it listens.
    fn interrupt_start(&self, tree: &Tree, dice: &mut Dice) -> Tree {
        let root = self.library.root();
        self.put_back(tree);
        let mut disk = Disk::of(&root);
        let log = self.library.folder.path().join("second-log");
        let args = args_for(&root, self.journal, &self.args);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let program = Program::start_after(&self.library.commands(&log, ""), &args);
        assert_eq!(program.stop().status, 0);
        let events = Event::read_all(&log);
        fs::remove_file(log).unwrap();
        for event in &events[..dice.below(events.len() + 1)] {
            disk.apply(event);
        }
        let found = disk.draw(dice);
        verify_kept(&all_text(tree), &all_text(&found));
        found
    }

    fn put_back(&self, tree: &Tree) {
        let root = self.library.root();
        fs::remove_dir_all(&root).unwrap();
        fs::create_dir(&root).unwrap();
        tree.make(&root, &self.library.kept());
    }

    fn recover_from(&self, tree: &Tree, acknowledged: &[&Acknowledged]) {
        let root = self.library.root();
        self.put_back(tree);
        let args = args_for(&root, self.journal, &self.args);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let program = Program::start(&args);
        for (name, all) in &self.streams {
            let known = acknowledged.iter().filter_map(|one| match &one.what {
                What::Stream { name: of, offset } if of == name => Some(*offset),
                _ => None,
            });
            let known = known.max().unwrap_or(0);
            let sum = format!(
                "{:08x}",
                crc32c::crc32c(&all[..usize::try_from(known).unwrap()])
            );
            let stream = Resumed::open(program.address(), name, known, &sum).unwrap();
            assert!(
                stream.at >= known,
                "{name}: {} is less than {known}",
                stream.at
            );
            let at = usize::try_from(stream.at).unwrap();
            let difference = difference_in(&Tree::of(&root), name, &all[..at]);
            assert!(
                difference.is_none(),
                "{name}, of which {at} bytes are known: {difference:?}, in {tree:?}; {}",
                program.stderr()
            );
            stream.send(all, 10_000);
        }
        assert_eq!(program.stop().status, 0);
        let after = Tree::of(&root);
        for (name, all) in &self.streams {
            let difference = difference_in(&after, name, all);
            assert!(difference.is_none(), "{name}: {difference:?}");
        }
        assert_eq!(self.lost(&after, acknowledged), None);
        verify_kept(&all_text(tree), &all_text(&after));
    }
}

/// Lines of streams that are not resumed are not cut away, whether they were acknowledged or not.
fn verify_kept(before: &[u8], after: &[u8]) {
    let after = String::from_utf8_lossy(after);
    let kept: BTreeSet<&str> = after.split('\n').collect();
    for line in String::from_utf8_lossy(before).split('\n') {
        let is_plain = line.starts_with("relp-") || line.starts_with("plain");
        assert!(!is_plain || kept.contains(line), "{line:?} is gone");
    }
}

/// Numbered lines of one sender.
fn roll_lines(sender: &str, count: usize, dice: &mut Dice) -> Vec<String> {
    let line = |number| {
        let most = dice.one_of(&[1, 100, 1500]);
        format!("{sender} {number} {}", "x".repeat(dice.below(most)))
    };
    (0..count).map(line).collect()
}

/// The text of the files, rotated ones first, each of which ends with a line.
fn all_text(tree: &Tree) -> Vec<u8> {
    let logs = tree.files().filter(|(path, _)| path.starts_with("logs/"));
    let (last, mut rest): (Vec<_>, Vec<_>) = logs.partition(|(path, _)| path.ends_with("/all.log"));
    rest.extend(last);
    let mut text = Vec::new();
    for (path, content) in rest {
        let bytes = content.bytes();
        match path.strip_suffix(".zst") {
            // A part of a file that is being made.
            _ if path.ends_with(".part") => {}
            // The file that it was made of may be there, too.
            Some(original) if tree.file(original).is_some() => {}
            Some(_) => text.extend(unpack(&bytes)),
            None => text.extend(bytes),
        }
        text.push(b'\n');
    }
    text
}

/// Where the lines of this sender in the files differ from those that it has sent.
///
/// Lines that were committed before a sync of their file failed are in the file that was set aside.
fn difference_in(tree: &Tree, sender: &str, sent: &[u8]) -> Option<String> {
    let aside = lines_of(tree, sender, |path| path.contains(".bad-"));
    let aside: BTreeSet<&[u8]> = aside.split_inclusive(|byte| *byte == b'\n').collect();
    let (sent_aside, sent): (Vec<&[u8]>, Vec<&[u8]>) = sent
        .split_inclusive(|byte| *byte == b'\n')
        .partition(|line| aside.contains(line));
    if sent_aside.len() < aside.len() {
        return Some("a line was set aside, and is not committed".to_owned());
    }
    let found = lines_of(tree, sender, |path| {
        !path.contains(".cut-") && !path.contains(".bad-")
    });
    difference(&found, &sent.concat())
}

/// The lines of this sender in the files with such paths.
fn lines_of(tree: &Tree, sender: &str, is_wanted: impl Fn(&str) -> bool) -> Vec<u8> {
    let mut tree = tree.clone();
    tree.all.retain(|path, _| is_wanted(path));
    let text = all_text(&tree);
    let start = format!("{sender} ");
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.filter(|line| line.starts_with(start.as_bytes()));
    lines.flatten().copied().collect()
}

/// Where two texts differ, and how they go on there.
fn difference(found: &[u8], sent: &[u8]) -> Option<String> {
    let same = found
        .iter()
        .zip(sent)
        .take_while(|(one, other)| one == other);
    let same = same.count();
    let shown = |text: &[u8]| {
        let shown = &text[same.saturating_sub(50)..text.len().min(same + 50)];
        String::from_utf8_lossy(shown).into_owned()
    };
    let (found_len, sent_len) = (found.len(), sent.len());
    (found != sent).then(|| {
        let (found, sent) = (shown(found), shown(sent));
        format!("{found_len} and {sent_len} bytes, from {same} on {found:?}, not {sent:?}")
    })
}

/// The content of a packed file. Most are found again and again.
fn unpack(bytes: &[u8]) -> Vec<u8> {
    static KNOWN: Mutex<BTreeMap<Vec<u8>, Vec<u8>>> = Mutex::new(BTreeMap::new());
    if let Some(known) = KNOWN.lock().unwrap().get(bytes) {
        return known.clone();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packed.zst");
    fs::write(&path, bytes).unwrap();
    let unpacked = Command::new("zstd").args(["-dcq"]).arg(path).output();
    let unpacked = unpacked.unwrap();
    assert!(unpacked.status.success(), "{unpacked:?}");
    let mut known = KNOWN.lock().unwrap();
    known.insert(bytes.to_vec(), unpacked.stdout.clone());
    unpacked.stdout
}
