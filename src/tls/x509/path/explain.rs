//! Explanations why no path leads from a peer's certificate up to a trusted CA. rustls-webpki names
//! the worst fault that it met, but not the certificate that has it, and most of its errors have
//! several causes.

use std::time::SystemTime;

use rustls::CertificateError;
use rustls_pki_types::CertificateDer;
use webpki::{DerTypeId, Error, KeyUsage};

use super::authorities::Authorities;
use super::candidates::{Candidates, MAX_ABOVE};
use super::presented::PresentedChain;
use super::signatures::SignatureCheck;
use crate::tls::x509::certificate::{ParsedCertificate, extension};
use crate::tls::x509::der::{Element, Elements};
use crate::tls::x509::describe::{Day, fault, other, quoted, system_time};
use crate::tls::x509::distinguished_name::DistinguishedName;

/// A fault, and its description.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) cause: Cause,
    pub(crate) text: Text,
}

/// The kind of a fault.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// No CA of this name is trusted.
    UnknownCa(String),
    /// The certificate is self-signed.
    SelfSigned,
    /// The CA of that name has another key than the one that signed. It is trusted here, or the
    /// peer presents it.
    OtherKey {
        ca: String,
        is_trusted: bool,
    },
    /// A CA's name has two encodings, which people read as the same.
    OtherEncoding,
    Expired,
    NotValidYet,
    /// The peer presents a CA's certificate in place of its own.
    CaOwn,
    /// A certificate may be used for other purposes only.
    Purpose,
    NameConstraints,
    /// A CA has name constraints on names of a kind for which they are not supported.
    UnsupportedConstraints,
    /// The peer presents more certificates than it may.
    TooMany,
    /// A certificate is of another version.
    Version,
    /// A key is of a kind that is not supported.
    Key,
    /// A certificate is signed in a way that is not supported.
    Signature,
    /// A certificate has a part that is not supported.
    Unsupported,
    Damaged,
    Other,
}

/// The description of a fault.
#[derive(Debug)]
pub(crate) enum Text {
    /// The rest of a sentence on the peer's own certificate, beginning with a verb.
    Own(String),
    /// A sentence on something else.
    Sentence(String),
}

/// Explains why a peer's certificates were not accepted, from them and from the CAs that they were
/// verified by.
pub(crate) struct Explainer<'p, 'a> {
    presented: &'p PresentedChain<'a>,
    candidates: &'p Candidates<'a>,
    authorities: &'p Authorities,
    now: SystemTime,
    usage: KeyUsage,
    /// The peer's own certificate, and those above it by their names, as far as the peer presents
    /// them.
    chain: Vec<&'p ParsedCertificate<'a>>,
}

/// The CA that signed a certificate, among those that have the name of its issuer.
enum SignedBy<'p, 'a> {
    /// A CA that is trusted here.
    Trusted,
    /// A CA that the peer presents.
    Presented(&'p ParsedCertificate<'a>),
    /// There is no CA of that name.
    Unknown,
    /// None of the CAs; and the result for the first of them.
    None {
        signed: SignatureCheck,
        is_trusted: bool,
    },
}

/// The most CAs that rustls-webpki lets stand between a certificate and a trusted CA.
pub(crate) const MAX_BETWEEN: usize = 6;

/// id-kp (RFC 5280, section 4.2.1.12), and the last numbers of its purposes for TLS.
const ID_KP: [u8; 7] = [0x2b, 6, 1, 5, 5, 7, 3];
const SERVER_AUTH: u8 = 1;
const CLIENT_AUTH: u8 = 2;

/// The extensions that rustls-webpki knows, all of them below id-ce.
const KNOWN_EXTENSIONS: [u8; 6] = [15, 17, 19, 30, 31, 37];

impl<'p, 'a> Explainer<'p, 'a> {
    /// Follows the names of issuers upwards from the peer's own certificate.
    pub(crate) fn new(
        presented: &'p PresentedChain<'a>,
        candidates: &'p Candidates<'a>,
        authorities: &'p Authorities,
        now: SystemTime,
        usage: KeyUsage,
    ) -> Self {
        let mut explainer = Explainer {
            presented,
            candidates,
            authorities,
            now,
            usage,
            chain: Vec::new(),
        };
        let mut next = presented.own();
        // The names might form a circle.
        let most = presented.len().min(MAX_ABOVE + 1);
        while let Some(one) = next.filter(|_| explainer.chain.len() < most) {
            next = explainer.issuers(one).next();
            explainer.chain.push(one);
        }
        explainer
    }

