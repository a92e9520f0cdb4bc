//! The sender's side of RELP (its specification, version 1): a session of numbered frames, each of
//! which the server answers.
//!
//! A frame is `TXNR SP COMMAND SP DATALEN [SP DATA] LF`. Its answer has the same number.

use std::collections::VecDeque;
use std::fmt;

/// The most frames without an answer: librelp's window.
pub(crate) const WINDOW: usize = 128;

/// The number after which frames are numbered from 1 again; 0 is for hints of the server. (librelp 1.11
/// goes on with a number of ten digits, which its own parser refuses.)
const LAST_NUMBER: u64 = 999_999_999;

/// The most digits of a number.
const DIGITS: usize = 9;

/// The longest command, in bytes.
const COMMAND: usize = 32;

/// The most data in an answer, in bytes. The longest are the answers to `open`, with the server's
/// offers; librelp's have about a hundred bytes.
const MAX_DATA: usize = 4096;

/// The most characters that are quoted of an answer: a status of four, and a text of 80.
const WORDS: usize = 84;

/// A session with a server.
#[derive(Debug, Default)]
pub(crate) struct Session {
    stage: Stage,
    /// The number of frames that were made.
    frames: u64,
    /// The positions among all frames, from 1, of those without an answer.
    outstanding: VecDeque<u64>,
    lines: Lines,
    /// The beginning of an answer.
    answer: Vec<u8>,
}

/// The progress of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Opening,
    Open,
    Closing,
    /// The server has answered `close`.
    Closed,
}

/// The lines of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// The number of lines in frames.
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
}

/// `3 lines of 5`.
impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = if self.acknowledged == 1 {
            "line"
        } else {
            "lines"
        };
        write!(f, "{} {lines} of {}", self.acknowledged, self.sent)
    }
}

impl Session {
    /// Appends the first frame of the session to `framed`.
    pub(crate) fn open(&mut self, framed: &mut Vec<u8>) {
        let offers = concat!(
            "relp_version=1\nrelp_software=tlsink,",
            env!("CARGO_PKG_VERSION"),
            "\ncommands=syslog"
        );
        self.frame("open", offers.as_bytes(), framed);
    }

    /// Appends the frame of a line to `framed`.
    pub(crate) fn line(&mut self, line: &[u8], framed: &mut Vec<u8>) {
        self.lines.sent = self.lines.sent.saturating_add(1);
        self.frame("syslog", line, framed);
    }

    /// Appends the last frame of the session to `framed`.
    pub(crate) fn close(&mut self, framed: &mut Vec<u8>) {
        self.stage = Stage::Closing;
        self.frame("close", b"", framed);
    }

    /// Takes bytes of the server's answers. Bytes behind the answer to `close` are ignored.
    ///
    /// # Errors
    ///
    /// When the server refuses a frame, closes the session, or sends anything else that is no answer
    /// to a frame. The session can't go on then.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let mut answers = std::mem::take(&mut self.answer);
        answers.extend_from_slice(bytes);
        let mut rest = &*answers;
        while self.stage != Stage::Closed {
            let Some((answer, behind)) = Answer::parse(rest)? else {
                self.answer = rest.to_vec();
                break;
            };
            self.answered(&answer)?;
            rest = behind;
        }
        Ok(())
    }

    /// The number of frames without an answer.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Whether the server has not opened the session yet.
    pub(crate) fn is_opening(&self) -> bool {
        self.stage == Stage::Opening
    }

    /// Whether the server has answered `close`.
    pub(crate) fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    pub(crate) fn lines(&self) -> Lines {
        self.lines
    }

    fn frame(&mut self, command: &str, data: &[u8], framed: &mut Vec<u8>) {
        self.frames = self.frames.saturating_add(1);
        self.outstanding.push_back(self.frames);
        let header = format!("{} {command} {}", number(self.frames), data.len());
        framed.extend_from_slice(header.as_bytes());
        if !data.is_empty() {
            framed.push(b' ');
            framed.extend_from_slice(data);
        }
        framed.push(b'\n');
    }

    fn answered(&mut self, answer: &Answer<'_>) -> Result<(), SessionError> {
        if answer.command == b"serverclose" && answer.number == 0 {
            return Err(SessionError::Closed);
        }
        if answer.command != b"rsp" {
            return Err(SessionError::Invalid("it has a command that is no answer"));
        }
        // The specification allows any order, and demands that of the frames.
        let mut outstanding = self.outstanding.iter();
        let frame = outstanding
            .position(|frame| number(*frame) == answer.number)
            .and_then(|at| self.outstanding.remove(at))
            .ok_or(SessionError::Unexpected {
                number: answer.number,
            })?;
        match self.stage {
            Stage::Opening => {
                if !answer.is_ok() {
                    return Err(SessionError::NotOpened {
                        words: answer.words(),
                    });
                }
                if answer.offer("relp_version").is_none() {
                    return Err(SessionError::NoVersion);
                }
                let commands = answer.offer("commands").unwrap_or_default();
                if !commands.split(|byte| *byte == b',').any(|c| c == b"syslog") {
                    return Err(SessionError::NoSyslog);
                }
                self.stage = Stage::Open;
            }
            // librelp's answer to `close` has no status.
            Stage::Closing if frame == self.frames => self.stage = Stage::Closed,
            _ if answer.is_ok() => {
                self.lines.acknowledged = self.lines.acknowledged.saturating_add(1);
            }
            _ => {
                return Err(SessionError::Refused {
                    // The first frame is not a line.
                    line: frame.saturating_sub(1),
                    words: answer.words(),
                });
            }
        }
        Ok(())
    }
}

