//! Trusted CAs and their CRLs, and the search for a path from a certificate up to one of the CAs.

use std::cell::{Cell, RefCell};
use std::time::SystemTime;
use std::{ptr, slice};

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{
    Cert, EndEntityCert, Error, ExpirationPolicy, KeyUsage, RevocationOptionsBuilder, VerifiedPath,
};

use super::candidates::Candidates;
use super::signatures::{SignatureCheck, SignatureChecker};
use crate::tls::error::{CredentialKind, TlsError};
use crate::tls::x509::certificate::ParsedCertificate;
use crate::tls::x509::crl_store::{CrlSignatureBudget, CrlStore, SelectedCrls};
use crate::tls::x509::describe::{self, Summary};
use crate::tls::x509::pem::{self, Located};

/// The most paths that are checked for revoked certificates, where each path is checked by itself.
/// A peer may have several, if CAs have signed for each other.
const MAX_PATHS: usize = 4;

/// The CAs that peers are verified by.
#[derive(Clone, Debug)]
pub(crate) struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    /// The lists of revoked certificates. If there is one, each issuer in a path must have a list.
    crls: CrlStore,
    /// For each anchor, its certificate, if that is no CA's and is trusted for itself alone.
    alone: Vec<Option<CertificateDer<'static>>>,
}

