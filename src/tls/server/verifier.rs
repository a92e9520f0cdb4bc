//! The verification of senders: their certificates, revocation, and the names that are let in.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::HandshakeSignatureValid;
use rustls::server::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    Certificate, DigitallySignedStruct, DistinguishedName, Error, OwnedTrustAnchor, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::{KeyUsage, VerifiedPath};

use super::pattern::NamePattern;
use super::refused_client::RefusedClient;
use crate::tls::error::{CredentialKind, TlsError};
use crate::tls::x509::certificate::{ParsedCertificate, der};
use crate::tls::x509::describe::Summary;
use crate::tls::x509::names::CommonName;
use crate::tls::x509::path::authorities::Authorities;
use crate::tls::x509::path::candidates::Candidates;
use crate::tls::x509::path::explain::Explainer;
use crate::tls::x509::path::presented::PresentedChain;
use crate::tls::x509::warning::{Expiration, TlsWarning};
use crate::tls::x509::{keys, pem, schemes};

/// The most bytes of trusted CAs' names that are sent to senders. TLS has room for 65,535 (RFC
/// 5246, section 7.4.4), but Java accepts no handshake message of more than 32,768.
const MAX_SUBJECTS: usize = 16 * 1024;

/// Verifies senders: each presents a certificate that a trusted CA signed.
///
/// Paths, name constraints and dates are checked as RFC 5280 says, signatures as TLS does. A CA's
/// own certificate is trusted whatever its dates. Keys are RSA of 2048 to 8192 bits, ECDSA on P-256
/// or P-384, or Ed25519. Name constraints are supported on DNS names and IP addresses; a
/// certificate is refused if it has names of another kind and a CA above it constrains those.
///
/// ```no_run
/// use tlsink::tls::{ClientVerifier, Identity};
/// use tlsink::Tls;
///
/// let clients = ClientVerifier::from_ca_pem_file("ca.pem")?
///     .crl_file("ca.crl")?
///     .allow("*.sensors.example.net")?;
/// let tls = Tls::builder()
///     .identity(Identity::from_pem_files("cert.pem", "key.pem")?)
///     .client_verifier(clients)
///     .build()?;
/// # Ok::<(), tlsink::tls::TlsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientVerifier {
    authorities: Authorities,
    /// The names of the trusted CAs, as senders are told them; none if they are too long.
    subjects: Vec<DistinguishedName>,
    /// The titles and ends of the authorities' certificates.
    summaries: Vec<Summary>,
    /// The file that those certificates were read from.
    file: Option<PathBuf>,
    /// Patterns of the names that are let in; every name, if there are none.
    allowed: Vec<NamePattern>,
    pub(super) optional: bool,
}

impl ClientVerifier {
    /// Verifies senders by the CAs in this file; see [`from_ca_pem`](Self::from_ca_pem).
    ///
    /// # Errors
    ///
    /// When the file can't be read, and for the same reasons as there.
    ///
    /// # Blocking
    ///
    /// Reads a file.
    pub fn from_ca_pem_file(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let path = path.as_ref();
        let verifier = Self::from_ca_pem(&pem::read(path)?).map_err(|error| error.in_file(path))?;
        Ok(ClientVerifier {
            file: Some(path.to_owned()),
            ..verifier
        })
    }

