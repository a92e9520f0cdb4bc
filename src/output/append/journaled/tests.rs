//! The writer with a journal, and the lanes before it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::conn::{Conn, ResumedAt};
use crate::end::{Cut, End};
use crate::hold::Holds;
use crate::lane::Lane;
use crate::memory::Memory;
use crate::output::{AppendHandle, Appended, Output};
use crate::peer::Peer;
use crate::resume::{Accepted, Channel, Offsets, Opening, Resumed};

/// Far longer than anything takes here.
const LIMIT: Duration = Duration::from_secs(60);

/// A receiver, with a lane for each template.
struct Site {
    folder: TempDir,
    lanes: Vec<Appended>,
    handle: AppendHandle,
    writer: Option<JoinHandle<io::Result<()>>>,
    memory: Memory,
    last: u64,
}

/// A connection of a stream.
struct Open {
    conn: Conn,
    lane: usize,
    channel: Arc<Channel>,
    at: Position,
}

impl Site {
    fn new(templates: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        let mut site = Site {
            folder,
            lanes: Vec::new(),
            handle: Appended::new("", "x".parse().unwrap()).0.handle(),
            writer: None,
            memory: Memory::new(1 << 30),
            last: 0,
        };
        site.start(templates);
        site
    }

    fn start(&mut self, templates: &[&str]) {
        let logs = self.logs();
        let (journal, recovery) = Journal::open_sized(self.folder.path(), &logs, 0).unwrap();
        assert!(recovery.is_empty(), "{recovery}");
        let (output, writer) = Appended::new(logs, "x".parse().unwrap());
        self.handle = output.handle();
        for template in templates {
            let mut lane = output.clone();
            lane.batches.template = template.parse().unwrap();
            self.lanes.push(lane);
        }
        let writer = writer.journal(journal).rotate(Some(2000)).open_files(1);
        self.writer = Some(thread::spawn(move || writer.run()));
    }

    fn stop(&mut self) {
        self.lanes.clear();
        self.writer.take().unwrap().join().unwrap().unwrap();
    }

    fn logs(&self) -> std::path::PathBuf {
        self.folder.path().join("logs")
    }

    fn try_open(&mut self, lane: usize, stream: &str) -> Result<Open, Box<End>> {
        self.last += 1;
        let id = ConnId(self.last);
        let mut conn = Conn::new(id, Peer::label("test"), self.memory.clone());
        let of_lane = Arc::new(Lane::new());
        conn.holds = Some(Holds::new(id, &of_lane, &self.memory));
        let stream = Arc::new(Resumed {
            client: None,
            name: stream.to_owned(),
        });
        let channel = Channel::new(id, &of_lane);
        let opening = Opening::new(&stream, Position::START, &channel);
        self.lanes[lane].open(&conn).unwrap();
        self.handle.open(opening);
        let Accepted { at, by_output } = wait(|| channel.take().opened)?;
        assert!(by_output);
        conn.resumed = Some(Arc::new(ResumedAt {
            stream,
            at,
            instance: None,
            by_output,
            handed: AtomicU32::new(at.crc32c),
        }));
        Ok(Open {
            conn,
            lane,
            channel,
            at,
        })
    }

    fn open(&mut self, lane: usize, stream: &str) -> Open {
        self.try_open(lane, stream).unwrap()
    }

    fn send(&mut self, open: &mut Open, bytes: &str) {
        open.conn.given = bytes.len();
        open.conn.offset += bytes.len() as u64;
        let lane = &mut self.lanes[open.lane];
        lane.data(&open.conn, bytes.as_bytes()).unwrap();
        lane.flush().unwrap();
    }

    /// Ends a connection; returns how, once its holds are done.
    fn close(&mut self, open: Open, end: &End) -> Option<End> {
        let lane = &mut self.lanes[open.lane];
        lane.close(&open.conn, end).unwrap();
        lane.flush().unwrap();
        let holds = open.conn.holds.unwrap();
        wait(|| match holds.poll_end() {
            Poll::Ready(end) => Some(end),
            Poll::Pending => None,
        })
    }
}

fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_micros(50));
    }
}

fn taken_over() -> End {
    End::Cut(Cut::TakenOver)
}

fn line(stream: &str, number: usize) -> String {
    format!("{stream} {number} {}\n", "x".repeat(number % 40))
}

/// The number of lines up to a position.
fn lines_before(stream: &str, at: Position) -> usize {
    let mut position = Position::START;
    for number in 0.. {
        if position == at {
            return number;
        }
        assert!(position.offset < at.offset, "within a line");
        position = position.behind(line(stream, number).as_bytes());
    }
    unreachable!()
}