impl Authorities {
    /// Takes the certificates in this PEM text that are CAs' or self-issued, and yields their
    /// titles and ends too. CRLs in the text count: to pass over them would be to let in revoked
    /// certificates.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<(Self, Vec<Summary>), TlsError> {
        let certificates = pem::trusted_certificates(pem)?;
        let mut anchors = Vec::new();
        let mut alone = Vec::new();
        let mut summaries = Vec::new();
        for Located { line, item: der } in &certificates {
            let damaged = |error: Error| TlsError::Damaged {
                kind: CredentialKind::CaCertificate,
                line: *line,
                reason: describe::fault(&error).into_owned(),
            };
            let Some(parsed) = ParsedCertificate::parse(der) else {
                return Err(damaged(anchor(der).err().unwrap_or(Error::BadDer)));
            };
            if parsed.can_be_anchor() {
                anchors.push(anchor(der).map_err(damaged)?);
                alone.push((!parsed.is_ca()).then(|| der.clone()));
                summaries.push(Summary::of(&parsed));
            }
        }
        if anchors.is_empty() {
            return Err(TlsError::Missing {
                kind: CredentialKind::CaCertificate,
            });
        }
        let mut crls = CrlStore::default();
        crls.add(pem::crls_beside_others(pem)?, &anchors)?;
        let authorities = Authorities {
            anchors,
            crls,
            alone,
        };
        Ok((authorities, summaries))
    }

    /// Takes certificates that somebody else has chosen as CAs, and passes over those that can't be
    /// used.
    #[cfg(feature = "client")]
    pub(crate) fn from_roots(certificates: &[CertificateDer<'_>]) -> Option<Self> {
        let anchors: Vec<_> = certificates
            .iter()
            .filter_map(|der| anchor(der).ok())
            .collect();
        (!anchors.is_empty()).then(|| Authorities {
            alone: vec![None; anchors.len()],
            anchors,
            crls: CrlStore::default(),
        })
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Adds one CRL as DER, or any number as PEM.
    pub(crate) fn add_crls(&mut self, pem_or_der: &[u8]) -> Result<(), TlsError> {
        self.crls.add(pem::crls(pem_or_der)?, &self.anchors)
    }

    pub(crate) fn crls(&self) -> &CrlStore {
        &self.crls
    }

    /// Looks for a path (RFC 5280, section 6) without a revoked certificate. The CA's own
    /// certificate is trusted whatever its dates.
    pub(crate) fn verify<'p>(
        &'p self,
        own: &'p ParsedCertificate<'_>,
        candidates: &'p Candidates<'_>,
        now: SystemTime,
        usage: KeyUsage,
    ) -> Result<VerifiedPath<'p>, NoPath<'p>> {
        let all = self.crls.all();
        if candidates.are_too_many {
            return Err(NoPath {
                error: Error::MaximumPathDepthExceeded,
                asked: all,
            });
        }
        let certificate = match own.webpki() {
            Ok(certificate) => certificate,
            Err(error) => {
                return Err(NoPath {
                    error: error.clone(),
                    asked: all,
                });
            }
        };
        let now = unix_time(now);
        let each_path = self.crls.share_names().then(|| EachPath {
            authorities: self,
            now,
            usage,
            left: Cell::new(MAX_PATHS),
            signatures: &candidates.signatures,
            crl_signatures: CrlSignatureBudget::default(),
            failed: RefCell::default(),
        });
        let at_once = (!all.is_empty() && each_path.is_none()).then_some(&all);
        let verified = verify(
            certificate,
            self.anchors_for(own, &candidates.signatures),
            &candidates.certificates,
            &candidates.signatures,
            now,
            usage,
            at_once,
            Some(&|path| {
                self.check_anchor(path)?;
                each_path.iter().try_for_each(|each| each.check(path))
            }),
        );
        // A path that fails for its lists alone tells more than others.
        verified.map_err(|error| {
            let failed = each_path.and_then(|each| each.failed.into_inner());
            let is_cut = candidates.is_cut || candidates.signatures.is_exceeded();
            let error = match &error {
                Error::MaximumSignatureChecksExceeded => Error::MaximumPathBuildCallsExceeded,
                error if is_cut && is_unsigned(error) => Error::MaximumPathBuildCallsExceeded,
                _ => error,
            };
            failed.unwrap_or(NoPath { error, asked: all })
        })
    }

    /// Looks for a path through these certificates as [`verify`](Self::verify) does, whether or not
    /// its certificates are revoked.
    pub(crate) fn verify_without_crls<'p>(
        &'p self,
        own: &'p ParsedCertificate<'_>,
        intermediates: &'p [CertificateDer<'p>],
        signatures: &SignatureChecker,
        now: SystemTime,
        usage: KeyUsage,
    ) -> Result<VerifiedPath<'p>, Error> {
        verify(
            own.webpki().map_err(Error::clone)?,
            self.anchors_for(own, signatures),
            intermediates,
            signatures,
            unix_time(now),
            usage,
            None,
            Some(&|path| self.check_anchor(path)),
        )
    }

    /// The anchors that can stand above this certificate: only itself, if it is trusted for itself
    /// alone, and signed itself. Many other anchors may have its name, and each of their keys would
    /// be tried.
    fn anchors_for(
        &self,
        own: &ParsedCertificate<'_>,
        signatures: &SignatureChecker,
    ) -> &[TrustAnchor<'static>] {
        let is_itself = |only: &Option<CertificateDer<'_>>| only.as_ref() == Some(own.der);
        let itself = self.alone.iter().position(is_itself);
        let signed_itself = |anchor: &&TrustAnchor<'_>| {
            signatures.check(own, &anchor.subject_public_key_info) == SignatureCheck::Valid
        };
        let itself = itself.and_then(|at| self.anchors.get(at));
        match itself.filter(signed_itself) {
            Some(anchor) => slice::from_ref(anchor),
            None => &self.anchors,
        }
    }

    /// Refuses a path to an anchor that says that it is no CA's, unless it is the peer's own: the
    /// verifier takes every anchor for a CA.
    fn check_anchor(&self, path: &VerifiedPath<'_>) -> Result<(), Error> {
        let at = self
            .anchors
            .iter()
            .position(|anchor| ptr::eq(anchor, path.anchor()));
        match at.and_then(|at| self.alone.get(at)) {
            Some(None) => Ok(()),
            Some(Some(only)) if *only == path.end_entity().der() => Ok(()),
            _ => Err(Error::EndEntityUsedAsCa),
        }
    }
}

