//! The names of servers in certificates.

use std::net::IpAddr;

use rcgen::SanType;
use rustls_pki_types::DnsName;

/// Parses DNS names, wildcards such as `*.example.net`, and IP addresses as the names of a
/// certificate.
///
/// # Errors
///
/// With a text for the user that names the first one that is neither.
pub(crate) fn subject_names(names: &[String]) -> Result<Vec<SanType>, String> {
    names.iter().map(|name| subject_name(name)).collect()
}

pub(crate) fn subject_name(name: &str) -> Result<SanType, String> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let suffix = name.strip_prefix("*.");
    let plain = suffix.unwrap_or(name);
    // A name may end in a dot, but not in a certificate (RFC 5280, section 4.2.1.6).
    if DnsName::try_from(plain).is_err() || plain.ends_with('.') {
        return Err(format!("{name:?} is neither a DNS name nor an IP address"));
    }
    if suffix.is_some_and(|suffix| !suffix.contains('.')) {
        return Err(format!("no client accepts a wildcard as wide as {name:?}"));
    }
    let name = name.try_into();
    Ok(SanType::DnsName(
        name.map_err(|error: rcgen::Error| error.to_string())?,
    ))
}

#[cfg(test)]
mod tests {
    use super::{SanType, subject_name};

    #[test]
    fn dns_names_wildcards_and_addresses_are_taken() {
        for name in [
            "localhost",
            "sink.example",
            "*.example.net",
            "_a.b",
            "xn--e1a.example",
        ] {
            let taken = subject_name(name);
            assert!(
                matches!(&taken, Ok(SanType::DnsName(dns)) if dns.as_str() == name),
                "{name}: {taken:?}"
            );
        }
        for name in ["127.0.0.1", "::1", "2001:db8::7"] {
            let taken = subject_name(name);
            let address = name.parse().unwrap();
            assert_eq!(taken, Ok(SanType::IpAddress(address)));
        }
    }

    #[test]
    fn what_no_client_would_match_is_refused_and_named() {
        for name in [
            "",
            ".",
            "a b",
            "a.",
            "*",
            "*.",
            "*.net",
            "a.*.net",
            "**.example.net",
            "*a.example.net",
            "münchen.example",
            "localhost:4433",
            "[::1]",
            "127.0.0.1/8",
            "127.0.0.256",
            "-a",
            "a,b",
            "https://sink.example",
            "\u{fffd}",
            "a\nb",
        ] {
            let refused = subject_name(name).unwrap_err();
            assert!(refused.contains(&format!("{name:?}")), "{refused}");
            assert!(!refused.contains('\n'), "{refused}");
        }
    }
}
