//! Forward (the Fluent Forward protocol, version 1): what Fluentd, Fluent Bit and their libraries send.
//!
//! A message is an array of MessagePack, in one of four modes:
//!
//! | mode | message |
//! |---|---|
//! | Message | `[tag, time, record, option?]` |
//! | Forward | `[tag, [[time, record], …], option?]` |
//! | PackedForward | `[tag, bytes, option?]`, the bytes being one `[time, record]` after the other |
//! | CompressedPackedForward | the same, the bytes being compressed |
//!
//! The first byte of packed entries tells whether they are compressed: the option that says so comes
//! behind them.

use super::fault::{FaultKind, FrameFault};
use super::payload::Payload;
use super::{MAX_TAG, Parser, RecordBuffer};
use crate::decode::{Format, Limits};

mod entry;
mod msgpack;
mod shared_key;
mod value;

use entry::Entry;
use msgpack::{Token, Tokenizer};
use shared_key::Greeting;
pub use shared_key::SharedKey;
use value::Value;

/// The longest key of an option that has a meaning here, in bytes.
const MAX_KEY: usize = 16;

#[derive(Debug)]
pub(super) struct Forward {
    tokens: Tokenizer,
    state: State,
    /// The elements of the message that are yet to come.
    left: u32,
    entry: Entry,
    /// The length of the packed entries, in bytes.
    packed_len: usize,
    /// The packed entries, once their first byte has come.
    packed: Option<Box<Packed>>,
    option: Options,
    /// A message had no chunk to acknowledge.
    is_unacknowledged: bool,
    /// The handshake with a sender that is yet to show that it knows the key.
    greeting: Option<Box<Greeting>>,
    limits: Limits,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Message,
    Tag,
    TagBytes,
    /// Before the second element: the time of a record, or entries.
    Body,
    /// In an array of entries, of which this many are yet to come.
    Entries(u32),
    /// In packed entries.
    Packed,
    /// In a single record.
    Record,
    Options,
    /// Before a key of the options.
    Key,
    KeyBytes,
    /// In a key that is no string.
    OtherKey,
    /// Before the value of an option.
    OptionValue,
    ChunkBytes,
    /// In the value of an option that has no meaning here.
    OtherValue,
}

/// The options of a message.
#[derive(Debug, Default)]
struct Options {
    /// The pairs that are yet to come.
    left: u32,
    key: Vec<u8>,
    /// The identifier that the answer repeats.
    chunk: Option<Vec<u8>>,
    skipped: Value,
}

/// Packed entries.
#[derive(Debug)]
struct Packed {
    payload: Payload,
    tokens: Tokenizer,
}

impl Forward {
    pub(super) fn new(limits: &Limits) -> Self {
        Forward {
            tokens: Tokenizer::default(),
            state: State::Message,
            left: 0,
            entry: Entry::default(),
            packed_len: 0,
            packed: None,
            option: Options::default(),
            is_unacknowledged: false,
            greeting: None,
            limits: limits.clone(),
        }
    }

    /// A parser that demands of the sender to know the key.
    pub(super) fn with_key(key: &SharedKey, limits: &Limits) -> Self {
        Forward {
            greeting: Some(Box::new(Greeting::new(key))),
            ..Forward::new(limits)
        }
    }
}

impl Parser for Forward {
    fn push(&mut self, bytes: &[u8], records: &mut RecordBuffer) -> Result<usize, FrameFault> {
        let mut taken = 0_usize;
        while !records.is_full() {
            let rest = bytes.get(taken..).unwrap_or_default();
            if self.state == State::Packed {
                let unpacked = self.unpack(rest, records);
                let unpacked = unpacked.map_err(|fault| fault.behind(taken))?;
                taken = taken.saturating_add(unpacked);
                if self.state == State::Packed {
                    break;
                }
                continue;
            }
            let (read, token) = self.tokens.next(rest);
            taken = taken.saturating_add(read);
            // The fault of a token is at its last byte.
            let fault = |kind| FrameFault::before(taken, 1, kind);
            let Some(token) = token.map_err(fault)? else {
                break;
            };
            self.token(token, records).map_err(fault)?;
        }
        Ok(taken)
    }

