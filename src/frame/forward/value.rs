//! Values of MessagePack as JSON.

use super::super::RecordBuffer;
use super::super::fault::FaultKind;
use super::super::text::Text;
use super::msgpack::Token;

/// The deepest nesting of arrays and maps. Readers of JSON accept 128 levels.
const MAX_DEPTH: usize = 100;

/// Writes one value as JSON, or passes over it.
///
/// Strings, binary data and extensions become strings. A key that is no string becomes one: a number
/// its digits, an array or a map its JSON. Numbers that JSON does not have are strings.
#[derive(Debug, Default)]
pub(super) struct Value {
    /// Whether the value is written.
    is_written: bool,
    /// The arrays and maps that are open.
    open: Vec<Container>,
    text: Text,
    /// The number of containers that were open when a key began that is a container itself.
    key: Option<usize>,
}

#[derive(Debug)]
struct Container {
    /// The elements, or keys and values, that are yet to come.
    left: u64,
    is_map: bool,
    /// No element has begun.
    is_new: bool,
}

impl Value {
    /// Begins another value.
    pub(super) fn begin(&mut self, is_written: bool) {
        self.is_written = is_written;
        self.open.clear();
        self.key = None;
    }

    /// Takes the next token; returns whether the value is complete.
    pub(super) fn push(
        &mut self,
        token: Token<'_>,
        records: &mut RecordBuffer,
    ) -> Result<bool, FaultKind> {
        match token {
            Token::Part(part, is_last) => {
                self.text(part, is_last, records);
                if !is_last {
                    return Ok(false);
                }
                self.write(b"\"", records);
            }
            Token::Bytes(_) | Token::Extension(..) => {
                self.separate(records);
                self.write(b"\"", records);
                return Ok(false);
            }
            Token::Array(len) => {
                self.open(u64::from(len), false, records)?;
                if len > 0 {
                    return Ok(false);
                }
                self.close(records);
            }
            Token::Map(len) => {
                self.open(u64::from(len).saturating_mul(2), true, records)?;
                if len > 0 {
                    return Ok(false);
                }
                self.close(records);
            }
            Token::Nil => self.scalar(&"null", records),
            Token::Bool(is_true) => self.scalar(&is_true, records),
            Token::Unsigned(number) => self.scalar(&number, records),
            Token::Negative(number) => self.scalar(&number, records),
            Token::Float32(number) if number.is_finite() => {
                self.scalar(&format_args!("{number:?}"), records);
            }
            Token::Float64(number) if number.is_finite() => {
                self.scalar(&format_args!("{number:?}"), records);
            }
            Token::Float32(number) => self.scalar(&format_args!("\"{number}\""), records),
            Token::Float64(number) => self.scalar(&format_args!("\"{number}\""), records),
        }
        Ok(self.end(records))
    }

    /// Writes a value that is complete.
    fn scalar(&mut self, value: &dyn std::fmt::Display, records: &mut RecordBuffer) {
        let is_key = self.separate(records);
        if !self.is_written {
            return;
        }
        let mut json = value.to_string();
        if is_key && !json.starts_with('"') {
            json = format!("\"{json}\"");
        }
        self.write(json.as_bytes(), records);
    }

    /// Opens an array or a map of `left` elements, or keys and values.
    fn open(
        &mut self,
        left: u64,
        is_map: bool,
        records: &mut RecordBuffer,
    ) -> Result<(), FaultKind> {
        if self.open.len() >= MAX_DEPTH {
            let reason = "values are nested more than 100 deep";
            return Err(FaultKind::Corrupt(reason.into()));
        }
        if self.separate(records) {
            if self.key.is_some() {
                let reason = "a key is an array or a map, and so is a key in it";
                return Err(FaultKind::Corrupt(reason.into()));
            }
            self.write(b"\"", records);
            self.key = Some(self.open.len());
        }
        self.write(if is_map { b"{" } else { b"[" }, records);
        self.open.push(Container {
            left,
            is_map,
            is_new: true,
        });
        Ok(())
    }

    /// Closes the innermost array or map.
    fn close(&mut self, records: &mut RecordBuffer) {
        let Some(container) = self.open.pop() else {
            return;
        };
        self.write(if container.is_map { b"}" } else { b"]" }, records);
        if self.key == Some(self.open.len()) {
            self.key = None;
            self.write(b"\"", records);
        }
    }

    /// Ends a value, and the containers that it completes. Returns whether nothing is open.
    fn end(&mut self, records: &mut RecordBuffer) -> bool {
        while let Some(container) = self.open.last_mut() {
            container.left = container.left.saturating_sub(1);
            if container.left > 0 {
                return false;
            }
            self.close(records);
        }
        true
    }

    /// Writes the separator before a value. Returns whether the value is a key.
    fn separate(&mut self, records: &mut RecordBuffer) -> bool {
        let Some(container) = self.open.last_mut() else {
            return false;
        };
        let is_value = container.is_map && container.left % 2 == 1;
        let is_key = container.is_map && !is_value;
        let is_new = std::mem::replace(&mut container.is_new, false);
        if is_value {
            self.write(b":", records);
        } else if !is_new {
            self.write(b",", records);
        }
        is_key
    }

    fn text(&mut self, part: &[u8], is_last: bool, records: &mut RecordBuffer) {
        if !self.is_written {
            return;
        }
        let mut quoted = RecordBuffer::default();
        let direct = match self.key {
            Some(_) => &mut quoted,
            None => &mut *records,
        };
        self.text.push(part, direct);
        if is_last {
            self.text.end(direct);
        }
        self.write(quoted.records().lines(), records);
    }

