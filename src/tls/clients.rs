//! Verified senders: their certificates, whether those were revoked, and which names are let in.

use std::borrow::Cow;
use std::fmt::Write;
use std::iter;
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::HandshakeSignatureValid;
use rustls::server::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    Certificate, CertificateError, DigitallySignedStruct, DistinguishedName, Error,
    OwnedTrustAnchor, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    Cert, CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationOptionsBuilder, VerifiedPath,
};

use super::facts::{self, CommonName, Day, Facts, Name, Pattern, system_time};
use super::warning::{TlsWarning, ending};
use super::{pem, schemes};
use crate::error::TlsError;

/// The most of trusted CAs' names that senders are told, in bytes. TLS has room for 65,535
/// (RFC 5246, section 7.4.4), but Java takes no handshake message of more than 32,768.
const MAX_SUBJECTS: usize = 16 * 1024;

/// The most certificates that a sender may present above its own. To look for a way through many
/// that seem to be signed by each other takes long, and nobody has proved anything yet: a path has
/// at most 6 of them, but twice as many make half a million.
const MAX_ABOVE: usize = 8;

/// How senders are verified: by certificates that a CA signed.
///
/// Paths, name constraints and dates are checked as RFC 5280 has it, signatures as TLS does. The
/// CA's own certificate is trusted whatever its dates.
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
    anchors: Vec<TrustAnchor<'static>>,
    /// For each anchor, its certificate, if that is no CA's and stands for itself alone.
    alone: Vec<Option<CertificateDer<'static>>>,
    /// What senders are told that we trust.
    subjects: Vec<DistinguishedName>,
    authorities: Vec<Facts>,
    /// The newest of each issuer first.
    crls: Vec<Crl>,
    /// Everyone, if there are none.
    allowed: Vec<Pattern>,
    optional: bool,
}

