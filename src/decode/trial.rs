//! Telling a zlib stream from text that begins with the same two bytes, such as `x^2`.
//!
//! What has come is inflated. What that refutes is plain; so is what it can't refute while all of
//! it is text.

use flate2::{Decompress, FlushDecompress, Status};

use super::{Format, Limits, inflate};
use crate::budget::Share;

/// Text is taken for text when this many bytes of it could still be zlib. Compressed data that is
/// text for so long is as good as impossible.
const LONGEST: usize = 64;

/// A stream of which only the beginning is inflated, to see whether it is one.
#[derive(Debug)]
pub(super) struct Trial {
    state: Decompress,
    _memory: Share,
}

impl Trial {
    /// Begins a trial, if there is memory for it.
    pub(super) fn new(limits: &Limits) -> Option<Self> {
        let memory = limits.memory.try_take(inflate::MEMORY)?;
        Some(Trial {
            state: Decompress::new(true),
            _memory: memory,
        })
    }

    /// Inflates what is new of `held`, and says what it is, if that is known by then.
    pub(super) fn push(&mut self, held: &[u8]) -> Option<Format> {
        let zlib = match self.inflate(held) {
            Err(Refuted) => false,
            Ok(Status::StreamEnd) => true,
            Ok(_) if self.state.total_out() > 0 && !begins_as_text(held) => true,
            Ok(_) if held.len() >= LONGEST => !begins_as_text(held),
            Ok(_) => return None,
        };
        Some(if zlib { Format::Zlib } else { Format::Plain })
    }

    /// What to make of `held`, which is not refuted, when nothing follows it.
    pub(super) fn settle(held: &[u8]) -> Format {
        if std::str::from_utf8(held).is_ok_and(is_text) {
            Format::Plain
        } else {
            Format::Zlib
        }
    }

    fn inflate(&mut self, held: &[u8]) -> Result<Status, Refuted> {
        let mut output = [0; 1024];
        loop {
            let before = (self.state.total_in(), self.state.total_out());
            let new = held.get(before.0 as usize..).unwrap_or_default();
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

/// This is no zlib stream.
struct Refuted;

/// Whether this is the beginning of printable UTF-8; its last character may be incomplete.
fn begins_as_text(bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(text) => is_text(text),
        Err(error) if error.error_len().is_none() => {
            let (whole, _) = bytes.split_at(error.valid_up_to());
            std::str::from_utf8(whole).is_ok_and(is_text)
        }
        Err(_) => false,
    }
}

/// Whether there are no control characters but those that text files contain.
fn is_text(text: &str) -> bool {
    text.chars()
        .all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\x0c' | '\x1b'))
}
