//! Detection of a stream's framing from its first bytes.
//!
//! The framing is decided at the earliest possible byte, and depends on nothing but the bytes up to
//! there: not on how they were split on their way.

use memchr::memchr2;

use super::{DIGITS, Framing, MAX_TAG, RecordBuffer};

/// The framing according to the first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detection {
    /// More bytes are needed.
    Undecided,
    /// This framing.
    Framing(Framing),
    /// A protocol of this name, which is not supported.
    Unsupported(&'static str),
}

#[derive(Debug, Default)]
pub(super) struct Detect {
    state: State,
}

#[derive(Debug)]
enum State {
    /// All bytes so far, which are held back: at most a length and a priority, or the tag of a message
    /// and the few bytes behind it.
    Held(Vec<u8>),
    /// In a first line that begins with `{`. Its bytes are passed on, as they are the same with any
    /// framing.
    Object {
        /// The last byte is `}`.
        closed: bool,
    },
}

impl Default for State {
    fn default() -> Self {
        State::Held(Vec::new())
    }
}

impl Detect {
    /// Takes bytes until the framing is decided, and says how many.
    pub(super) fn push(&mut self, bytes: &[u8], records: &mut RecordBuffer) -> (usize, Detection) {
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken) {
            match &mut self.state {
                State::Held(held) if held.is_empty() && *byte == b'{' => {
                    self.state = State::Object { closed: false };
                }
                State::Held(held) => {
                    held.push(*byte);
                    taken += 1;
                    let detection = beginning(held);
                    if detection != Detection::Undecided {
                        return (taken, detection);
                    }
                }
                State::Object { closed } => {
                    let rest = bytes.get(taken..).unwrap_or_default();
                    let Some(end) = memchr2(b'\n', 0, rest) else {
                        records.push(rest);
                        *closed = rest.last() == Some(&b'}');
                        return (bytes.len(), Detection::Undecided);
                    };
                    let (part, behind) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                    records.push(part);
                    if let Some(last) = part.last() {
                        *closed = *last == b'}';
                    }
                    taken = taken.saturating_add(end);
                    if behind.first() == Some(&b'\n') {
                        return (taken, Detection::Framing(Framing::None));
                    }
                    if *closed {
                        return (taken, Detection::Framing(Framing::Nul));
                    }
                    // A NUL in the middle of a line is a byte like others.
                    records.push(&[0]);
                    taken = taken.saturating_add(1);
                }
            }
        }
        (taken, Detection::Undecided)
    }

    /// The bytes that were held back, once the framing is decided.
    pub(super) fn take_held(&mut self, detection: Detection) -> Vec<u8> {
        match &mut self.state {
            State::Held(held) if detection != Detection::Undecided => std::mem::take(held),
            _ => Vec::new(),
        }
    }
}

/// Decides by the first bytes.
fn beginning(held: &[u8]) -> Detection {
    match held {
        [b'1' | b'2', b'W', window @ ..] => match window {
            [] => Detection::Undecided,
            // A window of fewer than 2^24 events.
            [0, ..] => Detection::Framing(Framing::Lumberjack),
            _ => Detection::Framing(Framing::None),
        },
        [0x92..=0x94, ..] => forward(held),
        _ => match counted(held) {
            Detection::Framing(Framing::None) => unsupported(held),
            detection => detection,
        },
    }
}

/// A byte at the beginning of a protocol: this one, one up to this, or any.
#[derive(Clone, Copy)]
enum Byte {
    Is(u8),
    UpTo(u8),
    Any,
}

/// Octet counting with `compression.mode="single"`.
pub(crate) const RSYSLOG_SINGLE: &str = "rsyslog's compression.mode=\"single\"";