/// The lines of all files, by their streams, in each file in order.
fn lines(folder: &Path) -> BTreeMap<String, Vec<usize>> {
    let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let mut last = BTreeMap::new();
        for text in fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            let mut words = text.split(' ');
            let stream = words.next().unwrap().to_owned();
            let number = words.next().unwrap().parse().unwrap();
            assert_eq!(format!("{text}\n"), line(&stream, number));
            assert!(last.insert(stream.clone(), number) < Some(number));
            found.entry(stream).or_default().push(number);
        }
    }
    for numbers in found.values_mut() {
        numbers.sort_unstable();
    }
    found
}

#[test]
fn streams_that_change_connections_and_files_are_written_once() {
    const TEMPLATES: [&str; 3] = ["a", "b", "{stream}"];
    const STREAMS: [&str; 3] = ["one", "two", "three"];
    for seed in 1..6_u64 {
        let mut site = Site::new(&TEMPLATES);
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below as u64) as usize
        };
        let mut open: BTreeMap<&str, (Open, usize)> = BTreeMap::new();
        for _ in 0..400 {
            let stream = STREAMS[next(STREAMS.len())];
            match next(20) {
                0 => {
                    for (_, (open, _)) in std::mem::take(&mut open) {
                        assert_eq!(site.close(open, &End::Clean), None);
                    }
                    site.stop();
                    site.start(&TEMPLATES);
                }
                1 => site.handle.reopen(),
                2..=5 => {
                    let new = site.open(next(TEMPLATES.len()), stream);
                    let sent = lines_before(stream, new.at);
                    if let Some((mut old, before)) = open.insert(stream, (new, sent)) {
                        assert!(sent <= before);
                        assert!(old.channel.take().is_taken_over);
                        // It may not know yet.
                        let late = line(stream, before);
                        site.send(&mut old, &late);
                        assert_eq!(site.close(old, &taken_over()), Some(taken_over()));
                    }
                }
                lines => {
                    let lane = next(TEMPLATES.len());
                    let (open, sent) = open.entry(stream).or_insert_with(|| {
                        let new = site.open(lane, stream);
                        let sent = lines_before(stream, new.at);
                        (new, sent)
                    });
                    let more: String = (0..lines).map(|more| line(stream, *sent + more)).collect();
                    *sent += lines;
                    // An unfinished line as well, now and then.
                    let (first, second) = more.split_at(next(more.len()));
                    site.send(open, first);
                    site.send(open, second);
                }
            }
        }
        for (_, (open, _)) in open {
            assert_eq!(site.close(open, &End::Clean), None);
        }
        for stream in STREAMS {
            let last = site.open(0, stream);
            let count = lines_before(stream, last.at);
            let found = lines(&site.logs());
            let found = found.get(stream).cloned().unwrap_or_default();
            assert_eq!(found, (0..count).collect::<Vec<_>>(), "{stream}, {seed}");
        }
        site.stop();
    }
}

#[test]
fn the_journal_is_replaced_when_it_is_nearly_full() {
    const LINES: usize = 20_000;
    let mut site = Site::new(&["a"]);
    let mut open = site.open(0, "s");
    let mut beside = Conn::new(ConnId(77), Peer::label("test"), site.memory.clone());
    site.lanes[0].open(&beside).unwrap();
    for number in 0..LINES {
        site.send(&mut open, &line("s", number));
        if number % 10 == 0 {
            let other = line("other", number);
            beside.offset += other.len() as u64;
            site.lanes[0].data(&beside, other.as_bytes()).unwrap();
        }
    }
    assert_eq!(site.close(open, &End::Clean), None);
    site.stop();
    let journal = fs::metadata(site.folder.path().join("journal")).unwrap();
    assert_eq!(journal.len(), 1 << 20);
    site.start(&["a"]);
    let open = site.open(0, "s");
    assert_eq!(lines_before("s", open.at), LINES);
    let found = lines(&site.logs());
    assert_eq!(found["s"], (0..LINES).collect::<Vec<_>>());
    assert_eq!(found["other"].len(), LINES / 10);
    site.stop();
}

#[test]
fn without_a_journal_streams_are_refused() {
    let (output, writer) = Appended::new("", "x".parse().unwrap());
    let handle = output.handle();
    let stream = Arc::new(Resumed {
        client: None,
        name: "s".to_owned(),
    });
    let channel = Channel::new(ConnId(1), &Arc::new(Lane::new()));
    let refused = || {
        handle.open(Opening::new(&stream, Position::START, &channel));
        let opened = wait(|| channel.take().opened);
        let end = opened.map(|_| ()).unwrap_err();
        end.to_string()
    };
    let writing = thread::spawn(|| writer.run());
    let expected = "cut (the output failed: positions of streams are not kept)";
    assert_eq!(refused(), expected);
    drop(output);
    writing.join().unwrap().unwrap();
    let expected = "cut (the output failed: the stream was not accepted)";
    assert_eq!(refused(), expected);
}
