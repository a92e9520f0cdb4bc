//! The sender's side of TLS.

mod connector;
mod error;
mod fingerprint;
mod verifier;

pub use connector::{ANSWER, Connector, Sender};
pub use error::{Alert, ConnectError, SendError};
pub use fingerprint::{Fingerprint, NoFingerprint};
pub use verifier::{Distrust, Servers};
