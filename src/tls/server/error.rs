//! Errors of handshakes, and of streams after their handshakes.

use std::io;

use super::refusal::Refusal;
use crate::tls::alert::alert_name;
use crate::tls::transport::tls_error;

/// The reason why a handshake failed.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The peer closed the connection.
    Closed,
    /// The connection broke.
    Reset(String),
    /// The peer did not send a handshake that this server accepts.
    Refused {
        what: String,
        hint: Option<&'static str>,
    },
    /// The sender's certificate is missing, or was not accepted.
    Unverified {
        what: String,
        claimed: Vec<String>,
        hint: Option<&'static str>,
    },
}

/// The reason why no more can be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The connection was closed without a close_notify.
    NoCloseNotify,
    /// The connection broke.
    Reset(String),
    /// The peer sent a fatal alert.
    Alert(String),
    /// A record is not valid.
    Tls(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        ReadError::from(&error)
    }
}

impl From<&io::Error> for ReadError {
    fn from(error: &io::Error) -> Self {
        match (error.kind(), tls_error(error)) {
            (_, Some(alert @ rustls::Error::AlertReceived(_))) => {
                ReadError::Alert(alert.to_string())
            }
            (_, Some(tls)) => ReadError::Tls(tls.to_string()),
            (io::ErrorKind::InvalidData, None) => ReadError::Tls(error.to_string()),
            (io::ErrorKind::UnexpectedEof, None) => ReadError::NoCloseNotify,
            (_, None) => ReadError::Reset(error.to_string()),
        }
    }
}

impl From<Refusal> for HandshakeError {
    fn from(refusal: Refusal) -> Self {
        HandshakeError::Unverified {
            what: refusal.what,
            claimed: refusal.claimed,
            hint: refusal.hint,
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match (error.kind(), tls_error(&error)) {
            (_, Some(rustls::Error::NoCertificatesPresented)) => HandshakeError::Unverified {
                what: "no certificate".to_owned(),
                claimed: Vec::new(),
                // In TLS 1.3, a sender presents no certificate if we can't verify its key.
                hint: Some(
                    "senders must present one that a CA trusted here has signed, for a key that is \
                     RSA (not RSASSA-PSS), P-256, P-384 or Ed25519",
                ),
            },
            (_, Some(tls)) => {
                let (what, hint) = describe_tls_error(tls);
                HandshakeError::Refused { what, hint }
            }
            (io::ErrorKind::InvalidData, None) => HandshakeError::Refused {
                what: error.to_string(),
                hint: None,
            },
            (io::ErrorKind::UnexpectedEof, None) => HandshakeError::Closed,
            (_, None) => HandshakeError::Reset(error.to_string()),
        }
    }
}

/// Describes why a handshake failed, for people who have to act on it, and suggests a remedy if
/// there is one.
fn describe_tls_error(error: &rustls::Error) -> (String, Option<&'static str>) {
    use rustls::AlertDescription as Alert;
    use rustls::Error::{
        AlertReceived, DecryptError, InvalidMessage, PeerIncompatible, PeerMisbehaved,
    };
    use rustls::InvalidMessage as Message;
    use rustls::PeerIncompatible as Peer;
    use rustls::PeerMisbehaved as Misbehaved;
    let what = match error {
        InvalidMessage(Message::InvalidContentType) => "this is not TLS",
        PeerIncompatible(
            Peer::Tls12NotOffered
            | Peer::Tls12NotOfferedOrEnabled
            | Peer::SupportedVersionsExtensionRequired
            | Peer::ServerDoesNotSupportTls12Or13,
        ) => "no version of TLS in common",
        // TLS 1.1 has no such extension, and rustls misses it before it looks at the version. A
        // hello of TLS 1.2 may leave it out, and thereby offers SHA-1 (RFC 5246, section
        // 7.4.1.4.1).
        InvalidMessage(Message::MissingData("ClientHelloPayload"))
        | PeerIncompatible(Peer::SignatureAlgorithmsExtensionRequired) => {
            "no version of TLS in common, or no kind of signature but SHA-1"
        }
        PeerIncompatible(Peer::NoCipherSuitesInCommon) => {
            "no cipher suite in common, or none for our certificate's kind of key"
        }
        PeerIncompatible(Peer::EcPointsExtensionRequired) => {
            return (
                "the sender's hello of TLS 1.2 does not name its formats of curve points \
                 (ec_point_formats)"
                    .to_owned(),
                Some("TLS 1.3 needs no such extension"),
            );
        }
        PeerMisbehaved(Misbehaved::InvalidKeyShare) => "the sender's key share is not valid",
        PeerMisbehaved(Misbehaved::OfferedEmptyApplicationProtocol) => {
            "the sender offers a protocol with an empty name (ALPN)"
        }
        PeerIncompatible(Peer::NoKxGroupsInCommon) => "no key exchange in common",
        PeerIncompatible(Peer::NoSignatureSchemesInCommon) => {
            "no kind of signature in common, or none for our certificate's kind of key"
        }
        // rustls ignores an address, although a sender may not ask for one (RFC 6066, section 3).
        InvalidMessage(Message::InvalidServerName)
        | PeerMisbehaved(Misbehaved::ServerNameMustContainOneHostName) => {
            return (
                "the name that the sender asks for (SNI) is no host name".to_owned(),
                Some("senders ask for a DNS name, without a port or a zone, or for none"),
            );
        }
        PeerMisbehaved(Misbehaved::SignedHandshakeWithUnadvertisedSigScheme) => {
            "the sender signed the handshake by a scheme that was not offered"
        }
        AlertReceived(alert) => {
            let name = alert_name(*alert);
            let what = match alert {
                Alert::UnknownCA => "does not trust our certificate",
                Alert::BadCertificate
                | Alert::CertificateExpired
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                | Alert::UnsupportedCertificate => "rejects our certificate",
                _ => "ended the handshake",
            };
            return (format!("the sender {what}: {name}"), None);
        }
        // In TLS 1.3, OpenSSL sends its alert about a certificate before it encrypts.
        DecryptError => {
            "the sender's message can't be decrypted; it may be an alert, sent because the sender \
             does not trust our certificate"
        }
        error => return (error.to_string(), None),
    };
    (what.to_owned(), None)
}
