//! The whole journal: crashes, and what is recovered.

use std::fs::{self, File, OpenOptions};
use std::io::Write;

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A writer that dies.
struct Site {
    folder: TempDir,
    journal: Journal,
    /// The next number of a file.
    files: u64,
    /// The file that is open, and its size.
    open: Option<(u64, u64)>,
    /// The number of the stream.
    stream: u32,
    /// The position of the stream that is written.
    written: Position,
    /// The lines of the stream up to there.
    sent: String,
    /// The sizes of the file and the journal that are sure to be on the disk.
    sure: (u64, u64),
}

fn name() -> Arc<Resumed> {
    Arc::new(Resumed {
        client: Some("client".to_owned()),
        name: "s".to_owned(),
    })
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        let (journal, recovery) = open(&folder).unwrap();
        assert!(recovery.is_empty());
        let mut site = Site {
            folder,
            journal,
            files: 0,
            open: None,
            stream: 0,
            written: Position::START,
            sent: String::new(),
            sure: (0, 0),
        };
        site.stream = site.add("s");
        site.open_file();
        site
    }

    fn add(&mut self, stream: &str) -> u32 {
        let mut name = (*name()).clone();
        stream.clone_into(&mut name.name);
        let added = self
            .journal
            .add_stream(&Arc::new(name), Position::START, |_| false);
        added.unwrap().unwrap()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("logs/log")
    }

    fn read(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }

    /// The files beside the log, by their names, and their contents.
    fn others(&self) -> Vec<(String, Vec<u8>)> {
        let files = fs::read_dir(self.folder.path().join("logs")).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        let files = files.filter(|path| *path != self.log());
        let mut files: Vec<_> = files
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    fn open_file(&mut self) {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        let facts = file.metadata().unwrap();
        self.files += 1;
        self.record(&Record::File {
            file: self.files,
            identity: Identity::of(&facts),
            name: "log".to_owned(),
            len: facts.len(),
        });
        self.open = Some((self.files, facts.len()));
        self.journal.sync().unwrap();
        self.note_sure(facts.len());
    }

    fn record(&self, record: &Record) -> u64 {
        self.journal.record(record).unwrap()
    }

    fn note_sure(&mut self, len: u64) {
        let end = self.journal.lock().file.unsynced().map(|(_, end)| end);
        assert_eq!(end, None);
        self.sure = (len, self.journal.lock().file.end());
    }

    /// Notes a batch, and writes the first `written` bytes of it.
    fn batch(&mut self, lines: &str, streams: Vec<(u32, Position)>, written: usize) {
        let (file, position) = self.open.unwrap();
        self.record(&Record::Batch {
            file,
            batch: Batch {
                position,
                len: lines.len() as u64,
                crc32c: crc32c::crc32c(lines.as_bytes()),
                streams,
            },
        });
        let mut log = OpenOptions::new().append(true).open(self.log()).unwrap();
        log.write_all(&lines.as_bytes()[..written]).unwrap();
        self.open = Some((file, position + lines.len() as u64));
    }

    fn resumed_part(&mut self, lines: &str, written: usize) {
        self.written = self.written.behind(lines.as_bytes());
        self.sent.push_str(lines);
        self.batch(lines, vec![(self.stream, self.written)], written);
    }

    fn resumed(&mut self, lines: &str) {
        self.resumed_part(lines, lines.len());
    }

    fn other(&mut self, lines: &str) {
        self.batch(lines, Vec::new(), lines.len());
    }

    /// The batches are sure from then on, and the record of the commit is not.
    fn commit(&mut self) {
        self.journal.sync().unwrap();
        let (_, len) = self.open.unwrap();
        self.note_sure(len);
        self.journal.commit(self.journal.next(), &[]).unwrap();
    }

    fn committed(&self) -> Position {
        self.journal.committed(self.stream).unwrap()
    }

    /// Dies, and starts again.
    fn restart(&mut self) -> Recovery {
        let (journal, recovery) = open(&self.folder).unwrap();
        self.journal = journal;
        self.stream = self.journal.stream(&name()).unwrap();
        self.written = self.committed();
        self.sent.truncate(self.written.offset as usize);
        assert_eq!(self.written, Position::START.behind(self.sent.as_bytes()));
        self.open_file();
        recovery
    }
}

