//! Templates for the names of files.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::str::FromStr;
use std::time::SystemTime;

use memchr::memchr_iter;

use super::error::TemplateError;
use crate::conn::Conn;
use crate::peer::Address;
use crate::time;

/// A template for the names of [`Files`](super::Files): text, with tokens in braces.
///
/// | token | stands for |
/// |---|---|
/// | `{time}` | when the connection opened, in UTC: `20261123T193201.123456Z`, so that names sort by it |
/// | `{date}` | the day of that time: `2026-11-23` |
/// | `{hour}` | the hour of that time: `19` |
/// | `{peer}` | the sender's address without its port, or the name of a Unix peer or a label |
/// | `{port}` | its port; `0` if it has none |
/// | `{client}` | the first of its verified [names](Conn::names); `anonymous` if it has none |
/// | `{conn}` | the connection's [number](crate::ConnId) |
/// | `{stream}` | the name of the resumed [stream](Conn::stream); `none` for any other |
///
/// The default is `{time}-{peer}-{conn}`. A template may have no tokens: files that would have the
/// same name are numbered.
///
/// ```
/// use tlsink::output::TemplateError;
/// use tlsink::output::Template;
///
/// let template: Template = "{client}-{time}.log".parse()?;
///
/// let wrong = "{when}".parse::<Template>();
/// assert_eq!(wrong, Err(TemplateError::UnknownToken("when".to_owned())));
/// # Ok::<(), TemplateError>(())
/// ```
///
/// # Text from outside
///
/// A client's name, a stream's, a label and the path of a Unix peer become part of a file's name and nothing
/// else. ASCII letters, digits and `_` stay as they are, and so do `-`, `.`, `@` and `+` behind the
/// first character; all other bytes are percent-encoded (RFC 3986, section 2.1), so that different
/// names stay different. Names are cut off after 128 bytes; an empty one becomes `unnamed`. In IPv6
/// addresses, `_` stands for `:`, and an address with a zone is followed by `%` and a number.
///
/// A whole name has at most 237 bytes, which leaves room for possible additions. Where it would end
/// in `.part`, as the name of an incomplete file does, the dot is percent-encoded as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// A template for the paths of [`Appended`](super::Appended) files: [`Template`]s with `/` between
/// them, of which the last names a file, and the others name its folders.
///
/// `{date}` and `{hour}` are those of the moment at which lines are written, so that a stream moves
/// on to the next file.
///
/// ```
/// use tlsink::output::{PathTemplate, TemplateError};
///
/// let template: PathTemplate = "{client}/{date}.log".parse()?;
///
/// assert_eq!("logs//{date}".parse::<PathTemplate>(), Err(TemplateError::Empty));
/// # Ok::<(), TemplateError>(())
/// ```
///
/// # Text from outside
///
/// It is encoded as in a [`Template`], so it holds no `/`. Each part of a path has at most 216 bytes.
/// Where a part has an ending that files get later (`.20261123T193201Z`, `.bad-`, `.cut-`, `.part`
/// or `.zst`), the dot is percent-encoded as well, so that no sender has the name of another one's
/// old file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    parts: Vec<Template>,
    /// The one name, whatever it looks like.
    fixed: Option<String>,
}

/// The suffix of a file's name until the file is complete.
pub(super) const PART: &str = ".part";

/// The longest name, in bytes. File systems take 255 (NAME_MAX), which leaves room for a number of
/// ten digits and its hyphen, for `.part`, and for the encoding of one dot.
const MOST: usize = 255 - 11 - PART.len() - 2;

/// The longest part of a path, in bytes: a time and its dot, a number, `.zst` and `.part` may follow.
const MOST_OF_PART: usize = 216;

/// The most that a file's name shows of a name from outside, in bytes: enough for nearly all names,
/// with room for a time and a number beside it.
const MOST_OF_VALUE: usize = 128;

/// The name of a client that has none.
pub(super) const ANONYMOUS: &str = "anonymous";

