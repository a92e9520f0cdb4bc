//! Reasons why a sender's certificate is refused.

use rustls::CertificateError;
use webpki::Error as Fault;

use crate::tls::x509::crl_store::SelectedCrls;
use crate::tls::x509::describe::{QUOTED, fault, other, shortened};
use crate::tls::x509::keys;
use crate::tls::x509::names::{CommonName, Name};
use crate::tls::x509::path::authorities::NoPath;
use crate::tls::x509::path::explain::{self, Cause, Explainer, Text};
use crate::tls::x509::path::presented::PresentedChain;
use crate::tls::x509::path::revocation::RevocationFault;

/// The reason why a sender's certificate was refused.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) what: String,
    /// The names that the sender claims, if its certificate was read; see [`End::Refused`].
    ///
    /// [`End::Refused`]: crate::End::Refused
    pub(super) claimed: Vec<String>,
    pub(super) hint: Option<&'static str>,
    /// The error by which rustls chooses the alert for the sender.
    pub(super) reason: CertificateError,
}

impl Refusal {
    /// Describes why no path was found for a certificate, where `all` has all CRLs.
    pub(super) fn new(
        no_path: &NoPath<'_>,
        presented: &PresentedChain<'_>,
        all: &SelectedCrls<'_>,
        explainer: &Explainer<'_, '_>,
    ) -> Self {
        let error = &no_path.error;
        let revocation = RevocationFault::new(no_path, presented, all);
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
                let found = explainer.explain(error);
                (
                    sentence(found.text),
                    found.cause.reason(error.clone()),
                    hint(&found.cause),
                )
            }
        };
        let own = presented.own();
        let names = own.map_or_else(Vec::new, |own| own.names(CommonName::Counts));
        let (what, claimed) = claiming(what, names.iter().map(|name| &*name.text));
        Refusal {
            what,
            claimed,
            hint,
            reason,
        }
    }

    /// Refuses a sender whose own certificate can't be parsed.
    pub(super) fn unread(error: Fault, presented: &PresentedChain<'_>) -> Self {
        let (cause, text) = explain::unread(&error, presented.own());
        Refusal {
            what: format!("the certificate {text}"),
            claimed: Vec::new(),
            hint: hint(&cause),
            reason: cause.reason(error),
        }
    }

    /// Refuses a key of this kind: no sender can prove to hold one.
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

    /// Refuses a sender that does not hold the key of its certificate.
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

/// Suggests a remedy, on the sender's side or here.
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

/// The names that the sender claims: as many as are quoted, and one that tells whether there are
/// more. The text says so if it claims none.
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
