//! Trusted CAs, and whether a path leads from a certificate up to one of them.

use std::ptr;
use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, RevocationOptions, VerifiedPath};

use super::{facts, pem, words};
use crate::error::TlsError;

/// The most certificates that a peer may present above its own. To look for a way through many
/// that seem to be signed by each other takes long, and nobody has proved anything yet: a path has
/// at most 6 of them, but twice as many make half a million.
pub(super) const MAX_ABOVE: usize = 8;

/// The certificates that others are verified by.
#[derive(Clone, Debug)]
pub(super) struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    /// For each anchor, its certificate, if that is no CA's and stands for itself alone.
    alone: Vec<Option<CertificateDer<'static>>>,
}

impl Authorities {
    /// Those in this PEM text that are CAs' or that only themselves signed, and their certificates.
    pub(super) fn from_pem(pem: &[u8]) -> Result<(Self, Vec<CertificateDer<'static>>), TlsError> {
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
            .map(anchor)
            .collect::<Result<_, _>>()
            .map_err(|error| TlsError::Damaged {
                what: "CA certificate",
                reason: words::fault(&error).into_owned(),
            })?;
        let alone = |der: &CertificateDer<'static>| (!facts::is_ca(der)).then(|| der.clone());
        let authorities = Authorities {
            anchors,
            alone: certificates.iter().map(alone).collect(),
        };
        Ok((authorities, certificates))
    }

    /// Those that somebody else has chosen as CAs. What can't be used is passed over.
    #[cfg(feature = "cli")]
    pub(super) fn from_roots(certificates: &[CertificateDer<'_>]) -> Option<Self> {
        let anchors: Vec<_> = certificates
            .iter()
            .filter_map(|der| anchor(der).ok())
            .collect();
        (!anchors.is_empty()).then(|| Authorities {
            alone: vec![None; anchors.len()],
            anchors,
        })
    }

    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Looks for a path (RFC 5280, section 6). The CA's own certificate is trusted whatever its
    /// dates.
    pub(super) fn verify<'p>(
        &'p self,
        certificate: &'p EndEntityCert<'p>,
        intermediates: &'p [CertificateDer<'p>],
        now: SystemTime,
        usage: KeyUsage,
        revocation: Option<RevocationOptions<'_>>,
    ) -> Result<VerifiedPath<'p>, Error> {
        if intermediates.len() > MAX_ABOVE {
            return Err(Error::MaximumPathDepthExceeded);
        }
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        certificate.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &self.anchors,
            intermediates,
            UnixTime::since_unix_epoch(now),
            usage,
            revocation,
            Some(&|path| self.check_anchor(path)),
        )
    }

    /// A verifier takes every anchor for a CA, also one that says that it is none.
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

fn anchor(der: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, Error> {
    webpki::anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned())
}
