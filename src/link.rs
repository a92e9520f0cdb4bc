//! The way back from the sink to a connection: credits, a request to stop, the verdict.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

use crate::decode::Format;
use crate::error::{Cut, End};

/// Chunks that a connection may have on their way: as much as one turn of the sink delivers. With
/// fewer, two threads on one core would take turns more often; with more, what they hand over would
/// have left the cache by then.
pub const CREDITS: usize = 4;

/// What the two sides of one connection share besides the channel.
#[derive(Debug)]
pub(crate) struct Link {
    credits: AtomicUsize,
    /// The connection waits for a credit. Without this, each returning credit would wake a task
    /// that waits for its peer.
    starved: AtomicBool,
    request: AtomicU8,
    // Boxed: it comes last, and the room for it would be kept all the time.
    verdict: Mutex<Option<Box<Verdict>>>,
    waker: AtomicWaker,
}

/// What a connection is asked to do before its peer is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Request {
    /// The sink won't take more of this stream: it is corrupt, over a limit, or the sink is gone.
    Refuse = 1,
    /// The server cuts what is open.
    Cut = 2,
}

/// What became of a stream, once the sink is through with it.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) end: End,
    pub(crate) format: Format,
    pub(crate) delivered: u64,
    /// CRC-32C (RFC 3720, appendix B.4) of what was delivered, if there are to be receipts.
    pub(crate) crc32c: u32,
}

impl Verdict {
    /// On a stream of which the sink has seen nothing.
    pub(crate) fn on_nothing(end: End) -> Self {
        Verdict {
            end,
            format: Format::Auto,
            delivered: 0,
            crc32c: 0,
        }
    }
}

impl Link {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Link {
            credits: AtomicUsize::new(CREDITS),
            starved: AtomicBool::new(false),
            request: AtomicU8::new(0),
            verdict: Mutex::new(None),
            waker: AtomicWaker::new(),
        })
    }

    /// Whom to wake for whatever comes back on this link. Call it before looking.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// Takes a credit, or wakes the registered task when one returns.
    pub(crate) fn poll_credit(self: &Arc<Self>) -> Poll<Credit> {
        // The order matters: `starved` is set before the second look, and a returning credit is
        // counted before `starved` is read, so one of the two sides sees the other.
        self.try_credit().map_or_else(
            || {
                self.starved.store(true, Ordering::SeqCst);
                self.try_credit().map_or(Poll::Pending, |credit| {
                    self.starved.store(false, Ordering::SeqCst);
                    Poll::Ready(credit)
                })
            },
            Poll::Ready,
        )
    }

    fn try_credit(self: &Arc<Self>) -> Option<Credit> {
        self.credits
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .ok()
            .map(|_| Credit(Arc::clone(self)))
    }

    pub(crate) fn request(&self, request: Request) {
        // A cut is the stronger one: it waits for nobody.
        self.request.fetch_max(request as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    pub(crate) fn requested(&self) -> Option<Request> {
        match self.request.load(Ordering::Acquire) {
            0 => None,
            n if n == Request::Refuse as u8 => Some(Request::Refuse),
            _ => Some(Request::Cut),
        }
    }

    pub(crate) fn take_verdict(&self) -> Option<Verdict> {
        self.lock().take().map(|verdict| *verdict)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Box<Verdict>>> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to send one chunk; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Credit(Arc<Link>);

impl Drop for Credit {
    fn drop(&mut self) {
        self.0.credits.fetch_add(1, Ordering::SeqCst);
        if self.0.starved.swap(false, Ordering::SeqCst) {
            self.0.waker.wake();
        }
    }
}

/// The sink's end of a [`Link`]. Dropped without a verdict, it says that the sink is gone: an end
/// is never lost on the way back either.
#[derive(Debug)]
pub(crate) struct SinkLink(Option<Arc<Link>>);

impl SinkLink {
    pub(crate) fn new(link: &Arc<Link>) -> Self {
        SinkLink(Some(Arc::clone(link)))
    }

    /// Asks the connection to read no more.
    pub(crate) fn refuse(&self) {
        if let Some(link) = &self.0 {
            link.request(Request::Refuse);
        }
    }

    pub(crate) fn deliver(mut self, verdict: Verdict) {
        self.send(verdict);
    }

    fn send(&mut self, verdict: Verdict) {
        if let Some(link) = self.0.take() {
            *link.lock() = Some(Box::new(verdict));
            link.waker.wake();
        }
    }
}

impl Drop for SinkLink {
    fn drop(&mut self) {
        self.refuse();
        self.send(Verdict::on_nothing(End::Cut(Cut::SinkGone)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_so_many_credits_and_dropping_one_gives_it_back() {
        let link = Link::new();
        let mut credits: Vec<_> = (0..CREDITS).map(|_| link.poll_credit()).collect();
        assert!(credits.iter().all(Poll::is_ready));
        assert!(link.poll_credit().is_pending());
        credits.pop();
        assert!(link.poll_credit().is_ready());
    }

    #[test]
    fn a_sink_that_drops_its_end_leaves_a_verdict_and_a_request() {
        let link = Link::new();
        drop(SinkLink::new(&link));
        assert_eq!(link.requested(), Some(Request::Refuse));
        let verdict = link.take_verdict().unwrap();
        assert_eq!(verdict.end, End::Cut(Cut::SinkGone));
    }

    #[test]
    fn a_cut_outweighs_a_refusal() {
        let link = Link::new();
        link.request(Request::Refuse);
        assert_eq!(link.requested(), Some(Request::Refuse));
        link.request(Request::Cut);
        link.request(Request::Refuse);
        assert_eq!(link.requested(), Some(Request::Cut));
    }
}
