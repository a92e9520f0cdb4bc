//! The facts that the records of a journal add up to.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::record::{Batch, Identity, Record};
use crate::resume::{Position, Resumed};

/// Streams and files, as the records so far tell.
#[derive(Debug, Default)]
pub(super) struct State {
    streams: BTreeMap<u32, Stream>,
    numbers: HashMap<Arc<Resumed>, u32>,
    files: BTreeMap<u64, FileState>,
    /// The files with batches that are not committed.
    pending: BTreeSet<u64>,
}

/// A stream that is known.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: Arc<Resumed>,
    /// The position up to which it is committed.
    pub(super) committed: Position,
    /// The day of its last use, counted from 1970.
    pub(super) day: u32,
}

/// A file that is not closed.
#[derive(Clone, Debug)]
pub(in crate::output::append) struct FileState {
    pub(in crate::output::append) identity: Identity,
    pub(in crate::output::append) name: String,
    /// The size up to which its bytes count, in bytes.
    pub(in crate::output::append) committed: u64,
    /// The batches behind that, in the order of their positions, and the numbers of their records.
    pub(in crate::output::append) batches: VecDeque<(u64, Batch)>,
    /// A sync has failed.
    pub(in crate::output::append) is_lost: bool,
    /// It is complete, and about to have this path.
    pub(in crate::output::append) rotated: Option<String>,
}

impl State {
    /// Adds a record with its number.
    pub(super) fn apply(&mut self, number: u64, record: &Record) {
        match record {
            Record::Stream {
                stream,
                name,
                at,
                day,
            } => {
                self.numbers.insert(Arc::clone(name), *stream);
                let known = self.streams.entry(*stream).or_insert_with(|| Stream {
                    name: Arc::clone(name),
                    committed: *at,
                    day: 0,
                });
                known.day = known.day.max(*day);
            }
            Record::Forget { stream } => {
                if let Some(known) = self.streams.remove(stream) {
                    self.numbers.remove(&known.name);
                }
            }
            Record::Moved { stream, to, day } => {
                if let Some(known) = self.streams.get_mut(stream) {
                    known.committed = *to;
                    known.day = known.day.max(*day);
                }
            }
            Record::File {
                file,
                identity,
                name,
                len,
            } => {
                let opened = FileState {
                    identity: *identity,
                    name: name.clone(),
                    committed: *len,
                    batches: VecDeque::new(),
                    is_lost: false,
                    rotated: None,
                };
                self.files.insert(*file, opened);
            }
            Record::Batch { file, batch } => {
                if let Some(known) = self.files.get_mut(file) {
                    known.write_over(batch.position);
                    known.batches.push_back((number, batch.clone()));
                    self.pending.insert(*file);
                }
            }
            Record::Undo { file, from } => {
                if let Some(known) = self.files.get_mut(file) {
                    known.batches.retain(|(number, _)| number < from);
                }
            }
            Record::Lost { file } => {
                if let Some(known) = self.files.get_mut(file) {
                    known.is_lost = true;
                }
            }
            Record::Commit { below, day } => self.commit(*below, *day),
            Record::Rotate { file, to } => {
                if let Some(known) = self.files.get_mut(file) {
                    known.rotated = Some(to.clone());
                }
            }
            Record::Closed { file } => {
                self.files.remove(file);
                self.pending.remove(file);
            }
        }
    }

    fn commit(&mut self, below: u64, day: u32) {
        let State {
            streams,
            files,
            pending,
            ..
        } = self;
        pending.retain(|file| {
            let Some(known) = files.get_mut(file) else {
                return false;
            };
            if known.is_lost {
                return false;
            }
            let is_below = |(number, _): &(u64, Batch)| *number < below;
            while known.batches.front().is_some_and(is_below)
                && let Some((_, batch)) = known.batches.pop_front()
            {
                known.committed = batch.end();
                for (stream, at) in batch.streams {
                    if let Some(stream) = streams.get_mut(&stream) {
                        stream.committed = at;
                        stream.day = stream.day.max(day);
                    }
                }
            }
            !known.batches.is_empty()
        });
    }

