//! The answer to a stream that has ended: a receipt, if receipts are on, and a close_notify, if the
//! stream was clean.

use std::io::Write;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};

use super::deadline::Deadline;
use super::guard::Guard;
use super::stream::PeerStream;
use crate::end::{Cut, End};
use crate::link::{Outcome, Request};
use crate::output::push_json;

/// The time limit for sending the answer to a stream and discarding late data. An answer is short:
/// only a peer that has stopped reading makes it wait.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of reads in a row that are discarded before the executor's other tasks have a turn.
const DISCARDS: usize = 16;

/// A stream whose peer is being told the outcome: by a receipt, if receipts are on, and by a
/// close_notify, if the stream was clean.
pub(super) struct Answer<IO> {
    stream: PeerStream<IO>,
    pub(super) outcome: Outcome,
    /// Acknowledgements, and the receipt if receipts are on.
    text: Vec<u8>,
    /// The bytes of the text that are sent.
    sent: usize,
    /// Whether the peer may send more, which is discarded.
    discards: bool,
    /// The transport is closed for writing.
    closed: bool,
    pub(super) deadline: Deadline,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Answer<IO> {
    /// Answers a stream with the acknowledgements that are not sent yet, and with a receipt if the peer
    /// gets one.
    pub(super) fn new(
        stream: PeerStream<IO>,
        acknowledgements: Vec<u8>,
        outcome: Outcome,
        guard: &Guard,
    ) -> Self {
        let mut text = acknowledgements;
        // A stream that goes on over another connection has not ended.
        if guard.gives_receipt() && outcome.end != End::Cut(Cut::MaxAge) {
            text.extend(receipt(guard.conn.received(), &outcome));
        }
        let is_retired = guard.link.requested() == Some(Request::Retire);
        Answer {
            stream,
            discards: is_retired || (!outcome.end.is_clean() && !text.is_empty()),
            outcome,
            text,
            sent: 0,
            closed: false,
            deadline: Deadline::after(Some(CLOSE_TIMEOUT)),
        }
    }

    /// Sends the answer and closes the transport for writing. If the peer has not ended the stream
    /// itself, reads on until it closes too: closing with unread data would reset the connection, and
    /// could destroy the answer on its way.
    ///
    /// An error leaves the peer without an answer, and does not change the outcome.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(rest) = self.text.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(self.stream.poll_write(cx, rest)) {
                Ok(n) if n > 0 => self.sent = self.sent.saturating_add(n),
                _ => return Poll::Ready(()),
            }
        }
        if !self.closed {
            let closed = match self.outcome.end.is_clean() {
                true => ready!(self.stream.poll_close(cx)),
                false => ready!(self.stream.poll_shutdown(cx)),
            };
            if closed.is_err() {
                return Poll::Ready(());
            }
            self.closed = true;
        }
        if !self.discards {
            return Poll::Ready(());
        }
        let mut discarded = [0; 4096];
        for _ in 0..DISCARDS {
            match ready!(self.stream.poll_read(cx, &mut discarded)) {
                Ok(n) if n > 0 => {}
                _ => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Builds a receipt, one line of JSON (RFC 8259); see
/// [`ServerBuilder::receipts`](crate::ServerBuilder::receipts).
fn receipt(received: u64, outcome: &Outcome) -> Vec<u8> {
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
            push_json(&mut line, &end.told());
            line.push(b'"');
        }
    }
    line.extend_from_slice(b"}\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Refusal;

    #[test]
    fn a_reason_is_quoted_whatever_it_quotes() {
        let outcome = Outcome::on_nothing(End::Refused(Refusal::InvalidHandshake {
            reason: "a \"b\"\n\u{1b}".to_owned(),
        }));
        assert_eq!(
            String::from_utf8(receipt(7, &outcome)).unwrap(),
            "{\"ok\":false,\"received\":7,\"delivered\":0,\
             \"reason\":\"refused (a \\\"b\\\"\\n\\u001b)\"}\n"
        );
    }
}