    fn at_boundary(&self) -> bool {
        self.state == State::Message && self.tokens.at_boundary()
    }

    fn greeting(&self) -> Option<Vec<u8>> {
        self.greeting.as_ref().map(|greeting| greeting.helo())
    }

    fn is_acknowledged(&self) -> bool {
        !self.is_unacknowledged
    }

    fn skipped(&self) -> u64 {
        self.entry.skipped
    }
}

impl Forward {
    fn token(&mut self, token: Token<'_>, records: &mut RecordBuffer) -> Result<(), FaultKind> {
        if let Some(greeting) = &mut self.greeting {
            if greeting.push(token, records)? {
                self.greeting = None;
            }
            return Ok(());
        }
        match (self.state, token) {
            (State::Message, Token::Nil) => {}
            (State::Message, Token::Array(len @ 2..=4)) => {
                self.left = len;
                self.state = State::Tag;
            }
            (State::Message, _) => {
                return corrupt("a message is no array of two to four elements");
            }
            (State::Tag, Token::Bytes(len)) if len <= MAX_TAG => {
                self.entry.begin_tag();
                self.state = State::TagBytes;
            }
            (State::Tag, Token::Bytes(_)) => return corrupt("a tag is longer than 1,024 bytes"),
            (State::TagBytes, Token::Part(part, is_last)) => {
                self.entry.tag(part, is_last);
                if is_last {
                    self.element(State::Body, records)?;
                }
            }
            (State::Tag | State::TagBytes, _) => return corrupt("a tag is no string"),
            (State::Body, Token::Array(0)) => self.element(State::Options, records)?,
            (State::Body, Token::Array(len)) => self.state = State::Entries(len),
            (State::Body, Token::Bytes(len)) => {
                self.tokens.leave_bytes();
                match len {
                    0 => self.element(State::Options, records)?,
                    len => {
                        self.packed_len = len;
                        self.state = State::Packed;
                    }
                }
            }
            (State::Body, token) => {
                if self.left < 2 {
                    return corrupt("a message has a time and no record");
                }
                // The time is an element, too.
                self.left = self.left.saturating_sub(1);
                self.state = State::Record;
                self.entry.begin_single();
                self.entry.push(token, records)?;
            }
            (State::Record, token) => {
                if self.entry.push(token, records)? {
                    self.element(State::Options, records)?;
                }
            }
            (State::Entries(left), token) => {
                if self.entry.push(token, records)? {
                    match left {
                        0 | 1 => self.element(State::Options, records)?,
                        left => self.state = State::Entries(left.saturating_sub(1)),
                    }
                }
            }
            (State::Options, Token::Nil | Token::Map(0)) => {
                self.element(State::Message, records)?;
            }
            (State::Options, Token::Map(pairs)) => {
                self.option.left = pairs;
                self.state = State::Key;
            }
            (State::Options, _) => return corrupt("the options of a message are no map"),
            (State::Key, Token::Bytes(_)) => {
                self.option.key.clear();
                self.state = State::KeyBytes;
            }
            (State::KeyBytes, Token::Part(part, is_last)) => {
                let room = MAX_KEY.saturating_sub(self.option.key.len());
                self.option.key.extend(part.iter().take(room));
                if is_last {
                    self.state = State::OptionValue;
                }
            }
            (State::Key, token) => {
                self.option.key.clear();
                self.option.skipped.begin(false);
                self.skip_key(token, records)?;
            }
            (State::OtherKey, token) => self.skip_key(token, records)?,
            (State::OptionValue, Token::Bytes(len)) if self.option.key == b"chunk" => {
                if len > MAX_TAG {
                    return corrupt("the identifier of a chunk is longer than 1,024 bytes");
                }
                self.option.chunk = Some(Vec::with_capacity(len));
                self.state = State::ChunkBytes;
            }
            (State::ChunkBytes, Token::Part(part, is_last)) => {
                if let Some(chunk) = &mut self.option.chunk {
                    chunk.extend_from_slice(part);
                }
                if is_last {
                    self.end_option(records)?;
                }
            }
            (State::OptionValue, token) => {
                self.option.skipped.begin(false);
                self.skip_value(token, records)?;
            }
            (State::OtherValue, token) => self.skip_value(token, records)?,
            (State::KeyBytes | State::ChunkBytes | State::Packed, _) => {
                return corrupt("a string has no end");
            }
        }
        Ok(())
    }

