//! The entries of a message: records with their times.

use super::super::RecordBuffer;
use super::super::fault::FaultKind;
use super::super::text::Text;
use super::corrupt;
use super::msgpack::Token;
use super::value::Value;
use crate::time;

/// A second, in nanoseconds.
const SECOND: u32 = 1_000_000_000;

/// A record with its time, and the tag of its message.
#[derive(Debug, Default)]
pub(super) struct Entry {
    state: EntryState,
    /// The beginning of each event of the message: its tag.
    head: RecordBuffer,
    tag: Text,
    /// The record is that of a message in the mode Message.
    is_single: bool,
    /// Metadata stands behind the time.
    has_metadata: bool,
    /// The entry begins or ends a group of Fluent Bit's, and is no record.
    is_marker: bool,
    event_time: Vec<u8>,
    /// The last time in seconds, and its text: many entries have the same.
    last_time: Option<(u64, [u8; 19])>,
    value: Value,
    /// The number of maps in place of entries: metrics and traces.
    pub(super) skipped: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum EntryState {
    #[default]
    Entry,
    Time,
    /// In a time as an extension.
    EventTime,
    /// In a time that is none.
    OtherTime,
    Metadata,
    InMetadata,
    Record,
    InRecord,
    /// In metrics or traces.
    Skipped,
}

impl Entry {
    pub(super) fn begin_tag(&mut self) {
        self.head.clear();
        self.head.push_line_part(b"{\"tag\":\"");
    }

    pub(super) fn tag(&mut self, part: &[u8], is_last: bool) {
        self.tag.push(part, &mut self.head);
        if is_last {
            self.tag.end(&mut self.head);
            self.head.push_line_part(b"\",\"time\":");
        }
    }

    /// Begins the record of a message that has no other, at its time.
    pub(super) fn begin_single(&mut self) {
        self.begin();
        self.is_single = true;
    }

    fn begin(&mut self) {
        self.state = EntryState::Time;
        self.is_single = false;
        self.has_metadata = false;
        self.is_marker = false;
    }

    pub(super) fn at_boundary(&self) -> bool {
        self.state == EntryState::Entry
    }

    /// Takes the next token; returns whether the entry is complete.
    pub(super) fn push(
        &mut self,
        token: Token<'_>,
        records: &mut RecordBuffer,
    ) -> Result<bool, FaultKind> {
        match (self.state, token) {
            (EntryState::Entry, Token::Array(2)) => self.begin(),
            (EntryState::Entry, Token::Map(_)) => {
                self.skipped = self.skipped.saturating_add(1);
                self.value.begin(false);
                self.state = EntryState::Skipped;
                return self.skip(token, records);
            }
            // A value without a time, which no sender should send.
            (EntryState::Entry, token) => {
                self.begin();
                records.push_line_part(self.head.records().lines());
                records.push_line_part(b"null");
                self.begin_value(b",\"record\":", records);
                self.state = EntryState::InRecord;
                return self.record(token, records);
            }
            (EntryState::Skipped, token) => return self.skip(token, records),
            (EntryState::Time, Token::Array(2)) if !self.is_single && !self.has_metadata => {
                self.has_metadata = true;
            }
            (EntryState::Time, Token::Extension(0, 8)) => {
                self.event_time.clear();
                self.state = EntryState::EventTime;
            }
            (EntryState::EventTime, Token::Part(part, is_last)) => {
                self.event_time.extend_from_slice(part);
                if is_last {
                    self.event_time(records);
                }
            }
            (EntryState::Time, Token::Unsigned(seconds)) => self.time(seconds, None, records),
            (EntryState::Time, Token::Negative(-1 | -2)) => self.marker(),
            (EntryState::Time, Token::Float64(seconds)) => self.float_time(seconds, records)?,
            (EntryState::Time, Token::Float32(seconds)) => {
                self.float_time(seconds.into(), records)?;
            }
            (EntryState::Time, token) => self.begin_other_time(token, records)?,
            (EntryState::OtherTime, token) => self.other_time(token, records)?,
            (EntryState::Metadata, Token::Map(0)) => self.state = EntryState::Record,
            (EntryState::Metadata, token) => {
                self.begin_value(b",\"metadata\":", records);
                self.state = EntryState::InMetadata;
                self.metadata(token, records)?;
            }
            (EntryState::InMetadata, token) => self.metadata(token, records)?,
            (EntryState::Record, token) => {
                self.begin_value(b",\"record\":", records);
                self.state = EntryState::InRecord;
                return self.record(token, records);
            }
            (EntryState::InRecord, token) => return self.record(token, records),
            (EntryState::EventTime, _) => return corrupt("a time has no end"),
        }
        Ok(false)
    }

