//! Any bytes, as the answer of a server. `fuzz/` runs this too.

use serde_json::{Value, json};

use super::{LIMIT, Receipt, ReceiptStatus};

/// Every accepted receipt is a JSON object with this content.
pub(crate) fn check(answer: &[u8]) {
    let Some(receipt) = Receipt::parse(answer) else {
        return;
    };
    assert!(answer.len() <= LIMIT);
    let other: Value = serde_json::from_slice(answer).expect("a receipt is JSON");
    let (ok, name, value) = match &receipt.status {
        ReceiptStatus::Whole { crc32c } => (true, "crc32c", format!("{crc32c:08x}")),
        ReceiptStatus::Failed { reason } => (false, "reason", reason.clone()),
    };
    let line = json!({
        "ok": ok,
        "received": receipt.received,
        "delivered": receipt.delivered,
        name: value,
    });
    for (name, value) in line.as_object().expect("it is one") {
        assert_eq!(other.get(name), Some(value), "{name}");
    }
    // Written again from its content, it means the same; only escaped text may be longer.
    let line = line.to_string();
    if line.len() <= LIMIT {
        assert_eq!(Receipt::parse(line.as_bytes()), Some(receipt));
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::check;

    const WHOLE: &[u8] = br#"{"ok":true,"received":26,"delivered":6,"crc32c":"0000beef"}"#;
    const FAILED: &[u8] =
        br#" {"ok":false , "received":26,"delivered":6,"more":"\n","reason":"\ud83d\ude00\u00e9"}"#;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_answer_of_a_server_is_a_receipt_to_others_too_or_none(answer: Vec<u8>) {
            check(&answer);
        }

        #[test]
        fn a_damaged_receipt_is_one_to_others_too_or_none(
            mut answer in select(vec![WHOLE.to_vec(), FAILED.to_vec()]),
            damage in vec((any::<prop::sample::Index>(), character()), 0..4),
        ) {
            for (at, byte) in damage {
                let at = at.index(answer.len());
                answer[at] = byte;
            }
            check(&answer);
        }
    }

    fn character() -> impl Strategy<Value = u8> {
        prop_oneof![select(br#"{}":,\u0dfn 1-."#.to_vec()), any::<u8>()]
    }
}
