//! The certificate of a server that is given none.

use tlsink::tls::Identity;

use super::super::Failure;
use super::{CertificateAndKey, params, subject_names};

/// A self-signed certificate, made for this run.
pub(crate) struct SelfSigned {
    identity: Identity,
    fingerprint: String,
}

impl SelfSigned {
    /// Makes an ECDSA P-256 key and a certificate for `names`: DNS names and IP addresses. It
    /// does not expire, as the program that holds it may run for years.
    ///
    /// # Errors
    ///
    /// When a name can't be in a certificate.
    pub(crate) fn new(names: &[String]) -> Result<Self, Failure> {
        Self::made(names).map_err(|error| {
            Failure::misused(format!("can't make a certificate for these names: {error}")).hint(
                "give --self-signed names such as sink.example or *.sink.example, and addresses \
                 without port, separated by commas",
            )
        })
    }

    fn made(names: &[String]) -> Result<Self, String> {
        let params = params("tlsink", subject_names(names)?);
        let own = CertificateAndKey::new(|key| params.self_signed(key))
            .map_err(|error| error.to_string())?;
        let identity =
            Identity::from_pem(own.certificate_pem().as_bytes(), own.key_pem().as_bytes())
                .map_err(|error| error.to_string())?;
        Ok(SelfSigned {
            identity,
            fingerprint: own.fingerprint(),
        })
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// SHA-256 of the certificate (what `openssl x509 -fingerprint -sha256` prints).
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}
