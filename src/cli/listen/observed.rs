//! The output of a lane as others see it: the connections that open, the lines that it takes, and the
//! time that the lane waits for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memchr::memchr_iter;
use tlsink::frame::Records;
use tlsink::output::{Output, Portion, label};
use tlsink::{Conn, End};

use super::super::say::Say;

/// The figures of one lane's output. Only the lane changes them.
#[derive(Debug)]
pub(crate) struct Meter {
    start: Instant,
    lines: AtomicU64,
    /// The time of all calls that have returned, in nanoseconds.
    waited: AtomicU64,
    /// The start of the call that has not returned, in nanoseconds since `start`; 0 without one.
    since: AtomicU64,
}

impl Meter {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Meter {
            start: Instant::now(),
            lines: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            since: AtomicU64::new(0),
        })
    }

    /// The number of lines that the output took.
    pub(super) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// The time that the lane has spent in the output, including a call that has not returned.
    pub(super) fn waited(&self) -> Duration {
        let waited = self.waited.load(Ordering::Relaxed);
        let running = match self.since.load(Ordering::Relaxed) {
            0 => 0,
            since => self.now().saturating_sub(since),
        };
        Duration::from_nanos(waited.saturating_add(running))
    }

    fn now(&self) -> u64 {
        // 584 years fit.
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Measures a call.
    fn time<T>(&self, call: impl FnOnce() -> T) -> T {
        let since = self.now().max(1);
        self.since.store(since, Ordering::Relaxed);
        let result = call();
        let took = self.now().saturating_sub(since);
        // There is one writer, so this needs no locked instruction.
        let waited = self.waited.load(Ordering::Relaxed).saturating_add(took);
        self.waited.store(waited, Ordering::Relaxed);
        self.since.store(0, Ordering::Relaxed);
        result
    }

    fn count(&self, lines: usize) {
        let lines = self.lines().saturating_add(lines as u64);
        self.lines.store(lines, Ordering::Relaxed);
    }
}

/// An output that logs each open, and that is measured if somebody wants to know.
pub(super) struct Observed<O> {
    pub(super) output: O,
    pub(super) say: Say,
    pub(super) meter: Option<Arc<Meter>>,
}

impl<O> Observed<O> {
    /// Calls the output.
    fn call<T>(&mut self, call: impl FnOnce(&mut O) -> T) -> T {
        match &self.meter {
            Some(meter) => meter.time(|| call(&mut self.output)),
            None => call(&mut self.output),
        }
    }

    /// Counts the lines that the output took.
    fn count(&self, lines: impl FnOnce() -> usize) {
        if let Some(meter) = &self.meter {
            meter.count(lines());
        }
    }
}

impl<O: Output> Output for Observed<O> {
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        self.call(|output| output.data(connection, bytes))?;
        self.count(|| newlines(bytes));
        Ok(())
    }

    fn turn(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        let portion = self.call(|output| output.turn(connection, bytes))?;
        self.count(|| newlines(bytes.get(..portion.taken).unwrap_or(bytes)));
        Ok(portion)
    }

    fn records(&mut self, connection: &Conn, records: Records<'_>) -> io::Result<Portion> {
        let portion = self.call(|output| output.records(connection, records))?;
        self.count(|| ended_within(records, portion.taken));
        Ok(portion)
    }

    fn open(&mut self, connection: &Conn) -> io::Result<()> {
        self.say
            .detail(|| format!("{}: open", label(connection.peer())));
        self.call(|output| output.open(connection))
    }

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        self.call(|output| output.close(connection, end))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call(O::flush)
    }
}

fn newlines(bytes: &[u8]) -> usize {
    memchr_iter(b'\n', bytes).count()
}

/// The number of records that end within the first `taken` bytes.
fn ended_within(records: Records<'_>, taken: usize) -> usize {
    let mut left = taken;
    let ended = records.iter().take_while(|record| {
        let len = record.bytes.len().saturating_add(1);
        let fits = record.ends && len <= left;
        left = left.saturating_sub(len);
        fits
    });
    ended.count()
}
