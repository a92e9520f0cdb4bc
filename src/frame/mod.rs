//! Framing, without tasks and without IO: frames of the protocols that log shippers speak become
//! lines.
//!
//! An [`Unframer`] takes decompressed bytes as they come, in pieces of any size, and yields
//! [`Records`]: one for each frame, or for each event in it. It holds back a few bytes at most, and no
//! part of a frame that it could pass on.
//!
//! ```
//! use tlsink::decode::Limits;
//! use tlsink::frame::{Framing, RecordBuffer, Unframer};
//!
//! let mut unframer = Unframer::new(Framing::Auto, &Limits::default());
//! let mut records = RecordBuffer::default();
//! unframer.push(b"9 <13>first11 <13>sec\nond", &mut records).unwrap();
//!
//! assert_eq!(unframer.framing(), Framing::Octet);
//! let frames: Vec<_> = records.records().iter().map(|record| record.bytes).collect();
//! assert_eq!(frames, [&b"<13>first"[..], b"<13>sec\nond"]);
//! ```

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::decode::Limits;
use crate::limit::Limit;

mod detect;
mod forward;
mod lumberjack;
mod msgpack;
mod nul;
mod octet;
mod payload;
mod records;
mod relp;
mod text;
mod value;

use detect::{Detect, Detection};
use forward::Forward;
use lumberjack::Lumberjack;
use nul::Nul;
use octet::Octet;
pub use records::{Record, RecordBuffer, Records};
use relp::Relp;

/// The framing of a stream's decompressed bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Framing {
    /// Detected from the first bytes. A stream in no known framing has none.
    Auto,
    /// No framing: the bytes are passed on as they are.
    #[default]
    None,
    /// Octet counting (RFC 6587, section 3.4.1; RFC 5425, section 4.3): each frame begins with its
    /// length in bytes as a decimal number and a space. It is detected if a syslog priority, such as
    /// `<13>`, follows.
    ///
    /// One LF, CR LF or NUL at the end of a frame is its terminator. LF, CR, NUL and spaces between
    /// frames are skipped. A frame that begins with `<` in place of a length is read to its LF.
    Octet,
    /// RELP: numbered frames with a command and a length, each of which is acknowledged once the
    /// output has flushed it. It is detected by its first frame, which opens the session.
    ///
    /// A stream that ends between two frames is clean, even without a close_notify: its sender knows
    /// what was acknowledged.
    Relp,
    /// Lumberjack, versions 1 and 2, as Beats and Logstash send it: events, several of which are
    /// acknowledged together once the output has flushed them. It is detected by its first frame, which
    /// announces their number.
    ///
    /// An event is a record: its JSON as it came, or an object of the keys and values of version 1.
    Lumberjack,
    /// The Fluent Forward protocol, version 1, as Fluentd and Fluent Bit send it. A message with a
    /// `chunk` is acknowledged once the output has flushed its records. It is detected by the beginning
    /// of its first message.
    ///
    /// A record is a JSON object with `tag`, `time` (RFC 3339), `metadata` if there is any, and
    /// `record`. A byte of a string that is not UTF-8 is written as `\\xff`, and binary data is a
    /// string.
    Forward,
    /// A NUL ends each frame, as in GELF over TCP. It is detected if the stream begins with `{`, and
    /// a NUL follows a `}` before any LF.
    Nul,
}

impl Framing {
    /// All framings, in the order in which they are documented.
    pub const ALL: &[Framing] = &[
        Framing::Auto,
        Framing::None,
        Framing::Octet,
        Framing::Relp,
        Framing::Lumberjack,
        Framing::Forward,
        Framing::Nul,
    ];

    /// Whether the receiver acknowledges frames.
    pub fn is_acknowledged(self) -> bool {
        matches!(self, Framing::Relp | Framing::Lumberjack | Framing::Forward)
    }

    /// Whether records are events: JSON objects, unless a sender of lumberjack breaks its rules.
    pub fn has_events(self) -> bool {
        matches!(self, Framing::Lumberjack | Framing::Forward)
    }

