//! The output that prints whole lines.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::time::SystemTime;

use memchr::memchr_iter;

use super::escape::{Held, write_escaped};
use super::partial::{Partials, split_lines};
use super::prefix::{Front, LineFront, Prefix};
use super::shared::{Inner, SharedWriter};
use super::turn::turn_of;
use super::{Output, Portion};
use crate::conn::{Conn, ConnId};
use crate::end::End;
use crate::memory::Memory;

/// Writes each line as soon as it is finished. Lines of different connections are never mixed.
///
/// An unfinished line is kept until it is finished, its connection ends, or it outgrows
/// [`max_line`](Self::max_line) and is written in pieces. With one connection, the output is byte
/// for byte the data that was sent; a newline is added only where another connection's bytes would
/// otherwise follow on the same line. [`labels`](Self::labels), [`prefix`](Self::prefix) and
/// [`escape`](Self::escape) change that as they say.
///
/// Clones share the writer, but each has unfinished lines of its own: give one clone to each lane.
#[derive(Debug)]
pub struct Lines<W: Write> {
    partials: Partials,
    printer: LinePrinter<W>,
}

/// Prints lines, and pieces of them.
#[derive(Debug)]
struct LinePrinter<W: Write> {
    shared: SharedWriter<W, Tail>,
    /// Empty if lines are printed unchanged.
    shown: HashMap<ConnId, Shown>,
    front: Front,
    escape: bool,
    /// The time of the lines of this turn.
    now: SystemTime,
    /// The number of bytes written in this turn.
    written: usize,
}

/// The connection whose unfinished line is the last thing in the output.
type Tail = Option<ConnId>;

/// The front and the held bytes of an open connection, unless its lines are printed as they are.
/// Too small to be counted.
#[derive(Debug)]
struct Shown {
    /// The beginning of each line; empty without labels and prefix.
    front: LineFront,
    /// Bytes before the partial line that can't be escaped yet; empty without escaping.
    held: Held,
}

impl<W: Write> Lines<W> {
    /// Prints to `writer`, which needs no buffer of its own.
    pub fn new(writer: W) -> Self {
        Lines {
            partials: Partials::new(),
            printer: LinePrinter {
                shared: SharedWriter::new(writer),
                shown: HashMap::new(),
                front: Front::Nothing,
                escape: false,
                now: SystemTime::now(),
                written: 0,
            },
        }
    }

    /// Whether each line begins with its sender: `NAME@ADDRESS ` with the first of its verified
    /// [names](Conn::names), `ADDRESS ` without one. Off by default.
    ///
    /// The label is one word: name and address are [escaped](super::escaped), and only their first
    /// 256 bytes are shown. When an overlong line is written in pieces and another sender's bytes
    /// came between, the next piece begins a line of the output, and has the label again.
    pub fn labels(mut self, on: bool) -> Self {
        self.printer.front = match on {
            true => Front::Label,
            false => Front::Nothing,
        };
        self
    }

    /// Begins each line with this, in place of a [label](Self::labels). By default, lines have none.
    ///
    /// When an overlong line is written in pieces and another sender's bytes came between, the next
    /// piece begins a line of the output, and has the prefix again.
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.printer.front = Front::Prefix(prefix);
        self
    }

    /// Whether lines are escaped, as they should be for a terminal: [escaped](super::escaped), but
    /// for tabs, newlines, and a CR directly before a newline. Off by default.
    ///
    /// The escaped line does not depend on the pieces in which it arrives or is written.
    pub fn escape(mut self, on: bool) -> Self {
        self.printer.escape = on;
        self
    }

    /// The longest line that is kept whole, in bytes. 1 MiB by default.
    pub fn max_line(mut self, bytes: usize) -> Self {
        self.partials.max_line = bytes;
        self
    }

    /// The memory from which unfinished lines are reserved; see [`Sink::memory`]. By default, they
    /// have 1 GiB of their own. When the memory is used up, the longest line is written out as if
    /// it had outgrown [`max_line`](Self::max_line).
    ///
    /// [`Sink::memory`]: crate::Sink::memory
    pub fn memory(mut self, memory: Memory) -> Self {
        self.partials.memory = memory;
        self
    }
}

impl<W: Write> LinePrinter<W> {
    fn shown(&mut self, connection: &Conn) -> &mut Shown {
        let front = &self.front;
        self.shown.entry(connection.id()).or_insert_with(|| Shown {
            front: front.of(connection),
            held: Held::default(),
        })
    }