    fn skip(&mut self, token: Token<'_>, records: &mut RecordBuffer) -> Result<bool, FaultKind> {
        let is_complete = self.value.push(token, records)?;
        if is_complete {
            self.state = EntryState::Entry;
        }
        Ok(is_complete)
    }

    /// The time is complete.
    fn end_time(&mut self) {
        self.state = match self.has_metadata {
            true => EntryState::Metadata,
            false => EntryState::Record,
        };
    }

    fn marker(&mut self) {
        self.is_marker = true;
        self.end_time();
    }

    /// Seconds since 1970, and nanoseconds (the protocol's section on EventTime).
    fn event_time(&mut self, records: &mut RecordBuffer) {
        let time = self.event_time.iter();
        let time = time.fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        let (seconds, nanoseconds) = ((time >> 32) as u32, time as u32);
        match seconds as i32 {
            -1 | -2 => self.marker(),
            _ => {
                // Not every sender keeps the nanoseconds below a second.
                let more = u64::from(nanoseconds / SECOND);
                let seconds = u64::from(seconds).saturating_add(more);
                self.time(seconds, Some(nanoseconds % SECOND), records);
            }
        }
    }

    fn float_time(&mut self, seconds: f64, records: &mut RecordBuffer) -> Result<(), FaultKind> {
        if seconds == -1.0 || seconds == -2.0 {
            self.marker();
            return Ok(());
        }
        // A float of today's size has a resolution of a fifth of a microsecond.
        let microseconds = (seconds.fract() * 1e6).round() as u32;
        if !(seconds >= 0.0 && microseconds < 1_000_000) {
            return self.begin_other_time(Token::Float64(seconds), records);
        }
        let nanoseconds = microseconds.saturating_mul(1000);
        self.time(seconds as u64, Some(nanoseconds), records);
        Ok(())
    }

    fn time(&mut self, seconds: u64, nanoseconds: Option<u32>, records: &mut RecordBuffer) {
        records.push_line_part(self.head.records().lines());
        match self.date_time(seconds) {
            Some(time) => {
                records.push_line_part(b"\"");
                records.push_line_part(&time);
                if let Some(mut nanoseconds) = nanoseconds {
                    let mut fraction = *b".000000000";
                    for digit in fraction.iter_mut().skip(1).rev() {
                        *digit += (nanoseconds % 10) as u8;
                        nanoseconds /= 10;
                    }
                    records.push_line_part(&fraction);
                }
                records.push_line_part(b"Z\"");
            }
            None => records.push_line_part(seconds.to_string().as_bytes()),
        }
        self.end_time();
    }

    fn date_time(&mut self, seconds: u64) -> Option<[u8; 19]> {
        match self.last_time {
            Some((last, text)) if last == seconds => Some(text),
            _ => {
                let text = time::date_time(seconds)?;
                self.last_time = Some((seconds, text));
                Some(text)
            }
        }
    }

    /// Begins a time that is none, which is written as it is.
    fn begin_other_time(
        &mut self,
        token: Token<'_>,
        records: &mut RecordBuffer,
    ) -> Result<(), FaultKind> {
        records.push_line_part(self.head.records().lines());
        self.value.begin(true);
        self.state = EntryState::OtherTime;
        self.other_time(token, records)
    }

    fn other_time(
        &mut self,
        token: Token<'_>,
        records: &mut RecordBuffer,
    ) -> Result<(), FaultKind> {
        if self.value.push(token, records)? {
            self.end_time();
        }
        Ok(())
    }

    fn metadata(&mut self, token: Token<'_>, records: &mut RecordBuffer) -> Result<(), FaultKind> {
        if self.value.push(token, records)? {
            self.state = EntryState::Record;
        }
        Ok(())
    }

    fn record(&mut self, token: Token<'_>, records: &mut RecordBuffer) -> Result<bool, FaultKind> {
        let is_complete = self.value.push(token, records)?;
        if is_complete {
            self.state = EntryState::Entry;
            if !self.is_marker {
                records.push_line_part(b"}");
                records.end();
            }
        }
        Ok(is_complete)
    }

    /// Begins a member of the event.
    fn begin_value(&mut self, name: &[u8], records: &mut RecordBuffer) {
        self.value.begin(!self.is_marker);
        if !self.is_marker {
            records.push_line_part(name);
        }
    }
}
