//! The records that frames hold.

use memchr::{memchr, memchr_iter};

/// Records, kept as lines: a newline follows each record that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBuffer {
    bytes: Vec<u8>,
    /// The positions of the newlines that are part of a record, in order.
    inner: Vec<usize>,
    answers: Vec<u8>,
    /// The number of bytes that were decompressed within frames.
    unpacked: usize,
    /// The most that may be decompressed within frames.
    max_unpacked: usize,
}

/// The size from which on a buffer takes no further record, in bytes. It may be exceeded by what is
/// made of one small part of a frame.
const FULL: usize = 256 * 1024;

/// Records of one stream. The first may continue the last one of the call before, and the last may
/// go on.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    /// The positions of the newlines that are part of a record, in order, counted from `from`.
    inner: &'a [usize],
    /// The position of the first byte.
    from: usize,
}

/// A record, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record<'a> {
    /// The bytes of the record. They may contain newlines.
    pub bytes: &'a [u8],
    /// Whether the record ends with these bytes.
    pub ends: bool,
}

impl Record<'_> {
    /// The number of bytes that the record takes in [`Records::lines`].
    pub(crate) fn len(&self) -> usize {
        self.bytes.len().saturating_add(usize::from(self.ends))
    }
}

impl Default for RecordBuffer {
    fn default() -> Self {
        RecordBuffer {
            bytes: Vec::new(),
            inner: Vec::new(),
            answers: Vec::new(),
            unpacked: 0,
            max_unpacked: FULL,
        }
    }
}

impl RecordBuffer {
    /// All records in the buffer.
    pub fn records(&self) -> Records<'_> {
        Records {
            bytes: &self.bytes,
            inner: &self.inner,
            from: 0,
        }
    }

    /// The bytes to send to the peer once these records are delivered: acknowledgements, in
    /// framings that have them.
    pub fn answers(&self) -> &[u8] {
        &self.answers
    }

    pub(crate) fn take_answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answers)
    }

    /// Removes all records and answers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.inner.clear();
        self.answers.clear();
        self.unpacked = 0;
        self.max_unpacked = FULL;
    }

    /// The number of bytes that were decompressed within frames.
    pub fn unpacked(&self) -> usize {
        self.unpacked
    }

    /// Allows only so many bytes to be decompressed within frames, until the buffer is cleared.
    pub(crate) fn limit_unpacked(&mut self, most: u64) {
        self.max_unpacked = usize::try_from(most).unwrap_or(FULL).min(FULL);
    }

    /// Whether there is enough in the buffer: no more is to be parsed into it.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL || self.unpacked >= self.max_unpacked
    }

    /// The number of bytes that may still be decompressed within frames.
    pub(super) fn unpack_room(&self) -> usize {
        self.max_unpacked.saturating_sub(self.unpacked)
    }

    /// Notes that bytes were decompressed within a frame.
    pub(super) fn count_unpacked(&mut self, bytes: usize) {
        self.unpacked = self.unpacked.saturating_add(bytes);
    }

    /// Adds whole lines, and the beginning of one.
    pub(super) fn push_lines(&mut self, lines: &[u8]) {
        self.bytes.extend_from_slice(lines);
    }

    /// Adds a part of a record in which no newline is.
    pub(super) fn push_line_part(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
    }

    /// Adds a part of a record.
    pub(super) fn push(&mut self, part: &[u8]) {
        let at = self.bytes.len();
        let newlines = memchr_iter(b'\n', part).map(|newline| at.saturating_add(newline));
        self.inner.extend(newlines);
        self.bytes.extend_from_slice(part);
    }

    /// Adds to the answer to the peer.
    pub(super) fn answer(&mut self, bytes: &[u8]) {
        self.answers.extend_from_slice(bytes);
    }

    /// Ends the record.
    pub(super) fn end(&mut self) {
        self.bytes.push(b'\n');
    }
}

impl<'a> Records<'a> {
    /// Lines, none of which contains a newline itself.
    pub(crate) fn of_lines(lines: &'a [u8]) -> Self {
        Records {
            bytes: lines,
            inner: &[],
            from: 0,
        }
    }

