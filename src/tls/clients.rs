//! Verified senders: their certificates, whether those were revoked, and which names are let in.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::HandshakeSignatureValid;
use rustls::server::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    Certificate, DigitallySignedStruct, DistinguishedName, Error, OwnedTrustAnchor, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::authorities::Authorities;
use super::candidates::Candidates;
use super::chain::Chain;
use super::facts::{self, CommonName, Facts, Pattern};
use super::refusal::Refusal;
use super::warning::{TlsWarning, ending};
use super::{keys, pem, schemes};
use crate::error::TlsError;

/// The most of trusted CAs' names that senders are told, in bytes. TLS has room for 65,535
/// (RFC 5246, section 7.4.4), but Java takes no handshake message of more than 32,768.
const MAX_SUBJECTS: usize = 16 * 1024;

/// How senders are verified: by certificates that a CA signed.
///
/// Paths, name constraints and dates are checked as RFC 5280 has it, signatures as TLS does. The
/// CA's own certificate is trusted whatever its dates. Keys are RSA of 2048 to 8192 bits, ECDSA on
/// P-256 or P-384, or Ed25519. Name constraints are supported on DNS names and IP addresses; a
/// certificate that has names of another kind on which there are some is refused.
///
/// ```no_run
/// use tlsink::{Clients, Identity, Tls};
///
/// let clients = Clients::from_ca_pem_file("ca.pem")?
///     .crl_file("ca.crl")?
///     .allow("*.sensors.example.net")?;
/// let tls = Tls::builder()
///     .identity(Identity::from_pem_files("cert.pem", "key.pem")?)
///     .clients(clients)
///     .build()?;
/// # Ok::<(), tlsink::TlsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Clients {
    authorities: Authorities,
    /// What senders are told that we trust.
    subjects: Vec<DistinguishedName>,
    /// What the authorities' certificates say of themselves.
    facts: Vec<Facts>,
    /// Where those were read from.
    file: Option<PathBuf>,
    /// Everyone, if there are none.
    allowed: Vec<Pattern>,
    pub(super) optional: bool,
}

impl Clients {
    /// Verifies senders by the CAs in this file; see [`from_ca_pem`](Self::from_ca_pem).
    ///
    /// # Errors
    ///
    /// When the file can't be read, and as there.
    ///
    /// # Blocking
    ///
    /// Reads a file.
    pub fn from_ca_pem_file(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let path = path.as_ref();
        let clients = Self::from_ca_pem(&pem::read(path)?).map_err(|error| error.in_file(path))?;
        Ok(Clients {
            file: Some(path.to_owned()),
            ..clients
        })
    }

