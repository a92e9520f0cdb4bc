//! Listening and accepting, and saying how each connection ended.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::Sender;
use futures_lite::{StreamExt, stream};
use rustix::io::Errno;
use rustix::net::{listen, sockopt};
use smol::net::TcpListener;
use smol::{Async, Executor};
use tlsink::decode::Format;
use tlsink::output::label;
use tlsink::{Connection, End, Limit, Report, Server};

use super::address::HostPort;
use super::count::Count;
use super::lane::Tasks;
use super::level::Level;
use super::probes::Probes;
use super::resolve::{is_no_interface, resolve};
use super::say::Say;
use super::socket::Socket;
use super::{Failure, resolve};

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

/// The longest queue of connections that wait to be accepted. The system reduces it to
/// net.core.somaxconn (listen(2)): 4,096 since Linux 5.4. The standard library asks for 128, and the
/// peers that a full queue drops try again only after a second.
const BACKLOG: i32 = i32::MAX;

/// How often a free port is looked for that is free on each address of a host. Another program has
/// it on one of them only rarely.
const TRIES: usize = 16;

impl Listener {
    /// Listens on every address that a host has, beside those that listen already. With port 0, it
    /// is the same port on each.
    ///
    /// # Errors
    ///
    /// With what is in the way, for the user.
    pub(crate) async fn bind(
        address: &HostPort,
        others: &[Listener],
        say: &Say,
    ) -> Result<Vec<Self>, Failure> {
        let resolved = resolve(address).await.map_err(|error| {
            let hint = resolve::zone_hint(address).unwrap_or_else(|| {
                "give --listen an address of this machine, or a name that stands for one".to_owned()
            });
            Failure::misused(format!("can't resolve {address}: {error}")).hint(hint)
        })?;
        let mut tries = 1..TRIES;
        let bound = loop {
            match Bound::new(&resolved).await {
                Err((_, error))
                    if address.port == 0
                        && error.kind() == io::ErrorKind::AddrInUse
                        && tries.next().is_some() => {}
                bound => break bound,
            }
        };
        let failure = |(wanted, error): (SocketAddr, io::Error)| {
            let what = format!("can't listen on {}: {error}", shown(address, wanted));
            let failure = Failure::misused(what);
            let is_ours = || others.iter().any(|other| overlap(other.address, wanted));
            match error.kind() {
                io::ErrorKind::AddrInUse if is_ours() => {
                    failure.hint("another --listen has it already; [::] includes 0.0.0.0")
                }
                io::ErrorKind::AddrInUse => failure
                    .hint("another program listens there; give --listen another port, or stop it"),
                io::ErrorKind::PermissionDenied if (1..PRIVILEGED).contains(&wanted.port()) => {
                    failure.hint(
                        "ports below 1024 need the capability CAP_NET_BIND_SERVICE (setcap \
                         cap_net_bind_service=+ep on the program); or give --listen a higher port",
                    )
                }
                io::ErrorKind::AddrNotAvailable => failure
                    .hint("this machine has no such address; 0.0.0.0 and [::] are all of its own"),
                _ => match resolve::zone_hint(address) {
                    Some(hint) if is_no_interface(&error) => failure.hint(hint),
                    _ => failure,
                },
            }
        };
        let bound = bound.map_err(failure)?;
        if bound.listeners.is_empty() {
            let mut missing = bound.missing.into_iter();
            let first = missing.next().map(failure);
            return Err(
                first.unwrap_or_else(|| Failure::misused(format!("can't listen on {address}")))
            );
        }
        for (missing, error) in bound.missing {
            say.info(&format!("{address}: not listening on {missing}: {error}"));
        }
        Ok(bound.listeners)
    }
}

/// Binding a port needs a capability below this one, unless net.ipv4.ip_unprivileged_port_start
/// says otherwise (capabilities(7)).
const PRIVILEGED: u16 = 1024;

/// An address in an error: as it was given, and which of its addresses it is, where that is not
/// plain from it.
fn shown(given: &HostPort, wanted: SocketAddr) -> String {
    let given = given.to_string();
    match given == wanted.to_string() || given.contains('%') {
        true => given,
        false => format!("{given} ({})", wanted.ip()),
    }
}

/// What came of listening on all addresses of a host.
struct Bound {
    listeners: Vec<Listener>,
    /// The addresses that this machine does not have.
    missing: Vec<(SocketAddr, io::Error)>,
}

impl Bound {
    async fn new(addresses: &[SocketAddr]) -> Result<Self, (SocketAddr, io::Error)> {
        let mut bound = Bound {
            listeners: Vec::new(),
            missing: Vec::new(),
        };
        for mut address in addresses.iter().copied() {
            if let Some(first) = bound.listeners.first() {
                address.set_port(first.address.port());
            }
            let listening = async {
                let socket = TcpListener::bind(address).await?;
                listen(&socket, BACKLOG)?;
                // Accepted sockets inherit it (socket(7)).
                keep_alive(&socket);
                let address = socket.local_addr()?;
                Ok(Listener { socket, address })
            };
            match listening.await {
                Ok(listener) => bound.listeners.push(listener),
                Err(error) if is_missing(&error) => bound.missing.push((address, error)),
                Err(error) => return Err((address, error)),
            }
        }
        Ok(bound)
    }
}

/// Whether this machine does not have the address. Without IPv6, a name can still stand for an IPv6
/// address.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}

/// Whether a listener on the one address has the other, too.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && (one == other || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// The address of a peer. A socket for both families has IPv4 addresses as IPv6 ones (RFC 4291,
/// section 2.5.5.2). The zone of a link-local address stays: without it, the address does not tell
/// which peer it is (RFC 4007, section 6).
fn peer(accepted: SocketAddr) -> SocketAddr {
    match accepted.ip().to_canonical() {
        IpAddr::V4(address) => SocketAddr::from((address, accepted.port())),
        IpAddr::V6(_) => accepted,
    }
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
            let accepted = accepted.map(|(socket, address)| (Socket::from(socket), peer(address)));
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
            undecoded,
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
        let level = match report {
            _ if end.is_clean() => Level::Info,
            // With `once` it is why the program ends.
            report if report.is_health_check() && !self.once => Level::Detail,
            _ => Level::Error,
        };
        let undecoded = match undecoded {
            0 => String::new(),
            undecoded => format!(", {} not decoded", Count(*undecoded, "byte")),
        };
        self.say.line(
            level,
            &format!(
                "{peer}: {received} received, {delivered} delivered, {format}{end}{undecoded}"
            ),
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

    #[test]
    fn listeners_overlap_on_the_same_port_of_the_same_address() {
        for (one, other, expected) in [
            ("127.0.0.1:9", "127.0.0.1:9", true),
            ("127.0.0.1:9", "127.0.0.1:8", false),
            ("127.0.0.1:9", "127.0.0.2:9", false),
            ("0.0.0.0:9", "127.0.0.2:9", true),
            ("[::]:9", "127.0.0.1:9", true),
            ("[fe80::1%4]:9", "[fe80::1%4]:9", true),
            ("[fe80::1%4]:9", "[fe80::1%5]:9", false),
        ] {
            let [one, other] = [one, other].map(|text| text.parse().unwrap());
            assert_eq!(overlap(one, other), expected, "{one} {other}");
        }
    }
}
