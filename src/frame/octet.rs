//! Octet counting (RFC 6587, section 3.4.1).

use memchr::memchr;

use super::fault::FrameFault;
use super::{DIGITS, Parser, RecordBuffer};

#[derive(Debug, Default)]
pub(super) struct Octet {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Between two frames.
    #[default]
    Between,
    /// In a frame's length.
    Length { digits: usize, value: usize },
    /// In a frame of which this many bytes are left.
    Frame {
        left: usize,
        /// The last byte but one, which may begin the frame's terminator.
        held: Option<u8>,
    },
    /// In a frame without a length.
    Line,
}

impl Parser for Octet {
    fn push(&mut self, bytes: &[u8], records: &mut RecordBuffer) -> Result<usize, FrameFault> {
        let mut rest = bytes;
        while let Some((first, behind)) = rest.split_first() {
            let fault = |reason| {
                let at = bytes.len().saturating_sub(rest.len());
                Err(FrameFault::corrupt(at, reason))
            };
            match &mut self.state {
                State::Between => {
                    self.state = match first {
                        b'\n' | b'\r' | 0 | b' ' => State::Between,
                        b'1'..=b'9' => State::Length {
                            digits: 1,
                            value: usize::from(first - b'0'),
                        },
                        b'<' => {
                            // The line is passed on from here.
                            self.state = State::Line;
                            continue;
                        }
                        _ => {
                            return fault(
                                "neither a frame's length nor the beginning of a message",
                            );
                        }
                    };
                    rest = behind;
                }
                State::Length { digits, value } => {
                    match first {
                        b'0'..=b'9' if *digits < DIGITS => {
                            *digits += 1;
                            let digit = usize::from(first - b'0');
                            *value = value.saturating_mul(10).saturating_add(digit);
                        }
                        b' ' => {
                            self.state = State::Frame {
                                left: *value,
                                held: None,
                            };
                        }
                        b'0'..=b'9' => {
                            return fault("the length of a frame has more than nine digits");
                        }
                        _ => return fault("the length of a frame is not followed by a space"),
                    }
                    rest = behind;
                }
                State::Frame { left, held } => {
                    let (part, behind) = rest.split_at_checked(*left).unwrap_or((rest, &[]));
                    *left -= part.len();
                    rest = behind;
                    match *left {
                        0 => {
                            end_frame(held.take(), part, records);
                            self.state = State::Between;
                        }
                        1 => {
                            let (last, others) = match part.split_last() {
                                Some((last, others)) => (Some(*last), others),
                                None => (*held, part),
                            };
                            records.push(others);
                            *held = last;
                        }
                        _ => records.push(part),
                    }
                }
                State::Line => {
                    let newline = memchr(b'\n', rest);
                    let end = newline.unwrap_or(rest.len());
                    let (part, behind) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                    records.push(part);
                    rest = behind.get(1..).unwrap_or_default();
                    if newline.is_some() {
                        records.end();
                        self.state = State::Between;
                    }
                }
            }
        }
        Ok(bytes.len())
    }

    /// A line needs no LF at the stream's end.
    fn at_boundary(&self) -> bool {
        matches!(self.state, State::Between | State::Line)
    }
}

/// Adds the last part of a frame, without the frame's terminator: an LF, a CR LF or a NUL. `held` is
/// the byte before the part, if it was held back.
fn end_frame(held: Option<u8>, part: &[u8], records: &mut RecordBuffer) {
    let (text, terminates) = match part {
        [text @ .., b'\r', b'\n'] => (text, false),
        [text @ .., b'\n'] => (text, text.is_empty()),
        [text @ .., 0] => (text, false),
        text => (text, false),
    };
    match held {
        Some(b'\r') if terminates => {}
        Some(held) => records.push(&[held]),
        None => {}
    }
    records.push(text);
    records.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(stream: &[u8]) -> Result<Vec<String>, FrameFault> {
        let mut octet = Octet::default();
        let mut buffer = RecordBuffer::default();
        octet.push(stream, &mut buffer)?;
        let records = buffer.records().iter();
        let records = records.map(|record| String::from_utf8_lossy(record.bytes).into_owned());
        Ok(records.collect())
    }

    #[test]
    fn a_frame_has_one_terminator_at_most_and_keeps_all_else() {
        for (stream, expected) in [
            (&b"1 a2 bb"[..], vec!["a", "bb"]),
            (b"2 a\n3 a\r\n2 a\0", vec!["a", "a", "a"]),
            (b"3 a\n\n4 a\n\r\n3 a\0\n", vec!["a\n", "a\n", "a\0"]),
            (b"1 \n2 \r\n1 \0", vec!["", "", ""]),
            (b"2 a\r", vec!["a\r"]),
            (b"5 a\nb\n\n", vec!["a\nb\n"]),
            (b"1 a\n\r\0 1 b", vec!["a", "b"]),
            (b"<13>line\n1 a<14>last", vec!["<13>line", "a", "<14>last"]),
            ("3 \u{feff}".as_bytes(), vec!["\u{feff}"]),
        ] {
            assert_eq!(
                records(stream).unwrap(),
                expected,
                "{:?}",
                stream.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn a_fault_has_the_position_of_its_byte() {
        for (stream, at) in [
            (&b"x"[..], 0),
            (b"1 ax", 3),
            (b"12x", 2),
            (b"0 a", 0),
            (b"999999999 ", usize::MAX),
            (b"9999999999 ", 9),
            (b"1 a-1 b", 3),
        ] {
            let fault = records(stream)
                .map(|_| usize::MAX)
                .map_err(|fault| fault.at);
            assert_eq!(
                fault.unwrap_or_else(|at| at),
                at,
                "{:?}",
                stream.escape_ascii().to_string()
            );
        }
    }
}
