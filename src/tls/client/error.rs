//! Errors of connecting and sending, and the meaning of a server's alert to its receiver.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;

use rustls::AlertDescription;

use super::fingerprint::Fingerprint;
use super::resolver::ClientCertificateResolver;
use crate::count::Count;
use crate::tls::transport::tls_error;
use crate::tls::{Alert, CertificateFault};

/// The fatal alert (RFC 8446, section 6.2) by which a server ended a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerAlert {
    /// The alert.
    pub alert: Alert,
    /// Whether the server wants a certificate, and was shown none.
    pub wants_certificate: bool,
    /// The meaning of the alert in this handshake.
    meaning: &'static str,
}

impl ServerAlert {
    fn new(alert: AlertDescription, resolver: &ClientCertificateResolver) -> Self {
        use AlertDescription as Said;
        let asked = resolver.asked.load(Ordering::Relaxed);
        let shown = resolver.shown.load(Ordering::Relaxed);
        // Servers have many alerts for a missing certificate.
        let misses = matches!(
            alert,
            Said::CertificateRequired
                | Said::NoCertificate
                | Said::HandshakeFailure
                | Said::BadCertificate
                | Said::CertificateUnknown
                | Said::AccessDenied
        );
        let wants_certificate = misses && !shown && (asked || alert == Said::CertificateRequired);
        let meaning = match alert {
            _ if wants_certificate && resolver.key.is_some() => {
                "the server wants a certificate with another kind of key"
            }
            _ if wants_certificate => "the server wants a certificate",
            Said::BadCertificate if shown => "the server can't use our certificate",
            Said::UnsupportedCertificate if shown => {
                "the server does not take a certificate of this kind"
            }
            Said::CertificateRevoked if shown => {
                "our certificate, or one above it, is revoked, says the server"
            }
            Said::CertificateExpired if shown => {
                "our certificate, or one above it, has expired or is not valid yet, says the server"
            }
            Said::CertificateUnknown if shown => "the server does not take our certificate",
            Said::UnknownCA if shown => "the server does not know the CA of our certificate",
            Said::AccessDenied if shown => {
                "the server does not let in the names of our certificate"
            }
            Said::DecryptError if shown => {
                "the server could not verify our certificate, or that we have its key"
            }
            Said::HandshakeFailure if shown => {
                "the server does not take our certificate, or has no cipher suite, key exchange or \
                 kind of signature in common with us"
            }
            Said::HandshakeFailure | Said::InsufficientSecurity => {
                "the server has no cipher suite, key exchange or kind of signature in common with us"
            }
            Said::ProtocolVersion => "the server has no version of TLS in common with us",
            Said::UnrecognisedName => "the server has no certificate for this name",
            Said::BadRecordMac | Said::DecryptError => {
                "the data was changed on its way to the server"
            }
            Said::InternalError => "the server failed",
            Said::UserCanceled => "the server was told to stop",
            _ => "the server gave up",
        };
        ServerAlert {
            alert: Alert::of(alert),
            wants_certificate,
            meaning,
        }
    }
}

/// Prints the meaning of the alert, and its name: `the server wants a certificate
/// (certificate_required)`.
impl fmt::Display for ServerAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.meaning, self.alert)
    }
}

/// The reason why no handshake was completed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The given name is neither a DNS name nor an IP address.
    Name {
        /// The given name.
        name: String,
    },
    /// The server's certificate was not accepted.
    Untrusted {
        /// The kind of its fault.
        fault: CertificateFault,
        /// The fault, for people: the end of a sentence on the certificate, which it quotes.
        reason: String,
        /// The certificate's fingerprint.
        fingerprint: Fingerprint,
    },
    /// The server refused.
    Alert(ServerAlert),
    /// The server did not send a handshake that this side accepts.
    Handshake {
        /// The fault, for people.
        reason: String,
    },
    /// The server closed the connection.
    Closed,
    /// The connection broke.
    Reset {
        /// The system's error.
        reason: String,
    },
}

impl ConnectError {
    pub(super) fn new(error: &io::Error, resolver: &ClientCertificateResolver) -> Self {
        use rustls::{CertificateError, InvalidMessage, PeerIncompatible};
        let reason = match tls_error(error) {
            Some(rustls::Error::AlertReceived(alert)) => {
                return ConnectError::Alert(ServerAlert::new(*alert, resolver));
            }
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                "the server does not speak TLS there".to_owned()
            }
            Some(rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            )) => "the server has no version of TLS in common with us".to_owned(),
            Some(rustls::Error::PeerIncompatible(
                PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon,
            )) => "the server asks for a certificate, and takes no kind of signature of ours"
                .to_owned(),
            Some(rustls::Error::InvalidCertificate(CertificateError::BadSignature)) => {
                "the server did not prove that its certificate is its own".to_owned()
            }
            Some(tls) => format!("the server's handshake is not valid: {tls}"),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof => return ConnectError::Closed,
                io::ErrorKind::InvalidData => error.to_string(),
                _ => {
                    return ConnectError::Reset {
                        reason: error.to_string(),
                    };
                }
            },
        };
        ConnectError::Handshake { reason }
    }
}

