//! Receives streams over TLS from many senders, decompresses them, and delivers the plain bytes.
//!
//! ```text
//!  sender ──TLS──▶ accept ──▶ Connection ──▶ async-channel ──▶ Sink ──▶ Output
//!                  yours      handshake,     open, data,       decoder   lines, raw,
//!                             read           close             each      json, files,
//!                               ▲                                │      your own
//!                               └────── credits, verdict ◀───────┘
//! ```
//!
//! A [`Server`] makes a [`Connection`] of each accepted stream: a future that shakes hands and
//! reads. It sends what it decrypts to a [`Sink`], which has a [decoder](decode) for each
//! connection and delivers what comes out of it: to an [`Output`], or to whoever calls
//! [`Sink::next`]. How a stream [ended](End) is told on both sides: to the output, and in the
//! [`Report`] that the connection resolves to.
//!
//! ```no_run
//! use futures_lite::stream;
//! use smol::Executor;
//! use tlsink::output::Lines;
//! use tlsink::{Server, Tls};
//!
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tls = Tls::from_pem_files("cert.pem", "key.pem")?;
//! let (server, sink) = Server::builder().tls(tls).build()?;
//! let executor = Executor::new();
//!
//! smol::block_on(executor.run(async {
//!     let listener = smol::net::TcpListener::bind("127.0.0.1:4433").await?;
//!     let incoming = stream::unfold(listener, |listener| async {
//!         Some((listener.accept().await, listener))
//!     });
//!     executor.spawn(sink.run(Lines::new(std::io::stdout()))).detach();
//!     server
//!         .serve(incoming, |connection| executor.spawn(connection).detach())
//!         .await;
//!     Ok(())
//! }))
//! # }
//! ```
//!
//! # Back-pressure
//!
//! A connection reads only while it holds a credit. It has two, for chunks of at most
//! [`CHUNK`](limits::CHUNK) bytes, and a credit returns when its chunk is decoded and handed on.
//! When the output is slow, credits stay away, nothing is read, and TCP slows the sender down.
//!
//! # Fairness
//!
//! The sink serves connections in turn, at most [`TURN`](limits::TURN) bytes of output each: what
//! decodes to gigabytes delays nobody.
//!
//! # Executors
//!
//! The crate spawns nothing. Its futures run on any executor; they are `Send` if the streams are.
//! Deadlines are timers of async-io.
//!
//! # What it does not do
//!
//! It sends no data back, resumes no TLS session, and keeps nothing on disk but what
//! [`Files`](output::Files) is given.

#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

mod budget;
pub mod decode;
mod error;
mod event;
mod link;
mod peer;

mod connection;
mod receipt;
mod server;
mod shared;
mod tls;

mod delivery;
pub mod output;
mod sink;
mod totals;

pub use budget::Memory;
pub use connection::{Connection, Report};
pub use delivery::Delivery;
pub use error::{BuildError, Cut, End, OutputError, TemplateError, Timeout, TlsError, Truncation};
pub use output::Output;
pub use peer::{Address, Conn, ConnId, Peer};
pub use server::{Builder, Server};
pub use sink::{Decoded, Sink};
pub use tls::{Clients, Identity, Tls, TlsBuilder, TlsVersion, TlsWarning};
pub use totals::{Failures, Totals};

/// Sizes that are fixed, and defaults.
pub mod limits {
    pub use crate::event::CHUNK;
    pub use crate::server::MAX_CONNECTIONS;
    pub use crate::sink::TURN;
}
