//! RELP (its specification, version 1): numbered frames, each of which is acknowledged.
//!
//! A frame is `TXNR SP COMMAND SP DATALEN [SP DATA] LF`. The answers are frames, too.

use super::fault::FrameFault;
use super::{DIGITS, Parser, RecordBuffer};

/// The longest command, in bytes.
const COMMAND: usize = 32;

/// The most data of a command other than `syslog` that is kept, in bytes.
const OFFERS: usize = 4096;

/// The server's hint that it ends the session.
const SERVER_CLOSE: &[u8] = b"0 serverclose 0\n";

/// The answer to a frame that was taken.
const OK: &str = "200 OK";

#[derive(Debug, Default)]
pub(super) struct Relp {
    state: State,
    /// The number of the frame, as its sender wrote it.
    number: Vec<u8>,
    command: Vec<u8>,
    /// The frame's data that is left, in bytes.
    left: usize,
    /// The data of a command other than `syslog`.
    data: Vec<u8>,
    session: Session,
    /// The session is to end with the frame that has begun.
    is_closing: bool,
}

/// The progress of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Session {
    #[default]
    Opening,
    Open,
    Closed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Number,
    Command,
    Length {
        digits: usize,
    },
    Data,
    Trailer,
}

impl Parser for Relp {
    fn push(&mut self, bytes: &[u8], records: &mut RecordBuffer) -> Result<usize, FrameFault> {
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            if self.is_closing && self.at_boundary() && rest.len() < bytes.len() {
                break;
            }
            let fault = |reason| {
                let at = bytes.len().saturating_sub(rest.len());
                Err(FrameFault::corrupt(at, reason))
            };
            match self.state {
                State::Data => {
                    let (part, behind) = rest.split_at_checked(self.left).unwrap_or((rest, &[]));
                    match self.is_message() {
                        true => records.push(part),
                        false if self.data.len().saturating_add(part.len()) > OFFERS => {
                            return fault("a command has too much data");
                        }
                        false => self.data.extend_from_slice(part),
                    }
                    self.left -= part.len();
                    if self.left == 0 {
                        self.state = State::Trailer;
                    }
                    rest = behind;
                    continue;
                }
                State::Number => match byte {
                    b'0'..=b'9' if self.number.len() < DIGITS => self.number.push(*byte),
                    b' ' if !self.number.is_empty() => self.state = State::Command,
                    _ => return fault("a frame does not begin with its number"),
                },
                State::Command => match byte {
                    b' ' if !self.command.is_empty() => {
                        self.state = State::Length { digits: 0 };
                    }
                    b' ' | b'\n' => return fault("a frame has no command"),
                    _ if self.command.len() >= COMMAND => return fault("a command is too long"),
                    byte => self.command.push(*byte),
                },
                State::Length { digits } => match byte {
                    b'0'..=b'9' if digits < DIGITS => {
                        let digit = usize::from(byte - b'0');
                        self.left = self.left.saturating_mul(10).saturating_add(digit);
                        self.state = State::Length { digits: digits + 1 };
                    }
                    b' ' if digits > 0 && self.left > 0 => self.state = State::Data,
                    // A frame without data may have the space before it.
                    b' ' if digits > 0 => self.state = State::Trailer,
                    b'\n' if digits > 0 && self.left == 0 => self.end(records),
                    _ => return fault("the length of a frame is not valid"),
                },
                State::Trailer => match byte {
                    b'\n' => self.end(records),
                    _ => return fault("no newline follows a frame"),
                },
            }
            rest = behind;
        }
        Ok(bytes.len().saturating_sub(rest.len()))
    }

    fn at_boundary(&self) -> bool {
        self.state == State::Number && self.number.is_empty()
    }

    fn is_acknowledged(&self) -> bool {
        true
    }

    fn close(&mut self) -> Option<&'static [u8]> {
        if self.session == Session::Open && self.at_boundary() {
            self.session = Session::Closed;
            return Some(SERVER_CLOSE);
        }
        self.is_closing = self.session != Session::Closed;
        None
    }
}

impl Relp {
    fn is_message(&self) -> bool {
        self.command == b"syslog"
    }

