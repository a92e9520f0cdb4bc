//! The output that calls a function for each line.

use std::collections::HashSet;
use std::fmt;
use std::io;

use memchr::memchr_iter;

use super::partial::{Partials, split_lines};
use super::turn::{MAX_TURN_OUTPUT, turn_of};
use super::{Output, Portion};
use crate::conn::{Conn, ConnId};
use crate::end::End;
use crate::frame::Records;
use crate::memory::Memory;

/// Calls a function with each line, as soon as it is finished.
///
/// Lines of one connection come in order. An unfinished line at the end of a connection counts as a
/// line, unless it comes again because its stream is [resumed](crate::ServerBuilder::offsets). A line that
/// outgrows [`max_line`](Self::max_line) comes in pieces.
///
/// An error that the function returns ends the [`Sink`](crate::Sink), like an error of any output.
///
/// ```
/// use futures_lite::{future, io::Cursor};
/// use tlsink::output::EachLine;
/// use tlsink::{Peer, Server};
///
/// let (server, sink) = Server::builder().build()?;
/// let sent = Cursor::new(b"one\ntwo\nthree".to_vec());
/// let connection = server.plain(sent, Peer::label("counter"));
/// server.stop();
///
/// let mut seen = Vec::new();
/// let output = EachLine::new(|conn, line| {
///     let text = String::from_utf8_lossy(line.bytes);
///     seen.push(format!("{}: {text}", conn.peer()));
///     Ok(())
/// });
/// let (_, done) = future::block_on(future::zip(connection, sink.run(output)));
/// assert!(done.is_ok());
/// assert_eq!(seen, ["counter: one", "counter: two", "counter: three"]);
/// # Ok::<(), tlsink::BuildError>(())
/// ```
pub struct EachLine<F> {
    assembly: Assembly,
    call: F,
}

/// Assembles lines out of what connections send, and calls a function with each.
#[derive(Debug)]
pub(super) struct Assembly {
    partials: Partials,
    /// Connections whose last piece goes on, so that another piece must follow it.
    in_pieces: HashSet<ConnId>,
    /// The number of calls so far, modulo the size of the type.
    calls: usize,
    /// The bytes that a call counts as, which take about as long to write.
    cost: usize,
}

/// The argument of [`EachLine`]'s function: a line, or a piece of an overlong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line<'a> {
    /// The bytes of the line, without the newline; a CR before it is part of them.
    pub bytes: &'a [u8],
    /// Whether the line goes on in the next piece that comes from this connection. `false` for
    /// whole lines, and for the last piece of an overlong one, which may be empty. A line that comes
    /// again has no last piece.
    pub goes_on: bool,
}

/// The bytes that a call counts as: a turn has at most eight thousand calls.
pub(super) const CALL: usize = 64;

