//! Unfinished lines.

use std::collections::HashMap;
use std::io;
use std::ops::Deref;

use memchr::memrchr;

use crate::conn::{Conn, ConnId};
use crate::end::End;
use crate::memory::{Memory, Reservation};

/// The beginnings of lines, one for each connection that is in the middle of one.
///
/// Their memory comes from the common limit, and none is longer than `max_line`; its printer
/// decides about a line that is kept no longer.
#[derive(Debug)]
pub(super) struct Partials {
    lines: HashMap<ConnId, Partial>,
    /// The longest line that is kept, in bytes.
    pub(super) max_line: usize,
    pub(super) memory: Memory,
}

/// The beginning of a line.
#[derive(Debug)]
struct Partial {
    bytes: Vec<u8>,
    reservation: Reservation,
}

/// The kept part of a line, if there was one.
#[derive(Debug)]
pub(super) struct Taken(Option<Partial>);

/// Splits off the bytes behind the last newline.
pub(super) fn split_lines(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memrchr(b'\n', bytes).map_or(0, |newline| newline.saturating_add(1));
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

impl Partials {
    pub(super) fn new() -> Self {
        Partials {
            lines: HashMap::new(),
            max_line: 1 << 20,
            memory: Memory::new(1 << 30),
        }
    }

    /// Makes an empty set with the same limits, for another lane.
    pub(super) fn another(&self) -> Self {
        Partials {
            lines: HashMap::new(),
            max_line: self.max_line,
            memory: self.memory.clone(),
        }
    }

    /// The kept part of this connection's line.
    pub(super) fn kept(&self, id: ConnId) -> &[u8] {
        self.lines.get(&id).map_or(&[], |line| &line.bytes)
    }

    /// Takes the kept part of this connection's line; dropping it frees its memory.
    pub(super) fn take(&mut self, id: ConnId) -> Taken {
        Taken(self.lines.remove(&id))
    }

    /// Takes the unfinished line of a connection that has ended. If it comes again, it is dropped.
    pub(super) fn take_last(&mut self, connection: &Conn, end: &End) -> Taken {
        let last = self.take(connection.id());
        match connection.comes_again(end) {
            true => Taken::nothing(),
            false => last,
        }
    }

    /// Keeps these bytes behind the kept part of this connection's line. Returns `false` if the
    /// line would outgrow the limit, or if there is no memory for it: then the line is unchanged.
    ///
    /// When memory is used up, the longest line must go, among those whose senders hold no less
    /// than this one: `write` is called for lines of other connections and writes them, or all but
    /// an end, whose length it returns and which is still kept.
    pub(super) fn keep(
        &mut self,
        connection: &Conn,
        bytes: &[u8],
        mut write: impl FnMut(ConnId, &[u8]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        if bytes.is_empty() {
            return Ok(true);
        }
        let id = connection.id();
        loop {
            let len = self.kept(id).len().saturating_add(bytes.len());
            if len > self.max_line {
                return Ok(false);
            }
            if self.reserve(connection, len) {
                if let Some(line) = self.lines.get_mut(&id) {
                    line.bytes.extend_from_slice(bytes);
                }
                return Ok(true);
            }
            let memory = self.memory.used_by(&connection.memory);
            let longest = (self.lines.iter())
                .filter(|(_, line)| line.reservation.is_of_no_less_than(memory))
                .max_by_key(|(_, line)| line.bytes.len());
            let Some((longest, line)) = longest.filter(|(longest, _)| **longest != id) else {
                return Ok(false);
            };
            let (longest, len) = (*longest, line.bytes.len());
            let left = write(longest, &line.bytes)?;
            if left >= len {
                return Ok(false);
            }
            self.shorten(longest, left);
        }
    }

    /// Drops all but the last `left` bytes of the kept part of a line.
    pub(super) fn shorten(&mut self, id: ConnId, left: usize) {
        if left == 0 {
            self.lines.remove(&id);
        } else if let Some(line) = self.lines.get_mut(&id) {
            line.bytes.drain(..line.bytes.len().saturating_sub(left));
            line.bytes.shrink_to_fit();
            line.reservation.shrink(line.bytes.capacity());
        }
    }

    /// Reserves room for a line of `len` bytes. Returns `false` if there is no memory for it.
    fn reserve(&mut self, connection: &Conn, len: usize) -> bool {
        let id = connection.id();
        if let Some(line) = self.lines.get_mut(&id) {
            if len <= line.bytes.capacity() {
                return true;
            }
            // The room is doubled, as in a vector, so that a line that comes byte by byte is not
            // copied each time.
            let room = len.max(line.bytes.capacity() * 2).min(self.max_line);
            if !line.reservation.try_grow(room) {
                return false;
            }
            line.bytes.reserve_exact(room - line.bytes.len());
            return true;
        }
        let memory = self.memory.used_by(&connection.memory);
        let Some(reservation) = memory.try_reserve(len) else {
            return false;
        };
        let bytes = Vec::with_capacity(len);
        self.lines.insert(id, Partial { bytes, reservation });
        true
    }
}

impl Taken {
    /// No line was begun.
    pub(super) fn nothing() -> Self {
        Taken(None)
    }
}

impl Deref for Taken {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |line| &line.bytes)
    }
}
