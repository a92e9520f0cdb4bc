//! Writing the lines of resumed streams.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;

use super::super::Batch;
use super::super::resumed::Part;
use super::super::writer::OpenFiles;
use super::Trouble;
use crate::conn::ConnId;
use crate::end::{Cut, End};
use crate::hold::Hold;
use crate::output::StreamError;
use crate::output::files::is_full;
use crate::resume::Position;

/// The number of bytes of one stream from which on their checksum is cheaper to tell from its positions
/// than to compute.
const LONG: usize = 128 * 1024;

/// A part of a batch that is yet to be written.
struct Piece {
    part: Part,
    /// The number of its stream.
    number: u32,
    /// The position of its bytes in the batch.
    at: usize,
    hold: Hold,
}

impl OpenFiles {
    /// Writes lines of resumed streams.
    pub(super) fn append_resumed(&mut self, batch: Batch) {
        let Batch {
            name,
            lines,
            holds,
            parts,
        } = batch;
        let mut pieces = VecDeque::new();
        let mut at = 0_usize;
        for (part, hold) in parts.into_iter().zip(holds) {
            let number = self.journaled.as_ref();
            let number = number.and_then(|own| own.journal.stream(&part.stream));
            let piece = Piece {
                number: number.unwrap_or(u32::MAX),
                at,
                hold,
                part,
            };
            at = at.saturating_add(piece.part.len);
            pieces.push_back(piece);
        }
        while !pieces.is_empty() {
            match self.write_pieces(&name, &lines, &mut pieces) {
                Ok(()) => {}
                Err(Trouble::File(error)) if is_full(&error) => {
                    self.wait_for_space(&self.directory.join(&*name), error);
                }
                Err(trouble) => {
                    let error = self.error(trouble);
                    self.waited_for_space(false);
                    for Piece {
                        part, number, hold, ..
                    } in pieces
                    {
                        if self.owner(number) == Some(part.conn) {
                            self.break_stream(number);
                        }
                        self.lose(&name, vec![hold], part.len, &error);
                    }
                    return;
                }
            }
        }
        self.waited_for_space(true);
    }

    /// Writes the first of these pieces that belong to one file, or none if they belong to the next one,
    /// and removes them. Removes those that don't continue their stream.
    fn write_pieces(
        &mut self,
        name: &Arc<str>,
        lines: &[u8],
        pieces: &mut VecDeque<Piece>,
    ) -> Result<(), Trouble> {
        self.drop_strays(pieces);
        if pieces.is_empty() {
            return Ok(());
        }
        let file = self.open_journaled(name)?;
        if self.settle_elsewhere(file, pieces)? {
            return Ok(());
        }
        // Without its record, bytes in it that are not committed would not be found after a crash.
        self.sync_record(file)?;
        let (whole, split) = self.fitting(name, lines, pieces);
        if whole == 0 && split == 0 {
            return self.rotate_journaled(name);
        }
        // Pieces that lie side by side in the batch are written from there.
        let mut bytes = Cow::Borrowed(&[][..]);
        let mut behind = 0;
        let mut streams: Vec<(u32, Position)> = Vec::new();
        let mut index = HashMap::new();
        for (place, piece) in pieces.iter().take(whole.saturating_add(1)).enumerate() {
            let (own, end) = match place < whole {
                true => (piece.bytes(lines), piece.part.end),
                false if split == 0 => break,
                false => {
                    let own = piece.bytes(lines).get(..split).unwrap_or_default();
                    (own, piece.part.from.behind(own))
                }
            };
            let end_of_own = piece.at.saturating_add(own.len());
            match &mut bytes {
                Cow::Borrowed(before) if before.is_empty() => *before = own,
                Cow::Borrowed(before) if behind == piece.at => {
                    let begin = behind.saturating_sub(before.len());
                    *before = lines.get(begin..end_of_own).unwrap_or_default();
                }
                _ => bytes.to_mut().extend_from_slice(own),
            }
            behind = end_of_own;
            let at = *index.entry(piece.number).or_insert(streams.len());
            match streams.get_mut(at) {
                Some((_, last)) => *last = end,
                None => streams.push((piece.number, end)),
            }
        }
        let crc32c = match (&streams[..], pieces.front()) {
            // The positions tell it, at a fixed cost.
            ([(_, end)], Some(first))
                if bytes.len() >= LONG
                    && split == 0
                    && pieces
                        .iter()
                        .take(whole)
                        .all(|piece| piece.part.is_verbatim) =>
            {
                end.checksum_since(first.part.from)
            }
            _ => crc32c::crc32c(&bytes),
        };
        let written = self.write_bytes(name, &bytes, crc32c, streams.clone())?;
        if let Some(own) = &mut self.journaled {
            for (number, end) in streams {
                if let Some(live) = own.live.get_mut(&number) {
                    live.written = end;
                    live.file = Some(file);
                }
            }
        }
        let mut holds = Vec::new();
        for _ in 0..whole {
            holds.extend(pieces.pop_front().map(|piece| piece.hold));
        }
        if let Some(piece) = pieces.front_mut()
            && split > 0
        {
            let own = piece.bytes(lines).get(..split).unwrap_or_default();
            piece.part.from = piece.part.from.behind(own);
            piece.at = piece.at.saturating_add(split);
            piece.part.len = piece.part.len.saturating_sub(split);
        }
        self.commit(vec![written], holds, bytes.len());
        Ok(())
    }

