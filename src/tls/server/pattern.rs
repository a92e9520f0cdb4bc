//! Patterns of the names that are let in.

use std::net::IpAddr;

use rustls_pki_types::DnsName;

use crate::tls::x509::names::{Name, NameKind};

/// A pattern of names that are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NamePattern {
    Exact(String),
    /// An IP address, in whichever form it was written.
    Address(IpAddr),
    /// The end of DNS names, from a dot on.
    Suffix(String),
}

impl NamePattern {
    /// Parses a name, an IP address, or `*.` and a DNS name. Yields `None` for any other text with
    /// a `*`, for a range of addresses, and for an empty text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(suffix) = text.strip_prefix("*.") {
            return DnsName::try_from(suffix)
                .is_ok()
                .then(|| NamePattern::Suffix(format!(".{suffix}")));
        }
        let in_brackets = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        if let Ok(address) = in_brackets.unwrap_or(text).parse() {
            return Some(NamePattern::Address(address));
        }
        let is_range = text
            .split_once('/')
            .is_some_and(|(address, _)| address.parse::<IpAddr>().is_ok());
        (!text.is_empty() && !text.contains('*') && !is_range)
            .then(|| NamePattern::Exact(text.to_owned()))
    }

    /// Whether a name in a certificate matches. DNS names match without regard to case. A wildcard
    /// in a certificate matches nothing.
    pub(super) fn matches(&self, name: &Name) -> bool {
        if name.text.contains('*') {
            return false;
        }
        match (self, name.kind) {
            (NamePattern::Exact(exact), NameKind::Dns) => name.text.eq_ignore_ascii_case(exact),
            (NamePattern::Exact(exact), _) => name.text == *exact,
            (NamePattern::Address(allowed), NameKind::Address(address)) => address == *allowed,
            // A common name may be an address, too.
            (NamePattern::Address(allowed), _) => name.text.parse() == Ok(*allowed),
            (NamePattern::Suffix(suffix), NameKind::Dns) => {
                let at = name.text.len().checked_sub(suffix.len());
                let end = at.filter(|at| *at > 0).and_then(|at| name.text.get(at..));
                end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
            (NamePattern::Suffix(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(text: &str) -> Name {
        Name {
            text: text.to_owned(),
            kind: NameKind::Dns,
        }
    }

    #[test]
    fn a_suffix_matches_whole_labels_of_dns_names() {
        let pattern = NamePattern::parse("*.example.net").unwrap();
        for name in ["a.example.net", "A.B.Example.NET"] {
            assert!(pattern.matches(&dns(name)), "{name}");
        }
        for name in [
            "example.net",
            ".example.net",
            "badexample.net",
            "*.example.net",
            "net",
        ] {
            assert!(!pattern.matches(&dns(name)), "{name}");
        }
        let common_name = Name {
            text: "a.example.net".to_owned(),
            kind: NameKind::Other,
        };
        assert!(!pattern.matches(&common_name));
    }

    #[test]
    fn an_exact_name_matches_dns_names_in_any_case_and_others_as_they_are() {
        let pattern = NamePattern::parse("Web.example").unwrap();
        assert!(pattern.matches(&dns("web.EXAMPLE")));
        let mut name = dns("web.example");
        name.kind = NameKind::Other;
        assert!(!pattern.matches(&name));
    }

    #[test]
    fn an_address_matches_in_whichever_form_it_is_written_and_no_range_is_one() {
        let name = |address: &str| Name {
            text: address.to_owned(),
            kind: NameKind::Address(address.parse().unwrap()),
        };
        for (pattern, address, matches) in [
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.70", false),
            ("2001:DB8:0::7", "2001:db8::7", true),
            ("[2001:db8::7]", "2001:db8::7", true),
            // A certificate has either four bytes or sixteen.
            ("::ffff:10.0.0.7", "10.0.0.7", false),
        ] {
            let parsed = NamePattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(&name(address)), matches, "{pattern}");
        }
        for text in ["10.0.0.0/8", "2001:db8::/32"] {
            assert_eq!(NamePattern::parse(text), None, "{text}");
        }
        let uri = NamePattern::Exact("spiffe://x/10.0.0.7".to_owned());
        assert_eq!(NamePattern::parse("spiffe://x/10.0.0.7"), Some(uri));
    }

    #[test]
    fn nothing_else_with_an_asterisk_is_a_pattern() {
        for text in ["", "*", "*.", "a.*.net", "*a.net", "*.*.net", "*.a b"] {
            assert_eq!(NamePattern::parse(text), None, "{text}");
        }
    }
}
