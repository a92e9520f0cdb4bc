//! The way back from the sink to a connection: credits, answers, a request to stop, the outcome.

use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

#[cfg(feature = "resume")]
use crate::conn::ResumedAt;
use crate::decode::Format;
use crate::end::{Cut, End};
use crate::frame::Framing;
use crate::sync::{
    self, AtomicBool, AtomicU8, AtomicUsize, AtomicWaker, Mutex, MutexGuard, Ordering,
};

/// The number of chunks that a connection may have in flight: together they are as large as one
/// turn's output. With fewer, connection and sink would alternate more often; with more, the chunks
/// would have left the cache before the sink reads them.
pub const CREDITS: usize = 4;

/// The most bytes of answers that a peer may leave unread before no more of its data is decoded.
/// Acknowledgements are short: a peer that reads them at all never has so many waiting.
pub const MAX_UNREAD_ANSWERS: usize = 16 * 1024;

/// The state that a connection and its sink share besides the channel.
#[derive(Debug)]
pub(crate) struct Link {
    credits: AtomicUsize,
    /// Set while the connection waits for a credit. Without this flag, each returning credit would
    /// wake a task that waits for its peer.
    starved: AtomicBool,
    request: AtomicU8,
    /// Answers for the peer that the connection has not taken yet.
    answers: Mutex<Vec<u8>>,
    /// The number of bytes of answers that are not sent yet, taken or not.
    unsent: AtomicUsize,
    /// The answer that is due every few seconds while the peer waits for others.
    keep_alive: Mutex<Option<&'static [u8]>>,
    is_kept_alive: AtomicBool,
    /// The peer gets a receipt, whatever the server's settings are.
    wants_receipt: AtomicBool,
    // Boxed: the outcome comes last, and its room would otherwise be taken all the time.
    outcome: Mutex<Option<Box<Outcome>>>,
    waker: AtomicWaker,
}

/// A request to end a connection before its peer is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Request {
    /// The connection is old, and the sink tells its sender to connect again.
    Retire = 1,
    /// The sink takes no more of this stream: the stream is corrupt or over a limit, or the sink is
    /// gone.
    Refuse = 2,
    /// The server cuts all open connections.
    Cut = 3,
}

/// The outcome of a stream, once the sink has finished with it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) format: Format,
    pub(crate) framing: Framing,
    pub(crate) delivered: u64,
    pub(crate) undecoded: u64,
    pub(crate) skipped: u64,
    /// CRC-32C (RFC 3720, appendix B.4) of the delivered bytes; 0 unless receipts are on.
    pub(crate) crc32c: u32,
    /// The stream that went on on the connection.
    #[cfg(feature = "resume")]
    pub(crate) resumed: Option<Arc<ResumedAt>>,
}

impl Outcome {
    /// The outcome of a stream that the sink has not seen.
    pub(crate) fn on_nothing(end: End) -> Self {
        Outcome {
            end,
            format: Format::Auto,
            framing: Framing::Auto,
            delivered: 0,
            undecoded: 0,
            skipped: 0,
            crc32c: 0,
            #[cfg(feature = "resume")]
            resumed: None,
        }
    }
}

