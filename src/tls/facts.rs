//! What a certificate or a CRL says of itself, for people to read. What is decided on is decided by
//! rustls-webpki; only names are read here that it does not give.

use std::collections::HashSet;
use std::fmt;
#[cfg(feature = "cli")]
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, DnsName, UnixTime};
use webpki::EndEntityCert;
use x509_cert::Version;
use x509_cert::certificate::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{DateTime, Decode, Header, SliceReader, Tag};
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlNumber, NameConstraints, SubjectAltName,
};

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) is_dns: bool,
}

/// The names in a certificate: DNS names, URIs, e-mail addresses, the common name.
///
/// DNS names and URIs are those that rustls-webpki sees, so that what it checked is what is shown.
/// A URI without a scheme or an address without `@` is no name (RFC 5280, section 4.2.1.6): it
/// could be taken for a DNS name, and got past name constraints on those.
pub(super) fn names(certificate: &EndEntityCert<'_>, common_name: CommonName) -> Vec<Name> {
    let mut names: Vec<Name> = dns_names(certificate).collect();
    let mut add = |text: &str| {
        names.push(Name {
            text: text.to_owned(),
            is_dns: false,
        });
    };
    let uris = certificate.valid_uri_names();
    uris.filter(|uri| has_scheme(uri)).for_each(&mut add);
    // What this parser is too strict for has the other names all the same.
    if let Ok(parsed) = Certificate::from_der(&certificate.der()) {
        let parsed = parsed.tbs_certificate();
        if let Ok(Some((_, SubjectAltName(alternatives)))) = parsed.get_extension() {
            for name in &alternatives {
                if let GeneralName::Rfc822Name(mail) = name
                    && mail.as_str().contains('@')
                {
                    add(mail.as_str());
                }
            }
        }
        if let (CommonName::Counts, Ok(Some(name))) = (common_name, parsed.subject().common_name())
            && !name.value().is_empty()
        {
            add(&name.value());
        }
    }
    // Of two that are the same, the first stays: a DNS name has no case. There may be thousands.
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.text.clone()));
    names
}

/// RFC 3986, section 3.1.
fn has_scheme(uri: &str) -> bool {
    let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Whether the common name is a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommonName {
    Counts,
    /// Name constraints (RFC 5280, section 4.2.1.10) say nothing of it: a CA that is held by them
    /// could give any.
    Unchecked,
}

/// The DNS names among the alternative ones.
pub(super) fn dns_names(certificate: &EndEntityCert<'_>) -> impl Iterator<Item = Name> {
    certificate.valid_dns_names().map(|name| Name {
        text: name.to_owned(),
        is_dns: true,
    })
}

/// The DNS names and IP addresses in a certificate: what a server can be reached by.
#[cfg(feature = "cli")]
pub(super) fn host_names(der: &CertificateDer<'_>) -> Vec<String> {
    let mut names = Vec::new();
    if let Ok(certificate) = EndEntityCert::try_from(der) {
        names.extend(dns_names(&certificate).map(|name| name.text));
    }
    // What this parser is too strict for has its DNS names all the same.
    let Ok(parsed) = Certificate::from_der(der) else {
        return names;
    };
    if let Ok(Some((_, SubjectAltName(alternatives)))) = parsed.tbs_certificate().get_extension() {
        for name in &alternatives {
            if let GeneralName::IpAddress(address) = name {
                let address = address.as_bytes();
                let v4 = <[u8; 4]>::try_from(address).map(IpAddr::from);
                let address = v4.or_else(|_| <[u8; 16]>::try_from(address).map(IpAddr::from));
                names.extend(address.map(|address| address.to_string()));
            }
        }
    }
    names
}

/// Whether the certificate names itself as its issuer.
#[cfg(feature = "cli")]
pub(super) fn is_self_issued(der: &CertificateDer<'_>) -> bool {
    Certificate::from_der(der).is_ok_and(|certificate| {
        let parsed = certificate.tbs_certificate();
        parsed.issuer() == parsed.subject()
    })
}

/// Whether the certificate limits the names that certificates below it may have. If that can't be
/// told, it does.
pub(super) fn has_name_constraints(der: &CertificateDer<'_>) -> bool {
    Certificate::from_der(der).map_or(true, |certificate| {
        certificate
            .tbs_certificate()
            .filter_extensions::<NameConstraints>()
            .next()
            .is_some()
    })
}

/// A certificate's or a CRL's own account of itself.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The name that people know it by: a DNS name, or else the subject or the issuer
    /// (RFC 4514).
    pub(super) title: String,
    /// When it begins.
    pub(super) begin: Option<SystemTime>,
    /// When it ends, if it says so.
    pub(super) end: Option<SystemTime>,
}

