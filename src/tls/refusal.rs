//! The reasons why a handshake ends in a refusal.

use std::fmt;

use super::alert::Alert;
use super::x509::CertificateFault;
use crate::proxy;

/// The reason why a peer was [refused](crate::End::Refused), or refused this server.
///
/// Its printed form may quote the peer, and is not escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// This server has no [certificate](crate::ServerBuilder::tls).
    NoServerCertificate,
    /// The peer does not speak TLS.
    NotTls,
    /// The peer offers nothing that this server supports.
    Incompatible(Incompatibility),
    /// The name that the sender asks for (SNI) is no host name (RFC 6066, section 3).
    InvalidServerName,
    /// A message of the handshake is not valid.
    #[non_exhaustive]
    InvalidHandshake {
        /// The fault, for people.
        reason: String,
    },
    /// The peer ended the handshake with an alert (RFC 8446, section 6): perhaps it does not trust
    /// the server's certificate.
    Alert(Alert),
    /// The sender presented no certificate, and [must](crate::tls::ClientVerifier) present one.
    NoCertificate,
    /// The sender does not know the [key](crate::ServerBuilder::forward_key) that it must share with
    /// the receiver.
    SharedKey,
    /// The sender's certificate was not accepted.
    Certificate(Box<RefusedCertificate>),
    /// The peer may not connect, by [`ServerBuilder::allow`](crate::ServerBuilder::allow).
    Address,
    /// A [proxy](crate::Connection::behind_proxy) did not say whose connection it passes on.
    Proxy(proxy::Fault),
}

/// The part of a handshake for which a peer offers nothing that this server supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incompatibility {
    /// The version of TLS.
    Version,
    /// The version of TLS, or the signature schemes: the peer names none, and so offers SHA-1 alone
    /// (RFC 5246, section 7.4.1.4.1).
    VersionOrSignatureScheme,
    /// The cipher suites, or those for the key of the server's certificate.
    CipherSuite,
    /// The key exchange groups.
    KeyExchange,
    /// The signature schemes, or those for the key of the server's certificate.
    SignatureScheme,
    /// The peer names no formats of curve points, without which this server does not speak TLS 1.2
    /// (RFC 8422, section 5.1.2).
    PointFormats,
}

/// A sender's certificate that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedCertificate {
    /// The kind of the fault.
    pub fault: CertificateFault,
    /// The fault, for people. It may quote the sender.
    pub reason: String,
    /// The first names in the certificate, which nobody verified. Long names are cut off.
    pub claimed: Vec<String>,
    pub(crate) hint: Option<&'static str>,
}

impl Refusal {
    /// A remedy for the sender or the receiver.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Refusal::Incompatible(Incompatibility::PointFormats) => {
                Some("TLS 1.3 needs no such extension")
            }
            Refusal::InvalidServerName => {
                Some("senders ask for a DNS name, without a port or a zone, or for none")
            }
            // In TLS 1.3, a sender presents no certificate if we can't verify its key.
            Refusal::NoCertificate => Some(
                "senders must present one that a CA trusted here has signed, for a key that is RSA \
                 (not RSASSA-PSS), P-256, P-384 or Ed25519",
            ),
            Refusal::Certificate(certificate) => certificate.hint,
            _ => None,
        }
    }

    /// The first names in the sender's certificate, which nobody verified, if that certificate is
    /// the reason.
    pub fn claimed(&self) -> &[String] {
        match self {
            Refusal::Certificate(certificate) => &certificate.claimed,
            _ => &[],
        }
    }

    /// Whether the sender's certificate, or the lack of one, is the reason.
    pub fn concerns_certificate(&self) -> bool {
        matches!(self, Refusal::NoCertificate | Refusal::Certificate(_))
    }
}

/// Prints the reason, without the names that the sender [claims](Refusal::claimed).
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoServerCertificate => f.write_str("this server has no certificate"),
            Refusal::NotTls => f.write_str("this is not TLS"),
            Refusal::Incompatible(incompatibility) => incompatibility.fmt(f),
            Refusal::InvalidServerName => {
                f.write_str("the name that the sender asks for (SNI) is no host name")
            }
            Refusal::InvalidHandshake { reason } => f.write_str(reason),
            Refusal::Alert(alert) => {
                let did = alert.complaint().unwrap_or("ended the handshake");
                write!(f, "the sender {did}: {alert}")
            }
            Refusal::NoCertificate => f.write_str("no certificate"),
            Refusal::SharedKey => f.write_str("the sender does not know the shared key"),
            Refusal::Certificate(certificate) => f.write_str(&certificate.reason),
            Refusal::Address => f.write_str("this address is not allowed"),
            Refusal::Proxy(fault) => fault.fmt(f),
        }
    }
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Incompatibility::Version => "no version of TLS in common",
            Incompatibility::VersionOrSignatureScheme => {
                "no version of TLS in common, or no kind of signature but SHA-1"
            }
            Incompatibility::CipherSuite => {
                "no cipher suite in common, or none for our certificate's kind of key"
            }
            Incompatibility::KeyExchange => "no key exchange in common",
            Incompatibility::SignatureScheme => {
                "no kind of signature in common, or none for our certificate's kind of key"
            }
            Incompatibility::PointFormats => {
                "the sender's hello of TLS 1.2 does not name its formats of curve points \
                 (ec_point_formats)"
            }
        })
    }
}
