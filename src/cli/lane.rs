//! A lane: a thread on which streams are received, decoded and printed.
//!
//! The tasks of its connections run where their sink does, and take turns with it. So what was read
//! is printed while it is in the core's cache, and no thread waits for another. When the output
//! blocks, nothing more is read from those streams; handshakes, signals and other lanes go on.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use async_channel::Sender;
use futures_lite::future;
use smol::Executor;
use tlsink::{Output, Sink};

use super::control::Event;
use super::{Failure, start_thread};

/// How many tasks run before the sink has its turn. What they have read by then, at most a mebibyte,
/// is printed before more is read.
const TASKS: usize = 4;

/// Turns of tasks and sink before the thread looks at sockets and timers, which takes several system
/// calls. Other threads look at them too.
const ROUNDS: usize = 64;

/// Where the tasks of a lane's connections are spawned.
pub(crate) type Tasks = Arc<Executor<'static>>;

/// Starts a lane that prints what `sink` receives, and tells when that has ended.
pub(crate) fn start(
    sink: Sink,
    output: impl Output + Send + 'static,
    events: Sender<Event>,
) -> Result<Tasks, Failure> {
    let tasks = Tasks::default();
    let running = Arc::clone(&tasks);
    start_thread("lane", move || {
        let printing = async move {
            // Nobody is left to tell once the program is ending.
            let _ = events.try_send(Event::Lane(sink.run(output).await));
            // The connections have yet to hear of it.
            future::pending().await
        };
        match smol::block_on(take_turns(&running, printing)) {}
    })?;
    Ok(tasks)
}

async fn take_turns(
    tasks: &Executor<'_>,
    printing: impl Future<Output = Infallible>,
) -> Infallible {
    let mut printing = pin!(printing);
    let mut waiting = pin!(async {
        loop {
            tasks.tick().await;
            future::yield_now().await;
        }
    });
    future::poll_fn(|cx| {
        for _ in 0..ROUNDS {
            if let Poll::Ready(never) = printing.as_mut().poll(cx) {
                return Poll::Ready(never);
            }
            if (0..TASKS).take_while(|_| tasks.try_tick()).count() == 0 {
                break;
            }
        }
        // Wakes this thread for the next task.
        waiting.as_mut().poll(cx)
    })
    .await
}