    /// The printed name of the framing.
    pub fn name(self) -> &'static str {
        match self {
            Framing::Auto => "auto",
            Framing::None => "none",
            Framing::Octet => "octet",
            Framing::Relp => "relp",
            Framing::Lumberjack => "lumberjack",
            Framing::Forward => "forward",
            Framing::Nul => "nul",
        }
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Parses the [name](Framing::name) of a framing.
impl FromStr for Framing {
    type Err = ParseFramingError;

    fn from_str(name: &str) -> Result<Self, ParseFramingError> {
        let mut all = Framing::ALL.iter().copied();
        all.find(|framing| framing.name() == name)
            .ok_or(ParseFramingError(()))
    }
}

/// The error for a name that belongs to no framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseFramingError(());

impl fmt::Display for ParseFramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown framing, expected auto, none, octet, relp, lumberjack, forward or nul")
    }
}

impl std::error::Error for ParseFramingError {}

/// The reason why an [`Unframer`] stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes are not valid.
    #[non_exhaustive]
    Corrupt {
        /// The framing whose rules the bytes break.
        framing: Framing,
        /// The position of the fault, in decompressed bytes from the start of the stream.
        offset: u64,
        /// The description of the fault.
        reason: Cow<'static, str>,
    },
    /// The frames need more resources than the receiver allows.
    Limit(Limit),
    /// The stream, or the compression of a frame, is of this protocol, which is recognised and not supported.
    Unsupported(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Corrupt {
                framing,
                offset,
                reason,
            } => write!(f, "{framing}: {reason} at byte {offset}"),
            Fault::Limit(limit) => limit.fmt(f),
            Fault::Unsupported(name) => write!(f, "{name} is not supported"),
        }
    }
}

impl std::error::Error for Fault {}

/// The most digits of a number in a frame: of its length, and of the transactions that librelp
/// counts up to 999,999,999.
const DIGITS: usize = 9;

/// The largest part of a frame that is converted at once, in bytes.
const PART: usize = 16 * 1024;

/// Makes records of the bytes of one stream.
#[derive(Debug)]
pub struct Unframer {
    state: State,
    /// The resources for frames that are compressed.
    limits: Limits,
    /// The last push ended because the buffer was full.
    has_more: bool,
    /// The number of bytes that were parsed, or passed on.
    parsed: u64,
}

#[derive(Debug)]
enum State {
    Detecting(Detect),
    None,
    Octet(Octet),
    Relp(Box<Relp>),
    Lumberjack(Box<Lumberjack>),
    Forward(Box<Forward>),
    Nul(Nul),
    Failed(Framing, Box<Fault>),
}

impl State {
    fn new(framing: Framing, limits: &Limits) -> Self {
        match framing {
            Framing::Auto => State::Detecting(Detect::default()),
            Framing::None => State::None,
            Framing::Octet => State::Octet(Octet::default()),
            Framing::Relp => State::Relp(Box::default()),
            Framing::Lumberjack => State::Lumberjack(Box::new(Lumberjack::new(limits))),
            Framing::Forward => State::Forward(Box::new(Forward::new(limits))),
            Framing::Nul => State::Nul(Nul::default()),
        }
    }
}

/// A fault of a frame.
#[derive(Debug, PartialEq, Eq)]
struct FrameFault {
    /// The position of the byte at fault in the pushed bytes.
    at: usize,
    kind: FaultKind,
}

