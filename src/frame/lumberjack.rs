//! Lumberjack, versions 1 and 2: what Beats, Logstash and their libraries send.
//!
//! Each frame begins with the version as a digit and a letter for its type:
//!
//! | type | behind it |
//! |---|---|
//! | `W`, a window | the number of events until the next acknowledgement |
//! | `J`, an event | sequence number, length, JSON |
//! | `D`, an event | sequence number, number of pairs; for each, the length of the key, the key, the length of the value, the value |
//! | `C`, compressed | length, frames in zlib |
//! | `A`, the answer | sequence number of the last event |
//!
//! All numbers have 32 bits, the most significant first.

use super::fault::{FaultKind, FrameFault};
use super::payload::Payload;
use super::text::Text;
use super::{Parser, RecordBuffer};
use crate::decode::{Format, Limits};
use crate::limit::Limit;

/// The answer to a window that is still in work, which keeps a sender of version 2 from taking the
/// receiver for gone.
const KEEP_ALIVE: &[u8] = b"2A\0\0\0\0";

/// The most events of a window: those that the detection of the framing allows, too.
const MAX_WINDOW: u32 = (1 << 24) - 1;

#[derive(Debug)]
pub(super) struct Lumberjack {
    frames: Frames,
    /// The compressed frame that is being parsed.
    compressed: Option<Box<Compressed>>,
    session: Session,
    limits: Limits,
}

#[derive(Debug)]
struct Compressed {
    payload: Payload,
    frames: Frames,
}

/// The events that are acknowledged, and those that are to be.
#[derive(Debug, Default)]
struct Session {
    /// The version of the last frame, as a digit.
    version: u8,
    /// The number of events that the window of a sender of version 2 still waits for.
    window: u32,
    /// The sequence number of the last event.
    last: u32,
    /// The last event is not acknowledged yet.
    is_due: bool,
}

/// A parser of frames that are not compressed.
#[derive(Debug, Default)]
struct Frames {
    state: State,
    version: u8,
    sequence: u32,
    /// The pairs of an event that are yet to come.
    pairs: u32,
    text: Text,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Version,
    Type,
    Number {
        field: Field,
        /// The bytes that are yet to come.
        left: u8,
        value: u32,
    },
    /// In an event's JSON.
    Json {
        left: usize,
    },
    /// In a key or a value.
    Text {
        field: Field,
        left: usize,
    },
    /// Behind the header of a compressed frame of this length.
    Compressed {
        len: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Window,
    Sequence { is_json: bool },
    JsonLength,
    Pairs,
    Key,
    Value,
    CompressedLength,
}

impl Lumberjack {
    pub(super) fn new(limits: &Limits) -> Self {
        Lumberjack {
            frames: Frames::default(),
            compressed: None,
            session: Session::default(),
            limits: limits.clone(),
        }
    }
}

impl Parser for Lumberjack {
    fn push(&mut self, bytes: &[u8], records: &mut RecordBuffer) -> Result<usize, FrameFault> {
        let mut taken = 0_usize;
        while !records.is_full() {
            let rest = bytes.get(taken..).unwrap_or_default();
            let Some(compressed) = &mut self.compressed else {
                if rest.is_empty() {
                    break;
                }
                let parsed = self.frames.push(rest, &mut self.session, records);
                taken = taken.saturating_add(parsed.map_err(|fault| fault.behind(taken))?);
                if let State::Compressed { len } = self.frames.state {
                    self.frames.state = State::Version;
                    let payload = Payload::new(Format::Zlib, len, &self.limits);
                    self.compressed = Some(Box::new(Compressed {
                        payload: payload.map_err(|kind| FrameFault::new(taken, kind))?,
                        frames: Frames::default(),
                    }));
                }
                continue;
            };
            let Compressed { payload, frames } = &mut **compressed;
            let back = payload.back(0);
            let fault = |kind| FrameFault::before(taken, back, kind);
            if !payload.bytes().is_empty() {
                let parsed = frames.push(payload.bytes(), &mut self.session, records);
                let parsed = parsed.map_err(|within| fault(within.kind))?;
                if let State::Compressed { .. } = frames.state {
                    let reason = "a compressed frame is within a compressed frame";
                    return Err(fault(FaultKind::Corrupt(reason.into())));
                }
                payload.consume(parsed);
            } else if payload.is_over() {
                if !payload.at_boundary() || !frames.at_boundary() {
                    let reason = "a compressed frame is cut off";
                    return Err(fault(FaultKind::Corrupt(reason.into())));
                }
                self.compressed = None;
                self.session.pause(records);
            } else if rest.is_empty() && !payload.has_more() {
                break;
            } else {
                let filled = payload.fill(rest, records).map_err(fault)?;
                taken = taken.saturating_add(filled);
            }
        }
        if self.compressed.is_none() {
            self.session.pause(records);
        }
        Ok(taken)
    }