/// The number of the frame at this position among all frames, from 1.
fn number(frame: u64) -> u64 {
    frame.saturating_sub(1) % LAST_NUMBER + 1
}

/// A frame of the server.
#[derive(Debug, PartialEq, Eq)]
struct Answer<'a> {
    number: u64,
    command: &'a [u8],
    data: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Parses the answer at the front of `bytes`, and returns it with the bytes behind it; `None` if
    /// its end has yet to come.
    fn parse(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, SessionError> {
        const NO_NUMBER: SessionError = SessionError::Invalid("it has no number");
        const NO_COMMAND: SessionError = SessionError::Invalid("it has no command");
        const NO_LENGTH: SessionError = SessionError::Invalid("it has no length");
        let (digits, rest) = field(bytes, u8::is_ascii_digit);
        let rest = match rest.split_first() {
            Some((b' ', rest)) if (1..=DIGITS).contains(&digits.len()) => rest,
            None if digits.len() <= DIGITS => return Ok(None),
            _ => return Err(NO_NUMBER),
        };
        let number = decimal(digits).ok_or(NO_NUMBER)?;
        let (command, rest) = field(rest, u8::is_ascii_alphabetic);
        let rest = match rest.split_first() {
            Some((b' ', rest)) if (1..=COMMAND).contains(&command.len()) => rest,
            None if command.len() <= COMMAND => return Ok(None),
            _ => return Err(NO_COMMAND),
        };
        let (digits, rest) = field(rest, u8::is_ascii_digit);
        // The length ends with a space, or, if there is no data, with the frame.
        let (end, rest) = match rest.split_first() {
            Some((end, rest)) if (1..=DIGITS).contains(&digits.len()) => (end, rest),
            None if digits.len() <= DIGITS => return Ok(None),
            _ => return Err(NO_LENGTH),
        };
        let length = decimal(digits).and_then(|length| usize::try_from(length).ok());
        let (data, rest) = match (length, end) {
            (Some(0), b'\n') => {
                let answer = Answer {
                    number,
                    command,
                    data: b"",
                };
                return Ok(Some((answer, rest)));
            }
            (Some(length), b' ') if length > MAX_DATA => return Err(SessionError::TooLong),
            (Some(length @ 1..), b' ') => match rest.split_at_checked(length) {
                Some(split) => split,
                None => return Ok(None),
            },
            _ => return Err(NO_LENGTH),
        };
        let answer = Answer {
            number,
            command,
            data,
        };
        match rest.split_first() {
            Some((b'\n', behind)) => Ok(Some((answer, behind))),
            Some(_) => Err(SessionError::Invalid("no newline ends it")),
            None => Ok(None),
        }
    }

    /// Whether the status is 200.
    fn is_ok(&self) -> bool {
        matches!(
            self.data.strip_prefix(b"200"),
            Some([] | [b' ' | b'\n', ..])
        )
    }

    /// The status and the text for people.
    fn words(&self) -> String {
        let line = self.data.split(|byte| *byte == b'\n').next();
        let line = String::from_utf8_lossy(line.unwrap_or_default());
        line.chars().take(WORDS).collect()
    }

    /// The value of an offer, behind the line of the status.
    fn offer(&self, name: &str) -> Option<&'a [u8]> {
        let mut offers = self.data.split(|byte| *byte == b'\n').skip(1);
        offers.find_map(|offer| offer.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}

/// Splits the bytes of this kind from the front.
fn field(bytes: &[u8], is_of_it: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let count = bytes.iter().take_while(|byte| is_of_it(byte)).count();
    bytes.split_at_checked(count).unwrap_or_default()
}

/// The value of decimal digits, of which there is one at least.
fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The reason why a session can't go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SessionError {
    /// The server's bytes are no frame of RELP.
    Invalid(&'static str),
    /// An answer has too much data.
    TooLong,
    /// An answer has the number of no frame that waits for one.
    Unexpected { number: u64 },
    /// The server refused to open the session.
    NotOpened { words: String },
    /// The server's answer to `open` lacks the offer that must be there.
    NoVersion,
    /// The server does not offer the command for lines.
    NoSyslog,
    /// The server refused a line.
    Refused { line: u64, words: String },
    /// The server closed the session.
    Closed,
}

/// Quotations of the server are not escaped.
impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::Invalid(reason) => {
                write!(f, "the server's answer is not RELP: {reason}")
            }
            SessionError::TooLong => {
                write!(f, "the server's answer is longer than {MAX_DATA} bytes")
            }
            SessionError::Unexpected { number } => {
                write!(
                    f,
                    "the server answers frame {number}, which waits for no answer"
                )
            }
            SessionError::NotOpened { words } => {
                write!(f, "the server refused the session: \"{words}\"")
            }
            SessionError::NoVersion => {
                f.write_str("the server's answer to open has no relp_version")
            }
            SessionError::NoSyslog => f.write_str("the server does not take the command syslog"),
            SessionError::Refused { line, words } => {
                write!(f, "the server refused line {line}: \"{words}\"")
            }
            SessionError::Closed => f.write_str("the server closed the session"),
        }
    }
}

