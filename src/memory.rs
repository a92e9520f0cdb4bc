//! The memory that a server's connections share.
//!
//! One limit holds for chunks on their way to the sink, the decoders' windows, and unfinished lines
//! together. Within it, each sender has an account, and an account may hold no more than it leaves
//! free. So there is always memory for a later sender: one sender that takes all it can get leaves
//! a half, two of them leave a quarter. Nothing is reserved for individual senders, and senders
//! need not be counted. (Switches share their buffers in this way, by the dynamic thresholds of
//! Choudhury and Hahne.)

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use event_listener::{Event, EventListener};
use parking_lot::{Mutex, MutexGuard};

use crate::peer::Peer;
use crate::sender_id::SenderId;

/// Memory that only chunks may use, in bytes: enough to keep two hundred connections reading at
/// full speed while everything else is taken by windows and unfinished lines.
const TRANSIT: usize = 32 << 20;

/// The memory that a server's connections share, as one of them may use it; see
/// [`ServerBuilder::max_memory`].
///
/// An output that keeps bytes for its connections, as [`Lines`] keeps unfinished lines, reserves
/// them here, so that one limit holds for everything.
///
/// [`ServerBuilder::max_memory`]: crate::ServerBuilder::max_memory
/// [`Lines`]: crate::output::Lines
#[derive(Clone, Debug)]
pub struct Memory {
    account: Arc<Account>,
}

#[derive(Debug)]
struct Pool {
    /// The size of the pool, in bytes.
    limit: usize,
    /// Whether a quarter is reserved for verified clients.
    prefers_clients: bool,
    held: Held,
    queue: Mutex<Queue>,
    accounts: Mutex<HashMap<SenderId, Weak<Account>>>,
}

/// Accounts for whose chunks there was no memory, each once, in the order in which they are served,
/// with the number of bytes that each asked for.
type Queue = VecDeque<(Arc<Account>, usize)>;

/// The bytes that are held for each [`Use`]. They are changed under the lock of the pool's queue only.
#[derive(Debug, Default)]
struct Held {
    kept: AtomicUsize,
    chunks: AtomicUsize,
}

/// The use of the memory that a server's connections share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryUse {
    /// The bytes that may be used at most.
    pub limit: usize,
    /// The bytes of windows, unfinished lines, and what outputs hold, which may stay for long.
    pub kept: usize,
    /// The bytes of chunks on their way.
    pub chunks: usize,
}

/// The memory of one sender.
#[derive(Debug)]
struct Account {
    pool: Arc<Pool>,
    /// `None` for an account that all senders share, which may use everything.
    sender: Option<SenderId>,
    held: Held,
    /// Notified when there is memory for one of the account's chunks.
    freed: Event,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// A window or a line, which may stay for long.
    Kept,
    /// A chunk, which is released soon.
    Chunk,
}

impl Memory {
    /// Memory of `bytes` bytes.
    pub fn new(bytes: usize) -> Self {
        Memory::shared(bytes, false)
    }

    /// Memory of `bytes` bytes, a quarter of it reserved for verified clients if `prefers_clients`.
    pub(crate) fn shared(bytes: usize, prefers_clients: bool) -> Self {
        let pool = Arc::new(Pool {
            limit: bytes,
            prefers_clients,
            held: Held::default(),
            queue: Mutex::default(),
            accounts: Mutex::default(),
        });
        Memory {
            account: Arc::new(Account::new(pool, None)),
        }
    }

    /// The same memory, as this sender may use it.
    pub(crate) fn of(&self, peer: &Peer) -> Self {
        let pool = &self.account.pool;
        let sender = SenderId::of(peer);
        let mut accounts = pool.accounts.lock();
        if let Some(account) = accounts.get(&sender).and_then(Weak::upgrade) {
            return Memory { account };
        }
        let account = Arc::new(Account::new(Arc::clone(pool), Some(sender.clone())));
        accounts.insert(sender, Arc::downgrade(&account));
        Memory { account }
    }