    /// Verifies senders by the CA certificates in this PEM text (RFC 7468). A self-signed
    /// certificate that is no CA's is trusted too, but for itself alone: it lets in the one sender
    /// that holds it. CRLs in the text count as if they were [added](Self::crl). Keys, and other
    /// certificates of servers and clients, are passed over.
    ///
    /// # Errors
    ///
    /// When the text is not valid PEM, holds a block of an unknown kind, a CA certificate or a CRL
    /// that can't be used, or no certificate of a CA.
    pub fn from_ca_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let (authorities, summaries) = Authorities::from_pem(pem)?;
        let subjects: Vec<_> = authorities.anchors().iter().map(subject).collect();
        // The length of each takes two bytes.
        let bytes: usize = subjects.iter().map(|name| name.as_ref().len() + 2).sum();
        Ok(ClientVerifier {
            // Senders that are told no names may present any certificate.
            subjects: match bytes > MAX_SUBJECTS {
                true => Vec::new(),
                false => subjects,
            },
            summaries,
            file: None,
            authorities,
            allowed: Vec::new(),
            optional: false,
        })
    }

    /// Adds the CRLs in this file; see [`crl`](Self::crl).
    ///
    /// # Errors
    ///
    /// When the file can't be read, and for the same reasons as there.
    ///
    /// # Blocking
    ///
    /// Reads a file.
    pub fn crl_file(self, path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let path = path.as_ref();
        self.crl(&pem::read(path)?)
            .map_err(|error| error.in_file(path))
    }

    /// Adds certificate revocation lists (RFC 5280, section 5): one as DER, or any number as PEM.
    ///
    /// The first list turns the check on for the whole path of each sender. Then every issuer in
    /// that path must have a list that its own key signed and that has not expired. Of several
    /// lists, the newest counts. Certificates and keys in the text are passed over.
    ///
    /// # Errors
    ///
    /// When the text is not valid, or holds a block of an unknown kind, no list, or a list of a
    /// kind that is not supported: a delta or indirect list, or one for some reasons only.
    pub fn crl(mut self, pem_or_der: &[u8]) -> Result<Self, TlsError> {
        self.authorities.add_crls(pem_or_der)?;
        Ok(self)
    }

    /// Lets in only senders with such a name: an exact name, or any name below a DNS name, as
    /// `*.example.net` says. Each further call allows another name. Without a call, every verified
    /// sender is let in.
    ///
    /// Names are DNS names (in any case), URIs, e-mail addresses, the subject's common name, unless
    /// name constraints leave it unchecked, and IP addresses, however they are written; the first
    /// in this order is the one to show. A wildcard in a sender's certificate matches nothing.
    ///
    /// # Errors
    ///
    /// When the text is no such name.
    pub fn allow(mut self, name: &str) -> Result<Self, TlsError> {
        let pattern = NamePattern::parse(name).ok_or_else(|| TlsError::Pattern {
            name: name.to_owned(),
        })?;
        self.allowed.push(pattern);
        Ok(self)
    }

    /// Also lets in senders that present no certificate at all; they have no names.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    pub(super) fn warnings(&self, now: SystemTime) -> impl Iterator<Item = TlsWarning> {
        let authorities = self.authority_expirations();
        let authorities = authorities.filter_map(move |expiration| expiration.warning(now));
        let keys = self.summaries.iter().zip(self.authorities.anchors());
        let keys = keys.filter_map(|(summary, anchor)| {
            Some(TlsWarning::UnsupportedCaKey {
                name: summary.title.clone(),
                key: keys::unsupported(&anchor.subject_public_key_info)?,
                file: self.file.clone(),
            })
        });
        let crls = self.authorities.crls();
        authorities
            .chain(keys)
            .chain(crls.warnings(self.authorities.anchors(), now))
    }

    pub(super) fn expirations(&self) -> impl Iterator<Item = Expiration> {
        self.authority_expirations()
            .chain(self.authorities.crls().expirations())
    }

    fn authority_expirations(&self) -> impl Iterator<Item = Expiration> {
        let summaries = self.summaries.iter();
        summaries.filter_map(|summary| Expiration::of(CredentialKind::CaCertificate, summary))
    }

    /// Verifies a sender's certificate and yields its names, the one to show first.
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Vec<String>, RefusedClient> {
        let presented = PresentedChain::new(end_entity, intermediates);
        let own = presented
            .supported_own()
            .map_err(|error| RefusedClient::unread(error, &presented))?;
        let usage = KeyUsage::client_auth();
        let candidates = Candidates::new(&presented, self.authorities.anchors(), now);
        let path = self
            .authorities
            .verify(own, &candidates, now, usage)
            .map_err(|no_path| {
                let explainer =
                    Explainer::new(&presented, &candidates, &self.authorities, now, usage);
                let all = self.authorities.crls().all();
                RefusedClient::new(&no_path, &presented, &all, &explainer)
            })?;
        let common_name = common_name(&path, &presented);
        let mut names = own.names(common_name);
        if let Some(kind) = keys::unsupported(own.key) {
            return Err(RefusedClient::key(&kind, &names));
        }
        if !self.allowed.is_empty() {
            let allowed = names
                .iter()
                .position(|name| self.allowed.iter().any(|pattern| pattern.matches(name)))
                .ok_or_else(|| RefusedClient::not_allowed(&names, common_name))?;
            names
                .get_mut(..=allowed)
                .unwrap_or_default()
                .rotate_right(1);
        }
        Ok(names.into_iter().map(|name| name.text).collect())
    }
}

/// The name of a trust anchor in the type of rustls 0.21.
fn subject(anchor: &TrustAnchor<'_>) -> DistinguishedName {
    OwnedTrustAnchor::from_subject_spki_name_constraints(
        &*anchor.subject,
        &*anchor.subject_public_key_info,
        None::<&[u8]>,
    )
    .subject()
    .clone()
}

fn common_name(path: &VerifiedPath<'_>, presented: &PresentedChain<'_>) -> CommonName {
    let constrained = path.anchor().name_constraints.is_some()
        || path.intermediate_certificates().any(|between| {
            let parsed = presented.find(&between.der());
            parsed.is_none_or(ParsedCertificate::has_name_constraints)
        });
    match constrained {
        true => CommonName::Unchecked,
        false => CommonName::Counts,
    }
}

/// The outcome of verifying one sender: its names or the refusal, once rustls has shown its
/// certificate.
#[derive(Debug, Default)]
pub(super) struct VerifyOutcome(Mutex<Option<Result<Vec<String>, RefusedClient>>>);

impl VerifyOutcome {
    pub(super) fn take(&self) -> Option<Result<Vec<String>, RefusedClient>> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Result<Vec<String>, RefusedClient>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The verifier of one connection. It keeps the outcome when rustls shows the certificate, because
/// async-tls hides the session.
pub(super) struct RecordingClientVerifier {
    pub(super) verifier: Arc<ClientVerifier>,
    pub(super) outcome: Arc<VerifyOutcome>,
}

impl ClientCertVerifier for RecordingClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.verifier.optional
    }

    fn client_auth_root_subjects(&self) -> &[DistinguishedName] {
        &self.verifier.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &Certificate,
        intermediates: &[Certificate],
        now: SystemTime,
    ) -> Result<ClientCertVerified, Error> {
        let intermediates: Vec<_> = intermediates.iter().map(der).collect();
        let verified = self.verifier.verify(&der(end_entity), &intermediates, now);
        let refused = verified.as_ref().err().map(|refused| refused.error.clone());
        *self.outcome.lock() = Some(verified);
        match refused {
            None => Ok(ClientCertVerified::assertion()),
            Some(error) => Err(error.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &Certificate,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        schemes::verify_tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &Certificate,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        schemes::verify_tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes::supported()
    }
}
