//! The receiver's configuration of TLS, beyond [`Tls`] itself: certificates, verified
//! senders, and the facts and faults of sessions.
//!
//! Senders are verified by a [`ClientVerifier`]. Their names then come with each connection:
//!
//! ```no_run
//! # fn f() -> Result<(), tlsink::tls::TlsError> {
//! use tlsink::Tls;
//! use tlsink::tls::{ClientVerifier, Identity};
//!
//! let senders = ClientVerifier::from_ca_pem_file("ca.pem")?.allow("*.plant.example")?;
//! let tls = Tls::builder()
//!     .identity(Identity::from_pem_files("server.pem", "server.key")?)
//!     .client_verifier(senders)
//!     .build()?;
//! # Ok(())
//! # }
//! ```

// There are three modules: `server` receives, `client` sends, and `x509` parses, verifies and
// describes the certificates of both. The files beside them serve both sides. Nothing outside this
// folder names async-tls or rustls.

mod alert;
#[cfg(feature = "client")]
pub(crate) mod client;
mod error;
mod identity;
mod key_log;
pub(crate) mod refusal;
pub(crate) mod server;
mod session;
mod suites;
mod transport;
mod x509;

pub use alert::Alert;
pub use error::{CredentialKind, TlsError};
pub use identity::Identity;
pub(crate) use refusal::{Incompatibility, Refusal, RefusedCertificate};
pub(crate) use server::{Accept, HandshakeError, ReadError, ServerStream, Tls, reading_ahead};
pub use server::{ClientVerifier, TlsBuilder};
pub use session::{CipherSuite, TlsSession, TlsVersion};
pub(crate) use transport::NormalizedTransport;
pub use x509::{CertificateFault, Expiration, TlsWarning};
