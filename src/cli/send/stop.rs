//! Stopping at a signal.

use std::time::{Duration, Instant};

use async_signal::{Signal, Signals};
use futures_lite::{FutureExt, StreamExt, future};
use smol::Timer;

use super::super::Failure;
use super::super::say::Say;
use super::super::signals;

/// The time for the rest of a stream after a signal: the data that was read, its end, and the
/// server's answer.
const STOPPING: Duration = Duration::from_secs(10);

/// A repeated signal within this time is the same one: timeout(1) signals both the program and its
/// process group. No user types as fast.
const ECHO: Duration = Duration::from_millis(100);

/// The signals that ask the program to stop.
pub(super) struct StopSignals(Signals);

/// The reason why sending is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The stream was to stop at once.
    AtOnce,
    /// The stream was not finished within this many seconds after the signal.
    Late(u64),
}

impl StopSignals {
    /// Handles the signals from now on, except those that were ignored at start.
    ///
    /// # Errors
    ///
    /// When they can't be handled.
    pub(super) fn handle() -> Result<Self, Failure> {
        signals::handle(signals::unless_ignored([Signal::Term, Signal::Int])).map(StopSignals)
    }

    /// Waits for a signal and, if `input` yields the value that keeps live input open, drops that and
    /// waits for a second signal, or until the stream should be finished.
    pub(super) async fn stopped<T>(
        mut self,
        input: impl FnOnce() -> Option<T>,
        say: &Say,
    ) -> Stopped {
        let first = self.next().await;
        let since = Instant::now();
        let Some(open) = input() else {
            return Stopped::AtOnce;
        };
        let limit = STOPPING.as_secs();
        say.info(&format!(
            "stopping: up to {limit} s to finish; a second signal stops now"
        ));
        // Live input ends here, as if its writer had closed it.
        drop(open);
        let late = async {
            Timer::after(STOPPING).await;
            Stopped::Late(limit)
        };
        let again = async {
            while self.next().await == first && since.elapsed() < ECHO {}
            Stopped::AtOnce
        };
        again.or(late).await
    }

    async fn next(&mut self) -> Option<Signal> {
        match self.0.next().await {
            Some(signal) => signal.ok(),
            None => future::pending().await,
        }
    }
}
