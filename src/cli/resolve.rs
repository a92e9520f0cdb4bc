//! Resolving the addresses that users give.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;

use super::address::HostPort;

/// All socket addresses of a host, each once, in the resolver's order. There is at least one.
///
/// # Errors
///
/// The resolver's error.
pub(super) async fn resolve(address: &HostPort) -> io::Result<Vec<SocketAddr>> {
    let port = address.port;
    let Some(host) = address.host() else {
        return Ok(vec![
            SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
        ]);
    };
    // getaddrinfo knows the zones of addresses, also in a static program.
    let found = smol::net::resolve((host, port)).await?;
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match addresses.is_empty() {
        true => Err(io::Error::other("its name has no address")),
        false => Ok(addresses),
    }
}

/// A hint for an error that may be due to the zone of an address, if it has one.
pub(super) fn zone_hint(address: &HostPort) -> Option<String> {
    let zone = address.zone()?;
    Some(format!(
        "is {zone} an interface of this machine? ip link lists them"
    ))
}

/// Whether an error may mean that the interface of an address does not exist: bind fails with one
/// of these, connect with the other.
pub(super) fn is_no_interface(error: &io::Error) -> bool {
    let error = Errno::from_io_error(error);
    matches!(error, Some(Errno::NODEV | Errno::NETUNREACH))
}
