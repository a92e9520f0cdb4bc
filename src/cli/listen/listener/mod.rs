//! The sockets that are listened on.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use smol::Async;
use tlsink::{Address, Peer};

use super::super::Failure;
use super::super::listen_address::{ListenAddress, Place};
use super::super::say::Say;
use super::socket::Socket;

mod passed;
mod queue;
mod tcp;
mod unix;

use passed::PassedSockets;
pub(crate) use queue::say_unless_handed_on;
pub(crate) use tcp::resolve_host;
pub(crate) use unix::SocketFile;

/// A listening socket, and its address.
pub(crate) struct Listener {
    socket: ListeningSocket,
    pub(crate) address: Bound,
    /// The most connections that wait in the accept queue, if that ends with this program. The queue of
    /// a socket that was passed goes on to the next program.
    pub(crate) own_queue: Option<usize>,
    /// Whether senders speak no TLS.
    pub(crate) plain: bool,
}

enum ListeningSocket {
    Tcp(Async<TcpListener>),
    Unix(Async<UnixListener>),
}

/// The address of a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Ip(SocketAddr),
    /// A Unix socket, with its path unless that is abstract.
    Unix(Option<PathBuf>),
}

/// All listeners, and the files of those in the file system.
pub(crate) struct Listeners {
    pub(crate) all: Vec<Listener>,
    /// Removed when they are dropped.
    pub(crate) files: Vec<SocketFile>,
}

impl Listeners {
    /// Listens everywhere.
    ///
    /// # Errors
    ///
    /// When one place can't be listened on, or may not be without TLS.
    pub(crate) async fn bind(
        addresses: &[ListenAddress],
        reuse_port: bool,
        say: &Say,
    ) -> Result<Self, Failure> {
        let mut listeners = Listeners {
            all: Vec::new(),
            files: Vec::new(),
        };
        let takes_passed = |one: &ListenAddress| matches!(one.place, Place::Passed(_));
        let mut passed = match addresses.iter().find(|one| takes_passed(one)) {
            Some(first) => Some(PassedSockets::take(first)?),
            None => None,
        };
        for address in addresses {
            let bound: Vec<_> = match (&address.place, &mut passed) {
                (Place::Host(host), _) => tcp::bind(host, reuse_port, &listeners.all, say)
                    .await?
                    .into_iter()
                    .map(|(socket, bound)| (ListeningSocket::Tcp(socket), Bound::Ip(bound)))
                    .collect(),
                (Place::Unix(path), _) => {
                    let (socket, file) = unix::bind(path)?;
                    listeners.files.push(file);
                    vec![(
                        ListeningSocket::Unix(socket),
                        Bound::Unix(Some(path.clone())),
                    )]
                }
                (Place::Passed(sockets), Some(passed)) => passed.named(sockets)?,
                (Place::Passed(_), None) => Vec::new(),
            };
            let own_queue = match address.place {
                Place::Passed(_) => None,
                Place::Host(_) | Place::Unix(_) => Some(queue::capacity()),
            };
            for (socket, bound) in bound {
                may_listen(address, &bound)?;
                listeners.all.push(Listener {
                    socket,
                    address: bound,
                    own_queue,
                    plain: address.plain,
                });
            }
        }
        if let Some(passed) = passed {
            passed.say_unused(say);
        }
        Ok(listeners)
    }

    /// The IP addresses on which senders speak TLS.
    pub(crate) fn tls_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let with_tls = self.all.iter().filter(|listener| !listener.plain);
        with_tls.filter_map(|listener| match listener.address {
            Bound::Ip(address) => Some(address.ip()),
            Bound::Unix(_) => None,
        })
    }

    /// Whether any sender speaks TLS.
    pub(crate) fn have_tls(&self) -> bool {
        self.all.iter().any(|listener| !listener.plain)
    }
}

/// Checks that a place without TLS is only for this machine.
///
/// # Errors
///
/// When others can connect to it.
pub(crate) fn may_listen(address: &ListenAddress, bound: &Bound) -> Result<(), Failure> {
    match address.plain && !bound.is_local() {
        true => Err(Failure::misused(format!(
            "{address}: without TLS, only this machine may connect, and others reach {bound}"
        ))
        .hint("plain: is for Unix sockets and loopback addresses")),
        false => Ok(()),
    }
}

impl Listener {
    /// Accepts a connection.
    ///
    /// # Errors
    ///
    /// Those of accept(2).
    pub(crate) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match &self.socket {
            ListeningSocket::Tcp(listener) => {
                let (socket, address) = listener.accept().await?;
                Ok((Socket::from(socket), tcp::peer(address).into()))
            }
            ListeningSocket::Unix(listener) => {
                let (socket, address) = listener.read_with(|one| one.accept()).await?;
                let peer = Peer::unix(address.as_pathname());
                Ok((Socket::of_unix(socket)?, peer))
            }
        }
    }
}

impl Bound {
    /// Whether only this machine can connect.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Bound::Ip(address) => address.ip().to_canonical().is_loopback(),
            Bound::Unix(_) => true,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Ip(address) => address.fmt(f),
            Bound::Unix(path) => Peer::from(Address::Unix(path.clone())).fmt(f),
        }
    }
}

/// As the user would give it, with the real port.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plain {
            f.write_str("plain:")?;
        }
        self.address.fmt(f)
    }
}
