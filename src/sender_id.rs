//! The identity of a sender, for limits on all its connections together.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::peer::{Address, Peer};

/// A sender: a verified client, or a host, which is an IPv4 address, or an IPv6 network of 64 bits,
/// the smallest that a host is given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SenderId {
    /// A verified client, by the first of its names.
    Client(String),
    /// A host, by its address, or by its network if that is an IPv6 one; and the interface of a
    /// link-local address, else 0.
    Host(IpAddr, u32),
    /// A sender that has no IP address.
    Other(Address),
}

impl SenderId {
    pub(crate) fn of(peer: &Peer) -> Self {
        if let Some(client) = peer.names().first() {
            return SenderId::Client(client.clone());
        }
        match peer.address() {
            Address::Ip(address) => {
                let zone = match address {
                    SocketAddr::V4(_) => 0,
                    SocketAddr::V6(address) => address.scope_id(),
                };
                let network = match address.ip().to_canonical() {
                    IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
                    ip => ip,
                };
                SenderId::Host(network, zone)
            }
            other => SenderId::Other(other.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_a_client_or_a_host_or_a_network() {
        let sender = |address: &str| {
            let address: SocketAddr = address.parse().unwrap();
            SenderId::of(&address.into())
        };
        for (one, other, is_same) in [
            ("192.0.2.7:9", "192.0.2.7:8", true),
            ("192.0.2.7:9", "192.0.2.8:9", false),
            ("192.0.2.7:9", "[::ffff:192.0.2.7]:9", true),
            ("[2001:db8::1]:9", "[2001:db8::ffff:1]:9", true),
            ("[2001:db8::1]:9", "[2001:db8:0:1::1]:9", false),
            ("[fe80::1%4]:9", "[fe80::2%4]:9", true),
            ("[fe80::1%4]:9", "[fe80::1%5]:9", false),
        ] {
            assert_eq!(sender(one) == sender(other), is_same, "{one} {other}");
        }
        let named = |host: &str| {
            let address: SocketAddr = host.parse().unwrap();
            SenderId::of(&Peer::from(address).named("boiler"))
        };
        assert_eq!(named("192.0.2.7:9"), named("192.0.2.8:9"));
        let label = SenderId::of(&Peer::label("boiler"));
        assert_ne!(named("192.0.2.7:9"), label);
    }
}
