//! Quotations of text that a peer chose.

use std::borrow::Cow;

/// The number of names, and of bytes of each, that are quoted from a certificate that nobody
/// verified.
pub(crate) const QUOTED: (usize, usize) = (3, 128);

/// The text, cut off after [`QUOTED`] bytes and marked with a `…` if it is longer.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= QUOTED.1 {
        return text.into();
    }
    let end = (0..=QUOTED.1).rev().find(|at| text.is_char_boundary(*at));
    let shown = text.get(..end.unwrap_or(0)).unwrap_or_default();
    format!("{shown}…").into()
}

/// The [shortened] text in quotation marks, which the text itself cannot close.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", shortened(text).replace('"', "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortened_text_is_cut_between_characters_and_stays_as_it_is() {
        let whole = "é".repeat(QUOTED.1 / 2);
        assert_eq!(shortened(&whole), whole);
        let cut = shortened(&format!("a{whole}")).into_owned();
        assert_eq!(cut, format!("a{}…", "é".repeat(QUOTED.1 / 2 - 1)));
        assert_eq!(quoted(&cut), format!("\"{cut}\""));
        assert_eq!(quoted("a\"b"), "\"a'b\"");
    }
}
