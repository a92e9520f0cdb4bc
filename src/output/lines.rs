//! Whole lines.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

use memchr::{memchr_iter, memrchr};

use super::Output;
use super::escape::{Held, write_escaped};
use super::label::label;
use super::shared::{Inner, Shared};
use crate::budget::{Memory, Share};
use crate::error::End;
use crate::peer::{Conn, ConnId};

/// Writes each line as soon as it is finished; lines of different connections are never spliced.
///
/// An unfinished line stays with its connection until it is finished, the connection ends, or it
/// outgrows [`max_line`](Self::max_line) and is written in pieces. With one connection the output
/// is, byte for byte, what it sent; a newline is added only where another connection's bytes would
/// otherwise follow on the same line. [`labels`](Self::labels) and [`escape`](Self::escape) add to
/// that what they say.
///
/// Clones share the writer, and have unfinished lines of their own: give one to each lane.
#[derive(Debug)]
pub struct Lines<W: Write> {
    shared: Shared<W, Tail>,
    partial: HashMap<ConnId, Partial>,
    /// Empty if lines are printed as they are.
    shown: HashMap<ConnId, Shown>,
    labels: bool,
    escape: bool,
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

/// How an open connection's lines are shown, where they are not printed as they are. Too small to
/// be counted.
#[derive(Debug)]
struct Shown {
    /// What each line begins with; empty without labels.
    label: String,
    /// What comes before the partial line, and can't be escaped yet; empty without escaping.
    held: Held,
}

impl<W: Write> Lines<W> {
    /// Prints to `writer`, which needs no buffer of its own.
    pub fn new(writer: W) -> Self {
        Lines {
            shared: Shared::new(writer),
            partial: HashMap::new(),
            shown: HashMap::new(),
            labels: false,
            escape: false,
            max_line: 1 << 20,
            memory: Memory::new(1 << 30),
        }
    }

    /// Whether each line begins with its sender: `NAME@ADDRESS ` with the first of its verified
    /// [names](Conn::names), `ADDRESS ` without one. Off by default.
    ///
    /// Either is one word, [escaped](super::escaped), whatever is in it; of a longer one, the
    /// first 256 bytes are shown. When an overlong line is written in pieces and another sender
    /// came between, the next piece begins a line of the output, and has the label again.
    pub fn labels(mut self, on: bool) -> Self {
        self.labels = on;
        self
    }

    /// Whether lines are made harmless, as they should be where they go to a terminal:
    /// [escaped](super::escaped), but for tabs, newlines, and a CR directly before a newline. Off
    /// by default.
    ///
    /// How a line is escaped does not depend on the pieces that it comes or is written in.
    pub fn escape(mut self, on: bool) -> Self {
        self.escape = on;
        self
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
                return self.write(id, bytes, false);
            }
            if self.reserve(id, total) {
                if let Some(partial) = self.partial.get_mut(&id) {
                    partial.bytes.extend_from_slice(bytes);
                }
                return Ok(());
            }
            let longest = self.partial.iter().max_by_key(|(_, p)| p.bytes.len());
            match longest.map(|(longest, _)| *longest) {
                Some(longest) if longest != id => self.write(longest, b"", false)?,
                _ => return self.write(id, bytes, false),
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

    /// Writes what is kept of this connection's line, and `bytes` behind it. Unless they are its
    /// last, an end that can't be escaped yet is held back.
    fn write(&mut self, id: ConnId, bytes: &[u8], last: bool) -> io::Result<()> {
        let partial = self.partial.remove(&id);
        let kept = partial.as_ref().map_or(&[][..], |partial| &partial.bytes);
        let (label, held) = match self.shown.get_mut(&id) {
            Some(shown) => (shown.label.as_str(), Some(&mut shown.held)),
            None => ("", None),
        };
        let Inner { writer, state } = &mut *self.shared.lock();
        let mut pen = Pen {
            writer,
            tail: state,
            id,
            label,
            escape: self.escape,
        };
        let Some(held) = held.filter(|_| self.escape) else {
            pen.write(kept)?;
            return pen.write(bytes);
        };
        held.settle(kept, |settled| pen.write(settled))?;
        held.settle(bytes, |settled| pen.write(settled))?;
        if last {
            pen.write(&held.take())?;
        }
        Ok(())
    }
}

impl<W: Write> Clone for Lines<W> {
    fn clone(&self) -> Self {
        Lines {
            shared: self.shared.clone(),
            partial: HashMap::new(),
            shown: HashMap::new(),
            labels: self.labels,
            escape: self.escape,
            max_line: self.max_line,
            memory: self.memory.clone(),
        }
    }
}

impl<W: Write> Output for Lines<W> {
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        let id = connection.id();
        if self.labels || self.escape {
            let labels = self.labels;
            self.shown
                .entry(id)
                .or_insert_with(|| Shown::new(connection, labels));
        }
        let end = memrchr(b'\n', bytes).map_or(0, |newline| newline.saturating_add(1));
        let (lines, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        if !lines.is_empty() {
            self.write(id, lines, false)?;
        }
        self.keep(id, rest)
    }

    fn close(&mut self, connection: &Conn, _: &End) -> io::Result<()> {
        let id = connection.id();
        self.write(id, b"", true)?;
        self.shown.remove(&id);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shared.flush()
    }
}

impl Shown {
    fn new(connection: &Conn, labels: bool) -> Self {
        Shown {
            label: match labels {
                true => format!("{} ", label(connection.peer())),
                false => String::new(),
            },
            held: Held::default(),
        }
    }
}

/// Writes for one connection.
struct Pen<'a, W: Write> {
    writer: &'a mut BufWriter<W>,
    tail: &'a mut Tail,
    id: ConnId,
    label: &'a str,
    escape: bool,
}

impl<W: Write> Pen<'_, W> {
    /// Writes any number of lines, and the beginning of one; the first may go on where this
    /// connection's last one stopped.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.tail.is_some_and(|last| last != self.id) {
            self.writer.write_all(b"\n")?;
            *self.tail = None;
        }
        if self.label.is_empty() {
            return self.print(bytes);
        }
        let mut from = 0;
        let ends = memchr_iter(b'\n', bytes).map(|newline| newline.saturating_add(1));
        for end in ends.chain([bytes.len()]) {
            let line = bytes.get(from..end).unwrap_or_default();
            from = end;
            if !line.is_empty() && self.tail.is_none() {
                self.writer.write_all(self.label.as_bytes())?;
            }
            self.print(line)?;
        }
        Ok(())
    }

    fn print(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(last) = bytes.last() else {
            return Ok(());
        };
        if self.escape {
            write_escaped(self.writer, bytes)?;
        } else {
            self.writer.write_all(bytes)?;
        }
        *self.tail = (*last != b'\n').then_some(self.id);
        Ok(())
    }
}
