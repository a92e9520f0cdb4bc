//! Holds: bytes that an output has taken, and that are not through yet.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::mem;
use std::sync::{Arc, PoisonError};
use std::task::Poll;

use crate::conn_id::ConnId;
use crate::end::End;
use crate::lane::Lane;
use crate::memory::{Memory, Reservation};
use crate::stream_error::StreamError;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// The held bytes from which on a stream gets no turn. A store that syncs every 5 ms still takes
/// 200 MB/s of one stream; with more, a store that falls behind would only fill the memory. The
/// turn that reaches it may exceed it, by less than [`MAX_TURN_OUTPUT`].
///
/// [`MAX_TURN_OUTPUT`]: crate::limits::MAX_TURN_OUTPUT
pub const MAX_HELD: usize = 1 << 20;

/// A claim on bytes of a stream that are not through yet: not synced, not acknowledged, still in a
/// queue. [`Conn::hold`] takes it, and [`Conn::hold_back`] and [`Conn::hold_end`] take two other kinds.
///
/// The end of a stream is due when all of its holds are [done](Self::done): until then, the
/// [`Connection`](crate::Connection) does not resolve, and its sender gets no receipt and no
/// close_notify. A hold that [fails](Self::fail) ends its own stream, as
/// [`Cut::Output`](crate::Cut::Output), and so does one that is dropped: a writer that panicked must
/// not acknowledge anything. Holds may be finished on any thread, in any order; it never blocks for
/// long. When the stream has ended for another reason, finishing a hold only releases its memory.
///
/// [`Conn::hold`]: crate::Conn::hold
/// [`Conn::hold_back`]: crate::Conn::hold_back
/// [`Conn::hold_end`]: crate::Conn::hold_end
#[derive(Debug)]
#[must_use = "a hold that is dropped ends its stream"]
pub struct Hold {
    /// The stream, and what is held of it; `None` for a finished hold.
    held: Option<(Arc<Holds>, Extent)>,
}

/// What a hold holds of its stream.
#[derive(Clone, Copy, Debug)]
enum Extent {
    /// All bytes up to an offset: the one that the hold is filed under.
    UpTo(u64),
    /// The end alone.
    End,
}

/// The place in a stream up to which an output was given bytes, for holds that are taken after that
/// call.
#[derive(Debug)]
pub(crate) struct HoldPoint {
    holds: Option<Arc<Holds>>,
    offset: u64,
}

/// The holds of one stream.
#[derive(Debug)]
pub(crate) struct Holds {
    id: ConnId,
    lane: Arc<Lane>,
    memory: Memory,
    /// `None` before the first hold, which most streams never have: then no room is taken.
    state: Mutex<Option<Box<State>>>,
    /// The outcome is delivered. Changed under the lock.
    settled: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// The holds that are out, by the offset in the stream up to which they hold it.
    out: BTreeMap<u64, Held>,
    /// The number of holds of the end alone.
    ends: usize,
    /// The number of bytes that the output keeps, for all holds together.
    bytes: usize,
    /// The number of offsets up to which everything has to be through before the stream's next turn.
    blocking: usize,
    /// The end of the stream that a failed hold decided, until the sink takes it.
    failure: Option<Box<End>>,
    has_failed: bool,
    /// The offset that the sink waits for, to send answers.
    awaited: Option<u64>,
    /// The greatest offset of all holds that were finished.
    finished: u64,
    /// The greatest known offset up to which everything is through, of those that holds were taken at.
    through: u64,
    stage: Stage,
    /// Whether the stream was full when the sink last looked.
    was_full: bool,
    /// The sink is asked to look at the stream, and has not done so yet.
    is_noted: bool,
}

/// The holds up to one offset, which are usually those of one event.
#[derive(Debug)]
struct Held {
    holds: usize,
    /// The number of bytes that the output keeps until all of these holds are finished.
    bytes: usize,
    /// The stream has no turn until these holds are finished: there was no memory for the bytes, or
    /// the output wants it so.
    is_blocking: bool,
    /// `None` if there are no bytes, or if there was no memory for them.
    _memory: Option<Reservation>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// The sink has handled the stream's end, and waits for its holds.
    Ended,
    /// The outcome is delivered.
    Settled,
}

