//! The receipt of a server with `--receipt`: one line of JSON (RFC 8259).
//!
//! It is a flat object of numbers without sign or fraction, strings, `true` and `false`. Unknown names
//! are ignored, so that later servers may add some.

use std::fmt;

use serde_core::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

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
        // JSON may have several lines, but a receipt has one.
        if answer.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return None;
        }
        let mut parser = serde_json::Deserializer::from_slice(answer);
        let fields = parser.deserialize_map(Fields::default()).ok()?;
        parser.end().ok()?;
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

/// By hand, as a derived implementation would accept objects and lists under unknown names.
impl<'de> Visitor<'de> for Fields {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a receipt")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Self, A::Error> {
        while let Some((name, value)) = object.next_entry::<String, Value>()? {
            self.set(&name, value)
                .ok_or_else(|| A::Error::custom("not a field of a receipt"))?;
        }
        Ok(self)
    }
}

impl Fields {
    /// Sets a field; `None` if it is repeated, or of the wrong type.
    fn set(&mut self, name: &str, value: Value) -> Option<()> {
        match (name, value) {
            ("ok", Value::Bool(ok)) => once(&mut self.ok, ok),
            ("received", Value::Number(number)) => once(&mut self.received, number.as_u64()?),
            ("delivered", Value::Number(number)) => once(&mut self.delivered, number.as_u64()?),
            ("crc32c", Value::String(text)) => once(&mut self.crc32c, text),
            ("reason", Value::String(text)) => once(&mut self.reason, text),
            ("ok" | "received" | "delivered" | "crc32c" | "reason", _) => None,
            // Of a later server.
            (_, Value::Number(number)) => number.as_u64().map(drop),
            (_, Value::Bool(_) | Value::String(_)) => Some(()),
            (_, Value::Null | Value::Array(_) | Value::Object(_)) => None,
        }
    }
}

fn once<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
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
