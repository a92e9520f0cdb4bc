//! Decompression, without tasks and without IO: bytes are pushed in, decoded bytes come out.
//!
//! A [`Decoder`] is a state machine: it takes the available input and fills the buffer that it is
//! given. It never waits, never holds back bytes that it could decode, and never hides decoded
//! bytes behind the error that follows them.
//!
//! ```
//! use tlsink::decode::{Decoder, Format, Limits};
//!
//! let mut decoder = Decoder::new(Format::Auto, &Limits::default());
//! let mut output = [0; 1024];
//!
//! let step = decoder.decode(b"plain text\n", &mut output);
//! assert_eq!(&output[..step.written], b"plain text\n");
//! assert!(step.fault.is_none());
//!
//! decoder.finish();
//! assert_eq!(decoder.format(), Format::Plain);
//! assert!(decoder.at_boundary());
//! ```

use std::fmt;
use std::str::FromStr;

use crate::limit::Limit;
use crate::memory::Memory;

mod detect;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(any(
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "qt"
))]
#[cfg_attr(
    not(all(
        feature = "gzip",
        feature = "zlib",
        feature = "deflate",
        feature = "qt"
    )),
    allow(dead_code, reason = "each format uses a part of it")
)]
mod inflate;
#[cfg(feature = "qt")]
mod qt;
#[cfg(any(feature = "zlib", feature = "qt"))]
mod trial;
#[cfg(feature = "zstd")]
mod zstd;

use detect::{Detect, Detection};

/// The compression format of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Detected from the first bytes; data in no known format is plain. A zlib header is so short
    /// that a trial has to confirm it, which takes 64 bytes at most.
    #[default]
    Auto,
    /// Not compressed, or not to be decompressed.
    Plain,
    /// gzip (RFC 1952): any number of members, with zero padding between and after them.
    Gzip,
    /// zlib (RFC 1950): one stream.
    Zlib,
    /// Raw deflate (RFC 1951): one stream. It has no header, so it is never detected.
    Deflate,
    /// Zstandard (RFC 8878): any number of frames and skippable frames.
    Zstd,
    /// Output of Qt's `qCompress`, one block after another: a big-endian 32-bit size, then zlib. A
    /// first block of 512 MiB or more, or of a size that begins like text (144 MiB begins with
    /// `09`, a tab), can't be told from plain text.
    Qt,
}

impl Format {
    /// All formats, in the order in which they are documented.
    pub const ALL: &[Format] = &[
        Format::Auto,
        Format::Plain,
        Format::Gzip,
        Format::Zlib,
        Format::Deflate,
        Format::Zstd,
        Format::Qt,
    ];

    /// The printed name of the format.
    pub fn name(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Plain => "plain",
            Format::Gzip => "gzip",
            Format::Zlib => "zlib",
            Format::Deflate => "deflate",
            Format::Zstd => "zstd",
            Format::Qt => "qt",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Parses the [name](Format::name) of a format, and `none` for plain.
impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(name: &str) -> Result<Self, ParseFormatError> {
        let mut all = Format::ALL.iter().copied();
        all.find(|format| format.name() == name || (*format == Format::Plain && name == "none"))
            .ok_or(ParseFormatError(()))
    }
}

/// The error for a name that belongs to no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseFormatError(());

impl fmt::Display for ParseFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown format, expected auto, none, gzip, zlib, deflate, zstd or qt")
    }
}

impl std::error::Error for ParseFormatError {}

/// The resources that a decoder may use.
#[derive(Clone, Debug)]
pub struct Limits {
    pub(crate) max_window: u64,
    pub(crate) memory: Memory,
}

impl Limits {
    /// The largest zstd window, in bytes. 8 MiB by default, which decoders must support (RFC 8878,
    /// section 3.1.1.1.2).
    pub fn max_window(mut self, bytes: u64) -> Self {
        self.max_window = bytes;
        self
    }

    /// The memory from which windows are reserved. By default, a decoder has 1 GiB of its own.
    pub fn memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_window: 8 << 20,
            memory: Memory::new(1 << 30),
        }
    }
}

/// The result of one call of [`Decoder::decode`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Step {
    /// The number of input bytes that were consumed.
    pub read: usize,
    /// The number of output bytes that were written. They are valid, whatever `fault` says.
    pub written: usize,
    /// The fault that stopped the decoder, for good.
    pub fault: Option<Fault>,
}

/// The reason why a decoder stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The data is not valid.
    Corrupt {
        /// The format whose rules the data breaks.
        format: Format,
        /// The position of the fault, in bytes from the start of the stream.
        offset: u64,
        /// The description of the fault.
        reason: String,
    },
    /// The data needs more resources than the decoder may use.
    Limit(Limit),
    /// The format of this name is recognised, but not built in.
    Unsupported(&'static str),
}

/// A decoder for one stream.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes that detection has consumed and the codec has not.
    held: Vec<u8>,
    replayed: usize,
    limits: Limits,
}

#[derive(Debug)]
enum State {
    Detecting(Detect),
    Plain,
    /// No input has come yet, so no codec exists.
    Empty(Format),
    Decoding(Format, Box<dyn Codec>),
    Failed(Format, Box<Fault>),
}

/// The codec of one format; the loops around it are written once, in [`Decoder`].
trait Codec: fmt::Debug + Send {
    /// Decodes until the input is used up, the output is full, or a fault occurs.
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Step;

