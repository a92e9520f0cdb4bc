//! The revocation lists of a verifier, and the choice of those that apply to a path.

use std::cell::Cell;
use std::iter;
use std::ptr;
use std::time::SystemTime;

use rustls_pki_types::{CertificateRevocationListDer, SubjectPublicKeyInfoDer, TrustAnchor};
use webpki::{CertRevocationList, Error, VerifiedPath, spki_for_anchor};

use super::certificate::ParsedCertificate;
use super::crl::{Crl, CrlSigner};
use super::pem::Located;
use super::warning::{Expiration, TlsWarning};
use crate::tls::error::{CredentialKind, TlsError};

/// The most signatures of CRLs that are verified for the certificates of one peer, beside one for
/// each CA that is asked. The lists of trusted CAs need none; these are for CAs that share a name
/// and whose certificates come with the peer, which has not proved anything yet.
const MAX_LIST_SIGNATURES: usize = 16;

/// Lists, the newest first. Of an issuer's lists the newest is asked, even if it ends before an older
/// one does.
///
/// An issuer is a name and a key: a CA that got a new key has two lists under one name.
#[derive(Clone, Debug, Default)]
pub(crate) struct CrlStore {
    lists: Vec<Crl>,
    /// Whether two issuers share a name, so that the name does not tell which list to ask.
    share_names: bool,
}

impl CrlStore {
    /// Adds these lists.
    pub(crate) fn add(
        &mut self,
        lists: Vec<Located<CertificateRevocationListDer<'static>>>,
        anchors: &[TrustAnchor<'_>],
    ) -> Result<(), TlsError> {
        for list in lists {
            self.lists.push(Crl::parse(list, anchors)?);
        }
        self.lists.sort_by(|a, b| b.age().cmp(&a.age()));
        self.share_names = self.lists.iter().any(|list| {
            let another_list = |other: &Crl| {
                !ptr::eq(other, list)
                    && other.list.issuer() == list.list.issuer()
                    && !other.surely_has_key_of(list)
            };
            let another_ca = |anchor: &TrustAnchor<'_>| {
                *anchor.subject == *list.list.issuer()
                    && !matches!(&list.signer, CrlSigner::Trusted(key) if *key == spki_for_anchor(anchor))
            };
            self.lists.iter().any(another_list) || anchors.iter().any(another_ca)
        });
        Ok(())
    }

    /// Whether lists have to be chosen [for each path](Self::of_path), since their issuers' names
    /// are not enough.
    pub(crate) fn share_names(&self) -> bool {
        self.share_names
    }

