//! Frames that a NUL ends.

use memchr::memchr;

use super::fault::FrameFault;
use super::{Parser, RecordBuffer};

#[derive(Debug, Default)]
pub(super) struct NulTerminated {
    /// A frame has begun.
    begun: bool,
}

impl Parser for NulTerminated {
    fn push(&mut self, bytes: &[u8], records: &mut RecordBuffer) -> Result<usize, FrameFault> {
        let mut rest = bytes;
        while let Some(nul) = memchr(0, rest) {
            let (frame, behind) = rest.split_at_checked(nul).unwrap_or((rest, &[]));
            records.push(frame);
            records.end();
            rest = behind.get(1..).unwrap_or_default();
            self.begun = false;
        }
        records.push(rest);
        self.begun |= !rest.is_empty();
        Ok(bytes.len())
    }

    fn at_boundary(&self) -> bool {
        !self.begun
    }
}