fn open(folder: &TempDir) -> io::Result<(Journal, Recovery)> {
    let output = folder.path().join("logs");
    Journal::open_sized(folder.path(), &output, 0)
}

#[test]
fn batches_that_are_whole_count_without_a_commit() {
    let mut site = Site::new();
    site.resumed("s 1\n");
    site.commit();
    site.resumed("s 2\n");
    site.other("o 1\n");
    site.resumed("s 3\n");
    let recovery = site.restart();
    assert_eq!(site.committed().offset, 12);
    assert_eq!(site.read(), "s 1\ns 2\no 1\ns 3\n");
    assert_eq!(recovery.to_string(), "recovered: 1 file");
    // Nothing is left to do.
    assert!(site.restart().is_empty());
    assert_eq!(site.committed().offset, 12);
}

#[test]
fn a_resumed_batch_that_is_torn_is_cut_off() {
    for written in 0..4 {
        let mut site = Site::new();
        site.resumed("s 1\n");
        site.commit();
        site.resumed_part("s 2\n", written);
        let recovery = site.restart();
        assert_eq!(site.read(), "s 1\n");
        assert_eq!(site.committed().offset, 4);
        let cut = match written {
            0 => "recovered: 1 file".to_owned(),
            1 => "recovered: 1 file, 1 cut back by 1 byte".to_owned(),
            n => format!("recovered: 1 file, 1 cut back by {n} bytes"),
        };
        assert_eq!(recovery.to_string(), cut);
        assert!(site.others().is_empty());
    }
}

#[test]
fn another_batch_that_is_torn_stays_and_is_ended() {
    for (written, expected) in [
        (0, "s 1\n"),
        (1, "s 1\no\n"),
        (3, "s 1\no 1\n"),
        (4, "s 1\no 1\n"),
        (5, "s 1\no 1\no\n"),
    ] {
        let mut site = Site::new();
        site.resumed("s 1\n");
        site.batch("o 1\no 2\n", Vec::new(), written);
        site.restart();
        assert_eq!(site.read(), expected);
        assert_eq!(site.committed().offset, 4);
        assert!(site.others().is_empty());
    }
}

#[test]
fn a_batch_that_was_given_up_does_not_count() {
    let mut site = Site::new();
    site.resumed("s 1\n");
    let (file, position) = site.open.unwrap();
    let before = site.written;
    site.resumed("lost\n");
    let from = site.journal.next() - 1;
    let log = OpenOptions::new().write(true).open(site.log()).unwrap();
    for gives_up in [true, false] {
        // The next batch at its position says the same as a record that gives it up.
        if gives_up {
            site.record(&Record::Undo { file, from });
        }
        log.set_len(position).unwrap();
        site.open = Some((file, position));
        site.written = before;
        site.sent.truncate(4);
        site.resumed("s 2\n");
    }
    site.restart();
    assert_eq!(site.read(), "s 1\ns 2\n");
    assert_eq!(site.committed().offset, 8);
}

#[test]
fn bytes_that_no_record_knows_are_saved() {
    let mut site = Site::new();
    site.resumed("s 1\n");
    site.commit();
    let mut log = OpenOptions::new().append(true).open(site.log()).unwrap();
    log.write_all(b"unknown").unwrap();
    let recovery = site.restart();
    assert_eq!(site.read(), "s 1\n");
    let others = site.others();
    assert!(others[0].0.starts_with("log.cut-"));
    assert_eq!(others[0].1, b"unknown");
    assert_eq!(recovery.saved.len(), 1);
    let said = recovery.to_string();
    let expected =
        "recovered: 1 file, 1 cut back by 7 bytes; bytes that nobody sends again are in ";
    assert!(said.starts_with(expected), "{said}");
}

#[test]
fn lines_of_others_behind_a_cut_are_saved() {
    let mut site = Site::new();
    site.resumed("s 1\n");
    site.commit();
    site.resumed("s 2\n");
    site.other("o 1\n");
    site.resumed("s 3\n");
    site.other("o 2\n");
    let mut bytes = fs::read(site.log()).unwrap();
    bytes[5] = 0;
    fs::write(site.log(), bytes).unwrap();
    site.restart();
    assert_eq!(site.read(), "s 1\n");
    assert_eq!(site.committed().offset, 4);
    assert_eq!(site.others()[0].1, b"o 1\no 2\n");
}

