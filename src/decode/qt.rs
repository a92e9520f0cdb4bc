//! Qt's `qCompress`: blocks, one after another, each a big-endian 32-bit size and a zlib stream.
//!
//! The size is a hint: Qt's own `qUncompress` does not rely on it either. An empty block is its
//! size alone, four zero bytes.

use super::inflate::Inflate;
use super::{Codec, Fault, Format, Limits, Step};

#[derive(Debug)]
pub(super) struct Qt {
    inflate: Inflate,
    state: State,
    /// The number of bytes read of the whole stream.
    offset: u64,
}

#[derive(Debug)]
enum State {
    /// In the size, of which `len` bytes have come; `zero` if all of them are zero.
    Size {
        len: u8,
        zero: bool,
    },
    Body,
}

const BETWEEN: State = State::Size { len: 0, zero: true };

impl Qt {
    pub(super) fn new(limits: &Limits) -> Result<Self, Fault> {
        Ok(Qt {
            inflate: Inflate::zlib(Format::Qt, limits)?,
            state: BETWEEN,
            offset: 0,
        })
    }
}

impl Codec for Qt {
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let mut step = Step::default();
        loop {
            match self.state {
                State::Size { len: 4, zero: true } => self.state = BETWEEN,
                State::Size { len: 4, .. } => {
                    self.inflate.restart(self.offset);
                    self.state = State::Body;
                }
                State::Size { len, zero } => {
                    let Some(byte) = input.get(step.read) else {
                        return step;
                    };
                    step.read += 1;
                    self.offset = self.offset.saturating_add(1);
                    self.state = State::Size {
                        len: len + 1,
                        zero: zero && *byte == 0,
                    };
                }
                State::Body => {
                    let body = self.inflate.advance(
                        input.get(step.read..).unwrap_or_default(),
                        output.get_mut(step.written..).unwrap_or_default(),
                    );
                    step.read += body.read;
                    step.written += body.written;
                    self.offset = self.offset.saturating_add(body.read as u64);
                    step.fault = body.fault;
                    if !self.inflate.ended() {
                        return step;
                    }
                    self.state = BETWEEN;
                }
            }
        }
    }

    fn at_boundary(&self) -> bool {
        matches!(self.state, State::Size { len: 0, .. })
    }
}
