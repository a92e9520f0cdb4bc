//! Framing lines, for receivers that count octets.

use super::super::Failure;

/// The longest line that is framed, in bytes. The length stands before the line, so the whole line
/// has to be kept until it ends.
const MAX_LINE: usize = 16 << 20;

/// Makes an octet-counted frame (RFC 6587, section 3.4.1) of each line.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    /// The beginning of a line.
    line: Vec<u8>,
}

impl Framer {
    /// Appends a frame to `framed` for each line that ends in `bytes`.
    ///
    /// # Errors
    ///
    /// When a line is too long.
    pub(crate) fn push(&mut self, bytes: &[u8], framed: &mut Vec<u8>) -> Result<(), Failure> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            if self.line.len().saturating_add(text.len()) > MAX_LINE {
                let what = format!("a line is longer than {MAX_LINE} bytes, which is no frame");
                return Err(
                    Failure::failed(what).hint("without --framing, lines of any length are sent")
                );
            }
            self.line.extend_from_slice(text);
            if ends {
                self.end(framed);
            }
        }
        Ok(())
    }

    /// Appends a frame for a last line that has no newline.
    pub(crate) fn finish(&mut self, framed: &mut Vec<u8>) {
        if !self.line.is_empty() {
            self.end(framed);
        }
    }

    fn end(&mut self, framed: &mut Vec<u8>) {
        // No frame is empty: an empty line is its newline.
        if self.line.is_empty() {
            self.line.push(b'\n');
        }
        framed.extend_from_slice(self.line.len().to_string().as_bytes());
        framed.push(b' ');
        framed.append(&mut self.line);
    }
}

#[cfg(test)]
mod tests {
    use tlsink::decode::Limits;
    use tlsink::frame::{Framing, RecordBuffer, Unframer};

    use super::*;

    fn framed(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut framer, mut framed) = (Framer::default(), Vec::new());
        for piece in pieces {
            framer.push(piece, &mut framed).unwrap();
        }
        framer.finish(&mut framed);
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
        let mut framer = Framer::default();
        let part = vec![b'x'; MAX_LINE];
        framer.push(&part, &mut Vec::new()).unwrap();
        let error = framer.push(b"x", &mut Vec::new()).unwrap_err();
        assert!(error.what.contains("16777216 bytes"), "{}", error.what);
    }
}