    fn at_boundary(&self) -> bool {
        self.compressed.is_none() && self.frames.at_boundary()
    }

    fn is_acknowledged(&self) -> bool {
        self.session.window == 0 && !self.session.is_due
    }

    fn is_in_work(&self) -> bool {
        self.session.window > 0
    }

    /// Senders of version 1 take 0 for the whole of a batch.
    fn keep_alive(&self) -> Option<&'static [u8]> {
        (self.session.version == b'2').then_some(KEEP_ALIVE)
    }
}

impl Session {
    fn open_window(&mut self, version: u8, events: u32, records: &mut RecordBuffer) {
        self.version = version;
        self.window = match version {
            b'2' => events,
            _ => 0,
        };
        if version == b'2' && events == 0 {
            records.answer(KEEP_ALIVE);
        }
    }

    /// An event has ended.
    fn event(&mut self, version: u8, sequence: u32, records: &mut RecordBuffer) {
        self.version = version;
        self.last = sequence;
        self.is_due = true;
        if self.window > 0 {
            self.window -= 1;
            if self.window == 0 {
                self.acknowledge(records);
            }
        }
    }

    /// No event follows at once. A sender of version 1 may be told now; one of version 2 waits for the
    /// end of its window.
    fn pause(&mut self, records: &mut RecordBuffer) {
        // Version 1 takes 0 for the whole of a batch.
        if self.is_due && self.window == 0 && (self.version == b'2' || self.last > 0) {
            self.acknowledge(records);
        }
    }

    fn acknowledge(&mut self, records: &mut RecordBuffer) {
        let [a, b, c, d] = self.last.to_be_bytes();
        records.answer(&[self.version, b'A', a, b, c, d]);
        self.is_due = false;
    }
}

