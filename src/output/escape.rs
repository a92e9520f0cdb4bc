//! Escaping, which makes text from outside harmless: escaped text moves no cursor, sets no colour,
//! turns no text around and begins no other line.

use std::fmt;
use std::io::{self, Write};
use std::str;

/// Shows text from outside on one line: for names and labels in messages.
///
/// Escaped are control characters (tab, CR and LF among them) and each byte that is not UTF-8, as
/// `\xNN`, and the characters that end a line or set the direction of text in Unicode, as
/// `\u{NNNN}`. Everything else stays as it is, a backslash too.
///
/// ```
/// use tlsink::output::escaped;
///
/// assert_eq!(escaped("naïve\u{1b}[2J\n").to_string(), r"naïve\x1b[2J\x0a");
/// assert_eq!(escaped(b"\xff \xe2\x80\xae").to_string(), r"\xff \u{202e}");
/// ```
pub fn escaped<T: AsRef<[u8]> + ?Sized>(text: &T) -> Escaped<'_> {
    Escaped(text.as_ref())
}

/// The printable text that [`escaped`] returns.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in Pieces::new(self.0, Extent::Line) {
            match piece {
                Piece::Harmless(text) => f.write_str(text)?,
                Piece::Bytes(bytes) => {
                    for byte in bytes {
                        write!(f, "\\x{byte:02x}")?;
                    }
                }
                Piece::Char(c) => write!(f, "{}", c.escape_unicode())?,
            }
        }
        Ok(())
    }
}

/// Writes text of many lines, escaped like [`escaped`], but with its tabs, its newlines, and each
/// CR directly before a newline.
pub(super) fn write_escaped(writer: &mut impl Write, text: &[u8]) -> io::Result<()> {
    for piece in Pieces::new(text, Extent::Text) {
        match piece {
            Piece::Harmless(text) => writer.write_all(text.as_bytes())?,
            // Not through `fmt`: an entire stream may consist of such bytes.
            Piece::Bytes(bytes) => {
                for byte in bytes {
                    writer.write_all(&[b'\\', b'x', hex(byte >> 4), hex(byte & 0xf)])?;
                }
            }
            Piece::Char(c) => write!(writer, "{}", c.escape_unicode())?,
        }
    }
    Ok(())
}

/// The most bytes that one byte of text, or of JSON, becomes in JSON.
pub(super) const LONGEST_IN_JSON: usize = 6;

/// Appends text as it stands between the quotes of a JSON string (RFC 8259, section 7).
///
/// In addition to the characters that JSON requires, this escapes all characters that [`escaped`]
/// would escape, and all invisible ones: the string is harmless on a terminal, and a parser still
/// gets the original text back.
pub(crate) fn push_json(json: &mut Vec<u8>, text: &str) {
    push::<false>(json, text);
}

/// Appends an object, or another value of JSON, on one line.
///
/// It keeps its bytes, except those characters that JSON doesn't require to be escaped and
/// [`push_json`] escapes: they are in strings, and are escaped there. Whitespace between tokens
/// becomes spaces, byte by byte.
///
/// Pieces of an object may be appended one by one.
pub(super) fn push_object(json: &mut Vec<u8>, object: &str) {
    push::<true>(json, object);
}

fn push<const IS_JSON: bool>(json: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    // The bytes before `done` are in `json`; those from there to `at` stay as they are.
    let (mut done, mut at) = (0_usize, 0_usize);
    loop {
        let (words, tail) = bytes.get(at..).unwrap_or_default().as_chunks();
        let mut found = None;
        for word in words {
            let marks = marks::<IS_JSON>(word);
            if marks != 0 {
                if !word.is_ascii() {
                    found = Some(marks.trailing_zeros() as usize / 8);
                    break;
                }
                json.extend_from_slice(bytes.get(done..at).unwrap_or_default());
                push_word::<IS_JSON>(json, word);
                done = at.saturating_add(WORD);
            }
            at = at.saturating_add(WORD);
        }
        let is_marked = |byte: &u8| !is_plain::<IS_JSON>(*byte);
        let Some(found) = found.or_else(|| tail.iter().position(is_marked)) else {
            break;
        };
        at = at.saturating_add(found);
        let rest = text.get(at..).unwrap_or_default();
        let harmless = rest.bytes().take_while(|byte| is_harmless(*byte)).count();
        if harmless > 0 {
            at = at.saturating_add(harmless);
            continue;
        }
        let Some(c) = rest.chars().next() else {
            break;
        };
        let end = at.saturating_add(c.len_utf8());
        if c.is_ascii() || c.is_control() || directs(c) || formats(c) {
            json.extend_from_slice(bytes.get(done..at).unwrap_or_default());
            push_escape::<IS_JSON>(json, c);
            done = end;
        }
        at = end;
    }
    json.extend_from_slice(bytes.get(done..).unwrap_or_default());
}

