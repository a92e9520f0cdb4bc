//! Deflate (RFC 1951), bare or in a zlib wrapper (RFC 1950).

use flate2::{Decompress, FlushDecompress, Status};

use super::{Codec, Fault, Format, Limits, Step};
use crate::limit::Limit;
use crate::memory::Reservation;

/// The size of one inflate state, in bytes: the 32 KiB window with its padding, and the tables.
pub(super) const MEMORY: usize = 48 * 1024;

/// One deflate or zlib stream after another; each ends with [`Inflate::ended`].
#[derive(Debug)]
pub(super) struct Inflate {
    state: Decompress,
    /// Whether the blocks are in a zlib wrapper.
    zlib: bool,
    format: Format,
    /// The number of bytes read of all earlier streams.
    offset: u64,
    ended: bool,
    _memory: Reservation,
}

impl Inflate {
    /// A decoder for zlib streams, whose faults name `format`.
    pub(super) fn zlib(format: Format, limits: &Limits) -> Result<Self, Fault> {
        Self::new(true, format, limits)
    }

    /// A decoder for bare deflate streams, whose faults name `format`.
    pub(super) fn raw(format: Format, limits: &Limits) -> Result<Self, Fault> {
        Self::new(false, format, limits)
    }

    fn new(zlib: bool, format: Format, limits: &Limits) -> Result<Self, Fault> {
        let memory = limits.memory.try_reserve(MEMORY).ok_or_else(|| {
            Fault::Limit(Limit::Memory {
                purpose: format!("a {format} window of {MEMORY} bytes"),
            })
        })?;
        Ok(Inflate {
            state: Decompress::new(zlib),
            zlib,
            format,
            offset: 0,
            ended: false,
            _memory: memory,
        })
    }

    /// Whether the stream has ended, with a correct checksum.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Prepares for another stream, whose first byte is at `offset`.
    pub(super) fn restart(&mut self, offset: u64) {
        self.state.reset(self.zlib);
        self.offset = offset;
        self.ended = false;
    }

    /// Decodes until the stream ends, the input is used up, or the output is full.
    pub(super) fn advance(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let mut step = Step::default();
        while !self.ended && step.fault.is_none() {
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let result = self.state.decompress(
                input.get(step.read..).unwrap_or_default(),
                output.get_mut(step.written..).unwrap_or_default(),
                FlushDecompress::None,
            );
            // Bytes count even if there is an error: those decoded before it are valid.
            let read = (self.state.total_in() - before_in) as usize;
            let written = (self.state.total_out() - before_out) as usize;
            step.read += read;
            step.written += written;
            match result {
                Ok(Status::StreamEnd) => self.ended = true,
                Ok(Status::Ok | Status::BufError) if read == 0 && written == 0 => break,
                Ok(_) if step.read == input.len() && step.written < output.len() => break,
                Ok(_) => {}
                Err(error) => {
                    step.fault = Some(match error.needs_dictionary() {
                        Some(_) => Fault::Unsupported("zlib with a preset dictionary"),
                        None => self.corrupt(describe(error.message())),
                    });
                }
            }
        }
        step
    }

    fn corrupt(&self, reason: &str) -> Fault {
        Fault::Corrupt {
            format: self.format,
            offset: self.offset.saturating_add(self.state.total_in()),
            reason: reason.to_owned(),
        }
    }
}

impl Codec for Inflate {
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let mut step = self.advance(input, output);
        if self.ended && step.fault.is_none() && step.read < input.len() {
            step.fault = Some(self.corrupt("data after the end of the stream"));
        }
        step
    }

    fn at_boundary(&self) -> bool {
        self.ended || self.state.total_in() == 0
    }
}

/// Describes a fault. For faults within a block, zlib-rs gives more or less detail depending on how
/// the input was split, so the detail is left out.
fn describe(message: Option<&str>) -> &'static str {
    match message {
        Some("incorrect header check") => "incorrect header check",
        Some("incorrect data check") => "incorrect data check",
        _ => "invalid data",
    }
}
