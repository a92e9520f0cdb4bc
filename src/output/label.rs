//! Labels: the names of senders in front of their lines.

use super::escape::escaped;
use crate::peer::Peer;

/// The most that a label shows of a name or an address, in bytes: a label should not be longer than
/// the lines behind it.
const LABEL: usize = 256;

/// Shows a peer as one word: `NAME@ADDRESS` with the first of its verified [names](Peer::names),
/// `ADDRESS` without one.
///
/// Name and address are [escaped], including spaces; only their first 256 bytes are shown.
///
/// ```
/// use tlsink::Peer;
/// use tlsink::output::label;
///
/// let peer = Peer::from(std::net::SocketAddr::from(([192, 0, 2, 7], 40312))).named("boiler");
/// assert_eq!(label(&peer), "boiler@192.0.2.7:40312");
/// ```
pub fn label(peer: &Peer) -> String {
    let address = word(&peer.to_string());
    match peer.names().first() {
        Some(name) => format!("{}@{address}", word(name)),
        None => address,
    }
}

/// Makes one word of text from outside, so that a label ends where it seems to.
pub(super) fn word(text: &str) -> String {
    let end = (0..=LABEL).rev().find(|at| text.is_char_boundary(*at));
    let (text, rest) = text
        .split_at_checked(end.unwrap_or(0))
        .unwrap_or((text, ""));
    let mut word = String::with_capacity(text.len());
    for c in escaped(text).to_string().chars() {
        match c {
            ' ' => word.push_str("\\x20"),
            c if c.is_whitespace() => word.extend(c.escape_unicode()),
            c => word.push(c),
        }
    }
    if !rest.is_empty() {
        word.push('…');
    }
    word
}
