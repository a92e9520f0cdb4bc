//! Detection of a stream's format from its first bytes.
//!
//! The format is decided at the earliest possible byte, and depends on nothing but the bytes up to
//! there: not on how they were split on their way.

#[cfg(any(feature = "zlib", feature = "qt"))]
use super::trial::Trial;
use super::{Format, Limits};

/// The format according to the first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detection {
    /// More bytes are needed.
    Undecided,
    /// This format, or plain.
    Format(Format),
    /// A format of this name, which has no decoder here.
    Foreign(&'static str),
}

#[derive(Debug, Default)]
pub(super) struct Detect {
    // Boxed: most streams never need one.
    #[cfg(any(feature = "zlib", feature = "qt"))]
    trial: Option<Box<Trial>>,
}

/// The result of comparing the first bytes with all formats.
enum Look {
    Detection(Detection),
    /// The bytes begin as a format that wraps zlib does. The two bytes of a zlib header occur in
    /// text and in other data too, so a [`Trial`] decides.
    #[cfg(any(feature = "zlib", feature = "qt"))]
    Zlib {
        format: Format,
        /// The offset at which the zlib stream begins.
        at: usize,
    },
}

impl Detect {
    /// Examines `input`, which follows `held`, and appends the bytes that it consumes to `held`. If
    /// the very first input is enough for a detection, it consumes nothing.
    pub(super) fn push(
        &mut self,
        held: &mut Vec<u8>,
        input: &[u8],
        limits: &Limits,
    ) -> (usize, Detection) {
        let before = held.len();
        for (i, byte) in input.iter().enumerate() {
            held.push(*byte);
            let detection = self.look(held, limits);
            if detection != Detection::Undecided {
                if before == 0 {
                    held.clear();
                    return (0, detection);
                }
                return (i + 1, detection);
            }
        }
        (input.len(), Detection::Undecided)
    }

    /// Decides for `held` when no more input follows.
    pub(super) fn finish(&self, held: &[u8]) -> Detection {
        #[cfg(any(feature = "zlib", feature = "qt"))]
        if let Some(trial) = &self.trial {
            return Detection::Format(trial.finish(held));
        }
        match held {
            [] => Detection::Undecided,
            // The first bytes of a truncated gzip or zstd stream. No text begins with them.
            [0x1f] | [0x1f, 0x8b] => Detection::Format(Format::Gzip),
            [0x28, 0xb5] | [0x28, 0xb5, 0x2f] => Detection::Format(Format::Zstd),
            _ => Detection::Format(Format::Plain),
        }
    }

    /// Examines `held`, whose last byte is new.
    fn look(&mut self, held: &[u8], limits: &Limits) -> Detection {
        let _ = limits; // Only a trial needs them.
        match look(held) {
            Look::Detection(detection) => detection,
            #[cfg(any(feature = "zlib", feature = "qt"))]
            Look::Zlib { format, at } => {
                if self.trial.is_none() {
                    self.trial = Trial::new(format, at, limits).map(Box::new);
                }
                // Without memory for a trial there is none for the decoder either, which will
                // report it.
                match &mut self.trial {
                    Some(trial) => trial
                        .push(held)
                        .map_or(Detection::Undecided, Detection::Format),
                    None => Detection::Format(format),
                }
            }
        }
    }
}

