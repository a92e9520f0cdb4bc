//! Listening on IP addresses.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use rustix::io::Errno;
use rustix::net::{AddressFamily, bind as bind_socket, listen, sockopt};
use smol::Async;

use super::super::super::Failure;
use super::super::super::address::HostPort;
use super::super::super::keep_alive::keep_alive;
use super::super::super::platform::stream_socket;
use super::super::super::resolve::{self, is_no_interface, resolve};
use super::super::super::say::Say;
use super::queue::BACKLOG;
use super::{Bound, Listener};

/// The tries to find a port that is free on each address of a host. Another program rarely has it
/// on only one of them.
const TRIES: usize = 16;

/// The addresses of a host.
///
/// # Errors
///
/// When it can't be resolved.
pub(crate) async fn resolve_host(address: &HostPort) -> Result<Vec<SocketAddr>, Failure> {
    resolve(address).await.map_err(|error| {
        let hint = resolve::zone_hint(address).unwrap_or_else(|| {
            "give --listen an address of this machine, or a name for one".to_owned()
        });
        Failure::misused(format!("can't resolve {address}: {error}")).hint(hint)
    })
}

/// Listens on every address of a host. With port 0, all of them get the same port. With `reuse_port`,
/// other programs can listen there too. `others` listen already.
///
/// # Errors
///
/// When an address can't be listened on.
pub(super) async fn bind(
    address: &HostPort,
    reuse_port: bool,
    others: &[Listener],
    say: &Say,
) -> Result<Vec<(Async<TcpListener>, SocketAddr)>, Failure> {
    let resolved = resolve_host(address).await?;
    let mut tries = 1..TRIES;
    let bound = loop {
        match BoundAll::new(&resolved, reuse_port) {
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
        let is_ours = || {
            others.iter().any(|other| match other.address {
                Bound::Ip(address) => overlap(address, wanted),
                Bound::Unix(_) => false,
            })
        };
        match error.kind() {
            io::ErrorKind::AddrInUse if is_ours() => {
                failure.hint("another --listen has this address already; [::] includes 0.0.0.0")
            }
            io::ErrorKind::AddrInUse if reuse_port => failure.hint(
                "another program listens there; to share the port, it needs --reuse-port too, and \
                 the same user",
            ),
            io::ErrorKind::AddrInUse => failure
                .hint("another program listens there; give --listen another port, or stop it"),
            io::ErrorKind::PermissionDenied if (1..PRIVILEGED).contains(&wanted.port()) => failure
                .hint(
                    "ports below 1024 need the capability CAP_NET_BIND_SERVICE (setcap \
                     cap_net_bind_service=+ep on the program); or give --listen a higher port",
                ),
            io::ErrorKind::AddrNotAvailable => failure.hint(
                "this machine has no such address; 0.0.0.0 and [::] stand for all of its addresses",
            ),
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
        return Err(first.unwrap_or_else(|| Failure::misused(format!("can't listen on {address}"))));
    }
    for (missing, error) in bound.missing {
        say.info(&format!("{address}: not listening on {missing}: {error}"));
    }
    Ok(bound.listeners)
}

/// The address of a peer. A socket for both families has IPv4 addresses as IPv6 ones (RFC 4291,
/// section 2.5.5.2). The zone of a link-local address stays: without it, the address does not tell
/// which peer it is (RFC 4007, section 6).
pub(super) fn peer(accepted: SocketAddr) -> SocketAddr {
    match accepted.ip().to_canonical() {
        IpAddr::V4(address) => SocketAddr::from((address, accepted.port())),
        IpAddr::V6(_) => accepted,
    }
}

/// The first port that can be bound without a capability, unless
/// net.ipv4.ip_unprivileged_port_start sets another (capabilities(7)).
const PRIVILEGED: u16 = 1024;

/// Writes an address for an error: as the user gave it, with the resolved address where the two
/// differ.
fn shown(given: &HostPort, wanted: SocketAddr) -> String {
    let given = given.to_string();
    match given == wanted.to_string() || given.contains('%') {
        true => given,
        false => format!("{given} ({})", wanted.ip()),
    }
}

/// The outcome of listening on all addresses of a host.
struct BoundAll {
    listeners: Vec<(Async<TcpListener>, SocketAddr)>,
    /// The addresses that this machine does not have.
    missing: Vec<(SocketAddr, io::Error)>,
}

impl BoundAll {
    fn new(addresses: &[SocketAddr], reuse_port: bool) -> Result<Self, (SocketAddr, io::Error)> {
        let mut bound = BoundAll {
            listeners: Vec::new(),
            missing: Vec::new(),
        };
        for mut address in addresses.iter().copied() {
            if let Some((_, first)) = bound.listeners.first() {
                address.set_port(first.port());
            }
            match listen_on(address, reuse_port) {
                Ok(listener) => bound.listeners.push(listener),
                Err(error) if is_missing(&error) => bound.missing.push((address, error)),
                Err(error) => return Err((address, error)),
            }
        }
        Ok(bound)
    }
}

fn listen_on(
    address: SocketAddr,
    reuse_port: bool,
) -> io::Result<(Async<TcpListener>, SocketAddr)> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = stream_socket(family)?;
    // Connections of a program before this one, which wait for late segments, are no obstacle.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if reuse_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    bind_socket(&socket, &address)?;
    // Accepted sockets inherit it (socket(7)).
    keep_alive(&socket);
    listen(&socket, BACKLOG)?;
    let socket = TcpListener::from(socket);
    let address = socket.local_addr()?;
    Ok((Async::new(socket)?, address))
}

/// Whether this machine lacks the address. A name can stand for an IPv6 address on a machine
/// without IPv6.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}

/// Whether listening on one address takes the other too.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && (one == other || one.ip().is_unspecified() || other.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

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