/// The state of a stream's holds, for its sink.
#[derive(Debug)]
pub(crate) struct Look {
    /// The end that a hold decided since the last look.
    pub(crate) failure: Option<End>,
    /// Whether the held bytes are so many that the stream gets no turn.
    pub(crate) is_full: bool,
}

impl Hold {
    /// A hold that holds nothing.
    pub(crate) fn of_nothing() -> Self {
        Hold { held: None }
    }

    /// Whether its stream gets no turn before bytes are through.
    pub(crate) fn is_waited_for(&self) -> bool {
        let holds = self.held.as_ref().map(|(holds, _)| holds.lock());
        holds.is_some_and(|state| state.as_ref().is_some_and(|state| state.is_full()))
    }

    /// The held bytes are through.
    pub fn done(mut self) {
        self.finish(None);
    }

    /// The held bytes are lost: ends the stream as [`Cut::Output`](crate::Cut::Output). The sink
    /// goes on with the others, whatever the error is.
    pub fn fail(self, error: impl Into<io::Error>) {
        let error = error.into();
        let error: StreamError = error.downcast().unwrap_or_else(StreamError::new);
        self.fail_as(error.into());
    }

    /// The held bytes are lost: ends the stream like this, as the output has another reason than an
    /// error of its own. When the stream has ended and is not clean, its own end gives up the bytes, and
    /// changes nothing.
    pub fn fail_as(mut self, end: End) {
        self.finish(Some(end));
    }

    fn finish(&mut self, failure: Option<End>) {
        if let Some((holds, extent)) = self.held.take() {
            holds.finish(extent, failure);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.held.is_some() {
            let error = io::Error::other("a hold was dropped before it was done");
            self.finish(Some(StreamError::new(error).into()));
        }
    }
}

impl HoldPoint {
    pub(crate) fn new(holds: Option<Arc<Holds>>, offset: u64) -> Self {
        HoldPoint { holds, offset }
    }

    /// Moves on, when the output is given more bytes of the same stream.
    pub(crate) fn move_to(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Takes a hold of all bytes up to here, of which the output keeps this number.
    pub(crate) fn hold(&self, bytes: usize) -> Hold {
        match &self.holds {
            Some(holds) => holds.hold(self.offset, bytes),
            None => Hold::of_nothing(),
        }
    }
}

impl Holds {
    pub(crate) fn new(id: ConnId, lane: &Arc<Lane>, memory: &Memory) -> Arc<Self> {
        Arc::new(Holds {
            id,
            lane: Arc::clone(lane),
            memory: memory.clone(),
            state: Mutex::default(),
            settled: AtomicBool::new(false),
        })
    }

    /// The lane of the stream's sink.
    #[cfg(feature = "resume")]
    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Holds all bytes up to the offset `end`, of which the output was given the last `given` now. If
    /// there is no memory for these, they are held without: the output has them already. The stream
    /// then gets no turn until they are through.
    pub(crate) fn hold(self: &Arc<Self>, end: u64, given: usize) -> Hold {
        self.add(|state| Extent::UpTo(state.hold(end, given, false, &self.memory)))
    }

    /// Does the same, and the stream gets no turn until these bytes are through in any case.
    pub(crate) fn hold_back(self: &Arc<Self>, end: u64, given: usize) -> Hold {
        self.add(|state| Extent::UpTo(state.hold(end, given, true, &self.memory)))
    }

    /// Holds the end of the stream alone.
    pub(crate) fn hold_end(self: &Arc<Self>) -> Hold {
        self.add(|state| {
            state.ends = state.ends.saturating_add(1);
            Extent::End
        })
    }

    fn add(self: &Arc<Self>, add: impl FnOnce(&mut State) -> Extent) -> Hold {
        let mut state = self.lock();
        if self.settled.load(Ordering::Acquire) {
            return Hold::of_nothing();
        }
        let extent = add(state.get_or_insert_default());
        self.note(state, None);
        Hold {
            held: Some((Arc::clone(self), extent)),
        }
    }

