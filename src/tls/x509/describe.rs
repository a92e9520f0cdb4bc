//! What is said of certificates and CRLs that are not taken: in words for people, who have to act on
//! them, and with quotations that end where they seem to.

use std::borrow::Cow;
use std::sync::Arc;

use rustls::CertificateError;

pub(crate) use crate::quote::{QUOTED, quoted, shortened};

/// What is wrong with a certificate or a CRL. The verifier's own words are for programmers, and
/// quote at length what a sender presented.
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

/// What a peer is told where TLS has no alert of its own for it.
pub(crate) fn other(error: webpki::Error) -> CertificateError {
    CertificateError::Other(Arc::new(error))
}
