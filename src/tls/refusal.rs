//! Why a sender is turned away.

use std::iter;

use rustls::CertificateError;
use rustls_pki_types::CertificateDer;
use webpki::{Cert, EndEntityCert};

use super::authorities::{MAX_ABOVE, NoPath};
use super::crl::Lists;
use super::facts::{self, CommonName, Day, Name, system_time};
use super::words::{QUOTED, fault, other, quoted, shortened};

/// Why a sender was turned away.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) what: String,
    /// The names that the sender claims, if its certificate was read; see [`End::Refused`].
    ///
    /// [`End::Refused`]: crate::End::Refused
    pub(super) claimed: Vec<String>,
    pub(super) hint: Option<&'static str>,
    /// What the sender is told.
    pub(super) reason: CertificateError,
}

impl Refusal {
    /// Puts into words why a certificate is not taken, where these are all CRLs.
    pub(super) fn new(
        no_path: &NoPath<'_>,
        certificate: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        all: &Lists<'_>,
    ) -> Self {
        use webpki::Error as Fault;
        let above = parsed(intermediates);
        let presented = presented(certificate, &above);
        let way = way_up(&presented);
        let error = &no_path.error;
        let (what, reason, hint) = if let Some(revocation) =
            Revocation::new(no_path, &presented, all)
        {
            (revocation.what, revocation.reason, revocation.hint)
        } else {
            match error {
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
                    let ends_then = |one: &Cert<'_>| {
                        facts::validity(&one.der()).is_some_and(|(_, to)| to == end)
                    };
                    (
                        format!("{} expired on {}", whose(&presented, ends_then), Day(end)),
                        CertificateError::Expired,
                        None,
                    )
                }
                Fault::CertNotValidYet { not_before, .. } => {
                    let begin = system_time(*not_before);
                    let begins_then = |one: &Cert<'_>| {
                        facts::validity(&one.der()).is_some_and(|(at, _)| at == begin)
                    };
                    let whose = whose(&presented, begins_then);
                    (
                        format!("{whose} is not valid before {}", Day(begin)),
                        CertificateError::NotValidYet,
                        Some("if that day has come, a clock is wrong"),
                    )
                }
                Fault::RequiredEkuNotFoundContext(_) => (
                    "the certificate is not for clients".to_owned(),
                    CertificateError::InvalidPurpose,
                    Some("its extended key usage must include clientAuth"),
                ),
                Fault::NameConstraintViolation => (
                    "a CA above the certificate may not sign for its names".to_owned(),
                    other(error.clone()),
                    None,
                ),
                Fault::CaUsedAsEndEntity => (
                    "the certificate is a CA's own".to_owned(),
                    CertificateError::InvalidPurpose,
                    Some("senders need one that a CA signed for them"),
                ),
                Fault::MaximumPathDepthExceeded if intermediates.len() > MAX_ABOVE => (
                    format!("more than {MAX_ABOVE} certificates came with the certificate"),
                    other(error.clone()),
                    Some("senders present their own and those of the CAs above it, no others"),
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
                    format!("the certificate can't be used: {}", fault(error)),
                    other(error.clone()),
                    None,
                ),
            }
        };
        let names = facts::names(certificate, CommonName::Counts);
        let (what, claimed) = claiming(what, names.iter().map(|name| &*name.text));
        Refusal {
            what,
            claimed,
            hint,
            reason,
        }
    }

    pub(super) fn damaged(error: &webpki::Error) -> Self {
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
            claimed: Vec::new(),
            hint,
            reason: CertificateError::BadEncoding,
        }
    }

    pub(super) fn not_allowed(names: &[Name], common_name: CommonName) -> Self {
        let what = "name not allowed".to_owned();
        let (what, claimed) = claiming(what, names.iter().map(|name| &*name.text));
        Refusal {
            what,
            claimed,
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
        let what = "the sender does not hold the certificate's key".to_owned();
        let (what, claimed) = claiming(what, names.iter().map(String::as_str));
        Refusal {
            what,
            claimed,
            hint: Some("its certificate and its key must belong together"),
            reason: CertificateError::BadSignature,
        }
    }
}

/// What a CRL says of a peer's certificates, or that none does.
pub(super) struct Revocation {
    pub(super) what: String,
    pub(super) hint: Option<&'static str>,
    /// What the peer is told.
    pub(super) reason: CertificateError,
}

impl Revocation {
    /// Puts into words that fault, if it is one of CRLs, of which these are all.
    pub(super) fn new(
        no_path: &NoPath<'_>,
        presented: &[&Cert<'_>],
        all: &Lists<'_>,
    ) -> Option<Self> {
        use webpki::Error as Fault;
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
        Some(Revocation {
            what,
            hint,
            reason: match &no_path.error {
                Fault::CertRevoked => CertificateError::Revoked,
                error => other(error.clone()),
            },
        })
    }
}

pub(super) fn parsed<'a>(intermediates: &'a [CertificateDer<'_>]) -> Vec<EndEntityCert<'a>> {
    intermediates
        .iter()
        .filter_map(|der| EndEntityCert::try_from(der).ok())
        .collect()
}

/// The certificates that a peer presented, its own first.
pub(super) fn presented<'a>(
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

/// The names that the sender claims: as many as are quoted, and one that tells whether there are
/// more. A sender that claims none is said to have none.
fn claiming<'a>(what: String, names: impl Iterator<Item = &'a str>) -> (String, Vec<String>) {
    let claimed: Vec<_> = names
        .take(QUOTED.0 + 1)
        .map(|name| shortened(name).into_owned())
        .collect();
    let what = match claimed.is_empty() {
        true => format!("{what}; the sender has no name"),
        false => what,
    };
    (what, claimed)
}
