//! The receipt of a server with `--receipt`: one line of JSON (RFC 8259).
//!
//! A parser of our own suffices, as the receipt is one flat object of numbers without sign or
//! fraction, strings, `true` and `false`. Unknown names are ignored, so that later servers may add
//! some.

use std::iter::Peekable;
use std::str::Chars;

/// The longest receipt, in bytes. A reason may quote from the stream.
pub(crate) const LIMIT: usize = 4096;

/// The server's account of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The compressed bytes that it received.
    pub(crate) received: u64,
    /// The decompressed bytes that it delivered to its output.
    pub(crate) delivered: u64,
    pub(crate) status: ReceiptStatus,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReceiptStatus {
    /// The stream was whole; this is the CRC-32C (RFC 3720, appendix B.4) of the delivered bytes.
    Whole { crc32c: u32 },
    /// The stream was not whole, or could not be delivered.
    Failed { reason: String },
}

impl Receipt {
    /// Parses the whole answer of a server; `None` if it is not a receipt.
    pub(crate) fn parse(answer: &[u8]) -> Option<Self> {
        if answer.len() > LIMIT {
            return None;
        }
        let answer = answer.strip_suffix(b"\n").unwrap_or(answer);
        let text = std::str::from_utf8(answer).ok()?;
        let mut fields = Fields::default();
        let mut parser = Parser(text.chars().peekable());
        parser.object(&mut fields)?;
        if parser.0.next().is_some() {
            return None;
        }
        let status = match fields.ok? {
            true => ReceiptStatus::Whole {
                crc32c: checksum(&fields.crc32c?)?,
            },
            false => ReceiptStatus::Failed {
                reason: fields.reason?,
            },
        };
        Some(Receipt {
            received: fields.received?,
            delivered: fields.delivered?,
            status,
        })
    }
}

/// Eight lower-case hexadecimal digits.
fn checksum(text: &str) -> Option<u32> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == 8 && text.bytes().all(is_digit))
        .then(|| u32::from_str_radix(text, 16).ok())
        .flatten()
}

#[derive(Default)]
struct Fields {
    ok: Option<bool>,
    received: Option<u64>,
    delivered: Option<u64>,
    crc32c: Option<String>,
    reason: Option<String>,
}

enum Value {
    Bool(bool),
    Number(u64),
    Text(String),
}

impl Fields {
    /// Sets a field; `None` if it is repeated, or of the wrong type.
    fn set(&mut self, name: &str, value: Value) -> Option<()> {
        match (name, value) {
            ("ok", Value::Bool(ok)) => once(&mut self.ok, ok),
            ("received", Value::Number(number)) => once(&mut self.received, number),
            ("delivered", Value::Number(number)) => once(&mut self.delivered, number),
            ("crc32c", Value::Text(text)) => once(&mut self.crc32c, text),
            ("reason", Value::Text(text)) => once(&mut self.reason, text),
            ("ok" | "received" | "delivered" | "crc32c" | "reason", _) => None,
            _ => Some(()),
        }
    }
}

fn once<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

struct Parser<'a>(Peekable<Chars<'a>>);

impl Parser<'_> {
    fn object(&mut self, fields: &mut Fields) -> Option<()> {
        self.space();
        self.expect('{')?;
        self.space();
        if self.0.next_if_eq(&'}').is_some() {
            self.space();
            return Some(());
        }
        loop {
            self.space();
            let name = self.text()?;
            self.space();
            self.expect(':')?;
            self.space();
            let value = self.value()?;
            fields.set(&name, value)?;
            self.space();
            match self.0.next()? {
                ',' => {}
                '}' => break,
                _ => return None,
            }
        }
        self.space();
        Some(())
    }

    fn value(&mut self) -> Option<Value> {
        match self.0.peek()? {
            '"' => self.text().map(Value::Text),
            't' => self.word("true").map(|()| Value::Bool(true)),
            'f' => self.word("false").map(|()| Value::Bool(false)),
            _ => self.number().map(Value::Number),
        }
    }

    fn number(&mut self) -> Option<u64> {
        let mut digits = String::new();
        while let Some(digit) = self.0.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        match digits.as_bytes() {
            [b'0', _, ..] => None,
            _ => digits.parse().ok(),
        }
    }

    fn text(&mut self) -> Option<String> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            match self.0.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.escaped()?),
                '\0'..='\x1f' => return None,
                plain => text.push(plain),
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        Some(match self.0.next()? {
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            same @ ('"' | '\\' | '/') => same,
            'u' => match self.unit()? {
                // Two UTF-16 units for one character (RFC 8259, section 7).
                high @ 0xd800..=0xdbff => {
                    self.word("\\u")?;
                    let pair = [high, self.unit()?];
                    char::decode_utf16(pair).next()?.ok()?
                }
                unit => char::from_u32(unit.into())?,
            },
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u16> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.0.next()?.to_digit(16)?;
            unit = unit << 4 | u16::try_from(digit).ok()?;
        }
        Some(unit)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        word.chars().try_for_each(|letter| self.expect(letter))
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        self.0.next_if_eq(&wanted).map(drop)
    }

    fn space(&mut self) {
        while self
            .0
            .next_if(|space| matches!(space, ' ' | '\t'))
            .is_some()
        {}
    }
}

