//! The bytes of a stream that are not acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;

use memchr::memrchr;
use tlsink::resume::Position;

use super::super::follow::SourceFile;

/// The size up to which small pieces are put together, in bytes.
const PIECE: usize = 256 << 10;

/// The bytes of a stream from its last acknowledged one on.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pieces: VecDeque<Piece>,
    /// The position of the first byte.
    start: Position,
    /// The number of bytes of the first piece that are acknowledged.
    done: usize,
    len: u64,
    /// The number of bytes behind the last newline, also of one that is acknowledged.
    unfinished: u64,
}

/// A piece of the stream.
#[derive(Debug)]
pub(super) struct Piece {
    /// The offset of its first byte.
    offset: u64,
    bytes: Vec<u8>,
    /// The file whose bytes these are.
    source: Option<Arc<SourceFile>>,
    /// The last byte is a newline that the file lacks.
    newline_added: bool,
}

/// Bytes that are acknowledged.
#[derive(Debug)]
pub(super) struct Done<'a> {
    /// The bytes of a file, without an added newline.
    pub(super) bytes: &'a [u8],
    pub(super) source: Option<&'a Arc<SourceFile>>,
    /// Behind them, a newline was added.
    pub(super) newline_added: bool,
}

impl Backlog {
    pub(super) fn new(start: Position) -> Self {
        Backlog {
            start,
            ..Backlog::default()
        }
    }

    /// The position before which everything is acknowledged.
    pub(super) fn acknowledged(&self) -> Position {
        self.start
    }

    /// The offset behind the last byte.
    pub(super) fn end(&self) -> u64 {
        self.start.offset.saturating_add(self.len)
    }

    /// The number of bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is a newline among them.
    pub(super) fn has_newline(&self) -> bool {
        self.unfinished < self.len
    }

    /// Moves the whole stream, of which nothing was acknowledged, behind this position.
    pub(super) fn move_behind(&mut self, position: Position) {
        let by = position.offset.saturating_sub(self.start.offset);
        for piece in &mut self.pieces {
            piece.offset = piece.offset.saturating_add(by);
        }
        self.start = position;
    }

    /// Appends bytes.
    pub(super) fn push(
        &mut self,
        bytes: Vec<u8>,
        source: Option<Arc<SourceFile>>,
        newline_added: bool,
    ) {
        let offset = self.end();
        self.len = self.len.saturating_add(bytes.len() as u64);
        self.unfinished = match memrchr(b'\n', &bytes) {
            Some(newline) => (bytes.len().saturating_sub(newline) as u64).saturating_sub(1),
            None => self.unfinished.saturating_add(bytes.len() as u64),
        };
        if let Some(last) = self.pieces.back_mut()
            && last.bytes.len().saturating_add(bytes.len()) <= PIECE
            && !last.newline_added
            && is_same(last.source.as_ref(), source.as_ref())
        {
            last.bytes.extend_from_slice(&bytes);
            last.newline_added = newline_added;
            return;
        }
        self.pieces.push_back(Piece {
            offset,
            bytes,
            source,
            newline_added,
        });
    }

    /// Bytes from this offset on, as many as there are in one piece; `None` behind the last byte.
    pub(super) fn from(&self, offset: u64) -> Option<&[u8]> {
        let behind = self.pieces.partition_point(|piece| piece.offset <= offset);
        let piece = self.pieces.get(behind.checked_sub(1)?)?;
        let at = usize::try_from(offset.checked_sub(piece.offset)?).ok()?;
        piece.bytes.get(at..).filter(|bytes| !bytes.is_empty())
    }

    /// The position at this offset; `None` if that is not within the bytes.
    pub(super) fn position(&self, offset: u64) -> Option<Position> {
        if !(self.start.offset..=self.end()).contains(&offset) {
            return None;
        }
        let mut position = self.start;
        while position.offset < offset {
            let bytes = self.from(position.offset)?;
            position = position.behind(front(bytes, offset.saturating_sub(position.offset)));
        }
        Some(position)
    }

