//! The names in a certificate by which a peer can be known.

use std::collections::HashSet;
use std::net::IpAddr;

use webpki::EndEntityCert;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::certificate::{ParsedCertificate, extension};

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) kind: NameKind,
}

/// The kind of a name, by which it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameKind {
    Dns,
    Address(IpAddr),
    /// A URI, an e-mail address or a common name.
    Other,
}

/// Whether the common name is a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommonName {
    Counts,
    /// Name constraints (RFC 5280, section 4.2.1.10) do not apply to it: a CA that they bind could
    /// give any.
    Unchecked,
}

impl ParsedCertificate<'_> {
    /// The names: DNS names, URIs, e-mail addresses, the common name, IP addresses. An address comes
    /// last, because it tells the least of a sender: its connection has one, too. A certificate that
    /// rustls-webpki can't parse has none.
    ///
    /// DNS names and URIs are those that rustls-webpki sees, so that the names that it checked are
    /// the ones that are shown. A URI without a scheme or an e-mail address without `@` is no name
    /// (RFC 5280, section 4.2.1.6): it could be taken for a DNS name, and evade name constraints on
    /// those. A URI such as `fd00::7` could do the same as an IP address.
    pub(crate) fn names(&self, common_name: CommonName) -> Vec<Name> {
        let Ok(certificate) = self.webpki() else {
            return Vec::new();
        };
        let mut names: Vec<Name> = dns_names(certificate).collect();
        let mut addresses = Vec::new();
        let mut add = |text: &str| {
            names.push(Name {
                text: text.to_owned(),
                kind: NameKind::Other,
            });
        };
        let uris = certificate.valid_uri_names();
        uris.filter(|uri| has_scheme(uri) && uri.parse::<IpAddr>().is_err())
            .for_each(&mut add);
        for name in self.alternative_names() {
            match &name {
                GeneralName::Rfc822Name(mail) if mail.as_str().contains('@') => add(mail.as_str()),
                name => addresses.extend(address(name)),
            }
        }
        if let (CommonName::Counts, Some(name)) = (common_name, self.subject.common_name())
            && !addresses.iter().any(|address| name.parse() == Ok(*address))
        {
            add(&name);
        }
        names.extend(addresses.into_iter().map(|address| Name {
            text: address.to_string(),
            kind: NameKind::Address(address),
        }));
        // A peer may present thousands of names, and one of them several times: the first stays.
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.text.clone()));
        names
    }

    /// The DNS names, wildcards such as `*.example.net` among them, if rustls-webpki can parse the
    /// certificate.
    pub(crate) fn dns_names(&self) -> Vec<String> {
        let certificate = self.webpki().ok();
        let names = certificate.into_iter().flat_map(dns_names);
        names.map(|name| name.text).collect()
    }

    /// The DNS names and IP addresses, which a server can be reached by.
    pub(crate) fn host_names(&self) -> Vec<String> {
        let mut names = self.dns_names();
        let alternatives = self.alternative_names();
        let addresses = alternatives.iter().filter_map(address);
        names.extend(addresses.map(|address| address.to_string()));
        names
    }

    /// Whether it has this as a DNS name, although no DNS name looks like it.
    #[cfg(feature = "client")]
    pub(crate) fn has_as_dns_name(&self, wanted: &str) -> bool {
        self.alternative_names()
            .iter()
            .any(|name| matches!(name, GeneralName::DnsName(name) if name.as_str() == wanted))
    }

    /// The names in the subjectAltName (RFC 5280, section 4.2.1.6).
    fn alternative_names(&self) -> Vec<GeneralName> {
        self.extension(extension::SUBJECT_ALT_NAME)
            .and_then(|names| SubjectAltName::from_der(names.whole).ok())
            .map_or_else(Vec::new, |SubjectAltName(names)| names)
    }
}

fn dns_names(certificate: &EndEntityCert<'_>) -> impl Iterator<Item = Name> {
    certificate.valid_dns_names().map(|name| Name {
        text: name.to_owned(),
        kind: NameKind::Dns,
    })
}

fn address(name: &GeneralName) -> Option<IpAddr> {
    let GeneralName::IpAddress(address) = name else {
        return None;
    };
    let v4 = <[u8; 4]>::try_from(address.as_bytes()).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(address.as_bytes()).map(IpAddr::from))
        .ok()
}

/// Whether a URI has a scheme (RFC 3986, section 3.1).
fn has_scheme(uri: &str) -> bool {
    let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}
