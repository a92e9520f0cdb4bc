//! Prefixes: text in front of each line.

use std::net::SocketAddr;
use std::ops::Range;
use std::str::FromStr;
use std::time::SystemTime;

use memchr::memchr_iter;

use super::error::TemplateError;
use super::escape::escaped;
use super::label::{label, word};
use super::template::{ANONYMOUS, NO_STREAM, Part, parse_parts, port};
use crate::conn::Conn;
use crate::peer::Address;
use crate::time::{LEN, timestamp};

/// A template for the text in front of each line: text, with the tokens of a
/// [`Template`](super::Template) in braces.
///
/// | token | stands for |
/// |---|---|
/// | `{time}` | when the line is written: RFC 3339, in UTC, with microseconds, as [`Timestamp`](super::Timestamp) shows it |
/// | `{date}` | the day of that time: `2026-11-23` |
/// | `{hour}` | the hour of that time: `19` |
/// | `{peer}` | the sender's address without its port, or the name of a Unix peer or a label |
/// | `{port}` | its port; `0` if it has none |
/// | `{client}` | the first of its verified [names](Conn::names); `anonymous` if it has none |
/// | `{conn}` | the connection's [number](crate::ConnId) |
/// | `{stream}` | the name of the resumed [stream](Conn::stream); `none` for any other |
///
/// All lines of one turn of a stream have the same time. The text may hold any printable characters
/// but braces, and at most 256 bytes. The prefix may be empty.
///
/// Each value is one word, as in a [label]: it is [escaped], spaces in it too, and only its first
/// 256 bytes are shown.
///
/// ```
/// use tlsink::output::{Prefix, TemplateError};
///
/// let prefix: Prefix = "{time} {client}: ".parse()?;
///
/// assert_eq!("\t".parse::<Prefix>(), Err(TemplateError::Unprintable('\t')));
/// # Ok::<(), TemplateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    parts: Vec<Part>,
}

/// The text in front of each line.
#[derive(Clone, Debug, Default)]
pub(super) enum Front {
    #[default]
    Nothing,
    Label,
    Prefix(Prefix),
}

/// The front of the lines of one connection. Too small to be counted.
#[derive(Debug, Default)]
pub(super) struct LineFront {
    bytes: Vec<u8>,
    /// The places of times, and the part of a timestamp that belongs there.
    times: Vec<(Range<usize>, Range<usize>)>,
    /// The time that they show.
    shown: Option<SystemTime>,
}

/// The longest text besides the tokens, in bytes: a prefix should not be longer than the lines
/// behind it.
const MOST: usize = 256;

impl FromStr for Prefix {
    type Err = TemplateError;

    fn from_str(template: &str) -> Result<Self, TemplateError> {
        let parts = parse_parts(template)?;
        let texts = || parts.iter().filter_map(Part::text);
        let is_printable = |c: &char| escaped(&*c.to_string()).to_string().chars().eq([*c]);
        if let Some(wrong) = texts().flat_map(str::chars).find(|c| !is_printable(c)) {
            return Err(TemplateError::Unprintable(wrong));
        }
        match texts().map(str::len).sum() {
            0..=MOST => Ok(Prefix { parts }),
            _ => Err(TemplateError::TooLong { most: MOST }),
        }
    }
}

impl Front {
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Front::Nothing)
    }

    /// The front of this connection's lines.
    pub(super) fn of(&self, connection: &Conn) -> LineFront {
        match self {
            Front::Nothing => LineFront::default(),
            Front::Label => {
                let mut front = LineFront::default();
                front.push(&label(connection.peer()));
                front.push(" ");
                front
            }
            Front::Prefix(prefix) => prefix.fill_in(connection),
        }
    }
}

impl Prefix {
    fn fill_in(&self, connection: &Conn) -> LineFront {
        let mut front = LineFront::default();
        for part in &self.parts {
            match part {
                Part::Text(text) => front.push(text),
                Part::Time => front.push_time(0..LEN),
                Part::Date => front.push_time(0..10),
                Part::Hour => front.push_time(11..13),
                Part::Peer => front.push(&peer(connection)),
                Part::Port => front.push(&port(connection.peer().address()).to_string()),
                Part::Client => match connection.names().first() {
                    Some(client) => front.push(&word(client)),
                    None => front.push(ANONYMOUS),
                },
                Part::Conn => front.push(&connection.id().to_string()),
                Part::Stream => match connection.stream() {
                    Some(stream) => front.push(&word(stream)),
                    None => front.push(NO_STREAM),
                },
            }
        }
        front
    }
}

impl LineFront {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The front of a line that is written at this time.
    pub(super) fn at(&mut self, now: SystemTime) -> &[u8] {
        if !self.times.is_empty() && self.shown != Some(now) {
            let text = timestamp(now);
            for (place, part) in &self.times {
                if let Some(place) = self.bytes.get_mut(place.clone())
                    && let Some(part) = text.get(part.clone())
                {
                    place.copy_from_slice(part);
                }
            }
            self.shown = Some(now);
        }
        &self.bytes
    }

