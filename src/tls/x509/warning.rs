//! What can be used, but would better be looked at.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::describe::{Day, Summary};

/// What is said of a CA whose key can't be used, and what could be.
const UNSUPPORTED_CA_KEY: &str = "every sender that it signed for is refused: keys can be RSA of \
                                  2048 to 8192 bits, ECDSA on P-256 or P-384, or Ed25519";

/// How long before its end a certificate or a CRL is spoken of.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Something about a [`Tls`](crate::Tls) that should be known. It works all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsWarning {
    /// A certificate or a CRL ends within 14 days.
    Ending {
        /// What it is: `certificate`, `CA certificate`, `CRL`.
        what: &'static str,
        /// Whose it is.
        name: String,
        /// When it ends.
        end: SystemTime,
    },
    /// A certificate or a CRL has ended.
    Ended {
        /// What it is: `certificate`, `CA certificate`, `CRL`.
        what: &'static str,
        /// Whose it is.
        name: String,
        /// When it ended.
        end: SystemTime,
    },
    /// A server's certificate has no DNS name and no IP address in a subjectAltName. A common name
    /// does not stand for a host (RFC 9525, section 2).
    NoHostName {
        /// Whose it is.
        name: String,
    },
    /// The key of a CA that senders are verified by is of a kind that is not supported. Each
    /// certificate that it signed is refused.
    UnsupportedCaKey {
        /// The CA (RFC 4514).
        name: String,
        /// The kind of key.
        key: String,
        /// The file that it was read from, if it was one.
        file: Option<PathBuf>,
    },
    /// A CRL was not issued by any of the CAs that senders are verified by. It is of use only if
    /// senders present its issuer's certificate.
    UnknownCrlIssuer {
        /// The issuer (RFC 4514).
        issuer: String,
    },
    /// A CRL was issued by a CA that has the name, but not the key of one that senders are verified
    /// by. It is of use only if senders present its issuer's certificate.
    CrlOfOtherKey {
        /// The issuer (RFC 4514).
        issuer: String,
    },
}

impl TlsWarning {
    /// What follows from it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            TlsWarning::Ended {
                what: "certificate",
                ..
            } => Some("senders that verify it will refuse it"),
            TlsWarning::NoHostName { .. } => {
                Some("most senders that verify it will refuse it: a common name does not count")
            }
            TlsWarning::Ended { what: "CRL", .. } => {
                Some("senders below its issuer are refused until there is a new one")
            }
            TlsWarning::UnsupportedCaKey { .. } => Some(UNSUPPORTED_CA_KEY),
            TlsWarning::UnknownCrlIssuer { .. } | TlsWarning::CrlOfOtherKey { .. } => {
                Some("it counts only for senders that present its issuer's certificate")
            }
            _ => None,
        }
    }
}

/// The names in it come from certificates, and are not escaped.
impl fmt::Display for TlsWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsWarning::Ending { what, name, end } => {
                write!(f, "the {what} of {name} ends on {}", Day(*end))
            }
            TlsWarning::Ended { what, name, end } => {
                write!(f, "the {what} of {name} expired on {}", Day(*end))
            }
            TlsWarning::NoHostName { name } => {
                write!(
                    f,
                    "the certificate of {name} has no subjectAltName for a host"
                )
            }
            TlsWarning::UnsupportedCaKey { name, key, file } => {
                write!(f, "the key of CA {name}")?;
                if let Some(file) = file {
                    write!(f, " in {}", file.display())?;
                }
                write!(f, " is {key}, which is not supported")
            }
            TlsWarning::UnknownCrlIssuer { issuer } => {
                write!(f, "the CRL of {issuer} is from none of the CAs")
            }
            TlsWarning::CrlOfOtherKey { issuer } => {
                write!(
                    f,
                    "the CRL of {issuer} is not signed by the key of the CA of that name"
                )
            }
        }
    }
}

/// Whether this has ended, or will soon.
pub(crate) fn ending(what: &'static str, summary: &Summary, now: SystemTime) -> Option<TlsWarning> {
    let end = summary.end?;
    let name = summary.title.clone();
    if end < now {
        return Some(TlsWarning::Ended { what, name, end });
    }
    let soon = now.checked_add(SOON).is_some_and(|soon| end < soon);
    soon.then_some(TlsWarning::Ending { what, name, end })
}