#[test]
fn a_file_that_is_gone_or_renamed_is_looked_for_by_its_properties() {
    let mut site = Site::new();
    site.resumed("s 1\n");
    site.commit();
    site.resumed_part("s 2\n", 2);
    let renamed = site.log().with_extension("1");
    fs::rename(site.log(), &renamed).unwrap();
    fs::write(site.log(), "of another program").unwrap();
    site.restart();
    assert_eq!(fs::read_to_string(&renamed).unwrap(), "s 1\n");
    assert_eq!(site.read(), "of another program");

    let mut site = Site::new();
    site.resumed("s 1\n");
    site.commit();
    fs::remove_file(site.log()).unwrap();
    assert!(site.restart().is_empty());
    site.resumed("s 2\n");
    fs::remove_file(site.log()).unwrap();
    let recovery = site.restart();
    assert_eq!(recovery.gone, [site.log()]);
    assert_eq!(site.committed().offset, 4);
}

#[test]
fn a_file_that_could_not_be_synced_is_set_aside_and_said() {
    let mut site = Site::new();
    site.resumed("s 1\n");
    site.commit();
    site.resumed("s 2\n");
    site.journal.sync().unwrap();
    let (file, _) = site.open.unwrap();
    site.journal.commit(site.journal.next(), &[file]).unwrap();
    let recovery = site.restart();
    assert_eq!(site.read(), "");
    let aside = &recovery.set_aside[0];
    assert_eq!(fs::read_to_string(aside).unwrap(), "s 1\n");
    let said = format!(
        "; a file that could not be synced is now {}",
        aside.display()
    );
    assert!(recovery.to_string().ends_with(&said), "{recovery}");
    assert_eq!(site.committed().offset, 4);
}

#[test]
fn a_file_that_lost_synced_bytes_is_said() {
    let mut site = Site::new();
    site.resumed("s 1\n");
    site.commit();
    site.resumed("s 2\n");
    let log = OpenOptions::new().write(true).open(site.log()).unwrap();
    log.set_len(3).unwrap();
    let recovery = site.restart();
    assert_eq!(recovery.short, [site.log()]);
    assert_eq!(site.committed().offset, 4);
    assert_eq!(site.read(), "s 1\n");
}

#[test]
fn a_rotation_is_finished_whenever_it_was_interrupted() {
    for stage in 0..4 {
        let mut site = Site::new();
        site.resumed("s 1\n");
        let (file, _) = site.open.unwrap();
        site.commit();
        site.record(&Record::Rotate {
            file,
            to: "log.TIME".to_owned(),
        });
        site.journal.sync().unwrap();
        let to = site.log().with_extension("TIME");
        if stage >= 1 {
            // The name is reserved.
            File::create_new(&to).unwrap();
        }
        if stage >= 2 {
            fs::rename(site.log(), &to).unwrap();
        }
        if stage >= 3 {
            site.record(&Record::Closed { file });
        }
        site.restart();
        assert_eq!(site.others(), [("log.TIME".to_owned(), b"s 1\n".to_vec())]);
        assert_eq!(site.read(), "");
        site.resumed("s 2\n");
        site.restart();
        assert_eq!(site.read(), "s 2\n");
    }
}

#[test]
fn a_rotation_replaces_no_file() {
    let mut site = Site::new();
    site.resumed("s 1\n");
    let (file, _) = site.open.unwrap();
    site.commit();
    let to = "log.TIME".to_owned();
    site.record(&Record::Rotate { file, to });
    fs::write(site.log().with_extension("TIME"), "of another program").unwrap();
    site.restart();
    let others = site.others();
    assert_eq!(others.len(), 2);
    assert!(others.iter().any(|(_, text)| text == b"of another program"));
    assert!(others.iter().any(|(_, text)| text == b"s 1\n"));
}

#[test]
fn a_file_whose_sync_failed_is_set_aside_without_the_lines_that_come_again() {
    let mut site = Site::new();
    site.resumed("s 1\n");
    site.commit();
    site.resumed("s 2\n");
    let (file, _) = site.open.unwrap();
    site.journal.commit(site.journal.next(), &[file]).unwrap();
    site.restart();
    assert_eq!(site.committed().offset, 4);
    assert_eq!(site.read(), "");
    let others = site.others();
    assert!(others[0].0.starts_with("log.bad-"));
    assert_eq!(others[0].1, b"s 1\n");
}

