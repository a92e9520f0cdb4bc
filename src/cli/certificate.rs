//! A fresh certificate, and what to call one.

use std::fmt::Write;

use rcgen::{CertificateParams, KeyPair};
use tlsink::{Tls, TlsBuilder, TlsError};

/// A certificate that signs itself, made for this run.
pub(crate) struct SelfSigned {
    pub(crate) tls: Tls,
    /// SHA-256 of the certificate (what `openssl x509 -fingerprint -sha256` prints).
    pub(crate) fingerprint: String,
}

impl SelfSigned {
    /// Makes an ECDSA P-256 key and a certificate for `names`: DNS names and IP addresses.
    ///
    /// # Errors
    ///
    /// With a text for the user, when a name can't be in a certificate.
    pub(crate) fn new(tls: TlsBuilder, names: &[String]) -> Result<Self, String> {
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.self_signed(&key))
            .map_err(|error| error.to_string())?;
        let tls = tls
            .from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes())
            .map_err(|error: TlsError| error.to_string())?;
        Ok(SelfSigned {
            tls,
            fingerprint: fingerprint(certificate.der()),
        })
    }
}

fn fingerprint(der: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    let mut text = String::new();
    for (i, byte) in digest.as_ref().iter().enumerate() {
        let colon = if i == 0 { "" } else { ":" };
        let _ = write!(text, "{colon}{byte:02X}");
    }
    text
}