    /// The presented certificates that have the name of this one's issuer.
    fn issuers(
        &self,
        below: &ParsedCertificate<'a>,
    ) -> impl Iterator<Item = &'p ParsedCertificate<'a>> {
        let (der, name) = (below.der, below.issuer);
        self.presented
            .above()
            .iter()
            .filter(move |above| above.subject == name && above.der != der)
    }

    /// Whether the peer presents none of the certificates above its own.
    #[cfg(feature = "client")]
    pub(crate) fn is_alone(&self) -> bool {
        self.chain.len() == 1
    }

    /// Explains this error of rustls-webpki.
    pub(crate) fn explain(&self, error: &Error) -> Finding {
        self.candidates.signatures.begin_explaining();
        for (at, one) in self.chain.iter().enumerate() {
            // A trusted CA's own certificate is not needed, so it does not matter that it can't be
            // parsed.
            if at > 0 && one.is_self_issued() {
                continue;
            }
            if let Err(error) = one.webpki() {
                let (cause, text) = unread(error, Some(one));
                return self.about(at, cause, text);
            }
        }
        let others = self.without_unread();
        self.explain_read(others.as_ref().unwrap_or(error))
    }

    /// The error without the certificates that rustls-webpki can't parse: none of them is in the
    /// chain, but the worst fault may be theirs.
    fn without_unread(&self) -> Option<Error> {
        let above = &self.candidates.certificates;
        let is_read = |der: &&CertificateDer<'_>| {
            let presented = self.presented.find(der);
            presented.is_some_and(ParsedCertificate::is_supported)
        };
        let read: Vec<CertificateDer<'_>> = above.iter().filter(is_read).cloned().collect();
        if read.len() == above.len() {
            return None;
        }
        let own = self.presented.supported_own().ok()?;
        self.authorities
            .verify_without_crls(
                own,
                &read,
                &self.candidates.signatures,
                self.now,
                self.usage,
            )
            .err()
    }

    fn explain_read(&self, error: &Error) -> Finding {
        let sentence = Finding::sentence;
        match error {
            Error::UnknownIssuer => self.unknown(self.chain.last().copied()),
            Error::CertExpired { not_after, .. } => {
                let end = system_time(*not_after);
                let text = format!("expired on {}", Day(end));
                self.about_first(Cause::Expired, text, |one| {
                    one.validity().is_some_and(|(_, to)| to == end)
                })
            }
            Error::CertNotValidYet { not_before, .. } => {
                let begin = system_time(*not_before);
                let text = format!("is not valid before {}", Day(begin));
                self.about_first(Cause::NotValidYet, text, |one| {
                    one.validity().is_some_and(|(at, _)| at == begin)
                })
            }
            Error::RequiredEkuNotFoundContext(_) => {
                let (purpose, whom) = match self.usage == KeyUsage::client_auth() {
                    true => (CLIENT_AUTH, "clients"),
                    false => (SERVER_AUTH, "servers"),
                };
                self.about_first(Cause::Purpose, format!("is not for {whom}"), |one| {
                    let purposes = one.extension(extension::EXTENDED_KEY_USAGE);
                    purposes.is_some_and(|purposes| {
                        !purposes
                            .elements()
                            .any(|id| id.content.split_last() == Some((&purpose, &ID_KP)))
                    })
                })
            }
            Error::CaUsedAsEndEntity => self.about(0, Cause::CaOwn, "is a CA's own".to_owned()),
            Error::EndEntityUsedAsCa => {
                let above = self.chain.iter().skip(1);
                let at = above.take_while(|one| one.is_ca()).count();
                let issuer = self.chain.get(at).map(|one| named(one.issuer));
                let issuer = issuer.unwrap_or_default();
                let text = format!("is signed by {issuer}, whose certificate is no CA's");
                self.about(at, Cause::Other, text)
            }
            Error::PathLenConstraintViolated => self.too_long(),
            Error::NameConstraintViolation => match self.unsupported_constraints() {
                Some((ca, names)) => sentence(
                    Cause::UnsupportedConstraints,
                    format!("CA {ca} has name constraints on {names}, which are not supported"),
                ),
                None => sentence(
                    Cause::NameConstraints,
                    "a CA above the certificate may not sign for its names".to_owned(),
                ),
            },
            Error::MalformedNameConstraint
            | Error::InvalidNetworkMaskConstraint
            | Error::TrailingData(DerTypeId::GeneralName) => sentence(
                Cause::Damaged,
                "a CA above the certificate has name constraints that are not valid".to_owned(),
            ),
            Error::MaximumPathDepthExceeded if self.presented.len() > MAX_ABOVE + 1 => sentence(
                Cause::TooMany,
                format!("more than {MAX_ABOVE} certificates came with the certificate"),
            ),
            Error::MaximumPathBuildCallsExceeded => self.too_many_signers(),
            Error::MaximumSignatureChecksExceeded => {
                let text = "can't be used: too many CRLs have the name of a CA above it".to_owned();
                self.about(0, Cause::Other, text)
            }
            Error::MaximumPathDepthExceeded => sentence(
                Cause::Other,
                format!(
                    "more than {MAX_BETWEEN} CAs stand between the certificate and a trusted one"
                ),
            ),
            Error::InvalidSignatureForPublicKey
            | Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => self.not_signed(),
            error => {
                let text = format!("can't be used: {}", fault(error));
                self.about_first(Cause::Other, text, |one| {
                    let alone = self.authorities.verify_without_crls(
                        one,
                        &[],
                        &self.candidates.signatures,
                        self.now,
                        self.usage,
                    );
                    one.is_supported() && alone.err().as_ref() == Some(error)
                })
            }
        }
    }

    /// Explains that no CA has the name of this certificate's issuer.
    fn unknown(&self, last: Option<&ParsedCertificate<'a>>) -> Finding {
        let Some(last) = last else {
            return self.about(0, Cause::Damaged, "is damaged".to_owned());
        };
        let is_own = self.chain.len() == 1;
        if is_own && last.is_self_issued() && self.signed(last, last.key) == SignatureCheck::Valid {
            return self.about(0, Cause::SelfSigned, "is self-signed".to_owned());
        }
        let ca = named(last.issuer);
        let trusted = self.authorities.anchors().iter();
        let trusted = trusted.map(|anchor| &*anchor.subject);
        let came = self.presented.above().iter();
        let came = came.map(|above| above.subject.content());
        let is_other = |name: &[u8]| name != last.issuer.content() && last.issuer.reads_like(name);
        if trusted.chain(came).any(is_other) {
            let text = format!("CA {ca} has its name written or encoded in another way itself");
            return Finding::sentence(Cause::OtherEncoding, text);
        }
        let text = format!("unknown CA {ca}");
        Finding::sentence(Cause::UnknownCa(ca), text)
    }

    /// Finds the certificate in the chain that the CA of its issuer's name has not signed, as far
    /// as can be told.
    fn not_signed(&self) -> Finding {
        let mut next = self.chain.first().copied();
        for at in 0..self.presented.len() {
            let Some(one) = next else {
                break;
            };
            let (signed, is_trusted) = match self.signer(one) {
                SignedBy::Presented(above) => {
                    next = Some(above);
                    continue;
                }
                SignedBy::Trusted => break,
                SignedBy::Unknown => return self.unknown(Some(one)),
                SignedBy::None { signed, is_trusted } => (signed, is_trusted),
            };
            return match signed {
                SignatureCheck::NotChecked => self.not_signed_from_the_top(),
                signed => by_other_key(at, one, signed, is_trusted),
            };
        }
        self.about(0, Cause::Other, "can't be used".to_owned())
    }

    /// Finds the same from the trusted CA downwards, where many CAs stand between: those signatures
    /// were verified when a path was looked for.
    fn not_signed_from_the_top(&self) -> Finding {
        self.candidates.signatures.begin_explaining();
        for (at, one) in self.chain.iter().enumerate().rev() {
            match self.signer(one) {
                SignedBy::Presented(_) | SignedBy::Trusted => {}
                SignedBy::None { signed, is_trusted } if signed != SignatureCheck::NotChecked => {
                    return by_other_key(at, one, signed, is_trusted);
                }
                SignedBy::Unknown | SignedBy::None { .. } => break,
            }
        }
        self.too_many_signers()
    }

    fn signer(&self, one: &ParsedCertificate<'a>) -> SignedBy<'p, 'a> {
        let anchors = self.authorities.anchors().iter();
        let trusted = anchors
            .filter(|anchor| *anchor.subject == *one.issuer.content())
            .map(|anchor| (&*anchor.subject_public_key_info, None));
        let presented = self.issuers(one).map(|above| (above.key, Some(above)));
        let mut none = SignedBy::Unknown;
        for (key, above) in trusted.chain(presented) {
            match (self.signed(one, key), above) {
                (SignatureCheck::Valid, None) => return SignedBy::Trusted,
                (SignatureCheck::Valid, Some(above)) => return SignedBy::Presented(above),
                (signed, above) if matches!(none, SignedBy::Unknown) => {
                    let is_trusted = above.is_none();
                    none = SignedBy::None { signed, is_trusted };
                }
                _ => {}
            }
        }
        none
    }

    fn signed(&self, certificate: &ParsedCertificate<'_>, key: &[u8]) -> SignatureCheck {
        self.candidates.signatures.check(certificate, key)
    }

    fn too_many_signers(&self) -> Finding {
        let text = "can't be used: too many CAs may have signed it".to_owned();
        self.about(0, Cause::TooMany, text)
    }

    /// Explains that a CA allows fewer CAs below it than there are.
    fn too_long(&self) -> Finding {
        let too_long = self.chain.iter().enumerate().skip(1).find_map(|(at, one)| {
            let most = one.path_len_constraint()?;
            (usize::from(most) + 1 < at).then(|| (named(one.subject), most))
        });
        let text = match too_long {
            Some((ca, most)) => {
                format!(
                    "more CAs stand below CA {ca} than its path length constraint, {most}, allows"
                )
            }
            None => "more CAs stand below a CA than its path length constraint allows".to_owned(),
        };
        Finding::sentence(Cause::Other, text)
    }

    /// A CA with name constraints that rustls-webpki does not implement and takes for violated, and
    /// the kind of names that they constrain.
    fn unsupported_constraints(&self) -> Option<(String, &'static str)> {
        let top = self.chain.last()?;
        let trusted = self.authorities.anchors().iter();
        let trusted = trusted
            .filter(|anchor| *anchor.subject == *top.issuer.content())
            .filter_map(|anchor| anchor.name_constraints.as_deref())
            .map(|constraints| (self.chain.len(), top.issuer, Elements(constraints)));
        let presented = self.chain.iter().enumerate().filter_map(|(at, one)| {
            let constraints = one.extension(extension::NAME_CONSTRAINTS)?;
            Some((at, one.subject, constraints.elements()))
        });
        trusted.chain(presented).find_map(|(at, ca, constraints)| {
            // The permitted and the excluded subtrees are two lists.
            let subtrees = constraints.flat_map(Element::elements);
            let mut bases = subtrees.filter_map(|subtree| subtree.elements().next());
            let below = self.chain.get(..at).unwrap_or_default();
            let names = bases.find_map(|base| unsupported_names(base, below))?;
            Some((named(ca), names))
        })
    }

    /// Describes the first certificate in the chain for which `holds` holds.
    fn about_first(
        &self,
        cause: Cause,
        text: String,
        holds: impl Fn(&ParsedCertificate<'a>) -> bool,
    ) -> Finding {
        match self.chain.iter().position(|one| holds(one)) {
            Some(at) => self.about(at, cause, text),
            None if self.chain.len() == 1 => self.about(0, cause, text),
            None => {
                let text = format!("the certificate, or one above it, {text}");
                Finding::sentence(cause, text)
            }
        }
    }

    /// Describes the certificate at this place in the chain.
    fn about(&self, at: usize, cause: Cause, text: String) -> Finding {
        match self.chain.get(at) {
            Some(one) => about(at, one, cause, text),
            None => Finding {
                cause,
                text: Text::Own(text),
            },
        }
    }
}