impl Facts {
    pub(super) fn of_certificate(der: &CertificateDer<'_>) -> Self {
        let name = EndEntityCert::try_from(der)
            .ok()
            .and_then(|certificate| names(&certificate, CommonName::Counts).into_iter().next());
        let parsed = Certificate::from_der(der).ok();
        let parsed = parsed.as_ref().map(|parsed| parsed.tbs_certificate());
        let subject = parsed.map(|parsed| parsed.subject().to_string());
        Facts {
            title: name
                .map(|name| name.text)
                .or(subject)
                .filter(|title| !title.is_empty())
                .unwrap_or_else(|| "unknown".to_owned()),
            begin: parsed.map(|parsed| parsed.validity().not_before.to_system_time()),
            end: parsed.map(|parsed| parsed.validity().not_after.to_system_time()),
        }
    }
}

/// A CRL's own account of itself, as far as it can be read.
#[derive(Clone, Debug)]
pub(super) struct CrlFacts {
    pub(super) facts: Facts,
    number: Option<Number>,
    /// The identifier of the key that signed it (RFC 5280, section 5.2.1).
    pub(super) key_id: Option<Vec<u8>>,
}

impl CrlFacts {
    pub(super) fn of(der: &[u8]) -> Self {
        let parsed = CertificateList::from_der(der).ok();
        let parsed = parsed.map(|parsed: CertificateList| parsed.tbs_cert_list);
        let extensions = parsed
            .as_ref()
            .and_then(|list| list.crl_extensions.as_ref());
        CrlFacts {
            number: extensions.and_then(Number::among),
            key_id: extensions.and_then(|extensions| {
                let id = extension::<AuthorityKeyIdentifier>(extensions)?.key_identifier?;
                Some(id.into_bytes().into())
            }),
            facts: Facts {
                title: parsed
                    .as_ref()
                    .map_or_else(|| "unknown".to_owned(), |list| list.issuer.to_string()),
                begin: parsed
                    .as_ref()
                    .map(|list| list.this_update.to_system_time()),
                end: parsed
                    .and_then(|list| list.next_update)
                    .map(|time| time.to_system_time()),
            },
        }
    }

    /// Of two lists of one issuer, the newer one is the greater.
    pub(super) fn age(&self) -> impl Ord + '_ {
        (self.facts.begin, &self.number)
    }
}

fn extension<T: AssociatedOid + for<'a> Decode<'a>>(extensions: &Extensions) -> Option<T> {
    let found = extensions.iter().find(|one| one.extn_id == T::OID)?;
    T::from_der(found.extn_value.as_bytes()).ok()
}

/// The number of a CRL (RFC 5280, section 5.2.3): its length and its bytes, so that the larger one is
/// the greater one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number(usize, Vec<u8>);

impl Number {
    fn among(extensions: &Extensions) -> Option<Self> {
        let CrlNumber(number) = extension(extensions)?;
        let bytes = number.as_bytes().to_vec();
        Some(Number(bytes.len(), bytes))
    }
}

/// The issuer of a certificate (RFC 4514), if it can be read.
pub(super) fn issuer(der: &CertificateDer<'_>) -> Option<String> {
    let parsed = Certificate::from_der(der).ok()?;
    Some(parsed.tbs_certificate().issuer().to_string())
}

/// The subject of a certificate (RFC 4514), if it can be read.
pub(super) fn subject(der: &CertificateDer<'_>) -> Option<String> {
    let parsed = Certificate::from_der(der).ok()?;
    Some(parsed.tbs_certificate().subject().to_string())
}

/// When the certificate begins and when it ends, if it can be read.
pub(super) fn validity(der: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let parsed = Certificate::from_der(der).ok()?;
    let validity = parsed.tbs_certificate().validity();
    Some((
        validity.not_before.to_system_time(),
        validity.not_after.to_system_time(),
    ))
}