    /// Verifies senders by the CA certificates in this PEM text (RFC 7468). One that only itself
    /// signed is taken too, but if it is no CA's, it lets in nobody else than the sender that has
    /// it. CRLs in the text count as if they were [added](Self::crl). Keys, and other certificates
    /// of servers and clients, are passed over.
    ///
    /// # Errors
    ///
    /// When the text is not valid PEM, holds a block of an unknown kind, a CA certificate or a CRL
    /// that can't be used, or no certificate of a CA.
    pub fn from_ca_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let (authorities, certificates) = Authorities::from_pem(pem)?;
        let subjects: Vec<_> = authorities.anchors().iter().map(subject).collect();
        // Each is preceded by its length.
        let bytes: usize = subjects.iter().map(|name| name.as_ref().len() + 2).sum();
        Ok(Clients {
            // Senders that are told of none may present any certificate.
            subjects: match bytes > MAX_SUBJECTS {
                true => Vec::new(),
                false => subjects,
            },
            facts: certificates.iter().map(Facts::of_certificate).collect(),
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
    /// When the file can't be read, and as there.
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
    /// With the first one, revocation is checked for the whole path of each sender. Then every
    /// issuer in that path must have a list that its own key signed and that has not ended. Of
    /// several, the newest counts. Certificates and keys in the text are passed over.
    ///
    /// # Errors
    ///
    /// When the text is not valid, holds a block of an unknown kind, no list, or one of a kind that
    /// is not supported: delta and indirect lists, and those for some reasons only.
    pub fn crl(mut self, pem_or_der: &[u8]) -> Result<Self, TlsError> {
        self.authorities.add_crls(pem_or_der)?;
        Ok(self)
    }

    /// Lets senders in only with such a name: an exact one, or any below a DNS name as
    /// `*.example.net`. Each further call allows another name. Without any, every verified sender
    /// is let in.
    ///
    /// Names are DNS names (in any case), URIs, e-mail addresses, the subject's common name, unless
    /// name constraints leave it unchecked, and IP addresses, however they are written; the first
    /// in this order is the one to show. A wildcard in a sender's certificate matches nothing.
    ///
    /// # Errors
    ///
    /// When this is no such name.
    pub fn allow(mut self, name: &str) -> Result<Self, TlsError> {
        let pattern = Pattern::parse(name).ok_or_else(|| TlsError::Pattern {
            name: name.to_owned(),
        })?;
        self.allowed.push(pattern);
        Ok(self)
    }

    /// Also lets senders in that present no certificate at all; they have no names.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    pub(super) fn warnings(&self, now: SystemTime) -> impl Iterator<Item = TlsWarning> {
        let authorities = self
            .facts
            .iter()
            .filter_map(move |facts| ending("CA certificate", facts, now));
        let keys = self.facts.iter().zip(self.authorities.anchors());
        let keys = keys.filter_map(|(facts, anchor)| {
            Some(TlsWarning::UnsupportedCaKey {
                name: facts.title.clone(),
                key: keys::unsupported(&anchor.subject_public_key_info)?,
                file: self.file.clone(),
            })
        });
        let crls = self.authorities.crls();
        authorities
            .chain(keys)
            .chain(crls.warnings(self.authorities.anchors(), now))
    }

    /// Verifies a sender's certificate; yields its names, the one to show first.
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Vec<String>, Refusal> {
        let certificate = EndEntityCert::try_from(end_entity)
            .map_err(|error| Refusal::unread(error, end_entity))?;
        let usage = KeyUsage::client_auth();
        let candidates = Candidates::new(end_entity, intermediates, &self.authorities, now);
        let path = self
            .authorities
            .verify(&certificate, &candidates, now, usage)
            .map_err(|no_path| {
                let mut presented = vec![end_entity.clone()];
                presented.extend_from_slice(intermediates);
                let chain = Chain::new(&presented, &candidates, &self.authorities, now, usage);
                let all = self.authorities.crls().all();
                Refusal::new(&no_path, &certificate, intermediates, &all, &chain)
            })?;
        let common_name = common_name(&path);
        let mut names = facts::names(&certificate, common_name);
        if let Some(kind) = keys::unsupported_in(end_entity) {
            return Err(Refusal::key(&kind, &names));
        }
        if !self.allowed.is_empty() {
            let allowed = names
                .iter()
                .position(|name| self.allowed.iter().any(|pattern| pattern.matches(name)))
                .ok_or_else(|| Refusal::not_allowed(&names, common_name))?;
            names
                .get_mut(..=allowed)
                .unwrap_or_default()
                .rotate_right(1);
        }
        Ok(names.into_iter().map(|name| name.text).collect())
    }
}

/// How rustls 0.21 is told of a trust anchor's name.
fn subject(anchor: &TrustAnchor<'_>) -> DistinguishedName {
    OwnedTrustAnchor::from_subject_spki_name_constraints(
        &*anchor.subject,
        &*anchor.subject_public_key_info,
        None::<&[u8]>,
    )
    .subject()
    .clone()
}

fn common_name(path: &VerifiedPath<'_>) -> CommonName {
    let constrained = path.anchor().name_constraints.is_some()
        || path
            .intermediate_certificates()
            .any(|certificate| facts::has_name_constraints(&certificate.der()));
    match constrained {
        true => CommonName::Unchecked,
        false => CommonName::Counts,
    }
}

/// What came of verifying one sender.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Option<Result<Vec<String>, Refusal>>>);

impl Seen {
    pub(super) fn take(&self) -> Option<Result<Vec<String>, Refusal>> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Result<Vec<String>, Refusal>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The verifier of one connection: async-tls hides the session, so what the certificate says is
/// kept when rustls shows it.
pub(super) struct Verifier {
    pub(super) clients: Arc<Clients>,
    pub(super) seen: Arc<Seen>,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.clients.optional
    }

    fn client_auth_root_subjects(&self) -> &[DistinguishedName] {
        &self.clients.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &Certificate,
        intermediates: &[Certificate],
        now: SystemTime,
    ) -> Result<ClientCertVerified, Error> {
        let intermediates: Vec<_> = intermediates.iter().map(der).collect();
        let verified = self.clients.verify(&der(end_entity), &intermediates, now);
        let refused = verified
            .as_ref()
            .err()
            .map(|refusal| refusal.reason.clone());
        *self.seen.lock() = Some(verified);
        match refused {
            None => Ok(ClientCertVerified::assertion()),
            Some(reason) => Err(reason.into()),
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

fn der(certificate: &Certificate) -> CertificateDer<'_> {
    CertificateDer::from(certificate.0.as_slice())
}
