//! Our certificate, as a server asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

/// Shows our certificate to a server that asks for one, and records whether it did.
pub(super) struct ClientCertificateResolver {
    pub(super) key: Option<Arc<CertifiedKey>>,
    pub(super) asked: AtomicBool,
    /// Whether the certificate was shown: the server accepts keys of its kind.
    pub(super) shown: AtomicBool,
}

impl ResolvesClientCert for ClientCertificateResolver {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        let suits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let key = self.key.as_ref().filter(suits)?;
        self.shown.store(true, Ordering::Relaxed);
        Some(Arc::clone(key))
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}
