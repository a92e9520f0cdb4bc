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
//! # #[cfg(feature = "octet")] {
//! let mut unframer = Unframer::new(Framing::Auto, &Limits::default());
//! let mut records = RecordBuffer::default();
//! unframer.push(b"9 <13>first11 <13>sec\nond", &mut records).unwrap();
//!
//! assert_eq!(unframer.framing(), Framing::Octet);
//! let frames: Vec<_> = records.records().iter().map(|record| record.bytes).collect();
//! assert_eq!(frames, [&b"<13>first"[..], b"<13>sec\nond"]);
//! # }
//! ```

use std::fmt;
use std::str::FromStr;

use crate::decode::Limits;

mod detect;
#[cfg_attr(
    not(all(feature = "octet", feature = "lumberjack", feature = "forward")),
    allow(dead_code, reason = "each framing uses a part of it")
)]
mod fault;
#[cfg(feature = "forward")]
mod forward;
#[cfg(feature = "lumberjack")]
mod lumberjack;
#[cfg(feature = "nul")]
mod nul_terminated;
#[cfg(feature = "octet")]
mod octet;
#[cfg(any(feature = "lumberjack", feature = "forward"))]
mod payload;
#[cfg_attr(
    not(all(feature = "relp", feature = "lumberjack", feature = "forward")),
    allow(dead_code, reason = "each framing uses a part of it")
)]
mod records;
#[cfg(feature = "relp")]
mod relp;
#[cfg(any(feature = "lumberjack", feature = "forward"))]
mod text;

pub(crate) use detect::RSYSLOG_SINGLE;
use detect::{Detect, Detection};
pub use fault::Fault;
use fault::FrameFault;
#[cfg(feature = "forward")]
pub use forward::SharedKey;
pub use records::{Record, RecordBuffer, Records};

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
    /// A [resumed](crate::ServerBuilder::offsets) stream. Its first line names it, and is not
    /// compressed; the bytes behind that line are passed on as they are. It can't be chosen, and is
    /// not among [`ALL`](Self::ALL).
    Resume,
}

impl Framing {
    /// All framings that can be chosen, in the order in which they are documented.
    pub const ALL: &[Framing] = &[
        Framing::Auto,
        Framing::None,
        Framing::Octet,
        Framing::Relp,
        Framing::Lumberjack,
        Framing::Forward,
        Framing::Nul,
    ];

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
            Framing::Resume => "resume",
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

/// The most digits of a number in a frame: of its length, and of the transactions that librelp
/// counts up to 999,999,999.
const DIGITS: usize = 9;

/// The longest tag of a message of forward, and the longest identifier of its chunk, in bytes.
const MAX_TAG: usize = 1024;

/// The largest part of a frame that is converted at once, in bytes.
#[cfg(any(feature = "lumberjack", feature = "forward"))]
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
    Framed(Framing, Box<dyn Parser>),
    Failed(Framing, Box<Fault>),
}

/// The parser of one framing.
trait Parser: fmt::Debug + Send {
    /// Takes bytes until all are taken, or the buffer is full; returns their number.
    fn push(&mut self, bytes: &[u8], records: &mut RecordBuffer) -> Result<usize, FrameFault>;

    /// Whether the stream may end here: between two frames.
    fn at_boundary(&self) -> bool;

    /// The message with which the receiver begins, if it does.
    fn greeting(&self) -> Option<Vec<u8>> {
        None
    }

    /// Whether the sender has been told of all records, or will be once they are delivered.
    fn is_acknowledged(&self) -> bool {
        false
    }

    /// Whether the sender has begun something that is to be acknowledged, and is not complete.
    fn is_in_work(&self) -> bool {
        false
    }

    /// The answer that keeps the sender from giving up while it waits for another.
    fn keep_alive(&self) -> Option<&'static [u8]> {
        None
    }

    /// The number of items that are no records, and were passed over.
    fn skipped(&self) -> u64 {
        0
    }

    /// Ends the session, or asks for its end behind the frame that has begun: then the next push takes no
    /// more than that. Returns the message that tells the sender, once the session is over.
    fn close(&mut self) -> Option<&'static [u8]> {
        None
    }
}

