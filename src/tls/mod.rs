//! TLS: certificates, the server's configuration, and the stream on which async-tls's peculiarities
//! end. Nothing outside this folder names async-tls or rustls.

#[cfg(feature = "cli")]
mod client;
mod identity;
mod key_log;
mod server;
mod suites;
mod transport;
mod version;
mod x509;

#[cfg(feature = "cli")]
pub use client::{
    Alert, CertificateFault, ConnectError, Connector, Fingerprint, MAX_ANSWER,
    ParseFingerprintError, SendError, Sender, ServerVerifier,
};
pub use identity::Identity;
pub(crate) use server::{Accept, HandshakeError, ReadError, ServerStream, reading_ahead};
pub use server::{ClientVerifier, Tls, TlsBuilder};
pub(crate) use transport::NormalizedTransport;
pub use version::TlsVersion;
pub use x509::TlsWarning;