/// The name of a stream that has none.
pub(super) const NO_STREAM: &str = "none";

/// The name of a client or label without any characters.
const UNNAMED: &str = "unnamed";

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Time,
    Date,
    Hour,
    Peer,
    Port,
    Client,
    Conn,
    Stream,
}

impl Template {
    /// The name of the file of a connection, not ending in `.part`.
    pub(super) fn name(&self, connection: &Conn, opened: SystemTime) -> String {
        let mut name = self.fill_in(connection, opened, opened);
        cut_off(&mut name, MOST);
        // This check comes last, because tokens or the cut may have composed that ending.
        if ends_in_part(&name) {
            let dot = name.len().saturating_sub(PART.len());
            name.replace_range(dot..=dot, "%2E");
        }
        name
    }

    fn fill_in(&self, connection: &Conn, opened: SystemTime, now: SystemTime) -> String {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Time => name.push_str(&time::compact(opened)),
                Part::Date => name.push_str(&time::date(now)),
                Part::Hour => name.push_str(&time::hour(now)),
                Part::Peer => name.push_str(&peer(connection.peer().address())),
                Part::Port => name.push_str(&port(connection.peer().address()).to_string()),
                Part::Client => match connection.names().first() {
                    Some(client) => name.push_str(&safe(client.as_bytes())),
                    None => name.push_str(ANONYMOUS),
                },
                Part::Conn => name.push_str(&connection.id().to_string()),
                Part::Stream => match connection.stream() {
                    Some(stream) => name.push_str(&safe(stream.as_bytes())),
                    None => name.push_str(NO_STREAM),
                },
            }
        }
        name
    }

    /// Whether some connection can have this name, which may have encoded dots.
    fn may_make(&self, name: &str) -> bool {
        let name = name.as_bytes();
        // The lengths of the name that the parts so far may make.
        let mut made = vec![false; name.len().saturating_add(1)];
        made.iter_mut().take(1).for_each(|made| *made = true);
        for part in &self.parts {
            let mut next = vec![false; made.len()];
            for (from, _) in made.iter().enumerate().filter(|(_, made)| **made) {
                let rest = name.get(from..).unwrap_or_default();
                for len in part.lengths(rest) {
                    if let Some(made) = next.get_mut(from.saturating_add(len)) {
                        *made = true;
                    }
                }
            }
            made = next;
        }
        made.last().is_some_and(|made| *made)
    }

    /// The length of the text besides the tokens, in bytes.
    fn text_len(&self) -> usize {
        let texts = self.parts.iter().filter_map(Part::text);
        texts.map(str::len).sum()
    }
}

impl PathTemplate {
    /// One file in the directory itself, whose name is taken as it is.
    ///
    /// ```
    /// use tlsink::output::{PathTemplate, TemplateError};
    ///
    /// let template = PathTemplate::fixed("{all}.zst")?;
    /// assert_eq!(PathTemplate::fixed("a/b"), Err(TemplateError::Forbidden('/')));
    /// # Ok::<(), TemplateError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When it is no name of a file: empty, `.`, `..`, or one that holds `/` or NUL.
    pub fn fixed(name: impl Into<String>) -> Result<Self, TemplateError> {
        let name = name.into();
        if let Some(wrong) = name.chars().find(|c| matches!(c, '/' | '\0')) {
            return Err(TemplateError::Forbidden(wrong));
        }
        match &*name {
            "" | "." | ".." => Err(TemplateError::Empty),
            _ => Ok(PathTemplate {
                parts: Vec::new(),
                fixed: Some(name),
            }),
        }
    }

    /// The path, below its folder, of the lines that a connection sent until now.
    pub(super) fn path(&self, connection: &Conn, opened: SystemTime, now: SystemTime) -> String {
        if let Some(name) = &self.fixed {
            return name.clone();
        }
        let parts = self.parts.iter();
        let parts = parts.map(|part| {
            let mut name = part.fill_in(connection, opened, now);
            cut_off(&mut name, MOST_OF_PART);
            while let Some(dot) = find_addition(&name) {
                name.replace_range(dot..=dot, "%2E");
                // A shorter part may have another such ending.
                cut_off(&mut name, MOST_OF_PART);
            }
            name
        });
        parts.collect::<Vec<_>>().join("/")
    }

