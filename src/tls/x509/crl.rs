//! A certificate revocation list (RFC 5280, section 5).

use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::{CertificateRevocationListDer, SubjectPublicKeyInfoDer, TrustAnchor};
use webpki::{
    ALL_VERIFICATION_ALGS, CertRevocationList, Error, OwnedCertRevocationList, RawPublicKeyEntity,
    spki_for_anchor,
};
use x509_cert::crl::{CertificateList, TbsCertList};
use x509_cert::der::asn1::BitStringRef;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Decode, Header, Reader, SliceReader, Tag};
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlNumber};

use super::describe::{self, Summary};
use super::pem::Located;
use crate::tls::error::{CredentialKind, TlsError};

/// A list, and the key that signed it.
#[derive(Clone, Debug)]
pub(crate) struct Crl {
    /// The list as rustls-webpki parses it, which verifies.
    pub(super) list: Arc<CertRevocationList<'static>>,
    /// The list's issuer, and its end.
    pub(super) summary: Summary,
    this_update: Option<SystemTime>,
    number: Option<Number>,
    /// The identifier of the key that signed it (RFC 5280, section 5.2.1).
    key_id: Option<Vec<u8>>,
    pub(super) signer: CrlSigner,
}

/// The CA whose key signed a list.
#[derive(Clone, Debug)]
pub(super) enum CrlSigner {
    Trusted(SubjectPublicKeyInfoDer<'static>),
    /// None of the trusted CAs. The list is kept, to be verified by the keys of others.
    Unknown(CertificateRevocationListDer<'static>),
}

impl Crl {
    /// Parses a list and finds the trusted CA that signed it.
    pub(super) fn parse(
        Located { line, item: der }: Located<CertificateRevocationListDer<'static>>,
        anchors: &[TrustAnchor<'_>],
    ) -> Result<Self, TlsError> {
        let parsed: Option<CertificateList> = CertificateList::from_der(&der).ok();
        let parsed = parsed.map(|parsed| parsed.tbs_cert_list);
        let parsed = parsed.as_ref();
        let list: CertRevocationList<'_> = OwnedCertRevocationList::from_der(&der)
            .map_err(|error| TlsError::Damaged {
                kind: CredentialKind::Crl,
                line,
                reason: unusable(&der, parsed, &error),
            })?
            .into();
        let mut keys = anchors
            .iter()
            .filter(|anchor| *anchor.subject == *list.issuer())
            .map(spki_for_anchor);
        let signer = match keys.find(|key| is_signed_by(&der, key)) {
            Some(key) => CrlSigner::Trusted(key),
            None => CrlSigner::Unknown(der),
        };
        let extensions = parsed.and_then(|list| list.crl_extensions.as_ref());
        Ok(Crl {
            list: Arc::new(list),
            summary: Summary {
                title: parsed.map_or_else(|| "unknown".to_owned(), |list| list.issuer.to_string()),
                end: parsed
                    .and_then(|list| list.next_update)
                    .map(|time| time.to_system_time()),
            },
            this_update: parsed.map(|list| list.this_update.to_system_time()),
            number: extensions.and_then(Number::among),
            key_id: extensions.and_then(|extensions| {
                let id = extension::<AuthorityKeyIdentifier>(extensions)?.key_identifier?;
                Some(id.into_bytes().into())
            }),
            signer,
        })
    }

    /// Of two lists of one issuer, the newer one is the greater. Two may be made within a second, and
    /// then only their numbers tell.
    pub(super) fn age(&self) -> impl Ord + '_ {
        (self.this_update, &self.number)
    }

    /// Whether this key, of a CA with the name of the list's issuer, signed the list.
    /// `take_signature` is called before a signature is verified, and may forbid it.
    pub(super) fn is_by(
        &self,
        key: &SubjectPublicKeyInfoDer<'_>,
        is_trusted: bool,
        take_signature: impl FnOnce() -> Result<(), Error>,
    ) -> Result<bool, Error> {
        match &self.signer {
            CrlSigner::Trusted(signer) => Ok(signer == key),
            CrlSigner::Unknown(_) if is_trusted => Ok(false),
            CrlSigner::Unknown(der) => {
                take_signature()?;
                Ok(is_signed_by(der, key))
            }
        }
    }

    pub(super) fn is_by_stranger(&self) -> bool {
        matches!(self.signer, CrlSigner::Unknown(_))
    }

    pub(super) fn has_scope_of(&self, other: &Crl) -> bool {
        self.list.issuing_distribution_point() == other.list.issuing_distribution_point()
    }

    /// Whether both lists of an issuer's name are by one key. Where no trusted CA has that key, the
    /// authority key identifier decides (RFC 5280, section 5.2.1).
    pub(super) fn has_key_of(&self, other: &Crl) -> bool {
        match (&self.signer, &other.signer) {
            (CrlSigner::Trusted(key), CrlSigner::Trusted(other)) => key == other,
            (CrlSigner::Unknown(_), CrlSigner::Unknown(_)) => self.key_id == other.key_id,
            _ => false,
        }
    }

    /// Whether both lists are by one key, and neither lacks an identifier of it.
    pub(super) fn surely_has_key_of(&self, other: &Crl) -> bool {
        let is_told = !self.is_by_stranger() || self.key_id.is_some();
        is_told && self.has_key_of(other)
    }
}

/// The number of a CRL (RFC 5280, section 5.2.3): its length and its bytes, so that the larger one is
/// the greater one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number(usize, Vec<u8>);

impl Number {
    fn among(extensions: &Extensions) -> Option<Self> {
        let CrlNumber(number) = extension(extensions)?;
        let bytes = number.as_bytes().to_vec();
        Some(Number(bytes.len(), bytes))
    }
}

fn extension<T: AssociatedOid + for<'a> Decode<'a>>(extensions: &Extensions) -> Option<T> {
    let found = extensions.iter().find(|one| one.extn_id == T::OID)?;
    T::from_der(found.extn_value.as_bytes()).ok()
}

/// The reason why a list can't be used: it lacks a part that the verifier needs, and that RFC 5280,
/// section 5.1.2 requires; or else the verifier's own reason.
fn unusable(der: &[u8], parsed: Option<&TbsCertList>, error: &Error) -> String {
    let lack = match parsed {
        _ if is_version_1(der) => {
            "it is not of version 2, which openssl ca makes when crl_extensions is set"
        }
        Some(list) if list.next_update.is_none() => {
            "it has no nextUpdate, so that its expiry is unknown"
        }
        Some(list) if list.crl_extensions.is_none() => "it has no extensions, such as its number",
        _ => return describe::fault(error).into_owned(),
    };
    lack.to_owned()
}

/// Whether this is a CRL of the first version, which does not state its version (RFC 5280, section
/// 5.1.2.1): its third header is not that of a number.
fn is_version_1(der: &[u8]) -> bool {
    let third = || {
        let mut reader = SliceReader::new(der).ok()?;
        let list = Header::decode(&mut reader).ok()?.tag();
        let content = Header::decode(&mut reader).ok()?.tag();
        let first = Header::decode(&mut reader).ok()?.tag();
        Some([list, content, first])
    };
    third() == Some([Tag::Sequence; 3])
}

/// Whether this key signed the list (RFC 5280, section 5.1.1.3).
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

/// The bytes of a list that are signed, the content of its algorithm's identifier, and the signature
/// (RFC 5280, section 5.1.1). Lists may be longer than a certificate can be.
fn signature(list: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut reader = SliceReader::new(list).ok()?;
    Header::decode(&mut reader).ok()?;
    let signed = reader.tlv_bytes().ok()?;
    let algorithm = Header::decode(&mut reader).ok()?;
    let algorithm = reader.read_slice(algorithm.length()).ok()?;
    let signature = BitStringRef::decode(&mut reader).ok()?.as_bytes()?;
    Some((signed, algorithm, signature))
}
