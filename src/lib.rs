//! Receives streams over TLS from many senders, decompresses them, and delivers the plain bytes.
//!
//! ```text
//!  sender ──TLS──▶ accept ──▶ Connection ──▶ async-channel ──▶ Sink ──▶ Output
//!                  yours      handshake,     open, data,       decoder   lines, raw,
//!                             read           close             each      json, files,
//!                               ▲                                │      your own
//!                               └────── credits, outcome ◀───────┘
//! ```
//!
//! A [`Server`] makes a [`Connection`] of each accepted stream: a future that shakes hands and
//! reads. It sends what it decrypts to a [`Sink`], which has a [decoder](decode) for each
//! connection and delivers what comes out of it: to an [`Output`], or to whoever calls
//! [`Sink::next`]. How a stream [ended](End) is told on both sides: to the output, and in the
//! [`Report`] that the connection resolves to.
//!
//! # Quick start
//!
//! `tlsink cert .` makes certificates to try it with: `ca.pem`, which senders verify the server by,
//! `server.pem` and `server.key`. This prints whatever lines come, each with its sender before it:
//!
//! ```no_run
//! use futures_lite::stream;
//! use tlsink::output::Lines;
//! use tlsink::{Server, Tls};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     smol::block_on(async {
//!         let tls = Tls::from_pem_files("server.pem", "server.key")?;
//!         let (server, sink) = Server::builder().tls(tls).build()?;
//!
//!         let listener = smol::net::TcpListener::bind("127.0.0.1:4433").await?;
//!         let incoming = stream::unfold(listener, |listener| async {
//!             Some((listener.accept().await, listener))
//!         });
//!         let accepting = async move {
//!             let spawn = |connection| smol::spawn(connection).detach();
//!             server.serve(incoming, spawn).await;
//!         };
//!         smol::spawn(accepting).detach();
//!
//!         sink.run(Lines::new(std::io::stdout()).labels(true)).await?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! Send it something, compressed or not:
//!
//! ```sh
//! echo hello | gzip | openssl s_client -connect 127.0.0.1:4433 -quiet -no_ign_eof -nocommands
//! ```
//!
//! In `Cargo.toml`, leave the program out, and choose the formats:
//!
//! ```toml
//! tlsink = { version = "0.1", default-features = false, features = ["gzip", "zstd"] }
//! futures-lite = "2"
//! ```
//!
//! # Two ways to the bytes
//!
//! **Push.** [`Sink::run`] calls an [`Output`], whose one required method takes the bytes. There are
//! outputs that print [lines](output::Lines), [raw bytes](output::Raw) or [JSON](output::Json), that
//! write [files](output::Files), and that call a [function for each line](output::EachLine).
//!
//! **Pull.** [`Sink::next`] lends what comes next, [`Sink::into_stream`] yields copies of it as a
//! [`Stream`](futures_lite::Stream).
//!
//! Either way, this is promised:
//!
//! - **Order.** Each connection is opened once, has data any number of times, and is closed once. Its
//!   bytes come in the order in which they were sent, and before the error behind them. Between
//!   connections there is no order.
//! - **Threads.** An output is called by the task or thread that the sink runs in, and by no other.
//!   What it blocks, it blocks there, and nowhere else: for an output that blocks, run the sink in a
//!   thread of its own ([`Sink::run_blocking`]). Several sinks
//!   ([`build_lanes`](ServerBuilder::build_lanes)) share the connections out, and each connection stays
//!   with its sink. It is fastest when a sink and [its](Connection::lane) connections share a thread
//!   once they are [established](Connection::established), as they do in the program.
//! - **Memory.** Data comes in pieces of at most [`MAX_TURN_OUTPUT`](limits::MAX_TURN_OUTPUT) bytes (256 KiB). Chunks,
//!   windows, and what this crate's outputs keep when they are given [`Sink::memory`], stay together
//!   within [`max_memory`](ServerBuilder::max_memory). Beside that, a sink has one buffer of `MAX_TURN_OUTPUT` bytes,
//!   and an established connection some 8 KiB; some 30 KiB while a TLS record has come in part.
//! - **Credits.** A connection's credit returns when its chunk is decoded to its end and the last of
//!   it was dealt with: the output's call has returned, or the sink was asked for the next thing.
//!   A connection hears how it ended after the output has flushed, or after the next thing was asked
//!   for.
//!
//! # Back-pressure
//!
//! A connection reads only while it holds a credit. It has four ([`CREDITS`](limits::CREDITS)), for
//! chunks of at most [`CHUNK`](limits::CHUNK) bytes (64 KiB). When the output is slow, credits stay
//! away, nothing is read, and TCP slows the sender down. While it waits for its peer, a connection
//! holds no buffer.
//!
//! # Fairness
//!
//! The sink serves connections in turn, at most [`MAX_TURN_OUTPUT`](limits::MAX_TURN_OUTPUT) decoded bytes each: what
//! decodes to gigabytes delays nobody. An output that writes more than it is given, such as a label
//! for each line, ends a turn [earlier](Output::turn). Each handshake runs in its own connection, under a
//! [deadline](ServerBuilder::handshake_timeout), never in the accept loop.
//!
//! # How streams end
//!
//! Only [`End::Clean`] is complete: the sender's close_notify came, and the compressed data is whole.
//! Every other [`End`] says what is missing or wrong. The sender is told: a clean stream is answered
//! with a close_notify, once the output has it, and no other stream is. What was authenticated and decoded before it is
//! delivered first. No end is lost, whatever is dropped, and when: a sink that was told of a
//! connection is told of its end, and a connection hears what the sink made of it, or that the sink
//! is gone. The sink never sees a connection whose handshake fails; that resolves to a
//! [`Report`] that is not [established](Report::established), and [`Json::refused`](output::Json::refused)
//! prints it.
//!
//! # What is told
//!
//! A [`Conn`], which outputs are given, has the connection's number, its [`Peer`] with verified
//! names, the format, and the bytes received and delivered so far; a [`Report`] has the same, and the
//! end. [`Server::connections`], [`Server::totals`] and [`Server::failures`] are live counters: to
//! read them takes no lock, and to keep them costs the sink a store for each chunk.
//!
//! # Stopping
//!
//! [`Server::shutdown`] is the graceful stop: it accepts nothing more, lets what is open go on for a
//! while, cuts the rest, and yields the reports of what it cut. [`Server::stop`] and [`Server::cut`]
//! are its two halves. After a stop, sinks end once they are through, [`Sink::run`] with its
//! [`Totals`]. An output that fails ends its sink; connections are then cut one by one, and it is for
//! the application to stop the server. With a [`StreamError`] it ends one stream, and the sink goes on.
//!
//! # Limits
//!
//! | limit | default | when it is reached |
//! |---|---|---|
//! | [`max_connections`](ServerBuilder::max_connections) | 10,000 | further ones wait to be accepted |
//! | [`max_per_ip`](ServerBuilder::max_per_ip) | none | [`End::Limit`] |
//! | [`handshake_timeout`](ServerBuilder::handshake_timeout) | 10 s | [`End::Timeout`] |
//! | [`idle_timeout`](ServerBuilder::idle_timeout) | none | [`End::Timeout`] |
//! | [`max_memory`](ServerBuilder::max_memory) | 1 GiB | connections wait; a window that finds none is [`End::Limit`] |
//! | [`max_window`](ServerBuilder::max_window) | 8 MiB | [`End::Limit`] |
//! | [`max_decoded`](ServerBuilder::max_decoded) | none | [`End::Limit`] |
//! | [`max_line`](output::Lines::max_line) of an output | 1 MiB | the line comes in pieces |
//!
//! TCP keep-alive is the application's to set: without it, and without an idle timeout, the place of
//! a peer that vanished is never free again.
//!
//! # Executors
//!
//! The crate spawns nothing. Its futures run on any executor, and are `Send` if the streams are;
//! streams are whatever is `AsyncRead + AsyncWrite + Unpin` of futures-io. Deadlines are timers of
//! async-io, whose one thread starts with the first of them, as smol's and async-std's do.
//!
//! **smol**: as above. With an executor of one's own, of one thread or many, spawn on that:
//!
//! ```no_run
//! # use futures_lite::{stream, future};
//! # async fn f(server: tlsink::Server, sink: tlsink::Sink, listener: smol::net::TcpListener) {
//! # let incoming = stream::unfold(listener, |listener| async {
//! #     Some((listener.accept().await, listener))
//! # });
//! let executor = smol::Executor::new();
//! let receiving = server.serve(incoming, |connection| executor.spawn(connection).detach());
//! # executor.run(receiving).await;
//! # }
//! ```
//!
//! **LocalExecutor**: the same, also with streams that are not `Send`.
//!
//! **async-std**:
//!
//! ```no_run
//! # use futures_lite::stream;
//! # async fn f(server: tlsink::Server) -> std::io::Result<()> {
//! let listener = async_std::net::TcpListener::bind("127.0.0.1:4433").await?;
//! let incoming = stream::unfold(listener, |listener| async {
//!     Some((listener.accept().await, listener))
//! });
//! let spawn = |connection| drop(async_std::task::spawn(connection));
//! server.serve(incoming, spawn).await;
//! # Ok(())
//! # }
//! ```
//!
//! **tokio**, whose streams have traits of their own, by way of async-compat:
//!
//! ```no_run
//! # use futures_lite::stream;
//! # async fn f(server: tlsink::Server) -> std::io::Result<()> {
//! use async_compat::Compat;
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:4433").await?;
//! let incoming = stream::unfold(listener, |listener| async {
//!     let accepted = listener.accept().await;
//!     Some((accepted.map(|(stream, peer)| (Compat::new(stream), peer)), listener))
//! });
//! let spawn = |connection| drop(tokio::spawn(connection));
//! server.serve(incoming, spawn).await;
//! # Ok(())
//! # }
//! ```
//!
//! **Without TLS of ours**: [`Server::plain`] takes streams that something else has decrypted, under
//! a [`Peer`] with names that the application has verified. [`Server::ready`] and a loop take the
//! place of [`Server::serve`].
//!
//! The repository's `examples` has a program for each.
//!
//! # Features
//!
//! `gzip`, `zlib`, `deflate`, `zstd` and `qt` are the formats; what is not built in is refused by
//! name. `cli` is the program, and adds only the [`Connector`] to the library. All are on by default.
//!
//! # Sending
//!
//! With the feature `cli` there is also a [`Connector`], which verifies a server and makes a
//! [`Sender`]: the other end of the stream, uncompressed as yet.
//!
//! # What it does not do
//!
//! It accepts no connection by itself, sends no data back but a [receipt](ServerBuilder::receipts),
//! resumes no TLS session, and keeps nothing on disk but what [`Files`](output::Files) is given. It
//! does not compress, route, or store; xz, lz4 and bzip2 are recognised and refused.