/// The reason why there is no path, and the lists that were asked last.
pub(crate) struct NoPath<'a> {
    pub(crate) error: Error,
    pub(crate) asked: SelectedCrls<'a>,
}

/// Checks each path by itself for revoked certificates, where CAs share a name: the verifier asks
/// the first list of an issuer's name, and has to be given the one that the issuer's key signed.
struct EachPath<'a> {
    authorities: &'a Authorities,
    now: UnixTime,
    usage: KeyUsage,
    /// The number of paths that may still be checked, at first [`MAX_PATHS`].
    left: Cell<usize>,
    signatures: &'a SignatureChecker,
    crl_signatures: CrlSignatureBudget,
    /// The reason why the first path was refused.
    failed: RefCell<Option<NoPath<'a>>>,
}

impl<'a> EachPath<'a> {
    /// Verifies this one path, which is valid but for its lists, with the lists of its own CAs.
    fn check(&self, path: &VerifiedPath<'_>) -> Result<(), Error> {
        let mut asked = SelectedCrls::NONE;
        let checked = self.lists(path).and_then(|lists| {
            asked = lists;
            let intermediates: Vec<_> = path.intermediate_certificates().map(Cert::der).collect();
            verify(
                path.end_entity(),
                slice::from_ref(path.anchor()),
                &intermediates,
                self.signatures,
                self.now,
                self.usage,
                Some(&asked),
                None,
            )
            .map(drop)
        });
        checked.inspect_err(|error| {
            self.failed.borrow_mut().get_or_insert(NoPath {
                error: error.clone(),
                asked,
            });
        })
    }

    fn lists(&self, path: &VerifiedPath<'_>) -> Result<SelectedCrls<'a>, Error> {
        let left = self.left.get().checked_sub(1);
        self.left
            .set(left.ok_or(Error::MaximumSignatureChecksExceeded)?);
        self.authorities.crls.of_path(path, &self.crl_signatures)
    }
}

type CheckPath<'a> = &'a dyn Fn(&VerifiedPath<'_>) -> Result<(), Error>;

/// Whether the error means that no key signed a certificate.
fn is_unsigned(error: &Error) -> bool {
    matches!(
        error,
        Error::UnknownIssuer
            | Error::InvalidSignatureForPublicKey
            | Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
            | Error::MaximumPathDepthExceeded
            | Error::InvalidCrlSignatureForPublicKey
    )
}

/// Looks for a path. If there are lists to ask, each issuer in the path must have one.
#[allow(clippy::too_many_arguments)]
fn verify<'p>(
    certificate: &'p EndEntityCert<'p>,
    anchors: &'p [TrustAnchor<'_>],
    intermediates: &'p [CertificateDer<'p>],
    signatures: &SignatureChecker,
    now: UnixTime,
    usage: KeyUsage,
    asked: Option<&SelectedCrls<'_>>,
    check: Option<CheckPath<'_>>,
) -> Result<VerifiedPath<'p>, Error> {
    let lists = asked.map(SelectedCrls::parsed);
    let revocation = lists
        .as_ref()
        .map(|lists| RevocationOptionsBuilder::new(lists))
        .transpose()
        .map_err(|_| Error::UnknownRevocationStatus)?
        .map(|options| {
            options
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
    let algorithms = signatures.algorithms();
    let algorithms: Vec<&dyn SignatureVerificationAlgorithm> =
        algorithms.iter().map(|one| one as _).collect();
    certificate.verify_for_usage(
        &algorithms,
        anchors,
        intermediates,
        now,
        usage,
        revocation,
        check,
    )
}

fn unix_time(time: SystemTime) -> UnixTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    UnixTime::since_unix_epoch(since.unwrap_or_default())
}

fn anchor(der: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, Error> {
    webpki::anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned())
}