    /// Whether the path depends on the stream's name, which is not known when its connection opens.
    pub(super) fn has_stream(&self) -> bool {
        let mut parts = self.parts.iter().flat_map(|part| &part.parts);
        parts.any(|part| matches!(part, Part::Stream))
    }

    /// The number of its parts: those of a file's path, below the directory.
    pub(super) fn depth(&self) -> usize {
        match self.fixed {
            Some(_) => 1,
            None => self.parts.len(),
        }
    }

    /// Whether some connection can have this name as this part of its path. `false` for a few of
    /// those that were cut off.
    pub(super) fn may_make(&self, part: usize, name: &str) -> bool {
        if let Some(fixed) = &self.fixed {
            return part == 0 && name == fixed.as_str();
        }
        let template = self.parts.get(part);
        template.is_some_and(|template| template.may_make(name)) && find_addition(name).is_none()
    }

    /// Whether the path changes with the hour.
    pub(super) fn is_dated(&self) -> bool {
        let mut parts = self.parts.iter().flat_map(|part| &part.parts);
        parts.any(|part| matches!(part, Part::Date | Part::Hour))
    }
}

impl FromStr for PathTemplate {
    type Err = TemplateError;

    fn from_str(template: &str) -> Result<Self, TemplateError> {
        let parts = template.split('/').map(str::parse::<Template>);
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        match parts.iter().all(|part| part.text_len() <= MOST_OF_PART) {
            true => Ok(PathTemplate { parts, fixed: None }),
            false => Err(TemplateError::TooLong { most: MOST_OF_PART }),
        }
    }
}