    fn finish(&self, extent: Extent, failure: Option<End>) {
        let mut guard = self.lock();
        if let Some(state) = &mut *guard {
            if let Some(end) = failure {
                state.fail(end);
            }
            let released = match extent {
                Extent::UpTo(at) => state.release(at),
                Extent::End => {
                    state.ends = state.ends.saturating_sub(1);
                    None
                }
            };
            self.note(guard, released);
        }
    }

    /// Asks the sink to look, if it has to.
    fn note(&self, mut state: MutexGuard<'_, Option<Box<State>>>, released: Option<Held>) {
        let note = state.as_mut().is_some_and(|state| state.needs_note());
        // The lock is released first: freed memory wakes tasks, and so does a note.
        drop(state);
        drop(released);
        if note {
            self.lane.note(self.id);
        }
    }

    /// Looks at an open stream's holds.
    pub(crate) fn look(&self) -> Look {
        match &mut *self.lock() {
            Some(state) => {
                state.is_noted = false;
                state.was_full = state.is_full();
                Look {
                    failure: state.failure.take().map(|end| *end),
                    is_full: state.was_full,
                }
            }
            None => Look {
                failure: None,
                is_full: false,
            },
        }
    }

    /// The greatest known offset up to which everything is through, if the output was flushed up to the
    /// offset `flushed`. If more is held, a note follows when some of it is through. After a failure,
    /// none does.
    #[cfg(feature = "resume")]
    pub(crate) fn poll_progress(&self, flushed: u64) -> u64 {
        match &mut *self.lock() {
            Some(state) => state.progress(flushed),
            None => flushed,
        }
    }

    /// Whether everything up to the offset `at` is through: its answers are due. If not, a note
    /// follows when it is. After a failure, nothing is.
    pub(crate) fn poll_through(&self, at: u64) -> bool {
        match &mut *self.lock() {
            Some(state) => {
                let is_through = state.is_through(at);
                state.awaited = (!is_through).then_some(at);
                is_through
            }
            None => true,
        }
    }

    /// Looks at the holds of a stream whose end the sink has handled: whether they are all done, or
    /// one has failed, and with which end. From now on, a note follows when that is so.
    pub(crate) fn poll_end(&self) -> Poll<Option<End>> {
        let mut guard = self.lock();
        let Some(state) = &mut *guard else {
            return Poll::Ready(None);
        };
        state.is_noted = false;
        state.stage = Stage::Ended;
        match state.is_over() {
            true => Poll::Ready(state.failure.take().map(|end| *end)),
            false => Poll::Pending,
        }
    }

