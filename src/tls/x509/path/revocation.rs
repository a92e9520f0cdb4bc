//! What the CRLs say of a peer's certificates.

use std::iter;

use rustls::CertificateError;
use rustls_pki_types::CertificateDer;
use webpki::{Cert, EndEntityCert, Error as Fault};

use super::authorities::NoPath;
use crate::tls::x509::crl::Lists;
use crate::tls::x509::describe::{other, quoted};
use crate::tls::x509::facts::{self, Day, system_time};

/// What a CRL says of a peer's certificates, or that none does.
pub(crate) struct RevocationFault {
    pub(crate) what: String,
    pub(crate) hint: Option<&'static str>,
    /// What the peer is told.
    pub(crate) reason: CertificateError,
}

impl RevocationFault {
    /// Puts into words that fault, if it is one of CRLs, of which these are all.
    pub(crate) fn new(
        no_path: &NoPath<'_>,
        presented: &[&Cert<'_>],
        all: &Lists<'_>,
    ) -> Option<Self> {
        let way = way_up(presented);
        let asked = &no_path.asked;
        let of_other_key = |one: Option<&&Cert<'_>>| {
            (
                format!("no CRL is signed by the key of CA {}", issuer(one)),
                Some(
                    "CAs that share a name, such as one that got a new key, each need their own \
                     list, and have to be trusted each",
                ),
            )
        };
        let (what, hint) = match &no_path.error {
            Fault::CertRevoked => (
                format!("{} is revoked", whose(presented, |one| asked.revokes(one))),
                None,
            ),
            Fault::UnknownRevocationStatus => {
                let without = way.iter().find(|one| !asked.has_one_above(one));
                match without.filter(|one| all.has_one_above(one)) {
                    Some(without) => of_other_key(Some(without)),
                    None => (
                        format!("CRL missing for {}", issuer(without.or(way.first()))),
                        Some("once there is one list, each CA above a sender needs its own"),
                    ),
                }
            }
            // The kind of signature is known, but is not that of the key.
            Fault::InvalidCrlSignatureForPublicKey
            | Fault::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
                let by_stranger = way.iter().find(|one| asked.has_stranger_above(one));
                of_other_key(by_stranger.or(way.first()))
            }
            Fault::CrlExpired { next_update, .. } => {
                let end = system_time(*next_update);
                let ended = |one: &&&Cert<'_>| asked.has_one_above_that_ends(one, end);
                (
                    format!(
                        "the CRL of {} expired on {}",
                        issuer(way.iter().find(ended)),
                        Day(end)
                    ),
                    Some("get the CA's new list"),
                )
            }
            _ => return None,
        };
        Some(RevocationFault {
            what,
            hint,
            reason: match &no_path.error {
                Fault::CertRevoked => CertificateError::Revoked,
                error => other(error.clone()),
            },
        })
    }
}

pub(crate) fn parsed<'a>(intermediates: &'a [CertificateDer<'_>]) -> Vec<EndEntityCert<'a>> {
    intermediates
        .iter()
        .filter_map(|der| EndEntityCert::try_from(der).ok())
        .collect()
}

/// The certificates that a peer presented, its own first.
pub(crate) fn presented<'a>(
    certificate: &'a EndEntityCert<'a>,
    above: &'a [EndEntityCert<'a>],
) -> Vec<&'a Cert<'a>> {
    iter::once(&**certificate)
        .chain(above.iter().map(|above| &**above))
        .collect()
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
