//! The rate at which each sender is read, on all its connections together.
//!
//! Each sender has a bucket, metered by the virtual scheduling algorithm (GCRA) of ITU-T
//! Recommendation I.371. A connection that may not read yet waits in its bucket's queue: only the
//! first in the queue has a timer, and a read wakes only the next one, however many wait.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use async_io::Timer;
use parking_lot::Mutex;

use crate::peer::Peer;
use crate::sender_id::SenderId;

/// The time whose bytes a sender that was slower may send at once, and whose bytes one read may take
/// at most. Both together can add a fortieth to the rate over 10 s. A read that comes late, because
/// the processor was busy, is made up for within this time.
const BURST: Duration = Duration::from_millis(125);

/// The least number of buckets at which those of senders that have gone are looked for.
const LEAST_SWEPT: usize = 64;

/// The buckets of all senders.
#[derive(Debug)]
pub(crate) struct Rates {
    /// The rate of each sender, in bytes a second.
    rate: NonZeroU64,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    of: HashMap<SenderId, Arc<Bucket>>,
    /// The number of buckets at which they are swept next.
    sweep_at: usize,
}

/// The bytes that a sender may send.
#[derive(Debug)]
struct Bucket {
    rate: NonZeroU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The time at which the bytes that were read, or are being read, are paid for, and the next may be
    /// read.
    free_at: Instant,
    /// The connections that wait to read, by their number in the queue.
    waiting: BTreeMap<u64, Waker>,
    /// The last number that was given.
    last: u64,
}

/// The answer to a connection that wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Now,
    /// The connection is the next to read, at this time.
    At(Instant),
    /// The connection is woken once it is the next to read.
    Queued,
}

impl Rates {
    pub(crate) fn new(rate: NonZeroU64) -> Self {
        Rates {
            rate,
            buckets: Mutex::new(Buckets {
                of: HashMap::new(),
                sweep_at: LEAST_SWEPT,
            }),
        }
    }

    /// Lets a connection of this sender read at the sender's rate.
    pub(crate) fn of(&self, peer: &Peer) -> Throttle {
        self.of_at(peer, Instant::now())
    }

    fn of_at(&self, peer: &Peer, now: Instant) -> Throttle {
        let mut buckets = self.buckets.lock();
        buckets.sweep(now);
        let bucket = buckets.of.entry(SenderId::of(peer));
        Throttle {
            bucket: Arc::clone(bucket.or_insert_with(|| Arc::new(Bucket::new(self.rate, now)))),
            number: None,
            timer: None,
        }
    }
}

impl Buckets {
    /// Removes the buckets of senders without connections, once there are twice as many as after the
    /// last time. A bucket stays until its bytes are paid for: otherwise, a sender could connect
    /// again instead of waiting.
    fn sweep(&mut self, now: Instant) {
        if self.of.len() >= self.sweep_at {
            self.of.retain(|_, bucket| {
                Arc::strong_count(bucket) > 1 || bucket.state.lock().free_at > now
            });
            self.sweep_at = self.of.len().saturating_mul(2).max(LEAST_SWEPT);
        }
    }
}

impl Bucket {
    /// A new bucket allows no burst, so nobody gains by one.
    fn new(rate: NonZeroU64, now: Instant) -> Self {
        Bucket {
            rate,
            state: Mutex::new(State {
                free_at: now,
                waiting: BTreeMap::new(),
                last: 0,
            }),
        }
    }

    /// Asks whether a connection may read, and counts `most` bytes if it may. One that may not is given a
    /// `number` in the queue.
    fn take_turn(
        &self,
        number: &mut Option<u64>,
        most: usize,
        now: Instant,
        waker: &Waker,
    ) -> Turn {
        // A waker is dropped without the lock: it may drop its task, which leaves the queue.
        let _unused;
        let mut state = self.state.lock();
        let is_next = state.waiting.keys().next() == number.as_ref();
        if is_next && state.free_at <= now {
            let earliest = now.checked_sub(BURST).unwrap_or(now);
            let free_at = state.free_at.max(earliest);
            state.free_at = free_at.checked_add(self.time_of(most)).unwrap_or(free_at);
            _unused = number.take().and_then(|own| state.waiting.remove(&own));
            drop(state);
            return Turn::Now;
        }
        let own = *number.get_or_insert_with(|| {
            state.last += 1;
            state.last
        });
        let is_known = state.waiting.get(&own);
        _unused = match is_known.is_some_and(|known| known.will_wake(waker)) {
            true => None,
            false => state.waiting.insert(own, waker.clone()),
        };
        let turn = match is_next {
            true => Turn::At(state.free_at),
            false => Turn::Queued,
        };
        drop(state);
        turn
    }

    /// Takes back `counted` bytes of which only so many were read, and wakes the next connection.
    fn give_back(&self, counted: usize, read: usize) {
        let less = self.time_of(counted).saturating_sub(self.time_of(read));
        let mut state = self.state.lock();
        state.free_at = state.free_at.checked_sub(less).unwrap_or(state.free_at);
        let next = state.waiting.values().next().cloned();
        drop(state);
        next.inspect(Waker::wake_by_ref);
    }

