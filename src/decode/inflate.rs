//! Deflate (RFC 1951), bare or in a zlib wrapper (RFC 1950).

use flate2::{Decompress, FlushDecompress, Status};

use super::{Decode, Fault, Format, Limits, Step};
use crate::budget::Share;

/// What one inflate state takes, in bytes: the 32 KiB window with its padding, and the tables.
const MEMORY: usize = 48 * 1024;

/// What is around the deflate blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapper {
    Raw,
    Zlib,
}

/// One deflate or zlib stream after another; each ends with [`Inflate::ended`].
#[derive(Debug)]
pub(super) struct Inflate {
    state: Decompress,
    wrapper: Wrapper,
    format: Format,
    /// Bytes read of all streams before this one.
    offset: u64,
    ended: bool,
    _memory: Share,
}

impl Inflate {
    /// A decoder whose faults name `format`.
    pub(super) fn new(wrapper: Wrapper, format: Format, limits: &Limits) -> Result<Self, Fault> {
        let memory = limits.memory.try_take(MEMORY).ok_or_else(|| {
            Fault::Limit(format!("no memory left for a window of {MEMORY} bytes"))
        })?;
        Ok(Inflate {
            state: Decompress::new(wrapper == Wrapper::Zlib),
            wrapper,
            format,
            offset: 0,
            ended: false,
            _memory: memory,
        })
    }

    /// Whether the stream has ended, with its checksum right.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Makes ready for another stream, whose first byte is at `offset`.
    pub(super) fn restart(&mut self, offset: u64) {
        self.state.reset(self.wrapper == Wrapper::Zlib);
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
            // Counted even when there is an error: what was decoded before it is good.
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
                        None => self.corrupt(error.message().unwrap_or("invalid data")),
                    });
                }
            }
        }
        step
    }

    fn corrupt(&self, what: &str) -> Fault {
        Fault::Corrupt {
            format: self.format,
            offset: self.offset.saturating_add(self.state.total_in()),
            what: what.to_owned(),
        }
    }
}

impl Decode for Inflate {
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

/// Inflating what may be a zlib stream, only to see whether it is one.
#[cfg(feature = "zlib")]
#[derive(Debug)]
pub(super) struct Trial {
    state: Decompress,
    progress: Progress,
}

#[cfg(feature = "zlib")]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Something was decoded.
    pub(super) decoded: bool,
    /// The stream ended, with its checksum right.
    pub(super) ended: bool,
}

#[cfg(feature = "zlib")]
impl Default for Trial {
    fn default() -> Self {
        Trial {
            state: Decompress::new(true),
            progress: Progress::default(),
        }
    }
}

#[cfg(feature = "zlib")]
impl Trial {
    /// Inflates what is new of `held`. An error says that this is no zlib stream.
    pub(super) fn push(&mut self, held: &[u8]) -> Result<Progress, ()> {
        // A single byte yields at most 258 bytes for each code of one bit.
        let mut output = [0; 8 * 258];
        loop {
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let new = held.get(before_in as usize..).unwrap_or_default();
            let status = self
                .state
                .decompress(new, &mut output, FlushDecompress::None)
                .map_err(|_| ())?;
            self.progress.decoded |= self.state.total_out() > 0;
            self.progress.ended |= status == Status::StreamEnd;
            let stuck = self.state.total_in() == before_in && self.state.total_out() == before_out;
            if self.progress.ended || stuck {
                return Ok(self.progress);
            }
        }
    }
}
