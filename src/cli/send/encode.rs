//! Compressing, step by step, into a buffer of the caller's.

use super::super::Failure;
use super::super::encoding::Encoding;

/// The buffer between codec and TLS: four records.
const OUT: usize = 64 << 10;

/// Encodes one stream, and passes it on.
pub(super) struct StreamEncoder {
    encoding: Encoding,
    encoder: Box<dyn Encoder>,
    out: Vec<u8>,
}

impl StreamEncoder {
    /// Starts a stream of this level, or of the default level of the encoding.
    ///
    /// # Errors
    ///
    /// When the format is not built in.
    pub(super) fn new(encoding: Encoding, level: Option<i32>) -> Result<Self, Failure> {
        Ok(StreamEncoder {
            encoding,
            encoder: encoder(encoding, level)?,
            out: vec![0; OUT],
        })
    }

    /// Encodes bytes until the goal is reached, and passes the encoded ones to `send`.
    ///
    /// # Errors
    ///
    /// When the codec fails. The first error of `send` ends the work too, and is returned inside.
    pub(super) async fn encode<E>(
        &mut self,
        mut bytes: &[u8],
        goal: Goal,
        mut send: impl AsyncFnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, Failure> {
        loop {
            let step = self
                .encoder
                .step(&mut bytes, goal, &mut self.out)
                .map_err(|error| {
                    let name = self.encoding.name();
                    Failure::failed(format!("can't compress with {name}: {error}"))
                })?;
            let sent = send(self.out.get(..step.written).unwrap_or_default()).await;
            if sent.is_err() || step.done {
                return Ok(sent);
            }
        }
    }
}

/// Makes an encoder of this level, or of the default level of the encoding.
///
/// # Errors
///
/// When the format is not built in.
fn encoder(encoding: Encoding, level: Option<i32>) -> Result<Box<dyn Encoder>, Failure> {
    match encoding {
        #[cfg(feature = "zstd")]
        Encoding::Zstd => zstd::ZstdEncoder::new(level)
            .map(|encoder| Box::new(encoder) as _)
            .map_err(|error| Failure::failed(format!("can't start zstd: {error}"))),
        #[cfg(feature = "gzip")]
        Encoding::Gzip => Ok(Box::new(deflate::DeflateEncoder::gzip(level))),
        #[cfg(feature = "zlib")]
        Encoding::Zlib => Ok(Box::new(deflate::DeflateEncoder::zlib(level))),
        Encoding::None => Ok(Box::new(PlainEncoder)),
        #[allow(unreachable_patterns, reason = "each codec is a feature")]
        _ => {
            let _ = level;
            Err(
                Failure::misused(format!("{} is not built in", encoding.name()))
                    .hint("give --encode another format; none is always there"),
            )
        }
    }
}

/// The goal of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Consume the input; the codec may keep output until there is more of it.
    Take,
    /// Consume the input, and put out all of it: the receiver can decode it then.
    Flush,
    /// Flush, and end the stream.
    Finish,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// The number of bytes written to the buffer.
    pub(crate) written: usize,
    /// Whether the goal is reached. If not, the buffer was too small.
    pub(crate) done: bool,
}

/// Makes one compressed stream.
pub(crate) trait Encoder {
    /// Consumes bytes from the front of `input`, and writes to `out`, until the goal is reached or
    /// `out` is full. To flush, `out` must be longer than 6 bytes: zlib marks a flush by that
    /// number, and repeats the mark as long as it fills the buffer.
    ///
    /// # Errors
    ///
    /// When the codec fails, in its own words. The stream can't go on then.
    fn step(&mut self, input: &mut &[u8], goal: Goal, out: &mut [u8]) -> Result<Encoded, String>;
}

/// No compression.
struct PlainEncoder;

impl Encoder for PlainEncoder {
    fn step(&mut self, input: &mut &[u8], _: Goal, out: &mut [u8]) -> Result<Encoded, String> {
        let written = input.len().min(out.len());
        if let (Some((now, later)), Some(out)) =
            (input.split_at_checked(written), out.get_mut(..written))
        {
            out.copy_from_slice(now);
            *input = later;
        }
        Ok(Encoded {
            written,
            done: input.is_empty(),
        })
    }
}