    /// Drops all bytes before this offset, up to the last byte; `done` sees them before.
    pub(super) fn acknowledge(&mut self, offset: u64, mut done: impl FnMut(Done<'_>)) {
        while self.start.offset < offset
            && let Some(piece) = self.pieces.front()
        {
            let left = piece.bytes.get(self.done..).unwrap_or_default();
            let bytes = front(left, offset.saturating_sub(self.start.offset));
            let is_last = bytes.len() == left.len();
            let newline_added = is_last && piece.newline_added;
            done(Done {
                bytes: match newline_added {
                    true => bytes.strip_suffix(b"\n").unwrap_or(bytes),
                    false => bytes,
                },
                source: piece.source.as_ref(),
                newline_added,
            });
            self.start = self.start.behind(bytes);
            self.len = self.len.saturating_sub(bytes.len() as u64);
            self.done = self.done.saturating_add(bytes.len());
            if is_last {
                self.done = 0;
                self.pieces.pop_front();
            }
        }
    }
}

/// The first bytes, at most this many.
fn front(bytes: &[u8], most: u64) -> &[u8] {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    bytes.get(..most).unwrap_or(bytes)
}

fn is_same(one: Option<&Arc<SourceFile>>, other: Option<&Arc<SourceFile>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::follow::{FileId, Mark};
    use super::*;

    fn source(inode: u64) -> Option<Arc<SourceFile>> {
        let id = FileId { device: 0, inode };
        let start = Mark::default();
        Some(Arc::new(SourceFile { id, start }))
    }

    /// Two files, the first without a newline at its end.
    fn backlog(start: Position) -> (Backlog, Vec<u8>) {
        let (first, second) = (source(1), source(2));
        let mut backlog = Backlog::new(start);
        for (bytes, source, newline_added) in [
            (&b"one\n"[..], &first, false),
            (b"two\n", &first, true),
            (b"three\n", &second, false),
        ] {
            backlog.push(bytes.to_vec(), source.clone(), newline_added);
        }
        (backlog, b"one\ntwo\nthree\n".to_vec())
    }

    #[test]
    fn the_stream_can_be_read_from_each_offset_and_has_its_positions() {
        let start = Position::START.behind(b"before");
        let (backlog, all) = backlog(start);
        assert_eq!((backlog.len(), backlog.end()), (14, 20));
        for at in 0..=14 {
            let mut read = Vec::new();
            while let Some(bytes) = backlog.from(6 + at + read.len() as u64) {
                read.extend_from_slice(bytes);
            }
            let (before, behind) = all.split_at(at as usize);
            assert_eq!(read, behind);
            let position = backlog.position(6 + at);
            assert_eq!(position, Some(start.behind(before)));
        }
        assert_eq!(backlog.position(5), None);
        assert_eq!(backlog.position(21), None);
    }

    #[test]
    fn acknowledged_bytes_are_seen_once_each_with_its_file() {
        for step in 1..=14 {
            let (mut backlog, all) = backlog(Position::START);
            let (mut files, mut newlines) = ([Vec::new(), Vec::new()], 0);
            for offset in (step..=14).step_by(step as usize).chain([14, 99]) {
                backlog.acknowledge(offset, |done| {
                    let inode = done.source.unwrap().id.inode;
                    files[inode as usize - 1].extend_from_slice(done.bytes);
                    newlines += u32::from(done.newline_added);
                });
                let before = &all[..offset.min(14) as usize];
                assert_eq!(backlog.acknowledged(), Position::START.behind(before));
                assert_eq!(backlog.end(), 14);
            }
            assert_eq!(files, [b"one\ntwo".to_vec(), b"three\n".to_vec()]);
            assert_eq!((newlines, backlog.len()), (1, 0));
        }
    }

    #[test]
    fn a_stream_moves_behind_a_position() {
        let (mut backlog, all) = backlog(Position::START);
        let position = Position::START.behind(b"earlier");
        backlog.move_behind(position);
        assert_eq!(backlog.end(), 21);
        assert_eq!(backlog.position(21), Some(position.behind(&all)));
    }
}
