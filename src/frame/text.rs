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

/// Writes text.
fn write(text: &[u8], records: &mut RecordBuffer) {
    let mut from = 0;
    for (at, byte) in text.iter().enumerate() {
        if !matches!(byte, 0..0x20 | b'"' | b'\\') {
            continue;
        }
        records.push_line_part(text.get(from..at).unwrap_or_default());
        from = at.saturating_add(1);
        match byte {
            b'"' => records.push_line_part(b"\\\""),
            b'\\' => records.push_line_part(b"\\\\"),
            b'\n' => records.push_line_part(b"\\n"),
            b'\r' => records.push_line_part(b"\\r"),
            b'\t' => records.push_line_part(b"\\t"),
            byte => records.push_line_part(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    records.push_line_part(text.get(from..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

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
