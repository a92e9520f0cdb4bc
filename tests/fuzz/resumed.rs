//! Any bytes, as a line of either side of a resumed stream. `fuzz/` runs this too.

use tlsink::resume::{Answer, MAX_LINE, MAX_NAME, Preamble};

/// No line is of both sides, and each means the same when it is written again from its content.
pub fn check(line: &[u8]) {
    let (preamble, answer) = (Preamble::parse(line), Answer::parse(line));
    assert!(line.len() <= MAX_LINE || (preamble.is_err() && answer.is_err()));
    if let Ok(preamble) = preamble {
        assert!(answer.is_err());
        assert!((1..=MAX_NAME).contains(&preamble.stream().len()));
        assert!(!preamble.stream().contains(char::is_control));
        is_one_line(&preamble.to_line());
        assert_eq!(Preamble::parse(&preamble.to_line()), Ok(preamble));
    }
    match answer {
        Err(_) => {}
        // This one stays as it came.
        Ok(Answer::Receipt(receipt)) => assert_eq!(receipt, line),
        Ok(answer) => {
            let again = answer.to_line();
            // Escaped text may be longer.
            if again.len() <= MAX_LINE {
                is_one_line(&again);
                assert_eq!(Answer::parse(&again), Ok(answer));
            }
        }
    }
}

fn is_one_line(line: &[u8]) {
    assert_eq!(
        line.iter().position(|byte| *byte == b'\n'),
        Some(line.len() - 1)
    );
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::check;

    const LINES: [&str; 9] = [
        r#"tlsink/1 {"stream":"web1:/app.log:\u00e9","from":31,"crc32c":"e3069283"}"#,
        r#"tlsink/1  {"from":18446744073709551615,"more":[{}],"stream":"\"s\""}"#,
        r#"tlsink/1 {"stream":"s","from":9,"crc32c":"e3069283","instance":"00000000000000ff","start":7}"#,
        r#"{"at":9,"crc32c":"e3069283"}"#,
        r#"{"ack":31}"#,
        r#"{"wait":true}"#,
        r#"{"error":"no \u001b \"--state\""}"#,
        r#"{"ok":true,"received":26,"delivered":6,"crc32c":"0000beef"}"#,
        r#"{"ok":false,"received":26,"delivered":6,"reason":"cut (stopped)"}"#,
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_a_line_of_one_side_or_none(line: Vec<u8>) {
            check(&line);
        }

        #[test]
        fn a_damaged_line_is_one_of_the_same_side_or_none(
            line in select(LINES.to_vec()),
            damage in vec((any::<prop::sample::Index>(), character()), 0..4),
        ) {
            let mut line = line.as_bytes().to_vec();
            for (at, byte) in damage {
                let at = at.index(line.len());
                line[at] = byte;
            }
            check(&line);
        }
    }

    fn character() -> impl Strategy<Value = u8> {
        prop_oneof![select(br#"{}":,\u0dfn 1-."#.to_vec()), any::<u8>()]
    }
}
