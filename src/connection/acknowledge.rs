//! Sending acknowledgements while a stream is read.

use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};

use super::deadline::Deadline;
use super::guard::Guard;
use super::stream::PeerStream;
use crate::event::Kind;

/// The time between two answers that keep a peer from giving up. Beats do so after 30 s by default, and
/// their server sends one every few seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// The answers of the sink that are on their way to the peer. Most streams have none, so there is no
/// room for them before the first.
#[derive(Default)]
pub(super) struct Acknowledgements(Option<Box<Outgoing>>);

#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    /// The number of bytes that are written.
    written: usize,
    /// Written bytes may be unsent.
    unflushed: bool,
    /// The peer takes no answers any more.
    failed: bool,
    /// The time of the next answer that keeps the peer from giving up.
    keep_alive: Deadline,
}

impl Acknowledgements {
    /// Sends as much as the peer takes now. An error leaves the peer without its answers; reading
    /// tells how the stream ends.
    pub(super) fn poll<IO: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut PeerStream<IO>,
        guard: &mut Guard,
        cx: &mut Context<'_>,
    ) {
        if self.0.is_some() || guard.link.has_answers() || guard.link.is_kept_alive() {
            self.0.get_or_insert_default().poll(stream, guard, cx);
        }
    }

    /// Whether the peer leaves answers unread.
    pub(super) fn are_unread(&self) -> bool {
        let outgoing = self.0.as_ref();
        outgoing
            .is_some_and(|outgoing| outgoing.written < outgoing.bytes.len() || outgoing.unflushed)
    }

    /// The answers that are not written yet, to be sent before the stream's last answer.
    pub(super) fn take_rest(&mut self, guard: &Guard) -> Vec<u8> {
        let outgoing = self.0.take().unwrap_or_default();
        if outgoing.failed {
            return Vec::new();
        }
        let Outgoing {
            mut bytes, written, ..
        } = *outgoing;
        bytes.drain(..written.min(bytes.len()));
        bytes.extend(guard.link.take_answers(bytes.len()).unwrap_or_default());
        bytes
    }
}

impl Outgoing {
    fn poll<IO: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut PeerStream<IO>,
        guard: &mut Guard,
        cx: &mut Context<'_>,
    ) {
        if !guard.link.is_kept_alive() {
            self.keep_alive = Deadline::default();
        } else if self.keep_alive.is_never() {
            self.keep_alive = Deadline::after(Some(KEEP_ALIVE));
        }
        while !self.failed && self.keep_alive.poll(cx).is_ready() {
            self.keep_alive = Deadline::after(Some(KEEP_ALIVE));
            // A peer that leaves answers unread gets no more of these.
            if self.written == self.bytes.len() {
                guard.link.answer_alive();
            }
        }
        loop {
            let rest = self.bytes.get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                match guard.link.take_answers(0) {
                    Some(bytes) => (self.bytes, self.written) = (bytes, 0),
                    None => break,
                }
                continue;
            }
            let written = match self.failed {
                true => rest.len(),
                false => match stream.poll_write(cx, rest) {
                    Poll::Ready(Ok(written)) if written > 0 => written.min(rest.len()),
                    Poll::Ready(_) => {
                        self.failed = true;
                        rest.len()
                    }
                    Poll::Pending => break,
                },
            };
            self.written = self.written.saturating_add(written);
            self.unflushed = true;
            if guard.link.answered(written) {
                // If the sink is gone, reading finds out.
                let _ = guard.push(Kind::Answered);
                guard.wake_sink();
            }
        }
        if self.unflushed && !self.failed {
            self.unflushed = stream.poll_flush(cx).is_pending();
        }
    }
}
