//! The revocation of a peer's certificates, described.

use rustls::CertificateError;
use webpki::Error as Fault;

use super::authorities::NoPath;
use super::presented::PresentedChain;
use crate::tls::x509::certificate::ParsedCertificate;
use crate::tls::x509::crl_store::SelectedCrls;
use crate::tls::x509::describe::{Day, other, quoted, system_time};
use crate::tls::x509::fault::CertificateFault;

/// A revoked certificate, or the lack of a list that could tell.
pub(crate) struct RevocationFault {
    /// [`CertificateFault::Revoked`] or [`CertificateFault::NoCrl`].
    pub(crate) fault: CertificateFault,
    /// The fault, for people.
    pub(crate) reason: String,
    pub(crate) hint: Option<&'static str>,
    /// The error by which rustls chooses the alert for the peer.
    pub(crate) error: CertificateError,
}

impl RevocationFault {
    /// Describes the fault, if CRLs are its cause, where `all` has all CRLs.
    pub(crate) fn new(
        no_path: &NoPath<'_>,
        presented: &PresentedChain<'_>,
        all: &SelectedCrls<'_>,
    ) -> Option<Self> {
        let presented = presented.supported();
        let chain = chain_up(&presented);
        let asked = &no_path.asked;
        let of_other_key = |one: Option<&&ParsedCertificate<'_>>| {
            (
                format!("no CRL is signed by the key of CA {}", issuer(one)),
                Some(
                    "CAs that share a name, such as one that got a new key, each need their own \
                     list, and have to be trusted each",
                ),
            )
        };
        let (reason, hint) = match &no_path.error {
            Fault::CertRevoked => (
                format!("{} is revoked", whose(&presented, |one| asked.revokes(one))),
                None,
            ),
            Fault::UnknownRevocationStatus => {
                let without = chain.iter().find(|one| !asked.has_one_above(one));
                match without.filter(|one| all.has_one_above(one)) {
                    Some(without) => of_other_key(Some(without)),
                    None => (
                        format!("CRL missing for {}", issuer(without.or(chain.first()))),
                        Some("once there is one list, each CA above a sender needs its own"),
                    ),
                }
            }
            // The kind of signature is known, but is not that of the key.
            Fault::InvalidCrlSignatureForPublicKey
            | Fault::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
                let by_stranger = chain.iter().find(|one| asked.has_stranger_above(one));
                of_other_key(by_stranger.or(chain.first()))
            }
            Fault::CrlExpired { next_update, .. } => {
                let end = system_time(*next_update);
                let ended = |one: &&&ParsedCertificate<'_>| asked.has_one_above_that_ends(one, end);
                (
                    format!(
                        "the CRL of {} expired on {}",
                        issuer(chain.iter().find(ended)),
                        Day(end)
                    ),
                    Some("get the CA's new list"),
                )
            }
            _ => return None,
        };
        let (fault, error) = match &no_path.error {
            Fault::CertRevoked => (CertificateFault::Revoked, CertificateError::Revoked),
            error => (CertificateFault::NoCrl, other(error.clone())),
        };
        Some(RevocationFault {
            fault,
            reason,
            hint,
            error,
        })
    }
}

/// The peer's own certificate, which is the first of the presented, and those above it, as far as
/// the peer presents them.
fn chain_up<'p, 'a>(presented: &[&'p ParsedCertificate<'a>]) -> Vec<&'p ParsedCertificate<'a>> {
    let mut chain = Vec::new();
    let mut next = presented.first().copied();
    // The names might form a circle.
    while let Some(certificate) = next.filter(|_| chain.len() < presented.len()) {
        chain.push(certificate);
        next = presented
            .iter()
            .skip(1)
            .find(|above| above.subject == certificate.issuer)
            .copied();
    }
    chain
}

/// Names the certificate at fault: the peer's own, or that of a CA.
fn whose(
    presented: &[&ParsedCertificate<'_>],
    is_at_fault: impl Fn(&ParsedCertificate<'_>) -> bool,
) -> String {
    let at_fault = presented.iter().position(|one| is_at_fault(one));
    match at_fault.and_then(|at| presented.get(at).filter(|_| at > 0)) {
        None => "the certificate".to_owned(),
        Some(above) => {
            let subject = above.subject.to_string();
            format!("the certificate of CA {}", quoted(&subject))
        }
    }
}

/// The quoted name of the CA that issued this certificate.
fn issuer(certificate: Option<&&ParsedCertificate<'_>>) -> String {
    let issuer = certificate.map(|one| one.issuer.to_string());
    quoted(&issuer.unwrap_or_default())
}