    /// Takes a connection out of the queue, and wakes the next one.
    fn leave(&self, number: u64) {
        let mut state = self.state.lock();
        let _left = state.waiting.remove(&number);
        let next = state.waiting.values().next().cloned();
        drop(state);
        next.inspect(Waker::wake_by_ref);
    }

    /// The time that so many bytes take at the sender's rate.
    fn time_of(&self, bytes: usize) -> Duration {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Duration::from_nanos(
            bytes
                .saturating_mul(1_000_000_000)
                .div_ceil(self.rate.get()),
        )
    }

    /// The most bytes that one read may take.
    fn most(&self) -> usize {
        let bytes = u128::from(self.rate.get()) * BURST.as_millis() / 1000;
        usize::try_from(bytes).unwrap_or(usize::MAX).max(1)
    }
}

/// The reads of a connection, as the rate of its sender allows them.
#[derive(Debug)]
pub(crate) struct Throttle {
    bucket: Arc<Bucket>,
    /// The connection's number in the queue, while it waits.
    number: Option<u64>,
    /// The time until the connection may read, if it is the next.
    timer: Option<Timer>,
}

impl Throttle {
    /// Waits until the connection may read, into a buffer with this much room.
    pub(crate) fn poll(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<Allowance<'_>> {
        let bucket = &*self.bucket;
        let most = bucket.most().min(room);
        loop {
            match bucket.take_turn(&mut self.number, most, Instant::now(), cx.waker()) {
                Turn::Now => {
                    self.timer = None;
                    return Poll::Ready(Allowance {
                        bucket,
                        most,
                        read: 0,
                    });
                }
                Turn::At(time) => {
                    let timer = self.timer.get_or_insert_with(Timer::never);
                    timer.set_at(time);
                    ready!(Pin::new(timer).poll(cx));
                }
                Turn::Queued => return Poll::Pending,
            }
        }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.bucket.leave(number);
        }
    }
}

/// The permission to read once. Dropping it lets the sender's next connection read.
#[derive(Debug)]
pub(crate) struct Allowance<'a> {
    bucket: &'a Bucket,
    most: usize,
    read: usize,
}

impl Allowance<'_> {
    /// The most bytes to read, at least one.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Notes how many bytes were read.
    pub(crate) fn spend(mut self, read: usize) {
        self.read = read;
    }
}

