//! The first line of a resumed stream.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::{Instance, MAX_LINE, MAX_NAME, Position, parse_checksum, parse_hex};
use crate::output::push_json;

/// The beginning of the line.
pub(crate) const PREFIX: &[u8] = b"tlsink/1 ";

/// The first line of a resumed stream, by which its sender names it.
///
/// ```
/// use tlsink::resume::{Position, Preamble};
///
/// let preamble = Preamble::new("web1/app.log", Position { offset: 10, crc32c: 0xe306_9283 })?;
/// let line = b"tlsink/1 {\"stream\":\"web1/app.log\",\"from\":10,\"crc32c\":\"e3069283\"}\n";
/// assert_eq!(preamble.to_line(), line);
/// assert_eq!(Preamble::parse(line)?, preamble);
/// # Ok::<(), tlsink::resume::PreambleError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preamble {
    stream: String,
    from: Position,
    instance: Option<Instance>,
}

/// The reason why a line is no preamble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PreambleError {
    /// The name is empty, longer than [`MAX_NAME`], or has control characters.
    Name,
    /// The line is not `tlsink/1`, a space and a JSON object whose fields are as they must be.
    Invalid,
    /// The line is longer than [`MAX_LINE`].
    TooLong,
}

impl Preamble {
    /// Names a stream, and the position from which on its sender can send it.
    ///
    /// # Errors
    ///
    /// [`PreambleError::Name`] if the name is not valid.
    pub fn new(stream: impl Into<String>, from: Position) -> Result<Self, PreambleError> {
        let stream = stream.into();
        let is_valid = (1..=MAX_NAME).contains(&stream.len()) && !stream.contains(char::is_control);
        match is_valid {
            true => Ok(Preamble {
                stream,
                from,
                instance: None,
            }),
            false => Err(PreambleError::Name),
        }
    }

    /// Names the instance of the stream, too. Servers that keep no positions need it: they can't tell the
    /// bytes of one instance from those of another by their offsets.
    pub fn with_instance(mut self, instance: Instance) -> Self {
        self.instance = Some(instance);
        self
    }

    /// The name of the stream.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The position from which on the sender can send it: usually the last that was acknowledged.
    pub fn from(&self) -> Position {
        self.from
    }

    /// The instance of the stream, if its sender names one.
    pub fn instance(&self) -> Option<Instance> {
        self.instance
    }

    /// The line, with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = PREFIX.to_vec();
        line.extend_from_slice(b"{\"stream\":\"");
        push_json(&mut line, &self.stream);
        let Position { offset, crc32c } = self.from;
        let from = format!("\",\"from\":{offset},\"crc32c\":\"{crc32c:08x}\"");
        line.extend_from_slice(from.as_bytes());
        if let Some(Instance { id, start }) = self.instance {
            let instance = format!(",\"instance\":\"{id:016x}\",\"start\":{start}");
            line.extend_from_slice(instance.as_bytes());
        }
        line.extend_from_slice(b"}\n");
        line
    }

    /// Parses the line, with or without its newline. Other fields are ignored. Without `crc32c`, the
    /// checksum is 0; without `instance`, there is none; without `start`, it begins at 0.
    ///
    /// # Errors
    ///
    /// When it is not valid.
    pub fn parse(line: &[u8]) -> Result<Self, PreambleError> {
        if line.len() > MAX_LINE {
            return Err(PreambleError::TooLong);
        }
        let object = line.strip_prefix(PREFIX).ok_or(PreambleError::Invalid)?;
        let object: Value = serde_json::from_slice(object).map_err(|_| PreambleError::Invalid)?;
        let stream = object.get("stream").and_then(Value::as_str);
        let offset = object.get("from").and_then(Value::as_u64);
        let crc32c = match object.get("crc32c") {
            None => Some(0),
            Some(checksum) => checksum.as_str().and_then(parse_checksum),
        };
        let (Some(stream), Some(offset), Some(crc32c)) = (stream, offset, crc32c) else {
            return Err(PreambleError::Invalid);
        };
        let preamble = Preamble::new(stream, Position { offset, crc32c })?;
        Ok(Preamble {
            instance: instance(&object)?,
            ..preamble
        })
    }
}

/// Parses the instance, which may be missing.
fn instance(object: &Value) -> Result<Option<Instance>, PreambleError> {
    let Some(id) = object.get("instance") else {
        return Ok(None);
    };
    let id = id.as_str().and_then(|id| parse_hex(id, 16));
    let start = object.get("start").map_or(Some(0), Value::as_u64);
    match (id, start) {
        (Some(id), Some(start)) => Ok(Some(Instance { id, start })),
        _ => Err(PreambleError::Invalid),
    }
}

