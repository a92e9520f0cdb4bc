//! The answers of a server to the sender of a resumed stream.

use std::fmt;

use serde_json::Value;

use super::{MAX_LINE, Position, parse_checksum};
use crate::output::push_json;

/// A line by which a server answers the sender of a resumed stream.
///
/// ```
/// use tlsink::resume::{Answer, Position};
///
/// assert_eq!(Answer::parse(b"{\"ack\":31}"), Ok(Answer::Acknowledged(31)));
/// let at = Answer::At(Position::START.behind(b"123456789"));
/// assert_eq!(at.to_line(), b"{\"at\":9,\"crc32c\":\"e3069283\"}\n");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The server needs more time to say how much of the stream it has, as its disk may. It says so
    /// every 2 seconds until it does.
    Waiting,
    /// The server has the stream up to this position: the sender goes on from there.
    At(Position),
    /// The server keeps the stream up to this offset.
    Acknowledged(u64),
    /// The server keeps the stream up to this offset, and takes no more of it over this connection: the
    /// sender goes on over another one, to another server if it knows one. A sender that does not know
    /// this answer takes it for an acknowledgement, behind which the connection ends.
    Go(u64),
    /// The server does not take the stream, for this reason.
    Refused(String),
    /// The stream has ended: this line is its [receipt](crate::ServerBuilder::receipts), as it came.
    Receipt(Vec<u8>),
}

/// The line of [`Answer::Waiting`].
pub(crate) const WAITING: &[u8] = b"{\"wait\":true}\n";

/// The line is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseAnswerError(());

impl Answer {
    /// The line, with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        match self {
            Answer::Waiting => WAITING.to_vec(),
            Answer::At(Position { offset, crc32c }) => {
                format!("{{\"at\":{offset},\"crc32c\":\"{crc32c:08x}\"}}\n").into_bytes()
            }
            Answer::Acknowledged(offset) => format!("{{\"ack\":{offset}}}\n").into_bytes(),
            Answer::Go(offset) => format!("{{\"ack\":{offset},\"go\":true}}\n").into_bytes(),
            Answer::Refused(reason) => {
                let mut line = b"{\"error\":\"".to_vec();
                push_json(&mut line, reason);
                line.extend_from_slice(b"\"}\n");
                line
            }
            Answer::Receipt(line) => line.clone(),
        }
    }

    /// Parses a line, with or without its newline. Other fields are ignored.
    ///
    /// # Errors
    ///
    /// When it is no answer.
    pub fn parse(line: &[u8]) -> Result<Self, ParseAnswerError> {
        const INVALID: ParseAnswerError = ParseAnswerError(());
        if line.len() > MAX_LINE {
            return Err(INVALID);
        }
        let object: Value = serde_json::from_slice(line).map_err(|_| INVALID)?;
        if let Some(offset) = object.get("ack") {
            let answer = match object.get("go") {
                Some(Value::Bool(true)) => Answer::Go,
                _ => Answer::Acknowledged,
            };
            return offset.as_u64().map(answer).ok_or(INVALID);
        }
        if let Some(offset) = object.get("at") {
            let checksum = object.get("crc32c").and_then(Value::as_str);
            let checksum = checksum.and_then(parse_checksum).ok_or(INVALID)?;
            let offset = offset.as_u64().ok_or(INVALID)?;
            return Ok(Answer::At(Position {
                offset,
                crc32c: checksum,
            }));
        }
        if let Some(reason) = object.get("error") {
            let reason = reason.as_str().ok_or(INVALID)?;
            return Ok(Answer::Refused(reason.to_owned()));
        }
        match (object.get("wait"), object.get("ok")) {
            (Some(Value::Bool(true)), None) => Ok(Answer::Waiting),
            (None, Some(Value::Bool(_))) => Ok(Answer::Receipt(line.to_vec())),
            _ => Err(INVALID),
        }
    }
}

impl fmt::Display for ParseAnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the line is no answer to the sender of a resumed stream")
    }
}

impl std::error::Error for ParseAnswerError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_same_behind_its_line() {
        for answer in [
            Answer::Waiting,
            Answer::At(Position::START),
            Answer::At(Position {
                offset: u64::MAX,
                crc32c: u32::MAX,
            }),
            Answer::Acknowledged(0),
            Answer::Acknowledged(u64::MAX),
            Answer::Go(7),
            Answer::Refused("no \"state\"\n".to_owned()),
            Answer::Receipt(b"{\"ok\":true,\"received\":1}\n".to_vec()),
        ] {
            assert_eq!(Answer::parse(&answer.to_line()), Ok(answer));
        }
    }

    #[test]
    fn anything_else_is_an_error() {
        for line in [
            "",
            "{}",
            "ack",
            "[1]",
            "{\"ack\":-1}",
            "{\"go\":true}",
            "{\"ack\":\"1\"}",
            "{\"at\":1}",
            "{\"at\":1,\"crc32c\":\"00\"}",
            "{\"at\":null,\"crc32c\":\"00000000\"}",
            "{\"error\":1}",
            "{\"ok\":1}",
            "{\"wait\":false}",
            "{\"wait\":true,\"ok\":true}",
            "{\"ack\":1} {\"ack\":2}",
        ] {
            assert!(Answer::parse(line.as_bytes()).is_err(), "{line}");
        }
        let long = format!("{{\"ack\":1,\"x\":\"{}\"}}", "x".repeat(MAX_LINE));
        assert!(Answer::parse(long.as_bytes()).is_err());
    }
}
