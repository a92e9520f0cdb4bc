//! gzip (RFC 1952): members, one after another, with zero padding between and after them.

use crc32fast::Hasher;

use super::inflate::Inflate;
use super::{Codec, Fault, Format, Limits, Step};

#[derive(Debug)]
pub(super) struct Gzip {
    inflate: Inflate,
    state: State,
    /// The number of bytes read of the whole stream.
    offset: u64,
    /// The CRC-32 of the member's decoded bytes.
    crc: Hasher,
    /// The member's decoded size, modulo 2^32.
    size: u32,
}

#[derive(Debug)]
enum State {
    /// Before the first member, or after one.
    Between {
        first: bool,
    },
    Header(Header),
    Body,
    Trailer {
        bytes: [u8; 8],
        len: usize,
    },
}

impl Gzip {
    pub(super) fn new(limits: &Limits) -> Result<Self, Fault> {
        Ok(Gzip {
            inflate: Inflate::raw(Format::Gzip, limits)?,
            state: State::Between { first: true },
            offset: 0,
            crc: Hasher::new(),
            size: 0,
        })
    }

    fn byte(&mut self, byte: u8) -> Result<(), &'static str> {
        match &mut self.state {
            State::Between { first } => match byte {
                ID1 => self.state = State::Header(Header::new()),
                0 if !*first => {}
                _ if *first => return Err("not a gzip header"),
                _ => return Err("data after the end of the last member"),
            },
            State::Header(header) => {
                if header.byte(byte)? {
                    self.inflate.restart(self.offset.saturating_add(1));
                    self.crc = Hasher::new();
                    self.size = 0;
                    self.state = State::Body;
                }
            }
            State::Body => {}
            State::Trailer { bytes, len } => {
                if let Some(place) = bytes.get_mut(*len) {
                    *place = byte;
                }
                *len += 1;
                if *len == bytes.len() {
                    let [crc @ .., _, _, _, _] = *bytes;
                    let [_, _, _, _, size @ ..] = *bytes;
                    if u32::from_le_bytes(crc) != self.crc.clone().finalize() {
                        return Err("wrong checksum");
                    }
                    if u32::from_le_bytes(size) != self.size {
                        return Err("wrong size");
                    }
                    self.state = State::Between { first: false };
                }
            }
        }
        Ok(())
    }

    fn body(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let step = self.inflate.advance(input, output);
        let decoded = output.get(..step.written).unwrap_or_default();
        self.crc.update(decoded);
        // RFC 1952, section 2.3.1: ISIZE is the size modulo 2^32.
        self.size = self.size.wrapping_add(decoded.len() as u32);
        if self.inflate.ended() {
            self.state = State::Trailer {
                bytes: [0; 8],
                len: 0,
            };
        }
        step
    }
}

impl Codec for Gzip {
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let mut step = Step::default();
        loop {
            if let State::Body = self.state {
                let body = self.body(
                    input.get(step.read..).unwrap_or_default(),
                    output.get_mut(step.written..).unwrap_or_default(),
                );
                step.read += body.read;
                step.written += body.written;
                self.offset = self.offset.saturating_add(body.read as u64);
                step.fault = body.fault;
                if let State::Body = self.state {
                    return step;
                }
            }
            let Some(byte) = input.get(step.read) else {
                return step;
            };
            if let Err(reason) = self.byte(*byte) {
                step.fault = Some(Fault::Corrupt {
                    format: Format::Gzip,
                    offset: self.offset,
                    reason: reason.to_owned(),
                });
                return step;
            }
            step.read += 1;
            self.offset = self.offset.saturating_add(1);
        }
    }

    fn at_boundary(&self) -> bool {
        matches!(self.state, State::Between { .. })
    }
}

const ID1: u8 = 0x1f;

/// A member's header, byte by byte (RFC 1952, section 2.3), from the second byte on.
#[derive(Debug)]
struct Header {
    field: Field,
    flags: u8,
    /// The CRC-32 of the header's bytes, for FHCRC.
    crc: Hasher,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Id2,
    Method,
    Flags,
    /// MTIME, XFL and OS, of which this many bytes are left.
    Fixed(u8),
    ExtraLengthLow,
    ExtraLengthHigh(u8),
    Extra(u16),
    Name,
    Comment,
    CrcLow,
    CrcHigh(u8),
}

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

impl Header {
    fn new() -> Self {
        let mut crc = Hasher::new();
        crc.update(&[ID1]);
        Header {
            field: Field::Id2,
            flags: 0,
            crc,
        }
    }

    /// Takes the next byte; returns `true` if it was the header's last.
    fn byte(&mut self, byte: u8) -> Result<bool, &'static str> {
        let next = match self.field {
            Field::Id2 if byte == 0x8b => Some(Field::Method),
            Field::Id2 => return Err("not a gzip header"),
            Field::Method if byte == 8 => Some(Field::Flags),
            Field::Method => return Err("unknown compression method"),
            Field::Flags if byte & RESERVED != 0 => return Err("reserved flags are set"),
            Field::Flags => {
                self.flags = byte;
                Some(Field::Fixed(6))
            }
            Field::Fixed(left) if left > 1 => Some(Field::Fixed(left - 1)),
            Field::Fixed(_) => self.after(0),
            Field::ExtraLengthLow => Some(Field::ExtraLengthHigh(byte)),
            Field::ExtraLengthHigh(low) => match u16::from_le_bytes([low, byte]) {
                0 => self.after(FEXTRA),
                length => Some(Field::Extra(length)),
            },
            Field::Extra(left) if left > 1 => Some(Field::Extra(left - 1)),
            Field::Extra(_) => self.after(FEXTRA),
            Field::Name if byte != 0 => Some(Field::Name),
            Field::Name => self.after(FNAME),
            Field::Comment if byte != 0 => Some(Field::Comment),
            Field::Comment => self.after(FCOMMENT),
            // The two low bytes of the CRC-32, little-endian. They do not cover themselves.
            Field::CrcLow => {
                self.field = Field::CrcHigh(byte);
                return Ok(false);
            }
            Field::CrcHigh(low) => {
                let crc = self.crc.clone().finalize() as u16;
                if u16::from_le_bytes([low, byte]) != crc {
                    return Err("wrong header checksum");
                }
                None
            }
        };
        self.crc.update(&[byte]);
        match next {
            Some(field) => self.field = field,
            None => return Ok(true),
        }
        Ok(false)
    }

    /// The first optional field that is present after the field of flag `done`.
    fn after(&self, done: u8) -> Option<Field> {
        [
            (FEXTRA, Field::ExtraLengthLow),
            (FNAME, Field::Name),
            (FCOMMENT, Field::Comment),
        ]
        .into_iter()
        .find(|(flag, _)| *flag > done && self.flags & flag != 0)
        .map(|(_, field)| field)
        .or((self.flags & FHCRC != 0).then_some(Field::CrcLow))
    }
}