    /// The records behind the first `taken` bytes.
    pub(crate) fn behind(&self, taken: usize) -> Self {
        let from = self.from.saturating_add(taken);
        let passed = self.inner.partition_point(|newline| *newline < from);
        Records {
            bytes: self.bytes.get(taken..).unwrap_or_default(),
            inner: self.inner.get(passed..).unwrap_or_default(),
            from,
        }
    }

    /// A copy.
    pub(crate) fn to_buffer(self) -> RecordBuffer {
        let inner = self.inner.iter();
        RecordBuffer {
            bytes: self.bytes.to_vec(),
            inner: inner
                .map(|newline| newline.saturating_sub(self.from))
                .collect(),
            ..RecordBuffer::default()
        }
    }

    /// The size of a copy, in bytes.
    pub(crate) fn size(&self) -> usize {
        let inner = self.inner.len().saturating_mul(size_of::<usize>());
        self.bytes.len().saturating_add(inner)
    }

    /// The first `most` records as lines in which each newline of a record is written as `\\x0a`, and
    /// the number of bytes of [`lines`](Self::lines) that they take.
    pub(crate) fn escaped(&self, most: usize) -> (Vec<u8>, usize) {
        let (mut text, mut taken) = (Vec::new(), 0_usize);
        for record in self.iter().take(most) {
            let mut from = 0;
            for newline in memchr_iter(b'\n', record.bytes) {
                text.extend_from_slice(record.bytes.get(from..newline).unwrap_or_default());
                text.extend_from_slice(br"\x0a");
                from = newline.saturating_add(1);
            }
            text.extend_from_slice(record.bytes.get(from..).unwrap_or_default());
            taken = taken.saturating_add(record.len());
            if record.ends {
                text.push(b'\n');
            }
        }
        (text, taken)
    }

    /// The records as lines: a newline follows each one that ends. A record that contains newlines
    /// itself looks like several lines; [`has_newlines`](Self::has_newlines) tells whether there is
    /// one.
    pub fn lines(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether a record contains a newline.
    pub fn has_newlines(&self) -> bool {
        !self.inner.is_empty()
    }

    /// The records one by one.
    pub fn iter(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let Records {
            bytes,
            mut inner,
            from,
        } = *self;
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let mut len = 0;
            loop {
                let behind = rest.get(len..).unwrap_or_default();
                let Some(newline) = memchr(b'\n', behind) else {
                    at = bytes.len();
                    return Some(Record {
                        bytes: rest,
                        ends: false,
                    });
                };
                let end = len.saturating_add(newline);
                len = end.saturating_add(1);
                let position = from.saturating_add(at).saturating_add(end);
                match inner.split_first() {
                    Some((first, later)) if *first == position => inner = later,
                    _ => {
                        at = at.saturating_add(len);
                        return Some(Record {
                            bytes: rest.get(..end).unwrap_or_default(),
                            ends: true,
                        });
                    }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_parted_at_the_newlines_that_end_them_wherever_they_are_looked_at_from() {
        let mut buffer = RecordBuffer::default();
        buffer.push(b"a\nb");
        buffer.end();
        buffer.push(b"\n");
        buffer.end();
        buffer.end();
        buffer.push(b"c\n");
        let seen = |from| {
            let records = buffer.records().behind(from);
            let records = records.iter().map(|record| (record.bytes, record.ends));
            records.collect::<Vec<_>>()
        };
        let all = [
            (&b"a\nb"[..], true),
            (b"\n", true),
            (b"", true),
            (b"c\n", false),
        ];
        assert_eq!(seen(0), all);
        assert_eq!(seen(1)[0], (&b"\nb"[..], true));
        assert_eq!(seen(2)[0], (&b"b"[..], true));
        assert_eq!(seen(4), all[1..]);
        assert_eq!(seen(6), all[2..]);
        assert_eq!(seen(7), all[3..]);
        assert_eq!(seen(9), []);
    }
}
