//! Telling a stream's format from its first bytes.
//!
//! A decision is made at the earliest byte that settles it, and depends on nothing but the bytes
//! up to there: not on how they were split on their way.

#[cfg(feature = "zlib")]
use super::trial::Trial;
use super::{Format, Limits};

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// More bytes are needed.
    Undecided,
    /// This format, or plain.
    Format(Format),
    /// A format of this name, for which there is no decoder.
    Foreign(&'static str),
}

#[derive(Debug, Default)]
pub(super) struct Detect {
    // Boxed: most streams never need one.
    #[cfg(feature = "zlib")]
    trial: Option<Box<Trial>>,
}

impl Detect {
    /// Looks at `input`, which follows what is `held`. What it takes of it, it adds to `held`;
    /// with a verdict on the very first input it takes nothing.
    pub(super) fn push(
        &mut self,
        held: &mut Vec<u8>,
        input: &[u8],
        limits: &Limits,
    ) -> (usize, Verdict) {
        let before = held.len();
        for (i, byte) in input.iter().enumerate() {
            held.push(*byte);
            let verdict = self.look(held, limits);
            if verdict != Verdict::Undecided {
                if before == 0 {
                    held.clear();
                    return (0, verdict);
                }
                return (i + 1, verdict);
            }
        }
        (input.len(), Verdict::Undecided)
    }

    /// What to make of `held` when nothing follows it.
    pub(super) fn settle(&self, held: &[u8]) -> Verdict {
        #[cfg(feature = "zlib")]
        if self.trial.is_some() {
            return Verdict::Format(Trial::settle(held));
        }
        match held {
            [] => Verdict::Undecided,
            _ => Verdict::Format(Format::Plain),
        }
    }

    /// What `held` says, whose last byte is new.
    fn look(&mut self, held: &[u8], limits: &Limits) -> Verdict {
        let verdict = signature(held);
        // The two bytes of a zlib header are text as well (`x^2`).
        #[cfg(feature = "zlib")]
        if verdict == Verdict::Format(Format::Zlib) {
            if self.trial.is_none() {
                self.trial = Trial::new(limits).map(Box::new);
            }
            // Without memory for a trial there is none for the decoder, which will say so.
            return match &mut self.trial {
                Some(trial) => trial.push(held).map_or(Verdict::Undecided, Verdict::Format),
                None => verdict,
            };
        }
        let _ = limits;
        verdict
    }
}

/// Compares the first bytes with what each format begins with.
fn signature(held: &[u8]) -> Verdict {
    let mut open = false;
    let mut begins = |signature: &[fn(u8) -> bool]| {
        let fits = held.iter().zip(signature).all(|(byte, fits)| fits(*byte));
        open |= fits;
        fits && held.len() >= signature.len()
    };
    // RFC 1952, section 2.3.1: the two identification bytes and the only compression method.
    if begins(&[|b| b == 0x1f, |b| b == 0x8b, |b| b == 0x08]) {
        return Verdict::Format(Format::Gzip);
    }
    // RFC 8878, sections 3.1.1 and 3.1.2.
    if begins(&[|b| b == 0x28, |b| b == 0xb5, |b| b == 0x2f, |b| b == 0xfd])
        || begins(&[
            |b| b & 0xf0 == 0x50,
            |b| b == 0x2a,
            |b| b == 0x4d,
            |b| b == 0x18,
        ])
    {
        return Verdict::Format(Format::Zstd);
    }
    // RFC 1950, section 2.2: deflate with a 32 KiB window, at one of the four levels.
    if cfg!(feature = "zlib") && begins(&[|b| b == 0x78, is_zlib_flags]) {
        return Verdict::Format(Format::Zlib);
    }
    // A size below 16 MiB, then a zlib header. Four zero bytes are an empty block, which says too
    // little to go by.
    if !held.starts_with(&[0; 4])
        && begins(&[
            |b| b == 0,
            |_| true,
            |_| true,
            |_| true,
            |b| b == 0x78,
            is_zlib_flags,
        ])
    {
        return Verdict::Format(Format::Qt);
    }
    if begins(&[
        |b| b == 0xfd,
        |b| b == b'7',
        |b| b == b'z',
        |b| b == b'X',
        |b| b == b'Z',
        |b| b == 0,
    ]) {
        return Verdict::Foreign("xz");
    }
    if begins(&[|b| b == 0x04, |b| b == 0x22, |b| b == 0x4d, |b| b == 0x18]) {
        return Verdict::Foreign("lz4");
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
        return Verdict::Foreign("bzip2");
    }
    if open {
        Verdict::Undecided
    } else {
        Verdict::Format(Format::Plain)
    }
}