    /// Whether the input may end here.
    fn at_boundary(&self) -> bool;
}

impl Decoder {
    /// Makes a decoder for a stream in this format, or in the format that is
    /// [detected](Format::Auto).
    pub fn new(format: Format, limits: &Limits) -> Self {
        Decoder {
            state: State::new(format),
            held: Vec::new(),
            replayed: 0,
            limits: limits.clone(),
        }
    }

    /// The stream's format; [`Format::Auto`] until enough data has arrived to detect it.
    pub fn format(&self) -> Format {
        match &self.state {
            State::Detecting(_) => Format::Auto,
            State::Plain => Format::Plain,
            State::Empty(format) | State::Decoding(format, _) | State::Failed(format, _) => *format,
        }
    }

    /// Whether the decoder passes its input on unchanged, so that no call of `decode` is needed.
    pub fn is_pass_through(&self) -> bool {
        matches!(self.state, State::Plain) && self.held.is_empty()
    }

    /// Decodes `input` into `output`.
    ///
    /// When all input is read and the output is not full, more output requires more input;
    /// otherwise call it again with the rest of the input, which may be empty. After a fault, every
    /// call repeats the fault.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let mut step = Step::default();
        if let State::Detecting(detect) = &mut self.state {
            match detect.push(&mut self.held, input, &self.limits) {
                (read, Detection::Undecided) => {
                    step.read = read;
                    return step;
                }
                (read, detection) => {
                    step.read = read;
                    self.decide(detection);
                }
            }
        }
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let replay = self.run(held.get(self.replayed..).unwrap_or_default(), output);
            step.written = replay.written;
            step.fault = replay.fault;
            self.replayed += replay.read;
            if self.replayed < held.len() {
                self.held = held;
                return step;
            }
            if step.fault.is_some() || step.written == output.len() {
                return step;
            }
        }
        let rest = self.run(
            input.get(step.read..).unwrap_or_default(),
            output.get_mut(step.written..).unwrap_or_default(),
        );
        step.read += rest.read;
        step.written += rest.written;
        step.fault = rest.fault;
        step
    }

    /// Ends the input, which decides a detection that is still open. Call [`decode`](Self::decode)
    /// with empty input afterwards, until it writes nothing.
    pub fn finish(&mut self) {
        if let State::Detecting(detect) = &self.state {
            let detection = detect.finish(&self.held);
            self.decide(detection);
        }
    }

    /// Whether the stream may end here. An empty stream is whole if its format was to be detected,
    /// or if it is plain. In any other format, an empty stream is truncated.
    pub fn at_boundary(&self) -> bool {
        let at_boundary = match &self.state {
            State::Detecting(_) | State::Plain => true,
            State::Decoding(_, codec) => codec.at_boundary(),
            State::Empty(_) | State::Failed(..) => false,
        };
        at_boundary && self.held.is_empty()
    }

    fn decide(&mut self, detection: Detection) {
        self.state = match detection {
            Detection::Undecided => return,
            Detection::Format(format) => State::new(format),
            Detection::Foreign(name) => {
                State::Failed(Format::Auto, Box::new(Fault::Unsupported(name)))
            }
        };
    }

    fn run(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        if let State::Empty(format) = self.state
            && !input.is_empty()
        {
            self.state = match codec(format, &self.limits) {
                Ok(codec) => State::Decoding(format, codec),
                Err(fault) => State::Failed(format, Box::new(fault)),
            };
        }
        let step = match &mut self.state {
            State::Detecting(_) | State::Empty(_) => Step::default(),
            State::Plain => copy(input, output),
            State::Decoding(_, codec) => codec.decode(input, output),
            State::Failed(_, fault) => Step {
                fault: Some(Fault::clone(fault)),
                ..Step::default()
            },
        };
        if let Some(fault) = &step.fault {
            // This drops the codec and its window now, not with the connection.
            self.state = State::Failed(self.format(), Box::new(fault.clone()));
        }
        step
    }
}

impl State {
    fn new(format: Format) -> Self {
        match format {
            Format::Auto => State::Detecting(Detect::default()),
            Format::Plain => State::Plain,
            format => State::Empty(format),
        }
    }
}

fn codec(format: Format, limits: &Limits) -> Result<Box<dyn Codec>, Fault> {
    let _ = limits; // Without any codec, nothing needs them.
    match format {
        #[cfg(feature = "gzip")]
        Format::Gzip => Ok(Box::new(gzip::Gzip::new(limits)?)),
        #[cfg(feature = "zlib")]
        Format::Zlib => Ok(Box::new(inflate::Inflate::zlib(format, limits)?)),
        #[cfg(feature = "deflate")]
        Format::Deflate => Ok(Box::new(inflate::Inflate::raw(format, limits)?)),
        #[cfg(feature = "zstd")]
        Format::Zstd => Ok(Box::new(zstd::Zstd::new(limits)?)),
        #[cfg(feature = "qt")]
        Format::Qt => Ok(Box::new(qt::Qt::new(limits)?)),
        missing => Err(Fault::Unsupported(missing.name())),
    }
}

fn copy(input: &[u8], output: &mut [u8]) -> Step {
    let n = input.len().min(output.len());
    output[..n].copy_from_slice(&input[..n]);
    Step {
        read: n,
        written: n,
        fault: None,
    }
}