    /// Ends the frame, and answers it.
    fn end(&mut self, records: &mut RecordBuffer) {
        match &*self.command {
            b"syslog" => {
                records.end();
                self.answer(OK, records);
            }
            b"open" => {
                let offers = format!(
                    "{OK}\nrelp_version={}\nrelp_software=tlsink,{}\ncommands=syslog",
                    self.version(),
                    env!("CARGO_PKG_VERSION")
                );
                self.answer(&offers, records);
                self.session = Session::Open;
            }
            b"close" => {
                self.answer(OK, records);
                records.answer(SERVER_CLOSE);
                self.session = Session::Closed;
                self.is_closing = false;
            }
            _ => self.answer("500 unknown command", records),
        }
        self.state = State::Number;
        self.number.clear();
        self.command.clear();
        self.data.clear();
        self.left = 0;
    }

    /// The version for the session: the sender's, and 1 at most.
    fn version(&self) -> u8 {
        let offers = self.data.split(|byte| *byte == b'\n');
        let mut versions = offers.filter_map(|offer| offer.strip_prefix(b"relp_version="));
        match versions.next() {
            Some(b"0") => 0,
            _ => 1,
        }
    }

    fn answer(&self, data: &str, records: &mut RecordBuffer) {
        records.answer(&self.number);
        records.answer(format!(" rsp {} {data}\n", data.len()).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records and the answers of a stream.
    fn session(stream: &[u8]) -> Result<(Vec<String>, String), FrameFault> {
        let mut relp = Relp::default();
        let mut buffer = RecordBuffer::default();
        relp.push(stream, &mut buffer)?;
        assert!(relp.at_boundary());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let records = buffer.records().iter().map(|record| text(record.bytes));
        Ok((records.collect(), text(buffer.answers())))
    }

    #[test]
    fn each_frame_is_answered_in_order() {
        let offers = "relp_version=0\nrelp_software=librelp,1.11.0\ncommands=syslog";
        let stream = format!(
            "1 open {} {offers}\n2 syslog 3 one\n3 syslog 6 t\nwo\n\n\n4 syslog 0\n5 bogus 1 x\n6 close 0\n",
            offers.len()
        );
        let (records, answers) = session(stream.as_bytes()).unwrap();
        assert_eq!(records, ["one", "t\nwo\n\n", ""]);
        let software = format!("relp_software=tlsink,{}", env!("CARGO_PKG_VERSION"));
        let opened = format!("200 OK\nrelp_version=0\n{software}\ncommands=syslog");
        assert_eq!(
            answers,
            format!(
                "1 rsp {} {opened}\n2 rsp 6 200 OK\n3 rsp 6 200 OK\n4 rsp 6 200 OK\n\
                 5 rsp 19 500 unknown command\n6 rsp 6 200 OK\n0 serverclose 0\n",
                opened.len()
            )
        );
    }

    #[test]
    fn the_version_is_the_senders_and_1_at_most() {
        for (offer, version) in [("0", "0"), ("1", "1"), ("2", "1")] {
            let offer = format!("relp_version={offer}");
            let stream = format!("1 open {} {offer}\n", offer.len());
            let (_, answers) = session(stream.as_bytes()).unwrap();
            assert!(
                answers.contains(&format!("\nrelp_version={version}\n")),
                "{answers}"
            );
        }
    }

    #[test]
    fn a_fault_has_the_position_of_its_byte() {
        for (stream, at) in [
            (&b"x"[..], 0),
            (b" ", 0),
            (b"1234567890", 9),
            (b"1 \n", 2),
            (b"1 syslog x", 9),
            (b"1 syslog 1\n", 10),
            (b"1 syslog 1 xy", 12),
            (b"1 syslog 1234567890", 18),
            (b"1 open 5000 ", usize::MAX),
            (b"1 abcdefghijklmnopqrstuvwxyzabcdefg", 34),
        ] {
            let mut relp = Relp::default();
            let pushed = relp.push(stream, &mut RecordBuffer::default());
            let fault = pushed.map_or_else(|fault| fault.at, |_| usize::MAX);
            assert_eq!(fault, at, "{:?}", stream.escape_ascii().to_string());
        }
        let mut relp = Relp::default();
        let mut records = RecordBuffer::default();
        relp.push(b"1 open 5000 ", &mut records).unwrap();
        assert!(relp.push(&[b'x'; OFFERS + 1], &mut records).is_err());
    }
}
