//! Any text, as the state of a followed file. `fuzz/` runs this too.

use super::{CHECK, State};

/// A text that is a state is the same when it is written again from its content. The text is tried as
/// it is, and before the checksum that belongs to it.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let checked = format!("{text}{CHECK}{}}}\n", crc32c::crc32c(bytes));
    for text in [text, &checked] {
        if let Some(state) = State::parse(text) {
            assert!(state.generation > 0);
            assert_eq!(State::parse(&state.to_text()), Some(state));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::super::tests::state;
    use super::{CHECK, check};

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_a_state_or_none(text: Vec<u8>) {
            check(&text);
        }

        #[test]
        fn a_damaged_text_with_a_checksum_is_a_state_or_none(
            damage in vec((any::<prop::sample::Index>(), character()), 0..4),
        ) {
            let text = state(12345).to_text();
            let (text, _) = text.rsplit_once(CHECK).unwrap();
            let mut text = text.as_bytes().to_vec();
            for (at, byte) in damage {
                let at = at.index(text.len());
                text[at] = byte;
            }
            check(&text);
        }
    }

    fn character() -> impl Strategy<Value = u8> {
        prop_oneof![4 => select(br#"{}[]":,\u0dfn 1-."#.to_vec()), 1 => any::<u8>()]
    }
}