/// The number of bytes that are examined, and escaped, together.
const WORD: usize = 8;

const EACH: u64 = u64::from_ne_bytes([1; WORD]);

/// Whether an ASCII character stays as it is.
fn is_plain<const IS_JSON: bool>(byte: u8) -> bool {
    matches!(byte, b' '..0x7f) && (IS_JSON || !matches!(byte, b'"' | b'\\'))
}

/// Sets the highest bit of each byte that is not plain. Bytes behind the first of them may be
/// marked too, as a subtraction borrows from the byte behind.
fn marks<const IS_JSON: bool>(word: &[u8; WORD]) -> u64 {
    let word = u64::from_le_bytes(*word);
    let is = |byte: u8| {
        let zero = word ^ (EACH * u64::from(byte));
        zero.wrapping_sub(EACH) & !zero
    };
    let control = word.wrapping_sub(EACH * 0x20) & !word;
    let escaped = match IS_JSON {
        false => is(b'"') | is(b'\\'),
        true => 0,
    };
    (word | control | escaped | is(0x7f)) & (EACH * 0x80)
}

/// Appends ASCII characters, some of which are escaped: any number takes the same time.
fn push_word<const IS_JSON: bool>(json: &mut Vec<u8>, word: &[u8; WORD]) {
    // A whole entry is stored for each character. The next one overwrites the unused end.
    let mut room = [0; WORD * ENTRY];
    let mut end = 0_usize;
    for byte in word {
        let entry = ascii::<IS_JSON>().get(usize::from(*byte));
        let entry = entry.unwrap_or(&[0; ENTRY]);
        if let Some(place) = room.get_mut(end..).and_then(<[u8]>::first_chunk_mut) {
            *place = *entry;
        }
        let [.., len] = *entry;
        end = end.saturating_add(usize::from(len));
    }
    // With a constant length, this is no call of memcpy.
    let longest = room.get(..WORD * LONGEST_IN_JSON).unwrap_or_default();
    let end = json.len().saturating_add(end);
    json.extend_from_slice(longest);
    json.truncate(end);
}

fn push_escape<const IS_JSON: bool>(json: &mut Vec<u8>, c: char) {
    if let Some(entry) = ascii::<IS_JSON>().get(c as usize) {
        let [.., len] = *entry;
        json.extend_from_slice(entry.get(..usize::from(len)).unwrap_or_default());
        return;
    }
    for unit in c.encode_utf16(&mut [0; 2]) {
        json.extend_from_slice(&json_unit(*unit));
    }
}

/// The size of an entry of [`Ascii`], in bytes: one store.
const ENTRY: usize = 8;

/// Each ASCII character as it is written. The last byte of an entry is the number of bytes that are
/// used.
type Ascii = [[u8; ENTRY]; 128];

/// The characters of a text, as they stand in a JSON string.
static OF_TEXT: Ascii = ascii_table(false);

/// The characters of an object, as they stand in an object on one line.
static OF_OBJECT: Ascii = ascii_table(true);

fn ascii<const IS_JSON: bool>() -> &'static Ascii {
    match IS_JSON {
        false => &OF_TEXT,
        true => &OF_OBJECT,
    }
}

const fn ascii_table(is_json: bool) -> Ascii {
    let mut table = [[0; ENTRY]; 128];
    let mut byte = 0;
    while byte < 128 {
        table[byte as usize] = match byte {
            // In an object, whitespace; in its strings, JSON requires others to be escaped already.
            0..0x20 if is_json => kept(b' '),
            b'"' | b'\\' if is_json => kept(byte),
            byte => json_ascii(byte),
        };
        byte += 1;
    }
    table
}

const fn kept(byte: u8) -> [u8; ENTRY] {
    [byte, 0, 0, 0, 0, 0, 0, 1]
}