impl<F> EachLine<F>
where
    F: FnMut(&Conn, Line<'_>) -> io::Result<()>,
{
    /// Calls `call` on the [`Sink`](crate::Sink)'s task or thread. A call that blocks blocks that
    /// task or thread.
    pub fn new(call: F) -> Self {
        EachLine {
            assembly: Assembly::new(CALL),
            call,
        }
    }

    /// The longest line that is kept whole, in bytes, and the longest piece of one that is not. At
    /// least 1; 1 MiB by default.
    pub fn max_line(mut self, bytes: usize) -> Self {
        self.assembly.max_line(bytes);
        self
    }

    /// The memory from which unfinished lines are reserved; see [`Sink::memory`]. By default, they
    /// have 1 GiB of their own. A line that finds no memory comes in pieces, as if it had outgrown
    /// [`max_line`](Self::max_line).
    ///
    /// [`Sink::memory`]: crate::Sink::memory
    pub fn memory(mut self, memory: Memory) -> Self {
        self.assembly.memory(memory);
        self
    }
}

impl Assembly {
    /// Each call counts as this number of bytes.
    pub(super) fn new(cost: usize) -> Self {
        Assembly {
            partials: Partials::new(),
            in_pieces: HashSet::new(),
            calls: 0,
            cost,
        }
    }

    /// Makes an empty one with the same limits, for another lane.
    pub(super) fn another(&self) -> Self {
        Assembly {
            partials: self.partials.another(),
            ..Assembly::new(self.cost)
        }
    }

    /// As [`EachLine::max_line`].
    pub(super) fn max_line(&mut self, bytes: usize) {
        self.partials.max_line = bytes.max(1);
    }

    /// As [`EachLine::memory`].
    pub(super) fn memory(&mut self, memory: Memory) {
        self.partials.memory = memory;
    }

    /// As [`Output::turn`].
    pub(super) fn turn(
        &mut self,
        connection: &Conn,
        bytes: &[u8],
        call: &mut impl FnMut(&Conn, Line<'_>) -> io::Result<()>,
    ) -> io::Result<Portion> {
        let taken = turn_of(bytes, self.cost);
        let calls = self.calls;
        self.data(connection, bytes.get(..taken).unwrap_or(bytes), call)?;
        Ok(self.portion(taken, calls))
    }

    /// As [`Output::records`].
    pub(super) fn records(
        &mut self,
        connection: &Conn,
        records: Records<'_>,
        call: &mut impl FnMut(&Conn, Line<'_>) -> io::Result<()>,
    ) -> io::Result<Portion> {
        let calls = self.calls;
        let mut taken = 0_usize;
        for record in records.iter().take(MAX_TURN_OUTPUT / self.cost) {
            match record.ends {
                true => self.finish(connection, record.bytes, call)?,
                false => self.begin(connection, record.bytes, call)?,
            }
            taken = taken.saturating_add(record.len());
        }
        Ok(self.portion(taken, calls))
    }

    /// As [`Output::data`].
    pub(super) fn data(
        &mut self,
        connection: &Conn,
        bytes: &[u8],
        call: &mut impl FnMut(&Conn, Line<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (lines, rest) = split_lines(bytes);
        let mut from = 0;
        for newline in memchr_iter(b'\n', lines) {
            let line = lines.get(from..newline).unwrap_or_default();
            self.finish(connection, line, call)?;
            from = newline.saturating_add(1);
        }
        self.begin(connection, rest, call)
    }

    /// As [`Output::close`].
    pub(super) fn close(
        &mut self,
        connection: &Conn,
        end: &End,
        call: &mut impl FnMut(&Conn, Line<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let last = self.partials.take_last(connection, end);
        let goes_on = self.in_pieces.remove(&connection.id());
        if connection.comes_again(end) || (last.is_empty() && !goes_on) {
            return Ok(());
        }
        self.give(connection, &last, false, call)
    }

    /// The portion of `taken` bytes. The number of calls before them was `calls`.
    fn portion(&self, taken: usize, calls: usize) -> Portion {
        let calls = self.calls.wrapping_sub(calls);
        let written = taken.saturating_add(calls.saturating_mul(self.cost));
        Portion::new(taken, written)
    }

    /// Keeps the beginning of a line behind the part already kept, or passes on as pieces the bytes
    /// that can't be kept.
    fn begin(
        &mut self,
        connection: &Conn,
        bytes: &[u8],
        call: &mut impl FnMut(&Conn, Line<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.keep(connection, bytes, call)? {
            return Ok(());
        }
        let mut rest = bytes;
        while let Some((piece, later)) = rest.split_at_checked(self.partials.max_line)
            && !later.is_empty()
        {
            self.give(connection, piece, true, call)?;
            rest = later;
        }
        if !self.keep(connection, rest, call)? {
            self.give(connection, rest, true, call)?;
        }
        Ok(())
    }

    /// Keeps these bytes. Returns `false` if there is no room for them; then the part already kept
    /// is passed on.
    fn keep(
        &mut self,
        connection: &Conn,
        bytes: &[u8],
        call: &mut impl FnMut(&Conn, Line<'_>) -> io::Result<()>,
    ) -> io::Result<bool> {
        let id = connection.id();
        // Other connections' lines stay: the function needs their `Conn`, which is known only in a
        // call for them.
        let stays = |_, line: &[u8]| Ok(line.len());
        let kept = self.partials.keep(connection, bytes, stays)?;
        if !kept {
            let piece = self.partials.take(id);
            if !piece.is_empty() {
                self.give(connection, &piece, true, call)?;
            }
        }
        Ok(kept)
    }

    /// Ends a line, of which a part may be kept.
    fn finish(
        &mut self,
        connection: &Conn,
        bytes: &[u8],
        call: &mut impl FnMut(&Conn, Line<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let id = connection.id();
        if self.partials.kept(id).is_empty() && bytes.len() <= self.partials.max_line {
            return self.give(connection, bytes, false, call);
        }
        self.begin(connection, bytes, call)?;
        let last = self.partials.take(id);
        self.give(connection, &last, false, call)
    }

    fn give(
        &mut self,
        connection: &Conn,
        bytes: &[u8],
        goes_on: bool,
        call: &mut impl FnMut(&Conn, Line<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        if goes_on {
            self.in_pieces.insert(connection.id());
        } else if !self.in_pieces.is_empty() {
            self.in_pieces.remove(&connection.id());
        }
        self.calls = self.calls.wrapping_add(1);
        call(connection, Line { bytes, goes_on })
    }
}

impl<F> fmt::Debug for EachLine<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EachLine")
            .field("assembly", &self.assembly)
            .finish_non_exhaustive()
    }
}

/// A clone has unfinished lines of its own: give one clone to each lane.
impl<F: Clone> Clone for EachLine<F> {
    fn clone(&self) -> Self {
        EachLine {
            assembly: self.assembly.another(),
            call: self.call.clone(),
        }
    }
}

impl<F> Output for EachLine<F>
where
    F: FnMut(&Conn, Line<'_>) -> io::Result<()>,
{
    fn turn(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        self.assembly.turn(connection, bytes, &mut self.call)
    }

    fn records(&mut self, connection: &Conn, records: Records<'_>) -> io::Result<Portion> {
        self.assembly.records(connection, records, &mut self.call)
    }

    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        self.assembly.data(connection, bytes, &mut self.call)
    }

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        self.assembly.close(connection, end, &mut self.call)
    }
}