    /// Removes the pieces that are not of the connection that their stream goes on on, or not the next
    /// ones of it.
    fn drop_strays(&mut self, pieces: &mut VecDeque<Piece>) {
        let mut reached: HashMap<u32, Position> = HashMap::new();
        for piece in std::mem::take(pieces) {
            let Piece { part, number, .. } = &piece;
            let Some(own) = &mut self.journaled else {
                return;
            };
            let is_owned = own.owner(*number) == Some(part.conn);
            let written = own.live.get(number).map(|live| live.written);
            let before = reached.get(number).copied().or(written);
            if is_owned && before == Some(part.from) {
                reached.insert(*number, part.end);
                pieces.push_back(piece);
                continue;
            }
            if is_owned {
                own.break_stream(*number);
            }
            let is_broken = own.live.get(number).is_some_and(|live| live.is_broken);
            self.backlog.remove(part.len);
            match is_broken {
                true => {
                    let error = io::Error::other("lines before these are lost");
                    piece.hold.fail(StreamError::new(error));
                }
                false => piece.hold.fail_as(End::Cut(Cut::TakenOver)),
            }
        }
    }

    /// Waits until streams of these pieces are committed that have bytes in other files than this one,
    /// so that all bytes of a stream that are not committed are in one file. Returns whether it waited:
    /// then some may be lost.
    fn settle_elsewhere(&mut self, file: u64, pieces: &VecDeque<Piece>) -> Result<bool, Trouble> {
        let Some(own) = &self.journaled else {
            return Ok(false);
        };
        let elsewhere = pieces.iter().map(|piece| piece.number);
        let elsewhere: HashSet<_> = elsewhere
            .filter(|number| !own.goes_on_in(*number, file))
            .collect();
        if elsewhere.is_empty() {
            return Ok(false);
        }
        self.wait_for_commits()?;
        if let Some(own) = &mut self.journaled {
            for number in elsewhere {
                if !own.is_committed(number) {
                    own.break_stream(number);
                }
            }
        }
        Ok(true)
    }

    /// The number of the first pieces that belong to this file, and the number of bytes of the next one
    /// that do.
    fn fitting(&self, name: &Arc<str>, lines: &[u8], pieces: &VecDeque<Piece>) -> (usize, usize) {
        let (Some(size), Some(file)) = (self.rotate, self.files.get(name)) else {
            return (pieces.len(), 0);
        };
        let mut taken = 0;
        for (place, piece) in pieces.iter().enumerate() {
            let bytes = piece.bytes(lines);
            let room = file.room_behind(taken, bytes, size);
            if room < bytes.len() {
                let begins_file = file.len() == 0 && taken == 0;
                return match piece.part.is_verbatim {
                    true => (place, room),
                    false => (place.saturating_add(usize::from(begins_file)), 0),
                };
            }
            taken = taken.saturating_add(bytes.len() as u64);
        }
        (pieces.len(), 0)
    }

    /// The connection that a stream goes on on.
    fn owner(&self, number: u32) -> Option<ConnId> {
        self.journaled.as_ref()?.owner(number)
    }

    fn break_stream(&mut self, number: u32) {
        if let Some(own) = &mut self.journaled {
            own.break_stream(number);
        }
    }
}

impl Piece {
    /// Its bytes, of those of the batch.
    fn bytes<'a>(&self, lines: &'a [u8]) -> &'a [u8] {
        let end = self.at.saturating_add(self.part.len);
        lines.get(self.at..end).unwrap_or_default()
    }
}