#[cfg(feature = "zstd")]
mod zstd {
    use zstd_safe::zstd_sys::ZSTD_EndDirective as Directive;
    use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, get_error_name};

    use super::{Encoded, Encoder, Goal};

    /// One Zstandard frame (RFC 8878) with a checksum of its content.
    pub(super) struct ZstdEncoder(CCtx<'static>);

    impl ZstdEncoder {
        pub(super) fn new(level: Option<i32>) -> Result<Self, String> {
            let mut context = CCtx::try_create().ok_or("out of memory")?;
            let level = level.unwrap_or(zstd_safe::CLEVEL_DEFAULT);
            for parameter in [
                CParameter::CompressionLevel(level),
                CParameter::ChecksumFlag(true),
            ] {
                context.set_parameter(parameter).map_err(described)?;
            }
            Ok(ZstdEncoder(context))
        }
    }

    impl Encoder for ZstdEncoder {
        fn step(
            &mut self,
            input: &mut &[u8],
            goal: Goal,
            out: &mut [u8],
        ) -> Result<Encoded, String> {
            let directive = match goal {
                Goal::Take => Directive::ZSTD_e_continue,
                Goal::Flush => Directive::ZSTD_e_flush,
                Goal::Finish => Directive::ZSTD_e_end,
            };
            let mut source = InBuffer::around(input);
            let mut sink = OutBuffer::around(out);
            let left = self
                .0
                .compress_stream2(&mut sink, &mut source, directive)
                .map_err(described)?;
            let (written, taken) = (sink.pos(), source.pos());
            *input = input.get(taken..).unwrap_or_default();
            let done = match goal {
                Goal::Take => input.is_empty(),
                Goal::Flush | Goal::Finish => left == 0,
            };
            Ok(Encoded { written, done })
        }
    }

    fn described(code: usize) -> String {
        get_error_name(code).to_owned()
    }
}

#[cfg(any(feature = "gzip", feature = "zlib"))]
mod deflate {
    use flate2::{Compress, Compression, FlushCompress, Status};

    use super::{Encoded, Encoder, Goal};

    /// One gzip member (RFC 1952) or zlib stream (RFC 1950).
    pub(super) struct DeflateEncoder {
        stream: Compress,
        ended: bool,
    }

    /// The window that every receiver has: 32 KiB.
    #[cfg(feature = "gzip")]
    const WINDOW_BITS: u8 = 15;

    impl DeflateEncoder {
        #[cfg(feature = "gzip")]
        pub(super) fn gzip(level: Option<i32>) -> Self {
            DeflateEncoder {
                stream: Compress::new_gzip(compression(level), WINDOW_BITS),
                ended: false,
            }
        }

        #[cfg(feature = "zlib")]
        pub(super) fn zlib(level: Option<i32>) -> Self {
            DeflateEncoder {
                stream: Compress::new(compression(level), true),
                ended: false,
            }
        }
    }

    fn compression(level: Option<i32>) -> Compression {
        level
            .and_then(|level| u32::try_from(level).ok())
            .map_or_else(Compression::default, Compression::new)
    }

    impl Encoder for DeflateEncoder {
        fn step(
            &mut self,
            input: &mut &[u8],
            goal: Goal,
            out: &mut [u8],
        ) -> Result<Encoded, String> {
            let flush = match goal {
                Goal::Take if input.is_empty() => {
                    return Ok(Encoded {
                        written: 0,
                        done: true,
                    });
                }
                Goal::Take => FlushCompress::None,
                Goal::Flush => FlushCompress::Sync,
                Goal::Finish => FlushCompress::Finish,
            };
            let (taken, written) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .compress(input, out, flush)
                .map_err(|error| error.to_string())?;
            self.ended |= status == Status::StreamEnd;
            let taken = count(self.stream.total_in(), taken);
            let written = count(self.stream.total_out(), written);
            *input = input.get(taken..).unwrap_or_default();
            let done = match goal {
                Goal::Take => input.is_empty(),
                // With room left, nothing waits inside.
                Goal::Flush => input.is_empty() && written < out.len(),
                Goal::Finish => self.ended,
            };
            Ok(Encoded { written, done })
        }
    }

    fn count(now: u64, before: u64) -> usize {
        usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX)
    }
}

#[cfg(all(test, feature = "zstd", feature = "gzip", feature = "zlib"))]
mod tests {
    use tlsink::decode::{Decoder, Format, Limits};