/// `{time}-{peer}-{conn}`
impl Default for Template {
    fn default() -> Self {
        let hyphen = || Part::Text("-".to_owned());
        Template {
            parts: vec![Part::Time, hyphen(), Part::Peer, hyphen(), Part::Conn],
        }
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(template: &str) -> Result<Self, TemplateError> {
        let parts = parse_parts(template)?;
        let texts = || parts.iter().filter_map(Part::text);
        if let Some(wrong) = texts().flat_map(str::chars).find(|c| is_forbidden(*c)) {
            return Err(TemplateError::Forbidden(wrong));
        }
        let first = parts.first().ok_or(TemplateError::Empty)?;
        if first
            .text()
            .is_some_and(|text| text.starts_with(['.', '-']))
        {
            return Err(TemplateError::Beginning);
        }
        let last = parts.last().and_then(Part::text);
        if last.is_some_and(ends_in_part) {
            return Err(TemplateError::End);
        }
        let template = Template { parts };
        match template.text_len() {
            ..=MOST => Ok(template),
            _ => Err(TemplateError::TooLong { most: MOST }),
        }
    }
}

impl Part {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Part::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The lengths of the beginnings of a name that this part can stand for.
    fn lengths(&self, name: &[u8]) -> Range<usize> {
        const NONE: Range<usize> = 0..0;
        let only = |len: usize| len..len.saturating_add(1);
        let up_to = |most: usize| 1..most.saturating_add(1);
        let digits = |most: usize| {
            let is_digit = |byte: &&u8| byte.is_ascii_digit();
            up_to(name.iter().take(most).take_while(is_digit).count())
        };
        let pattern = |pattern: &[u8]| {
            let start = name.get(..pattern.len()).unwrap_or_default();
            let fits = |(byte, wanted): (&u8, &u8)| match wanted {
                b'0' => byte.is_ascii_digit(),
                wanted => byte == wanted,
            };
            match start.len() == pattern.len() && start.iter().zip(pattern).all(fits) {
                true => only(pattern.len()),
                false => NONE,
            }
        };
        match self {
            Part::Text(text) => {
                let mut rest = name;
                for byte in text.bytes() {
                    let left = match byte {
                        b'.' => rest.strip_prefix(b".").or(rest.strip_prefix(b"%2E")),
                        byte => rest.strip_prefix(&[byte]),
                    };
                    let Some(left) = left else {
                        return NONE;
                    };
                    rest = left;
                }
                only(name.len().saturating_sub(rest.len()))
            }
            Part::Time => pattern(b"00000000T000000.000000Z"),
            Part::Date => pattern(b"0000-00-00"),
            Part::Hour => pattern(b"00"),
            Part::Port => digits(5),
            Part::Conn => digits(20),
            Part::Peer | Part::Client | Part::Stream => {
                let is_part = |(at, byte): &(usize, &u8)| is_safe(**byte, *at) || **byte == b'%';
                up_to(name.iter().enumerate().take_while(is_part).count())
            }
        }
    }
}

/// Splits a template into text and tokens.
pub(super) fn parse_parts(template: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((text, more)) = rest.split_once('{') {
        let (token, more) = more.split_once('}').ok_or(TemplateError::Unbalanced)?;
        parts.extend(parse_text(text)?);
        parts.push(parse_token(token)?);
        rest = more;
    }
    parts.extend(parse_text(rest)?);
    Ok(parts)
}

fn parse_text(text: &str) -> Result<Option<Part>, TemplateError> {
    match text.contains('}') {
        true => Err(TemplateError::Unbalanced),
        false => Ok((!text.is_empty()).then(|| Part::Text(text.to_owned()))),
    }
}

fn parse_token(token: &str) -> Result<Part, TemplateError> {
    match token {
        "time" => Ok(Part::Time),
        "date" => Ok(Part::Date),
        "hour" => Ok(Part::Hour),
        "peer" => Ok(Part::Peer),
        "port" => Ok(Part::Port),
        "client" => Ok(Part::Client),
        "conn" => Ok(Part::Conn),
        "stream" => Ok(Part::Stream),
        token if token.contains('{') => Err(TemplateError::Unbalanced),
        token => Err(TemplateError::UnknownToken(token.to_owned())),
    }
}

fn is_forbidden(c: char) -> bool {
    c == '/' || c.is_control()
}

/// Cuts a name off after so many bytes, or a few fewer, so that the last character stays whole.
fn cut_off(name: &mut String, most: usize) {
    let end = (0..=most).rev().find(|at| name.is_char_boundary(*at));
    name.truncate(end.unwrap_or(0));
}

/// Finds the dot of something that looks as if it had been added to a name.
fn find_addition(name: &str) -> Option<usize> {
    let dots = memchr_iter(b'.', name.as_bytes());
    let mut additions = dots.filter(|dot| {
        let rest = name.as_bytes().get(dot.saturating_add(1)..);
        let rest = rest.unwrap_or_default();
        let begins = |with: &[u8]| {
            let start = rest.get(..with.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(with))
        };
        let is_last = rest.len() == ".zst".len().saturating_sub(1);
        let (start, behind) = rest.split_at_checked(time::SECOND).unwrap_or_default();
        begins(b"bad-")
            || begins(b"cut-")
            || (begins(b"zst") && is_last)
            || (time::is_second(start) && matches!(behind.first(), None | Some(b'-' | b'.')))
    });
    let part = name.len().saturating_sub(PART.len());
    additions.next().or(ends_in_part(name).then_some(part))
}

/// Whether a name looks like that of an incomplete file, where file systems ignore case too.
fn ends_in_part(name: &str) -> bool {
    let end = name.len().checked_sub(PART.len());
    let end = end.and_then(|end| name.get(end..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(PART))
}

fn peer(address: &Address) -> String {
    match address {
        Address::Ip(address) => match (address.ip().to_canonical(), address) {
            (IpAddr::V4(ip), _) => ip.to_string(),
            // rsync and tar give colons a meaning, and vfat allows none.
            (IpAddr::V6(ip), SocketAddr::V6(address)) if address.scope_id() != 0 => {
                format!("{ip}%{}", address.scope_id()).replace(':', "_")
            }
            (IpAddr::V6(ip), _) => ip.to_string().replace(':', "_"),
        },
        Address::Unix(Some(path)) => {
            safe(&[b"unix:", path.as_os_str().as_encoded_bytes()].concat())
        }
        Address::Unix(None) => "unix".to_owned(),
        Address::Label(label) => safe(label.as_bytes()),
    }
}

pub(super) fn port(address: &Address) -> u16 {
    match address {
        Address::Ip(address) => address.port(),
        Address::Unix(_) | Address::Label(_) => 0,
    }
}

/// Whether a byte of text from outside can stay as it is, at this place in the text.
fn is_safe(byte: u8, at: usize) -> bool {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => true,
        // The first character may begin the name, where these would mark a hidden file or an option.
        b'-' | b'.' | b'@' | b'+' => at > 0,
        _ => false,
    }
}

/// Encodes text from outside as part of a name.
fn safe(value: &[u8]) -> String {
    let mut safe = String::new();
    for byte in value {
        let len = safe.len();
        match is_safe(*byte, len) {
            true => safe.push(char::from(*byte)),
            // Writing to a string does not fail.
            false => _ = write!(safe, "%{byte:02X}"),
        }
        if safe.len() > MOST_OF_VALUE {
            safe.truncate(len);
            break;
        }
    }
    match safe.is_empty() {
        true => UNNAMED.to_owned(),
        false => safe,
    }
}

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/names.rs"]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::conn::ConnId;
    use crate::memory::Memory;
    use crate::peer::Peer;