    /// Writes JSON. Within a key, it is part of a string.
    fn write(&self, json: &[u8], records: &mut RecordBuffer) {
        if !self.is_written {
            return;
        }
        if self.key.is_none() {
            records.push_line_part(json);
            return;
        }
        for byte in json {
            if matches!(byte, b'"' | b'\\') {
                records.push_line_part(b"\\");
            }
            records.push_line_part(&[*byte]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::msgpack::Tokenizer;
    use super::*;

    /// The JSON of a value that comes in pieces of this size.
    fn json(value: &[u8], size: usize) -> Result<String, FaultKind> {
        let mut tokens = Tokenizer::default();
        let mut writer = Value::default();
        writer.begin(true);
        let mut records = RecordBuffer::default();
        let mut is_complete = false;
        for mut piece in value.chunks(size) {
            loop {
                let (taken, token) = tokens.next(piece);
                piece = &piece[taken..];
                let Some(token) = token? else { break };
                assert!(!is_complete, "it goes on");
                is_complete = writer.push(token, &mut records)?;
            }
        }
        assert!(is_complete, "it is not complete");
        Ok(String::from_utf8_lossy(records.records().lines()).into_owned())
    }

    #[test]
    fn every_type_has_its_json() {
        let long = [&b"\xda\x01\x00"[..], &[b'x'; 256]].concat();
        let long_text = format!("\"{}\"", "x".repeat(256));
        for (value, expected) in [
            (&b"\xc0"[..], "null"),
            (b"\xc2", "false"),
            (b"\xc3", "true"),
            (b"\x00", "0"),
            (b"\x7f", "127"),
            (b"\xff", "-1"),
            (b"\xe0", "-32"),
            (b"\xcc\xff", "255"),
            (b"\xcd\xff\xff", "65535"),
            (b"\xce\xff\xff\xff\xff", "4294967295"),
            (
                b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
                "18446744073709551615",
            ),
            (b"\xd0\x80", "-128"),
            (b"\xd1\x80\x00", "-32768"),
            (b"\xd2\x80\x00\x00\x00", "-2147483648"),
            (
                b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
                "-9223372036854775808",
            ),
            (b"\xd0\x7f", "127"),
            (b"\xca\x3f\x80\x00\x00", "1.0"),
            (b"\xca\x3d\xcc\xcc\xcd", "0.1"),
            (b"\xcb\x7e\x37\xe4\x3c\x88\x00\x75\x9c", "1e300"),
            (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "\"NaN\""),
            (b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "\"-inf\""),
            (b"\xa0", "\"\""),
            (b"\xa3a\"\n", r#""a\"\n""#),
            (b"\xd9\x02\xc3\xa9", "\"é\""),
            (&long, &long_text),
            (b"\xdb\0\0\0\x01a", "\"a\""),
            (b"\xc4\x02\xff\x00", r#""\\xff\u0000""#),
            (b"\xc5\x00\x01a", "\"a\""),
            (b"\xc6\x00\x00\x00\x01a", "\"a\""),
            (b"\xd4\x05a", "\"a\""),
            (b"\xd6\x05abcd", "\"abcd\""),
            (b"\xc7\x03\x05abc", "\"abc\""),
            (b"\xc8\x00\x01\x05a", "\"a\""),
            (b"\xc9\x00\x00\x00\x00\x05", "\"\""),
            (b"\x90", "[]"),
            (b"\x80", "{}"),
            (b"\x93\x01\x90\x92\xa1a\xc0", r#"[1,[],["a",null]]"#),
            (b"\xdc\x00\x01\x01", "[1]"),
            (b"\xdd\x00\x00\x00\x01\x01", "[1]"),
            (
                b"\x82\xa1a\x01\xa1b\x81\xa1c\x80",
                r#"{"a":1,"b":{"c":{}}}"#,
            ),
            (b"\xde\x00\x01\xa1a\x01", r#"{"a":1}"#),
            (b"\xdf\x00\x00\x00\x01\xa1a\x01", r#"{"a":1}"#),
            // Keys that are no strings.
            (
                b"\x83\x01\x02\xc0\x03\xcb\x7f\xf8\0\0\0\0\0\0\x04",
                r#"{"1":2,"null":3,"NaN":4}"#,
            ),
            (
                b"\x82\x92\xa2\"\n\x01\x02\x90\x03",
                r#"{"[\"\\\"\\n\",1]":2,"[]":3}"#,
            ),
        ] {
            for size in 1..=value.len() {
                let name = value.escape_ascii();
                assert_eq!(json(value, size).unwrap(), expected, "{name}");
            }
            if expected.len() < 200 {
                let parsed: Result<serde_json::Value, _> = serde_json::from_str(expected);
                assert!(parsed.is_ok(), "{expected}");
            }
        }
    }

    #[test]
    fn values_that_are_nested_too_deep_or_no_values_are_faults() {
        let deep = |levels: usize| [vec![0x91; levels], vec![0x00]].concat();
        assert!(json(&deep(MAX_DEPTH), 1).is_ok());
        for value in [
            &deep(MAX_DEPTH + 1)[..],
            &deep(10_000),
            b"\xc1",
            b"\x81\x91\x81\x90\0\0",
        ] {
            assert!(matches!(json(value, 7), Err(FaultKind::Corrupt(_))));
        }
    }
}
