//! Accepting connections, and saying how each one ended.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use futures_lite::{FutureExt, StreamExt, future, stream};
use rustix::io::Errno;
use smol::{Executor, Task};
use tlsink::{Address, Connection, Cut, End, Peer, Report, Server};

use super::super::level::Level;
use super::super::networks::{self, Proxies};
use super::super::say::Say;
use super::end;
use super::lane::LaneExecutor;
use super::listener::Listener;
use super::rate_limited_log::RateLimitedLog;
use super::reader::Reader;
use super::socket::Socket;

/// The pause between messages that connections can't be accepted: near the limit on files, some can
/// and some can't.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Runs accepted connections.
pub(crate) struct Acceptor {
    pub(crate) server: Server,
    /// The peers that send a PROXY header.
    pub(crate) proxies: Proxies,
    /// Runs handshakes.
    pub(crate) executor: Arc<Executor<'static>>,
    /// Run the connections after their handshakes, each beside the sink of the same index.
    pub(crate) lanes: Vec<LaneExecutor>,
    pub(crate) say: Say,
    pub(crate) log: Arc<RateLimitedLog>,
    /// The reader of the data, if it goes through a pipe.
    pub(crate) reader: Option<Reader>,
    /// The most connections for which there are file descriptors.
    pub(crate) affordable: usize,
    /// Whether reports are sent: each one wakes another thread.
    pub(crate) once: bool,
    /// Takes each report, once its end was said. Closed once no connection is left, and none will
    /// come.
    pub(crate) reports: Sender<Report>,
}

/// The tasks that accept.
pub(crate) struct Accepting {
    tasks: Vec<Task<()>>,
    end: Sender<()>,
}

impl Accepting {
    /// Accepts on each listener.
    pub(crate) fn start(acceptor: Acceptor, listeners: Vec<Listener>) -> Self {
        let acceptor = Arc::new(acceptor);
        let (end, ended) = async_channel::bounded(1);
        let tasks = listeners.into_iter().map(|listener| {
            let serving = Arc::clone(&acceptor).serve(listener, ended.clone());
            acceptor.executor.spawn(serving)
        });
        Accepting {
            tasks: tasks.collect(),
            end,
        }
    }

    /// Accepts the connections that wait for it, and closes all listeners. The connections have begun
    /// when this returns, so that a server which is stopped then serves them too.
    pub(crate) async fn end(&mut self) {
        self.end.close();
        for task in self.tasks.drain(..) {
            task.await;
        }
    }
}

impl Acceptor {
    /// Accepts until the server is stopped, or `end` is closed. In the latter case, it also accepts the
    /// connections that wait in a queue of its own, since the system resets them otherwise.
    async fn serve(self: Arc<Self>, listener: Listener, end: Receiver<()>) {
        let mut said: Option<Instant> = None;
        let mut look = |accepted: &io::Result<(Socket, Peer)>| {
            if let Err(error) = accepted
                // The peer reset the connection before it was accepted (accept(2)): no fault of
                // this side.
                && error.kind() != io::ErrorKind::ConnectionAborted
                && said.is_none_or(|at| at.elapsed() >= SAY_AGAIN)
            {
                said = Some(Instant::now());
                self.say_failing(error);
            }
        };
        let incoming = stream::repeat(()).then(|()| listener.accept());
        let take = |(socket, peer)| self.take(socket, peer, listener.plain);
        let serving = async {
            self.server
                .serve_with(incoming.inspect(&mut look), take)
                .await;
            false
        };
        let ended = async {
            let _ = end.recv().await;
            true
        };
        if ended.or(serving).await
            && let Some(most) = listener.own_queue
        {
            let accept = || async {
                match self.server.connections() < self.affordable {
                    true => listener.accept().await,
                    false => future::pending().await,
                }
            };
            accept_waiting(most, accept, |accepted| {
                look(&accepted);
                // After an error, others may still wait.
                let _ = accepted.map(take);
            })
            .await;
        }
    }