    /// The stream with this number.
    pub(super) fn stream(&self, number: u32) -> Option<&Stream> {
        self.streams.get(&number)
    }

    /// Moves a stream on.
    pub(super) fn advance(&mut self, number: u32, to: Position) {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.committed = to;
        }
    }

    /// The number of a stream.
    pub(super) fn number(&self, name: &Resumed) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    #[cfg(test)]
    pub(super) fn set_day(&mut self, number: u32, day: u32) {
        self.streams.get_mut(&number).unwrap().day = day;
    }

    /// The number of streams that are known.
    pub(super) fn count(&self) -> usize {
        self.streams.len()
    }

    /// A number that no stream has.
    pub(super) fn next_stream(&self) -> u32 {
        let last = self.streams.last_key_value();
        let next = last.map_or(Some(0), |(number, _)| number.checked_add(1));
        // Numbers begin anew when the last is used.
        next.or_else(|| (0..u32::MAX).find(|number| !self.streams.contains_key(number)))
            .unwrap_or_default()
    }

    /// Forgets the streams that were last used before this day, and are not in use. A snapshot must
    /// follow.
    pub(super) fn forget_unused(&mut self, oldest: u32, is_in_use: impl Fn(u32) -> bool) {
        let State {
            streams, numbers, ..
        } = self;
        streams.retain(|number, stream| {
            let is_kept = stream.day >= oldest || is_in_use(*number);
            if !is_kept {
                numbers.remove(&stream.name);
            }
            is_kept
        });
    }

    /// Whether a commit of the records below this number changes anything.
    pub(super) fn is_pending(&self, below: u64) -> bool {
        let mut pending = self.pending.iter().filter_map(|file| self.files.get(file));
        pending.any(|file| {
            let first = file.batches.front();
            first.is_some_and(|(number, _)| *number < below) && !file.is_lost
        })
    }

    /// All streams, by their numbers.
    pub(super) fn streams(&self) -> impl Iterator<Item = (u32, &Stream)> {
        self.streams
            .iter()
            .map(|(number, stream)| (*number, stream))
    }

    pub(super) fn file(&self, file: u64) -> Option<&FileState> {
        self.files.get(&file)
    }

    /// All files that are not closed.
    pub(super) fn files(&self) -> impl Iterator<Item = (u64, &FileState)> {
        self.files.iter().map(|(number, file)| (*number, file))
    }

    /// Forgets all files.
    pub(super) fn close_files(&mut self) {
        self.files.clear();
        self.pending.clear();
    }

    /// Records that add up to this state, without the batches that are not committed.
    pub(super) fn snapshot(&self) -> Vec<Record> {
        let streams = self.streams().map(|(number, stream)| Record::Stream {
            stream: number,
            name: Arc::clone(&stream.name),
            at: stream.committed,
            day: stream.day,
        });
        let mut records: Vec<_> = streams.collect();
        for (number, file) in self.files() {
            records.push(Record::File {
                file: number,
                identity: file.identity,
                name: file.name.clone(),
                len: file.committed,
            });
            records.extend(file.is_lost.then_some(Record::Lost { file: number }));
            let rotated = file.rotated.clone();
            records.extend(rotated.map(|to| Record::Rotate { file: number, to }));
        }
        records
    }
}

