//! What a certificate or a CRL says of itself, for people to read. What is decided on is decided by
//! rustls-webpki; only names are read here that it does not give.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::EndEntityCert;
use x509_cert::crl::CertificateList;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{DateTime, Decode, Header, SliceReader, Tag};
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, CrlNumber, SubjectAltName};
use x509_cert::name::Name as DistinguishedName;
use x509_cert::time::Validity;

use super::certificate::{self, Element, ParsedCertificate, extension};

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) kind: NameKind,
}

/// Kinds of names, which are compared in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameKind {
    Dns,
    Address(IpAddr),
    /// A URI, an e-mail address or a common name.
    Other,
}

/// The names in a certificate: DNS names, URIs, e-mail addresses, the common name, IP addresses. An
/// address is the last, because it tells the least of a sender: its connection has one, too.
///
/// DNS names and URIs are those that rustls-webpki sees, so that what it checked is what is shown.
/// A URI without a scheme or an e-mail address without `@` is no name (RFC 5280, section 4.2.1.6):
/// it could be taken for a DNS name, and got past name constraints on those. So could a URI such as
/// `fd00::7`, and be taken for an IP address.
pub(crate) fn names(certificate: &EndEntityCert<'_>, common_name: CommonName) -> Vec<Name> {
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
    let der = certificate.der();
    if let Some(parts) = ParsedCertificate::of(&der) {
        for name in alternatives(&parts) {
            match &name {
                GeneralName::Rfc822Name(mail) if mail.as_str().contains('@') => add(mail.as_str()),
                name => addresses.extend(address(name)),
            }
        }
        if let (CommonName::Counts, Some(name)) =
            (common_name, certificate::common_name(parts.subject))
            && !addresses.iter().any(|address| name.parse() == Ok(*address))
        {
            add(&name);
        }
    }
    names.extend(addresses.into_iter().map(|address| Name {
        text: address.to_string(),
        kind: NameKind::Address(address),
    }));
    // Of two that are the same, the first stays: a DNS name has no case. There may be thousands.
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.text.clone()));
    names
}

/// The names in the subjectAltName (RFC 5280, section 4.2.1.6).
fn alternatives(parts: &ParsedCertificate<'_>) -> Vec<GeneralName> {
    parts
        .extension(extension::SUBJECT_ALT_NAME)
        .and_then(|names| SubjectAltName::from_der(names.whole).ok())
        .map_or_else(Vec::new, |SubjectAltName(names)| names)
}

fn address(name: &GeneralName) -> Option<IpAddr> {
    let GeneralName::IpAddress(address) = name else {
        return None;
    };
    let v4 = <[u8; 4]>::try_from(address.as_bytes()).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(address.as_bytes()).map(IpAddr::from))
        .ok()
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
pub(crate) enum CommonName {
    Counts,
    /// Name constraints (RFC 5280, section 4.2.1.10) say nothing of it: a CA that is held by them
    /// could give any.
    Unchecked,
}

/// The DNS names among the alternative ones.
pub(crate) fn dns_names(certificate: &EndEntityCert<'_>) -> impl Iterator<Item = Name> {
    certificate.valid_dns_names().map(|name| Name {
        text: name.to_owned(),
        kind: NameKind::Dns,
    })
}

/// The DNS names and IP addresses in a certificate: what a server can be reached by.
pub(crate) fn host_names(der: &CertificateDer<'_>) -> Vec<String> {
    let mut names = Vec::new();
    if let Ok(certificate) = EndEntityCert::try_from(der) {
        names.extend(dns_names(&certificate).map(|name| name.text));
    }
    if let Some(parts) = ParsedCertificate::of(der) {
        let alternatives = alternatives(&parts);
        let addresses = alternatives.iter().filter_map(address);
        names.extend(addresses.map(|address| address.to_string()));
    }
    names
}

/// Whether the certificate has this as a DNS name, although no DNS name looks like it.
#[cfg(feature = "cli")]
pub(crate) fn has_as_dns_name(der: &CertificateDer<'_>, wanted: &str) -> bool {
    let alternatives = ParsedCertificate::of(der).map(|parts| alternatives(&parts));
    let names = alternatives.unwrap_or_default();
    names
        .iter()
        .any(|name| matches!(name, GeneralName::DnsName(name) if name.as_str() == wanted))
}

/// The common name of the certificate's subject.
#[cfg(feature = "cli")]
pub(crate) fn common_name(der: &CertificateDer<'_>) -> Option<String> {
    certificate::common_name(ParsedCertificate::of(der)?.subject)
}

/// Whether the certificate limits the names that certificates below it may have. If that can't be
/// told, it does.
pub(crate) fn has_name_constraints(der: &CertificateDer<'_>) -> bool {
    ParsedCertificate::of(der)
        .is_none_or(|parts| parts.extension(extension::NAME_CONSTRAINTS).is_some())
}