#[derive(Clone, Debug)]
struct Crl {
    list: Arc<CertRevocationList<'static>>,
    facts: Facts,
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
        Self::from_ca_pem(&pem::read(path)?).map_err(|error| error.in_file(path))
    }

    /// Verifies senders by the CA certificates in this PEM text (RFC 7468). Anything else in it is
    /// passed over, certificates of servers and clients too. One that only itself signed is taken,
    /// but if it is no CA's, it lets in nobody else than the sender that has it.
    ///
    /// # Errors
    ///
    /// When the text is not valid PEM, or holds no certificate of a CA.
    pub fn from_ca_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let certificates: Vec<_> = pem::certificates(pem)?
            .into_iter()
            .filter(facts::can_be_anchor)
            .collect();
        if certificates.is_empty() {
            return Err(TlsError::Missing {
                what: "CA certificate",
            });
        }
        let anchors = certificates
            .iter()
            .map(|der| webpki::anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TlsError::Damaged {
                what: "CA certificate",
                reason: words(&error).into_owned(),
            })?;
        let subjects: Vec<_> = anchors.iter().map(subject).collect();
        // Each is preceded by its length.
        let bytes: usize = subjects.iter().map(|name| name.as_ref().len() + 2).sum();
        Ok(Clients {
            // Senders that are told of none may present any certificate.
            subjects: match bytes > MAX_SUBJECTS {
                true => Vec::new(),
                false => subjects,
            },
            authorities: certificates.iter().map(Facts::of_certificate).collect(),
            alone: certificates
                .into_iter()
                .map(|der| (!facts::is_ca(&der)).then_some(der))
                .collect(),
            anchors,
            crls: Vec::new(),
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
    /// issuer in that path must have a list that has not ended. Of several, the newest counts.
    ///
    /// # Errors
    ///
    /// When the text is not valid, holds no list, or one of a kind that is not supported: delta and
    /// indirect lists, and those for some reasons only.
    pub fn crl(mut self, pem_or_der: &[u8]) -> Result<Self, TlsError> {
        for der in pem::crls(pem_or_der)? {
            let list =
                OwnedCertRevocationList::from_der(&der).map_err(|error| TlsError::Damaged {
                    what: "CRL",
                    reason: match facts::is_crl_of_version_1(&der) {
                        true => words(&webpki::Error::UnsupportedCrlVersion),
                        false => words(&error),
                    }
                    .into_owned(),
                })?;
            self.crls.push(Crl {
                list: Arc::new(list.into()),
                facts: Facts::of_crl(&der),
            });
        }
        // The first one of an issuer is the one that is asked. The newest may end before an older
        // one does.
        self.crls
            .sort_by_key(|crl| std::cmp::Reverse(crl.facts.begin));
        Ok(self)
    }

    /// Lets senders in only with such a name: an exact one, or any below a DNS name as
    /// `*.example.net`. Each further call allows another name. Without any, every verified sender
    /// is let in.
    ///
    /// Names are DNS names (in any case), URIs, e-mail addresses, and the subject's common name,
    /// unless name constraints leave it unchecked. A wildcard in a sender's certificate matches
    /// nothing.
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
            .authorities
            .iter()
            .filter_map(move |facts| ending("CA certificate", facts, now));
        // An older list of the same scope is not asked any more, so its end changes nothing.
        let same = |a: &Crl, b: &Crl| {
            a.list.issuer() == b.list.issuer()
                && a.list.issuing_distribution_point() == b.list.issuing_distribution_point()
        };
        let crls = self.crls.iter().enumerate().filter_map(move |(at, crl)| {
            let newer = self.crls.iter().take(at).any(|newer| same(newer, crl));
            ending("CRL", &crl.facts, now).filter(|_| !newer)
        });
        let strangers = self.crls.iter().filter(|crl| {
            let issuer = crl.list.issuer();
            !self.anchors.iter().any(|anchor| &*anchor.subject == issuer)
        });
        let strangers = strangers.map(|crl| TlsWarning::UnknownCrlIssuer {
            issuer: crl.facts.title.clone(),
        });
        authorities.chain(crls).chain(strangers)
    }

    /// Verifies a sender's certificate; yields its names, the one to show first.
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Vec<String>, Refusal> {
        let certificate =
            EndEntityCert::try_from(end_entity).map_err(|error| Refusal::damaged(&error))?;
        if intermediates.len() > MAX_ABOVE {
            return Err(Refusal::too_many(&certificate));
        }
        let lists: Vec<_> = self.crls.iter().map(|crl| &*crl.list).collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let time = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let path = certificate
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &self.anchors,
                intermediates,
                UnixTime::since_unix_epoch(time),
                KeyUsage::client_auth(),
                revocation,
                Some(&|path| self.check_anchor(path)),
            )
            .map_err(|error| self.refusal(error, &certificate, intermediates))?;
        let common_name = common_name(&path);
        let mut names = facts::names(&certificate, common_name);
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

    /// A verifier takes every anchor for a CA, also one that says that it is none.
    fn check_anchor(&self, path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
        let at = self
            .anchors
            .iter()
            .position(|anchor| ptr::eq(anchor, path.anchor()));
        match at.and_then(|at| self.alone.get(at)) {
            Some(None) => Ok(()),
            Some(Some(only)) if *only == path.end_entity().der() => Ok(()),
            _ => Err(webpki::Error::EndEntityUsedAsCa),
        }
    }

    /// Puts into words why a certificate is not taken.
    fn refusal(
        &self,
        error: webpki::Error,
        certificate: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Refusal {
        use webpki::Error as Fault;
        let above: Vec<_> = intermediates
            .iter()
            .filter_map(|der| EndEntityCert::try_from(der).ok())
            .collect();
        let presented: Vec<&Cert<'_>> = iter::once(&**certificate)
            .chain(above.iter().map(|above| &**above))
            .collect();
        let way = way_up(&presented);
        let (what, reason, hint) = match &error {
            Fault::UnknownIssuer => (
                format!("unknown CA {}", issuer(way.last())),
                CertificateError::UnknownIssuer,
                Some(
                    "if a CA that is trusted here has signed for that one, senders must present its \
                     certificate too",
                ),
            ),
            Fault::CertExpired { not_after, .. } => {
                let end = system_time(*not_after);
                let ends_then =
                    |one: &Cert<'_>| facts::validity(&one.der()).is_some_and(|(_, to)| to == end);
                (
                    format!("{} expired on {}", whose(&presented, ends_then), Day(end)),
                    CertificateError::Expired,
                    None,
                )
            }
            Fault::CertNotValidYet { not_before, .. } => {
                let begin = system_time(*not_before);
                let begins_then =
                    |one: &Cert<'_>| facts::validity(&one.der()).is_some_and(|(at, _)| at == begin);
                let whose = whose(&presented, begins_then);
                (
                    format!("{whose} is not valid before {}", Day(begin)),
                    CertificateError::NotValidYet,
                    Some("if that day has come, a clock is wrong"),
                )
            }
            Fault::CertRevoked => (
                format!("{} is revoked", whose(&presented, |one| self.revokes(one))),
                CertificateError::Revoked,
                None,
            ),
            Fault::UnknownRevocationStatus => {
                let without = way.iter().find(|one| self.crls_above(one).next().is_none());
                (
                    format!("CRL missing for {}", issuer(without.or(way.first()))),
                    other(error),
                    Some("once there is one list, each CA above a sender needs its own"),
                )
            }
            Fault::CrlExpired { next_update, .. } => {
                let end = system_time(*next_update);
                let ended = way
                    .iter()
                    .find(|one| self.crls_above(one).any(|crl| crl.facts.end == Some(end)));
                (
                    format!("the CRL of {} expired on {}", issuer(ended), Day(end)),
                    other(error),
                    Some("get the CA's new list"),
                )
            }
            Fault::RequiredEkuNotFoundContext(_) => (
                "the certificate is not for clients".to_owned(),
                CertificateError::InvalidPurpose,
                Some("its extended key usage must include clientAuth"),
            ),
            Fault::NameConstraintViolation => (
                "a CA above the certificate may not sign for its names".to_owned(),
                other(error),
                None,
            ),
            Fault::CaUsedAsEndEntity => (
                "the certificate is a CA's own".to_owned(),
                CertificateError::InvalidPurpose,
                Some("senders need one that a CA signed for them"),
            ),
            Fault::InvalidSignatureForPublicKey => (
                format!("a signature is not by the key of CA {}", issuer(way.last())),
                CertificateError::BadSignature,
                Some(
                    "another CA may have the same name: compare its certificate with the one that is \
                     trusted here",
                ),
            ),
            _ => (
                format!("the certificate can't be used: {}", words(&error)),
                other(error),
                None,
            ),
        };
        Refusal {
            what: format!("{what}; {}", claim_of(certificate)),
            hint,
            reason,
        }
    }

    /// The lists of the CA that issued this certificate.
    fn crls_above(&self, certificate: &Cert<'_>) -> impl Iterator<Item = &Crl> {
        let issuer = certificate.issuer();
        self.crls
            .iter()
            .filter(move |crl| crl.list.issuer() == issuer)
    }

    fn revokes(&self, certificate: &Cert<'_>) -> bool {
        self.crls_above(certificate)
            .any(|crl| matches!(crl.list.find_serial(certificate.serial()), Ok(Some(_))))
    }
}

/// The sender's certificate, which is the first that it presented, and those above it, as far as
/// they came with it.
fn way_up<'p, 'c>(presented: &[&'p Cert<'c>]) -> Vec<&'p Cert<'c>> {
    let mut way = Vec::new();
    let mut next = presented.first().copied();
    // They might go round in a circle.
    while let Some(certificate) = next.filter(|_| way.len() < presented.len()) {
        way.push(certificate);
        next = presented
            .iter()
            .skip(1)
            .find(|above| above.subject() == certificate.issuer())
            .copied();
    }
    way
}

/// Names the one that is at fault: the sender's own certificate, or that of a CA.
fn whose(presented: &[&Cert<'_>], is_at_fault: impl Fn(&Cert<'_>) -> bool) -> String {
    let at_fault = presented.iter().position(|one| is_at_fault(one));
    match at_fault.and_then(|at| presented.get(at).filter(|_| at > 0)) {
        None => "the certificate".to_owned(),
        Some(above) => {
            let subject = facts::subject(&above.der()).unwrap_or_default();
            format!("the certificate of CA {}", quoted(&subject))
        }
    }
}

/// Who signed this certificate.
fn issuer(certificate: Option<&&Cert<'_>>) -> String {
    let issuer = certificate.and_then(|one| facts::issuer(&one.der()));
    quoted(&issuer.unwrap_or_default())
}

/// What is wrong with a certificate or a CRL. The verifier's own words are for programmers, and
/// quote at length what a sender presented.
fn words(error: &webpki::Error) -> Cow<'static, str> {
    use webpki::Error as Fault;
    let words = match error {
        Fault::BadDer
        | Fault::BadDerTime
        | Fault::TrailingData(_)
        | Fault::SignatureAlgorithmMismatch
        | Fault::ExtensionValueInvalid
        | Fault::MalformedExtensions => "it is damaged",
        Fault::UnsupportedCertVersion => "it is not of X.509 version 3",
        Fault::UnsupportedCriticalExtension => "it has a critical extension that is not supported",
        Fault::UnsupportedSignatureAlgorithmContext(_)
        | Fault::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "its kind of signature is not supported"
        }
        Fault::InvalidCertValidity => "it ends before it begins",
        Fault::EndEntityUsedAsCa => "it is signed by something that is no CA",
        Fault::PathLenConstraintViolated => "a CA above it may not sign for further CAs",
        Fault::MaximumPathDepthExceeded
        | Fault::MaximumPathBuildCallsExceeded
        | Fault::MaximumSignatureChecksExceeded
        | Fault::MaximumNameConstraintComparisonsExceeded => "too much came with it to be checked",
        Fault::InvalidCrlSignatureForPublicKey => "the CRL for it is not signed by its CA",
        Fault::UnsupportedCrlSignatureAlgorithmContext(_)
        | Fault::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
            "the CRL for it has a kind of signature that is not supported"
        }
        Fault::IssuerNotCrlSigner => "its CA may not sign CRLs",
        Fault::UnsupportedCrlVersion => {
            "it is not of version 2, which openssl ca makes when crl_extensions is set"
        }
        Fault::UnsupportedDeltaCrl => "delta lists are not supported",
        Fault::UnsupportedIndirectCrl => "indirect lists are not supported",
        Fault::UnsupportedRevocationReasonsPartitioning => {
            "lists for some reasons only are not supported"
        }
        Fault::UnsupportedCrlIssuingDistributionPoint => {
            "its kind of distribution point is not supported"
        }
        other => {
            let mut name = format!("{other:?}");
            let end = name.find(|c: char| !c.is_ascii_alphanumeric());
            name.truncate(end.unwrap_or(name.len()));
            return name.into();
        }
    };
    words.into()
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

