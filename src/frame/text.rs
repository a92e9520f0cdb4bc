//! Strings of JSON (RFC 8259, section 7), written piece by piece.

use super::RecordBuffer;

/// A string on its way into a record.
///
/// Only those characters are escaped that JSON requires to be. A byte that is not UTF-8 is written as
/// `\xff`, with the backslash escaped: every byte stays visible, and the string is text.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// The beginning of a character that the last piece cut off.
    cut: Vec<u8>,
}

impl Text {
    /// Writes the next piece of the string.
    pub(super) fn push(&mut self, mut piece: &[u8], records: &mut RecordBuffer) {
        // A character has four bytes at most.
        while !self.cut.is_empty()
            && let Some((byte, rest)) = piece.split_first()
        {
            self.cut.push(*byte);
            piece = rest;
            let cut = std::mem::take(&mut self.cut);
            self.whole(&cut, records);
        }
        self.whole(piece, records);
    }

    /// Ends the string.
    pub(super) fn end(&mut self, records: &mut RecordBuffer) {
        for byte in std::mem::take(&mut self.cut) {
            escape(byte, records);
        }
    }

    /// Writes whole characters, and keeps the one that is cut off at the end.
    fn whole(&mut self, mut bytes: &[u8], records: &mut RecordBuffer) {
        loop {
            let error = match str::from_utf8(bytes) {
                Ok(text) => return write(text.as_bytes(), records),
                Err(error) => error,
            };
            let (text, rest) = bytes
                .split_at_checked(error.valid_up_to())
                .unwrap_or((bytes, &[]));
            write(text, records);
            let Some(invalid) = error.error_len() else {
                self.cut = rest.to_vec();
                return;
            };
            let (invalid, rest) = rest.split_at_checked(invalid).unwrap_or((rest, &[]));
            for byte in invalid {
                escape(*byte, records);
            }
            bytes = rest;
        }
    }
}

/// Writes a byte that is not UTF-8.
fn escape(byte: u8, records: &mut RecordBuffer) {
    records.push_line_part(format!("\\\\x{byte:02x}").as_bytes());
}

/// Whether JSON requires this character to be escaped. It has no branch, so that several characters are
/// compared at once.
fn is_escaped(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// The number of bytes at the front that are written as they are.
fn unescaped(text: &[u8]) -> usize {
    let (chunks, _) = text.as_chunks::<16>();
    let is_clear = |chunk: &&[u8; 16]| {
        let escaped = chunk.map(|byte| u8::from(is_escaped(byte)));
        escaped.iter().fold(0, |any, one| any | one) == 0
    };
    let clear = chunks.iter().take_while(is_clear).count();
    let clear = clear.saturating_mul(16);
    let rest = text.get(clear..).unwrap_or_default();
    let more = rest.iter().position(|byte| is_escaped(*byte));
    clear.saturating_add(more.unwrap_or(rest.len()))
}

/// Writes text.
fn write(mut text: &[u8], records: &mut RecordBuffer) {
    loop {
        let (as_it_is, rest) = text
            .split_at_checked(unescaped(text))
            .unwrap_or((text, &[]));
        records.push_line_part(as_it_is);
        let Some((byte, behind)) = rest.split_first() else {
            return;
        };
        text = behind;
        match byte {
            b'"' => records.push_line_part(b"\\\""),
            b'\\' => records.push_line_part(b"\\\\"),
            b'\n' => records.push_line_part(b"\\n"),
            b'\r' => records.push_line_part(b"\\r"),
            b'\t' => records.push_line_part(b"\\t"),
            byte => records.push_line_part(format!("\\u{byte:04x}").as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_that_json_escapes_is_escaped_wherever_it_is() {
        for at in 0..40 {
            for byte in 0..0x80 {
                let mut string = [b'x'; 40];
                string[at] = byte;
                let mut text = Text::default();
                let mut records = RecordBuffer::default();
                records.push_line_part(b"\"");
                text.push(&string, &mut records);
                records.push_line_part(b"\"");
                let parsed: String = serde_json::from_slice(records.records().lines()).unwrap();
                assert_eq!(parsed.as_bytes(), string);
            }
        }
    }

    #[test]
    fn a_string_is_the_same_however_it_is_split() {
        let string = b"a\"\\\n\x01\xc3\xa9\xff\xe2\x82\xe2\x82\xac\xf0\x9f\x98\x80\xf0\x9f";
        let expected = r#"a\"\\\n\u0001é\\xff\\xe2\\x82€😀\\xf0\\x9f"#;
        for size in 1..=string.len() {
            let mut text = Text::default();
            let mut records = RecordBuffer::default();
            for piece in string.chunks(size) {
                text.push(piece, &mut records);
            }
            text.end(&mut records);
            let written = String::from_utf8_lossy(records.records().lines()).into_owned();
            assert_eq!(written, expected, "in pieces of {size}");
        }
    }
}