impl Drop for Allowance<'_> {
    fn drop(&mut self) {
        self.bucket.give_back(self.most, self.read);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;
    use std::task::Wake;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(bytes: u64) -> NonZeroU64 {
        NonZeroU64::new(bytes).unwrap()
    }

    fn host(number: u16) -> Peer {
        let [high, low] = number.to_be_bytes();
        std::net::SocketAddr::from(([192, 0, high, low], 9)).into()
    }

    /// The number of bytes that a bucket gives connections that always read at most `size` bytes, from
    /// `from` on, for so long.
    fn read(bucket: &Bucket, size: usize, from: Instant, time: Duration) -> u64 {
        let mut now = from;
        let mut bytes = 0;
        let mut number = None;
        while now < from + time {
            let most = bucket.most().min(1 << 16);
            match bucket.take_turn(&mut number, most, now, Waker::noop()) {
                Turn::Now => {
                    let size = size.min(most);
                    bucket.give_back(most, size);
                    bytes += size as u64;
                }
                Turn::At(time) => now = time,
                Turn::Queued => panic!("nobody else reads"),
            }
        }
        number.inspect(|number| bucket.leave(*number));
        bytes
    }

    #[test]
    fn over_ten_seconds_a_sender_gets_its_rate_whatever_the_size_of_its_reads() {
        for (per_second, sizes) in [
            (1, &[1, 100][..]),
            (7, &[1, 100]),
            (1000, &[1, 100, 1 << 16]),
            (1 << 20, &[100, 4096, 1 << 16]),
            (1 << 30, &[1 << 16]),
        ] {
            for size in sizes {
                let now = Instant::now();
                let bucket = Bucket::new(rate(per_second), now);
                let bytes = read(&bucket, *size, now, 10 * SECOND) as f64;
                let share = bytes / (10.0 * per_second as f64);
                assert!(
                    (0.999..1.02).contains(&share),
                    "{per_second} {size}: {share}"
                );
            }
        }
    }

    #[test]
    fn a_sender_that_was_slower_has_a_short_burst() {
        let now = Instant::now();
        let bucket = Bucket::new(rate(8000), now);
        let later = now + 3600 * SECOND;
        let burst = read(&bucket, 100, later, Duration::from_nanos(1));
        // The last read of a burst may take as much again.
        assert!((1000..=2000).contains(&burst), "{burst}");
        let bytes = read(&bucket, 100, later, 10 * SECOND);
        assert!(burst + bytes <= 82_000, "{burst} {bytes}");
    }

    #[test]
    fn a_late_read_is_made_up_for() {
        let start = Instant::now();
        let bucket = Bucket::new(rate(8000), start);
        let mut bytes = 0;
        // The processor gives the connection a turn every 100 ms only.
        for turn in 0..100 {
            let now = start + turn * Duration::from_millis(100);
            bytes += read(&bucket, 1 << 16, now, Duration::from_nanos(1));
        }
        assert!((76_000..=82_000).contains(&bytes), "{bytes}");
    }

    /// Reads so many bytes at once.
    fn spend(bucket: &Bucket, bytes: usize, now: Instant) {
        let turn = bucket.take_turn(&mut None, bytes, now, Waker::noop());
        assert_eq!(turn, Turn::Now);
        bucket.give_back(bytes, bytes);
    }

    #[test]
    fn while_one_connection_reads_no_other_does() {
        let now = Instant::now();
        let bucket = Bucket::new(rate(8000), now);
        let [mut one, mut other] = [None; 2];
        assert_eq!(
            bucket.take_turn(&mut one, 1000, now, Waker::noop()),
            Turn::Now
        );
        let turn = bucket.take_turn(&mut other, 1000, now, Waker::noop());
        assert!(matches!(turn, Turn::At(time) if time > now));
        // The connection has read nothing.
        bucket.give_back(1000, 0);
        assert_eq!(
            bucket.take_turn(&mut other, 1000, now, Waker::noop()),
            Turn::Now
        );
    }

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn connections_of_a_sender_read_in_turn_and_each_read_wakes_one() {
        let mut now = Instant::now();
        let bucket = Bucket::new(rate(8000), now);
        let counters: [Arc<Counter>; 10] = Default::default();
        let wakers = counters.clone().map(Waker::from);
        let mut numbers = [None; 10];
        spend(&bucket, 1000, now);
        let mut order = Vec::new();
        for _ in 0..3 {
            for (number, waker) in numbers.iter_mut().zip(&wakers) {
                assert_ne!(bucket.take_turn(number, 1000, now, waker), Turn::Now);
            }
            for (one, (number, waker)) in numbers.iter_mut().zip(&wakers).enumerate() {
                let Turn::At(time) = bucket.take_turn(number, 1000, now, waker) else {
                    panic!("the {one}. connection is not the next")
                };
                assert!(time > now);
                now = time;
                assert_eq!(bucket.take_turn(number, 1000, now, waker), Turn::Now);
                bucket.give_back(1000, 1000);
                order.push(one);
            }
        }
        let woken: usize = counters.iter().map(|one| one.0.load(SeqCst)).sum();
        assert!(woken <= order.len(), "{woken}");
        let each: Vec<_> = (0..10).collect();
        assert_eq!(order, [&each[..]; 3].concat());
    }

    #[test]
    fn a_connection_that_goes_away_leaves_its_turn_to_the_next() {
        let now = Instant::now();
        let rates = Rates::new(rate(8000));
        let [mut one, mut other] = [rates.of_at(&host(1), now), rates.of_at(&host(1), now)];
        let bucket = Arc::clone(&one.bucket);
        spend(&bucket, 1000, now);
        let counter = Arc::<Counter>::default();
        let waker = Waker::from(Arc::clone(&counter));
        let turn = bucket.take_turn(&mut one.number, 1000, now, Waker::noop());
        assert!(matches!(turn, Turn::At(_)));
        let turn = bucket.take_turn(&mut other.number, 1000, now, &waker);
        assert_eq!(turn, Turn::Queued);
        drop(one);
        assert_eq!(counter.0.load(SeqCst), 1);
        let turn = bucket.take_turn(&mut other.number, 1000, now, &waker);
        assert!(matches!(turn, Turn::At(_)));
    }

    #[test]
    fn a_sender_that_connects_again_still_has_to_wait() {
        let now = Instant::now();
        let rates = Rates::new(rate(8000));
        spend(&rates.of_at(&host(1), now).bucket, 8000, now);
        // Other senders make the buckets be swept.
        for number in 1000..2000 {
            rates.of_at(&host(number), now);
        }
        let mut again = rates.of_at(&host(1), now);
        let turn = again
            .bucket
            .take_turn(&mut again.number, 1000, now, Waker::noop());
        assert!(matches!(turn, Turn::At(time) if time > now));
    }

    #[test]
    fn buckets_of_senders_that_have_gone_are_forgotten() {
        let mut now = Instant::now();
        let rates = Rates::new(rate(8000));
        let open: Vec<_> = (0..100)
            .map(|number| rates.of_at(&host(number), now))
            .collect();
        for number in 1000..5000 {
            spend(&rates.of_at(&host(number), now).bucket, 1, now);
            now += SECOND;
            assert!(rates.buckets.lock().of.len() <= 2 * open.len() + 2);
        }
        drop(open);
        for number in 1000..2000 {
            rates.of_at(&host(number), now);
        }
        assert!(rates.buckets.lock().of.len() <= LEAST_SWEPT);
    }
}
