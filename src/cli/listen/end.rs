//! The message about the end of a connection, and its hint.

use std::borrow::Cow;

use tlsink::proxy::Fault;
use tlsink::{Cut, End, Layer, Limit, Refusal, Report};

use super::super::level::Level;
use super::super::say::Say;
use super::binary;

/// Says how a connection ended, and the remedy if there is one.
pub(super) fn say(to: &Say, level: Level, report: &Report) {
    let (text, end) = (report.to_string(), report.end.to_string());
    to.end(level, &text, &end, hint(report).as_deref());
}

/// The remedy for an end: the library's hint, or the option that decides.
fn hint(report: &Report) -> Option<Cow<'static, str>> {
    if let Some(hint) = report.end.hint() {
        return Some(hint.into());
    }
    Some(match &report.end {
        End::Unsupported {
            layer: Layer::Framing(_),
            ..
        } => "--framing none passes it on as it is".into(),
        End::Unsupported { .. } => "-d none passes it on as it is".into(),
        End::Corrupt {
            layer: Layer::Framing(_),
            ..
        } => "--framing none passes the bytes on as they are".into(),
        End::Refused(Refusal::Address) => "--allow-from allows more".into(),
        End::Refused(Refusal::Proxy(Fault::NotProxy)) => {
            "--proxy-protocol has this peer as a proxy".into()
        }
        End::Cut(Cut::Output { reason, .. }) if reason == binary::REASON => binary::HINT.into(),
        End::Limit(Limit::PerIp { .. }) => "--max-per-ip allows more".into(),
        End::Limit(Limit::Window { window, .. }) => {
            format!("--max-window {window} allows it").into()
        }
        End::Limit(Limit::Memory { .. }) => {
            "--max-memory allows more, of which one sender has half at most".into()
        }
        End::Limit(Limit::Decoded { .. }) => "--max-decoded allows more".into(),
        _ => return None,
    })
}
