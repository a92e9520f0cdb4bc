//! Descriptions of certificates, CRLs and their faults, for people who have to act on them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::CertificateError;
use rustls_pki_types::UnixTime;
use x509_cert::der::DateTime;

use super::certificate::ParsedCertificate;
use super::names::CommonName;
pub(crate) use crate::quote::{QUOTED, quoted, shortened};

/// The name by which people know a certificate or a CRL, and its end.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// A DNS name, or else the subject or the issuer (RFC 4514).
    pub(crate) title: String,
    /// The time of its end, if it states one.
    pub(crate) end: Option<SystemTime>,
}

impl Summary {
    pub(crate) fn of(certificate: &ParsedCertificate<'_>) -> Self {
        let names = certificate.names(CommonName::Counts);
        let title = match names.into_iter().next() {
            Some(name) => name.text,
            None => certificate.subject.to_string(),
        };
        Summary {
            title: match title.is_empty() {
                true => "unknown".to_owned(),
                false => title,
            },
            end: certificate.validity().map(|(_, end)| end),
        }
    }
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

/// The same time in the type that `std` has for it.
pub(crate) fn system_time(time: UnixTime) -> SystemTime {
    let since = Duration::from_secs(time.as_secs());
    SystemTime::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Describes the fault of a certificate or a CRL. The verifier's own text is for programmers, and
/// quotes a sender at length.
pub(crate) fn fault(error: &webpki::Error) -> Cow<'static, str> {
    use webpki::Error as Fault;
    let words = match error {
        Fault::BadDer
        | Fault::BadDerTime
        | Fault::TrailingData(_)
        | Fault::SignatureAlgorithmMismatch
        | Fault::ExtensionValueInvalid
        | Fault::MalformedExtensions => "it is damaged",
        Fault::UnsupportedCertVersion => "it is not of X.509 version 3",
        Fault::UnsupportedCriticalExtension => "it has a critical extension that is not supported",
        Fault::InvalidCertValidity => "it ends before it begins",
        Fault::EmptyEkuExtension => "its extended key usage is empty",
        Fault::MalformedDnsIdentifier => "one of its DNS names is not valid",
        Fault::CertDistrusted => "its key is known to be distrusted",
        Fault::MaximumPathBuildCallsExceeded | Fault::MaximumSignatureChecksExceeded => {
            "too many CAs may have signed it"
        }
        Fault::MaximumNameConstraintComparisonsExceeded => {
            "it has too many names for the name constraints above it"
        }
        Fault::UnsupportedCrlSignatureAlgorithmContext(_) => {
            "the CRL for it has a kind of signature that is not supported"
        }
        Fault::IssuerNotCrlSigner => "its CA may not sign CRLs",
        Fault::UnsupportedCrlVersion => "it is not of version 2",
        Fault::UnsupportedDeltaCrl => "delta lists are not supported",
        Fault::UnsupportedIndirectCrl => "indirect lists are not supported",
        Fault::UnsupportedRevocationReasonsPartitioning => {
            "lists for some reasons only are not supported"
        }
        Fault::UnsupportedCrlIssuingDistributionPoint => {
            "its kind of distribution point is not supported"
        }
        other => {
            let mut name = format!("{other:?}");
            let end = name.find(|c: char| !c.is_ascii_alphanumeric());
            name.truncate(end.unwrap_or(name.len()));
            return name.into();
        }
    };
    words.into()
}

/// The error for a fault for which TLS has no alert of its own.
pub(crate) fn other(error: webpki::Error) -> CertificateError {
    CertificateError::Other(Arc::new(error))
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