/// Makes the parser of a framing; `None` if it is not built in.
fn parser(framing: Framing, limits: &Limits) -> Option<Box<dyn Parser>> {
    let _ = limits; // Only frames that may be compressed need them.
    match framing {
        #[cfg(feature = "octet")]
        Framing::Octet => Some(Box::new(octet::Octet::default())),
        #[cfg(feature = "relp")]
        Framing::Relp => Some(Box::new(relp::Relp::default())),
        #[cfg(feature = "lumberjack")]
        Framing::Lumberjack => Some(Box::new(lumberjack::Lumberjack::new(limits))),
        #[cfg(feature = "forward")]
        Framing::Forward => Some(Box::new(forward::Forward::new(limits))),
        #[cfg(feature = "nul")]
        Framing::Nul => Some(Box::new(nul_terminated::NulTerminated::default())),
        _ => None,
    }
}

impl State {
    fn new(framing: Framing, limits: &Limits) -> Self {
        match framing {
            Framing::Auto => State::Detecting(Detect::default()),
            Framing::None => State::None,
            framing => match parser(framing, limits) {
                Some(parser) => State::Framed(framing, parser),
                None => State::Failed(framing, Box::new(Fault::Unsupported(framing.name()))),
            },
        }
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

    /// Makes an unframer for a stream in [`Framing::Forward`] whose sender must know this key.
    #[cfg(feature = "forward")]
    pub(crate) fn with_key(key: &SharedKey, limits: &Limits) -> Self {
        let parser = Box::new(forward::Forward::with_key(key, limits));
        Unframer {
            state: State::Framed(Framing::Forward, parser),
            ..Unframer::new(Framing::Forward, limits)
        }
    }

    /// The bytes to send to the sender before it sends anything.
    pub(crate) fn greeting(&self) -> Option<Vec<u8>> {
        self.parser()?.greeting()
    }

    /// The stream's framing; [`Framing::Auto`] until enough bytes have come to detect it.
    pub fn framing(&self) -> Framing {
        match &self.state {
            State::Detecting(_) => Framing::Auto,
            State::None => Framing::None,
            State::Framed(framing, _) => *framing,
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
            State::Framed(_, parser) => parser.push(bytes, records),
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

    fn fail(&mut self, fault: FrameFault) -> Fault {
        let framing = self.framing();
        let fault = fault.into_fault(framing, self.parsed);
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
            State::Framed(_, parser) => parser.at_boundary(),
            State::Failed(..) => false,
        }
    }

    /// Whether the sender has been told of all records so far, or will be once they are delivered.
    pub fn is_acknowledged(&self) -> bool {
        self.parser().is_some_and(Parser::is_acknowledged)
    }

    /// The answer that keeps the sender from giving up, if it has begun something that is to be
    /// acknowledged. `is_answered` says that no answer is due.
    pub(crate) fn keep_alive(&self, is_answered: bool) -> Option<&'static [u8]> {
        let parser = self.parser()?;
        let waits = !is_answered || parser.is_in_work();
        parser.keep_alive().filter(|_| waits)
    }

    /// The number of items within frames that are no records, and were passed over: metrics and traces
    /// in [`Framing::Forward`].
    pub fn skipped(&self) -> u64 {
        self.parser().map_or(0, Parser::skipped)
    }

    /// Ends the session, if its framing has a way to tell the sender that it is to go on over another
    /// connection. Returns the message that does so, if the stream may end here; if not, the next push
    /// takes no more than the frame that has begun.
    pub(crate) fn close(&mut self) -> Option<&'static [u8]> {
        match &mut self.state {
            State::Framed(_, parser) => parser.close(),
            _ => None,
        }
    }