impl Frames {
    /// Parses frames until all bytes are parsed, the buffer is full, or a compressed frame begins.
    fn push(
        &mut self,
        bytes: &[u8],
        session: &mut Session,
        records: &mut RecordBuffer,
    ) -> Result<usize, FrameFault> {
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first()
            && !records.is_full()
            && !matches!(self.state, State::Compressed { .. })
        {
            let at = bytes.len().saturating_sub(rest.len());
            match &mut self.state {
                State::Version => {
                    if !matches!(byte, b'1' | b'2') {
                        let reason = "a frame does not begin with its version, 1 or 2";
                        return Err(FrameFault::corrupt(at, reason));
                    }
                    self.version = *byte;
                    self.state = State::Type;
                    rest = behind;
                }
                State::Type => {
                    self.state = State::number(match byte {
                        b'W' => Field::Window,
                        b'J' => Field::Sequence { is_json: true },
                        b'D' => Field::Sequence { is_json: false },
                        b'C' => Field::CompressedLength,
                        _ => return Err(FrameFault::corrupt(at, "the type of a frame is unknown")),
                    });
                    rest = behind;
                }
                State::Number { field, left, value } => {
                    *value = (*value << 8) | u32::from(*byte);
                    *left = left.saturating_sub(1);
                    rest = behind;
                    if *left == 0 {
                        let (field, value) = (*field, *value);
                        self.number(field, value, session, records)
                            .map_err(|kind| FrameFault::new(at, kind))?;
                    }
                }
                State::Json { left } => {
                    let (part, behind) = rest.split_at_checked(*left).unwrap_or((rest, &[]));
                    *left -= part.len();
                    let is_over = *left == 0;
                    // python-logstash-async ends its JSON with an LF.
                    records.push(match part.strip_suffix(b"\n") {
                        Some(json) if is_over => json,
                        _ => part,
                    });
                    rest = behind;
                    if is_over {
                        self.end(session, records);
                    }
                }
                State::Text { field, left } => {
                    let most = (*left).min(super::PART);
                    let (part, behind) = rest.split_at_checked(most).unwrap_or((rest, &[]));
                    *left -= part.len();
                    let (field, is_over) = (*field, *left == 0);
                    self.text.push(part, records);
                    rest = behind;
                    if is_over {
                        self.end_text(field, session, records);
                    }
                }
                State::Compressed { .. } => break,
            }
        }
        Ok(bytes.len().saturating_sub(rest.len()))
    }

    /// A number is complete.
    fn number(
        &mut self,
        field: Field,
        value: u32,
        session: &mut Session,
        records: &mut RecordBuffer,
    ) -> Result<(), FaultKind> {
        let len = value as usize;
        self.state = match field {
            Field::Window if value > MAX_WINDOW => {
                return Err(FaultKind::Limit(Limit::Events {
                    events: value.into(),
                    most: MAX_WINDOW.into(),
                }));
            }
            Field::Window => {
                session.open_window(self.version, value, records);
                State::Version
            }
            Field::Sequence { is_json } => {
                self.sequence = value;
                State::number(match is_json {
                    true => Field::JsonLength,
                    false => Field::Pairs,
                })
            }
            Field::JsonLength => State::Json { left: len },
            Field::Pairs => {
                self.pairs = value;
                records.push_line_part(b"{");
                State::number(Field::Key)
            }
            Field::Key | Field::Value => {
                records.push_line_part(b"\"");
                State::Text { field, left: len }
            }
            Field::CompressedLength => State::Compressed { len },
        };
        // A field without bytes is complete already.
        match self.state {
            State::Json { left: 0 } => self.end(session, records),
            State::Text { field, left: 0 } => self.end_text(field, session, records),
            State::Number {
                field: Field::Key, ..
            } if self.pairs == 0 => self.end_data(session, records),
            _ => {}
        }
        Ok(())
    }

    /// A key or a value is complete.
    fn end_text(&mut self, field: Field, session: &mut Session, records: &mut RecordBuffer) {
        self.text.end(records);
        if field == Field::Key {
            records.push_line_part(b"\":");
            self.state = State::number(Field::Value);
            return;
        }
        self.pairs = self.pairs.saturating_sub(1);
        if self.pairs == 0 {
            records.push_line_part(b"\"");
            self.end_data(session, records);
        } else {
            records.push_line_part(b"\",");
            self.state = State::number(Field::Key);
        }
    }

    fn end_data(&mut self, session: &mut Session, records: &mut RecordBuffer) {
        records.push_line_part(b"}");
        self.end(session, records);
    }

    /// An event is complete.
    fn end(&mut self, session: &mut Session, records: &mut RecordBuffer) {
        records.end();
        session.event(self.version, self.sequence, records);
        self.state = State::Version;
    }

    fn at_boundary(&self) -> bool {
        self.state == State::Version
    }
}

