//! Reasons for the ends of connections, told apart up to a limit.

/// The most reasons that are told apart at once. There are fewer, but for the alerts that a peer
/// can invent.
pub(super) const REASONS: usize = 64;

/// Stands for all reasons beyond the limit.
pub(super) const OTHER_REASONS: &str = "other reasons";

/// Replaces quotations and numbers in a reason with `…`. Peers choose them, so the number of
/// reasons would have no bound.
pub(super) fn without_particulars(reason: &str) -> String {
    let mut words = String::with_capacity(reason.len());
    let mut rest = reason.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => {
                rest.by_ref().find(|c| *c == '"');
                words.push_str("\"…\"");
            }
            '0'..='9' => {
                while rest
                    .next_if(|c| c.is_ascii_digit() || matches!(c, '-' | '.' | ':'))
                    .is_some()
                {}
                words.push('…');
            }
            c => words.push(c),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_quotations_and_numbers_are_of_one_kind() {
        for (reason, words) in [
            ("no certificate", "no certificate"),
            ("unknown CA \"CN=a b\"", "unknown CA \"…\""),
            (
                "the certificate of CA \"x\" expired on 2021-02-03",
                "the certificate of CA \"…\" expired on …",
            ),
            ("no handshake within 0.5 s", "no handshake within … s"),
            ("cut off \"", "cut off \"…\""),
        ] {
            assert_eq!(without_particulars(reason), words);
        }
    }
}
