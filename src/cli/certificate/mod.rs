//! Certificates made in memory, for `cert` and for `listen --self-signed`.

use rcgen::{Certificate, CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use tlsink::client::Fingerprint;

mod names;
mod self_signed;

pub(crate) use names::{subject_name, subject_names};
pub(crate) use self_signed::SelfSigned;

/// A certificate and its key.
pub(crate) struct CertificateAndKey {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

impl CertificateAndKey {
    /// Makes a key, and has a certificate made for it.
    pub(crate) fn new(
        certify: impl FnOnce(&KeyPair) -> Result<Certificate, rcgen::Error>,
    ) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = certify(&key)?;
        Ok(CertificateAndKey { certificate, key })
    }

    pub(crate) fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    /// PKCS#8 (RFC 5958).
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// SHA-256 of the certificate (what `openssl x509 -fingerprint -sha256` prints).
    pub(crate) fn fingerprint(&self) -> String {
        Fingerprint::of(self.certificate.der()).to_string()
    }
}

/// The parts that all certificates have: a subject with this common name, and alternative names.
pub(crate) fn params(common_name: &str, names: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.subject_alt_names = names;
    params
}