#[test]
fn an_old_copy_of_the_journal_destroys_nothing() {
    let mut site = Site::new();
    site.resumed("s 1\n");
    site.commit();
    site.resumed("s 2\n");
    let path = site.folder.path().join(NAME);
    let old = fs::read(&path).unwrap();
    site.other("o 1\n");
    site.resumed("s 3\n");
    site.commit();
    site.restart();
    site.resumed("s 4\n");
    site.commit();
    fs::write(&path, old).unwrap();
    site.restart();
    assert_eq!(site.read(), "s 1\ns 2\n");
    assert_eq!(site.committed().offset, 8);
    assert_eq!(site.others()[0].1, b"o 1\ns 3\ns 4\n");
}

#[test]
fn recovery_can_be_repeated() {
    let mut site = Site::new();
    site.resumed("s 1\n");
    site.commit();
    site.resumed_part("s 2\n", 4);
    site.batch("o 1\no 2\n", Vec::new(), 6);
    let path = site.folder.path().join(NAME);
    let old = fs::read(&path).unwrap();
    let first = site.restart();
    let read = site.read();
    assert_eq!(read, "s 1\ns 2\no 1\no \n");
    // It was interrupted before the new journal was written.
    fs::write(&path, &old).unwrap();
    let second = site.restart();
    assert_eq!((site.read(), second), (read, first));
    assert_eq!(site.committed().offset, 8);

    let mut site = Site::new();
    site.commit();
    site.resumed("s 1\n");
    site.other("o 1\n");
    let mut bytes = fs::read(site.log()).unwrap();
    bytes[0] = 0;
    let path = site.folder.path().join(NAME);
    let old = fs::read(&path).unwrap();
    for _ in 0..2 {
        // It was interrupted before the file was cut back.
        fs::write(site.log(), &bytes).unwrap();
        fs::write(&path, &old).unwrap();
        site.restart();
        assert_eq!(site.read(), "");
        let others = site.others();
        assert_eq!(others.len(), 1);
        assert_eq!(others[0].1, b"o 1\n");
    }
}

#[test]
fn a_damaged_journal_is_refused_and_says_its_path() {
    let mut site = Site::new();
    for _ in 0..9 {
        site.resumed("s\n");
        site.commit();
    }
    let path = site.folder.path().join(NAME);
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = open(&site.folder).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert_eq!(error.to_string(), format!("{} is damaged", path.display()));
    // It is as it was.
    assert!(fs::read(&path).unwrap() == bytes);
}

#[test]
fn a_client_has_a_limited_number_of_streams_and_old_ones_give_way() {
    let mut site = Site::new();
    // One is there.
    for number in 1..MOST_STREAMS {
        site.add(&number.to_string());
    }
    let of = |client: Option<&str>, stream: &str| {
        let name = Arc::new(Resumed {
            client: client.map(str::to_owned),
            name: stream.to_owned(),
        });
        let added = site
            .journal
            .add_stream(&name, Position::START, |number| number == 1);
        added.unwrap()
    };
    assert_eq!(of(Some("client"), "more"), None);
    assert!(of(Some("another"), "more").is_some());
    assert!(of(None, "more").is_some());
    for number in 0..3 {
        let old = UNUSED + 1;
        let mut inner = site.journal.lock();
        inner.state.set_day(number, today() - old);
    }
    let of = |stream: &str| {
        let mut name = (*name()).clone();
        stream.clone_into(&mut name.name);
        let name = Arc::new(name);
        let added = site
            .journal
            .add_stream(&name, Position::START, |number| number == 1);
        added.unwrap()
    };
    // The one that is in use stays.
    assert!(of("more").is_some());
    assert!(of("and more").is_some());
    assert_eq!(of("too many"), None);
    site.journal.compact(|_| false).unwrap();
    assert!(of("too many").is_some());
}