/// Why a sender was turned away.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) what: String,
    pub(super) hint: Option<&'static str>,
    /// What the sender is told.
    reason: CertificateError,
}

impl Refusal {
    fn damaged(error: &webpki::Error) -> Self {
        use webpki::Error as Fault;
        let (what, hint) = match error {
            Fault::UnsupportedCertVersion => (
                "the certificate is not of X.509 version 3",
                Some("openssl x509 -req makes that when it is given extensions (-extfile)"),
            ),
            Fault::UnsupportedCriticalExtension => (
                "the certificate has a critical extension that is not supported",
                None,
            ),
            _ => ("the certificate is damaged", None),
        };
        Refusal {
            what: what.to_owned(),
            hint,
            reason: CertificateError::BadEncoding,
        }
    }

    fn too_many(certificate: &EndEntityCert<'_>) -> Self {
        Refusal {
            what: format!(
                "more than {MAX_ABOVE} certificates came with the certificate; {}",
                claim_of(certificate)
            ),
            hint: Some("senders present their own and those of the CAs above it, no others"),
            reason: other(webpki::Error::MaximumPathDepthExceeded),
        }
    }

    fn not_allowed(names: &[Name], common_name: CommonName) -> Self {
        Refusal {
            what: format!(
                "name not allowed; {}",
                claim(names.iter().map(|name| &*name.text))
            ),
            hint: match common_name {
                CommonName::Counts => None,
                CommonName::Unchecked => {
                    Some("a common name does not count below a CA with name constraints")
                }
            },
            reason: CertificateError::ApplicationVerificationFailure,
        }
    }