impl State {
    /// Before a number.
    fn number(field: Field) -> Self {
        State::Number {
            field,
            left: 4,
            value: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn number(number: u32) -> [u8; 4] {
        number.to_be_bytes()
    }

    fn window(version: u8, events: u32) -> Vec<u8> {
        [&[version, b'W'][..], &number(events)].concat()
    }

    fn json(version: u8, sequence: u32, json: &str) -> Vec<u8> {
        let len = number(json.len() as u32);
        [
            &[version, b'J'][..],
            &number(sequence),
            &len,
            json.as_bytes(),
        ]
        .concat()
    }

    fn data(sequence: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut frame = [&b"1D"[..], &number(sequence), &number(pairs.len() as u32)].concat();
        for text in pairs.iter().flat_map(|(key, value)| [key, value]) {
            frame.extend(number(text.len() as u32));
            frame.extend(text.as_bytes());
        }
        frame
    }

    fn compressed(version: u8, frames: &[u8]) -> Vec<u8> {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(frames).unwrap();
        let zlib = zlib.finish().unwrap();
        [&[version, b'C'][..], &number(zlib.len() as u32), &zlib].concat()
    }

    fn answer(version: u8, sequence: u32) -> Vec<u8> {
        [&[version, b'A'][..], &number(sequence)].concat()
    }

    /// The records and the answers of pieces of a stream.
    fn session(pieces: &[Vec<u8>]) -> Result<(Vec<String>, Vec<u8>), FrameFault> {
        let mut lumberjack = Lumberjack::new(&Limits::default());
        let mut buffer = RecordBuffer::default();
        for piece in pieces {
            assert_eq!(lumberjack.push(piece, &mut buffer)?, piece.len());
        }
        assert!(lumberjack.at_boundary());
        let records = buffer.records().iter();
        let records = records.map(|record| String::from_utf8_lossy(record.bytes).into_owned());
        Ok((records.collect(), buffer.answers().to_vec()))
    }

    #[test]
    fn a_window_of_version_2_is_answered_once_with_its_last_sequence_number() {
        let events = [json(b'2', 1, "{}"), json(b'2', 2, r#"{"a":1}"#)].concat();
        let third = json(b'2', 3, "[\n]");
        let records = vec!["{}".to_owned(), r#"{"a":1}"#.to_owned(), "[\n]".to_owned()];
        for pieces in [
            vec![[window(b'2', 3), events.clone(), third.clone()].concat()],
            vec![window(b'2', 3), events.clone(), third.clone()],
            vec![window(b'2', 3), compressed(b'2', &events), third.clone()],
            vec![
                window(b'2', 3),
                compressed(b'2', &events),
                compressed(b'2', &third),
            ],
            vec![compressed(
                b'2',
                &[window(b'2', 3), events.clone(), third.clone()].concat(),
            )],
        ] {
            assert_eq!(
                session(&pieces).unwrap(),
                (records.clone(), answer(b'2', 3))
            );
        }
        // The numbers are the sender's.
        let pieces = [window(b'2', 1), json(b'2', u32::MAX, "{}")];
        assert_eq!(session(&pieces).unwrap().1, answer(b'2', u32::MAX));
        assert_eq!(session(&[window(b'2', 0)]).unwrap().1, answer(b'2', 0));
    }

    #[test]
    fn one_lf_at_the_end_of_an_event_is_no_part_of_it() {
        let events = [
            json(b'2', 1, "{}\n"),
            json(b'2', 2, "{}\n\n"),
            json(b'2', 3, "\n"),
        ]
        .concat();
        let records = vec!["{}".to_owned(), "{}\n".to_owned(), String::new()];
        let expected = (records, answer(b'2', 3));
        let stream = [window(b'2', 3), events].concat();
        assert_eq!(session(std::slice::from_ref(&stream)).unwrap(), expected);
        let bytes: Vec<_> = stream.iter().map(|byte| vec![*byte]).collect();
        assert_eq!(session(&bytes).unwrap(), expected);
    }

    #[test]
    fn events_of_version_1_are_answered_when_no_other_follows_and_never_within_compressed_frames() {
        let pairs = [("line", "one\"\n"), ("", "")];
        let first = r#"{"line":"one\"\n","":""}"#.to_owned();
        let events = [data(1, &pairs), data(2, &[])].concat();
        let records = vec![first, "{}".to_owned()];
        for (pieces, answers) in [
            (vec![window(b'1', 2), events.clone()], answer(b'1', 2)),
            (
                vec![window(b'1', 2), data(1, &pairs), data(2, &[])],
                [answer(b'1', 1), answer(b'1', 2)].concat(),
            ),
            (
                vec![window(b'1', 9), compressed(b'1', &events)],
                answer(b'1', 2),
            ),
            (
                vec![
                    compressed(b'1', &data(1, &pairs)),
                    compressed(b'1', &data(2, &[])),
                ],
                [answer(b'1', 1), answer(b'1', 2)].concat(),
            ),
        ] {
            assert_eq!(session(&pieces).unwrap(), (records.clone(), answers));
        }
        let frame = [window(b'1', 2), compressed(b'1', &events)].concat();
        let bytes: Vec<_> = frame.iter().map(|byte| vec![*byte]).collect();
        assert_eq!(session(&bytes).unwrap(), (records, answer(b'1', 2)));
        // Version 1 takes JSON, too, and 0 for the whole of a batch.
        let (records, answers) = session(&[json(b'1', 0, "{}")]).unwrap();
        assert_eq!((records, answers), (vec!["{}".to_owned()], vec![]));
    }

    #[test]
    fn a_fault_has_the_position_of_its_byte() {
        let long = [&b"2C"[..], &number(9), b"not zlib!"].concat();
        let nested = compressed(b'2', &compressed(b'2', &json(b'2', 1, "{}")));
        let cut = compressed(b'2', &json(b'2', 1, "{}")[..11]);
        for (stream, at, reason) in [
            (&b"3W"[..], 0, "does not begin with its version"),
            (b"2X", 1, "type of a frame is unknown"),
            (b"2A\0\0\0\x01", 1, "type of a frame is unknown"),
            (&[window(b'2', 1), b"x".to_vec()].concat(), 6, "its version"),
            (
                b"2W\x01\0\0\0",
                5,
                "window of 16777216 events, the limit is 16777215",
            ),
            (b"2W\xff\xff\xff\xff", 5, "window of 4294967295 events"),
            (&long, 6, "zlib"),
            (&nested, 6, "within a compressed frame"),
            (&cut, 6, "cut off"),
        ] {
            let mut lumberjack = Lumberjack::new(&Limits::default());
            let mut records = RecordBuffer::default();
            let fault = lumberjack.push(stream, &mut records).unwrap_err();
            let said = match &fault.kind {
                FaultKind::Corrupt(reason) => reason.to_string(),
                FaultKind::Limit(limit) => limit.to_string(),
                other => panic!("{other:?}"),
            };
            assert!(said.contains(reason), "{said}");
            assert_eq!(fault.at - fault.back as usize, at, "{said}");
        }
    }

    #[test]
    fn a_bomb_fills_one_buffer_after_the_other() {
        let mut event = json(b'2', 7, &" ".repeat(40_000_000));
        event.extend(json(b'2', 8, "{}"));
        let stream = [window(b'2', 2), compressed(b'2', &event)].concat();
        let mut lumberjack = Lumberjack::new(&Limits::default());
        let (mut taken, mut made, mut answers) = (0, 0, Vec::<u8>::new());
        loop {
            let mut records = RecordBuffer::default();
            taken += lumberjack.push(&stream[taken..], &mut records).unwrap();
            let len = records.records().lines().len();
            assert!(len <= 512 * 1024);
            made += len;
            answers.extend(records.answers());
            if taken == stream.len() && !records.is_full() {
                break;
            }
        }
        assert_eq!(made, 40_000_000 + "\n{}\n".len());
        assert_eq!(answers, answer(b'2', 8));
        assert!(lumberjack.at_boundary() && lumberjack.is_acknowledged());
    }
}
