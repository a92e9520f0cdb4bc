//! The signature schemes by which a peer may prove to hold its key, verified by rustls-webpki
//! 0.103. The version that rustls 0.21 carries is never asked: RUSTSEC-2026-0098, -0099 and -0104
//! are in it.

use rustls::client::HandshakeSignatureValid;
use rustls::{
    Certificate, CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme,
};
use rustls_pki_types::SignatureVerificationAlgorithm;
use webpki::EndEntityCert;
use webpki::ring;

use super::certificate::der;
use super::keys;
use crate::tls::TlsVersion;

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

struct Scheme {
    scheme: SignatureScheme,
    /// The algorithm that the scheme means in TLS 1.3, where it also names the curve.
    algorithm: Algorithm,
    /// The other algorithm that it may mean in TLS 1.2, where it names no curve.
    other_curve: Option<Algorithm>,
    /// The last version of TLS whose handshakes it may sign: TLS 1.3 no longer accepts PKCS#1 there
    /// (RFC 8446, section 4.2.3).
    last_version: TlsVersion,
}

const fn scheme(scheme: SignatureScheme, algorithm: Algorithm, last_version: TlsVersion) -> Scheme {
    Scheme {
        scheme,
        algorithm,
        other_curve: None,
        last_version,
    }
}

/// All schemes, the preferred ones first.
static SCHEMES: [Scheme; 9] = [
    Scheme {
        scheme: SignatureScheme::ECDSA_NISTP256_SHA256,
        algorithm: ring::ECDSA_P256_SHA256,
        other_curve: Some(ring::ECDSA_P384_SHA256),
        last_version: TlsVersion::Tls13,
    },
    Scheme {
        scheme: SignatureScheme::ECDSA_NISTP384_SHA384,
        algorithm: ring::ECDSA_P384_SHA384,
        other_curve: Some(ring::ECDSA_P256_SHA384),
        last_version: TlsVersion::Tls13,
    },
    scheme(SignatureScheme::ED25519, ring::ED25519, TlsVersion::Tls13),
    scheme(
        SignatureScheme::RSA_PSS_SHA256,
        ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        TlsVersion::Tls13,
    ),
    scheme(
        SignatureScheme::RSA_PSS_SHA384,
        ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        TlsVersion::Tls13,
    ),
    scheme(
        SignatureScheme::RSA_PSS_SHA512,
        ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        TlsVersion::Tls13,
    ),
    scheme(
        SignatureScheme::RSA_PKCS1_SHA256,
        ring::RSA_PKCS1_2048_8192_SHA256,
        TlsVersion::Tls12,
    ),
    scheme(
        SignatureScheme::RSA_PKCS1_SHA384,
        ring::RSA_PKCS1_2048_8192_SHA384,
        TlsVersion::Tls12,
    ),
    scheme(
        SignatureScheme::RSA_PKCS1_SHA512,
        ring::RSA_PKCS1_2048_8192_SHA512,
        TlsVersion::Tls12,
    ),
];

/// All schemes, the preferred ones first.
pub(crate) fn supported() -> Vec<SignatureScheme> {
    SCHEMES.iter().map(|known| known.scheme).collect()
}

/// Checks that the certificate's key made this signature in a TLS 1.2 handshake.
pub(crate) fn verify_tls12(
    message: &[u8],
    certificate: &Certificate,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let known = known(signed.scheme)?;
    let algorithms = [Some(known.algorithm), known.other_curve];
    verify(
        algorithms.into_iter().flatten(),
        message,
        certificate,
        signed,
    )
}

/// Checks that the certificate's key made this signature in a TLS 1.3 handshake.
pub(crate) fn verify_tls13(
    message: &[u8],
    certificate: &Certificate,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let known = known(signed.scheme)?;
    if known.last_version == TlsVersion::Tls12 {
        return Err(not_offered());
    }
    verify([known.algorithm].into_iter(), message, certificate, signed)
}

/// Whether this key made this signature by `scheme`. `key` is the content of a
/// SubjectPublicKeyInfo.
pub(crate) fn belongs(
    scheme: SignatureScheme,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    known(scheme).is_ok_and(|known| {
        [Some(known.algorithm), known.other_curve]
            .into_iter()
            .flatten()
            .any(|algorithm| keys::verifies(algorithm, key, message, signature))
    })
}

fn known(scheme: SignatureScheme) -> Result<&'static Scheme, Error> {
    SCHEMES
        .iter()
        .find(|known| known.scheme == scheme)
        .ok_or_else(not_offered)
}

/// The error of a peer that signed by a scheme that was not offered to it.
fn not_offered() -> Error {
    PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()
}

fn verify(
    mut algorithms: impl Iterator<Item = Algorithm>,
    message: &[u8],
    certificate: &Certificate,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let der = der(certificate);
    let certificate = EndEntityCert::try_from(&der).map_err(|_| CertificateError::BadEncoding)?;
    let verifies = algorithms.any(|algorithm| {
        certificate
            .verify_signature(algorithm, message, signed.signature())
            .is_ok()
    });
    match verifies {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(CertificateError::BadSignature.into()),
    }
}
