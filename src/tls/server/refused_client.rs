//! Senders whose certificates are refused.

use rustls::CertificateError;
use webpki::Error as Fault;

use crate::tls::CertificateFault;
use crate::tls::RefusedCertificate;
use crate::tls::x509::crl_store::SelectedCrls;
use crate::tls::x509::describe::{QUOTED, fault, other, shortened};
use crate::tls::x509::keys;
use crate::tls::x509::names::{CommonName, Name};
use crate::tls::x509::path::authorities::NoPath;
use crate::tls::x509::path::explain::{self, Cause, Explainer, Text};
use crate::tls::x509::path::presented::PresentedChain;
use crate::tls::x509::path::revocation::RevocationFault;

/// A sender whose certificate was refused.
#[derive(Clone, Debug)]
pub(super) struct RefusedClient {
    pub(super) certificate: RefusedCertificate,
    /// The error by which rustls chooses the alert for the sender.
    pub(super) error: CertificateError,
}

impl RefusedClient {
    /// Describes why no path was found for a certificate, where `all` has all CRLs.
    pub(super) fn new(
        no_path: &NoPath<'_>,
        presented: &PresentedChain<'_>,
        all: &SelectedCrls<'_>,
        explainer: &Explainer<'_, '_>,
    ) -> Self {
        let own = presented.own();
        let names = own.map_or_else(Vec::new, |own| own.names(CommonName::Counts));
        let refused = |fault, reason, hint, error| {
            let names = names.iter().map(|name| &*name.text);
            Self::claiming(names, fault, reason, hint, error)
        };
        if let Some(found) = RevocationFault::new(no_path, presented, all) {
            return refused(found.fault, found.reason, found.hint, found.error);
        }
        match &no_path.error {
            error @ (Fault::InvalidCrlSignatureForPublicKey
            | Fault::UnsupportedCrlSignatureAlgorithmContext(_)
            | Fault::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
            | Fault::IssuerNotCrlSigner) => refused(
                CertificateFault::NoCrl,
                format!("the certificate can't be used: {}", fault(error)),
                None,
                other(error.clone()),
            ),
            error => {
                let found = explainer.explain(error);
                refused(
                    CertificateFault::from(&found.cause),
                    sentence(found.text),
                    hint(&found.cause),
                    found.cause.error(error.clone()),
                )
            }
        }
    }

    /// Refuses a sender whose own certificate can't be parsed.
    pub(super) fn unread(error: Fault, presented: &PresentedChain<'_>) -> Self {
        let (cause, text) = explain::unread(&error, presented.own());
        RefusedClient {
            certificate: RefusedCertificate {
                fault: CertificateFault::from(&cause),
                reason: format!("the certificate {text}"),
                claimed: Vec::new(),
                hint: hint(&cause),
            },
            error: cause.error(error),
        }
    }

    /// Refuses a key of this kind: no sender can prove to hold one.
    pub(super) fn key(kind: &str, names: &[Name]) -> Self {
        Self::claiming(
            names.iter().map(|name| &*name.text),
            CertificateFault::Unsupported,
            format!("the certificate's key is {kind}, which is not supported"),
            Some(keys::SUPPORTED),
            CertificateError::InvalidPurpose,
        )
    }

    pub(super) fn not_allowed(names: &[Name], common_name: CommonName) -> Self {
        Self::claiming(
            names.iter().map(|name| &*name.text),
            CertificateFault::Name,
            "name not allowed".to_owned(),
            match common_name {
                CommonName::Counts => None,
                CommonName::Unchecked => {
                    Some("a common name does not count below a CA with name constraints")
                }
            },
            CertificateError::ApplicationVerificationFailure,
        )
    }

    /// Refuses a sender that does not hold the key of its certificate.
    pub(super) fn wrong_key(names: &[String]) -> Self {
        Self::claiming(
            names.iter().map(String::as_str),
            CertificateFault::KeyNotHeld,
            "the sender does not hold the certificate's key".to_owned(),
            Some("its certificate and its key must belong together"),
            CertificateError::BadSignature,
        )
    }

    /// Refuses a sender that claims these names. It keeps as many as are quoted, and one that tells
    /// whether there are more.
    fn claiming<'n>(
        names: impl Iterator<Item = &'n str>,
        fault: CertificateFault,
        reason: String,
        hint: Option<&'static str>,
        error: CertificateError,
    ) -> Self {
        let claimed: Vec<_> = names
            .take(QUOTED.0 + 1)
            .map(|name| shortened(name).into_owned())
            .collect();
        let reason = match claimed.is_empty() {
            true => format!("{reason}; the sender has no name"),
            false => reason,
        };
        RefusedClient {
            certificate: RefusedCertificate {
                fault,
                reason,
                claimed,
                hint,
            },
            error,
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
