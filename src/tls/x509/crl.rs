//! Certificate revocation lists (RFC 5280, section 5).

use std::cell::Cell;
use std::iter;
use std::ptr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::{CertificateRevocationListDer, SubjectPublicKeyInfoDer, TrustAnchor};
use webpki::{
    ALL_VERIFICATION_ALGS, Cert, CertRevocationList, Error, OwnedCertRevocationList,
    RawPublicKeyEntity, VerifiedPath, spki_for_anchor,
};
use x509_cert::der::asn1::BitStringRef;
use x509_cert::der::{Decode, Header, Reader, SliceReader};

use super::describe;
use super::facts::{self, CrlSummary};
use super::pem::{self, Located};
use super::warning::{TlsWarning, ending};
use crate::error::TlsError;

/// How many signatures of CRLs the certificates of one peer may have verified, beside one for each
/// CA that is asked. The lists of trusted CAs need none; this is for CAs that share a name and whose
/// certificates come with the peer, which has not proved anything yet.
const MAX_LIST_SIGNATURES: usize = 16;

/// Lists, the newest first: of each issuer that is the one that is asked, and it may end before an
/// older one does.
///
/// An issuer is a name and a key: a CA that got a new key has two lists under one name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crls {
    lists: Vec<Crl>,
    /// Whether the name of an issuer does not tell which list to ask.
    share_names: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Crl {
    list: Arc<CertRevocationList<'static>>,
    about: CrlSummary,
    signer: CrlSigner,
}

/// Whose key signed a list.
#[derive(Clone, Debug)]
enum CrlSigner {
    Trusted(SubjectPublicKeyInfoDer<'static>),
    /// None of the trusted CAs. The list is kept to be verified by the keys of others.
    Unknown(CertificateRevocationListDer<'static>),
}

impl Crls {
    /// Adds these lists.
    pub(crate) fn add(
        &mut self,
        lists: Vec<Located<CertificateRevocationListDer<'static>>>,
        anchors: &[TrustAnchor<'_>],
    ) -> Result<(), TlsError> {
        for Located { line, item: der } in lists {
            let list: CertRevocationList<'_> = OwnedCertRevocationList::from_der(&der)
                .map_err(|error| TlsError::Damaged {
                    what: pem::CRL,
                    line,
                    reason: unusable(&der, &error),
                })?
                .into();
            let about = CrlSummary::of(&der);
            let mut keys = anchors
                .iter()
                .filter(|anchor| *anchor.subject == *list.issuer())
                .map(spki_for_anchor);
            let signer = match keys.find(|key| is_signed_by(&der, key)) {
                Some(key) => CrlSigner::Trusted(key),
                None => CrlSigner::Unknown(der),
            };
            self.lists.push(Crl {
                list: Arc::new(list),
                about,
                signer,
            });
        }
        // Two may be made within a second, and then only their numbers tell.
        self.lists.sort_by(|a, b| b.about.age().cmp(&a.about.age()));
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
    pub(crate) fn all(&self) -> Lists<'_> {
        Lists(self.lists.iter().collect())
    }

    /// The lists to ask about the certificates in this path: those that the keys in it signed.
    ///
    /// # Errors
    ///
    /// When there are too many that might be, and when two CAs in the path share a name: the verifier,
    /// which goes by names, would ask the list of one about both.
    pub(crate) fn of_path(
        &self,
        path: &VerifiedPath<'_>,
        signatures: &ListSignatures,
    ) -> Result<Lists<'_>, Error> {
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
                    && crl.is_by(&key, is_trusted, signatures)?
                {
                    asked.push(crl);
                    *chosen = true;
                }
            }
            issuers.push((certificate.issuer(), key));
        }
        let chosen = self.lists.iter().zip(chosen).filter(|(_, chosen)| *chosen);
        Ok(Lists(chosen.map(|(crl, _)| crl).collect()))
    }

    pub(crate) fn warnings(
        &self,
        anchors: &[TrustAnchor<'_>],
        now: SystemTime,
    ) -> impl Iterator<Item = TlsWarning> {
        // An older list is not asked any more, so nothing about it matters.
        let replaces = |newer: &Crl, older: &Crl| {
            newer.list.issuer() == older.list.issuer()
                && newer.has_scope_of(older)
                && newer.has_key_of(older)
        };
        let newest: Vec<&Crl> = self
            .lists
            .iter()
            .enumerate()
            .filter(|(at, crl)| {
                let mut newer = self.lists.iter().take(*at);
                !newer.any(|newer| replaces(newer, crl))
            })
            .map(|(_, crl)| crl)
            .collect();
        let strangers = newest
            .clone()
            .into_iter()
            .filter(|crl| matches!(crl.signer, CrlSigner::Unknown(_)));
        let ends = newest
            .into_iter()
            .filter_map(move |crl| ending(pem::CRL, &crl.about.facts, now));
        let strangers = strangers.map(|crl| {
            let issuer = crl.about.facts.title.clone();
            let has_its_name = |anchor: &TrustAnchor<'_>| *anchor.subject == *crl.list.issuer();
            match anchors.iter().any(has_its_name) {
                true => TlsWarning::CrlOfOtherKey { issuer },
                false => TlsWarning::UnknownCrlIssuer { issuer },
            }
        });
        ends.chain(strangers)
    }
}

impl Crl {
    /// Whether this key, of a CA of the list's issuer's name, signed the list.
    fn is_by(
        &self,
        key: &SubjectPublicKeyInfoDer<'_>,
        is_trusted: bool,
        signatures: &ListSignatures,
    ) -> Result<bool, Error> {
        match &self.signer {
            CrlSigner::Trusted(signer) => Ok(signer == key),
            CrlSigner::Unknown(_) if is_trusted => Ok(false),
            CrlSigner::Unknown(der) => {
                signatures.take_one()?;
                Ok(is_signed_by(der, key))
            }
        }
    }