    /// The certificate was good, but not its holder.
    pub(super) fn wrong_key(names: &[String]) -> Self {
        Refusal {
            what: format!(
                "the sender does not hold the certificate's key; {}",
                claim(names.iter().map(String::as_str))
            ),
            hint: Some("its certificate and its key must belong together"),
            reason: CertificateError::BadSignature,
        }
    }
}

fn other(error: webpki::Error) -> CertificateError {
    CertificateError::Other(Arc::new(error))
}

/// How many names, and how many bytes of each, are quoted from a certificate that nobody verified.
const QUOTED: (usize, usize) = (3, 128);

fn claim_of(certificate: &EndEntityCert<'_>) -> String {
    let names = facts::names(certificate, CommonName::Counts);
    claim(names.iter().map(|name| &*name.text))
}

/// Who the sender says that it is.
fn claim<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = names.len();
    let mut claim = String::new();
    for name in names.take(QUOTED.0) {
        let before = if claim.is_empty() {
            "the sender claims to be "
        } else {
            ", "
        };
        let _ = write!(claim, "{before}{}", quoted(name));
    }
    match count {
        0 => "the sender has no name".to_owned(),
        count if count > QUOTED.0 => format!("{claim} and more"),
        _ => claim,
    }
}

/// Text from a certificate, in quotation marks that it can't end itself.
fn quoted(text: &str) -> String {
    let end = (0..=QUOTED.1.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    let (shown, rest) = text
        .split_at_checked(end.unwrap_or(0))
        .unwrap_or((text, ""));
    let more = if rest.is_empty() { "" } else { "…" };
    format!("\"{}{more}\"", shown.replace('"', "'"))
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