impl Cause {
    /// The error by which rustls chooses the alert for the peer (RFC 8446, section 6.2).
    pub(crate) fn error(&self, error: Error) -> CertificateError {
        match self {
            Cause::UnknownCa(_) | Cause::SelfSigned | Cause::OtherEncoding => {
                CertificateError::UnknownIssuer
            }
            Cause::OtherKey { .. } => CertificateError::BadSignature,
            Cause::Expired => CertificateError::Expired,
            Cause::NotValidYet => CertificateError::NotValidYet,
            Cause::CaOwn
            | Cause::Purpose
            | Cause::Version
            | Cause::Key
            | Cause::Signature
            | Cause::Unsupported => CertificateError::InvalidPurpose,
            Cause::Damaged => CertificateError::BadEncoding,
            Cause::NameConstraints
            | Cause::UnsupportedConstraints
            | Cause::TooMany
            | Cause::Other => other(error),
        }
    }
}

impl Finding {
    fn sentence(cause: Cause, text: String) -> Self {
        Finding {
            cause,
            text: Text::Sentence(text),
        }
    }
}

fn about(at: usize, one: &ParsedCertificate<'_>, cause: Cause, text: String) -> Finding {
    match at {
        0 => Finding {
            cause,
            text: Text::Own(text),
        },
        _ => {
            let ca = named(one.subject);
            Finding::sentence(cause, format!("the certificate of CA {ca} {text}"))
        }
    }
}

