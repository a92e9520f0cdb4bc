//! The sender's side of TLS.

mod connector;
mod error;
mod fingerprint;
mod verifier;

pub use connector::{Connector, MAX_ANSWER, Sender};
pub use error::{Alert, ConnectError, SendError};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use verifier::{CertificateFault, ServerVerifier};
