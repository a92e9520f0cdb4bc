//! The receiver's side of TLS: its configuration, its handshakes, and the verification of senders.

mod config;
mod error;
#[cfg(feature = "unstable-rustls")]
mod from_rustls;
mod hello;
mod pattern;
mod refused_client;
mod resolver;
mod stream;
mod verifier;
mod wire;

pub use config::{Tls, TlsBuilder};
pub(crate) use error::{HandshakeError, ReadError};
pub(crate) use stream::{Accept, ServerStream};
pub use verifier::ClientVerifier;
pub(crate) use wire::reading_ahead;