/// Quotations of the server are not escaped.
impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Name { name } => {
                write!(f, "{name:?} is neither a DNS name nor an IP address")
            }
            ConnectError::Untrusted { reason, .. } => {
                write!(f, "the server's certificate {reason}")
            }
            ConnectError::Alert(alert) => alert.fmt(f),
            ConnectError::Handshake { reason } => f.write_str(reason),
            ConnectError::Closed => {
                f.write_str("the server closed the connection during the handshake")
            }
            ConnectError::Reset { reason } => {
                write!(f, "the connection broke during the handshake: {reason}")
            }
        }
    }
}

impl std::error::Error for ConnectError {}

/// The reason why a stream did not reach the server whole, or may not have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The server refused.
    Alert(ServerAlert),
    /// The server's close_notify came before ours was sent.
    Ended,
    /// The server closed the connection without a close_notify.
    NoCloseNotify,
    /// The connection broke.
    Reset {
        /// The system's error.
        reason: String,
    },
    /// The server sent a record that is not valid.
    Tls {
        /// The fault, for people.
        reason: String,
    },
    /// The server answered more than it may.
    Answer {
        /// The most bytes that it may answer before they are taken.
        limit: usize,
    },
    /// The call came after [`Sender::finish`](super::Sender::finish): the stream takes no more
    /// bytes.
    Finished,
}

impl SendError {
    pub(super) fn new(error: &io::Error, resolver: &ClientCertificateResolver) -> Self {
        match (error.kind(), tls_error(error)) {
            (_, Some(rustls::Error::AlertReceived(alert))) => {
                SendError::Alert(ServerAlert::new(*alert, resolver))
            }
            (_, Some(tls)) => SendError::Tls {
                reason: tls.to_string(),
            },
            (io::ErrorKind::InvalidData, None) => SendError::Tls {
                reason: error.to_string(),
            },
            (io::ErrorKind::UnexpectedEof, None) => SendError::NoCloseNotify,
            (_, None) => SendError::Reset {
                reason: error.to_string(),
            },
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Alert(alert) => alert.fmt(f),
            SendError::Ended => f.write_str("the server ended the stream before all was sent"),
            SendError::NoCloseNotify => {
                f.write_str("the server closed the connection without a close_notify")
            }
            SendError::Reset { reason } => write!(f, "the connection broke: {reason}"),
            SendError::Tls { reason } => write!(f, "the server's data is not valid: {reason}"),
            SendError::Answer { limit } => {
                let limit = Count(*limit as u64, "byte");
                write!(f, "the server answers with more than {limit}")
            }
            SendError::Finished => f.write_str("the stream is finished and takes no more bytes"),
        }
    }
}

impl std::error::Error for SendError {}

/// The error of a [`Sender`](super::Sender) as a writer. [`io::Error::downcast`] gives it back.
impl From<SendError> for io::Error {
    fn from(error: SendError) -> Self {
        let kind = match error {
            SendError::Alert(_) => io::ErrorKind::ConnectionAborted,
            SendError::Ended | SendError::Finished => io::ErrorKind::BrokenPipe,
            SendError::NoCloseNotify => io::ErrorKind::UnexpectedEof,
            SendError::Reset { .. } => io::ErrorKind::ConnectionReset,
            SendError::Tls { .. } | SendError::Answer { .. } => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// A server sends the same alert for several faults, and for any certificate in a chain.
    #[test]
    fn an_alert_is_said_to_mean_no_more_than_it_does() {
        use AlertDescription as Said;
        let resolver = |shown| ClientCertificateResolver {
            key: None,
            asked: AtomicBool::new(shown),
            shown: AtomicBool::new(shown),
        };
        for (alert, shown, said) in [
            (
                Said::BadCertificate,
                true,
                "the server can't use our certificate (bad_certificate)",
            ),
            (
                Said::CertificateExpired,
                true,
                "our certificate, or one above it, has expired or is not valid yet, says the server \
                 (certificate_expired)",
            ),
            (
                Said::CertificateRevoked,
                true,
                "our certificate, or one above it, is revoked, says the server (certificate_revoked)",
            ),
            (
                Said::DecryptError,
                true,
                "the server could not verify our certificate, or that we have its key (decrypt_error)",
            ),
            (
                Said::HandshakeFailure,
                true,
                "the server does not take our certificate, or has no cipher suite, key exchange or \
                 kind of signature in common with us (handshake_failure)",
            ),
            (
                Said::HandshakeFailure,
                false,
                "the server has no cipher suite, key exchange or kind of signature in common with us \
                 (handshake_failure)",
            ),
        ] {
            let alert = ServerAlert::new(alert, &resolver(shown));
            assert_eq!(alert.to_string(), said);
        }
    }
}