    /// This memory, as a connection with the account `own` may use it: through that account, if it
    /// belongs to the same pool.
    pub(crate) fn used_by<'a>(&'a self, own: &'a Memory) -> &'a Memory {
        match Arc::ptr_eq(&self.account.pool, &own.account.pool) {
            true => own,
            false => self,
        }
    }

    /// Reserves `bytes` for a window or an unfinished line, which may stay for long. Returns `None`
    /// if there is no memory.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        self.account
            .try_take(Use::Kept, bytes)
            .then(|| self.reservation(Use::Kept, bytes))
    }

    /// Reserves `bytes` for a chunk, as soon as there is memory for it. `waiting` is the caller's
    /// place in the queue: one for each task, kept between calls.
    pub(crate) fn poll_reserve_chunk(
        &self,
        bytes: usize,
        waiting: &mut Option<Waiting>,
        cx: &mut Context<'_>,
    ) -> Poll<Reservation> {
        // The place is dropped, which wakes the next in the queue, once it is known whether there
        // was memory.
        let mut _woken = None;
        loop {
            let mut queue = self.account.pool.queue.lock();
            if self.account.fits(Use::Chunk, bytes) {
                self.account.take(Use::Chunk, bytes);
                drop(queue);
                *waiting = None;
                return Poll::Ready(self.reservation(Use::Chunk, bytes));
            }
            let queued = waiting.get_or_insert_with(|| {
                let is_queued = |(account, _): &(_, _)| Arc::ptr_eq(account, &self.account);
                if !queue.iter().any(is_queued) {
                    queue.push_back((Arc::clone(&self.account), bytes));
                }
                // The task listens under the lock, so as not to miss memory freed from here on.
                Waiting {
                    listener: Some(self.account.freed.listen()),
                    account: Arc::clone(&self.account),
                }
            });
            drop(queue);
            if queued.poll(cx).is_pending() {
                return Poll::Pending;
            }
            _woken = waiting.take();
        }
    }

    /// The most that can ever be reserved for a window or a line, in bytes.
    #[cfg(feature = "zstd")]
    pub(crate) fn most(&self) -> usize {
        let most = self.account.room(MemoryUse::default(), Use::Kept);
        match self.account.sender {
            Some(_) => most / 2,
            None => most,
        }
    }

    pub(crate) fn in_use(&self) -> MemoryUse {
        self.account.pool.in_use()
    }

    fn reservation(&self, purpose: Use, bytes: usize) -> Reservation {
        Reservation {
            account: Arc::clone(&self.account),
            purpose,
            bytes,
        }
    }
}

impl Pool {
    fn in_use(&self) -> MemoryUse {
        MemoryUse {
            limit: self.limit,
            kept: self.held.kept.load(Relaxed),
            chunks: self.held.chunks.load(Relaxed),
        }
    }
}

impl Held {
    fn of(&self, purpose: Use) -> &AtomicUsize {
        match purpose {
            Use::Kept => &self.kept,
            Use::Chunk => &self.chunks,
        }
    }
}

impl Account {
    fn new(pool: Arc<Pool>, sender: Option<SenderId>) -> Self {
        Account {
            pool,
            sender,
            held: Held::default(),
            freed: Event::new(),
        }
    }

    /// The memory that all accounts together leave free for this purpose, in bytes.
    ///
    /// Windows leave chunks a quarter of the whole, at most [`TRANSIT`]: chunks come and go, and no
    /// data would move without them. Chunks leave windows half of the memory that windows could
    /// have: a chunk waits for memory, while a window that finds none ends its stream.
    fn room(&self, used: MemoryUse, purpose: Use) -> usize {
        let limit = match self.sender {
            Some(SenderId::Host(..) | SenderId::Other(_)) if self.pool.prefers_clients => {
                self.pool.limit / 4 * 3
            }
            _ => self.pool.limit,
        };
        let transit = (limit / 4).min(TRANSIT);
        match purpose {
            Use::Kept => limit
                .saturating_sub(transit.max(used.chunks))
                .saturating_sub(used.kept),
            Use::Chunk => (limit.saturating_sub(used.kept) / 2)
                .max(transit)
                .saturating_sub(used.chunks),
        }
    }

