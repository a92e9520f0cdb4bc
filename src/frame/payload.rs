//! Bytes within a frame that are frames or messages themselves, and may be compressed.

use super::RecordBuffer;
use super::fault::FaultKind;
use crate::decode::{self, Decoder, Format, Limits};
use crate::limit::Limit;
use crate::memory::Reservation;

/// The size of a piece of decompressed bytes.
const PIECE: usize = 16 * 1024;

/// A part of a frame that may be compressed, and is decompressed piece by piece.
#[derive(Debug)]
pub(super) struct Payload {
    decoder: Decoder,
    /// The length of the part, in bytes.
    len: usize,
    /// The number of its bytes that are yet to come.
    left: usize,
    /// The number of decompressed bytes that were parsed.
    parsed: u64,
    /// Decompressed bytes, of which those in `from..to` are not parsed yet.
    piece: Box<[u8]>,
    from: usize,
    to: usize,
    /// The decoder may have more to write, without further input.
    has_more: bool,
    _memory: Reservation,
}

impl Payload {
    /// A payload of `len` bytes.
    pub(super) fn new(format: Format, len: usize, limits: &Limits) -> Result<Self, FaultKind> {
        let memory = limits.memory.try_reserve(PIECE).ok_or_else(|| {
            FaultKind::Limit(Limit::Memory {
                purpose: format!("{PIECE} bytes of a {format} frame"),
            })
        })?;
        Ok(Payload {
            decoder: Decoder::new(format, limits),
            len,
            left: len,
            parsed: 0,
            piece: vec![0; PIECE].into(),
            from: 0,
            to: 0,
            has_more: false,
            _memory: memory,
        })
    }

    /// The decompressed bytes that are not parsed yet.
    pub(super) fn bytes(&self) -> &[u8] {
        self.piece.get(self.from..self.to).unwrap_or_default()
    }

    /// Notes that the first of [`bytes`](Self::bytes) are parsed.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.from = self.from.saturating_add(bytes).min(self.to);
        self.parsed = self.parsed.saturating_add(bytes as u64);
    }

    /// The number of bytes from a fault to the next byte that is taken. The fault is `further` bytes
    /// behind those that are parsed; in compressed bytes, it is where they begin.
    pub(super) fn back(&self, further: usize) -> u64 {
        let position = match self.decoder.is_pass_through() {
            true => self.parsed.saturating_add(further as u64),
            false => 0,
        };
        let taken = self.len.saturating_sub(self.left) as u64;
        taken.saturating_sub(position)
    }

    /// Whether there are decompressed bytes, or there may be without further input.
    pub(super) fn has_more(&self) -> bool {
        self.from < self.to || self.has_more
    }

    /// Whether all compressed bytes have come, and all decompressed ones are parsed.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0 && !self.has_more()
    }

    /// Decompresses the next piece, once the last one is parsed. Returns the number of bytes that were
    /// taken from `input`.
    pub(super) fn fill(
        &mut self,
        input: &[u8],
        records: &mut RecordBuffer,
    ) -> Result<usize, FaultKind> {
        let input = input.get(..self.left).unwrap_or(input);
        let room = records.unpack_room().min(PIECE);
        let piece = self.piece.get_mut(..room).unwrap_or_default();
        let step = self.decoder.decode(input, piece);
        (self.from, self.to) = (0, step.written);
        self.has_more = step.written == room || step.read < input.len();
        if !self.decoder.is_pass_through() {
            records.count_unpacked(step.written);
        }
        match step.fault {
            None => {}
            // The bytes before the fault come first; the decoder repeats it.
            Some(_) if step.written > 0 => self.has_more = true,
            Some(decode::Fault::Corrupt { format, reason, .. }) => {
                return Err(FaultKind::Corrupt(format!("{format}: {reason}").into()));
            }
            Some(decode::Fault::Limit(limit)) => return Err(FaultKind::Limit(limit)),
            Some(decode::Fault::Unsupported(format)) => return Err(FaultKind::Unsupported(format)),
        }
        self.left = self.left.saturating_sub(step.read);
        Ok(step.read)
    }

    /// Whether the compressed bytes may end here.
    pub(super) fn at_boundary(&self) -> bool {
        self.decoder.at_boundary()
    }
}