const fn json_ascii(byte: u8) -> [u8; ENTRY] {
    let short = match byte {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        b'"' | b'\\' => byte,
        0..0x20 | 0x7f => {
            let [a, b, c, d, e, f] = json_unit(byte as u16);
            return [a, b, c, d, e, f, 0, 6];
        }
        _ => return kept(byte),
    };
    [b'\\', short, 0, 0, 0, 0, 0, 2]
}

/// A code unit of UTF-16, as JSON shows it by number.
const fn json_unit(unit: u16) -> [u8; LONGEST_IN_JSON] {
    let [high, low] = unit.to_be_bytes();
    [
        b'\\',
        b'u',
        hex(high >> 4),
        hex(high & 0xf),
        hex(low >> 4),
        hex(low & 0xf),
    ]
}

/// Whether a byte is part of a character beyond ASCII that is never escaped in JSON.
fn is_harmless(byte: u8) -> bool {
    match byte {
        0x00..0x80 => false,
        // The first bytes of C1 and U+00AD, of U+061C, of U+180E, of those around U+2028 and
        // U+2066, of U+FEFF, and of U+E0001.
        0xc2 | 0xd8 | 0xe1 | 0xe2 | 0xef | 0xf3 => false,
        _ => true,
    }
}

/// The undecided end of a text that comes in parts: a CR, which may stand before LF, or the first
/// bytes of a character.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// At most three bytes between calls.
    bytes: Vec<u8>,
}

impl Held {
    /// Passes on, in order, all bytes that are decided now that `part` has come, and holds back the
    /// rest. The escaped text does not depend on which bytes are passed on together.
    pub(super) fn resolve(
        &mut self,
        mut part: &[u8],
        mut resolved: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        // Four bytes decide any beginning, so this is done after a few rounds.
        while !self.bytes.is_empty() {
            let Some((first, rest)) = part.split_first() else {
                return Ok(());
            };
            part = rest;
            self.bytes.push(*first);
            let (now, later) = split_resolved(&self.bytes);
            resolved(now)?;
            self.bytes = later.to_vec();
        }
        let (now, later) = split_resolved(part);
        resolved(now)?;
        self.bytes.extend_from_slice(later);
        Ok(())
    }

    /// Takes the held bytes when no more text follows.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// The extent of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Several lines: tab, LF and CR-LF are part of the text.
    Text,
    /// One line.
    Line,
}

/// A part of a text, by the way it is written.
enum Piece<'a> {
    /// Written as it is.
    Harmless(&'a str),
    /// Escaped byte by byte.
    Bytes(&'a [u8]),
    /// Escaped by its code point.
    Char(char),
}

/// Splits a text into [`Piece`]s.
struct Pieces<'a> {
    extent: Extent,
    /// The first part, which is valid.
    valid: &'a str,
    /// The second part, which is not valid.
    invalid: &'a [u8],
    /// The last part, which has not been examined.
    rest: &'a [u8],
}

impl<'a> Pieces<'a> {
    fn new(text: &'a [u8], extent: Extent) -> Self {
        Pieces {
            extent,
            valid: "",
            invalid: &[],
            rest: text,
        }
    }

    /// Finds the next character to escape in the valid part: its beginning, its end, and the
    /// character.
    fn harmful(&self) -> Option<(usize, usize, char)> {
        let bytes = self.valid.as_bytes();
        let mut from = 0;
        loop {
            let rest = bytes.get(from..)?;
            let at = from.saturating_add(rest.iter().position(|byte| self.is_suspect(*byte))?);
            let after = self.valid.get(at..)?;
            let c = after.chars().next()?;
            from = at.saturating_add(c.len_utf8());
            let keep = match c {
                '\r' => self.extent == Extent::Text && after.starts_with("\r\n"),
                c => !c.is_control() && !directs(c),
            };
            if !keep {
                return Some((at, from, c));
            }
        }
    }

