//! The sender's side of TLS, which [`crate::client`] makes public.
//!
//! This side makes up for five shortcomings of async-tls 0.13's client:
//!
//! - A failed write hides the data that the server sent before it cut the connection: later reads
//!   fail, because they try the write again. Below it, a `SenderTransport` keeps the failure to
//!   itself, so that the server's alert is still read, and reported in place of a broken pipe.
//! - A write also reads, and may meet the alert or the end. The first error is kept until all data
//!   before it has been read, as in `server/stream.rs`.
//! - When a handshake fails, async-tls writes once: perhaps the records before the alert, and not
//!   the alert that tells the server why. Polled once more, it writes the rest.
//! - A read also writes. It could send our close_notify and read the server's in one go, so that
//!   the server would seem to have ended first. While we close, reads write nothing.
//! - rustls answers by itself, for example a request to renegotiate, and keeps unsent answers
//!   without bound. A server that reads nothing is read only up to a limit.

mod connector;
mod error;
mod fingerprint;
mod resolver;
#[cfg(feature = "resume")]
mod resumed;
mod sender;
mod transport;
mod verifier;

pub use connector::{Connector, MAX_ANSWER};
pub use error::{ConnectError, SendError, ServerAlert};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
#[cfg(feature = "resume")]
pub use resumed::{ResumeError, ResumedSender};
pub use sender::Sender;
pub use verifier::ServerVerifier;
