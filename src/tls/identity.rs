//! A certificate of our own, and its key.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::server::ClientHello;
use rustls::sign::{self, CertifiedKey, SigningKey};
use rustls::{Certificate, PrivateKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::x509::certificate::ParsedCertificate;
use super::x509::describe::{self, Summary};
use super::x509::warning::{Expiration, TlsWarning};
use super::x509::{keys, pem, schemes};
use crate::tls::error::{CredentialKind, TlsError};

/// A certificate chain and its private key, of a server or of a client.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    /// The DNS names of the own certificate, wildcards such as `*.example.net` among them.
    names: Vec<String>,
    chain: Vec<Summary>,
    /// Whether the own certificate is for a DNS name or an IP address.
    is_for_host: bool,
}

impl Identity {
    /// Reads a certificate chain, the own certificate first, and its private key.
    ///
    /// # Errors
    ///
    /// When a file can't be read, and for the reasons of [`from_pem`](Self::from_pem).
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
        let keys = pem::private_keys(&pem::read(key)?).map_err(|error| error.in_file(key))?;
        Self::new(chain, &keys).map_err(|error| match error {
            TlsError::Damaged { .. } => error.in_file(certificates),
            error => error.in_file(key),
        })
    }

    /// Takes a certificate chain and its private key as PEM (RFC 7468). The key is PKCS#8, PKCS#1
    /// or SEC1: RSA of 2048, 3072 or 4096 bits, ECDSA on P-256 or P-384, or Ed25519.
    ///
    /// Both texts may be the same, and may also hold a CA's certificate, CRLs and parameters. Of
    /// several keys, the first is taken that belongs to one of the certificates.
    ///
    /// # Errors
    ///
    /// When a text is not valid PEM, holds a block of an unknown kind or a damaged certificate,
    /// lacks a certificate or a key, or holds no key that can be used and belongs to one of the
    /// certificates.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::new(pem::certificates(certificates)?, &pem::private_keys(key)?)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        keys: &[PrivateKeyDer<'_>],
    ) -> Result<Self, TlsError> {
        let mut chain = parse(&chain)?;
        // In a file that holds everything, a CA's certificate may be the first.
        let (key, own) = key_and_certificate(keys, &chain)?;
        chain.get_mut(..=own).unwrap_or_default().rotate_right(1);
        sort(&mut chain);
        let own = chain.first();
        let ders = chain.iter().map(|one| Certificate(one.der.to_vec()));
        Ok(Identity {
            key: Arc::new(CertifiedKey::new(ders.collect(), key)),
            names: own.map_or_else(Vec::new, ParsedCertificate::dns_names),
            is_for_host: own.is_some_and(|own| !own.host_names().is_empty()),
            chain: chain.iter().map(Summary::of).collect(),
        })
    }

    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// The faults of a server's certificate that its operator should know of.
    pub(super) fn warnings(&self, now: SystemTime) -> impl Iterator<Item = TlsWarning> {
        let own = self.chain.first().filter(|_| !self.is_for_host);
        let nameless = own.map(|own| TlsWarning::NoHostName {
            name: own.title.clone(),
        });
        let ends = self.expirations();
        let ends = ends.filter_map(move |expiration| expiration.warning(now));
        nameless.into_iter().chain(ends)
    }

    pub(super) fn expirations(&self) -> impl Iterator<Item = Expiration> {
        let chain = self.chain.iter();
        chain.filter_map(|summary| Expiration::of(CredentialKind::Certificate, summary))
    }

    /// Whether it has exactly this DNS name.
    pub(super) fn has_name(&self, wanted: &str) -> bool {
        self.names
            .iter()
            .any(|name| name.eq_ignore_ascii_case(wanted))
    }

    /// Whether it has the wildcard for this DNS name (RFC 6125, section 6.4.3).
    pub(super) fn has_wildcard_for(&self, wanted: &str) -> bool {
        let Some(parent) = wanted.find('.').and_then(|at| wanted.get(at..)) else {
            return false;
        };
        self.names
            .iter()
            .filter_map(|name| name.strip_prefix('*'))
            .any(|name| name.eq_ignore_ascii_case(parent))
    }

    pub(super) fn suits(&self, hello: &ClientHello<'_>) -> bool {
        self.key
            .key
            .choose_scheme(hello.signature_schemes())
            .is_some()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Parses certificates, also those that rustls-webpki can't parse, such as one of version 1: some
/// senders accept them.
fn parse<'a>(chain: &'a [CertificateDer<'a>]) -> Result<Vec<ParsedCertificate<'a>>, TlsError> {
    let parsed: Option<Vec<_>> = chain.iter().map(ParsedCertificate::parse).collect();
    parsed.ok_or_else(|| TlsError::Damaged {
        kind: CredentialKind::Certificate,
        line: None,
        reason: describe::fault(&webpki::Error::BadDer).into_owned(),
    })
}

/// The first key that belongs to a certificate, and the place of that certificate.
fn key_and_certificate(
    keys: &[PrivateKeyDer<'_>],
    chain: &[ParsedCertificate<'_>],
) -> Result<(Arc<dyn SigningKey>, usize), TlsError> {
    let usable: Vec<_> = keys
        .iter()
        .filter_map(|key| {
            let key = PrivateKey(key.secret_der().to_vec());
            sign::any_supported_type(&key).ok()
        })
        .collect();
    for key in &usable {
        if let Some(own) = own_certificate(chain, &**key)? {
            return Ok((Arc::clone(key), own));
        }
    }
    Err(match usable.is_empty() {
        true => TlsError::UnusableKey {
            kind: keys.first().and_then(keys::unsupported_private),
        },
        false => TlsError::WrongKey,
    })
}

/// The place of the key's certificate, which verifies the signature that the key makes.
fn own_certificate(
    chain: &[ParsedCertificate<'_>],
    key: &dyn SigningKey,
) -> Result<Option<usize>, TlsError> {
    const MESSAGE: &[u8] = b"signed to see whether key and certificate belong together";
    let Some(signer) = key.choose_scheme(&schemes::supported()) else {
        return Err(TlsError::UnusableKey { kind: None });
    };
    let signature = signer.sign(MESSAGE).map_err(TlsError::unusable)?;
    Ok(chain.iter().position(|certificate| {
        schemes::belongs(signer.scheme(), certificate.key, MESSAGE, &signature)
    }))
}

/// Sorts the own certificate, which is the first, and those above it in the order that TLS 1.2
/// requires (RFC 5246, section 7.4.2). The others follow in the order that they had.
fn sort(chain: &mut [ParsedCertificate<'_>]) {
    let mut rest = chain;
    while let Some((last, above)) = rest.split_first_mut() {
        let issued = |one: &ParsedCertificate<'_>| {
            one.subject == last.issuer && one.is_supported() && last.is_supported()
        };
        let Some(next) = above.iter().position(issued) else {
            return;
        };
        above.get_mut(..=next).unwrap_or_default().rotate_right(1);
        rest = above;
    }
}
