//! Why a sender is turned away.

use std::iter;

use rustls::CertificateError;
use rustls_pki_types::CertificateDer;
use webpki::{Cert, EndEntityCert, Error as Fault};

use crate::tls::x509::crl::Lists;
use crate::tls::x509::describe::{QUOTED, fault, other, quoted, shortened};
use crate::tls::x509::facts::{self, CommonName, Day, Name, system_time};
use crate::tls::x509::keys;
use crate::tls::x509::path::authorities::NoPath;
use crate::tls::x509::path::explain::{self, Cause, Explainer, Text};

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
        chain: &Explainer<'_>,
    ) -> Self {
        let above = parsed(intermediates);
        let presented = presented(certificate, &above);
        let error = &no_path.error;
        let revocation = RevocationFault::new(no_path, &presented, all);
        let (what, reason, hint) = match (revocation, error) {
            (Some(revocation), _) => (revocation.what, revocation.reason, revocation.hint),
            (
                None,
                Fault::InvalidCrlSignatureForPublicKey
                | Fault::UnsupportedCrlSignatureAlgorithmContext(_)
                | Fault::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
                | Fault::IssuerNotCrlSigner,
            ) => (
                format!("the certificate can't be used: {}", fault(error)),
                other(error.clone()),
                None,
            ),
            (None, error) => {
                let found = chain.explain(error);
                (
                    sentence(found.text),
                    found.cause.reason(error.clone()),
                    hint(&found.cause),
                )
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

    /// The sender's own certificate can't be read.
    pub(super) fn unread(error: Fault, certificate: &CertificateDer<'_>) -> Self {
        let (cause, text) = explain::unread(&error, certificate);
        Refusal {
            what: format!("the certificate {text}"),
            claimed: Vec::new(),
            hint: hint(&cause),
            reason: cause.reason(error),
        }
    }

    /// Nobody can prove to have a key of this kind.
    pub(super) fn key(kind: &str, names: &[Name]) -> Self {
        let what = format!("the certificate's key is {kind}, which is not supported");
        let (what, claimed) = claiming(what, names.iter().map(|name| &*name.text));
        Refusal {
            what,
            claimed,
            hint: Some(keys::SUPPORTED),
            reason: CertificateError::InvalidPurpose,
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

fn sentence(text: Text) -> String {
    match text {
        Text::Own(text) => format!("the certificate {text}"),
        Text::Sentence(sentence) => sentence,
    }
}

/// What can be done about it, by the sender or here.
fn hint(cause: &Cause) -> Option<&'static str> {
    let hint = match cause {
        Cause::UnknownCa(_) => {
            "if a CA that is trusted here has signed for that one, senders must present its \
             certificate too"
        }
        Cause::SelfSigned => {
            "senders need one that a CA trusted here has signed, or to be trusted by this one"
        }
        Cause::OtherKey {
            is_trusted: true, ..
        } => {
            "another CA may have the same name: compare its certificate with the one that is \
             trusted here"
        }
        Cause::OtherKey { .. } => {
            "senders must present the certificate of that CA that has the key which signed"
        }
        Cause::OtherEncoding => {
            "names are compared byte by byte: the CA's certificate must have its name as the \
             certificates have it that it signs"
        }
        Cause::NotValidYet => "if that day has come, a clock is wrong",
        Cause::CaOwn => "senders need one that a CA signed for them",
        Cause::Purpose => "its extended key usage must include clientAuth",
        Cause::UnsupportedConstraints => {
            "name constraints on DNS names and IP addresses are supported, and no others"
        }
        Cause::TooMany => "senders present their own and those of the CAs above it, no others",
        Cause::Version => "openssl x509 -req makes that when it is given extensions (-extfile)",
        Cause::Key => keys::SUPPORTED,
        Cause::Signature => keys::SIGNATURES,
        Cause::Expired
        | Cause::NameConstraints
        | Cause::Unsupported
        | Cause::Damaged
        | Cause::Other => return None,
    };
    Some(hint)
}

/// What a CRL says of a peer's certificates, or that none does.
pub(in crate::tls) struct RevocationFault {
    pub(in crate::tls) what: String,
    pub(in crate::tls) hint: Option<&'static str>,
    /// What the peer is told.
    pub(in crate::tls) reason: CertificateError,
}

impl RevocationFault {
    /// Puts into words that fault, if it is one of CRLs, of which these are all.
    pub(in crate::tls) fn new(
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

pub(in crate::tls) fn parsed<'a>(
    intermediates: &'a [CertificateDer<'_>],
) -> Vec<EndEntityCert<'a>> {
    intermediates
        .iter()
        .filter_map(|der| EndEntityCert::try_from(der).ok())
        .collect()
}

/// The certificates that a peer presented, its own first.
pub(in crate::tls) fn presented<'a>(
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