    fn parser(&self) -> Option<&dyn Parser> {
        match &self.state {
            State::Framed(_, parser) => Some(&**parser),
            _ => None,
        }
    }
}

#[cfg(all(
    test,
    feature = "octet",
    feature = "relp",
    feature = "lumberjack",
    feature = "forward",
    feature = "nul"
))]
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
            (b"99 zx\x9c\x05", "rsyslog's compression.mode=\"single\""),
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
            (
                b"2W\0\0\0\x012J\0\0\0\x01\0\0\0\x02{}",
                Framing::Lumberjack,
                whole(&[b"{}"]),
            ),
            (b"1W\0\0\0\x01", Framing::Lumberjack, vec![]),
            (b"2Wait\n", Framing::None, whole(&[b"2Wait"])),
            (b"3W\0\0\0\x01\n", Framing::None, whole(&[b"3W\0\0\0\x01"])),
            (
                b"\x93\xa1t\xce\0\0\0\0\x80",
                Framing::Forward,
                whole(&[br#"{"tag":"t","time":"1970-01-01T00:00:00Z","record":{}}"#]),
            ),
            (b"\x92\xd9\x01t\x90", Framing::Forward, vec![]),
            (b"\x93\xda\0\x01t\xc4\x05\x92", Framing::Forward, vec![]),
            (b"\x92\xa1t\x91\x92", Framing::Forward, vec![]),
            (
                b"\x94\xa1t\xd7\0\0\0\0\0\0\0\0\0\x80\xc0",
                Framing::Forward,
                whole(&[br#"{"tag":"t","time":"1970-01-01T00:00:00.000000000Z","record":{}}"#]),
            ),
            // Text in Windows-1252, and messages that are none.
            (
                b"\x93\xbfQu\xe9?\x94\n",
                Framing::None,
                whole(&[b"\x93\xbfQu\xe9?\x94"]),
            ),
            (b"\x92\xa0\n", Framing::None, whole(&[b"\x92\xa0"])),
            (
                b"\x93\xa1t\xca\xc9\xc8\xc7\xc6 \n",
                Framing::None,
                whole(&[b"\x93\xa1t\xca\xc9\xc8\xc7\xc6 "]),
            ),
            (
                b"\x93\xa1\t\x90\n",
                Framing::None,
                whole(&[b"\x93\xa1\t\x90"]),
            ),
            (b"12 zx81\n", Framing::None, whole(&[b"12 zx81"])),
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
            kind in 0..5,
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
                    2 => {
                        stream.extend(b"2W\0\0\0\x01");
                        stream.extend(b"2J\0\0\0\x01\0\0\0");
                        stream.push(frame.len() as u8);
                        stream.extend(frame);
                    }
                    3 => {
                        stream.extend(b"\x93\xa1t\xc4");
                        stream.push(frame.len() as u8 + 3);
                        stream.extend(b"\x92\x01");
                        stream.push(0xa0 | frame.len() as u8);
                        stream.extend(frame);
                        stream.extend(b"\x81\xa5chunk\xa1c");
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

        /// Text in Windows-1252 that begins as a message of forward does: a quotation mark, then one of
        /// the characters that begin a string of MessagePack.
        #[test]
        fn quotations_in_windows_1252_are_text(
            mark in 0x92..0x95_u8,
            first in 0xa0..=0xff_u8,
            text in prop::collection::vec(prop_oneof![8 => 0x20..0x7f_u8, 1 => 0xa0..=0xff_u8], 0..80),
        ) {
            let text = [&[mark, first][..], &text, b"\n"].concat();
            let mut unframer = Unframer::new(Framing::Auto, &Limits::default());
            let mut records = RecordBuffer::default();
            prop_assert_eq!(unframer.push(&text, &mut records), Ok(text.len()));
            unframer.finish(&mut records);
            prop_assert_eq!(unframer.framing(), Framing::None);
            prop_assert_eq!(records.records().lines(), &text[..]);
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
