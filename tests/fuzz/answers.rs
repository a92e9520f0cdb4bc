//! Any bytes, as the answers of a RELP server. `fuzz/` runs this too.

use super::{Session, SessionError, WINDOW};

/// Answers mean the same in one piece and split, and acknowledge no more than was sent. The first
/// byte chooses the size of the pieces.
pub(crate) fn check(bytes: &[u8]) {
    let Some((size, answers)) = bytes.split_first() else {
        return;
    };
    let whole = session(answers, answers.len().max(1));
    assert_eq!(session(answers, usize::from(size % 16) + 1), whole);
}

/// The acknowledged lines of a session with these answers, and its end.
fn session(answers: &[u8], size: usize) -> (u64, usize, Option<SessionError>) {
    let mut session = Session::default();
    let mut framed = Vec::new();
    session.open(&mut framed);
    let opened = b"1 rsp 37 200 OK\nrelp_version=0\ncommands=syslog\n";
    session.take(opened).expect("it is open");
    for _ in 1..WINDOW {
        session.line(b"line", &mut framed);
    }
    session.close(&mut framed);
    let mut error = None;
    for piece in answers.chunks(size) {
        if let Err(fault) = session.take(piece) {
            assert!(!fault.to_string().is_empty());
            error = Some(fault);
            break;
        }
    }
    let lines = session.lines();
    assert!(lines.acknowledged <= lines.sent);
    (lines.acknowledged, session.outstanding(), error)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::check;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_answers_or_an_error(bytes: Vec<u8>) {
            check(&bytes);
        }

        #[test]
        fn answers_that_are_damaged_are_answers_or_an_error(
            pieces in vec(piece(), 0..20),
            size: u8,
        ) {
            let mut bytes = vec![size];
            bytes.extend(pieces.concat());
            check(&bytes);
        }
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            8 => (1..135_u32).prop_map(|number| format!("{number} rsp 6 200 OK\n").into_bytes()),
            2 => (1..135_u32).prop_map(|number| format!("{number} rsp 0\n").into_bytes()),
            1 => select(vec![
                &b"0 serverclose 0\n"[..],
                b"2 rsp 9 500 error\n",
                b"2 rsp 7 200 OK\n",
                b"2 rsp 4097 ",
                b"\n",
                b" ",
            ]).prop_map(<[u8]>::to_vec),
            1 => vec(any::<u8>(), 0..4),
        ]
    }
}