/// A certificate's or a CRL's own account of itself.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// The name that people know it by: a DNS name, or else the subject or the issuer
    /// (RFC 4514).
    pub(crate) title: String,
    /// When it begins.
    pub(crate) begin: Option<SystemTime>,
    /// When it ends, if it says so.
    pub(crate) end: Option<SystemTime>,
}

impl Summary {
    pub(crate) fn of_certificate(der: &CertificateDer<'_>) -> Self {
        let name = EndEntityCert::try_from(der)
            .ok()
            .and_then(|certificate| names(&certificate, CommonName::Counts).into_iter().next());
        let times = validity(der);
        Summary {
            title: name
                .map(|name| name.text)
                .or_else(|| subject(der))
                .filter(|title| !title.is_empty())
                .unwrap_or_else(|| "unknown".to_owned()),
            begin: times.map(|(begin, _)| begin),
            end: times.map(|(_, end)| end),
        }
    }
}

/// A CRL's own account of itself, as far as it can be read.
#[derive(Clone, Debug)]
pub(crate) struct CrlSummary {
    pub(crate) facts: Summary,
    number: Option<Number>,
    /// The identifier of the key that signed it (RFC 5280, section 5.2.1).
    pub(crate) key_id: Option<Vec<u8>>,
}

impl CrlSummary {
    pub(crate) fn of(der: &[u8]) -> Self {
        let parsed = CertificateList::from_der(der).ok();
        let parsed = parsed.map(|parsed: CertificateList| parsed.tbs_cert_list);
        let extensions = parsed
            .as_ref()
            .and_then(|list| list.crl_extensions.as_ref());
        CrlSummary {
            number: extensions.and_then(Number::among),
            key_id: extensions.and_then(|extensions| {
                let id = extension::<AuthorityKeyIdentifier>(extensions)?.key_identifier?;
                Some(id.into_bytes().into())
            }),
            facts: Summary {
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
    pub(crate) fn age(&self) -> impl Ord + '_ {
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
pub(crate) fn issuer(der: &CertificateDer<'_>) -> Option<String> {
    ParsedCertificate::of(der).map(|parts| distinguished(parts.issuer))
}

/// The subject of a certificate (RFC 4514), if it can be read.
pub(crate) fn subject(der: &CertificateDer<'_>) -> Option<String> {
    ParsedCertificate::of(der).map(|parts| distinguished(parts.subject))
}

/// A distinguished name (RFC 4514); the common name alone, where x509-cert would show that as
/// hexadecimal digits.
pub(crate) fn distinguished(name: Element<'_>) -> String {
    let is_readable = certificate::attributes(name)
        .filter(|(oid, _)| *oid == certificate::COMMON_NAME)
        .all(|(_, value)| value.is_usual_text());
    match DistinguishedName::from_der(name.whole) {
        Ok(parsed) if is_readable => parsed.to_string(),
        parsed => match (certificate::common_name(name), parsed) {
            (Some(common_name), _) => format!("CN={common_name}"),
            (None, Ok(parsed)) => parsed.to_string(),
            (None, Err(_)) => String::new(),
        },
    }
}

/// When the certificate begins and when it ends, if it can be read.
pub(crate) fn validity(der: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let validity: Validity = Validity::from_der(ParsedCertificate::of(der)?.validity.whole).ok()?;
    Some((
        validity.not_before.to_system_time(),
        validity.not_after.to_system_time(),
    ))
}

/// What a CRL lacks that the verifier needs, although RFC 5280 leaves it out of no list that conforms
/// (section 5.1.2).
pub(crate) fn lack_of_crl(der: &[u8]) -> Option<&'static str> {
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
pub(crate) fn can_be_anchor(der: &CertificateDer<'_>) -> bool {
    is_ca(der)
        || ParsedCertificate::of(der)
            .is_some_and(|parts| parts.issuer.content == parts.subject.content)
}

/// Whether it may sign for others: it says so, or is so old that it can't say.
pub(crate) fn is_ca(der: &CertificateDer<'_>) -> bool {
    ParsedCertificate::of(der).is_none_or(|parts| {
        let constraints = parts.extension(extension::BASIC_CONSTRAINTS);
        let says_so = constraints.is_some_and(|constraints| {
            BasicConstraints::from_der(constraints.whole).is_ok_and(|constraints| constraints.ca)
        });
        says_so || parts.is_version_1
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
pub(crate) fn system_time(time: UnixTime) -> SystemTime {
    let since = Duration::from_secs(time.as_secs());
    SystemTime::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_in_order() {
        let second_of_january = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
        assert_eq!(Day(second_of_january).to_string(), "1970-01-02");
    }
}
