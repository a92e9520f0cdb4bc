//! Accepting connections, and saying how each one ended.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::Sender;
use futures_lite::{StreamExt, stream};
use rustix::io::Errno;
use smol::{Async, Executor};
use tlsink::{Connection, Report, Server};

use super::super::level::Level;
use super::super::say::Say;
use super::hint::hint;
use super::lane::LaneExecutor;
use super::listener::Listener;
use super::rate_limited_log::RateLimitedLog;
use super::socket::Socket;

/// The pause between messages that connections can't be accepted: near the limit on files, some can
/// and some can't.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// The address of a peer. A socket for both families has IPv4 addresses as IPv6 ones (RFC 4291,
/// section 2.5.5.2). The zone of a link-local address stays: without it, the address does not tell
/// which peer it is (RFC 4007, section 6).
fn peer(accepted: SocketAddr) -> SocketAddr {
    match accepted.ip().to_canonical() {
        IpAddr::V4(address) => SocketAddr::from((address, accepted.port())),
        IpAddr::V6(_) => accepted,
    }
}

/// Runs accepted connections.
pub(crate) struct Acceptor {
    pub(crate) server: Server,
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
        // A `Socket` is made of the sockets that this accepts.
        let listener: Arc<Async<std::net::TcpListener>> = listener.socket.into();
        let incoming = stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await;
            let accepted = accepted.map(|(socket, address)| (Socket::from(socket), peer(address)));
            Some((accepted, listener))
        })
        .inspect(|accepted: &io::Result<(Socket, SocketAddr)>| {
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
        if !report.established {
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
            false => Level::Error,
        };
        self.say
            .line(level, &report.to_string(), hint(report).as_deref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_keeps_its_zone_and_an_ipv4_one_is_itself() {
        for (accepted, shown) in [
            ("192.0.2.7:9", "192.0.2.7:9"),
            ("[::ffff:192.0.2.7]:9", "192.0.2.7:9"),
            ("[2001:db8::1]:9", "[2001:db8::1]:9"),
            ("[fe80::1%4]:9", "[fe80::1%4]:9"),
        ] {
            assert_eq!(peer(accepted.parse().unwrap()).to_string(), shown);
        }
    }
}
