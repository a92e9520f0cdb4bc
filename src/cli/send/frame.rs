//! Framing lines, for receivers of syslog.

use super::super::Failure;
use super::relp::Session;

/// The longest line that is framed, in bytes. The length stands before the line, so the whole line
/// has to be kept until it ends.
const MAX_LINE: usize = 16 << 20;

/// Collects the lines of input that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    /// The beginning of a line.
    line: Vec<u8>,
}

impl LineBuffer {
    /// Consumes bytes from the front of `input`, up to the end of a line. Returns whether there is a
    /// whole line, which has to be framed before the next call.
    ///
    /// # Errors
    ///
    /// When the line is too long.
    pub(crate) fn fill(&mut self, input: &mut &[u8]) -> Result<bool, Failure> {
        let mut parts = input.splitn(2, |byte| *byte == b'\n');
        let text = parts.next().unwrap_or_default();
        let behind = parts.next();
        if self.line.len().saturating_add(text.len()) > MAX_LINE {
            let what = format!("a line is longer than {MAX_LINE} bytes, which is no frame");
            return Err(
                Failure::failed(what).hint("without --framing, lines of any length are sent")
            );
        }
        self.line.extend_from_slice(text);
        *input = behind.unwrap_or_default();
        Ok(behind.is_some())
    }

    /// Whether the input so far ends with a newline, so that no last line is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Appends the octet-counted frame (RFC 6587, section 3.4.1) of the line to `framed`.
    pub(crate) fn frame(&mut self, framed: &mut Vec<u8>) {
        // No frame is empty: an empty line is its newline.
        if self.line.is_empty() {
            self.line.push(b'\n');
        }
        framed.extend_from_slice(self.line.len().to_string().as_bytes());
        framed.push(b' ');
        framed.append(&mut self.line);
    }

    /// Appends the frame of the line in a session of RELP to `framed`.
    pub(crate) fn frame_in(&mut self, session: &mut Session, framed: &mut Vec<u8>) {
        session.line(&self.line, framed);
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use tlsink::decode::Limits;
    use tlsink::frame::{Framing, RecordBuffer, Unframer};

    use super::*;

    fn framed(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut lines, mut framed) = (LineBuffer::default(), Vec::new());
        for piece in pieces {
            let mut piece = *piece;
            while lines.fill(&mut piece).unwrap() {
                lines.frame(&mut framed);
            }
            assert_eq!(piece, b"");
        }
        if !lines.is_empty() {
            lines.frame(&mut framed);
        }
        framed
    }

    #[test]
    fn each_line_is_a_frame_however_the_input_is_split() {
        let text = b"one\n\ntwo three\r\n\n four";
        let whole = framed(&[text]);
        assert_eq!(whole, b"3 one1 \n10 two three\r1 \n5  four");
        for at in 0..=text.len() {
            assert_eq!(framed(&[&text[..at], &text[at..]]), whole);
        }
        assert_eq!(framed(&[b"", b"one\n", b""]), b"3 one");
        assert_eq!(framed(&[]), b"");

        let mut unframer = Unframer::new(Framing::Octet, &Limits::default());
        let mut records = RecordBuffer::default();
        unframer.push(&whole, &mut records).unwrap();
        assert_eq!(records.records().lines(), [text, &b"\n"[..]].concat());
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_while_it_comes() {
        let mut lines = LineBuffer::default();
        let part = vec![b'x'; MAX_LINE];
        assert!(!lines.fill(&mut &*part).unwrap());
        let error = lines.fill(&mut &b"x"[..]).unwrap_err();
        assert!(error.what.contains("16777216 bytes"), "{}", error.what);
    }
}