    /// Whether a valid character that begins with this byte may have to be escaped.
    fn is_suspect(&self, byte: u8) -> bool {
        match byte {
            b'\t' | b'\n' => self.extent == Extent::Line,
            0x00..0x20 | 0x7f => true,
            // The first bytes of C1, of U+061C, and of those around U+2028 and U+2066.
            0xc2 | 0xd8 | 0xe2 => true,
            _ => false,
        }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.valid.is_empty() && self.invalid.is_empty() {
            match str::from_utf8(self.rest) {
                Ok(rest) => {
                    self.valid = rest;
                    self.rest = &[];
                }
                Err(_) => {
                    let chunk = self.rest.utf8_chunks().next()?;
                    self.valid = chunk.valid();
                    self.invalid = chunk.invalid();
                    let len = self.valid.len().saturating_add(self.invalid.len());
                    self.rest = self.rest.get(len..).unwrap_or_default();
                }
            }
        }
        let valid = self.valid;
        match self.harmful() {
            _ if valid.is_empty() => {
                let invalid = std::mem::take(&mut self.invalid);
                (!invalid.is_empty()).then_some(Piece::Bytes(invalid))
            }
            None => {
                self.valid = "";
                Some(Piece::Harmless(valid))
            }
            Some((0, end, c)) => {
                let (escape, rest) = valid.split_at_checked(end)?;
                self.valid = rest;
                Some(match c.is_control() {
                    true => Piece::Bytes(escape.as_bytes()),
                    false => Piece::Char(c),
                })
            }
            Some((at, ..)) => {
                let (harmless, rest) = valid.split_at_checked(at)?;
                self.valid = rest;
                Some(Piece::Harmless(harmless))
            }
        }
    }
}