fn is_zlib_flags(byte: u8) -> bool {
    matches!(byte, 0x01 | 0x5e | 0x9c | 0xda)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on `bytes`, and after how many of them it fell.
    fn detect(bytes: &[u8]) -> (usize, Verdict) {
        let mut detect = Detect::default();
        let mut held = Vec::new();
        for (i, byte) in bytes.iter().enumerate() {
            let (_, verdict) = detect.push(&mut held, &[*byte], &Limits::default());
            if verdict != Verdict::Undecided {
                return (i + 1, verdict);
            }
        }
        (bytes.len(), detect.settle(&held))
    }

    const PLAIN: Verdict = Verdict::Format(Format::Plain);

    #[test]
    fn a_typed_letter_is_not_held_back() {
        assert_eq!(detect(b"h"), (1, PLAIN));
        assert_eq!(detect(b"hello"), (1, PLAIN));
        assert_eq!(detect(b"\n"), (1, PLAIN));
    }

    #[test]
    fn each_format_is_told_at_the_byte_that_settles_it() {
        let gzip = [0x1f, 0x8b, 0x08, 0, 0];
        assert_eq!(detect(&gzip), (3, Verdict::Format(Format::Gzip)));
        let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0];
        assert_eq!(detect(&zstd), (4, Verdict::Format(Format::Zstd)));
        let skippable = [0x5a, 0x2a, 0x4d, 0x18, 0];
        assert_eq!(detect(&skippable), (4, Verdict::Format(Format::Zstd)));
        let qt = [0, 0, 1, 0, 0x78, 0x9c, 0];
        assert_eq!(detect(&qt), (6, Verdict::Format(Format::Qt)));
        assert_eq!(detect(b"\xfd7zXZ\0"), (6, Verdict::Foreign("xz")));
        assert_eq!(detect(b"\x04\x22\x4d\x18"), (4, Verdict::Foreign("lz4")));
        assert_eq!(detect(b"BZh91AY&SY"), (10, Verdict::Foreign("bzip2")));
    }

    #[test]
    fn what_only_begins_like_a_format_is_plain() {
        assert_eq!(detect(b"BZh9 is not bzip2"), (5, PLAIN));
        assert_eq!(detect(b"P*M"), (3, PLAIN));
        assert_eq!(detect(&[0x1f, 0x8b]), (2, PLAIN));
        assert_eq!(detect(&[0, 0, 0, 0, 0x78, 0x9c]), (4, PLAIN));
        assert_eq!(detect(b"x"), (1, PLAIN));
    }

    #[test]
    fn nothing_at_all_is_undecided() {
        assert_eq!(detect(b""), (0, Verdict::Undecided));
    }

    #[cfg(feature = "zlib")]
    #[test]
    fn text_that_begins_like_zlib_is_plain_after_64_bytes_at_the_latest() {
        assert_eq!(detect(b"x^2 + y^2 = z^2\n").1, PLAIN);
        assert_eq!(detect(b"x^").1, PLAIN);
        for third in 0x20..0x7f {
            let line = [b"x^", &[third][..], &[b'a'; 200]].concat();
            let (at, verdict) = detect(&line);
            assert_eq!(verdict, PLAIN, "{third:#x}");
            assert!(at <= 64);
        }
    }

    #[cfg(feature = "zlib")]
    #[test]
    fn a_word_that_begins_with_x_is_held_back_for_one_letter() {
        assert_eq!(detect(b"xylophone"), (2, PLAIN));
    }

    #[cfg(feature = "zlib")]
    #[test]
    fn a_cut_off_zlib_stream_is_not_taken_for_text() {
        for flags in [0x01, 0x9c, 0xda] {
            assert_eq!(
                detect(&[0x78, flags]).1,
                Verdict::Format(Format::Zlib),
                "so that its end is reported as truncated"
            );
        }
    }
}
