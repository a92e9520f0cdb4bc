//! Certificates and keys as people keep them: PEM (RFC 7468).

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::{PrivateKey, SignatureScheme, sign};
use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::error::TlsError;

const CERTIFICATE: &str = "certificate";
const PRIVATE_KEY: &str = "private key";

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

/// Whether the key is that of the first certificate: what the one signs, the other verifies.
pub(super) fn check_key(
    certificates: &[CertificateDer<'_>],
    key: &PrivateKeyDer<'_>,
) -> Result<(), TlsError> {
    const MESSAGE: &[u8] = b"signed to see whether key and certificate belong together";
    let key = sign::any_supported_type(&PrivateKey(key.secret_der().to_vec()))
        .map_err(|_| TlsError::UnusableKey)?;
    let schemes = SCHEMES.map(|(scheme, _)| scheme);
    let (Some(signer), Some(certificate)) = (key.choose_scheme(&schemes), certificates.first())
    else {
        return Ok(());
    };
    // What can't be parsed here, such as a version 1 certificate, senders may take all the same.
    let Ok(certificate) = EndEntityCert::try_from(certificate) else {
        return Ok(());
    };
    let signature = signer.sign(MESSAGE).map_err(unusable)?;
    let belongs = SCHEMES
        .iter()
        .filter(|(scheme, _)| *scheme == signer.scheme())
        .any(|(_, algorithm)| {
            certificate
                .verify_signature(*algorithm, MESSAGE, &signature)
                .is_ok()
        });
    match belongs {
        true => Ok(()),
        false => Err(TlsError::WrongKey),
    }
}

/// When the certificate ended, if it has.
pub(super) fn expired(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    // A certificate's own dates are checked before a path is looked for, of which there is none.
    let verified = certificate.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &[],
        &[],
        UnixTime::now(),
        KeyUsage::server_auth(),
        None,
        None,
    );
    match verified {
        Err(webpki::Error::CertExpired { not_after, .. }) => {
            Some(SystemTime::UNIX_EPOCH + Duration::from_secs(not_after.as_secs()))
        }
        _ => None,
    }
}

pub(super) fn unusable(error: impl std::fmt::Display) -> TlsError {
    TlsError::Unusable {
        reason: error.to_string(),
    }
}

/// One scheme for each kind of key.
const SCHEMES: [(
    SignatureScheme,
    &dyn rustls_pki_types::SignatureVerificationAlgorithm,
); 4] = [
    (
        SignatureScheme::ECDSA_NISTP256_SHA256,
        webpki::ring::ECDSA_P256_SHA256,
    ),
    (
        SignatureScheme::ECDSA_NISTP384_SHA384,
        webpki::ring::ECDSA_P384_SHA384,
    ),
    (SignatureScheme::ED25519, webpki::ring::ED25519),
    (
        SignatureScheme::RSA_PSS_SHA256,
        webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    ),
];

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
