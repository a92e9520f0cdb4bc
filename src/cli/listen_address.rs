//! The places to listen, as users give them.

use std::fmt;
use std::path::PathBuf;

use super::address::HostPort;

/// A place to listen, with or without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenAddress {
    /// Whether senders speak no TLS.
    pub(crate) plain: bool,
    pub(crate) place: Place,
}

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Host(HostPort),
    /// A Unix socket in the file system.
    Unix(PathBuf),
    /// Sockets that systemd has opened and passed on (sd_listen_fds(3)).
    Passed(Passed),
}

/// Sockets that were passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// The number of a descriptor.
    Number(u32),
    /// The name of one descriptor or more.
    Name(String),
}

/// The number of the first descriptor that systemd passes on (sd_listen_fds(3)).
pub(crate) const FIRST_PASSED: u32 = 3;

impl ListenAddress {
    /// Parses a place of the user.
    ///
    /// # Errors
    ///
    /// The error names the expected form.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (plain, place) = match text.strip_prefix("plain:") {
            Some(place) => (true, place),
            None => (false, text),
        };
        let place = if let Some(path) = place.strip_prefix("unix:") {
            match path {
                "" => return Err("expected unix:PATH, such as unix:/run/tlsink.sock".to_owned()),
                path => Place::Unix(path.into()),
            }
        } else if let Some(passed) = place.strip_prefix("fd:") {
            Place::Passed(Passed::parse(passed)?)
        } else if place.starts_with(['/', '.']) {
            return Err(format!(
                "the path of a Unix socket is given as unix:{place}"
            ));
        } else if let Some(port) = place.strip_prefix("*:") {
            return Err(format!(
                "all addresses are 0.0.0.0:{port}, or [::]:{port} with IPv6"
            ));
        } else {
            Place::Host(HostPort::parse(place)?)
        };
        Ok(ListenAddress { plain, place })
    }
}

impl Passed {
    fn parse(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text
                .parse()
                .ok()
                .filter(|number| *number >= FIRST_PASSED)
                .map(Passed::Number)
                .ok_or_else(|| "the first descriptor that systemd passes is fd:3".to_owned());
        }
        // The names of a unit hold neither control characters nor colons (systemd.socket(5)).
        match text.is_empty() || text.contains(|c: char| c == ':' || c.is_control()) {
            true => Err("expected fd:NAME or fd:NUMBER, such as fd:tlsink or fd:3".to_owned()),
            false => Ok(Passed::Name(text.to_owned())),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plain {
            f.write_str("plain:")?;
        }
        match &self.place {
            Place::Host(address) => address.fmt(f),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
            Place::Passed(passed) => passed.fmt(f),
        }
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Passed::Number(number) => write!(f, "fd:{number}"),
            Passed::Name(name) => write!(f, "fd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_hosts_unix_sockets_and_passed_descriptors_with_tls_or_without() {
        let host = |text| Place::Host(HostPort::parse(text).unwrap());
        for (text, place) in [
            ("127.0.0.1:4433", host("127.0.0.1:4433")),
            ("[::1]:0", host("[::1]:0")),
            ("unix:/run/a:b", Place::Unix("/run/a:b".into())),
            ("unix:relative", Place::Unix("relative".into())),
            ("fd:3", Place::Passed(Passed::Number(3))),
            ("fd:3a", Place::Passed(Passed::Name("3a".to_owned()))),
            (
                "fd:tlsink.socket",
                Place::Passed(Passed::Name("tlsink.socket".to_owned())),
            ),
        ] {
            for plain in [false, true] {
                let text = format!("{}{text}", if plain { "plain:" } else { "" });
                let parsed = ListenAddress::parse(&text).unwrap();
                assert_eq!(parsed.to_string(), text);
                let place = place.clone();
                assert_eq!(parsed, ListenAddress { plain, place });
            }
        }
        for wrong in [
            "unix:",
            "/run/tlsink.sock",
            "*:4433",
            "plain:",
            "fd:",
            "fd:2",
            "fd:a:b",
            "fd:a\nb",
            "fd:99999999999",
        ] {
            assert!(ListenAddress::parse(wrong).is_err(), "{wrong}");
        }
    }
}
