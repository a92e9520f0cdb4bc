//! The sender's side of TLS, for the command `send`.
//!
//! What async-tls 0.13's client does not do is made up for here:
//!
//! - A write that fails hides what the server said before it cut the connection: later reads fail
//!   by trying the write again. Below it, a [`SenderTransport`] keeps a failed write to itself, so that the
//!   server's alert is still read, and reported in place of a broken pipe.
//! - A write also reads, and may meet the alert, or the end. The first error is kept until
//!   everything before it has been read, as in `stream.rs`.
//! - When a handshake fails, it writes once: what was to be sent before the alert, perhaps, and not
//!   the alert that tells the server why. Polled once more, it writes the rest.
//! - A read also writes, and could send our close_notify and read the answer to it in one go, so
//!   that it could not be told from a server that ended first. While we close, reads write nothing.
//! - What rustls answers by itself, such as a request to renegotiate, is kept without bound while it
//!   can't be sent. A server that takes nothing is read only so far.

mod connector;
mod error;
mod fingerprint;
mod resolver;
mod sender;
mod transport;
mod verifier;

pub use connector::{Connector, MAX_ANSWER};
pub use error::{Alert, ConnectError, SendError};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use sender::Sender;
pub use verifier::{CertificateFault, ServerVerifier};
