//! Networks and kinds of peers, as users give them.

use std::net::IpAddr;

use ipnet::IpNet;

/// Parses `ADDRESS/LENGTH`, or an address alone.
///
/// # Errors
///
/// The error names the expected form.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().ok().map(IpNet::from);
    address.or_else(|| text.parse().ok()).ok_or_else(|| {
        "expected a network or an address, such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.7"
            .to_owned()
    })
}

/// The peers that are proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    pub(crate) networks: Vec<IpNet>,
    /// Whether those on Unix sockets are.
    pub(crate) unix: bool,
}

impl Proxies {
    pub(crate) fn new(proxies: impl IntoIterator<Item = Proxy>) -> Self {
        let mut these = Proxies::default();
        for proxy in proxies {
            match proxy {
                Proxy::Network(network) => these.networks.push(network),
                Proxy::Unix => these.unix = true,
            }
        }
        these
    }
}

/// One value of `--proxy-protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    Network(IpNet),
    Unix,
}

/// Parses a network, or `unix`.
///
/// # Errors
///
/// The error names the expected form.
pub(crate) fn proxy(text: &str) -> Result<Proxy, String> {
    match text {
        "unix" => Ok(Proxy::Unix),
        text => network(text)
            .map(Proxy::Network)
            .map_err(|error| format!("{error}; or unix")),
    }
}

/// Whether one of the networks has the address.
pub(crate) fn include(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_includes_its_addresses_and_no_others() {
        for (text, address, expected) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "::ffff:192.0.2.7", true),
            ("192.0.2.9/24", "192.0.2.7", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("::1", "::1", true),
            ("::1", "::2", false),
        ] {
            let networks = [network(text).unwrap()];
            let address = address.parse().unwrap();
            assert_eq!(include(&networks, address), expected, "{text} {address}");
        }
        for wrong in [
            "",
            "192.0.2.0/33",
            "192.0.2/24",
            "host",
            "unix",
            "::/129",
            "1/8",
        ] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
        assert_eq!(proxy("unix"), Ok(Proxy::Unix));
        assert!(proxy("Unix").is_err());
    }
}