#[test]
fn a_compact_journal_is_the_same() {
    let mut site = Site::new();
    let path = site.folder.path().join(NAME);
    let size = fs::metadata(&path).unwrap().len();
    let mut compacted = 0;
    for _ in 0..10_000 {
        site.resumed("s\n");
        site.commit();
        if site.journal.is_nearly_full() {
            site.journal.compact(|_| true).unwrap();
            compacted += 1;
        }
    }
    assert!(compacted >= 1);
    assert_eq!(fs::metadata(&path).unwrap().len(), size);
    site.resumed("s\n");
    site.restart();
    assert_eq!(site.committed().offset, 2 * 10_001);
}

/// A step of a writer between two crashes.
#[derive(Clone, Debug)]
enum Step {
    Resumed(usize),
    Other(usize),
    Commit,
    /// Undoes the last batch.
    GiveUp,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..400_usize).prop_map(Step::Resumed),
        3 => (1..400_usize).prop_map(Step::Other),
        2 => Just(Step::Commit),
        1 => Just(Step::GiveUp),
    ];
    vec(step, 1..12)
}

/// The part of unsynced bytes that a crash loses: their end, or a block in the middle.
#[derive(Clone, Debug)]
struct Loss {
    is_cut: bool,
    at: usize,
    len: usize,
}

fn loss() -> impl Strategy<Value = Loss> {
    (any::<bool>(), 0..3000_usize, 0..1500_usize).prop_map(|(is_cut, at, len)| Loss {
        is_cut,
        at,
        len,
    })
}

impl Loss {
    fn befall(&self, path: &Path, sure: u64, end: usize) {
        let mut bytes = fs::read(path).unwrap();
        let sure = sure as usize;
        let at = sure + self.at % (end - sure + 1);
        match self.is_cut {
            true => bytes.truncate(at),
            false => {
                let to = (at + self.len).min(bytes.len());
                bytes[at..to].fill(0);
            }
        }
        // In place: the file is the same.
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all(&bytes).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn each_line_of_a_stream_is_there_exactly_once_after_any_crash(
        rounds in vec((steps(), loss(), loss(), any::<bool>()), 1..4),
    ) {
        let mut site = Site::new();
        let mut sure_others = Vec::new();
        let mut number = 0;
        for (steps, of_log, of_journal, power_is_cut) in rounds {
            let mut others = Vec::new();
            let mut last = None;
            for step in steps {
                number += 1;
                let before = (site.open, site.written, site.sent.len());
                match step {
                    Step::Resumed(len) => {
                        site.resumed(&format!("s {number} {}\n", "x".repeat(len)));
                        last = Some((before, site.journal.next() - 1));
                    }
                    Step::Other(len) => {
                        let line = format!("o {number} {}", "y".repeat(len));
                        site.other(&format!("{line}\n"));
                        others.push(line);
                        last = None;
                    }
                    Step::Commit => {
                        site.commit();
                        sure_others.append(&mut others);
                        last = None;
                    }
                    Step::GiveUp => {
                        if let Some(((open, written, sent), from)) = last.take() {
                            let (file, len) = open.unwrap();
                            let log = OpenOptions::new().write(true).open(site.log()).unwrap();
                            log.set_len(len).unwrap();
                            site.record(&Record::Undo { file, from });
                            (site.open, site.written) = (open, written);
                            site.sent.truncate(sent);
                        }
                    }
                }
            }
            let sure = site.sent[..site.committed().offset as usize].to_owned();
            let sent = site.sent.clone();
            if power_is_cut {
                let (log, journal) = site.sure;
                let end = fs::metadata(site.log()).unwrap().len();
                of_log.befall(&site.log(), log, end as usize);
                let end = site.journal.lock().file.end();
                of_journal.befall(&site.folder.path().join(NAME), journal, end as usize);
            }
            site.restart();
            if !power_is_cut {
                prop_assert_eq!(&site.sent, &sent);
                sure_others.append(&mut others);
            }
            prop_assert!(sent.starts_with(&site.sent) && site.sent.starts_with(&sure));
            let read = fs::read(site.log()).unwrap();
            let read = String::from_utf8(read).unwrap();
            let lines = |of: char| {
                let lines = read.lines().filter(move |line| line.starts_with(of));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            let expected: Vec<_> = site.sent.lines().collect();
            prop_assert_eq!(lines('s'), expected);
            let found = lines('o');
            for line in &sure_others {
                prop_assert!(found.contains(line));
            }
        }
    }
}
