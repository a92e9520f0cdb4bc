//! Warnings about certificates and CRLs that can be used.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::describe::{Day, Summary};
use crate::count::Count;
use crate::tls::error::CredentialKind;

/// The hint for a CA whose key can't be used.
const UNSUPPORTED_CA_KEY: &str = "every sender that it signed for is refused: keys can be RSA of \
                                  2048 to 8192 bits, ECDSA on P-256 or P-384, or Ed25519";

/// The time before the end of a certificate or a CRL from which on a warning is given.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A fault of a [`Tls`](crate::Tls) that its operator should know of, although it works.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsWarning {
    /// A certificate or a CRL expires within 14 days.
    Ending {
        /// The kind of the item.
        kind: CredentialKind,
        /// The name of its subject or issuer.
        name: String,
        /// The time of its end.
        end: SystemTime,
        /// The days (UTC) from the check to its end.
        days: u64,
    },
    /// A certificate or a CRL has expired.
    Ended {
        /// The kind of the item.
        kind: CredentialKind,
        /// The name of its subject or issuer.
        name: String,
        /// The time of its end.
        end: SystemTime,
    },
    /// A server's certificate has no DNS name and no IP address in a subjectAltName. A common name
    /// does not stand for a host (RFC 9525, section 2).
    NoHostName {
        /// The name of its subject or issuer.
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
    /// None of the CAs that senders are verified by issued a CRL. It is of use only if senders
    /// present its issuer's certificate.
    UnknownCrlIssuer {
        /// The issuer (RFC 4514).
        issuer: String,
    },
    /// A CA issued a CRL that has the name, but not the key of one that senders are verified by. It
    /// is of use only if senders present its issuer's certificate.
    CrlOfOtherKey {
        /// The issuer (RFC 4514).
        issuer: String,
    },
}

impl TlsWarning {
    /// The consequence of the fault, or its remedy.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            TlsWarning::Ended {
                kind: CredentialKind::Certificate,
                ..
            } => Some("senders that verify it will refuse it"),
            TlsWarning::NoHostName { .. } => {
                Some("most senders that verify it will refuse it: a common name does not count")
            }
            TlsWarning::Ended {
                kind: CredentialKind::Crl,
                ..
            } => Some("senders below its issuer are refused until there is a new one"),
            TlsWarning::UnsupportedCaKey { .. } => Some(UNSUPPORTED_CA_KEY),
            TlsWarning::UnknownCrlIssuer { .. } | TlsWarning::CrlOfOtherKey { .. } => {
                Some("it counts only for senders that present its issuer's certificate")
            }
            _ => None,
        }
    }
}

/// The item that a warning is about: `certificate for NAME`, `CA certificate of NAME`, `CRL of
/// NAME`.
struct Subject<'a> {
    kind: CredentialKind,
    name: &'a str,
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject { kind, name } = self;
        match kind {
            CredentialKind::Certificate => write!(f, "certificate for {name}"),
            kind => write!(f, "{kind} of {name}"),
        }
    }
}

/// The names come from certificates, and are not escaped.
impl fmt::Display for TlsWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsWarning::Ending {
                kind,
                name,
                end,
                days,
            } => {
                write!(
                    f,
                    "{} expires on {} ",
                    Subject { kind: *kind, name },
                    Day(*end)
                )?;
                match days {
                    0 => f.write_str("(today)"),
                    days => write!(f, "(in {})", Count(*days, "day")),
                }
            }
            TlsWarning::Ended { kind, name, end } => {
                write!(
                    f,
                    "{} expired on {}",
                    Subject { kind: *kind, name },
                    Day(*end)
                )
            }
            TlsWarning::NoHostName { name } => {
                write!(f, "certificate for {name} has no subjectAltName for a host")
            }
            TlsWarning::UnsupportedCaKey { name, key, file } => {
                write!(f, "key of CA {name}")?;
                if let Some(file) = file {
                    write!(f, " in {}", file.display())?;
                }
                write!(f, " is {key}, which is not supported")
            }
            TlsWarning::UnknownCrlIssuer { issuer } => {
                write!(f, "CRL of {issuer} is from none of the CAs")
            }
            TlsWarning::CrlOfOtherKey { issuer } => {
                write!(
                    f,
                    "CRL of {issuer} is not signed by the key of the CA of that name"
                )
            }
        }
    }
}

/// The time from which on a certificate or a CRL is not valid any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expiration {
    /// The kind of the item.
    pub kind: CredentialKind,
    /// The name of its subject or issuer.
    pub name: String,
    /// The time of its end: notAfter (RFC 5280, section 4.1.2.5), or nextUpdate of a CRL (section
    /// 5.1.2.5).
    pub end: SystemTime,
}

impl Expiration {
    /// That of an item of this kind; `None` if it states no end.
    pub(crate) fn of(kind: CredentialKind, summary: &Summary) -> Option<Self> {
        Some(Expiration {
            kind,
            name: summary.title.clone(),
            end: summary.end?,
        })
    }

    /// The warning about an item that has expired, or will soon.
    pub(crate) fn warning(self, now: SystemTime) -> Option<TlsWarning> {
        let Expiration { kind, name, end } = self;
        if end < now {
            return Some(TlsWarning::Ended { kind, name, end });
        }
        let soon = now.checked_add(SOON).is_some_and(|soon| end < soon);
        soon.then(|| TlsWarning::Ending {
            kind,
            name,
            end,
            days: day_number(end).saturating_sub(day_number(now)),
        })
    }
}

/// The days from 1970-01-01 (UTC) to this time.
fn day_number(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / (24 * 60 * 60)
}
