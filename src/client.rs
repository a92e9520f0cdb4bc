//! The sender's side of TLS.
//!
//! A [`Connector`] verifies servers, by a [`ServerVerifier`], and opens a [`Sender`] to each, which
//! is an [`AsyncWrite`](futures_lite::AsyncWrite). When [`Sender::finish`] succeeds, a server of this
//! crate has the whole stream, and its output has taken it.
//!
//! The bytes are sent as they are: compress them before, in any format that the server decodes.
//!
//! With the feature `resume`, a [`ResumedSender`] sends a stream that outlives its connection: the server
//! acknowledges what it keeps, and after a break the sender goes on from there.

pub use crate::tls::client::{
    ConnectError, Connector, Fingerprint, MAX_ANSWER, ParseFingerprintError, SendError, Sender,
    ServerAlert, ServerVerifier,
};
#[cfg(feature = "resume")]
pub use crate::tls::client::{ResumeError, ResumedSender};