    /// All lists.
    pub(crate) fn all(&self) -> SelectedCrls<'_> {
        SelectedCrls(self.lists.iter().collect())
    }

    /// The lists to ask about the certificates in this path: those that the keys in it signed.
    ///
    /// # Errors
    ///
    /// When too many signatures would have to be verified, and when two CAs in the path share a
    /// name: the verifier, which goes by names, would ask the list of one about both.
    pub(crate) fn of_path(
        &self,
        path: &VerifiedPath<'_>,
        budget: &CrlSignatureBudget,
    ) -> Result<SelectedCrls<'_>, Error> {
        let certificates = iter::once(&**path.end_entity()).chain(path.intermediate_certificates());
        let above = path
            .intermediate_certificates()
            .map(|above| (above.subject_public_key_info(), false))
            .chain(iter::once((spki_for_anchor(path.anchor()), true)));
        let mut chosen = vec![false; self.lists.len()];
        let mut issuers: Vec<(&[u8], SubjectPublicKeyInfoDer<'_>)> = Vec::new();
        for (certificate, (key, is_trusted)) in certificates.zip(above) {
            let is_namesake =
                |(name, other): &(&[u8], _)| *name == certificate.issuer() && *other != key;
            if issuers.iter().any(is_namesake) {
                return Err(Error::InvalidCrlSignatureForPublicKey);
            }
            let mut asked: Vec<&Crl> = Vec::new();
            for (crl, chosen) in self.lists.iter().zip(&mut chosen) {
                if crl.list.issuer() == certificate.issuer()
                    // An older list of the same scope is not asked.
                    && !asked.iter().any(|newer| newer.has_scope_of(crl))
                    && crl.is_by(&key, is_trusted, || budget.take_one())?
                {
                    asked.push(crl);
                    *chosen = true;
                }
            }
            issuers.push((certificate.issuer(), key));
        }
        let chosen = self.lists.iter().zip(chosen).filter(|(_, chosen)| *chosen);
        Ok(SelectedCrls(chosen.map(|(crl, _)| crl).collect()))
    }

    /// The lists that are asked: of an issuer's, the newest of its scope and key.
    fn newest(&self) -> Vec<&Crl> {
        let replaces = |newer: &Crl, older: &Crl| {
            newer.list.issuer() == older.list.issuer()
                && newer.has_scope_of(older)
                && newer.has_key_of(older)
        };
        self.lists
            .iter()
            .enumerate()
            .filter(|(at, crl)| {
                let mut newer = self.lists.iter().take(*at);
                !newer.any(|newer| replaces(newer, crl))
            })
            .map(|(_, crl)| crl)
            .collect()
    }

    pub(crate) fn expirations(&self) -> impl Iterator<Item = Expiration> {
        let newest = self.newest().into_iter();
        newest.filter_map(|crl| Expiration::of(CredentialKind::Crl, &crl.summary))
    }

    pub(crate) fn warnings(
        &self,
        anchors: &[TrustAnchor<'_>],
        now: SystemTime,
    ) -> impl Iterator<Item = TlsWarning> {
        let ends = self.expirations();
        let ends = ends.filter_map(move |expiration| expiration.warning(now));
        let newest = self.newest().into_iter();
        let strangers = newest.filter(|crl| crl.is_by_stranger());
        let strangers = strangers.map(|crl| {
            let issuer = crl.summary.title.clone();
            let has_its_name = |anchor: &TrustAnchor<'_>| *anchor.subject == *crl.list.issuer();
            match anchors.iter().any(has_its_name) {
                true => TlsWarning::CrlOfOtherKey { issuer },
                false => TlsWarning::UnknownCrlIssuer { issuer },
            }
        });
        ends.chain(strangers)
    }
}

/// The number of signatures that may still be verified, at first [`MAX_LIST_SIGNATURES`].
pub(crate) struct CrlSignatureBudget(Cell<usize>);

impl Default for CrlSignatureBudget {
    fn default() -> Self {
        CrlSignatureBudget(Cell::new(MAX_LIST_SIGNATURES))
    }
}

impl CrlSignatureBudget {
    fn take_one(&self) -> Result<(), Error> {
        let left = self.0.get().checked_sub(1);
        self.0
            .set(left.ok_or(Error::MaximumSignatureChecksExceeded)?);
        Ok(())
    }
}

/// Lists that are asked together.
#[derive(Clone)]
pub(crate) struct SelectedCrls<'a>(Vec<&'a Crl>);

impl<'a> SelectedCrls<'a> {
    pub(crate) const NONE: SelectedCrls<'static> = SelectedCrls(Vec::new());

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn parsed(&self) -> Vec<&'a CertRevocationList<'static>> {
        self.0.iter().map(|crl| &*crl.list).collect()
    }

    /// The lists of the CA that issued this certificate.
    fn above(&self, certificate: &ParsedCertificate<'_>) -> impl Iterator<Item = &'a Crl> {
        let issuer = certificate.issuer.content();
        let lists = self.0.iter().copied();
        lists.filter(move |crl| crl.list.issuer() == issuer)
    }

    pub(crate) fn has_one_above(&self, certificate: &ParsedCertificate<'_>) -> bool {
        self.above(certificate).next().is_some()
    }

    /// Whether no trusted CA signed one of those.
    pub(crate) fn has_stranger_above(&self, certificate: &ParsedCertificate<'_>) -> bool {
        self.above(certificate).any(Crl::is_by_stranger)
    }

    pub(crate) fn has_one_above_that_ends(
        &self,
        certificate: &ParsedCertificate<'_>,
        end: SystemTime,
    ) -> bool {
        self.above(certificate)
            .any(|crl| crl.summary.end == Some(end))
    }

    pub(crate) fn revokes(&self, certificate: &ParsedCertificate<'_>) -> bool {
        let Ok(parsed) = certificate.webpki() else {
            return false;
        };
        self.above(certificate)
            .any(|crl| matches!(crl.list.find_serial(parsed.serial()), Ok(Some(_))))
    }
}
