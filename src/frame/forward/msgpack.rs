//! MessagePack (its specification of 2017), token by token.

use super::super::fault::FaultKind;

/// A token: a value, or the beginning of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Float32(f32),
    Float64(f64),
    /// The beginning of a string or of binary data, of this many bytes. At least one
    /// [`Part`](Self::Part) follows.
    Bytes(usize),
    /// The beginning of an extension of this type and this many bytes. At least one
    /// [`Part`](Self::Part) follows.
    Extension(i8, usize),
    /// A part of the bytes, and whether it is the last one.
    Part(&'a [u8], bool),
    /// The beginning of an array with this many elements.
    Array(u32),
    /// The beginning of a map with this many pairs.
    Map(u32),
}

/// Makes tokens of bytes that come in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Tokenizer {
    /// The beginning of a token that is cut off: at most its first byte and 8 bytes behind it.
    head: [u8; 9],
    have: usize,
    /// In bytes, of which this many are yet to come.
    left: Option<usize>,
}

impl Tokenizer {
    /// Takes bytes for the next token; returns their number, and the token unless more bytes are
    /// needed.
    pub(super) fn next<'a>(
        &mut self,
        bytes: &'a [u8],
    ) -> (usize, Result<Option<Token<'a>>, FaultKind>) {
        if let Some(left) = self.left {
            let most = left.min(super::super::PART);
            let part = bytes.get(..most).unwrap_or(bytes);
            if part.is_empty() && left > 0 {
                return (0, Ok(None));
            }
            let left = left.saturating_sub(part.len());
            self.left = (left > 0).then_some(left);
            return (part.len(), Ok(Some(Token::Part(part, left == 0))));
        }
        let mut taken = 0;
        loop {
            let len = match self.head.first() {
                Some(first) if self.have > 0 => match head_len(*first) {
                    Some(len) => len,
                    None => {
                        let reason = "a byte that no value of MessagePack begins with";
                        return (taken, Err(FaultKind::Corrupt(reason.into())));
                    }
                },
                _ => 1,
            };
            if self.have > 0 && self.have == len {
                self.have = 0;
                return (taken, Ok(Some(self.token(len))));
            }
            let (Some(byte), Some(slot)) = (bytes.get(taken), self.head.get_mut(self.have)) else {
                return (taken, Ok(None));
            };
            *slot = *byte;
            self.have = self.have.saturating_add(1);
            taken = taken.saturating_add(1);
        }
    }

    /// Leaves the bytes that have just begun to the caller, as if they had been parsed.
    pub(super) fn leave_bytes(&mut self) {
        self.left = None;
    }

    /// Whether the next token is an empty part, which needs no more bytes.
    pub(super) fn has_empty_part(&self) -> bool {
        self.left == Some(0)
    }

    /// Whether no token has begun.
    pub(super) fn at_boundary(&self) -> bool {
        self.have == 0 && self.left.is_none()
    }

    /// The token of a whole head of this length.
    fn token<'a>(&mut self, len: usize) -> Token<'a> {
        let [first, rest @ ..] = self.head;
        let number = rest
            .iter()
            .take(len.saturating_sub(1))
            .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        // The number is as long as its type says.
        let size = number as usize;
        match first {
            0..=0x7f => Token::Unsigned(first.into()),
            0x80..=0x8f => Token::Map(u32::from(first & 0x0f)),
            0x90..=0x9f => Token::Array(u32::from(first & 0x0f)),
            0xa0..=0xbf => self.bytes(usize::from(first & 0x1f)),
            0xc2 | 0xc3 => Token::Bool(first == 0xc3),
            0xc4..=0xc6 | 0xd9..=0xdb => self.bytes(size),
            // The type stands behind the length.
            0xc7..=0xc9 => self.extension(number as u8, size >> 8),
            0xca => Token::Float32(f32::from_bits(number as u32)),
            0xcb => Token::Float64(f64::from_bits(number)),
            0xcc..=0xcf => Token::Unsigned(number),
            0xd0 => integer((number as i8).into()),
            0xd1 => integer((number as i16).into()),
            0xd2 => integer((number as i32).into()),
            0xd3 => integer(number as i64),
            0xd4..=0xd8 => self.extension(number as u8, 1 << (first - 0xd4)),
            0xdc | 0xdd => Token::Array(number as u32),
            0xde | 0xdf => Token::Map(number as u32),
            0xe0.. => integer((first as i8).into()),
            // 0xc1 has no head.
            0xc0 | 0xc1 => Token::Nil,
        }
    }

    fn bytes<'a>(&mut self, len: usize) -> Token<'a> {
        self.left = Some(len);
        Token::Bytes(len)
    }

    fn extension<'a>(&mut self, kind: u8, len: usize) -> Token<'a> {
        self.left = Some(len);
        Token::Extension(kind as i8, len)
    }
}

fn integer<'a>(number: i64) -> Token<'a> {
    match u64::try_from(number) {
        Ok(number) => Token::Unsigned(number),
        Err(_) => Token::Negative(number),
    }
}

/// The length of a token's head by its first byte: the type, the number or the length, and the type of
/// an extension.
fn head_len(first: u8) -> Option<usize> {
    Some(match first {
        0xc1 => return None,
        0xc4 | 0xcc | 0xd0 | 0xd9 => 2,
        0xc5 | 0xcd | 0xd1 | 0xda | 0xdc | 0xde => 3,
        0xc6 | 0xca | 0xce | 0xd2 | 0xdb | 0xdd | 0xdf => 5,
        0xcb | 0xcf | 0xd3 => 9,
        0xc7 => 3,
        0xc8 => 4,
        0xc9 => 6,
        0xd4..=0xd8 => 2,
        _ => 1,
    })
}
