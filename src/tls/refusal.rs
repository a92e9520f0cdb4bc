//! Why a sender is turned away.

use std::fmt::Write;
use std::iter;

use rustls::CertificateError;
use rustls_pki_types::CertificateDer;
use webpki::{Cert, EndEntityCert, Error as Fault};

use super::chain::{self, Cause, Chain, Text};
use super::crl::Crls;
use super::facts::{self, CommonName, Day, Name, system_time};
use super::keys;
use super::words::{QUOTED, fault, other, quoted};

/// Why a sender was turned away.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) what: String,
    pub(super) hint: Option<&'static str>,
    /// What the sender is told.
    pub(super) reason: CertificateError,
}

impl Refusal {
    /// Puts into words why a certificate is not taken.
    pub(super) fn new(
        error: Fault,
        certificate: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        crls: &Crls,
        chain: &Chain<'_>,
    ) -> Self {
        let above: Vec<_> = intermediates
            .iter()
            .filter_map(|der| EndEntityCert::try_from(der).ok())
            .collect();
        let presented: Vec<&Cert<'_>> = iter::once(&**certificate)
            .chain(above.iter().map(|above| &**above))
            .collect();
        let way = way_up(&presented);
        let (what, reason, hint) = match &error {
            Fault::CertRevoked => (
                format!("{} is revoked", whose(&presented, |one| crls.revokes(one))),
                CertificateError::Revoked,
                None,
            ),
            Fault::UnknownRevocationStatus => {
                let without = way.iter().find(|one| crls.above(one).next().is_none());
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
                    .find(|one| crls.above(one).any(|crl| crl.facts.end == Some(end)));
                (
                    format!("the CRL of {} expired on {}", issuer(ended), Day(end)),
                    other(error),
                    Some("get the CA's new list"),
                )
            }
            Fault::InvalidCrlSignatureForPublicKey
            | Fault::UnsupportedCrlSignatureAlgorithmContext(_)
            | Fault::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
            | Fault::IssuerNotCrlSigner => (
                format!("the certificate can't be used: {}", fault(&error)),
                other(error),
                None,
            ),
            _ => {
                let found = chain.explain(&error);
                (
                    sentence(found.text),
                    found.cause.reason(error),
                    hint(&found.cause),
                )
            }
        };
        Refusal {
            what: format!("{what}; {}", claim_of(certificate)),
            hint,
            reason,
        }
    }

    /// The sender's own certificate can't be read.
    pub(super) fn unread(error: Fault, certificate: &CertificateDer<'_>) -> Self {
        let (cause, text) = chain::unread(&error, certificate);
        Refusal {
            what: format!("the certificate {text}"),
            hint: hint(&cause),
            reason: cause.reason(error),
        }
    }

    /// Nobody can prove to have a key of this kind.
    pub(super) fn key(kind: &str, names: &[Name]) -> Self {
        Refusal {
            what: format!(
                "the certificate's key is {kind}, which is not supported; {}",
                claim(names.iter().map(|name| &*name.text))
            ),
            hint: Some(keys::SUPPORTED),
            reason: CertificateError::InvalidPurpose,
        }
    }

    pub(super) fn not_allowed(names: &[Name], common_name: CommonName) -> Self {
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