#[cfg(test)]
#[path = "../../../tests/fuzz/receipt.rs"]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_taken_apart() {
        let whole = br#"{"ok":true,"received":26,"delivered":6,"crc32c":"0000beef"}"#;
        let expected = Receipt {
            received: 26,
            delivered: 6,
            status: ReceiptStatus::Whole { crc32c: 0xbeef },
        };
        assert_eq!(Receipt::parse(whole), Some(expected.clone()));
        let with_newline = [whole.as_slice(), b"\n"].concat();
        assert_eq!(Receipt::parse(&with_newline), Some(expected.clone()));
        let other_order =
            br#" { "crc32c" : "0000beef", "more": "x", "n": 1, "delivered" : 6,"received":26 , "ok":true } "#;
        assert_eq!(Receipt::parse(other_order), Some(expected));

        let failed = r#"{"ok":false,"received":18446744073709551615,"delivered":0,"reason":"corrupt (\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é)"}"#;
        assert_eq!(
            Receipt::parse(failed.as_bytes()),
            Some(Receipt {
                received: u64::MAX,
                delivered: 0,
                status: ReceiptStatus::Failed {
                    reason: "corrupt (\"\\/\x08\x0c\n\r\té😀é)".to_owned()
                },
            })
        );
    }

    #[test]
    fn nothing_else_is_a_receipt() {
        for answer in [
            "",
            "\n",
            "{}",
            "HTTP/1.1 400 Bad Request",
            r#"{"ok":true,"received":1,"delivered":1}"#,
            r#"{"ok":true,"received":1,"delivered":1,"reason":"no"}"#,
            r#"{"ok":false,"received":1,"delivered":1,"crc32c":"00000000"}"#,
            r#"{"ok":"true","received":1,"delivered":1,"crc32c":"00000000"}"#,
            r#"{"ok":true,"received":-1,"delivered":1,"crc32c":"00000000"}"#,
            r#"{"ok":true,"received":1.0,"delivered":1,"crc32c":"00000000"}"#,
            r#"{"ok":true,"received":01,"delivered":1,"crc32c":"00000000"}"#,
            r#"{"ok":true,"received":,"delivered":1,"crc32c":"00000000"}"#,
            r#"{"ok":true,"received":18446744073709551616,"delivered":1,"crc32c":"00000000"}"#,
            r#"{"ok":true,"received":1,"delivered":1,"crc32c":"0000000"}"#,
            r#"{"ok":true,"received":1,"delivered":1,"crc32c":"000000000"}"#,
            r#"{"ok":true,"received":1,"delivered":1,"crc32c":"0000000G"}"#,
            r#"{"ok":true,"received":1,"delivered":1,"crc32c":"0000BEEF"}"#,
            r#"{"ok":true,"received":1,"delivered":1,"crc32c":"+0000000"}"#,
            r#"{"ok":true,"received":1,"delivered":1,"crc32c":0}"#,
            r#"{"ok":true,"ok":true,"received":1,"delivered":1,"crc32c":"00000000"}"#,
            r#"{"ok":true,"received":1,"delivered":1,"crc32c":"00000000"}x"#,
            r#"{"ok":true,"received":1,"delivered":1,"crc32c":"00000000",}"#,
            r#"{"ok":true,"received":1,"delivered":1,"crc32c":"00000000""#,
            r#"{"ok":true,"received":1,"delivered":1,"crc32c":"00000000","x":null}"#,
            r#"{"ok":true,"received":1,"delivered":1,"crc32c":"00000000","x":[]}"#,
            "{\"ok\":true,\"received\":1,\"delivered\":1,\"crc32c\":\"00000000\"}\n\n",
            "{\"ok\":true,\n\"received\":1,\"delivered\":1,\"crc32c\":\"00000000\"}",
            "{\"ok\":false,\"received\":1,\"delivered\":1,\"reason\":\"a\nb\"}",
            r#"{"ok":false,"received":1,"delivered":1,"reason":"\x"}"#,
            r#"{"ok":false,"received":1,"delivered":1,"reason":"\ud83d"}"#,
            r#"{"ok":false,"received":1,"delivered":1,"reason":"\ud83d\u0041"}"#,
            r#"{"ok":false,"received":1,"delivered":1,"reason":"\ude00"}"#,
            r#"{"ok":false,"received":1,"delivered":1,"reason":"\u+041"}"#,
        ] {
            assert_eq!(Receipt::parse(answer.as_bytes()), None, "{answer}");
        }
        assert_eq!(Receipt::parse(b"{\"ok\":\xff}"), None);
    }

    #[test]
    fn a_receipt_has_a_size_that_it_may_have() {
        let of = |reason: usize| {
            let reason = "x".repeat(reason);
            format!(r#"{{"ok":false,"received":1,"delivered":1,"reason":"{reason}"}}"#)
        };
        let most = LIMIT - of(0).len();
        assert!(Receipt::parse(of(most).as_bytes()).is_some());
        assert!(Receipt::parse(of(most + 1).as_bytes()).is_none());
    }
}
