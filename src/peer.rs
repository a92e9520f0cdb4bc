//! The peer at the other end of a stream.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The sender at the other end of a stream.
///
/// ```
/// use tlsink::Peer;
///
/// let peer = Peer::from(std::net::SocketAddr::from(([192, 0, 2, 7], 40312)));
/// assert_eq!(peer.to_string(), "192.0.2.7:40312");
///
/// // A name that the application itself verified travels with the connection.
/// let peer = Peer::label("sensor bus").named("boiler");
/// assert_eq!(peer.names(), ["boiler"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    address: Address,
    names: Arc<[String]>,
}

/// The origin of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A Unix socket, with the sender's own path; most senders have none.
    Unix(Option<PathBuf>),
    /// A label that the application chose.
    Label(String),
}

impl Peer {
    /// A sender on a Unix socket, with its own path if it is bound to one.
    pub fn unix(path: Option<&Path>) -> Self {
        Address::Unix(path.map(Path::to_owned)).into()
    }

    /// A sender with a label that the application chooses.
    pub fn label(label: impl Into<String>) -> Self {
        Address::Label(label.into()).into()
    }

    /// Adds a name that the application has verified, for [`Server::plain`].
    ///
    /// [`Server::plain`]: crate::Server::plain
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.names = self.names.iter().cloned().chain([name.into()]).collect();
        self
    }

    /// Adds names that the handshake has verified; they come first.
    pub(crate) fn verified(&mut self, names: Vec<String>) {
        if !names.is_empty() {
            self.names = names
                .into_iter()
                .chain(self.names.iter().cloned())
                .collect();
        }
    }

    /// The origin of the stream.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The verified names of this peer. The first is the one to show: the name that
    /// [`ClientVerifier::allow`](crate::tls::ClientVerifier::allow) matched, or else the first in the
    /// order described there. Empty for an anonymous peer.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl From<Address> for Peer {
    fn from(address: Address) -> Self {
        Peer {
            address,
            names: Arc::default(),
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Address::Ip(address).into()
    }
}

/// Prints the address alone. Names and labels come from outside: escape them before you print
/// them to a terminal.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Address::Unix(None) => f.write_str("unix"),
            Address::Label(label) => f.write_str(label),
        }
    }
}