    fn skip_key(&mut self, token: Token<'_>, records: &mut RecordBuffer) -> Result<(), FaultKind> {
        self.state = match self.option.skipped.push(token, records)? {
            true => State::OptionValue,
            false => State::OtherKey,
        };
        Ok(())
    }

    fn skip_value(
        &mut self,
        token: Token<'_>,
        records: &mut RecordBuffer,
    ) -> Result<(), FaultKind> {
        match self.option.skipped.push(token, records)? {
            true => self.end_option(records),
            false => {
                self.state = State::OtherValue;
                Ok(())
            }
        }
    }

    fn end_option(&mut self, records: &mut RecordBuffer) -> Result<(), FaultKind> {
        self.option.left = self.option.left.saturating_sub(1);
        match self.option.left {
            0 => self.element(State::Message, records),
            _ => {
                self.state = State::Key;
                Ok(())
            }
        }
    }

    /// An element of the message is complete; the next one is to be parsed in this state.
    fn element(&mut self, next: State, records: &mut RecordBuffer) -> Result<(), FaultKind> {
        self.left = self.left.saturating_sub(1);
        match (self.left, next) {
            (0, State::Body) => return corrupt("a message has a tag and nothing else"),
            (0, _) => self.end_message(records),
            (_, State::Message) => return corrupt("a message has too many elements"),
            (_, next) => self.state = next,
        }
        Ok(())
    }

    /// Ends the message, and answers it if its sender asks for that.
    fn end_message(&mut self, records: &mut RecordBuffer) {
        self.state = State::Message;
        let Some(chunk) = self.option.chunk.take() else {
            self.is_unacknowledged = true;
            return;
        };
        records.answer(b"\x81\xa3ack");
        let len = chunk.len() as u16;
        let [high, low] = len.to_be_bytes();
        match len {
            0..32 => records.answer(&[0xa0 | low]),
            32..256 => records.answer(&[0xd9, low]),
            _ => records.answer(&[0xda, high, low]),
        }
        records.answer(&chunk);
    }

    /// Parses packed entries; returns the number of bytes taken.
    fn unpack(&mut self, bytes: &[u8], records: &mut RecordBuffer) -> Result<usize, FrameFault> {
        let packed = match (&mut self.packed, bytes.first()) {
            (Some(packed), _) => packed,
            (None, None) => return Ok(0),
            (packed @ None, Some(first)) => {
                // No entry begins with these bytes, which are numbers.
                let format = match first {
                    0x1f => Format::Gzip,
                    0x28 => Format::Zstd,
                    _ => Format::Plain,
                };
                let payload = Payload::new(format, self.packed_len, &self.limits);
                packed.insert(Box::new(Packed {
                    payload: payload.map_err(|kind| FrameFault::new(0, kind))?,
                    tokens: Tokenizer::default(),
                }))
            }
        };
        let Packed { payload, tokens } = &mut **packed;
        let mut taken = 0_usize;
        while !records.is_full() {
            let rest = bytes.get(taken..).unwrap_or_default();
            let fault = |kind, back| FrameFault::before(taken, back, kind);
            if !payload.bytes().is_empty() || tokens.has_empty_part() {
                let (read, token) = tokens.next(payload.bytes());
                // The fault of a token is at its last byte.
                let fault = |kind| fault(kind, payload.back(read.saturating_sub(1)));
                if let Some(token) = token.map_err(fault)? {
                    self.entry.push(token, records).map_err(fault)?;
                }
                payload.consume(read);
            } else if payload.is_over() {
                let is_whole =
                    payload.at_boundary() && tokens.at_boundary() && self.entry.at_boundary();
                let back = payload.back(0);
                if !is_whole {
                    let kind = FaultKind::Corrupt("packed entries are cut off".into());
                    return Err(fault(kind, back));
                }
                self.packed = None;
                let ended = self.element(State::Options, records);
                ended.map_err(|kind| fault(kind, back))?;
                break;
            } else if rest.is_empty() && !payload.has_more() {
                break;
            } else {
                let filled = payload.fill(rest, records);
                let filled = filled.map_err(|kind| fault(kind, payload.back(0)))?;
                taken = taken.saturating_add(filled);
            }
        }
        Ok(taken)
    }
}

