//! Trials, which tell a zlib stream from other data that begins with the same two bytes, such as
//! `x^2`.
//!
//! A trial inflates the beginning. Data that can't be zlib is plain, and so is text that still
//! could be.

use flate2::{Decompress, FlushDecompress, Status};

use super::{Format, Limits, inflate};
use crate::memory::Reservation;

/// The most bytes that a trial takes to decide. Text that could still be zlib then counts as text,
/// because compressed data that looks like text for this long is as good as impossible. Other data
/// counts as zlib: of random bytes behind a zlib header, two streams in ten thousand get this far
/// without being refuted.
const LONGEST: usize = 64;

/// The end of an empty block, which encoders write to flush: its length, and the complement of that
/// (RFC 1951, section 3.2.4). A sender that flushed waits for its data to be delivered.
const FLUSH: [u8; 4] = [0, 0, 0xff, 0xff];

/// A trial: inflates the beginning of a stream, to see whether it is zlib.
#[derive(Debug)]
pub(super) struct Trial {
    state: Decompress,
    /// The format of the stream, unless it is refuted.
    format: Format,
    /// The offset at which its zlib stream begins.
    at: usize,
    _memory: Reservation,
}

impl Trial {
    /// Begins a trial, if there is memory for it.
    pub(super) fn new(format: Format, at: usize, limits: &Limits) -> Option<Self> {
        let memory = limits.memory.try_reserve(inflate::MEMORY)?;
        Some(Trial {
            state: Decompress::new(true),
            format,
            at,
            _memory: memory,
        })
    }

    /// Inflates the new bytes of `held`, and returns the format once it is known.
    pub(super) fn push(&mut self, held: &[u8]) -> Option<Format> {
        let body = held.get(self.at..).unwrap_or_default();
        let is_ours = match self.inflate(body) {
            Err(Refuted) => false,
            Ok(Status::StreamEnd) => true,
            Ok(_) if body.len() >= LONGEST => !begins_as_text(held),
            Ok(_) if body.ends_with(&FLUSH) => true,
            Ok(_) => return None,
        };
        Some(if is_ours { self.format } else { Format::Plain })
    }

    /// Decides for `held`, which is not refuted, when no more input follows.
    pub(super) fn finish(&self, held: &[u8]) -> Format {
        match is_whole_text(held) {
            true => Format::Plain,
            false => self.format,
        }
    }

    fn inflate(&mut self, body: &[u8]) -> Result<Status, Refuted> {
        let mut output = [0; 1024];
        loop {
            let before = (self.state.total_in(), self.state.total_out());
            let new = body.get(before.0 as usize..).unwrap_or_default();
            let status = self
                .state
                .decompress(new, &mut output, FlushDecompress::None)
                .map_err(|_| Refuted)?;
            let stuck = before == (self.state.total_in(), self.state.total_out());
            if stuck || status == Status::StreamEnd {
                return Ok(status);
            }
        }
    }
}

/// The data is no zlib stream.
struct Refuted;

/// Whether the bytes begin printable UTF-8 text; the last character may be incomplete.
fn begins_as_text(bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(text) => is_text(text),
        Err(error) if error.error_len().is_none() => {
            let (whole, _) = bytes.split_at(error.valid_up_to());
            is_whole_text(whole)
        }
        Err(_) => false,
    }
}

fn is_whole_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(is_text)
}

/// Whether the text has no control characters but those that text files contain.
fn is_text(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() || is_text_control(c))
}

/// The control characters that text files contain: tab, line feed, carriage return, form feed, and
/// the escape character of terminal colours.
pub(super) fn is_text_control(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\x0c' | '\x1b')
}