/// What a CRL lacks that the verifier needs, although RFC 5280 leaves it out of no list that conforms
/// (section 5.1.2).
pub(super) fn lack_of_crl(der: &[u8]) -> Option<&'static str> {
    if is_crl_of_version_1(der) {
        return Some("it is not of version 2, which openssl ca makes when crl_extensions is set");
    }
    let list = CertificateList::from_der(der).ok();
    let list = list.map(|list: CertificateList| list.tbs_cert_list)?;
    if list.next_update.is_none() {
        return Some("it has no nextUpdate, so that nobody could tell when it has expired");
    }
    match list.crl_extensions {
        None => Some("it has no extensions, such as its number"),
        Some(_) => None,
    }
}

/// Whether this is a CRL of the first version, which says none (RFC 5280, section 5.1.2.1): its
/// third header is not that of a number.
fn is_crl_of_version_1(der: &[u8]) -> bool {
    let third = || {
        let mut reader = SliceReader::new(der).ok()?;
        let list = Header::decode(&mut reader).ok()?.tag();
        let content = Header::decode(&mut reader).ok()?.tag();
        let first = Header::decode(&mut reader).ok()?.tag();
        Some([list, content, first])
    };
    third() == Some([Tag::Sequence; 3])
}

/// Whether senders can be verified with this certificate: it is a CA's, or nobody but itself signed
/// it.
pub(super) fn can_be_anchor(der: &CertificateDer<'_>) -> bool {
    is_ca(der)
        || Certificate::from_der(der).is_ok_and(|certificate| {
            let parsed = certificate.tbs_certificate();
            parsed.issuer() == parsed.subject()
        })
}

/// Whether it may sign for others: it says so, or is so old that it can't say.
pub(super) fn is_ca(der: &CertificateDer<'_>) -> bool {
    Certificate::from_der(der).map_or(true, |certificate| {
        let parsed = certificate.tbs_certificate();
        let says_so = matches!(
            parsed.get_extension::<BasicConstraints>(),
            Ok(Some((_, BasicConstraints { ca: true, .. })))
        );
        says_so || parsed.version() == Version::V1
    })
}

/// A day (UTC), as `2026-11-23`.
pub(crate) struct Day(pub(crate) SystemTime);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_system_time(self.0) {
            Ok(date) => write!(f, "{}-{:02}-{:02}", date.year(), date.month(), date.day()),
            Err(_) => f.write_str("an unknown day"),
        }
    }
}

/// The same time as `std` has it.
pub(super) fn system_time(time: UnixTime) -> SystemTime {
    let since = Duration::from_secs(time.as_secs());
    SystemTime::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Which names are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Exact(String),
    /// Begins with a dot.
    Suffix(String),
}

impl Pattern {
    /// A name, or `*.` and a DNS name; `None` for anything else with a `*`, and for nothing.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("*.") {
            Some(suffix) => DnsName::try_from(suffix)
                .is_ok()
                .then(|| Pattern::Suffix(format!(".{suffix}"))),
            None => {
                (!text.is_empty() && !text.contains('*')).then(|| Pattern::Exact(text.to_owned()))
            }
        }
    }

    /// DNS names match without regard to case. A wildcard in a certificate matches nothing.
    pub(super) fn matches(&self, name: &Name) -> bool {
        if name.text.contains('*') {
            return false;
        }
        match self {
            Pattern::Exact(exact) if name.is_dns => name.text.eq_ignore_ascii_case(exact),
            Pattern::Exact(exact) => name.text == *exact,
            Pattern::Suffix(suffix) => {
                let at = name.text.len().checked_sub(suffix.len());
                let end = at.filter(|at| *at > 0).and_then(|at| name.text.get(at..));
                name.is_dns && end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(text: &str) -> Name {
        Name {
            text: text.to_owned(),
            is_dns: true,
        }
    }

    #[test]
    fn a_suffix_matches_whole_labels_of_dns_names() {
        let pattern = Pattern::parse("*.example.net").unwrap();
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
            is_dns: false,
        };
        assert!(!pattern.matches(&common_name));
    }

    #[test]
    fn an_exact_name_matches_dns_names_in_any_case_and_others_as_they_are() {
        let pattern = Pattern::parse("Web.example").unwrap();
        assert!(pattern.matches(&dns("web.EXAMPLE")));
        let mut name = dns("web.example");
        name.is_dns = false;
        assert!(!pattern.matches(&name));
    }

    #[test]
    fn nothing_else_with_an_asterisk_is_a_pattern() {
        for text in ["", "*", "*.", "a.*.net", "*a.net", "*.*.net", "*.a b"] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn days_are_written_in_order() {
        let second_of_january = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
        assert_eq!(Day(second_of_january).to_string(), "1970-01-02");
    }
}