    fn has_scope_of(&self, other: &Crl) -> bool {
        self.list.issuing_distribution_point() == other.list.issuing_distribution_point()
    }

    /// Whether both lists of an issuer's name are by one key, as far as can be told without that
    /// key: by the authority key identifier (RFC 5280, section 5.2.1).
    fn has_key_of(&self, other: &Crl) -> bool {
        match (&self.signer, &other.signer) {
            (CrlSigner::Trusted(key), CrlSigner::Trusted(other)) => key == other,
            (CrlSigner::Unknown(_), CrlSigner::Unknown(_)) => {
                self.about.key_id == other.about.key_id
            }
            _ => false,
        }
    }

    fn surely_has_key_of(&self, other: &Crl) -> bool {
        let told = matches!(self.signer, CrlSigner::Trusted(_)) || self.about.key_id.is_some();
        told && self.has_key_of(other)
    }
}

/// What is left of [`MAX_LIST_SIGNATURES`].
pub(crate) struct ListSignatures(Cell<usize>);

impl Default for ListSignatures {
    fn default() -> Self {
        ListSignatures(Cell::new(MAX_LIST_SIGNATURES))
    }
}

impl ListSignatures {
    fn take_one(&self) -> Result<(), Error> {
        let left = self.0.get().checked_sub(1);
        self.0
            .set(left.ok_or(Error::MaximumSignatureChecksExceeded)?);
        Ok(())
    }
}

/// Lists that are asked together.
#[derive(Clone)]
pub(crate) struct Lists<'a>(Vec<&'a Crl>);

impl<'a> Lists<'a> {
    pub(crate) const NONE: Lists<'static> = Lists(Vec::new());

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn parsed(&self) -> Vec<&'a CertRevocationList<'static>> {
        self.0.iter().map(|crl| &*crl.list).collect()
    }

    /// Those of the CA that issued this certificate.
    fn above(&self, certificate: &Cert<'_>) -> impl Iterator<Item = &'a Crl> {
        let issuer = certificate.issuer();
        let lists = self.0.iter().copied();
        lists.filter(move |crl| crl.list.issuer() == issuer)
    }

    pub(crate) fn has_one_above(&self, certificate: &Cert<'_>) -> bool {
        self.above(certificate).next().is_some()
    }

    /// Whether one of those is by no CA that is trusted.
    pub(crate) fn has_stranger_above(&self, certificate: &Cert<'_>) -> bool {
        self.above(certificate)
            .any(|crl| matches!(crl.signer, CrlSigner::Unknown(_)))
    }

    pub(crate) fn has_one_above_that_ends(&self, certificate: &Cert<'_>, end: SystemTime) -> bool {
        self.above(certificate)
            .any(|crl| crl.about.facts.end == Some(end))
    }

    pub(crate) fn revokes(&self, certificate: &Cert<'_>) -> bool {
        self.above(certificate)
            .any(|crl| matches!(crl.list.find_serial(certificate.serial()), Ok(Some(_))))
    }
}

/// Why a list can't be used.
fn unusable(der: &[u8], error: &Error) -> String {
    match facts::lack_of_crl(der) {
        Some(lack) => lack.to_owned(),
        None => describe::fault(error).into_owned(),
    }
}

/// Whether the list is signed by this key (RFC 5280, section 5.1.1.3).
fn is_signed_by(list: &[u8], key: &SubjectPublicKeyInfoDer<'_>) -> bool {
    let (Some((signed, algorithm, signature)), Ok(key)) =
        (signature(list), RawPublicKeyEntity::try_from(key))
    else {
        return false;
    };
    ALL_VERIFICATION_ALGS
        .iter()
        .filter(|known| *known.signature_alg_id() == *algorithm)
        .any(|known| key.verify_signature(*known, signed, signature).is_ok())
}

/// What is signed in a list, the content of its algorithm's identifier, and the signature
/// (RFC 5280, section 5.1.1).
fn signature(list: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut reader = SliceReader::new(list).ok()?;
    Header::decode(&mut reader).ok()?;
    let signed = reader.tlv_bytes().ok()?;
    let algorithm = Header::decode(&mut reader).ok()?;
    let algorithm = reader.read_slice(algorithm.length()).ok()?;
    let signature = BitStringRef::decode(&mut reader).ok()?.as_bytes()?;
    Some((signed, algorithm, signature))
}
