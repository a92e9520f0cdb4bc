//! TLS: certificates, the server's configuration, and the stream on which async-tls's peculiarities
//! end. Nothing outside this folder names async-tls or rustls.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_tls::TlsAcceptor;
use futures_lite::{AsyncRead, AsyncWrite};
use rustls::cipher_suite as suite;
use rustls::server::NoServerSessionStorage;
use rustls::{Certificate, PrivateKey, ServerConfig, ServerConnection, SupportedCipherSuite};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::TlsError;

mod pem;
mod stream;

pub(crate) use stream::{Accept, HandshakeError, ReadError, Stream};

/// The server's side of TLS: its certificate, its key, and what it accepts.
///
/// TLS 1.2 and 1.3. Session tickets are off, and no session is stored: a sender that writes and
/// closes without reading would find the tickets in its unread buffer, its close would become a
/// reset, and its own system would throw away what it still had to send.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads a certificate chain, the server's own certificate first, and its private key.
    ///
    /// # Errors
    ///
    /// When a file can't be read, and as [`from_pem`](Self::from_pem).
    ///
    /// # Blocking
    ///
    /// Reads two files.
    pub fn from_pem_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let (certificates, key) = (certificates.as_ref(), key.as_ref());
        let chain = pem::certificates(&pem::read(certificates)?)
            .map_err(|error| error.in_file(certificates))?;
        let private_key = pem::private_key(&pem::read(key)?).map_err(|error| error.in_file(key))?;
        Self::from_der(chain, private_key).map_err(|error| error.in_file(key))
    }

    /// Takes a certificate chain and its private key as PEM (RFC 7468). The key is PKCS#8, PKCS#1
    /// or SEC1; anything else in either text is passed over, so both may be the same.
    ///
    /// # Errors
    ///
    /// When the text is not valid PEM, lacks a certificate or a key, or holds a key that can't be
    /// used or belongs to another certificate.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::from_der(pem::certificates(certificates)?, pem::private_key(key)?)
    }

    fn from_der(
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        pem::check_key(&certificates, &key)?;
        let certificates = certificates
            .into_iter()
            .map(|der| Certificate(der.to_vec()))
            .collect();
        Self::new(certificates, PrivateKey(key.secret_der().to_vec())).map_err(pem::unusable)
    }

    fn new(certificates: Vec<Certificate>, key: PrivateKey) -> Result<Self, rustls::Error> {
        let mut config = ServerConfig::builder()
            .with_cipher_suites(suites())
            .with_safe_default_kx_groups()
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, key)?;
        config.ignore_client_order = true;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let config = Arc::new(config);
        // async-tls panics where this fails: it never sees a configuration that does.
        ServerConnection::new(Arc::clone(&config))?;
        Ok(Tls {
            acceptor: config.into(),
        })
    }

    pub(crate) fn accept<IO>(&self, io: IO) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Accept::new(&self.acceptor, io)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// The suites, in the server's order: AES-128 first, which opens faster than AES-256 and whose
/// handshake hashes with SHA-256, where the processor has AES; ChaCha20 first where it has not.
fn suites() -> &'static [SupportedCipherSuite] {
    if has_aes() { AES_FIRST } else { CHACHA_FIRST }
}

fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[allow(unreachable_code)]
    false
}

static AES_FIRST: &[SupportedCipherSuite] = &[
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

static CHACHA_FIRST: &[SupportedCipherSuite] = &[
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];
