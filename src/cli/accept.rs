//! Listening and accepting, and saying how each connection ended.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::Sender;
use futures_lite::{StreamExt, stream};
use rustix::io::Errno;
use rustix::net::sockopt;
use smol::net::TcpListener;
use smol::{Async, Executor};
use tlsink::decode::Format;
use tlsink::output::label;
use tlsink::{Connection, End, Limit, Report, Server};

use super::Failure;
use super::count::Count;
use super::lane::Tasks;
use super::level::Level;
use super::probes::Probes;
use super::say::Say;
use super::socket::Socket;

/// A peer that has vanished is given up after a minute without a word and four questions, each
/// fifteen seconds after the other, without an answer.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEP_ALIVE_COUNT: u32 = 4;

/// How long it is not said again that connections can't be accepted: near the limit on files, some
/// can and some can't.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// A socket that listens, and where.
pub(crate) struct Listener {
    socket: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Listener {
    /// Listens on `HOST:PORT`, beside those that listen already.
    ///
    /// # Errors
    ///
    /// With what is in the way, for the user.
    pub(crate) async fn bind(address: &str, others: &[Listener]) -> Result<Self, Failure> {
        let resolved = smol::net::resolve(address).await.map_err(|error| {
            Failure::misused(format!("can't resolve {address}: {error}"))
                .hint("give --listen an address of this machine, or a name that stands for one")
        })?;
        let failure = |error: io::Error| {
            let failure = Failure::misused(format!("can't listen on {address}: {error}"));
            let is_ours = |wanted| others.iter().any(|other| overlap(other.address, wanted));
            match error.kind() {
                io::ErrorKind::AddrInUse if resolved.iter().copied().any(is_ours) => {
                    failure.hint("another --listen has it already; [::] includes 0.0.0.0")
                }
                io::ErrorKind::AddrInUse => failure
                    .hint("another program listens there; give --listen another port, or stop it"),
                io::ErrorKind::PermissionDenied => {
                    failure.hint("ports below 1024 are for root; give --listen a higher one")
                }
                io::ErrorKind::AddrNotAvailable => failure
                    .hint("this machine has no such address; 0.0.0.0 and [::] are all of its own"),
                _ => failure,
            }
        };
        let socket = TcpListener::bind(&*resolved).await.map_err(failure)?;
        // What is accepted inherits it (socket(7)): once is enough.
        keep_alive(&socket);
        let address = socket.local_addr().map_err(failure)?;
        Ok(Listener { socket, address })
    }
}

/// Whether who listens on the one has the other, too.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Where accepted connections go.
pub(crate) struct Acceptor {
    pub(crate) server: Server,
    /// Runs handshakes.
    pub(crate) executor: Arc<Executor<'static>>,
    /// Run what comes after them, each for the sink in the same place.
    pub(crate) lanes: Vec<Tasks>,
    pub(crate) say: Say,
    pub(crate) probes: Arc<Probes>,
    /// Whether anybody wants to hear how a connection ended. It would wake another thread.
    pub(crate) once: bool,
    /// Hears of it after it was said. Closed once no connection is left, and none will come.
    pub(crate) reports: Sender<Report>,
}

impl Acceptor {
    /// Accepts until the server is stopped.
    pub(crate) async fn serve(self: Arc<Self>, listener: Listener) {
        let mut said: Option<Instant> = None;
        // What it accepts is what a `Socket` is made of.
        let listener: Arc<Async<std::net::TcpListener>> = listener.socket.into();
        let incoming = stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await;
            let accepted = accepted.map(|(socket, peer)| {
                // A socket for both has the one's addresses as the other's (RFC 4291, 2.5.5.2).
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                (Socket::from(socket), peer)
            });
            Some((accepted, listener))
        })
        .inspect(|accepted: &io::Result<(Socket, SocketAddr)>| {
            if let Err(error) = accepted
                // A peer that gave up before it was accepted is its own affair (accept(2)).
                && error.kind() != io::ErrorKind::ConnectionAborted
                && said.is_none_or(|at| at.elapsed() >= SAY_AGAIN)
            {
                said = Some(Instant::now());
                self.say_failing(error);
            }
        });
        self.server
            .serve(incoming, |mut connection| {
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

    /// Sees a connection through.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn has room for its arguments twice"
    )]
    fn receive(self: Arc<Self>, mut connection: Connection<Socket>) -> impl Future<Output = ()> {
        async move {
            // By reference, or there would be room for it once more.
            let report = (&mut connection).await;
            self.say_end(&report);
            if self.once {
                // Nobody is left to tell once the program is ending.
                let _ = self.reports.try_send(report);
            }
        }
    }

    /// Says that connections can't be accepted.
    fn say_failing(&self, error: &io::Error) {
        // accept(2)
        let hint = match Errno::from_io_error(error) {
            Some(Errno::MFILE) => {
                Some("allow more open files (ulimit -Hn), or give --max-connections less")
            }
            Some(Errno::NFILE) => {
                Some("all programs of this machine together have too many open (fs.file-max)")
            }
            _ => None,
        };
        let text = format!("can't accept connections: {error}");
        self.say.line(Level::Error, &text, hint);
    }

    /// Says how a connection ended, in one line.
    fn say_end(&self, report: &Report) {
        let Report {
            end,
            received,
            delivered,
            format,
            ..
        } = report;
        if !report.established {
            self.probes.report(report);
            return;
        }
        let peer = label(&report.peer);
        let received = Count(*received, "byte");
        let format = match format {
            // Too little came to tell.
            Format::Auto => String::new(),
            format => format!("{format}, "),
        };
        let level = match end.is_clean() {
            true => Level::Info,
            false => Level::Error,
        };
        self.say.line(
            level,
            &format!("{peer}: {received} received, {delivered} delivered, {format}{end}"),
            hint(report).as_deref(),
        );
    }
}

/// What can be done about an end: the library's hint, or the option that decides.
pub(super) fn hint(report: &Report) -> Option<Cow<'static, str>> {
    Some(match &report.end {
        // Only a format that is not built in is refused this late.
        End::Refused { hint: None, .. } if report.established => {
            "-d none passes it on as it is".into()
        }
        End::Limit(Limit::PerIp { .. }) => "--max-per-ip allows more".into(),
        End::Limit(Limit::Window { window, .. }) => {
            format!("--max-window {window} allows it").into()
        }
        End::Limit(Limit::Memory { .. }) => {
            "--max-memory allows more, for all connections together".into()
        }
        End::Limit(Limit::Decoded { .. }) => "--max-decoded allows more".into(),
        end => end.hint()?.into(),
    })
}

/// Without it, the place of a peer that vanished would never be free again. Where it can't be set,
/// the connection is none the worse for it.
pub(super) fn keep_alive(socket: impl AsFd) {
    let _ = sockopt::set_socket_keepalive(&socket, true);
    let _ = sockopt::set_tcp_keepidle(&socket, KEEP_ALIVE_IDLE);
    let _ = sockopt::set_tcp_keepintvl(&socket, KEEP_ALIVE_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(&socket, KEEP_ALIVE_COUNT);
}