#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

mod channel;
mod count;
pub mod decode;
mod error;
mod event;
mod limit;
mod link;
mod memory;
mod peer;
mod places;
mod quote;

mod connection;
mod receipt;
mod report;
mod server;
mod shared;
mod tls;

mod delivery;
pub mod output;
mod sink;
mod totals;

pub use connection::Connection;
pub use delivery::Delivery;
pub use error::{
    BuildError, Cut, End, OutputError, StreamError, TemplateError, Timeout, TlsError, Truncation,
};
pub use limit::Limit;
pub use memory::Memory;
pub use output::Output;
pub use peer::{Address, Conn, ConnId, Peer};
pub use report::Report;
pub use server::{Server, ServerBuilder};
pub use sink::{Sink, SinkEvent};
#[cfg(feature = "cli")]
pub use tls::{
    Alert, CertificateFault, ConnectError, Connector, Fingerprint, ParseFingerprintError,
    SendError, Sender, ServerVerifier,
};
pub use tls::{ClientVerifier, Identity, Tls, TlsBuilder, TlsVersion, TlsWarning};
pub use totals::{Failures, Totals};

/// Sizes that are fixed, and defaults.
pub mod limits {
    pub use crate::event::CHUNK;
    pub use crate::link::CREDITS;
    pub use crate::server::MAX_CONNECTIONS;
    pub use crate::sink::MAX_TURN_OUTPUT;
    #[cfg(feature = "cli")]
    pub use crate::tls::MAX_ANSWER;
}