/// Whether a character sets the direction of the text around it (UAX #9, section 2), or ends a line
/// or paragraph according to Unicode.
fn directs(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// Whether a character is invisible (those of Unicode's format characters that don't
/// [direct](directs) text): soft hyphens, zero-width and invisible characters, byte order marks,
/// annotations, tags. Texts can differ in them and look the same.
fn formats(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Splits off the end that can't be decided before more text comes.
fn split_resolved(text: &[u8]) -> (&[u8], &[u8]) {
    let open = match text.last() {
        Some(b'\r') => 1,
        _ => incomplete(text),
    };
    let at = text.len().saturating_sub(open);
    text.split_at_checked(at).unwrap_or((text, &[]))
}

/// The number of bytes at the end that begin an incomplete character.
pub(super) fn incomplete(text: &[u8]) -> usize {
    // The longest character has four bytes.
    let end = text.get(text.len().saturating_sub(3)..).unwrap_or_default();
    let is_first = |byte: &u8| byte & 0xc0 != 0x80;
    let last = end
        .iter()
        .rposition(is_first)
        .and_then(|first| end.get(first..));
    match last.map(|last| (last.len(), str::from_utf8(last))) {
        Some((len, Err(error))) if error.error_len().is_none() => len,
        _ => 0,
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        0..10 => digit.wrapping_add(b'0'),
        _ => digit.wrapping_sub(10).wrapping_add(b'a'),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;

    #[test]
    fn harmless_text_is_left_alone() {
        for text in [
            "",
            "plain",
            r"C:\x1b",
            "naïve “quotes” €",
            "العربية",
            "日本語",
            "🦀",
        ] {
            assert_eq!(text_escaped(text), text);
            assert_eq!(escaped(text).to_string(), text);
        }
    }

    #[test]
    fn control_characters_are_shown_byte_by_byte() {
        assert_eq!(text_escaped("\x1b]0;title\x07"), r"\x1b]0;title\x07");
        assert_eq!(text_escaped("\0\x08\x7f"), r"\x00\x08\x7f");
        assert_eq!(
            text_escaped("\u{80}\u{9b}2J\u{9f}\u{a0}"),
            "\\xc2\\x80\\xc2\\x9b2J\\xc2\\x9f\u{a0}"
        );
    }

    #[test]
    fn each_byte_that_is_not_utf8_is_shown() {
        let cases: [(&[u8], &str); 7] = [
            (b"\xff", r"\xff"),
            (b"a\x9bb", r"a\x9bb"),
            (b"\xe2\x82", r"\xe2\x82"),
            (b"\xe2\x82A", r"\xe2\x82A"),
            (b"\xc0\x80", r"\xc0\x80"),
            (b"\xed\xa0\x80", r"\xed\xa0\x80"),
            (b"\xf4\x90\x80\x80", r"\xf4\x90\x80\x80"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(text_escaped(bytes), shown);
            assert_eq!(escaped(bytes).to_string(), shown);
        }
    }

    #[test]
    fn characters_that_direct_text_are_shown_by_number() {
        let directing = ('\u{202a}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}')
            .chain(['\u{200e}', '\u{200f}', '\u{61c}', '\u{2028}', '\u{2029}']);
        for c in directing {
            let shown = format!("a\\u{{{:x}}}b", u32::from(c));
            assert_eq!(text_escaped(format!("a{c}b")), shown);
            assert_eq!(escaped(&format!("a{c}b")).to_string(), shown);
        }
        for c in [
            '\u{200d}', '\u{2010}', '\u{2027}', '\u{202f}', '\u{2065}', '\u{206a}', '\u{61b}',
        ] {
            assert_eq!(text_escaped(c.to_string()), c.to_string());
        }
    }

    #[test]
    fn text_keeps_its_lines_and_a_line_stays_one() {
        assert_eq!(text_escaped("a\tb\r\nc\n"), "a\tb\r\nc\n");
        assert_eq!(text_escaped("a\rb\r\r\n\r"), "a\\x0db\\x0d\r\n\\x0d");
        assert_eq!(text_escaped(b"\r\xff\n"), "\\x0d\\xff\n");
        assert_eq!(escaped("a\tb\r\nc\n").to_string(), r"a\x09b\x0d\x0ac\x0a");
    }

    #[test]
    fn no_more_is_held_back_than_the_beginning_of_a_character_or_a_cr() {
        let cases: [(&[u8], usize); 12] = [
            (b"", 0),
            (b"a", 0),
            (b"a\r", 1),
            (b"\r\r", 1),
            (b"\r\n", 0),
            (b"\xc3", 1),
            ("é".as_bytes(), 0),
            (b"a\xe2\x82", 2),
            (b"\xf0\x9f\xa6", 3),
            ("🦀".as_bytes(), 0),
            (b"\xed\xa0", 0),
            (b"\x80\x80\x80\x80", 0),
        ];
        for (text, held) in cases {
            assert_eq!(split_resolved(text).1.len(), held, "{text:x?}");
        }
    }

    #[test]
    fn runs_of_each_ascii_character_are_escaped_in_json_wherever_they_begin_and_end() {
        const LENS: [usize; 15] = [0, 1, 2, 6, 7, 8, 9, 15, 16, 17, 23, 24, 31, 32, 33];
        for byte in 0..0x80 {
            for len in LENS {
                let run = char::from(byte).to_string().repeat(len);
                for before in ["", "a", "0123456", "01234567", "é", "012345€", "\u{202e}"] {
                    for behind in ["", "a", "0123456789", "é", "\u{9b}", "\"", "a\0"] {
                        assert_json(&format!("{before}{run}{behind}"));
                    }
                }
            }
        }
    }

    #[test]
    fn each_two_ascii_characters_are_escaped_in_json_side_by_side() {
        // A mark may spill over to the byte behind.
        for first in '\0'..'\u{80}' {
            for second in '\0'..'\u{80}' {
                let pair = format!("{first}{second}");
                for text in [
                    format!("{pair}012345"),
                    format!("012{pair}345"),
                    format!("0123456{pair}"),
                    format!("012{pair}é"),
                    pair.repeat(4),
                ] {
                    assert_json(&text);
                }
            }
        }
    }

    #[test]
    fn nothing_is_left_behind_where_json_grows() {
        let mut json = b"before".to_vec();
        json.shrink_to_fit();
        push_json(&mut json, "\x01234567\x01");
        push_json(&mut json, "behind");
        assert_eq!(json, br"before\u0001234567\u0001behind");
    }

    #[test]
    fn an_object_is_one_line_and_every_character_that_a_string_may_have_is_given_back() {
        let may_stand = |c: &char| *c >= ' ' && !matches!(c, '"' | '\\');
        let all: Vec<char> = (char::MIN..=char::MAX).filter(may_stand).collect();
        for some in all.chunks(1024) {
            assert_object(&format!("{{\n\"a\":\t\"{}\"\r}}", String::from_iter(some)));
        }
        for byte in (0x20..0x80).chain(*b"\t\n\r") {
            for len in [0, 1, 7, 8, 9, 16, 33] {
                let run = char::from(byte).to_string().repeat(len);
                for before in ["", "a", "01234567", "é", "012345€", "\u{202e}"] {
                    assert_object(&format!("{before}{run}\u{7f}{run}é{run}"));
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_object_is_the_same_in_any_pieces(
            object in "[a{}\"\\\\:, \t\n\r\u{7f}\u{9b}é€\u{202e}\u{feff}🦀\u{e0001}]{0,40}",
            cut in any::<Index>(),
        ) {
            assert_object(&object);
            let boundaries: Vec<usize> =
                (0..=object.len()).filter(|at| object.is_char_boundary(*at)).collect();
            let (first, second) = object.split_at(*cut.get(&boundaries));
            let (mut whole, mut joined) = (Vec::new(), Vec::new());
            push_object(&mut whole, &object);
            push_object(&mut joined, first);
            push_object(&mut joined, second);
            prop_assert_eq!(whole, joined);
        }

        #[test]
        fn json_is_escaped_the_same_as_character_by_character(
            parts in vec(prop_oneof![
                select(vec!["plain text", "\0", "\x1f\x1b", "\"\\", "\n", "\x7f"])
                    .prop_map(str::to_owned),
                "[\0-\x7f]{1,20}",
                any::<char>().prop_map(String::from),
                "[\u{80}-\u{ad}\u{2000}-\u{206f}é]{1,8}",
            ], 0..24),
        ) {
            assert_json(&parts.concat());
        }

        #[test]
        fn any_split_is_escaped_the_same(text in text(), cuts in vec(any::<Index>(), 0..8)) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let mut held = Held::default();
            let mut out = Vec::new();
            let mut from = 0;
            for cut in cuts {
                held.resolve(&text[from..cut], |bytes| write_escaped(&mut out, bytes)).unwrap();
                prop_assert!(held.bytes.len() <= 3);
                from = cut;
            }
            write_escaped(&mut out, &held.take()).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap(), text_escaped(&text));
        }

        #[test]
        fn what_is_escaped_holds_nothing_that_needs_it(text in text()) {
            let shown = text_escaped(&text);
            for (at, c) in shown.char_indices() {
                let kept = matches!(c, '\t' | '\n') || shown[at..].starts_with("\r\n");
                prop_assert!(kept || !(c.is_control() || directs(c)), "{c:?}");
            }
            let shown = escaped(&text).to_string();
            prop_assert!(!shown.chars().any(|c| c.is_control() || directs(c)));
        }
    }

    /// Compares the JSON of a text with that of a simple loop, and parses it.
    fn assert_json(text: &str) {
        let mut json = Vec::new();
        push_json(&mut json, text);
        let json = String::from_utf8(json).unwrap();
        let mut expected = String::new();
        for c in text.chars() {
            match c {
                '"' | '\\' => expected.extend(['\\', c]),
                '\n' => expected.push_str(r"\n"),
                '\r' => expected.push_str(r"\r"),
                '\t' => expected.push_str(r"\t"),
                c if c.is_control() || directs(c) || formats(c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        expected.push_str(&format!(r"\u{unit:04x}"));
                    }
                }
                c => expected.push(c),
            }
        }
        assert_eq!(json, expected, "{text:?}");
        let parsed: String = serde_json::from_str(&format!("\"{json}\"")).unwrap();
        assert_eq!(parsed, text);
    }

    /// Compares an object on one line with that of a simple loop. If it is one, parses both.
    fn assert_object(object: &str) {
        let mut json = Vec::new();
        push_object(&mut json, object);
        let json = String::from_utf8(json).unwrap();
        let mut expected = String::new();
        for c in object.chars() {
            match c {
                '\n' | '\r' | '\t' => expected.push(' '),
                c if c.is_control() || directs(c) || formats(c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        expected.push_str(&format!(r"\u{unit:04x}"));
                    }
                }
                c => expected.push(c),
            }
        }
        assert_eq!(json, expected, "{object:?}");
        let parse = |json: &str| serde_json::from_str::<serde_json::Value>(json).ok();
        if let Some(value) = parse(object) {
            assert_eq!(parse(&json), Some(value));
        }
    }

    fn text_escaped(text: impl AsRef<[u8]>) -> String {
        let mut out = Vec::new();
        write_escaped(&mut out, text.as_ref()).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Bytes with many parts of characters and ends of lines.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            select(vec!["a", "\r", "\n", "\t", "\x1b", "\u{9b}", "\u{202e}"])
                .prop_map(|part| part.as_bytes().to_vec()),
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
            any::<u8>().prop_map(|byte| vec![byte]),
            // The beginning of a character.
            any::<char>().prop_map(|c| c.to_string().as_bytes()[..c.len_utf8() - 1].to_vec()),
        ];
        vec(part, 0..24).prop_map(|parts| parts.concat())
    }
}