    #[test]
    fn each_token_stands_for_what_it_says() {
        let opened = UNIX_EPOCH + Duration::from_micros(1_795_462_321_123_456);
        let address: SocketAddr = "192.0.2.7:40312".parse().unwrap();
        let connection = conn(Peer::from(address).named("web.example").named("other"));
        for (template, name) in [
            ("{time}", "20261123T193201.123456Z"),
            ("{date}", "2026-11-23"),
            ("{hour}", "19"),
            ("{peer}", "192.0.2.7"),
            ("{port}", "40312"),
            ("{client}", "web.example"),
            ("{conn}", "7"),
            ("all", "all"),
            ("{conn}{port}", "740312"),
            ("от {peer}, {client}.log", "от 192.0.2.7, web.example.log"),
        ] {
            assert_eq!(
                template
                    .parse::<Template>()
                    .unwrap()
                    .name(&connection, opened),
                name
            );
        }
        let name = Template::default().name(&connection, opened);
        assert_eq!(name, "20261123T193201.123456Z-192.0.2.7-7");
        assert_eq!("{time}-{peer}-{conn}".parse(), Ok(Template::default()));
    }

    #[test]
    fn every_kind_of_peer_can_be_named() {
        let address = |address: &str| Peer::from(address.parse::<SocketAddr>().unwrap());
        for (peer, name) in [
            (address("[2001:db8::1]:9"), "2001_db8__1 9 anonymous"),
            (address("[::1]:9"), "__1 9 anonymous"),
            (address("[fe80::1%4]:9"), "fe80__1%4 9 anonymous"),
            (address("[::ffff:192.0.2.7%4]:9"), "192.0.2.7 9 anonymous"),
            (address("[::ffff:192.0.2.7]:9"), "192.0.2.7 9 anonymous"),
            (Peer::unix(None), "unix 0 anonymous"),
            (
                Peer::unix(Some(Path::new("/run/a b.sock"))),
                "unix%3A%2Frun%2Fa%20b.sock 0 anonymous",
            ),
            (Peer::label("bus").named("boiler"), "bus 0 boiler"),
            (Peer::label("").named(""), "unnamed 0 unnamed"),
        ] {
            assert_eq!(name_of("{peer} {port} {client}", peer), name);
        }
    }

