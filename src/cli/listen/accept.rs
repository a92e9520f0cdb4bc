//! Accepting connections, and saying how each one ended.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::Sender;
use futures_lite::{StreamExt, stream};
use rustix::io::Errno;
use smol::Executor;
use tlsink::{Address, Connection, Peer, Report, Server};

use super::super::level::Level;
use super::super::networks::{self, Proxies};
use super::super::say::Say;
use super::hint::hint;
use super::lane::LaneExecutor;
use super::listener::Listener;
use super::rate_limited_log::RateLimitedLog;
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
    /// Whether reports are sent: each one wakes another thread.
    pub(crate) once: bool,
    /// Takes each report, once its end was said. Closed once no connection is left, and none will
    /// come.
    pub(crate) reports: Sender<Report>,
}

impl Acceptor {
    /// Accepts until the server is stopped.
    pub(crate) async fn serve(self: Arc<Self>, listener: Listener) {
        let mut said: Option<Instant> = None;
        let plain = listener.plain;
        let incoming = stream::unfold(listener, |listener| async {
            Some((listener.accept().await, listener))
        })
        .inspect(|accepted: &io::Result<(Socket, Peer)>| {
            if let Err(error) = accepted
                // The peer reset the connection before it was accepted (accept(2)): no fault of
                // this side.
                && error.kind() != io::ErrorKind::ConnectionAborted
                && said.is_none_or(|at| at.elapsed() >= SAY_AGAIN)
            {
                said = Some(Instant::now());
                self.say_failing(error);
            }
        });
        self.server
            .serve_with(incoming, |(socket, peer)| {
                let mut connection = self.connection(socket, peer, plain);
                let this = Arc::clone(&self);
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
            })
            .await;
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
        // Health checks, and the heartbeats of Fluentd, one each second.
        let is_empty = report.is_health_check() || (is_clean && report.conn.received() == 0);
        let level = match is_clean {
            // With `once`, this is why the program ends.
            _ if is_empty && !self.once => Level::Detail,
            true => Level::Info,
            false => Level::Warning,
        };
        self.say
            .line(level, &report.to_string(), hint(report).as_deref());
    }
}
