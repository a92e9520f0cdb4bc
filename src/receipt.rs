//! The receipt that a sender gets when its stream has ended.

use std::io::Write;

use crate::error::{Cut, End};
use crate::link::Outcome;
use crate::output::push_json;

/// Builds a receipt, one line of JSON (RFC 8259); see
/// [`ServerBuilder::receipts`](crate::ServerBuilder::receipts).
pub(crate) fn line(received: u64, outcome: &Outcome) -> Vec<u8> {
    let Outcome {
        end,
        delivered,
        crc32c,
        ..
    } = outcome;
    let ok = end.is_clean();
    let mut line = Vec::new();
    // Writing to a Vec does not fail.
    let _ = write!(
        line,
        r#"{{"ok":{ok},"received":{received},"delivered":{delivered},"#
    );
    match end {
        End::Clean => {
            let _ = write!(line, r#""crc32c":"{crc32c:08x}""#);
        }
        end => {
            line.extend_from_slice(br#""reason":""#);
            let reason = match end {
                // The full text may name files of this system, which do not concern the sender.
                End::Cut(Cut::Output { kind, .. }) => format!("cut (the output failed: {kind})"),
                end => end.to_string(),
            };
            push_json(&mut line, &reason);
            line.push(b'"');
        }
    }
    line.extend_from_slice(b"}\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_quoted_whatever_it_quotes() {
        let outcome = Outcome::on_nothing(End::Refused {
            what: "a \"b\"\n\u{1b}".to_owned(),
            claimed: Vec::new(),
            hint: None,
        });
        assert_eq!(
            String::from_utf8(line(7, &outcome)).unwrap(),
            "{\"ok\":false,\"received\":7,\"delivered\":0,\
             \"reason\":\"refused (a \\\"b\\\"\\n\\u001b)\"}\n"
        );
    }
}
