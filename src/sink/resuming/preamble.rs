//! Looking for the line that names a resumed stream.

use memchr::memchr;

use crate::resume::{MAX_LINE, PREFIX, Preamble, PreambleError};

/// Bytes of a stream that could begin a preamble, and are held back.
#[derive(Debug, Default)]
pub(in crate::sink) struct Held(Vec<u8>);

/// The beginning of a stream.
#[derive(Debug)]
pub(super) enum Beginning {
    /// More bytes are needed.
    Unknown,
    /// The bytes that were held back, and those that were pushed, are the stream's own.
    Data(Vec<u8>),
    Preamble(Result<Preamble, PreambleError>),
}

impl Held {
    /// Takes bytes until the beginning is known; returns their number.
    pub(super) fn push(&mut self, bytes: &[u8]) -> (usize, Beginning) {
        let Held(held) = self;
        let mut seen = held.iter().chain(bytes).take(PREFIX.len());
        if !PREFIX.iter().zip(&mut seen).all(|(a, b)| a == b) {
            return (0, Beginning::Data(std::mem::take(held)));
        }
        let newline = memchr(b'\n', bytes).map(|newline| newline.saturating_add(1));
        // One byte more than a line may have shows that it is too long.
        let room = MAX_LINE.saturating_add(1).saturating_sub(held.len());
        let taken = newline.unwrap_or(bytes.len()).min(room);
        held.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        let beginning = match held.last() {
            Some(b'\n') => Beginning::Preamble(Preamble::parse(held)),
            _ if held.len() > MAX_LINE => Beginning::Preamble(Err(PreambleError::TooLong)),
            _ => Beginning::Unknown,
        };
        (taken, beginning)
    }

    /// The bytes that were held back, if the stream ends behind them.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a stream that comes in these pieces, and the bytes that were not taken.
    fn push(pieces: &[&[u8]]) -> (Beginning, Vec<u8>) {
        let mut held = Held::default();
        for (at, piece) in pieces.iter().enumerate() {
            let (taken, beginning) = held.push(piece);
            if !matches!(beginning, Beginning::Unknown) {
                let rest = [&piece[taken..], &pieces[at + 1..].concat()].concat();
                return (beginning, rest);
            }
            assert_eq!(taken, piece.len());
        }
        (Beginning::Data(held.take()), Vec::new())
    }

    #[test]
    fn a_preamble_is_found_however_it_is_split() {
        let line = b"tlsink/1 {\"stream\":\"s\",\"from\":7}\n";
        let stream = [&line[..], b"data\n"].concat();
        for at in 0..line.len() {
            let (first, second) = stream.split_at(at);
            let (beginning, rest) = push(&[first, second]);
            assert_eq!(rest, b"data\n");
            match beginning {
                Beginning::Preamble(Ok(preamble)) => assert_eq!(preamble.stream(), "s"),
                beginning => panic!("{beginning:?}"),
            }
        }
    }

    #[test]
    fn other_bytes_are_the_streams_own() {
        for stream in [
            "t",
            "tlsink/1",
            "tlsink/2 {}\n",
            "tlsink\n",
            "x",
            "tls\nink/1 ",
        ] {
            for at in 0..stream.len() {
                let (first, second) = stream.as_bytes().split_at(at);
                match push(&[first, second]) {
                    (Beginning::Data(held), rest) => {
                        assert_eq!([held, rest].concat(), stream.as_bytes());
                    }
                    (beginning, _) => panic!("{beginning:?}"),
                }
            }
        }
    }

    #[test]
    fn no_more_than_a_line_is_held() {
        let long = [PREFIX, &vec![b'x'; 2 * MAX_LINE]].concat();
        let (beginning, rest) = push(&[&long]);
        let too_long = Beginning::Preamble(Err(PreambleError::TooLong));
        assert_eq!(format!("{beginning:?}"), format!("{too_long:?}"));
        assert_eq!(rest.len(), long.len() - MAX_LINE - 1);
    }
}
