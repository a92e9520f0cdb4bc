//! The receiver's side of TLS.

mod config;
mod refusal;
mod stream;
mod verifier;
mod wire;

pub use config::{Tls, TlsBuilder, TlsVersion};
#[cfg(feature = "cli")]
pub(super) use refusal::{RevocationFault, parsed, presented};
#[cfg(feature = "cli")]
pub(super) use stream::tls_error;
pub(crate) use stream::{Accept, HandshakeError, NormalizedTransport, ReadError, ServerStream};
pub use verifier::ClientVerifier;
pub(crate) use wire::reading_ahead;
