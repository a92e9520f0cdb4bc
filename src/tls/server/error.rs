//! Errors of handshakes, and of streams after their handshakes.

use std::io;

use super::refused_client::RefusedClient;
use crate::tls::transport::tls_error;
use crate::tls::{Alert, Incompatibility, Refusal};

/// The reason why a handshake failed.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The peer closed the connection.
    Closed,
    /// The connection broke.
    Reset { reason: String },
    /// The peer did not send a handshake that this server accepts, or refused the server.
    Refused(Refusal),
}

/// The reason why no more can be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The connection was closed without a close_notify.
    NoCloseNotify,
    /// The connection broke.
    Reset { reason: String },
    /// The peer sent a fatal alert.
    Alert(Alert),
    /// A record is not valid.
    Tls { reason: String },
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        ReadError::from(&error)
    }
}

impl From<&io::Error> for ReadError {
    fn from(error: &io::Error) -> Self {
        match (error.kind(), tls_error(error)) {
            (_, Some(rustls::Error::AlertReceived(alert))) => ReadError::Alert(Alert::of(*alert)),
            (_, Some(tls)) => ReadError::Tls {
                reason: tls.to_string(),
            },
            (io::ErrorKind::InvalidData, None) => ReadError::Tls {
                reason: error.to_string(),
            },
            (io::ErrorKind::UnexpectedEof, None) => ReadError::NoCloseNotify,
            (_, None) => ReadError::Reset {
                reason: error.to_string(),
            },
        }
    }
}

impl From<RefusedClient> for HandshakeError {
    fn from(refused: RefusedClient) -> Self {
        HandshakeError::Refused(Refusal::Certificate(Box::new(refused.certificate)))
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match (error.kind(), tls_error(&error)) {
            (_, Some(tls)) => HandshakeError::Refused(refusal(tls)),
            (io::ErrorKind::InvalidData, None) => {
                HandshakeError::Refused(Refusal::InvalidHandshake {
                    reason: error.to_string(),
                })
            }
            (io::ErrorKind::UnexpectedEof, None) => HandshakeError::Closed,
            (_, None) => HandshakeError::Reset {
                reason: error.to_string(),
            },
        }
    }
}

/// The reason why a handshake failed with this error.
fn refusal(error: &rustls::Error) -> Refusal {
    use rustls::Error::{
        AlertReceived, DecryptError, InvalidMessage, NoCertificatesPresented, PeerIncompatible,
        PeerMisbehaved,
    };
    use rustls::InvalidMessage as Message;
    use rustls::PeerIncompatible as Peer;
    use rustls::PeerMisbehaved as Misbehaved;
    let incompatibility = match error {
        NoCertificatesPresented => return Refusal::NoCertificate,
        AlertReceived(alert) => return Refusal::Alert(Alert::of(*alert)),
        InvalidMessage(Message::InvalidContentType) => return Refusal::NotTls,
        // rustls ignores an address, although a sender may not ask for one.
        InvalidMessage(Message::InvalidServerName)
        | PeerMisbehaved(Misbehaved::ServerNameMustContainOneHostName) => {
            return Refusal::InvalidServerName;
        }
        PeerIncompatible(
            Peer::Tls12NotOffered
            | Peer::Tls12NotOfferedOrEnabled
            | Peer::SupportedVersionsExtensionRequired
            | Peer::ServerDoesNotSupportTls12Or13,
        ) => Incompatibility::Version,
        // TLS 1.1 has no such extension, and rustls misses it before it looks at the version.
        InvalidMessage(Message::MissingData("ClientHelloPayload"))
        | PeerIncompatible(Peer::SignatureAlgorithmsExtensionRequired) => {
            Incompatibility::VersionOrSignatureScheme
        }
        PeerIncompatible(Peer::NoCipherSuitesInCommon) => Incompatibility::CipherSuite,
        PeerIncompatible(Peer::EcPointsExtensionRequired) => Incompatibility::PointFormats,
        PeerIncompatible(Peer::NoKxGroupsInCommon) => Incompatibility::KeyExchange,
        PeerIncompatible(Peer::NoSignatureSchemesInCommon) => Incompatibility::SignatureScheme,
        error => {
            let reason = match error {
                PeerMisbehaved(Misbehaved::InvalidKeyShare) => {
                    "the sender's key share is not valid".to_owned()
                }
                PeerMisbehaved(Misbehaved::OfferedEmptyApplicationProtocol) => {
                    "the sender offers a protocol with an empty name (ALPN)".to_owned()
                }
                PeerMisbehaved(Misbehaved::SignedHandshakeWithUnadvertisedSigScheme) => {
                    "the sender signed the handshake by a scheme that was not offered".to_owned()
                }
                // In TLS 1.3, OpenSSL sends its alert about a certificate before it encrypts.
                DecryptError => "the sender's message can't be decrypted; it may be an alert, \
                                 sent because the sender does not trust our certificate"
                    .to_owned(),
                error => error.to_string(),
            };
            return Refusal::InvalidHandshake { reason };
        }
    };
    Refusal::Incompatible(incompatibility)
}