    /// The outcome is being delivered, so holds have no effect from now on.
    pub(crate) fn settle(&self) {
        let mut state = self.lock();
        self.settled.store(true, Ordering::Release);
        if let Some(state) = &mut *state {
            state.stage = Stage::Settled;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<State>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds a hold of the bytes up to `end`; returns the offset by which it is to be released. That
    /// is a later one for a hold that is taken after one of a later event.
    fn hold(&mut self, end: u64, given: usize, blocking: bool, memory: &Memory) -> u64 {
        if let Some((at, held)) = self.out.range_mut(end..).next() {
            held.holds = held.holds.saturating_add(1);
            self.blocking += usize::from(blocking && !held.is_blocking);
            held.is_blocking |= blocking;
            return *at;
        }
        let memory = (given > 0).then(|| memory.try_reserve(given)).flatten();
        let held = Held {
            holds: 1,
            bytes: given,
            is_blocking: blocking || (given > 0 && memory.is_none()),
            _memory: memory,
        };
        self.bytes = self.bytes.saturating_add(given);
        self.blocking += usize::from(held.is_blocking);
        self.out.insert(end, held);
        end
    }

    /// Removes a hold; returns the last of those up to the same offset.
    fn release(&mut self, at: u64) -> Option<Held> {
        let Entry::Occupied(mut entry) = self.out.entry(at) else {
            return None;
        };
        let holds = &mut entry.get_mut().holds;
        *holds = holds.saturating_sub(1);
        if *holds > 0 {
            return None;
        }
        let held = entry.remove();
        self.finished = self.finished.max(at);
        let first = self.out.first_key_value();
        if !self.has_failed && first.is_none_or(|(end, _)| *end > self.finished) {
            self.through = self.finished;
        }
        self.bytes = self.bytes.saturating_sub(held.bytes);
        self.blocking = self.blocking.saturating_sub(usize::from(held.is_blocking));
        Some(held)
    }

    /// Ends the stream, unless a hold has done so before.
    fn fail(&mut self, end: End) {
        if !mem::replace(&mut self.has_failed, true) {
            self.failure = Some(Box::new(end));
        }
    }

    fn is_full(&self) -> bool {
        !self.has_failed && (self.bytes >= MAX_HELD || self.blocking > 0)
    }

    fn is_through(&self, at: u64) -> bool {
        let first = self.out.first_key_value();
        !self.has_failed && first.is_none_or(|(end, _)| *end > at)
    }

    #[cfg(feature = "resume")]
    fn progress(&mut self, flushed: u64) -> u64 {
        let first = self.out.first_key_value();
        self.awaited = first.map(|(end, _)| *end);
        // Each hold is of the bytes before its offset.
        let is_held =
            first.is_some_and(|(end, held)| end.saturating_sub(held.bytes as u64) < flushed);
        match is_held || self.has_failed {
            true => self.through,
            false => self.through.max(flushed),
        }
    }

    fn is_over(&self) -> bool {
        self.has_failed || (self.out.is_empty() && self.ends == 0)
    }

    /// Whether the sink has to look, and does not know so yet.
    fn needs_note(&mut self) -> bool {
        let is_due = match self.stage {
            Stage::Open => {
                self.failure.is_some()
                    || self.is_full() != self.was_full
                    || self.awaited.is_some_and(|at| self.is_through(at))
            }
            Stage::Ended => self.is_over(),
            Stage::Settled => false,
        };
        is_due && !mem::replace(&mut self.is_noted, true)
    }
}

#[cfg(test)]
impl Holds {
    fn held_bytes(&self) -> usize {
        self.lock().as_ref().map_or(0, |state| state.bytes)
    }

    /// Whether a hold is out.
    #[cfg(tlsink_loom)]
    fn is_out(&self) -> bool {
        let state = self.lock();
        state.as_ref().is_some_and(|state| !state.out.is_empty())
    }
}

#[cfg(all(test, not(tlsink_loom)))]
mod tests {
    use std::thread;

    use super::*;
    use crate::end::Cut;

    const STREAM: ConnId = ConnId(7);
    const MIB: usize = 1 << 20;

    fn holds(memory: usize) -> (Arc<Holds>, Arc<Lane>) {
        let lane = Arc::new(Lane::new());
        (Holds::new(STREAM, &lane, &Memory::new(memory)), lane)
    }

    /// Whether the sink was asked to look since the last call.
    fn is_noted(lane: &Lane) -> bool {
        let is_noted = lane.has_notes();
        let streams = lane.take_notes().streams;
        assert_eq!(streams, vec![STREAM; usize::from(is_noted)]);
        is_noted
    }

    fn reason(end: Option<End>) -> String {
        match end {
            Some(End::Cut(Cut::Output { reason, .. })) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_end_is_due_when_all_holds_are_done_in_any_order() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let (holds, lane) = holds(MIB);
            let mut out = [(10, 10), (10, 10), (30, 20)].map(|(end, given)| {
                let hold = holds.hold(end, given);
                Some(hold)
            });
            assert_eq!(holds.held_bytes(), 30);
            assert!(holds.poll_end().is_pending());
            for hold in order {
                assert!(!is_noted(&lane));
                assert!(holds.poll_end().is_pending());
                out[hold].take().unwrap().done();
            }
            assert!(is_noted(&lane));
            assert_eq!(holds.poll_end(), Poll::Ready(None));
            assert_eq!(holds.held_bytes(), 0);
        }
    }

    #[test]
    #[cfg(feature = "resume")]
    fn progress_goes_as_far_as_all_holds_are_done() {
        let (holds, _lane) = holds(MIB);
        assert_eq!(holds.poll_progress(5), 5);
        let mut out = [10, 20, 30].map(|end| Some(holds.hold(end, 10)));
        let mut done = |hold: usize| out[hold].take().unwrap().done();
        // The bytes before those of the first hold are not held.
        for (flushed, through) in [(0, 0), (3, 0), (30, 0)] {
            assert_eq!(holds.poll_progress(flushed), through, "{flushed}");
        }
        done(1);
        assert_eq!(holds.poll_progress(30), 0);
        done(0);
        for (flushed, through) in [(0, 20), (20, 20), (23, 20), (30, 20)] {
            assert_eq!(holds.poll_progress(flushed), through, "{flushed}");
        }
        done(2);
        for (flushed, through) in [(0, 30), (30, 30), (35, 35)] {
            assert_eq!(holds.poll_progress(flushed), through, "{flushed}");
        }
        let [kept, lost] = [40, 50].map(|end| holds.hold(end, 10));
        lost.fail(StreamError::new(io::Error::other("the disk broke")));
        kept.done();
        assert_eq!(holds.poll_progress(60), 30);
    }

    #[test]
    fn a_hold_without_bytes_keeps_the_end_waiting() {
        let (holds, lane) = holds(MIB);
        let [open, close] = [holds.hold(0, 0), holds.hold(10, 0)];
        assert!(holds.poll_end().is_pending());
        open.done();
        assert!(holds.poll_end().is_pending());
        close.done();
        assert!(is_noted(&lane));
        assert_eq!(holds.poll_end(), Poll::Ready(None));
    }

    #[test]
    fn the_first_failure_counts() {
        let (holds, lane) = holds(MIB);
        let [first, second, third] = [10, 20, 30].map(|end| holds.hold(end, 10));
        second.fail(StreamError::new(io::Error::other("the disk broke")));
        assert!(is_noted(&lane));
        drop(first);
        third.fail(io::ErrorKind::BrokenPipe);
        assert_eq!(reason(holds.look().failure), "the disk broke");
        assert_eq!(holds.look().failure, None);
        // The sink knows it by now.
        assert!(!is_noted(&lane));
        assert_eq!(holds.poll_end(), Poll::Ready(None));
    }

    #[test]
    fn a_hold_that_is_dropped_has_failed_even_by_a_panic() {
        let (holds, _) = holds(MIB);
        let hold = holds.hold(10, 10);
        let writer = thread::spawn(move || {
            let _hold = hold;
            panic!("this is a test");
        });
        assert!(writer.join().is_err());
        let Poll::Ready(end) = holds.poll_end() else {
            panic!("it waits for a hold that is gone");
        };
        assert_eq!(reason(end), "a hold was dropped before it was done");
    }

    #[test]
    fn a_stream_is_full_when_so_much_is_held_and_no_longer() {
        let (holds, lane) = holds(16 * MIB);
        let step = MAX_HELD / 4;
        let mut out: Vec<_> = (1..4)
            .map(|number| holds.hold((number * step) as u64, step))
            .collect();
        assert!(!is_noted(&lane) && !holds.look().is_full);
        out.push(holds.hold(4 * step as u64, step));
        assert!(is_noted(&lane) && holds.look().is_full);
        // Two holds of one event count its bytes once.
        let again = holds.hold(4 * step as u64, step);
        assert_eq!(holds.held_bytes(), MAX_HELD);
        again.done();
        assert!(!is_noted(&lane));
        out.remove(1).done();
        assert!(is_noted(&lane) && !holds.look().is_full);
    }

    #[test]
    fn bytes_without_memory_are_held_and_the_stream_is_full_until_they_are_through() {
        // A quarter is for chunks.
        let (holds, lane) = holds(MIB);
        let _window = holds.memory.try_reserve(MIB / 2).unwrap();
        let fits = holds.hold(100_000, 100_000);
        assert!(!is_noted(&lane));
        let exceeds = holds.hold(400_000, 300_000);
        assert!(is_noted(&lane) && holds.look().is_full);
        fits.done();
        assert!(!is_noted(&lane));
        exceeds.done();
        assert!(is_noted(&lane) && !holds.look().is_full);
        // All of the memory is free again.
        assert!(holds.memory.try_reserve(MIB / 4).is_some());
    }

    #[test]
    fn a_stream_that_is_held_back_is_full_whatever_is_held() {
        let (holds, lane) = holds(MIB);
        let back = holds.hold_back(10, 10);
        assert!(is_noted(&lane) && holds.look().is_full);
        let [other, merged] = [holds.hold(20, 10), holds.hold_back(20, 10)];
        back.done();
        assert!(!is_noted(&lane) && holds.look().is_full);
        other.done();
        merged.done();
        assert!(is_noted(&lane) && !holds.look().is_full);
        assert_eq!(holds.poll_end(), Poll::Ready(None));
    }

    #[test]
    fn a_hold_of_the_end_holds_nothing_else_and_its_failure_counts_at_once() {
        let (holds, lane) = holds(MIB);
        let [done, fails] = [holds.hold_end(), holds.hold_end()];
        let bytes = holds.hold(10, 10);
        assert!(!holds.poll_through(10));
        bytes.done();
        assert!(is_noted(&lane) && holds.poll_through(10));
        assert!(!holds.look().is_full);
        done.done();
        assert!(!is_noted(&lane));
        fails.fail_as(End::Cut(Cut::Server));
        assert!(is_noted(&lane));
        assert_eq!(holds.look().failure, Some(End::Cut(Cut::Server)));

        let holds = Holds::new(STREAM, &lane, &Memory::new(MIB));
        let end = holds.hold_end();
        assert!(holds.poll_end().is_pending());
        end.done();
        assert!(is_noted(&lane));
        assert_eq!(holds.poll_end(), Poll::Ready(None));
    }

    #[test]
    fn a_hold_that_outlives_its_stream_releases_its_memory_and_does_nothing_else() {
        let (holds, lane) = holds(MIB);
        let [done, dropped] = [holds.hold(10, 600_000), holds.hold(20, 10)];
        assert!(holds.poll_end().is_pending());
        holds.settle();
        assert!(holds.memory.try_reserve(MIB / 4).is_none());
        done.done();
        assert!(holds.memory.try_reserve(MIB / 4).is_some());
        drop(dropped);
        // Nor does a hold that is taken too late.
        drop(holds.hold(30, 10));
        assert!(!is_noted(&lane));
    }

    #[test]
    fn answers_wait_for_the_holds_before_them_and_for_no_others() {
        let (holds, lane) = holds(MIB);
        let [first, second, third] = [10, 20, 30].map(|end| holds.hold(end, 10));
        assert!(!holds.poll_through(20));
        second.done();
        assert!(!is_noted(&lane));
        first.done();
        assert!(is_noted(&lane));
        assert!(holds.poll_through(20) && !holds.poll_through(30));
        drop(third);
        assert!(!holds.poll_through(30));
    }

    #[test]
    fn a_hold_that_is_taken_after_one_of_a_later_event_waits_with_it() {
        let (holds, lane) = holds(MIB);
        let later = holds.hold(20, 10);
        let earlier = holds.hold(10, 10);
        later.done();
        assert!(holds.poll_end().is_pending());
        earlier.done();
        assert!(is_noted(&lane));
        assert_eq!(holds.poll_end(), Poll::Ready(None));
    }
}

/// Loom models; `src/link.rs` has the command.
#[cfg(all(test, tlsink_loom))]
mod models {
    use std::future::poll_fn;

    use loom::future::block_on;
    use loom::thread;

    use super::*;
    use crate::end::Cut;

    fn holds() -> (Arc<Holds>, Arc<Lane>) {
        let lane = Arc::new(Lane::new());
        let holds = Holds::new(ConnId(1), &lane, &Memory::new(1 << 20));
        (holds, lane)
    }

    /// Waits for the end as a sink does: it looks when it has notes.
    async fn end(holds: &Holds, lane: &Lane) -> Option<End> {
        if let Poll::Ready(end) = holds.poll_end() {
            return end;
        }
        poll_fn(|cx| {
            lane.register(cx);
            if !lane.has_notes() {
                return Poll::Pending;
            }
            assert_eq!(lane.take_notes().streams, [ConnId(1)]);
            holds.poll_end()
        })
        .await
    }

    #[test]
    fn the_last_hold_that_is_done_ends_the_stream() {
        loom::model(|| {
            let (holds, lane) = holds();
            let out = [10, 20].map(|end| holds.hold(end, 10));
            let writer = thread::spawn(move || out.map(Hold::done));
            assert_eq!(block_on(end(&holds, &lane)), None);
            writer.join().unwrap();
            assert_eq!(holds.held_bytes(), 0);
        });
    }

    #[test]
    fn a_hold_that_is_dropped_is_not_missed() {
        loom::model(|| {
            let (holds, lane) = holds();
            let hold = holds.hold(10, 10);
            let writer = thread::spawn(move || drop(hold));
            let end = block_on(end(&holds, &lane));
            assert!(matches!(end, Some(End::Cut(Cut::Output { .. }))));
            writer.join().unwrap();
        });
    }

    #[test]
    fn a_hold_that_is_dropped_beside_one_that_is_done_has_failed() {
        loom::model(|| {
            let (holds, lane) = holds();
            let [done, dropped] = [holds.hold(10, 10), holds.hold(10, 10)];
            assert!(holds.poll_end().is_pending());
            let writer = thread::spawn(move || drop(dropped));
            done.done();
            writer.join().unwrap();
            assert_eq!(lane.take_notes().streams, [ConnId(1)]);
            let end = holds.poll_end();
            assert!(matches!(
                end,
                Poll::Ready(Some(End::Cut(Cut::Output { .. })))
            ));
            assert!(!holds.is_out());
        });
    }

    #[test]
    fn a_full_stream_that_is_full_no_longer_is_not_missed() {
        loom::model(|| {
            let (holds, lane) = holds();
            // More than there is memory for.
            let hold = holds.hold(MAX_HELD as u64, MAX_HELD);
            let writer = thread::spawn(move || hold.done());
            let mut was_full = false;
            block_on(poll_fn(|cx| {
                lane.register(cx);
                if lane.has_notes() {
                    lane.take_notes();
                    let is_full = holds.look().is_full;
                    assert!(!was_full || !is_full, "a note says something new");
                    was_full = is_full;
                }
                match was_full || holds.is_out() {
                    true => Poll::Pending,
                    false => Poll::Ready(()),
                }
            }));
            writer.join().unwrap();
            assert!(!holds.look().is_full);
        });
    }

    #[test]
    fn answers_that_are_due_are_not_missed() {
        loom::model(|| {
            let (holds, lane) = holds();
            let [first, second] = [10, 20].map(|end| holds.hold(end, 10));
            let writer = thread::spawn(move || first.done());
            let mut is_through = holds.poll_through(10);
            block_on(poll_fn(|cx| {
                lane.register(cx);
                if lane.has_notes() {
                    lane.take_notes();
                    holds.look();
                    is_through = holds.poll_through(10);
                }
                match is_through {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            }));
            writer.join().unwrap();
            assert!(!holds.poll_through(20));
            second.done();
        });
    }

    #[test]
    #[cfg(feature = "resume")]
    fn progress_is_not_missed_and_none_is_seen_that_is_not_there() {
        loom::model(|| {
            let (holds, lane) = holds();
            let [first, second] = [10, 20].map(|end| holds.hold(end, 10));
            let writer = thread::spawn(move || {
                second.done();
                first.done();
            });
            let mut seen = holds.poll_progress(20);
            block_on(poll_fn(|cx| {
                lane.register(cx);
                if lane.has_notes() {
                    lane.take_notes();
                    holds.look();
                    seen = holds.poll_progress(20);
                }
                // The first hold is of everything up to 10, and so is not done alone.
                assert!([0, 20].contains(&seen));
                match seen {
                    20 => Poll::Ready(()),
                    _ => Poll::Pending,
                }
            }));
            writer.join().unwrap();
        });
    }

    #[test]
    fn a_hold_that_is_taken_while_the_stream_ends_counts_or_has_no_effect() {
        loom::model(|| {
            let (holds, lane) = holds();
            let late = Arc::clone(&holds);
            let late = thread::spawn(move || late.hold(10, 10).done());
            assert_eq!(block_on(end(&holds, &lane)), None);
            holds.settle();
            late.join().unwrap();
            assert!(!holds.is_out());
            assert!(holds.settled.load(Ordering::Acquire));
        });
    }
}
