//! TLS: certificates, the server's configuration, and the stream on which async-tls's peculiarities
//! end. Nothing outside this folder names async-tls or rustls.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use async_tls::TlsAcceptor;
use futures_lite::{AsyncRead, AsyncWrite};
use rustls::cipher_suite as suite;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{
    Certificate, KeyLogFile, PrivateKey, ServerConfig, ServerConnection, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::TlsError;

mod pem;
mod stream;

pub(crate) use stream::{Accept, HandshakeError, ReadError, Stream, Transport};

/// The server's side of TLS: its certificate, its key, and what it accepts.
///
/// TLS 1.2 and 1.3. Session tickets are off, and no session is stored: a sender that writes and
/// closes without reading would find the tickets in its unread buffer, its close would become a
/// reset, and its own system would throw away what it still had to send.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    expired: Option<SystemTime>,
}

/// Settings of a [`Tls`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing unless it is given a certificate"]
pub struct TlsBuilder {
    min_version: TlsVersion,
    key_log: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl Tls {
    /// Starts with the default settings.
    pub fn builder() -> TlsBuilder {
        TlsBuilder {
            min_version: TlsVersion::Tls12,
            key_log: false,
        }
    }

    /// [`TlsBuilder::from_pem_files`] with the default settings.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Blocking
    ///
    /// Reads two files.
    pub fn from_pem_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        Self::builder().from_pem_files(certificates, key)
    }

    /// [`TlsBuilder::from_pem`] with the default settings.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::builder().from_pem(certificates, key)
    }

    /// When the certificate ended, if it has: senders that verify it won't take it.
    pub fn expired(&self) -> Option<SystemTime> {
        self.expired
    }

    pub(crate) fn accept<IO>(&self, io: IO) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Accept::new(&self.acceptor, io)
    }
}

impl TlsBuilder {
    /// The oldest version that is accepted. [`TlsVersion::Tls12`] by default.
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.min_version = version;
        self
    }

    /// Whether the secrets of each connection are appended to the file that the environment
    /// variable `SSLKEYLOGFILE` names, so that a capture of its traffic can be decrypted. Off by
    /// default.
    pub fn key_log(mut self, on: bool) -> Self {
        self.key_log = on;
        self
    }

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
        self,
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Tls, TlsError> {
        let (certificates, key) = (certificates.as_ref(), key.as_ref());
        let chain = pem::certificates(&pem::read(certificates)?)
            .map_err(|error| error.in_file(certificates))?;
        let private_key = pem::private_key(&pem::read(key)?).map_err(|error| error.in_file(key))?;
        self.build(chain, private_key)
            .map_err(|error| error.in_file(key))
    }

    /// Takes a certificate chain and its private key as PEM (RFC 7468). The key is PKCS#8, PKCS#1
    /// or SEC1; anything else in either text is passed over, so both may be the same.
    ///
    /// # Errors
    ///
    /// When the text is not valid PEM, lacks a certificate or a key, or holds a key that can't be
    /// used or belongs to another certificate.
    pub fn from_pem(self, certificates: &[u8], key: &[u8]) -> Result<Tls, TlsError> {
        self.build(pem::certificates(certificates)?, pem::private_key(key)?)
    }

    fn build(
        self,
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Tls, TlsError> {
        pem::check_key(&certificates, &key)?;
        let expired = certificates.first().and_then(pem::expired);
        let certificates = certificates
            .into_iter()
            .map(|der| Certificate(der.to_vec()))
            .collect();
        let config = self
            .config(certificates, PrivateKey(key.secret_der().to_vec()))
            .map_err(pem::unusable)?;
        Ok(Tls {
            acceptor: config.into(),
            expired,
        })
    }

    fn config(
        &self,
        certificates: Vec<Certificate>,
        key: PrivateKey,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let versions: &[&SupportedProtocolVersion] = match self.min_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let mut config = ServerConfig::builder()
            .with_cipher_suites(suites())
            .with_safe_default_kx_groups()
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_single_cert(certificates, key)?;
        config.ignore_client_order = true;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if self.key_log {
            config.key_log = Arc::new(KeyLogFile::new());
        }
        let config = Arc::new(config);
        // async-tls panics where this fails: it never sees a configuration that does.
        ServerConnection::new(Arc::clone(&config))?;
        Ok(config)
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