    fn fits(&self, purpose: Use, bytes: usize) -> bool {
        let room = self.room(self.pool.in_use(), purpose);
        let Some(left) = room.checked_sub(bytes) else {
            return false;
        };
        let held = self.held.of(purpose).load(Relaxed);
        self.sender.is_none() || held.saturating_add(bytes) <= left
    }

    fn take(&self, purpose: Use, bytes: usize) {
        self.pool.held.of(purpose).fetch_add(bytes, Relaxed);
        self.held.of(purpose).fetch_add(bytes, Relaxed);
    }

    fn try_take(&self, purpose: Use, bytes: usize) -> bool {
        let _changing = self.pool.queue.lock();
        let fits = self.fits(purpose, bytes);
        if fits {
            self.take(purpose, bytes);
        }
        fits
    }

    fn release(&self, purpose: Use, bytes: usize) {
        let queue = self.pool.queue.lock();
        self.pool.held.of(purpose).fetch_sub(bytes, Relaxed);
        self.held.of(purpose).fetch_sub(bytes, Relaxed);
        wake_next(queue);
    }
}

/// Wakes one task of the next account for which there is memory.
fn wake_next(mut queue: MutexGuard<'_, Queue>) {
    let next = next_waiting(&mut queue);
    // The lock is released first, because a waker may drop its task, and memory with it.
    drop(queue);
    if let Some(account) = next {
        account.freed.notify(1);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(sender) = &self.sender {
            let mut accounts = self.pool.accounts.lock();
            // The sender may have a new account by now.
            if accounts
                .get(sender)
                .is_some_and(|account| account.strong_count() == 0)
            {
                accounts.remove(sender);
            }
        }
    }
}

/// The next account that has a task waiting for a chunk, and memory for it. Accounts without waiting
/// tasks are removed.
fn next_waiting(queue: &mut Queue) -> Option<Arc<Account>> {
    for _ in 0..queue.len() {
        let (account, bytes) = queue.pop_front()?;
        if account.freed.total_listeners() == 0 {
            continue;
        }
        let next = account
            .fits(Use::Chunk, bytes)
            .then(|| Arc::clone(&account));
        queue.push_back((account, bytes));
        if next.is_some() {
            return next;
        }
    }
    None
}

/// A place in the queue for a chunk's memory. Dropping it lets the next task look: there may be
/// memory for several tasks, or this task may not have taken it.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// `None` only while this place is being dropped.
    listener: Option<EventListener>,
    account: Arc<Account>,
}

impl Waiting {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.listener {
            Some(listener) => Pin::new(listener).poll(cx),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.listener = None;
        wake_next(self.account.pool.queue.lock());
    }
}

/// A reserved part of a [`Memory`]; dropping it releases the memory.
#[derive(Debug)]
pub(crate) struct Reservation {
    account: Arc<Account>,
    purpose: Use,
    bytes: usize,
}

