//! Certificates and keys as people keep them: PEM (RFC 7468).

use std::path::Path;

use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::error::TlsError;

const CERTIFICATE: &str = "certificate";
const PRIVATE_KEY: &str = "private key";
const CRL: &str = "CRL";

pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// All certificates in the text, of which there is at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| match error {
            // Items that are not looked for must be valid too, and this one can't be.
            Error::Base64Decode(_) if is_encrypted(pem) => TlsError::EncryptedKey,
            error => malformed(CERTIFICATE, error),
        })?;
    match certificates.is_empty() {
        true => Err(TlsError::Missing { what: CERTIFICATE }),
        false => Ok(certificates),
    }
}

/// The first private key in the text.
pub(super) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        // The older form has header lines, which are taken for damaged base64.
        Error::NoItemsFound | Error::Base64Decode(_) if is_encrypted(pem) => TlsError::EncryptedKey,
        error => malformed(PRIVATE_KEY, error),
    })
}

/// All certificate revocation lists in the text, of which there is at least one; what is not text
/// is taken for one in DER.
pub(super) fn crls(
    pem_or_der: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let is_text =
        pem_or_der.is_ascii() || memchr::memmem::find(pem_or_der, b"-----BEGIN").is_some();
    if !is_text {
        return Ok(vec![pem_or_der.to_vec().into()]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(pem_or_der)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| malformed(CRL, error))?;
    match lists.is_empty() {
        true => Err(TlsError::Missing { what: CRL }),
        false => Ok(lists),
    }
}

pub(super) fn unusable(error: impl std::fmt::Display) -> TlsError {
    TlsError::Unusable {
        reason: error.to_string(),
    }
}

fn malformed(what: &'static str, error: Error) -> TlsError {
    match error {
        Error::NoItemsFound => TlsError::Missing { what },
        error => TlsError::Pem {
            what,
            reason: reason(&error),
        },
    }
}

/// The parser's own words are for programmers: they show lines as lists of numbers.
fn reason(error: &Error) -> String {
    match error {
        Error::MissingSectionEnd { .. } => "its line that begins with -----END is missing".into(),
        Error::IllegalSectionStart { .. } => "a line that begins with -----BEGIN is damaged".into(),
        Error::Base64Decode(_) => "its base64 is damaged".into(),
        error => error.to_string(),
    }
}

/// RFC 7468, section 11, and the older form that OpenSSL still writes.
fn is_encrypted(pem: &[u8]) -> bool {
    [&b"ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| memchr::memmem::find(pem, mark).is_some())
}