/// Describes a certificate that the CA of its issuer's name has not signed, at this place in the
/// chain.
fn by_other_key(
    at: usize,
    one: &ParsedCertificate<'_>,
    signed: SignatureCheck,
    is_trusted: bool,
) -> Finding {
    let ca = named(one.issuer);
    match signed {
        SignatureCheck::UnsupportedSignature(kind) => {
            let text = format!("is signed with {kind}, which is not supported");
            about(at, one, Cause::Signature, text)
        }
        SignatureCheck::UnsupportedKey(kind) => Finding::sentence(
            Cause::Key,
            format!("the key of CA {ca} is {kind}, which is not supported"),
        ),
        SignatureCheck::Valid | SignatureCheck::Invalid | SignatureCheck::NotChecked => {
            let text = format!("a signature is not by the key of CA {ca}");
            Finding::sentence(Cause::OtherKey { ca, is_trusted }, text)
        }
    }
}

/// A distinguished name in quotation marks.
fn named(name: DistinguishedName<'_>) -> String {
    quoted(&name.to_string())
}

/// Describes a certificate that rustls-webpki can't parse.
pub(crate) fn unread(
    error: &Error,
    certificate: Option<&ParsedCertificate<'_>>,
) -> (Cause, String) {
    let (cause, text) = match error {
        Error::UnsupportedCertVersion => (Cause::Version, "is not of X.509 version 3"),
        Error::UnsupportedCriticalExtension => {
            let mut extensions = certificate
                .into_iter()
                .flat_map(ParsedCertificate::extensions);
            let unknown = extensions.find(|extension| {
                let is_known = |id| KNOWN_EXTENSIONS.contains(&id);
                extension.is_critical && !extension.id_ce().is_some_and(is_known)
            });
            let unknown = unknown.map(|extension| extension.title());
            let text = format!(
                "has the critical extension {}, which is not supported",
                unknown.unwrap_or_default()
            );
            return (Cause::Unsupported, text);
        }
        Error::SignatureAlgorithmMismatch => (
            Cause::Damaged,
            "is damaged: it names two different kinds of signature",
        ),
        Error::ExtensionValueInvalid => (Cause::Damaged, "is damaged: it has an extension twice"),
        _ if certificate.is_some_and(|one| one.has_unique_id) => (
            Cause::Unsupported,
            "has a unique identifier of its issuer or subject, which is not supported",
        ),
        _ => (Cause::Damaged, "is damaged"),
    };
    (cause, text.to_owned())
}

/// The kind of names that the base of a subtree constrains, if rustls-webpki does not compare such
/// names and takes each of them for a violation. The certificates are those below it.
fn unsupported_names(base: Element<'_>, below: &[&ParsedCertificate<'_>]) -> Option<&'static str> {
    // The base is a GeneralName (RFC 5280, section 4.2.1.6).
    let kind = |name: Element<'_>| name.tag & 0x1f;
    let names = match kind(base) {
        0 => "names of other kinds",
        1 => "e-mail addresses",
        3 => "X.400 addresses",
        // Each certificate has a subject.
        4 => return Some("directory names"),
        5 => "EDI party names",
        6 => "URIs",
        8 => "registered IDs",
        _ => return None,
    };
    let are_there = below.iter().any(|one| {
        let alternatives = one.extension(extension::SUBJECT_ALT_NAME);
        let mut alternatives = alternatives.into_iter().flat_map(Element::elements);
        alternatives.any(|name| kind(name) == kind(base))
    });
    are_there.then_some(names)
}