fn corrupt<T>(reason: &'static str) -> Result<T, FaultKind> {
    Err(FaultKind::Corrupt(reason.into()))
}

#[cfg(all(test, feature = "gzip"))]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    /// 2026-11-27T09:00:00.000000001Z.
    const TIME: &[u8] = b"\xd7\0\x6b\x09\x46\x90\0\0\0\x01";

    fn parse(stream: &[u8], size: usize) -> Result<(Forward, RecordBuffer), FrameFault> {
        let mut forward = Forward::new(&Limits::default());
        let mut buffer = RecordBuffer::default();
        let mut parsed = 0;
        for piece in stream.chunks(size) {
            let taken = forward
                .push(piece, &mut buffer)
                .map_err(|fault| fault.behind(parsed))?;
            assert_eq!(taken, piece.len());
            parsed += taken;
        }
        Ok((forward, buffer))
    }

    fn records(buffer: &RecordBuffer) -> Vec<String> {
        let records = buffer.records().iter();
        records
            .map(|record| String::from_utf8_lossy(record.bytes).into_owned())
            .collect()
    }

    /// A message with one record, whose time and value these are.
    fn message(time: &[u8], value: &[u8]) -> Vec<u8> {
        [b"\x93\xa1t", time, value].concat()
    }

    /// A message with these entries, packed.
    fn packed(entries: &[u8], option: &[u8]) -> Vec<u8> {
        let [a, b] = (entries.len() as u16).to_be_bytes();
        [b"\x93\xa1t", &[0xc5, a, b][..], entries, option].concat()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Default::default());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn the_four_modes_give_the_same_records() {
        let value = b"\x81\xa1a\x01";
        let entry = [b"\x92", TIME, value].concat();
        let two = entry.repeat(2);
        let option = b"\x83\xa4size\x02\xa5chunk\xa4abc\n\xaacompressed\xa4gzip";
        let acknowledged = b"\x81\xa3ack\xa4abc\n";
        let printed = r#"{"tag":"t","time":"2026-11-27T09:00:00.000000001Z","record":{"a":1}}"#;
        for (stream, answer) in [
            (message(TIME, value).repeat(2), &b""[..]),
            ([&b"\x93\xa1t\x92"[..], &two, option].concat(), acknowledged),
            (packed(&two, option), acknowledged),
            // Fluent Bit concatenates members.
            (packed(&gzip(&entry).repeat(2), option), acknowledged),
            ([b"\x92\xa1t\x92", &two[..], b"\xc0\xc0"].concat(), b""),
            (
                [
                    &b"\x94\xa1t"[..],
                    TIME,
                    value,
                    option,
                    b"\x92\xa1t\xdc\0\x01",
                    &entry,
                ]
                .concat(),
                acknowledged,
            ),
        ] {
            for size in 1..=stream.len() {
                let (forward, buffer) = parse(&stream, size).unwrap();
                assert!(forward.at_boundary());
                assert_eq!(records(&buffer), [printed; 2]);
                assert_eq!(buffer.answers(), answer);
            }
        }
    }

    #[test]
    fn a_time_is_rfc_3339_if_it_is_one() {
        for (time, printed) in [
            (TIME, "\"2026-11-27T09:00:00.000000001Z\""),
            (
                b"\xc7\x08\0\x6b\x09\x46\x90\x3b\x9a\xc9\xff",
                "\"2026-11-27T09:00:00.999999999Z\"",
            ),
            (
                b"\xd7\0\x6b\x09\x46\x90\xff\xff\xff\xff",
                "\"2026-11-27T09:00:04.294967295Z\"",
            ),
            (b"\xce\x6b\x09\x46\x90", "\"2026-11-27T09:00:00Z\""),
            (b"\xd3\0\0\0\0\x6b\x09\x46\x90", "\"2026-11-27T09:00:00Z\""),
            (
                b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
                "18446744073709551615",
            ),
            (b"\x01", "\"1970-01-01T00:00:01Z\""),
            (
                b"\xcb\x3f\xf8\0\0\0\0\0\0",
                "\"1970-01-01T00:00:01.500000000Z\"",
            ),
            (
                b"\xcb\x3f\xff\xff\xff\xff\xff\xff\xff",
                "1.9999999999999998",
            ),
            (b"\xcb\xbf\xf8\0\0\0\0\0\0", "-1.5"),
            (b"\xcb\x7f\xf8\0\0\0\0\0\0", "\"NaN\""),
            (b"\xfd", "-3"),
            (b"\xc0", "null"),
            (b"\xd6\x05\0\0\0\0", r#""\u0000\u0000\u0000\u0000""#),
            (b"\x81\xa1a\x90", r#"{"a":[]}"#),
        ] {
            let (_, buffer) = parse(&message(time, b"\x80"), usize::MAX).unwrap();
            let expected = format!(r#"{{"tag":"t","time":{printed},"record":{{}}}}"#);
            assert_eq!(records(&buffer), [expected]);
        }
    }

    #[test]
    fn metadata_are_kept_and_the_marks_of_groups_are_no_records() {
        let group = |seconds: &[u8]| [b"\x92\x92\xd7\0", seconds, b"\0\0\0\0\x80\x80"].concat();
        let entries = [
            group(b"\xff\xff\xff\xff"),
            [b"\x92\x92", TIME, b"\x81\xa1m\x01\x81\xa1a\x02"].concat(),
            group(b"\xff\xff\xff\xfe"),
            b"\x92\xff\x80\x92\xfe\x80\x92\xcb\xbf\xf0\0\0\0\0\0\0\x80".to_vec(),
        ];
        let (forward, buffer) = parse(&packed(&entries.concat(), b"\x80"), 1).unwrap();
        assert_eq!(
            records(&buffer),
            [
                r#"{"tag":"t","time":"2026-11-27T09:00:00.000000001Z","metadata":{"m":1},"record":{"a":2}}"#
            ]
        );
        assert_eq!(forward.skipped(), 0);
    }

    #[test]
    fn values_that_are_no_entries_are_kept() {
        let (forward, buffer) = parse(&packed(b"\x93\x01\x02\x03\xa1x\xa0", b"\x80"), 1).unwrap();
        let printed = ["[1,2,3]", "\"x\"", "\"\""]
            .map(|value| format!(r#"{{"tag":"t","time":null,"record":{value}}}"#));
        assert_eq!(records(&buffer), printed);
        assert_eq!(forward.skipped(), 0);
    }

    #[test]
    fn metrics_are_counted_and_answered() {
        let metrics = b"\x82\xa4meta\x80\xa7metrics\x91\x81\xa1a\xcb\0\0\0\0\0\0\0\0";
        let option = b"\x82\xadfluent_signal\x01\xa5chunk\xa1c";
        for entries in [metrics.to_vec(), gzip(metrics)] {
            let (forward, buffer) = parse(&packed(&entries, option), 1).unwrap();
            assert_eq!((records(&buffer).len(), forward.skipped()), (0, 1));
            assert_eq!(buffer.answers(), b"\x81\xa3ack\xa1c");
            assert!(forward.at_boundary() && forward.is_acknowledged());
        }
    }

    #[test]
    fn an_answer_repeats_the_chunk_whatever_its_length() {
        for (len, header) in [
            (0, &b"\xa0"[..]),
            (31, b"\xbf"),
            (32, b"\xd9\x20"),
            (255, b"\xd9\xff"),
            (256, b"\xda\x01\0"),
            (1024, b"\xda\x04\0"),
        ] {
            let chunk = vec![b'c'; len];
            let option = [
                &b"\xde\0\x03\x90\xa1x\xc0\x91\x01\xa5chunk\xc5"[..],
                &(len as u16).to_be_bytes(),
                &chunk,
            ];
            let stream = packed(b"", &option.concat());
            let (forward, buffer) = parse(&stream, 7).unwrap();
            assert!(forward.at_boundary() && forward.is_acknowledged());
            let answer = [b"\x81\xa3ack", header, &chunk].concat();
            assert_eq!(buffer.answers(), answer);
        }
    }

    #[test]
    fn a_fault_has_the_position_of_its_byte() {
        let deep = message(TIME, &[0x91; 10_000]);
        let cut = packed(b"\x92\x01", b"");
        let cut_gzip = packed(&gzip(b"\x92\x01\x80")[..20], b"");
        for (stream, at, reason) in [
            (&b"x"[..], 0, "no array of two to four elements"),
            (b"\x95", 0, "no array of two to four elements"),
            (b"\x92\x01", 1, "a tag is no string"),
            (b"\x92\xda\x04\x01", 3, "a tag is longer"),
            (b"\x91", 0, "no array"),
            (b"\x92\xa1t\x01", 3, "a time and no record"),
            (b"\x92\xa1t\xc1", 3, "no value of MessagePack"),
            (b"\x94\xa1t\x90\x80\x80", 4, "too many elements"),
            (b"\x93\xa1t\x90\x01", 4, "no map"),
            (
                b"\x93\xa1t\x90\x81\xa5chunk\xda\x04\x01",
                13,
                "identifier of a chunk",
            ),
            (&deep, 3 + TIME.len() + 100, "more than 100 deep"),
            (&cut, cut.len(), "cut off"),
            (&cut_gzip, 6, "cut off"),
        ] {
            let fault = parse(stream, 1).unwrap_err();
            let FaultKind::Corrupt(said) = &fault.kind else {
                panic!("{fault:?}");
            };
            assert!(said.contains(reason), "{said}");
            assert_eq!(fault.at - fault.back as usize, at, "{said}");
        }
    }

    #[test]
    fn many_records_of_few_bytes_fill_one_buffer_after_the_other() {
        let tag = "t".repeat(MAX_TAG);
        let entries = gzip(&b"\x92\x01\x80".repeat(100_000));
        let stream = [
            &b"\x93\xda\x04\0"[..],
            tag.as_bytes(),
            b"\xc6",
            &(entries.len() as u32).to_be_bytes(),
            &entries,
            b"\x81\xa5chunk\xa1c",
        ]
        .concat();
        let mut forward = Forward::new(&Limits::default());
        let (mut taken, mut made, mut answers) = (0, 0, Vec::<u8>::new());
        loop {
            let mut records = RecordBuffer::default();
            taken += forward.push(&stream[taken..], &mut records).unwrap();
            assert!(records.records().lines().len() <= 260 * 1024);
            made += records
                .records()
                .iter()
                .filter(|record| record.ends)
                .count();
            answers.extend(records.answers());
            if taken == stream.len() && !records.is_full() {
                break;
            }
        }
        assert_eq!((made, &answers[..]), (100_000, &b"\x81\xa3ack\xa1c"[..]));
        assert!(forward.at_boundary());
    }
}