impl Link {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Link {
            credits: AtomicUsize::new(CREDITS),
            starved: AtomicBool::new(false),
            request: AtomicU8::new(0),
            answers: Mutex::new(Vec::new()),
            unsent: AtomicUsize::new(0),
            keep_alive: Mutex::new(None),
            is_kept_alive: AtomicBool::new(false),
            wants_receipt: AtomicBool::new(false),
            outcome: Mutex::new(None),
            waker: AtomicWaker::new(),
        })
    }

    /// Registers the task to wake when anything comes back on this link. Call it before reading the
    /// link's state.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        sync::register(&self.waker, cx);
    }

    /// Takes a credit. If there is none, the registered task is woken when one returns.
    pub(crate) fn poll_credit(self: &Arc<Self>) -> Poll<Credit> {
        // The order matters: `starved` is set before the second look, and a returning credit is
        // counted before `starved` is read, so one of the two sides sees the other. Both sides swap
        // the flag: the second swap reads the value that the first one wrote, and so sees all that
        // happened before it.
        self.try_credit().map_or_else(
            || {
                self.starved.swap(true, Ordering::AcqRel);
                self.try_credit().map_or(Poll::Pending, |credit| {
                    self.starved.store(false, Ordering::Release);
                    Poll::Ready(credit)
                })
            },
            Poll::Ready,
        )
    }

    fn try_credit(self: &Arc<Self>) -> Option<Credit> {
        self.credits
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1))
            .ok()
            .map(|_| Credit(Arc::clone(self)))
    }

    pub(crate) fn request(&self, request: Request) {
        // A cut outranks the others: it waits for nobody.
        self.request.fetch_max(request as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    pub(crate) fn requested(&self) -> Option<Request> {
        match self.request.load(Ordering::Acquire) {
            0 => None,
            n if n == Request::Retire as u8 => Some(Request::Retire),
            n if n == Request::Refuse as u8 => Some(Request::Refuse),
            _ => Some(Request::Cut),
        }
    }

    /// Whether answers are to be sent.
    pub(crate) fn has_answers(&self) -> bool {
        self.unsent.load(Ordering::Acquire) > 0
    }

    /// Whether an answer is due every few seconds.
    pub(crate) fn is_kept_alive(&self) -> bool {
        self.is_kept_alive.load(Ordering::Acquire)
    }

    /// Adds the answer that is due every few seconds, if it still is.
    pub(crate) fn answer_alive(&self) {
        let keep_alive = self.keep_alive.lock();
        let keep_alive = keep_alive.unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = *keep_alive {
            self.add_answer(bytes);
        }
    }

    fn add_answer(&self, bytes: &[u8]) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.extend_from_slice(bytes);
        self.unsent.fetch_add(bytes.len(), Ordering::AcqRel);
    }

    #[cfg(feature = "resume")]
    fn replace_answer(&self, bytes: &[u8]) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = answers.len();
        answers.clear();
        answers.extend_from_slice(bytes);
        self.unsent.fetch_add(bytes.len(), Ordering::AcqRel);
        self.unsent.fetch_sub(replaced, Ordering::AcqRel);
    }

    /// Whether the peer gets a receipt, whatever the server's settings are.
    pub(crate) fn wants_receipt(&self) -> bool {
        self.wants_receipt.load(Ordering::Acquire)
    }

    /// Takes the answers that are to be sent. `unsent` is the number of bytes that the connection has
    /// taken before and not sent yet.
    pub(crate) fn take_answers(&self, unsent: usize) -> Option<Vec<u8>> {
        if self.unsent.load(Ordering::Acquire) <= unsent {
            return None;
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut *answers))
    }

    /// Notes that answers were sent. Returns whether the sink may go on with a stream that had too
    /// many unsent ones.
    pub(crate) fn answered(&self, bytes: usize) -> bool {
        let before = self.unsent.fetch_sub(bytes, Ordering::AcqRel);
        before > MAX_UNREAD_ANSWERS && before.saturating_sub(bytes) <= MAX_UNREAD_ANSWERS
    }

    /// Stores the outcome for the connection to take.
    pub(crate) fn leave_outcome(&self, outcome: Outcome) {
        *self.lock() = Some(Box::new(outcome));
    }

    pub(crate) fn take_outcome(&self) -> Option<Outcome> {
        self.lock().take().map(|outcome| *outcome)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Outcome>>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to send one chunk; dropping it returns it.
#[derive(Debug)]
pub(crate) struct Credit(Arc<Link>);

impl Drop for Credit {
    fn drop(&mut self) {
        self.0.credits.fetch_add(1, Ordering::AcqRel);
        if self.0.starved.swap(false, Ordering::AcqRel) {
            self.0.waker.wake();
        }
    }
}

/// The sink's end of a [`Link`]. Dropped without an outcome, it reports that the sink is gone, so
/// no stream's end is lost on the way back.
#[derive(Debug)]
pub(crate) struct SinkLink(Option<Arc<Link>>);

impl SinkLink {
    pub(crate) fn new(link: &Arc<Link>) -> Self {
        SinkLink(Some(Arc::clone(link)))
    }

    /// Whether the peer has so many answers to read that no more of its data is decoded.
    pub(crate) fn is_unread(&self) -> bool {
        let unsent = |link: &Arc<Link>| link.unsent.load(Ordering::Acquire);
        self.0.as_ref().map_or(0, unsent) > MAX_UNREAD_ANSWERS
    }

    /// Gives the connection an answer to send.
    pub(crate) fn answer(&self, bytes: &[u8]) {
        if let Some(link) = self.0.as_ref().filter(|_| !bytes.is_empty()) {
            link.add_answer(bytes);
            link.waker.wake();
        }
    }

    /// Gives the connection an answer to send in place of those that it has not taken yet.
    #[cfg(feature = "resume")]
    pub(crate) fn replace_answer(&self, bytes: &[u8]) {
        if let Some(link) = &self.0 {
            link.replace_answer(bytes);
            link.waker.wake();
        }
    }

    /// Promises the peer a receipt, whatever the server's settings are.
    #[cfg(feature = "resume")]
    pub(crate) fn promise_receipt(&self) {
        if let Some(link) = &self.0 {
            link.wants_receipt.store(true, Ordering::Release);
        }
    }

    /// Sets the answer that the connection sends every few seconds. Once it is unset, no more of them
    /// are sent. Each stream has only one such answer at a time.
    pub(crate) fn keep_alive(&self, answer: Option<&'static [u8]>) {
        if let Some(link) = &self.0
            && link.is_kept_alive() != answer.is_some()
        {
            let mut keep_alive = link
                .keep_alive
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *keep_alive = answer;
            link.is_kept_alive
                .store(answer.is_some(), Ordering::Release);
            drop(keep_alive);
            link.waker.wake();
        }
    }

    /// Asks the connection to read no more.
    pub(crate) fn refuse(&self) {
        if let Some(link) = &self.0 {
            link.request(Request::Refuse);
        }
    }

    /// Asks the connection to read no more, and to send the answers that come with the outcome.
    pub(crate) fn retire(&self) {
        if let Some(link) = &self.0 {
            link.request(Request::Retire);
        }
    }

    pub(crate) fn deliver(mut self, outcome: Outcome) {
        self.send(outcome);
    }

    fn send(&mut self, outcome: Outcome) {
        if let Some(link) = self.0.take() {
            link.leave_outcome(outcome);
            link.waker.wake();
        }
    }
}

impl Drop for SinkLink {
    fn drop(&mut self) {
        self.refuse();
        self.send(Outcome::on_nothing(End::Cut(Cut::SinkGone)));
    }
}

#[cfg(all(test, not(tlsink_loom)))]
mod tests {
    use std::future::poll_fn;
    use std::sync::mpsc;
    use std::thread;

    use futures_lite::future::block_on;

    use super::*;

    const TRIES: usize = 2_000;

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
    fn a_credit_that_returns_while_it_is_asked_for_is_not_missed() {
        let link = Link::new();
        let (spend, spent) = mpsc::channel();
        let sink = thread::spawn(move || spent.into_iter().for_each(drop::<Credit>));
        block_on(async {
            for _ in 0..TRIES {
                let credit = poll_fn(|cx| {
                    link.register(cx);
                    link.poll_credit()
                });
                spend.send(credit.await).unwrap();
            }
        });
        drop(spend);
        sink.join().unwrap();
        assert_eq!(link.credits.load(Ordering::SeqCst), CREDITS);
    }

    #[test]
    fn an_outcome_and_a_request_from_another_thread_are_not_missed() {
        for _ in 0..TRIES {
            let link = Link::new();
            let sink = SinkLink::new(&link);
            let sink = thread::spawn(move || drop(sink));
            let outcome = block_on(poll_fn(|cx| {
                link.register(cx);
                link.take_outcome().map_or(Poll::Pending, Poll::Ready)
            }));
            assert_eq!(outcome.end, End::Cut(Cut::SinkGone));
            // The request came before the outcome.
            assert_eq!(link.requested(), Some(Request::Refuse));
            sink.join().unwrap();
        }
    }

    #[test]
    fn a_sink_that_drops_its_end_leaves_an_outcome_and_a_request() {
        let link = Link::new();
        drop(SinkLink::new(&link));
        assert_eq!(link.requested(), Some(Request::Refuse));
        let outcome = link.take_outcome().unwrap();
        assert_eq!(outcome.end, End::Cut(Cut::SinkGone));
    }

    #[test]
    fn a_cut_outweighs_a_refusal() {
        let link = Link::new();
        link.request(Request::Retire);
        assert_eq!(link.requested(), Some(Request::Retire));
        link.request(Request::Refuse);
        assert_eq!(link.requested(), Some(Request::Refuse));
        link.request(Request::Cut);
        link.request(Request::Refuse);
        assert_eq!(link.requested(), Some(Request::Cut));
    }
}

/// Loom tries every interleaving of two threads, and every value that the memory model lets them
/// read:
///
/// ```sh
/// RUSTFLAGS='--cfg tlsink_loom' cargo test --no-default-features --features resume --target-dir target/loom --lib models
/// ```
#[cfg(all(test, tlsink_loom))]
mod models {
    use std::future::poll_fn;

    use loom::future::block_on;
    use loom::thread;

    use super::*;

    #[test]
    fn a_credit_that_returns_while_it_is_asked_for_is_not_missed() {
        loom::model(|| {
            let link = Link::new();
            let credits: Vec<_> = (0..CREDITS).map(|_| link.poll_credit()).collect();
            let sink = thread::spawn(move || {
                let mut credits = credits;
                drop(credits.pop());
                credits
            });
            let credit = block_on(poll_fn(|cx| {
                link.register(cx);
                link.poll_credit()
            }));
            drop((credit, sink.join().unwrap()));
            assert_eq!(link.credits.load(Ordering::Acquire), CREDITS);
        });
    }

    #[test]
    fn an_outcome_is_not_missed_nor_the_request_before_it() {
        loom::model(|| {
            let link = Link::new();
            let end = SinkLink::new(&link);
            let sink = thread::spawn(move || drop(end));
            let outcome = block_on(poll_fn(|cx| {
                link.register(cx);
                link.take_outcome().map_or(Poll::Pending, Poll::Ready)
            }));
            assert_eq!(outcome.end, End::Cut(Cut::SinkGone));
            assert_eq!(link.requested(), Some(Request::Refuse));
            sink.join().unwrap();
        });
    }

    #[test]
    fn a_cut_is_not_missed() {
        loom::model(|| {
            let link = Link::new();
            let server = Arc::clone(&link);
            let server = thread::spawn(move || server.request(Request::Cut));
            let requested = block_on(poll_fn(|cx| {
                link.register(cx);
                link.requested().map_or(Poll::Pending, Poll::Ready)
            }));
            assert_eq!(requested, Request::Cut);
            server.join().unwrap();
        });
    }
}