/// Compares the first bytes with the beginnings of all formats.
fn look(held: &[u8]) -> Look {
    let mut open = false;
    let mut begins = |signature: &[fn(u8) -> bool]| {
        let fits = held.iter().zip(signature).all(|(byte, fits)| fits(*byte));
        open |= fits;
        fits && held.len() >= signature.len()
    };
    // gzip: the two identification bytes and the only compression method (RFC 1952, section 2.3.1).
    if begins(&[|b| b == 0x1f, |b| b == 0x8b, |b| b == 0x08]) {
        return Look::Detection(Detection::Format(Format::Gzip));
    }
    // The magic numbers of a zstd frame and of a skippable frame (RFC 8878, sections 3.1.1, 3.1.2).
    if begins(&[|b| b == 0x28, |b| b == 0xb5, |b| b == 0x2f, |b| b == 0xfd])
        || begins(&[
            |b| b & 0xf0 == 0x50,
            |b| b == 0x2a,
            |b| b == 0x4d,
            |b| b == 0x18,
        ])
    {
        return Look::Detection(Detection::Format(Format::Zstd));
    }
    if begins(&[
        |b| b == 0xfd,
        |b| b == b'7',
        |b| b == b'z',
        |b| b == b'X',
        |b| b == b'Z',
        |b| b == 0,
    ]) {
        return Look::Detection(Detection::Foreign("xz"));
    }
    if begins(&[|b| b == 0x04, |b| b == 0x22, |b| b == 0x4d, |b| b == 0x18]) {
        return Look::Detection(Detection::Foreign("lz4"));
    }
    if begins(&[
        |b| b == b'B',
        |b| b == b'Z',
        |b| b == b'h',
        |b| matches!(b, b'1'..=b'9'),
        |b| b == 0x31,
        |b| b == 0x41,
        |b| b == 0x59,
        |b| b == 0x26,
        |b| b == 0x53,
        |b| b == 0x59,
    ]) {
        return Look::Detection(Detection::Foreign("bzip2"));
    }
    #[cfg(any(feature = "zlib", feature = "qt"))]
    for (format, at) in [
        #[cfg(feature = "zlib")]
        (Format::Zlib, Some(0)),
        #[cfg(feature = "qt")]
        (Format::Qt, qt_block(held)),
    ] {
        match at.map(|at| (at, held.get(at..))) {
            None => {}
            // The zlib header has not come yet.
            Some((_, None | Some([]))) => open = true,
            Some((_, Some([first]))) => open |= is_zlib_method(*first),
            Some((at, Some([first, second, ..]))) if is_zlib_header(*first, *second) => {
                return Look::Zlib { format, at };
            }
            Some(_) => {}
        }
    }
    Look::Detection(match open {
        true => Detection::Undecided,
        false => Detection::Format(Format::Plain),
    })
}

/// The compression method and the window of a zlib stream (RFC 1950, section 2.2): deflate, with
/// 32 KiB at most.
#[cfg(any(feature = "zlib", feature = "qt"))]
fn is_zlib_method(first: u8) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7
}

/// A zlib header (RFC 1950, section 2.2), whose check bits make it a multiple of 31. One that asks
/// for a preset dictionary, which no trial has, is not recognised.
#[cfg(any(feature = "zlib", feature = "qt"))]
fn is_zlib_header(first: u8, second: u8) -> bool {
    const PRESET_DICTIONARY: u8 = 1 << 5;
    is_zlib_method(first)
        && second & PRESET_DICTIONARY == 0
        && u16::from_be_bytes([first, second]).is_multiple_of(31)
}

/// The offset of the first zlib stream of a Qt stream: behind the size of a block, and any empty
/// blocks in front of it. `None` if the bytes begin like text, which must not be held back.
///
/// Some block sizes from 144 MiB on begin like text, as does 512 MiB: such streams are decoded as
/// `qt` only when named so.
#[cfg(feature = "qt")]
fn qt_block(held: &[u8]) -> Option<usize> {
    const SIZE: usize = 4;
    let empty = held
        .chunks(SIZE)
        .take_while(|size| **size == [0; SIZE])
        .count();
    match held.first() {
        Some(first) if !is_control(*first) => None,
        // This many zero bytes are data.
        _ if empty >= EMPTY_BLOCKS => None,
        _ => Some((empty + 1) * SIZE),
    }
}

/// The most empty blocks in front of a Qt stream for which its beginning is held back.
#[cfg(feature = "qt")]
const EMPTY_BLOCKS: usize = 16;