/// The beginnings of protocols that are not supported.
const UNSUPPORTED: [(&str, &[Byte]); 7] = {
    use Byte::{Any, Is, UpTo};
    [
        // A ClientHello (RFC 8446, sections 4 and 5.1).
        (
            "TLS within TLS",
            &[Is(0x16), Is(3), UpTo(4), Any, Any, Is(1)],
        ),
        ("the PROXY protocol", &text(b"PROXY TCP4")),
        ("the PROXY protocol", &text(b"PROXY TCP6")),
        ("the PROXY protocol", &text(b"PROXY UNKNOWN")),
        ("the PROXY protocol", &text(b"\r\n\r\n\0\r\nQUIT\n")),
        ("HTTP/2", &text(b"PRI * HTTP/2.0\r\n")),
        (
            "MQTT",
            &[
                Is(0x10),
                Any,
                Is(0),
                Is(4),
                Is(b'M'),
                Is(b'Q'),
                Is(b'T'),
                Is(b'T'),
            ],
        ),
    ]
};

const fn text<const N: usize>(text: &[u8; N]) -> [Byte; N] {
    let mut bytes = [Byte::Any; N];
    let mut at = 0;
    while at < N {
        bytes[at] = Byte::Is(text[at]);
        at += 1;
    }
    bytes
}

/// Decides whether these bytes begin a protocol that is not supported.
fn unsupported(held: &[u8]) -> Detection {
    let mut detection = Detection::Framing(Framing::None);
    for (name, beginning) in UNSUPPORTED {
        let fits = beginning
            .iter()
            .zip(held)
            .all(|(expected, byte)| match expected {
                Byte::Is(expected) => byte == expected,
                Byte::UpTo(most) => byte <= most,
                Byte::Any => true,
            });
        if fits && held.len() >= beginning.len() {
            return Detection::Unsupported(name);
        }
        if fits {
            detection = Detection::Undecided;
        }
    }
    detection
}

/// Decides whether a message of Forward begins like this: an array, a tag, and a time with a record or
/// entries. Text in Windows-1252 and Shift JIS may begin with the same bytes, so that all that can be
/// checked is.
fn forward(held: &[u8]) -> Detection {
    const TEXT: Detection = Detection::Framing(Framing::None);
    let Some((elements, rest)) = held.split_first() else {
        return Detection::Undecided;
    };
    let (header, len) = match rest {
        [] | [0xd9] | [0xda] | [0xda, _] => return Detection::Undecided,
        [first @ 0xa1..=0xbf, ..] => (1, usize::from(first & 0x1f)),
        [0xd9, len, ..] => (2, usize::from(*len)),
        [0xda, high, low, ..] => (3, usize::from(u16::from_be_bytes([*high, *low]))),
        _ => return TEXT,
    };
    if !(1..=MAX_TAG).contains(&len) {
        return TEXT;
    }
    let rest = rest.get(header..).unwrap_or_default();
    let (tag, body) = rest.split_at_checked(len).unwrap_or((rest, &[]));
    // The bytes come one by one: only the last one is new.
    if body.is_empty() && matches!(tag.last(), Some(0..0x20 | 0x7f)) {
        return TEXT;
    }
    if tag.len() < len {
        return Detection::Undecided;
    }
    if body.is_empty() && str::from_utf8(tag).is_err() {
        return TEXT;
    }
    match body {
        [] => Detection::Undecided,
        [0xca | 0xcb | 0xce | 0xcf | 0xd2 | 0xd3 | 0xd7 | 0xc7, ..] if *elements != 0x92 => {
            timed(body)
        }
        [0x90..=0x9f | 0xdc | 0xdd | 0xc4..=0xc6 | 0xd9..=0xdb, ..] if *elements != 0x94 => {
            entries(body)
        }
        _ => TEXT,
    }
}

/// Decides whether a time and a record begin like this.
fn timed(body: &[u8]) -> Detection {
    let time = match body {
        [0xca | 0xce | 0xd2, ..] => 5,
        [0xcb | 0xcf | 0xd3, ..] => 9,
        // An extension of the type 0 and 8 bytes.
        [0xd7, 0, ..] => 10,
        [0xc7, 8, 0, ..] => 11,
        [0xd7] | [0xc7] | [0xc7, 8] => return Detection::Undecided,
        _ => return Detection::Framing(Framing::None),
    };
    match body.get(time) {
        None => Detection::Undecided,
        Some(0x80..=0x8f | 0xde | 0xdf) => Detection::Framing(Framing::Forward),
        Some(_) => Detection::Framing(Framing::None),
    }
}