impl Reservation {
    /// Grows this reservation to at least `bytes`. Returns `false` if there is no memory for that.
    pub(crate) fn try_grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let granted = more == 0 || self.account.try_take(self.purpose, more);
        if granted {
            self.bytes = self.bytes.saturating_add(more);
        }
        granted
    }

    /// Shrinks this reservation to at most `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        if less > 0 {
            self.bytes -= less;
            self.account.release(self.purpose, less);
        }
    }

    /// Whether the account of this reservation holds at least as much as `memory`'s.
    pub(crate) fn is_of_no_less_than(&self, memory: &Memory) -> bool {
        self.account.held.kept.load(Relaxed) >= memory.account.held.kept.load(Relaxed)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::SeqCst;
    use std::task::{Wake, Waker};

    use super::*;

    const MIB: usize = 1 << 20;

    fn host(number: u8) -> Peer {
        SocketAddr::from(([192, 0, 2, number], 9)).into()
    }

    /// Reserves as much as it can get.
    fn take_all(memory: &Memory) -> Vec<Reservation> {
        let step = 4096;
        std::iter::from_fn(|| memory.try_reserve(step)).collect()
    }

    fn bytes(reservations: &[Reservation]) -> usize {
        reservations.iter().map(|one| one.bytes).sum()
    }

    #[test]
    fn memory_that_all_share_can_be_used_up_and_comes_back() {
        // A quarter is for chunks.
        let memory = Memory::new(16 * MIB);
        assert!(memory.try_reserve(13 * MIB).is_none());
        let mut one = memory.try_reserve(11 * MIB).unwrap();
        assert!(one.try_grow(12 * MIB));
        assert!(!one.try_grow(12 * MIB + 1));
        assert!(memory.try_reserve(1).is_none());
        one.shrink(4 * MIB);
        let other = memory.try_reserve(8 * MIB).unwrap();
        drop((one, other));
        assert!(memory.try_reserve(12 * MIB).is_some());
    }

    #[test]
    fn a_sum_that_would_overflow_is_refused() {
        let memory = Memory::new(usize::MAX);
        let _one = memory.try_reserve(1).unwrap();
        assert!(memory.try_reserve(usize::MAX).is_none());
        let _other = memory.of(&host(1)).try_reserve(1).unwrap();
        assert!(memory.of(&host(1)).try_reserve(usize::MAX).is_none());
    }

    #[test]
    fn another_host_gets_a_share_whatever_some_hosts_hold() {
        let all = Memory::new(64 * MIB);
        let mut left = 48 * MIB;
        let mut held = Vec::new();
        for number in 1..=8 {
            let more = take_all(&all.of(&host(number)));
            left -= bytes(&more);
            held.extend(more);
            assert_eq!(left, (48 * MIB) >> number, "{number}");
        }
        assert!(all.of(&host(100)).try_reserve(left / 2).is_some());
    }

    #[test]
    fn one_host_has_half_of_the_memory_on_all_its_connections_together() {
        let all = Memory::new(64 * MIB);
        let memory = all.of(&host(1));
        assert!(memory.try_reserve(24 * MIB).is_some());
        assert!(memory.try_reserve(24 * MIB + 1).is_none());
        let _one = memory.try_reserve(20 * MIB).unwrap();
        assert!(all.of(&host(1)).try_reserve(5 * MIB).is_none());
        assert!(all.of(&host(2)).try_reserve(5 * MIB).is_some());
    }

    #[test]
    fn senders_without_a_name_leave_a_quarter_to_verified_clients() {
        let all = Memory::shared(64 * MIB, true);
        let hosts: Vec<_> = (0..100)
            .flat_map(|number| take_all(&all.of(&host(number))))
            .collect();
        let client = all.of(&host(1).named("boiler"));
        // A quarter of their part is for chunks, too.
        assert!(bytes(&hosts) <= 36 * MIB);
        assert!(client.try_reserve(6 * MIB).is_some());
        // Where no clients are verified, or all are, nothing is reserved.
        let all = Memory::shared(64 * MIB, false);
        assert!(all.of(&host(1)).try_reserve(24 * MIB).is_some());
    }

    #[test]
    fn chunks_and_windows_leave_each_other_room() {
        let all = Memory::new(16 * MIB);
        let mut chunks = Vec::new();
        for number in 0..100 {
            let memory = all.of(&host(number));
            while let Poll::Ready(chunk) = poll_chunk(&memory, &mut None) {
                chunks.push(chunk);
            }
        }
        assert!(bytes(&chunks) <= 8 * MIB);
        assert!(all.of(&host(200)).try_reserve(4 * MIB).is_some());
        drop(chunks);
        let _windows: Vec<_> = (0..100)
            .flat_map(|number| take_all(&all.of(&host(number))))
            .collect();
        assert!(poll_chunk(&all.of(&host(200)), &mut None).is_ready());
    }

    #[test]
    fn an_account_is_gone_with_its_last_use() {
        let all = Memory::new(MIB);
        let memory = all.of(&host(1));
        let reservation = memory.try_reserve(1).unwrap();
        drop(memory);
        assert_eq!(all.account.pool.accounts.lock().len(), 1);
        drop(reservation);
        assert_eq!(all.account.pool.accounts.lock().len(), 0);
    }

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, SeqCst);
        }
    }

    impl Flag {
        fn is_woken(&self) -> bool {
            self.0.swap(false, SeqCst)
        }
    }

    const CHUNK: usize = MIB / 16;

    fn poll_chunk(memory: &Memory, waiting: &mut Option<Waiting>) -> Poll<Reservation> {
        let mut cx = Context::from_waker(Waker::noop());
        memory.poll_reserve_chunk(CHUNK, waiting, &mut cx)
    }

    /// A task that waits for a chunk.
    struct Task {
        memory: Memory,
        flag: Arc<Flag>,
        waiting: Option<Waiting>,
    }

    impl Task {
        fn new(all: &Memory, number: u8) -> Self {
            Task {
                memory: all.of(&host(number)),
                flag: Arc::default(),
                waiting: None,
            }
        }

        fn poll(&mut self) -> Option<Reservation> {
            let waker = Waker::from(Arc::clone(&self.flag));
            let mut cx = Context::from_waker(&waker);
            let memory = &self.memory;
            match memory.poll_reserve_chunk(CHUNK, &mut self.waiting, &mut cx) {
                Poll::Ready(chunk) => Some(chunk),
                Poll::Pending => None,
            }
        }
    }

    /// One host has taken all the chunks that it can get, and has tasks that wait for more; then
    /// another one has taken the rest, and waits too.
    fn crowded(all: &Memory) -> (Vec<Reservation>, Vec<Task>) {
        let mut chunks = Vec::new();
        let mut tasks = Vec::new();
        for number in [1, 2, 3] {
            for _ in 0..3 {
                let mut task = Task::new(all, number);
                chunks.extend(std::iter::from_fn(|| task.poll()));
                tasks.push(task);
            }
        }
        (chunks, tasks)
    }

    #[test]
    fn freed_memory_goes_to_one_account_after_the_other() {
        let all = Memory::new(4 * MIB);
        let (mut chunks, mut tasks) = crowded(&all);
        assert!(tasks.iter().all(|task| !task.flag.is_woken()));
        let mut served = [0; 3];
        while served.iter().sum::<usize>() < tasks.len() {
            // The oldest requests are the first host's, which has the most memory.
            drop(chunks.remove(0));
            for (number, task) in tasks.iter_mut().enumerate() {
                if task.flag.is_woken()
                    && let Some(chunk) = task.poll()
                {
                    served[number / 3] += 1;
                    chunks.push(chunk);
                }
            }
        }
        assert_eq!(served, [3; 3]);
    }

    #[test]
    fn a_task_that_goes_away_leaves_its_turn_to_another() {
        let all = Memory::new(4 * MIB);
        let (mut chunks, mut tasks) = crowded(&all);
        drop(chunks.drain(..4));
        let woken = tasks.iter().position(|task| task.flag.is_woken());
        tasks.remove(woken.expect("there is memory for one"));
        let mut got = 0;
        for task in &mut tasks {
            if task.flag.is_woken() {
                got += usize::from(task.poll().is_some());
            }
        }
        assert!(got > 0);
    }

    #[test]
    fn memory_for_several_chunks_wakes_several_tasks() {
        let all = Memory::new(4 * MIB);
        let window = all.try_reserve(3 * MIB).unwrap();
        let (chunks, mut tasks) = crowded(&all);
        let before = chunks.len();
        // At once, there is room for the same number again.
        drop(window);
        let mut more = Vec::new();
        while let Some(task) = tasks.iter_mut().find(|task| task.flag.is_woken()) {
            more.extend(task.poll());
        }
        assert!(more.len() >= tasks.len().min(before), "{}", more.len());
    }
}