#[derive(Debug, PartialEq, Eq)]
enum FaultKind {
    Corrupt(Cow<'static, str>),
    Limit(Limit),
    Unsupported(&'static str),
}

impl FrameFault {
    fn corrupt(at: usize, reason: &'static str) -> Self {
        FrameFault {
            at,
            kind: FaultKind::Corrupt(reason.into()),
        }
    }

    /// The same fault, `taken` bytes further on.
    fn behind(self, taken: usize) -> Self {
        FrameFault {
            at: self.at.saturating_add(taken),
            ..self
        }
    }

    /// The same fault at another position.
    fn at(self, at: usize) -> Self {
        FrameFault { at, ..self }
    }
}

impl Unframer {
    /// Makes an unframer for a stream in this framing. The limits are those of frames that are
    /// compressed.
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        Unframer {
            state: State::new(framing, limits),
            limits: limits.clone(),
            has_more: false,
            parsed: 0,
        }
    }

    /// The stream's framing; [`Framing::Auto`] until enough bytes have come to detect it.
    pub fn framing(&self) -> Framing {
        match &self.state {
            State::Detecting(_) => Framing::Auto,
            State::None => Framing::None,
            State::Octet(_) => Framing::Octet,
            State::Relp(_) => Framing::Relp,
            State::Lumberjack(_) => Framing::Lumberjack,
            State::Forward(_) => Framing::Forward,
            State::Nul(_) => Framing::Nul,
            State::Failed(framing, _) => *framing,
        }
    }

    /// Takes bytes, adds the records in them to `records`, and returns the number of bytes taken.
    /// Without framing, the records are the bytes themselves.
    ///
    /// A frame may expand to any number of bytes, so the buffer may be full before all bytes are taken.
    /// Clear it, and push the others again; while there is [more](Self::has_more), push even if no
    /// bytes are left.
    ///
    /// # Errors
    ///
    /// [`Fault`] if the bytes break the rules of their framing, need more resources than are allowed, or
    /// are of a protocol that is recognised and not supported. The records before them are valid. Each
    /// further call returns the same error.
    pub fn push(&mut self, bytes: &[u8], records: &mut RecordBuffer) -> Result<usize, Fault> {
        let mut taken = 0;
        if let State::Detecting(detect) = &mut self.state {
            let (detected, detection) = detect.push(bytes, records);
            taken = detected;
            let held = detect.take_held(detection);
            match detection {
                Detection::Undecided => return Ok(taken),
                Detection::Framing(framing) => self.state = State::new(framing, &self.limits),
                Detection::Unsupported(name) => {
                    let fault = Box::new(Fault::Unsupported(name));
                    self.state = State::Failed(Framing::Auto, fault);
                }
            }
            // The first bytes of a frame make no record that could fill the buffer.
            self.parse(&held, records)?;
        }
        let parsed = self.parse(bytes.get(taken..).unwrap_or_default(), records)?;
        Ok(taken.saturating_add(parsed))
    }

    /// Whether the last push ended because its buffer was full. Frames may hold further records, even if
    /// all bytes are taken.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    fn parse(&mut self, bytes: &[u8], records: &mut RecordBuffer) -> Result<usize, Fault> {
        let all = bytes.len();
        let pushed = match &mut self.state {
            // The detection has taken all bytes.
            State::Detecting(_) => Ok(all),
            State::None => {
                records.push_lines(bytes);
                Ok(all)
            }
            State::Octet(octet) => octet.push(bytes, records).map(|()| all),
            State::Relp(relp) => relp.push(bytes, records).map(|()| all),
            State::Lumberjack(lumberjack) => lumberjack.push(bytes, records),
            State::Forward(forward) => forward.push(bytes, records),
            State::Nul(nul) => {
                nul.push(bytes, records);
                Ok(all)
            }
            State::Failed(_, fault) => return Err(Fault::clone(fault)),
        };
        match pushed {
            Ok(taken) => {
                self.parsed = self.parsed.saturating_add(taken as u64);
                self.has_more = self.framing().has_events() && records.is_full();
                Ok(taken)
            }
            Err(fault) => Err(self.fail(fault)),
        }
    }

    fn fail(&mut self, FrameFault { at, kind }: FrameFault) -> Fault {
        let framing = self.framing();
        let fault = match kind {
            FaultKind::Corrupt(reason) => Fault::Corrupt {
                framing,
                offset: self.parsed.saturating_add(at as u64),
                reason,
            },
            FaultKind::Limit(limit) => Fault::Limit(limit),
            FaultKind::Unsupported(name) => Fault::Unsupported(name),
        };
        self.state = State::Failed(framing, Box::new(fault.clone()));
        self.has_more = false;
        fault
    }

    /// Tells that no more bytes follow: bytes that the detection holds back are added to `records`.
    pub fn finish(&mut self, records: &mut RecordBuffer) {
        if let State::Detecting(detect) = &mut self.state {
            records.push_lines(&detect.take_held(Detection::Framing(Framing::None)));
            self.state = State::None;
        }
    }

