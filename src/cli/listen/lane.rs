//! A lane: a thread on which streams are received, decoded and printed.
//!
//! The tasks of its connections run beside their sink, and take turns with it. So data is printed
//! while it is in the cache of the core that read it, and no thread waits for another. While the
//! output blocks, those streams are not read; handshakes, signals and other lanes go on.
//!
//! A lane wakes for each small record, unless they arrive too fast for that: then it lets them
//! gather.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future;
use smol::Executor;
use tlsink::output::{Output, OutputError};
use tlsink::{Server, Sink, Totals};

use super::super::{Failure, start_thread};

/// The tasks that run before the sink takes its turn. Their data, at most a mebibyte, is printed
/// before more is read.
const TASKS: usize = 4;

/// Turns of tasks and sink before the thread looks at sockets and timers, which takes several system
/// calls. Other threads look at them too.
const ROUNDS: usize = 64;

/// The shortest rest in which small pieces gather, where they follow one another closely. The
/// system extends it to some 90 µs. Without it, each wait costs more than the piece that it was
/// for.
const REST: Duration = Duration::from_micros(25);

/// The number of consecutive pieces after which a lane rests.
const PIECES: u32 = 8;

/// The bytes of a full record (RFC 8446, section 5.1). At this size, a rest would only throttle a
/// sender that keeps pace with us.
const RECORD: u64 = 16 * 1024;

/// The most bytes that count as pieces gathered in a rest. A socket has room for more, so the rest
/// stopped no sender.
const GATHERED: u64 = 64 * 1024;

/// Runs the tasks of a lane's connections.
pub(crate) type LaneExecutor = Arc<Executor<'static>>;

/// Starts a lane that prints the streams of `sink`, and calls `on_end` once the sink has ended.
///
/// # Errors
///
/// When no thread can be started.
pub(crate) fn start(
    sink: Sink,
    output: impl Output + Send + 'static,
    server: Server,
    on_end: impl FnOnce(Result<Totals, OutputError>) + Send + 'static,
) -> Result<LaneExecutor, Failure> {
    let tasks = LaneExecutor::default();
    let running = Arc::clone(&tasks);
    start_thread("lane", move || {
        let printing = async move {
            on_end(sink.run(output).await);
            // The tasks of the connections have to run on: they learn of the end from the sink.
            future::pending().await
        };
        match smol::block_on(take_turns(&running, printing, &server)) {}
    })?;
    Ok(tasks)
}

async fn take_turns(
    tasks: &Executor<'_>,
    printing: impl Future<Output = Infallible>,
    server: &Server,
) -> Infallible {
    let mut pace = Pace::new();
    let mut printing = pin!(printing);
    let mut waiting = pin!(async {
        loop {
            tasks.tick().await;
            future::yield_now().await;
        }
    });
    future::poll_fn(|cx| {
        pace.waited();
        for _ in 0..ROUNDS {
            if let Poll::Ready(never) = printing.as_mut().poll(cx) {
                return Poll::Ready(never);
            }
            if (0..TASKS).take_while(|_| tasks.try_tick()).count() == 0 {
                // The total includes other lanes, which make this one less patient, no more.
                if pace.is_hasty(server.totals().received) {
                    thread::sleep(REST);
                }
                pace.waits();
                break;
            }
        }
        // This wakes the thread for the next task.
        waiting.as_mut().poll(cx)
    })
    .await
}

/// The waits of a lane, and the data that ended them.
struct Pace {
    /// The start of the wait.
    since: Instant,
    /// Whether the last wait was short.
    short: bool,
    /// The bytes received before the last wait.
    received: u64,
    /// Consecutive short waits, each for one piece, or for the pieces of a rest.
    pieces: u32,
}

impl Pace {
    fn new() -> Self {
        Pace {
            since: Instant::now(),
            short: false,
            received: 0,
            pieces: 0,
        }
    }

    /// Whether to rest before this wait.
    fn is_hasty(&mut self, received: u64) -> bool {
        let came = received.saturating_sub(self.received);
        self.received = received;
        let much = match self.rests() {
            true => GATHERED,
            false => RECORD,
        };
        self.pieces = match self.short && came < much {
            true => self.pieces.saturating_add(1),
            false => 0,
        };
        self.rests()
    }

    /// Whether enough consecutive pieces have come to rest between them.
    fn rests(&self) -> bool {
        self.pieces >= PIECES
    }

    fn waits(&mut self) {
        self.since = Instant::now();
    }

    fn waited(&mut self) {
        self.short = self.since.elapsed() < REST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether there is a rest before each wait, given the bytes received before it.
    fn rests(short: bool, came: impl IntoIterator<Item = u64>) -> Vec<bool> {
        let mut pace = Pace::new();
        pace.short = short;
        let mut received = 0;
        came.into_iter()
            .map(|came| {
                received += came;
                pace.is_hasty(received)
            })
            .collect()
    }

    #[test]
    fn a_lane_rests_once_small_pieces_come_one_right_after_another() {
        let mut expected = vec![false; 7];
        expected.extend([true; 3]);
        assert_eq!(rests(true, [100; 10]), expected);
        assert_eq!(rests(false, [100; 10]), [false; 10]);
    }

    #[test]
    fn a_lane_rests_again_for_as_much_as_gathers_in_a_rest_and_not_for_more() {
        let mut came = [RECORD; 12];
        came[..8].fill(100);
        let mut expected = [true; 12];
        expected[..7].fill(false);
        assert_eq!(rests(true, came), expected);
        came[10] = GATHERED;
        expected[10..].fill(false);
        assert_eq!(rests(true, came), expected);
    }

    #[test]
    fn a_lane_does_not_rest_while_whole_records_come() {
        assert_eq!(rests(true, [RECORD; 10]), [false; 10]);
        let mut came = [100; 10];
        came[5] = RECORD;
        assert_eq!(rests(true, came), [false; 10]);
    }
}