/// Whether no text begins with this byte.
#[cfg(feature = "qt")]
fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && !super::trial::is_text_control(byte.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The detection for `bytes`, and the number of bytes that it took.
    fn detect(bytes: &[u8]) -> (usize, Detection) {
        let mut detect = Detect::default();
        let mut held = Vec::new();
        for (i, byte) in bytes.iter().enumerate() {
            let (_, detection) = detect.push(&mut held, &[*byte], &Limits::default());
            if detection != Detection::Undecided {
                return (i + 1, detection);
            }
        }
        (bytes.len(), detect.finish(&held))
    }

    const PLAIN: Detection = Detection::Format(Format::Plain);

    #[test]
    fn a_typed_letter_is_not_held_back() {
        let begins_otherwise = |byte: &u8| b"(8BHPQRSTUVWXYZ[\\]^_hx".contains(byte);
        let text = (b' '..=b'~').chain(*b"\t\n\r\x0c\x1b");
        for byte in text.filter(|byte| !begins_otherwise(byte)) {
            assert_eq!(detect(&[byte]), (1, PLAIN), "{byte:#x}");
        }
    }

    #[cfg(feature = "zlib")]
    #[test]
    fn a_word_that_may_begin_a_zlib_header_is_held_back_for_one_letter() {
        for word in ["hello", "xylophone", "Have", "Xenon", "8 o'clock", "(so)"] {
            assert_eq!(detect(word.as_bytes()), (2, PLAIN), "{word}");
        }
    }

    #[cfg(feature = "qt")]
    #[test]
    fn data_that_may_begin_a_qt_block_is_held_back_for_six_bytes_at_most() {
        assert_eq!(detect(&[0, 0, 1, 0, 0x78, 0x9d, 0]), (6, PLAIN));
        assert_eq!(detect(&[1, 2, 3, 4, 5, 6]), (5, PLAIN));
        // Zero bytes could be empty blocks.
        let zeros = [0; 4 * EMPTY_BLOCKS + 1];
        assert_eq!(detect(&zeros), (4 * EMPTY_BLOCKS, PLAIN));
    }

    #[test]
    fn each_format_is_told_at_the_byte_that_settles_it() {
        let gzip = [0x1f, 0x8b, 0x08, 0, 0];
        assert_eq!(detect(&gzip), (3, Detection::Format(Format::Gzip)));
        let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0];
        assert_eq!(detect(&zstd), (4, Detection::Format(Format::Zstd)));
        let skippable = [0x5a, 0x2a, 0x4d, 0x18, 0];
        assert_eq!(detect(&skippable), (4, Detection::Format(Format::Zstd)));
        assert_eq!(detect(b"\xfd7zXZ\0"), (6, Detection::Foreign("xz")));
        assert_eq!(detect(b"\x04\x22\x4d\x18"), (4, Detection::Foreign("lz4")));
        assert_eq!(detect(b"BZh91AY&SY"), (10, Detection::Foreign("bzip2")));
    }

    #[test]
    fn data_that_only_begins_like_a_format_is_plain() {
        assert_eq!(detect(b"BZh9 is not bzip2"), (5, PLAIN));
        assert_eq!(detect(b"P*M"), (3, PLAIN));
        #[cfg(feature = "qt")]
        assert_eq!(detect(&[0, 0, 0, 0]), (4, PLAIN));
        assert_eq!(detect(b"x"), (1, PLAIN));
    }

    #[test]
    fn the_first_bytes_of_a_gzip_or_zstd_stream_are_not_plain() {
        for (whole, format) in [
            (&[0x1f, 0x8b, 0x08][..], Format::Gzip),
            (&[0x28, 0xb5, 0x2f, 0xfd], Format::Zstd),
        ] {
            // A parenthesis alone is text.
            let least = if format == Format::Zstd { 2 } else { 1 };
            for len in least..=whole.len() {
                assert_eq!(detect(&whole[..len]), (len, Detection::Format(format)));
            }
        }
        assert_eq!(detect(b"("), (1, PLAIN));
    }

    #[test]
    fn nothing_at_all_is_undecided() {
        assert_eq!(detect(b""), (0, Detection::Undecided));
    }

    #[cfg(feature = "zlib")]
    #[test]
    fn text_that_begins_like_zlib_is_plain_after_64_bytes_at_the_latest() {
        assert_eq!(detect(b"x^2 + y^2 = z^2\n").1, PLAIN);
        assert_eq!(detect(b"x^").1, PLAIN);
        for third in 0x20..0x7f {
            let line = [b"x^", &[third][..], &[b'a'; 200]].concat();
            let (at, detection) = detect(&line);
            assert_eq!(detection, PLAIN, "{third:#x}");
            assert!(at <= 64);
        }
    }

    #[cfg(feature = "zlib")]
    #[test]
    fn a_cut_off_zlib_stream_is_not_taken_for_text() {
        for flags in [0x01, 0x9c, 0xda] {
            assert_eq!(
                detect(&[0x78, flags]).1,
                Detection::Format(Format::Zlib),
                "so that its end is reported as truncated"
            );
        }
    }
}
