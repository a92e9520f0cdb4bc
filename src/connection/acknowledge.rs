//! Sending acknowledgements while a stream is read.

use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWrite};

use super::guard::Guard;
use super::stream::PeerStream;
use crate::event::Kind;

/// The answers of the sink that are on their way to the peer.
#[derive(Debug, Default)]
pub(super) struct Acknowledgements {
    bytes: Vec<u8>,
    /// The number of bytes that are written.
    written: usize,
    /// Written bytes may be unsent.
    unflushed: bool,
    /// The peer takes no answers any more.
    failed: bool,
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

    /// The answers that are not written yet, to be sent before the stream's last answer.
    pub(super) fn take_rest(&mut self, guard: &Guard) -> Vec<u8> {
        let mut rest = self.bytes.split_off(self.written.min(self.bytes.len()));
        let unsent = rest.len();
        rest.extend(guard.link.take_answers(unsent).unwrap_or_default());
        match self.failed {
            true => Vec::new(),
            false => rest,
        }
    }
}
