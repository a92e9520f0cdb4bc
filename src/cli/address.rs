//! Addresses as users give them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The names of this machine.
pub(crate) const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// `HOST:PORT`, `[IPv6]:PORT`, `[IPv6%ZONE]:PORT`; `PORT` and `:PORT` are loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// The host without brackets, with its zone. `None` is the loopback interface.
    host: Option<String>,
    pub(super) port: u16,
}

impl HostPort {
    /// A port of 127.0.0.1.
    pub(super) fn localhost_v4(port: u16) -> Self {
        HostPort {
            host: Some(Ipv4Addr::LOCALHOST.to_string()),
            port,
        }
    }

    /// Parses a HOST:PORT of the user.
    ///
    /// # Errors
    ///
    /// The error names the expected form.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected = || "expected HOST:PORT, such as 127.0.0.1:4433 or [::1]:4433".to_owned();
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(format!("expected HOST:PORT, without {scheme}://"));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            return Err(expected());
        }
        let port = port
            .parse()
            .map_err(|_| "expected a port of at most 65535".to_owned())?;
        if host.is_empty() {
            return Ok(HostPort { host: None, port });
        }
        let bracketed = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let host = match bracketed {
            Some(literal) => {
                let (address, zone) = split_zone(literal);
                let address: Ipv6Addr = address.parse().map_err(|_| expected())?;
                match zone {
                    Some("") => return Err(expected()),
                    None if address.is_unicast_link_local() => {
                        return Err(format!(
                            "a link-local address needs its interface, as in \
                             [{address}%eth0]:{port}"
                        ));
                    }
                    _ => literal,
                }
            }
            None if !host.chars().all(is_in_names) => return Err(expected()),
            None => host,
        };
        Ok(HostPort {
            host: Some(host.to_owned()),
            port,
        })
    }

    /// The host as the resolver takes it, with its zone, if it has one (RFC 4007, section 11).
    pub(super) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The host as certificates name it: without its zone, which means something to this machine
    /// alone.
    pub(super) fn name(&self) -> &str {
        match &self.host {
            Some(host) => split_zone(host).0,
            None => "localhost",
        }
    }

    /// The zone of the address, if it has one: its interface.
    pub(super) fn zone(&self) -> Option<&str> {
        self.host.as_deref().and_then(|host| split_zone(host).1)
    }
}

/// Whether names of hosts hold this character. What an international one means, the resolver knows.
fn is_in_names(c: char) -> bool {
    c.is_ascii_alphanumeric() || ['-', '.', '_'].contains(&c) || !c.is_ascii()
}

fn split_zone(host: &str) -> (&str, Option<&str>) {
    match host.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (host, None),
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            None => write!(f, "localhost:{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port_or_a_port_alone() {
        for (text, shown, host, name, zone) in [
            ("127.0.0.1:4433", "", Some("127.0.0.1"), "127.0.0.1", None),
            ("[::1]:0", "", Some("::1"), "::1", None),
            (
                "sink.example:65535",
                "",
                Some("sink.example"),
                "sink.example",
                None,
            ),
            ("localhost:1", "", Some("localhost"), "localhost", None),
            (
                "[fe80::1%eth0]:1",
                "",
                Some("fe80::1%eth0"),
                "fe80::1",
                Some("eth0"),
            ),
            ("[fe80::1%2]:1", "", Some("fe80::1%2"), "fe80::1", Some("2")),
            (
                "[fe80::1%a:b]:1",
                "",
                Some("fe80::1%a:b"),
                "fe80::1",
                Some("a:b"),
            ),
            ("4433", "localhost:4433", None, "localhost", None),
            (":4433", "localhost:4433", None, "localhost", None),
        ] {
            let parsed = HostPort::parse(text).unwrap();
            let shown = if shown.is_empty() { text } else { shown };
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(
                (parsed.host(), parsed.name(), parsed.zone()),
                (host, name, zone)
            );
        }
        for wrong in [
            "",
            ":",
            "localhost",
            "localhost:",
            "::1:4433",
            "::1",
            "h:65536",
            "65536",
            "h:x",
            "h:+1",
            "+1",
            "[]:1",
            "[h]:1",
            "[127.0.0.1]:1",
            "[::1%]:1",
            "[::1:1",
            "::1]:1",
            "fe80::1%eth0:1",
            "https://h:1",
            "h%eth0:1",
            "*:1",
            "a b:1",
            "me@h:1",
            "/h:1",
        ] {
            assert!(HostPort::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            HostPort::parse("[fe80::1]:4433").unwrap_err(),
            "a link-local address needs its interface, as in [fe80::1%eth0]:4433"
        );
    }
}