#[cfg(test)]
#[path = "../../../tests/fuzz/answers.rs"]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    const OPENED: &str = "1 rsp 37 200 OK\nrelp_version=0\ncommands=syslog\n";

    /// A session that the server has opened, with this many lines sent.
    fn opened(lines: usize) -> Session {
        let mut session = Session::default();
        let mut framed = Vec::new();
        session.open(&mut framed);
        session.take(OPENED.as_bytes()).unwrap();
        for _ in 0..lines {
            session.line(b"line", &mut framed);
        }
        session
    }

    #[test]
    fn each_line_is_a_numbered_frame() {
        let mut session = Session::default();
        let mut framed = Vec::new();
        session.open(&mut framed);
        assert!(session.is_opening());
        session.take(OPENED.as_bytes()).unwrap();
        assert!(!session.is_opening());
        session.line(b"one", &mut framed);
        session.line(b"", &mut framed);
        assert_eq!(session.outstanding(), 2);
        session.take(b"2 rsp 6 200 OK\n3 rsp 3 200\n").unwrap();
        session.close(&mut framed);
        assert!(!session.is_closed());
        session.take(b"4 rsp 0\n0 serverclose 0\n{").unwrap();
        assert!(session.is_closed());
        let lines = Lines {
            sent: 2,
            acknowledged: 2,
        };
        assert_eq!(session.lines(), lines);
        let offers = format!(
            "relp_version=1\nrelp_software=tlsink,{}\ncommands=syslog",
            env!("CARGO_PKG_VERSION")
        );
        let expected = format!(
            "1 open {} {offers}\n2 syslog 3 one\n3 syslog 0\n4 close 0\n",
            offers.len()
        );
        assert_eq!(String::from_utf8(framed).unwrap(), expected);
    }

    #[test]
    fn after_the_last_number_comes_the_first() {
        let mut session = opened(0);
        session.frames = LAST_NUMBER - 1;
        let mut framed = Vec::new();
        for _ in 0..3 {
            session.line(b"", &mut framed);
        }
        assert_eq!(framed, b"999999999 syslog 0\n1 syslog 0\n2 syslog 0\n");
        session.take(b"999999999 rsp 6 200 OK\n").unwrap();
        let error = session.take(b"2 rsp 4 500 \n").unwrap_err();
        assert_eq!(
            error,
            SessionError::Refused {
                line: LAST_NUMBER + 1,
                words: "500 ".to_owned()
            }
        );
    }

    #[test]
    fn answers_are_taken_in_any_order_but_once() {
        let mut session = opened(3);
        session.take(b"4 rsp 6 200 OK\n2 rsp 6 200 OK\n").unwrap();
        assert_eq!(
            (session.outstanding(), session.lines().acknowledged),
            (1, 2)
        );
        for number in [4, 1, 5, 0] {
            let mut session = opened(3);
            session.take(b"4 rsp 6 200 OK\n").unwrap();
            let answer = format!("{number} rsp 6 200 OK\n");
            let error = session.take(answer.as_bytes()).unwrap_err();
            assert_eq!(error, SessionError::Unexpected { number });
        }
    }

    #[test]
    fn answers_mean_the_same_however_they_are_split() {
        let answers = "2 rsp 6 200 OK\n3 rsp 9 200\nwo\nrd\n4 rsp 3 200\n5 rsp 7 500 no!\n";
        for at in 0..=answers.len() {
            let mut session = opened(4);
            let (first, second) = answers.as_bytes().split_at(at);
            let taken = session.take(first).and_then(|()| session.take(second));
            let words = "500 no!".to_owned();
            assert_eq!(taken, Err(SessionError::Refused { line: 4, words }));
            assert_eq!(session.lines().acknowledged, 3);
        }
        let mut session = opened(3);
        let (taken, _) = answers.split_once("5 rsp").unwrap();
        for byte in taken.bytes() {
            session.take(&[byte]).unwrap();
        }
        assert_eq!(session.lines().acknowledged, 3);
    }

    #[test]
    fn an_answer_that_is_not_valid_is_an_error_at_its_first_wrong_byte() {
        for (answer, at) in [
            ("x", 1),
            (" ", 1),
            ("\n", 1),
            ("-1 ", 1),
            ("1234567890", 10),
            ("HTTP/1.1", 1),
            ("2a ", 2),
            ("2  ", 3),
            ("2 \n", 3),
            ("2 rsp\n", 6),
            ("2 abcdefghijklmnopqrstuvwxyzabcdefg", 35),
            ("2 r5p", 4),
            ("2 rsp x", 7),
            ("2 rsp  ", 7),
            ("2 rsp \n", 7),
            ("2 rsp -", 7),
            ("2 rsp 0 ", 8),
            ("2 rsp 6\n", 8),
            ("2 rsp 1234567890", 16),
            ("2 rsp 6 200 OKx", 15),
            ("2 syslog 0\n", 11),
            ("2 serverclose 0\n", 16),
        ] {
            let mut session = opened(1);
            let mut taken = answer.bytes().map(|byte| session.take(&[byte]));
            let wrong = taken.position(|taken| matches!(taken, Err(SessionError::Invalid(_))));
            assert_eq!(wrong, Some(at - 1), "{answer:?}");
        }
    }

    #[test]
    fn an_answer_has_a_size_that_it_may_have() {
        let of = |size: usize| format!("2 rsp {size} 200 {}\n", "x".repeat(size - 4));
        let mut session = opened(1);
        for byte in of(MAX_DATA).bytes() {
            session.take(&[byte]).unwrap();
            assert!(session.answer.len() < MAX_DATA + 16);
        }
        assert_eq!(session.lines().acknowledged, 1);
        let mut session = opened(1);
        let error = session.take(format!("2 rsp {} ", MAX_DATA + 1).as_bytes());
        assert_eq!(error, Err(SessionError::TooLong));
    }

    #[test]
    fn only_200_acknowledges() {
        for (data, words) in [
            ("", ""),
            ("200OK", "200OK"),
            ("2000", "2000"),
            ("20", "20"),
            ("500", "500"),
            ("500 error\n200 OK", "500 error"),
        ] {
            let space = if data.is_empty() { "" } else { " " };
            let answer = format!("2 rsp {}{space}{data}\n", data.len());
            let words = words.to_owned();
            let taken = opened(1).take(answer.as_bytes());
            assert_eq!(taken, Err(SessionError::Refused { line: 1, words }));
        }
        let long = format!("2 rsp 404 500 {}\n", "é".repeat(200));
        let Err(SessionError::Refused { words, .. }) = opened(1).take(long.as_bytes()) else {
            panic!("it is a refusal");
        };
        assert_eq!(words.chars().count(), WORDS);
    }

    #[test]
    fn a_session_is_open_when_the_server_takes_lines() {
        for (data, error) in [
            ("200 OK\nrelp_version=1\ncommands=eventlog,syslog", None),
            (
                "500 no",
                Some(SessionError::NotOpened {
                    words: "500 no".to_owned(),
                }),
            ),
            ("200 OK", Some(SessionError::NoVersion)),
            ("200 OK\ncommands=syslog", Some(SessionError::NoVersion)),
            ("200 OK\nrelp_version=1", Some(SessionError::NoSyslog)),
            (
                "200 OK\nrelp_version=1\ncommands=syslogs",
                Some(SessionError::NoSyslog),
            ),
        ] {
            let mut session = Session::default();
            session.open(&mut Vec::new());
            let answer = format!("1 rsp {} {data}\n", data.len());
            assert_eq!(session.take(answer.as_bytes()).err(), error, "{data}");
        }
    }

    #[test]
    fn the_server_may_close_the_session_at_any_time() {
        let mut session = opened(1);
        let taken = session.take(b"2 rsp 6 200 OK\n0 serverclose 0\n");
        assert_eq!(taken, Err(SessionError::Closed));
        assert_eq!(session.lines().acknowledged, 1);
    }
}
