//! The names of clients in certificates.

use rcgen::SanType;

use super::super::certificate::subject_name;

/// The name of a client: an alternative name, or else a common name alone.
pub(super) struct ClientName {
    pub(super) common: String,
    pub(super) alternative: Option<SanType>,
}

/// RFC 5280, appendix A.1: ub-common-name.
const LONGEST_COMMON_NAME: usize = 64;

impl ClientName {
    /// The client whose certificate is made along with a CA.
    pub(super) const DEFAULT: &str = "client";

    /// Takes a DNS name, an address, an e-mail address, a URI, or any text of one line.
    ///
    /// # Errors
    ///
    /// With a text for the user.
    pub(super) fn new(name: &str) -> Result<Self, String> {
        let is_wildcard = name.contains('*');
        if name.is_empty() || is_wildcard || name.contains(char::is_control) {
            return Err(format!("{name:?} can't be the name of a client"));
        }
        let ia5 = || name.try_into().ok();
        let alternative = match subject_name(name) {
            Ok(name) => Some(name),
            Err(_) if name.contains("://") || name.starts_with("urn:") => ia5().map(SanType::URI),
            Err(_) if name.contains('@') => ia5().map(SanType::Rfc822Name),
            Err(_) => None,
        };
        let fits = name.chars().count() <= LONGEST_COMMON_NAME;
        if alternative.is_none() && !fits {
            return Err(format!(
                "{name:?} is too long: a name of no special form has at most \
                 {LONGEST_COMMON_NAME} characters"
            ));
        }
        Ok(ClientName {
            common: if fits { name } else { "tlsink client" }.to_owned(),
            alternative,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ClientName;

    #[test]
    fn a_client_may_be_called_by_anything_that_it_can_be_let_in_by() {
        let long = "x".repeat(60) + ".example";
        for (name, kind) in [
            ("boiler.example", "DnsName"),
            ("boiler", "DnsName"),
            (&long, "DnsName"),
            ("10.0.0.7", "IpAddress"),
            ("::1", "IpAddress"),
            ("a@b.example", "Rfc822Name"),
            ("spiffe://plant/boiler", "URI"),
            ("urn:plant:boiler", "URI"),
            ("Boiler 3", "none"),
            ("Käthe", "none"),
            ("a/b", "none"),
        ] {
            let taken = ClientName::new(name).unwrap();
            let made = taken.alternative.map(|name| format!("{name:?}"));
            let made = made.unwrap_or_else(|| "none".to_owned());
            assert!(made.starts_with(kind), "{name}: {made}");
            let common = if name == long { "tlsink client" } else { name };
            assert_eq!(taken.common, common);
        }
        let too_long = "x ".repeat(33);
        for name in ["", "*", "*.example.net", "a\nb", "\u{1b}[2J", &too_long] {
            assert!(ClientName::new(name).is_err(), "{name:?}");
        }
    }
}
