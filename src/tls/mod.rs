//! TLS in three rooms: [`server`] receives, [`client`] sends, and [`x509`] parses, verifies and
//! describes the certificates of both. The files beside them serve both sides. Nothing outside this
//! folder names async-tls or rustls.

mod alert;
#[cfg(feature = "client")]
pub mod client;
mod identity;
mod key_log;
mod server;
mod suites;
mod transport;
mod version;
mod x509;

pub use identity::Identity;
pub(crate) use server::{Accept, HandshakeError, ReadError, ServerStream, reading_ahead};
pub use server::{ClientVerifier, Tls, TlsBuilder};
pub(crate) use transport::NormalizedTransport;
pub use version::TlsVersion;
pub use x509::TlsWarning;