    use super::*;

    const ALL: [Encoding; 4] = [
        Encoding::Zstd,
        Encoding::Gzip,
        Encoding::Zlib,
        Encoding::None,
    ];

    /// The output of pushing this input towards the goal, through a buffer of this size.
    fn push(encoder: &mut dyn Encoder, mut input: &[u8], goal: Goal, room: usize) -> Vec<u8> {
        let mut out = vec![0; room];
        let mut all = Vec::new();
        loop {
            let step = encoder.step(&mut input, goal, &mut out).unwrap();
            all.extend_from_slice(&out[..step.written]);
            if step.done {
                assert!(input.is_empty());
                return all;
            }
            assert_eq!(step.written, room, "it stopped, and there was room");
        }
    }

    fn decoded(encoding: Encoding, mut input: &[u8]) -> (Vec<u8>, bool) {
        let format: Format = encoding.name().parse().unwrap();
        let mut decoder = Decoder::new(format, &Limits::default());
        let mut out = vec![0; 1 << 16];
        let mut all = Vec::new();
        loop {
            let step = decoder.decode(input, &mut out);
            assert!(step.fault.is_none(), "{encoding:?}");
            all.extend_from_slice(&out[..step.written]);
            input = &input[step.read..];
            if input.is_empty() && step.written < out.len() {
                return (all, decoder.at_boundary());
            }
        }
    }

    /// Text that compresses, and noise that does not.
    fn samples() -> Vec<Vec<u8>> {
        let mut noise = 1_u32;
        let noise = std::iter::repeat_with(move || {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            noise.to_le_bytes()[0]
        });
        vec![
            Vec::new(),
            b"x".to_vec(),
            b"a line of text\n".repeat(20_000),
            noise.take(300_000).collect(),
        ]
    }

    #[test]
    fn pushed_data_is_whole_with_any_buffer() {
        for encoding in ALL {
            for sample in samples() {
                for room in [1, 7, 1 << 16] {
                    let mut encoder = encoder(encoding, None).unwrap();
                    let mut all = Vec::new();
                    for part in sample.chunks(100_000) {
                        all.extend(push(&mut *encoder, part, Goal::Take, room));
                    }
                    all.extend(push(&mut *encoder, &[], Goal::Finish, room));
                    assert!(
                        decoded(encoding, &all) == (sample.clone(), true),
                        "{encoding:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn flushed_data_can_be_decoded_and_the_stream_goes_on() {
        for encoding in ALL {
            for room in [8, 64, 1 << 16] {
                let mut encoder = encoder(encoding, None).unwrap();
                let (mut all, mut sent) = (Vec::new(), Vec::new());
                for sample in samples() {
                    all.extend(push(&mut *encoder, &sample, Goal::Take, room));
                    all.extend(push(&mut *encoder, &[], Goal::Flush, room));
                    sent.extend(sample);
                    assert!(decoded(encoding, &all).0 == sent, "{encoding:?}");
                }
                all.extend(push(&mut *encoder, &[], Goal::Finish, room));
                assert!(decoded(encoding, &all) == (sent, true), "{encoding:?}");
            }
        }
    }

    #[test]
    fn an_unfinished_stream_is_not_whole() {
        for encoding in [Encoding::Zstd, Encoding::Gzip, Encoding::Zlib] {
            let mut encoder = encoder(encoding, None).unwrap();
            let mut all = push(&mut *encoder, b"text", Goal::Take, 64);
            all.extend(push(&mut *encoder, &[], Goal::Flush, 64));
            assert_eq!(decoded(encoding, &all), (b"text".to_vec(), false));
        }
    }

    #[test]
    fn every_level_makes_what_receivers_take() {
        let sample = b"a line of text\n".repeat(1000);
        for encoding in ALL {
            for level in encoding.levels().into_iter().flatten() {
                let mut encoder = encoder(encoding, Some(level)).unwrap();
                let mut all = push(&mut *encoder, &sample, Goal::Take, 1 << 16);
                all.extend(push(&mut *encoder, &[], Goal::Finish, 1 << 16));
                assert!(
                    decoded(encoding, &all) == (sample.clone(), true),
                    "{encoding:?} {level}"
                );
            }
        }
    }
}