    /// Writes the kept part of this connection's line, and `bytes` behind it. Unless these bytes
    /// are the connection's last, an end that can't be escaped yet is held back.
    fn write(&mut self, id: ConnId, kept: &[u8], bytes: &[u8], last: bool) -> io::Result<()> {
        let (front, held) = match self.shown.get_mut(&id) {
            Some(shown) => (shown.front.at(self.now), Some(&mut shown.held)),
            None => (&[][..], None),
        };
        let Inner { writer, state } = &mut *self.shared.lock();
        let mut output = ConnectionWriter {
            writer,
            tail: state,
            id,
            front,
            escape: self.escape,
            written: &mut self.written,
        };
        let Some(held) = held.filter(|_| self.escape) else {
            output.write(kept)?;
            return output.write(bytes);
        };
        held.resolve(kept, |resolved| output.write(resolved))?;
        held.resolve(bytes, |resolved| output.write(resolved))?;
        if last {
            output.write(&held.take())?;
        }
        Ok(())
    }
}

impl<W: Write> Clone for Lines<W> {
    fn clone(&self) -> Self {
        Lines {
            partials: self.partials.another(),
            printer: LinePrinter {
                shared: self.printer.shared.clone(),
                shown: HashMap::new(),
                front: self.printer.front.clone(),
                escape: self.printer.escape,
                now: self.printer.now,
                written: 0,
            },
        }
    }
}

impl<W: Write> Output for Lines<W> {
    fn turn(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        let taken = match self.printer.front.is_nothing() {
            true => bytes.len(),
            false => turn_of(bytes, self.printer.shown(connection).front.len()),
        };
        self.printer.written = 0;
        self.data(connection, bytes.get(..taken).unwrap_or(bytes))?;
        Ok(Portion {
            taken,
            written: self.printer.written,
        })
    }

    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        let Lines { partials, printer } = self;
        let id = connection.id();
        if printer.escape || !printer.front.is_nothing() {
            printer.shown(connection);
            printer.now = SystemTime::now();
        }
        let (lines, rest) = split_lines(bytes);
        if !lines.is_empty() {
            let kept = partials.take(id);
            printer.write(id, &kept, lines, false)?;
        }
        let kept = partials.keep(connection, rest, |id, line| {
            printer.write(id, line, b"", false).map(|()| 0)
        })?;
        if !kept {
            let kept = partials.take(id);
            printer.write(id, &kept, rest, false)?;
        }
        Ok(())
    }

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        let id = connection.id();
        let kept = self.partials.take_last(connection, end);
        if !self.printer.front.is_nothing() {
            self.printer.now = SystemTime::now();
        }
        self.printer.write(id, &kept, b"", true)?;
        self.printer.shown.remove(&id);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.printer.shared.flush()
    }
}

/// Writes for one connection.
struct ConnectionWriter<'a, W: Write> {
    writer: &'a mut BufWriter<W>,
    tail: &'a mut Tail,
    id: ConnId,
    front: &'a [u8],
    escape: bool,
    written: &'a mut usize,
}

impl<W: Write> ConnectionWriter<'_, W> {
    /// Writes any number of lines, and the beginning of one; the first may continue the
    /// connection's last line.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.tail.is_some_and(|last| last != self.id) {
            self.writer.write_all(b"\n")?;
            *self.tail = None;
        }
        if self.front.is_empty() {
            return self.print(bytes);
        }
        let mut from = 0;
        let ends = memchr_iter(b'\n', bytes).map(|newline| newline.saturating_add(1));
        for end in ends.chain([bytes.len()]) {
            let line = bytes.get(from..end).unwrap_or_default();
            from = end;
            if !line.is_empty() && self.tail.is_none() {
                self.writer.write_all(self.front)?;
                *self.written = self.written.saturating_add(self.front.len());
            }
            self.print(line)?;
        }
        Ok(())
    }

    fn print(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(last) = bytes.last() else {
            return Ok(());
        };
        *self.written = self.written.saturating_add(bytes.len());
        if self.escape {
            write_escaped(self.writer, bytes)?;
        } else {
            self.writer.write_all(bytes)?;
        }
        *self.tail = (*last != b'\n').then_some(self.id);
        Ok(())
    }
}