    #[test]
    fn outside_text_is_encoded_where_it_is_more_than_a_part_of_a_name() {
        for (client, name) in [
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            ("..", "%2E."),
            (".", "%2E"),
            (".profile", "%2Eprofile"),
            ("-rf", "%2Drf"),
            ("a\\b", "a%5Cb"),
            ("a b\0\n", "a%20b%00%0A"),
            ("100%", "100%25"),
            ("a@b.example", "a@b.example"),
            ("*.example", "%2A.example"),
            ("\u{202e}gpj", "%E2%80%AEgpj"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(name_of("{client}", Peer::label("").named(client)), name);
        }
    }

    #[test]
    fn no_name_ends_as_that_of_an_incomplete_file_does() {
        for (template, client, name) in [
            ("{client}", "con.part", "con%2Epart"),
            ("{client}", "con.PaRt", "con%2EPaRt"),
            ("{client}", ".part", "%2Epart"),
            ("{client}", "con.part.part", "con.part%2Epart"),
            ("x.{client}", "part", "x%2Epart"),
            ("{client}rt", "x.pa", "x%2Epart"),
            ("{client}", "con.part-1", "con.part-1"),
            ("{client}", "part", "part"),
        ] {
            assert_eq!(name_of(template, Peer::label("").named(client)), name);
        }
        let long = format!("{}.part", "x".repeat(MOST_OF_VALUE - 5));
        let name = name_of("{client}", Peer::label("").named(format!("{long}ly")));
        assert_eq!(name, long.replace(".part", "%2Epart"));
    }

    #[test]
    fn long_names_are_cut_off_and_what_is_encoded_stays_whole() {
        let name = |client: String| name_of("{client}", Peer::label("").named(client));
        assert_eq!(name("x".repeat(128)), "x".repeat(128));
        assert_eq!(name("x".repeat(129)), "x".repeat(128));
        assert_eq!(name("x".repeat(126) + "/"), "x".repeat(126));
        assert_eq!(name("x".repeat(125) + "//"), "x".repeat(125) + "%2F");
        assert_eq!(name("/".repeat(10_000)), "%2F".repeat(42));
        let text = "é".repeat(118);
        let long = name_of(&format!("{text}{{client}}"), Peer::label("").named("/"));
        assert_eq!(long, text + "%");
    }

    #[test]
    fn wrong_templates_are_refused_with_what_is_wrong() {
        use TemplateError::*;
        let unknown = |token: &str| UnknownToken(token.to_owned());
        for (template, error) in [
            ("", Empty),
            ("{", Unbalanced),
            ("}", Unbalanced),
            ("a}b", Unbalanced),
            ("{time", Unbalanced),
            ("time}", Unbalanced),
            ("{ti{me}", Unbalanced),
            ("{{time}}", Unbalanced),
            ("{time}}", Unbalanced),
            ("{}", unknown("")),
            ("{when}", unknown("when")),
            ("{Time}", unknown("Time")),
            ("{time }", unknown("time ")),
            ("logs/{time}", Forbidden('/')),
            ("/", Forbidden('/')),
            ("a\0{time}", Forbidden('\0')),
            ("a\n", Forbidden('\n')),
            (".", Beginning),
            ("..", Beginning),
            (".{client}", Beginning),
            ("-{client}", Beginning),
            ("{time}.part", End),
            ("a.PART", End),
            (".part", Beginning),
        ] {
            assert_eq!(template.parse::<Template>(), Err(error), "{template:?}");
        }
        let longest = "é".repeat(MOST / 2) + "x{conn}";
        assert!(longest.parse::<Template>().is_ok());
        let longer = format!("{longest}y");
        assert_eq!(longer.parse::<Template>(), Err(TooLong { most: MOST }));
    }

    #[test]
    fn a_path_has_the_folders_of_its_template_and_the_time_of_its_lines() {
        let opened = UNIX_EPOCH + Duration::from_micros(1_795_462_321_123_456);
        let connection = conn(Peer::label("bus").named("a/b"));
        let path = |template: &str, later: u64| {
            let template: PathTemplate = template.parse().unwrap();
            let now = opened + Duration::from_secs(later);
            template.path(&connection, opened, now)
        };
        let template = "{client}/{date}/{hour}-{time}.log";
        for (later, expected) in [
            (0, "a%2Fb/2026-11-23/19-20261123T193201.123456Z.log"),
            (3600, "a%2Fb/2026-11-23/20-20261123T193201.123456Z.log"),
            (86_400, "a%2Fb/2026-11-24/19-20261123T193201.123456Z.log"),
        ] {
            assert_eq!(path(template, later), expected);
        }
        for (template, is_dated) in [("{client}/{time}", false), ("{hour}/a", true)] {
            let template: PathTemplate = template.parse().unwrap();
            assert_eq!(template.is_dated(), is_dated);
        }
    }

    #[test]
    fn no_part_of_a_path_looks_as_if_something_had_been_added_to_it() {
        for (client, name) in [
            ("a.20261123T193201Z", "a%2E20261123T193201Z"),
            ("a.20261123t193201z-1", "a%2E20261123t193201z-1"),
            ("a.20261123T193201Z.zst", "a%2E20261123T193201Z%2Ezst"),
            ("a.bad-20261123T193201Z", "a%2Ebad-20261123T193201Z"),
            ("a.CUT-1", "a%2ECUT-1"),
            ("a.zst", "a%2Ezst"),
            ("a.part", "a%2Epart"),
            ("a.zst.part", "a.zst%2Epart"),
            ("a.bad-.bad-", "a%2Ebad-%2Ebad-"),
            ("a.20261123T193201.123456Z", "a.20261123T193201.123456Z"),
            ("a.20261123T193201Zx", "a.20261123T193201Zx"),
            ("a.zst-1", "a.zst-1"),
            ("a.badge.cut", "a.badge.cut"),
        ] {
            let connection = conn(Peer::label("").named(client));
            let template: PathTemplate = "{client}/{client}".parse().unwrap();
            let path = template.path(&connection, UNIX_EPOCH, UNIX_EPOCH);
            assert_eq!(path, format!("{name}/{name}"));
        }
    }

    #[test]
    fn wrong_path_templates_are_refused_with_what_is_wrong() {
        use TemplateError::*;
        for (template, error) in [
            ("", Empty),
            ("/", Empty),
            ("/logs", Empty),
            ("logs/", Empty),
            ("a//b", Empty),
            ("{ti/me}", Unbalanced),
            ("..", Beginning),
            ("logs/../etc", Beginning),
            ("{client}/.hidden", Beginning),
            ("a.part/{time}", End),
            ("a\n", Forbidden('\n')),
        ] {
            assert_eq!(template.parse::<PathTemplate>(), Err(error), "{template:?}");
        }
        let longest = "x".repeat(MOST_OF_PART);
        assert!(
            format!("{longest}/{longest}")
                .parse::<PathTemplate>()
                .is_ok()
        );
        let longer = format!("{longest}y").parse::<PathTemplate>();
        assert_eq!(longer, Err(TooLong { most: MOST_OF_PART }));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn names_that_differ_are_encoded_differently(a in value(), b in value()) {
            prop_assert_eq!(safe(a.as_bytes()) == safe(b.as_bytes()), a == b);
        }
    }

    fn name_of(template: &str, peer: Peer) -> String {
        template
            .parse::<Template>()
            .unwrap()
            .name(&conn(peer), UNIX_EPOCH)
    }

    fn conn(peer: Peer) -> Conn {
        Conn::new(ConnId(7), peer, Memory::new(0))
    }

    /// At most 36 bytes, many of which have a meaning in names.
    fn value() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            select(vec![
                ".", "-", "/", "\\", ".part", "a", "%2E", "\0", " ", "\u{202e}"
            ])
            .prop_map(str::to_owned),
            any::<char>().prop_map(String::from),
        ];
        vec(part, 1..7).prop_map(|parts| parts.concat())
    }
}