impl fmt::Display for PreambleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PreambleError::Name => write!(
                f,
                "a stream's name has 1 to {MAX_NAME} bytes and no control characters"
            ),
            PreambleError::Invalid => f.write_str("the line that names the stream is not valid"),
            PreambleError::TooLong => write!(
                f,
                "the line that names the stream is longer than {MAX_LINE} bytes"
            ),
        }
    }
}

impl std::error::Error for PreambleError {}

/// A stream that is resumed on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Resumed {
    /// The verified name of the client that owns the stream; `None` if it is anonymous.
    pub(crate) client: Option<String>,
    pub(crate) name: String,
}

impl Resumed {
    pub(crate) fn new(client: Option<&String>, preamble: Preamble) -> Arc<Self> {
        Arc::new(Resumed {
            client: client.cloned(),
            name: preamble.stream,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preamble_is_the_same_behind_its_line() {
        for name in [
            "a",
            "web1/var/log/app.log#3",
            "é \"quoted\" \\",
            &"x".repeat(MAX_NAME),
        ] {
            for from in [
                Position::START,
                Position {
                    offset: u64::MAX,
                    crc32c: u32::MAX,
                },
            ] {
                let preamble = Preamble::new(name, from).unwrap();
                let instance = Instance {
                    id: 7,
                    start: from.offset,
                };
                for preamble in [preamble.clone(), preamble.with_instance(instance)] {
                    let line = preamble.to_line();
                    assert!(line.len() <= MAX_LINE && line.ends_with(b"}\n"));
                    assert_eq!(Preamble::parse(&line), Ok(preamble));
                }
            }
        }
        let line = br#"tlsink/1  {"more":[1,{}],"from":7,"stream":"s"}"#;
        let from = Position {
            offset: 7,
            crc32c: 0,
        };
        assert_eq!(Preamble::parse(line), Preamble::new("s", from));
    }

    #[test]
    fn anything_else_is_an_error() {
        use PreambleError::{Invalid, Name, TooLong};
        for (line, error) in [
            ("", Invalid),
            ("tlsink/1 ", Invalid),
            ("tlsink/2 {\"stream\":\"s\",\"from\":0}", Invalid),
            ("tlsink/1 {\"stream\":\"s\"}", Invalid),
            ("tlsink/1 {\"from\":0}", Invalid),
            ("tlsink/1 {\"stream\":1,\"from\":0}", Invalid),
            ("tlsink/1 {\"stream\":\"s\",\"from\":-1}", Invalid),
            ("tlsink/1 {\"stream\":\"s\",\"from\":1.5}", Invalid),
            (
                "tlsink/1 {\"stream\":\"s\",\"from\":18446744073709551616}",
                Invalid,
            ),
            (
                "tlsink/1 {\"stream\":\"s\",\"from\":0,\"crc32c\":\"0000000G\"}",
                Invalid,
            ),
            (
                "tlsink/1 {\"stream\":\"s\",\"from\":0,\"crc32c\":0}",
                Invalid,
            ),
            ("tlsink/1 {\"stream\":\"s\",\"from\":0} x", Invalid),
            (
                "tlsink/1 {\"stream\":\"s\",\"from\":0,\"instance\":7}",
                Invalid,
            ),
            (
                "tlsink/1 {\"stream\":\"s\",\"from\":0,\"instance\":\"+000000000000007\"}",
                Invalid,
            ),
            (
                "tlsink/1 {\"stream\":\"s\",\"from\":0,\"instance\":\"0000000000000007\",\"start\":-1}",
                Invalid,
            ),
            ("tlsink/1 [\"s\",0]", Invalid),
            ("tlsink/1 {\"stream\":\"\",\"from\":0}", Name),
            ("tlsink/1 {\"stream\":\"a\\nb\",\"from\":0}", Name),
            ("tlsink/1 {\"stream\":\"\\u0085\",\"from\":0}", Name),
        ] {
            assert_eq!(Preamble::parse(line.as_bytes()), Err(error), "{line}");
        }
        let long = format!("tlsink/1 {{\"stream\":\"{}\",\"from\":0}}", "x".repeat(256));
        assert_eq!(Preamble::parse(long.as_bytes()), Err(Name));
        let long = format!("tlsink/1 {{\"x\":\"{}\"}}", "x".repeat(MAX_LINE));
        assert_eq!(Preamble::parse(long.as_bytes()), Err(TooLong));
    }
}