/// Decides whether entries begin like this: in an array, or packed.
fn entries(body: &[u8]) -> Detection {
    let header = match body {
        [0x90, ..] => return Detection::Framing(Framing::Forward),
        [0x91..=0x9f, ..] => 1,
        [0xc4 | 0xd9, ..] => 2,
        [0xc5 | 0xda | 0xdc, ..] => 3,
        _ => 5,
    };
    match body.get(header) {
        None => Detection::Undecided,
        // An entry; entries in gzip, in zstd; metrics.
        Some(0x92 | 0x1f | 0x28 | 0x80..=0x8f | 0xde | 0xdf) => {
            Detection::Framing(Framing::Forward)
        }
        Some(_) => Detection::Framing(Framing::None),
    }
}

/// Decides whether these bytes begin a frame that begins with a number, `[1-9][0-9]{0,8}`.
fn counted(held: &[u8]) -> Detection {
    let digits = held.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (length, rest) = held.split_at_checked(digits).unwrap_or((held, &[]));
    if length.len() > DIGITS || matches!(length, [] | [b'0', ..]) {
        return Detection::Framing(Framing::None);
    }
    match rest {
        [] | [b' '] => Detection::Undecided,
        [b' ', b'<', priority @ ..] => octet(length, priority),
        // A message that rsyslog has compressed by itself: `z`, then zlib. (A level that makes it begin
        // `zx^` can't be told from text.)
        [b' ', b'z'] | [b' ', b'z', b'x'] => Detection::Undecided,
        [b' ', b'z', b'x', 0x01 | 0x9c | 0xda] => Detection::Unsupported(RSYSLOG_SINGLE),
        [b' ', b'o', ..] => relp(rest),
        _ => Detection::Framing(Framing::None),
    }
}

/// Decides whether an open command of RELP goes on like this: ` open`, a length, and an offer.
fn relp(rest: &[u8]) -> Detection {
    const OPEN: &[u8] = b" open ";
    const OFFERS: [&[u8]; 3] = [b"relp_version=", b"relp_software=", b"commands="];
    let Some(rest) = rest.strip_prefix(OPEN) else {
        return match OPEN.starts_with(rest) {
            true => Detection::Undecided,
            false => Detection::Framing(Framing::None),
        };
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (length, rest) = rest.split_at_checked(digits).unwrap_or((rest, &[]));
    if length.len() > DIGITS || length.first() == Some(&b'0') {
        return Detection::Framing(Framing::None);
    }
    let offer = match rest {
        [] | [b' '] | [b' ', b'\n'] => return Detection::Undecided,
        [b' ', b'\n', offer @ ..] | [b' ', offer @ ..] if digits > 0 => offer,
        _ => return Detection::Framing(Framing::None),
    };
    if OFFERS.iter().any(|known| offer.starts_with(known)) {
        Detection::Framing(Framing::Relp)
    } else if OFFERS.iter().any(|known| known.starts_with(offer)) {
        Detection::Undecided
    } else {
        Detection::Framing(Framing::None)
    }
}

/// Decides whether a frame of this length begins with a syslog priority `P>`, from 0 to 191 without
/// leading zeros (RFC 5424, section 6.2.1), and is long enough for it.
fn octet(length: &[u8], priority: &[u8]) -> Detection {
    let (number, ends) = match priority {
        [number @ .., b'>'] => (number, true),
        number => (number, false),
    };
    let value = number.iter().try_fold(0_usize, |value, digit| {
        digit
            .is_ascii_digit()
            .then(|| value * 10 + usize::from(digit - b'0'))
    });
    match (value, number) {
        (None, _) | (_, [b'0', _, ..]) => Detection::Framing(Framing::None),
        (Some(value), _) if value > 191 => Detection::Framing(Framing::None),
        (_, []) if ends => Detection::Framing(Framing::None),
        _ if !ends => Detection::Undecided,
        _ => {
            let length = length
                .iter()
                .fold(0, |value, digit| value * 10 + usize::from(digit - b'0'));
            match length >= number.len() + 2 {
                true => Detection::Framing(Framing::Octet),
                false => Detection::Framing(Framing::None),
            }
        }
    }
}
