//! Listening and accepting, and saying how each connection ended.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::Sender;
use futures_lite::{StreamExt, stream};
use rustix::io::Errno;
use rustix::net::sockopt;
use smol::Executor;
use smol::net::{TcpListener, TcpStream};
use tlsink::decode::Format;
use tlsink::output::label;
use tlsink::{Report, Server};

use super::Failure;
use super::probes::Probes;
use super::say::{Level, Say};

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
    /// Listens on `HOST:PORT`.
    ///
    /// # Errors
    ///
    /// With what is in the way, for the user.
    pub(crate) async fn bind(address: &str) -> Result<Self, Failure> {
        let failure = |error: io::Error| {
            let failure = Failure::misused(format!("can't listen on {address}: {error}"));
            match error.kind() {
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
        let resolved = smol::net::resolve(address).await.map_err(|error| {
            Failure::misused(format!("can't resolve {address}: {error}"))
                .hint("give --listen an address of this machine, or a name that stands for one")
        })?;
        let socket = TcpListener::bind(&*resolved).await.map_err(failure)?;
        let address = socket.local_addr().map_err(failure)?;
        Ok(Listener { socket, address })
    }
}

/// Where accepted connections go.
#[derive(Clone)]
pub(crate) struct Acceptor {
    pub(crate) server: Server,
    pub(crate) executor: Arc<Executor<'static>>,
    pub(crate) say: Say,
    pub(crate) probes: Probes,
    /// Hears of each connection's end, after it was said.
    pub(crate) reports: Sender<Report>,
}

impl Acceptor {
    /// Accepts until the server is stopped.
    pub(crate) async fn serve(self, listener: Listener) {
        let mut said: Option<Instant> = None;
        let incoming = stream::unfold(listener.socket, |socket| async {
            Some((socket.accept().await, socket))
        })
        .inspect(
            |accepted: &io::Result<(TcpStream, SocketAddr)>| match accepted {
                Ok((stream, _)) => keep_alive(stream),
                Err(error) => {
                    if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
                        said = Some(Instant::now());
                        self.say_failing(error);
                    }
                }
            },
        );
        self.server
            .serve(incoming, |connection| {
                let this = self.clone();
                let receiving = async move {
                    let report = connection.await;
                    this.say_end(&report);
                    // Nobody is left to tell once the program is ending.
                    let _ = this.reports.try_send(report);
                };
                self.executor.spawn(receiving).detach();
            })
            .await;
    }

    /// Says that connections can't be accepted.
    fn say_failing(&self, error: &io::Error) {
        let out_of_files = matches!(
            Errno::from_io_error(error),
            Some(Errno::MFILE | Errno::NFILE)
        );
        let hint = "allow more open files (ulimit -Hn), or give --max-connections less";
        self.say.line(
            Level::Error,
            &format!("can't accept connections: {error}"),
            out_of_files.then_some(hint),
        );
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
        let peer = label(&report.peer);
        if !report.established {
            self.probes.line(&format!("{peer}: {end}"), end.hint());
            return;
        }
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
            &format!("{peer}: {received} bytes received, {delivered} delivered, {format}{end}"),
            end.hint(),
        );
    }
}

/// Without it, the place of a peer that vanished would never be free again. Where it can't be set,
/// the connection is none the worse for it.
pub(super) fn keep_alive(stream: &TcpStream) {
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEP_ALIVE_IDLE);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(stream, KEEP_ALIVE_COUNT);
}