    /// Whether the stream may end here: between two frames.
    pub fn at_boundary(&self) -> bool {
        match &self.state {
            State::Detecting(_) | State::None => true,
            State::Octet(octet) => octet.at_boundary(),
            State::Relp(relp) => relp.at_boundary(),
            State::Lumberjack(lumberjack) => lumberjack.at_boundary(),
            State::Forward(forward) => forward.at_boundary(),
            State::Nul(nul) => nul.at_boundary(),
            State::Failed(..) => false,
        }
    }

    /// Whether the sender has been told of all records so far, or will be once they are delivered.
    pub fn is_acknowledged(&self) -> bool {
        match &self.state {
            State::Relp(_) => true,
            State::Lumberjack(lumberjack) => lumberjack.is_acknowledged(),
            State::Forward(forward) => forward.is_acknowledged(),
            State::Detecting(_) | State::None | State::Octet(_) | State::Nul(_) => false,
            State::Failed(..) => false,
        }
    }

    /// Whether the sender has begun something that is to be acknowledged, and is not complete.
    pub(crate) fn is_in_work(&self) -> bool {
        match &self.state {
            State::Lumberjack(lumberjack) => lumberjack.is_in_work(),
            _ => false,
        }
    }

    /// The answer that keeps a sender from giving up while it waits for another, if its framing has one.
    pub(crate) fn keep_alive(&self) -> Option<&'static [u8]> {
        match &self.state {
            State::Lumberjack(lumberjack) => lumberjack.keep_alive(),
            _ => None,
        }
    }

    /// The number of items within frames that are no records, and were passed over: metrics and traces
    /// in [`Framing::Forward`].
    pub fn skipped(&self) -> u64 {
        match &self.state {
            State::Forward(forward) => forward.skipped(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A record, and whether it ended.
    type Seen = (Vec<u8>, bool);

    /// The records of a stream that comes in these pieces, and its framing or its fault.
    fn unframed(framing: Framing, pieces: &[&[u8]]) -> (Vec<Seen>, Result<Framing, Fault>) {
        let mut unframer = Unframer::new(framing, &Limits::default());
        let mut seen: Vec<Seen> = Vec::new();
        let mut result = Ok(());
        'pieces: for piece in pieces {
            let mut piece = *piece;
            loop {
                let mut records = RecordBuffer::default();
                let pushed = unframer.push(piece, &mut records);
                collect(&records, &mut seen);
                match pushed {
                    Ok(taken) => piece = &piece[taken..],
                    Err(fault) => {
                        result = Err(fault);
                        break 'pieces;
                    }
                }
                if piece.is_empty() && !unframer.has_more() {
                    break;
                }
            }
        }
        if result.is_ok() {
            let mut records = RecordBuffer::default();
            unframer.finish(&mut records);
            collect(&records, &mut seen);
        }
        (seen, result.map(|()| unframer.framing()))
    }

    fn collect(buffer: &RecordBuffer, seen: &mut Vec<Seen>) {
        for record in buffer.records().iter() {
            match seen.last_mut() {
                Some((bytes, ends @ false)) => {
                    bytes.extend_from_slice(record.bytes);
                    *ends = record.ends;
                }
                _ => seen.push((record.bytes.to_vec(), record.ends)),
            }
        }
    }

    fn whole(records: &[&[u8]]) -> Vec<Seen> {
        let records = records.iter();
        records.map(|record| (record.to_vec(), true)).collect()
    }

    #[test]
    fn protocols_that_are_not_supported_are_named_and_text_like_them_is_passed_on() {
        for (stream, name) in [
            (&b"\x16\x03\x01\x02\x00\x01rest"[..], "TLS within TLS"),
            (b"PROXY TCP4 192.0.2.7 ", "the PROXY protocol"),
            (b"PROXY UNKNOWN\r\n", "the PROXY protocol"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21", "the PROXY protocol"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"),
            (b"\x10\x10\x00\x04MQTT\x04", "MQTT"),
        ] {
            for size in [1, stream.len()] {
                let pieces: Vec<_> = stream.chunks(size).collect();
                let (seen, found) = unframed(Framing::Auto, &pieces);
                assert_eq!((seen, found), (vec![], Err(Fault::Unsupported(name))));
            }
        }
        for text in [
            "PROXY TCP9\n",
            "PRI * HTTP/1\n",
            "\r\n\r\nplain\n",
            "\u{10}\u{10}MQTT\n",
            "\u{16}\u{3}\u{5}\n",
            "PR",
        ] {
            let (seen, found) = unframed(Framing::Auto, &[text.as_bytes()]);
            assert_eq!(found, Ok(Framing::None), "{text:?}");
            let lines: Vec<u8> = seen
                .into_iter()
                .flat_map(|(bytes, ends)| bytes.into_iter().chain(ends.then_some(b'\n')))
                .collect();
            assert_eq!(lines, text.as_bytes());
        }
    }

    #[test]
    fn frames_are_told_from_text_by_their_first_bytes() {
        for (stream, framing, records) in [
            (&b"7 <13>abc"[..], Framing::Octet, whole(&[b"<13>abc"])),
            (
                b"{\"a\":1}\0{}\0",
                Framing::Nul,
                whole(&[b"{\"a\":1}", b"{}"]),
            ),
            (
                b"{\"a\":1}\n{}\0",
                Framing::None,
                vec![(b"{\"a\":1}".to_vec(), true), (b"{}\0".to_vec(), false)],
            ),
            (b"<13>abc\n", Framing::None, whole(&[b"<13>abc"])),
            (
                b"2026-11-27 <13>\n",
                Framing::None,
                whole(&[b"2026-11-27 <13>"]),
            ),
            (b"3 <13>\n", Framing::None, whole(&[b"3 <13>"])),
            (b"9 <192>abc\n", Framing::None, whole(&[b"9 <192>abc"])),
            (b"9 <013>abc\n", Framing::None, whole(&[b"9 <013>abc"])),
            (b"0 <13>abc\n", Framing::None, whole(&[b"0 <13>abc"])),
            (
                b"1234567890 <13>\n",
                Framing::None,
                whole(&[b"1234567890 <13>"]),
            ),
            (
                b"1 open 14 relp_version=1\n2 syslog 1 a\n",
                Framing::Relp,
                whole(&[b"a"]),
            ),
            (
                b"1 open 3 files\n",
                Framing::None,
                whole(&[b"1 open 3 files"]),
            ),
            (
                b"1 open 14 relp_versions\n",
                Framing::None,
                whole(&[b"1 open 14 relp_versions"]),
            ),
            (b"12", Framing::None, vec![(b"12".to_vec(), false)]),
            (b"", Framing::None, vec![]),
        ] {
            let (seen, found) = unframed(Framing::Auto, &[stream]);
            let text = String::from_utf8_lossy(stream);
            assert_eq!(found, Ok(framing), "{text}");
            assert_eq!(seen, records, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_records_of_one_piece(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9),
            kind in 0..3,
            tail in prop::collection::vec(any::<u8>(), 0..9),
            splits in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
        ) {
            let mut stream = Vec::new();
            for frame in &frames {
                match kind {
                    0 => {
                        stream.extend(format!("{} <13>", frame.len() + 4).bytes());
                        stream.extend(frame);
                    }
                    1 => {
                        stream.extend(b"{}");
                        stream.extend(frame);
                        stream.push(0);
                    }
                    _ => stream.extend(frame),
                }
            }
            stream.extend(&tail);
            let mut at: Vec<_> = splits.iter().map(|split| split.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let pieces: Vec<_> = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let bytes: Vec<_> = stream.chunks(1).collect();
            for framing in Framing::ALL.iter().copied() {
                let whole = unframed(framing, &[&stream]);
                prop_assert_eq!(&unframed(framing, &pieces), &whole);
                prop_assert_eq!(&unframed(framing, &bytes), &whole);
            }
        }

        #[test]
        fn text_without_frames_is_passed_on_as_it_is(text in "[^{0-9]\\PC*") {
            let mut unframer = Unframer::new(Framing::Auto, &Limits::default());
            let mut records = RecordBuffer::default();
            unframer.push(text.as_bytes(), &mut records).unwrap();
            unframer.finish(&mut records);
            prop_assert_eq!(unframer.framing(), Framing::None);
            prop_assert_eq!(records.records().lines(), text.as_bytes());
        }
    }
}
