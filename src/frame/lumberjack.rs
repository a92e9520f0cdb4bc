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

use super::payload::Payload;
use super::text::Text;
use super::{FaultKind, FrameFault, RecordBuffer};
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

    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        records: &mut RecordBuffer,
    ) -> Result<usize, FrameFault> {
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
                        payload: payload.map_err(|kind| FrameFault { at: taken, kind })?,
                        frames: Frames::default(),
                    }));
                }
                continue;
            };
            let Compressed { payload, frames } = &mut **compressed;
            if !payload.bytes().is_empty() {
                let parsed = frames.push(payload.bytes(), &mut self.session, records);
                let parsed = parsed.map_err(|fault| fault.at(taken))?;
                if let State::Compressed { .. } = frames.state {
                    let reason = "a compressed frame is within a compressed frame";
                    return Err(FrameFault::corrupt(taken, reason));
                }
                payload.consume(parsed);
            } else if payload.is_over() {
                if !payload.at_boundary() || !frames.at_boundary() {
                    let reason = "a compressed frame is cut off";
                    return Err(FrameFault::corrupt(taken, reason));
                }
                self.compressed = None;
                self.session.pause(records);
            } else if rest.is_empty() && !payload.has_more() {
                break;
            } else {
                let filled = payload.fill(rest, records);
                taken =
                    taken.saturating_add(filled.map_err(|kind| FrameFault { at: taken, kind })?);
            }
        }
        if self.compressed.is_none() {
            self.session.pause(records);
        }
        Ok(taken)
    }

    /// Whether the stream may end here: between two frames.
    pub(super) fn at_boundary(&self) -> bool {
        self.compressed.is_none() && self.frames.at_boundary()
    }

    /// Whether the sender has been told of all events, or will be when they are delivered.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.session.window == 0 && !self.session.is_due
    }

    /// Whether a sender of version 2 has begun a window, and not completed it.
    pub(super) fn is_in_work(&self) -> bool {
        self.session.window > 0
    }

    /// Senders of version 1 take 0 for the whole of a batch.
    pub(super) fn keep_alive(&self) -> Option<&'static [u8]> {
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
                            .map_err(|kind| FrameFault { at, kind })?;
                    }
                }
                State::Json { left } => {
                    let (part, behind) = rest.split_at_checked(*left).unwrap_or((rest, &[]));
                    *left -= part.len();
                    let is_over = *left == 0;
                    records.push(part);
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