impl FileState {
    /// Removes the batches that have bytes behind a position.
    fn write_over(&mut self, position: u64) {
        while self
            .batches
            .back()
            .is_some_and(|(_, last)| last.end() > position)
        {
            self.batches.pop_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{at, stream};
    use super::*;

    const FILE: u64 = 7;

    fn file() -> Record {
        Record::File {
            file: FILE,
            identity: Identity { inode: 1, born: 2 },
            name: "log".to_owned(),
            len: 100,
        }
    }

    fn batch(position: u64, len: u64, streams: &[(u32, u64)]) -> Record {
        let streams = streams
            .iter()
            .map(|(stream, offset)| (*stream, at(*offset)));
        Record::Batch {
            file: FILE,
            batch: Batch {
                position,
                len,
                crc32c: 0,
                streams: streams.collect(),
            },
        }
    }

    fn commit(below: u64) -> Record {
        Record::Commit { below, day: 30_000 }
    }

    fn state(records: &[Record]) -> State {
        let mut state = State::default();
        for (number, record) in (0..).zip(records) {
            state.apply(number, record);
        }
        state
    }

    fn committed(state: &State) -> (u64, u64) {
        let stream = state.stream(1).unwrap();
        (stream.committed.offset, state.file(FILE).unwrap().committed)
    }

    #[test]
    fn a_batch_counts_when_it_is_committed_and_not_before() {
        let mut records = vec![
            stream(1, "s", 10),
            file(),
            batch(100, 5, &[(1, 15)]),
            batch(105, 5, &[]),
            batch(110, 5, &[(1, 20)]),
        ];
        assert_eq!(committed(&state(&records)), (10, 100));
        for (below, expected) in [
            (2, (10, 100)),
            (3, (15, 105)),
            (4, (15, 110)),
            (5, (20, 115)),
        ] {
            records.push(commit(below));
            let state = state(&records);
            assert_eq!(committed(&state), expected);
            records.pop();
        }
        records.push(commit(5));
        assert_eq!(state(&records).stream(1).unwrap().day, 30_000);
    }

    #[test]
    fn a_batch_that_is_undone_or_written_over_does_not_count() {
        let undo = Record::Undo {
            file: FILE,
            from: 3,
        };
        let begin = [
            stream(1, "s", 10),
            file(),
            batch(100, 5, &[(1, 15)]),
            batch(105, 5, &[(1, 20)]),
        ];
        let end = |more: Record| state(&[&begin[..], &[more, commit(9)]].concat());
        assert_eq!(committed(&end(undo)), (15, 105));
        assert_eq!(committed(&end(batch(105, 2, &[]))), (15, 107));
        assert_eq!(committed(&end(batch(100, 2, &[]))), (10, 102));
        // A batch without bytes is not written over.
        let records = [
            &begin[..3],
            &[batch(105, 0, &[(1, 16)]), batch(105, 5, &[])],
        ]
        .concat();
        let empty = state(&[&records[..], &[commit(9)]].concat());
        assert_eq!(committed(&empty), (16, 110));
    }

    #[test]
    fn nothing_is_committed_in_a_file_whose_sync_has_failed() {
        let state = state(&[
            stream(1, "s", 10),
            file(),
            batch(100, 5, &[(1, 15)]),
            commit(3),
            batch(105, 5, &[(1, 20)]),
            Record::Lost { file: FILE },
            commit(6),
            batch(110, 5, &[(1, 25)]),
            commit(8),
        ]);
        assert_eq!(committed(&state), (15, 105));
        assert_eq!(state.file(FILE).unwrap().batches.len(), 2);
    }

    #[test]
    fn a_closed_file_and_a_forgotten_stream_are_no_longer_known() {
        let state = state(&[
            stream(1, "s", 10),
            stream(2, "t", 10),
            file(),
            batch(100, 5, &[(1, 15)]),
            Record::Closed { file: FILE },
            Record::Forget { stream: 1 },
            commit(9),
        ]);
        assert!(state.file(FILE).is_none() && state.stream(1).is_none());
        let of = |name: &str| {
            state.number(&Resumed {
                client: None,
                name: name.to_owned(),
            })
        };
        assert_eq!((of("s"), of("t")), (None, Some(2)));
    }

    #[test]
    fn a_snapshot_adds_up_to_the_committed_state() {
        let rotate = Record::Rotate {
            file: FILE,
            to: "log.1".to_owned(),
        };
        let before = state(&[
            stream(1, "s", 10),
            file(),
            batch(100, 5, &[(1, 15)]),
            commit(3),
            batch(105, 5, &[(1, 20)]),
            rotate,
        ]);
        let after = state(&before.snapshot());
        assert_eq!(committed(&after), (15, 105));
        assert_eq!(after.snapshot(), before.snapshot());
        assert_eq!(after.file(FILE).unwrap().rotated.as_deref(), Some("log.1"));
    }
}