    /// Runs an accepted connection.
    fn take(self: &Arc<Self>, socket: Socket, peer: Peer, plain: bool) {
        let mut connection = self.connection(socket, peer, plain);
        let this = Arc::clone(self);
        let shaking_hands = async move {
            let open = connection.established().await;
            match this.lanes.get(connection.lane()) {
                Some(lane) if open => {
                    let receiving = Arc::clone(&this).receive(connection);
                    lane.spawn(receiving).detach();
                }
                _ => this.receive(connection).await,
            }
        };
        self.executor.spawn(shaking_hands).detach();
    }

    fn connection(&self, socket: Socket, peer: Peer, plain: bool) -> Connection<Socket> {
        let is_proxy = match peer.address() {
            Address::Ip(address) => networks::include(&self.proxies.networks, address.ip()),
            Address::Unix(_) => self.proxies.unix,
            _ => false,
        };
        let connection = match plain {
            true => self.server.plain(socket, peer),
            false => self.server.connection(socket, peer),
        };
        match is_proxy {
            true => connection.behind_proxy(),
            false => connection,
        }
    }

    /// Receives a stream to its end, and reports it.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn has room for its arguments twice"
    )]
    fn receive(self: Arc<Self>, mut connection: Connection<Socket>) -> impl Future<Output = ()> {
        async move {
            // By reference: moving it would double the size of this future.
            let report = (&mut connection).await;
            self.say_end(&report);
            if self.once {
                // The receiver is gone once the program is ending.
                let _ = self.reports.try_send(report);
            }
        }
    }

    /// Says that connections can't be accepted.
    fn say_failing(&self, error: &io::Error) {
        // accept(2)
        let hint = match Errno::from_io_error(error) {
            Some(Errno::MFILE) => {
                Some("allow more open files (ulimit -Hn), or lower --max-connections")
            }
            Some(Errno::NFILE) => {
                Some("all programs of this machine together have too many files open (fs.file-max)")
            }
            _ => None,
        };
        let text = format!("can't accept connections: {error}");
        self.say.line(Level::Error, &text, hint);
    }

    /// Says how a connection ended, in one line.
    fn say_end(&self, report: &Report) {
        if !report.established && !report.is_health_check() {
            self.log.report(report);
            return;
        }
        let is_clean = report.end.is_clean();
        // The sender goes on over another connection, and has been told so.
        let is_regular = is_clean || report.end == End::Cut(Cut::MaxAge);
        // Health checks, and the heartbeats of Fluentd, one each second.
        let is_empty = report.is_health_check() || (is_clean && report.conn.received() == 0);
        let is_cut = matches!(report.end, End::Cut(_));
        let level = match is_regular {
            // The last line of the program says how many these are.
            _ if is_cut && self.reader.as_ref().is_some_and(Reader::count_cut) => Level::Detail,
            // With `once`, this is why the program ends.
            _ if is_empty && !self.once => Level::Detail,
            true => Level::Info,
            false => Level::Warning,
        };
        end::say(&self.say, level, report);
    }
}

/// Accepts and takes connections until none waits any more, or `most` of them: peers that keep coming
/// do not keep the program from its end.
async fn accept_waiting<F: Future>(
    most: usize,
    accept: impl Fn() -> F,
    mut take: impl FnMut(F::Output),
) {
    for _ in 0..most {
        match future::poll_once(accept()).await {
            Some(accepted) => take(accepted),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// The number of connections that are taken of this many that wait, with this limit.
    fn taken(most: usize, waiting: usize) -> usize {
        let (left, mut taken) = (Cell::new(waiting), 0);
        let accept = || async {
            match left.get().checked_sub(1) {
                Some(rest) => left.set(rest),
                None => future::pending().await,
            }
        };
        future::block_on(accept_waiting(most, accept, |()| taken += 1));
        taken
    }

    #[test]
    fn connections_that_wait_are_taken_and_of_a_flood_no_more_than_the_queue_holds() {
        for (most, waiting, expected) in [
            (0, 9, 0),
            (3, 0, 0),
            (3, 2, 2),
            (3, 3, 3),
            (3, usize::MAX, 3),
        ] {
            assert_eq!(taken(most, waiting), expected, "{most} {waiting}");
        }
    }
}
