//! The errors of certificates, keys, CRLs and configurations.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The reason why a certificate and its key can't be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read.
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The content of a file can't be used.
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: Box<TlsError>,
    },
    /// The PEM text is damaged, or holds a block that would be lost.
    Pem {
        /// The line, from 1 on.
        line: usize,
        /// The fault on that line.
        reason: String,
    },
    /// The text holds no such item.
    Missing {
        /// The kind of the missing item.
        kind: CredentialKind,
    },
    /// An item in the text can't be read, or is of a kind that is not supported.
    Damaged {
        /// The kind of the item.
        kind: CredentialKind,
        /// The line on which the item begins, from 1 on, if it is PEM.
        line: Option<usize>,
        /// The fault.
        reason: String,
    },
    /// A pattern is neither a name nor `*.` and a DNS name.
    Pattern {
        /// The pattern.
        name: String,
    },
    /// The private key is encrypted.
    EncryptedKey,
    /// The private key is damaged, or of a kind that is not built in.
    UnusableKey {
        /// The kind of the key, if that is the reason.
        kind: Option<String>,
    },
    /// The private key belongs to none of the certificates.
    WrongKey,
    /// This system has no CA certificates, or none that can be read.
    #[cfg(feature = "client")]
    NoRoots {
        /// The reason why they can't be read, if there was an error.
        reason: Option<String>,
    },
    /// The file for secrets can't be opened.
    KeyLog {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Users other than its owner may read or write the file for secrets.
    ExposedKeyLog {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The certificate or the key can't be used for TLS.
    Unusable {
        /// The error of the TLS library.
        reason: String,
    },
    /// The TLS library's own configuration can't be used.
    Configuration {
        /// The error of the TLS library.
        reason: String,
    },
}

/// A kind of item that a PEM file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialKind {
    /// A certificate of a server or a client.
    Certificate,
    /// A private key.
    PrivateKey,
    /// A certificate by which peers are verified.
    CaCertificate,
    /// A certificate revocation list.
    Crl,
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CredentialKind::Certificate => "certificate",
            CredentialKind::PrivateKey => "private key",
            CredentialKind::CaCertificate => "CA certificate",
            CredentialKind::Crl => "CRL",
        })
    }
}

impl TlsError {
    pub(crate) fn in_file(self, path: &Path) -> Self {
        TlsError::File {
            path: path.to_owned(),
            source: Box::new(self),
        }
    }

    pub(crate) fn unusable(error: impl fmt::Display) -> Self {
        TlsError::Unusable {
            reason: error.to_string(),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Read { path, source } => {
                write!(f, "can't read {}: {source}", path.display())
            }
            TlsError::File { path, source } => write!(f, "{}: {source}", path.display()),
            TlsError::Pem { line, reason } => write!(f, "line {line}: {reason}"),
            TlsError::Missing { kind } => write!(f, "no {kind} found"),
            TlsError::Damaged { kind, line, reason } => {
                if let Some(line) = line {
                    write!(f, "line {line}: ")?;
                }
                write!(f, "the {kind} can't be used: {reason}")
            }
            TlsError::Pattern { name } => write!(f, "{name:?} is not a name"),
            TlsError::EncryptedKey => f.write_str("the private key is encrypted"),
            TlsError::UnusableKey { kind: None } => {
                f.write_str("the private key is damaged, or of a kind that can't be used")
            }
            TlsError::UnusableKey { kind: Some(kind) } => {
                write!(f, "the private key is {kind}, which can't be used")
            }
            TlsError::WrongKey => f.write_str("the private key is not that of the certificate"),
            #[cfg(feature = "client")]
            TlsError::NoRoots { reason: None } => f.write_str("this system has no CA certificates"),
            #[cfg(feature = "client")]
            TlsError::NoRoots {
                reason: Some(reason),
            } => write!(f, "can't read the CA certificates of this system: {reason}"),
            TlsError::KeyLog { path, source } => {
                write!(f, "can't open {}: {source}", path.display())
            }
            TlsError::ExposedKeyLog { path, mode } => write!(
                f,
                "{} can't hold secrets: others than its owner may use it (mode {mode:04o})",
                path.display()
            ),
            TlsError::Configuration { reason } => {
                write!(f, "can't use the TLS configuration: {reason}")
            }
            TlsError::Unusable { reason } => write!(f, "can't use the certificate: {reason}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::Read { source, .. } | TlsError::KeyLog { source, .. } => Some(source),
            TlsError::File { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}
