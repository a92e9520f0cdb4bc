//! Whole lines.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

use memchr::memrchr;

use super::Output;
use super::shared::{Inner, Shared};
use crate::budget::{Memory, Share};
use crate::error::End;
use crate::peer::{Conn, ConnId};

/// Writes each line as soon as it is finished; lines of different connections are never spliced.
///
/// An unfinished line stays with its connection until it is finished, the connection ends, or it
/// outgrows [`max_line`](Self::max_line) and is written in pieces. With one connection the output
/// is, byte for byte, what it sent; a newline is added only where another connection's bytes would
/// otherwise follow on the same line.
///
/// Clones share the writer, and have unfinished lines of their own: give one to each lane.
#[derive(Debug)]
pub struct Lines<W: Write> {
    shared: Shared<W, Tail>,
    partial: HashMap<ConnId, Partial>,
    max_line: usize,
    memory: Memory,
}

/// The connection whose unfinished line is the last thing in the output.
type Tail = Option<ConnId>;

/// The beginning of a line.
#[derive(Debug)]
struct Partial {
    bytes: Vec<u8>,
    share: Share,
}

impl<W: Write> Lines<W> {
    /// Prints to `writer`, which needs no buffer of its own.
    pub fn new(writer: W) -> Self {
        Lines {
            shared: Shared::new(writer),
            partial: HashMap::new(),
            max_line: 1 << 20,
            memory: Memory::new(1 << 30),
        }
    }

    /// The longest line that is kept whole, in bytes. 1 MiB by default.
    pub fn max_line(mut self, bytes: usize) -> Self {
        self.max_line = bytes;
        self
    }

    /// Where unfinished lines are counted; see [`Sink::memory`]. 1 GiB of their own by default.
    /// When it is used up, the longest of them is written out as if it had outgrown
    /// [`max_line`](Self::max_line).
    ///
    /// [`Sink::memory`]: crate::Sink::memory
    pub fn memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Keeps the beginning of a line, or of the next piece of one.
    fn keep(&mut self, id: ConnId, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        loop {
            let partial = self.partial.get(&id);
            let len = partial.map_or(0, |partial| partial.bytes.len());
            let total = len.saturating_add(bytes.len());
            if total > self.max_line {
                return self.write(id, bytes);
            }
            if self.reserve(id, total) {
                if let Some(partial) = self.partial.get_mut(&id) {
                    partial.bytes.extend_from_slice(bytes);
                }
                return Ok(());
            }
            let longest = self.partial.iter().max_by_key(|(_, p)| p.bytes.len());
            match longest.map(|(longest, _)| *longest) {
                Some(longest) if longest != id => self.write(longest, b"")?,
                _ => return self.write(id, bytes),
            }
        }
    }

    /// Makes room for a partial line of `len` bytes; `false` if there is no memory for it.
    fn reserve(&mut self, id: ConnId, len: usize) -> bool {
        if let Some(partial) = self.partial.get_mut(&id) {
            if len <= partial.bytes.capacity() {
                return true;
            }
            // Doubled, as a vector does: a line that comes byte by byte is not copied each time.
            let room = len.max(partial.bytes.capacity() * 2).min(self.max_line);
            if !self.memory.try_grow(&mut partial.share, room) {
                return false;
            }
            partial.bytes.reserve_exact(room - partial.bytes.len());
            return true;
        }
        let Some(share) = self.memory.try_take(len) else {
            return false;
        };
        let bytes = Vec::with_capacity(len);
        self.partial.insert(id, Partial { bytes, share });
        true
    }

    /// Writes what is kept of this connection's line, and `bytes` behind it.
    fn write(&mut self, id: ConnId, bytes: &[u8]) -> io::Result<()> {
        let partial = self.partial.remove(&id);
        let kept = partial.as_ref().map_or(&[][..], |partial| &partial.bytes);
        let Inner { writer, state } = &mut *self.shared.lock();
        write_pieces(writer, state, id, [kept, bytes])
    }
}

fn write_pieces<W: Write>(
    writer: &mut BufWriter<W>,
    tail: &mut Tail,
    id: ConnId,
    pieces: [&[u8]; 2],
) -> io::Result<()> {
    if tail.is_some_and(|last| last != id) {
        writer.write_all(b"\n")?;
        *tail = None;
    }
    for piece in pieces {
        if let Some(last) = piece.last() {
            writer.write_all(piece)?;
            *tail = (*last != b'\n').then_some(id);
        }
    }
    Ok(())
}

impl<W: Write> Clone for Lines<W> {
    fn clone(&self) -> Self {
        Lines {
            shared: self.shared.clone(),
            partial: HashMap::new(),
            max_line: self.max_line,
            memory: self.memory.clone(),
        }
    }
}

impl<W: Write> Output for Lines<W> {
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        let id = connection.id();
        let end = memrchr(b'\n', bytes).map_or(0, |newline| newline + 1);
        let (lines, rest) = bytes.split_at(end);
        if !lines.is_empty() {
            self.write(id, lines)?;
        }
        self.keep(id, rest)
    }

    fn close(&mut self, connection: &Conn, _: &End) -> io::Result<()> {
        self.write(connection.id(), b"")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shared.flush()
    }
}