    /// Appends lines, each with its front, of which the first has a part that was kept.
    pub(super) fn push_lines(
        &mut self,
        to: &mut Vec<u8>,
        kept: &[u8],
        lines: &[u8],
        now: SystemTime,
    ) {
        let front = self.at(now);
        to.extend_from_slice(front);
        to.extend_from_slice(kept);
        let mut from = 0;
        for newline in memchr_iter(b'\n', lines) {
            let end = newline.saturating_add(1);
            if from > 0 {
                to.extend_from_slice(front);
            }
            to.extend_from_slice(lines.get(from..end).unwrap_or_default());
            from = end;
        }
        to.extend_from_slice(lines.get(from..).unwrap_or_default());
    }

    fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn push_time(&mut self, part: Range<usize>) {
        let from = self.bytes.len();
        let to = from.saturating_add(part.len());
        self.bytes.resize(to, b'0');
        self.times.push((from..to, part));
    }
}

/// A peer without its port, as one word.
pub(super) fn peer(connection: &Conn) -> String {
    match connection.peer().address() {
        Address::Ip(SocketAddr::V6(address))
            if address.scope_id() != 0 && address.ip().to_ipv4_mapped().is_none() =>
        {
            format!("{}%{}", address.ip(), address.scope_id())
        }
        Address::Ip(address) => address.ip().to_canonical().to_string(),
        Address::Unix(_) | Address::Label(_) => word(&connection.peer().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::conn::ConnId;
    use crate::memory::Memory;
    use crate::peer::Peer;

    fn filled_in(prefix: &str, peer: Peer) -> String {
        let now = UNIX_EPOCH + Duration::from_micros(1_795_462_321_123_456);
        let connection = Conn::new(ConnId(7), peer, Memory::new(0));
        let prefix: Prefix = prefix.parse().unwrap();
        let mut front = Front::Prefix(prefix).of(&connection);
        let text = String::from_utf8(front.at(now).to_vec()).unwrap();
        assert_eq!(text.len(), front.len());
        text
    }

    #[test]
    fn each_token_stands_for_what_it_says() {
        let address: SocketAddr = "192.0.2.7:40312".parse().unwrap();
        for (prefix, text) in [
            ("{time} ", "2026-11-23T19:32:01.123456Z "),
            ("[{date}/{hour}] ", "[2026-11-23/19] "),
            ("{hour}{date}", "192026-11-23"),
            ("{peer} {port}", "192.0.2.7 40312"),
            ("{client}|{conn}|{stream}: ", "web.example|7|none: "),
            ("-.от/ ", "-.от/ "),
            ("", ""),
        ] {
            let peer = Peer::from(address).named("web.example");
            assert_eq!(filled_in(prefix, peer), text);
        }
    }

    #[test]
    fn values_from_outside_are_one_word_each() {
        let label = Peer::label("a b\u{1b}[2J");
        assert_eq!(filled_in("{peer} {port}", label), r"a\x20b\x1b[2J 0");
        let long = Peer::label("x").named("n".repeat(300));
        assert_eq!(filled_in("{client}{peer}", long), "n".repeat(256) + "…x");
        for (address, text) in [
            ("[2001:db8::1]:9", "2001:db8::1 anonymous"),
            ("[fe80::1%4]:9", "fe80::1%4 anonymous"),
            ("[::ffff:192.0.2.7%4]:9", "192.0.2.7 anonymous"),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(filled_in("{peer} {client}", Peer::from(address)), text);
        }
        let named = Peer::label("x").named("a\nb");
        assert_eq!(filled_in("{client}", named), r"a\x0ab");
    }

    #[test]
    fn a_time_changes_with_the_line_and_the_rest_stays() {
        let connection = Conn::new(ConnId(7), Peer::label("x"), Memory::new(0));
        let prefix = "{conn} {hour}{hour} ".parse().unwrap();
        let mut front = Front::Prefix(prefix).of(&connection);
        for hour in [0, 23, 5] {
            let now = UNIX_EPOCH + Duration::from_secs(hour * 3600);
            let text = format!("7 {hour:02}{hour:02} ");
            assert_eq!(front.at(now), text.as_bytes());
        }
    }

    #[test]
    fn every_line_gets_its_front_whatever_was_kept_of_the_first() {
        let connection = Conn::new(ConnId(7), Peer::label("x"), Memory::new(0));
        let mut front = Front::Prefix("> ".parse().unwrap()).of(&connection);
        for (kept, lines, written) in [
            ("", "one\ntwo\n", "> one\n> two\n"),
            ("o", "ne\n", "> one\n"),
            ("one", "\n\n", "> one\n> \n"),
            ("", "\n", "> \n"),
        ] {
            let mut to = Vec::new();
            front.push_lines(&mut to, kept.as_bytes(), lines.as_bytes(), UNIX_EPOCH);
            assert_eq!(String::from_utf8(to).unwrap(), written);
        }
    }

    #[test]
    fn a_wrong_prefix_is_refused() {
        for (prefix, error) in [
            ("{when}", TemplateError::UnknownToken("when".to_owned())),
            ("{time", TemplateError::Unbalanced),
            ("a}", TemplateError::Unbalanced),
            ("a\n", TemplateError::Unprintable('\n')),
            ("\u{202e}", TemplateError::Unprintable('\u{202e}')),
            (&*"x".repeat(257), TemplateError::TooLong { most: 256 }),
        ] {
            assert_eq!(prefix.parse::<Prefix>(), Err(error));
        }
    }
}
