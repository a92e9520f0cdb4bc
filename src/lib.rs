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
//! A [`Server`] makes a [`Connection`] of each accepted stream: a future that does the handshake
//! and reads. It sends the decrypted bytes to a [`Sink`], which has a [decoder](decode) for each
//! connection and delivers the decoded bytes: to an [`Output`](output::Output), or to the caller of
//! [`Sink::next`]. Frames of syslog and GELF become lines on their way, if
//! [that is wanted](ServerBuilder::framing). The [end](End) of a stream is reported on both sides:
//! to the output, and in the [`Report`] that the connection resolves to.
//!
//! # Quick start
//!
//! `tlsink cert .` makes certificates for a first try: `ca.pem`, with which senders verify the
//! server, `server.pem` and `server.key`. This program prints all lines that arrive, each with its
//! sender before it:
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
//! In `Cargo.toml`, leave out the program and choose the formats:
//!
//! ```toml
//! tlsink = { version = "0.1", default-features = false, features = ["gzip", "zstd"] }
//! futures-lite = "2"
//! ```
//!
//! # Two ways to the bytes
//!
//! **Push.** [`Sink::run`] calls an [`Output`](output::Output), whose one required method takes the
//! bytes. Outputs of this crate print [lines](output::Lines), [raw bytes](output::Raw) or
//! [JSON](output::Json), write [files](output::Files), [append](output::Appended) to shared ones, or
//! call a [function for each line](output::EachLine).
//!
//! **Pull.** [`Sink::next`] lends the next event, [`Sink::into_stream`] yields copies of all events
//! as a [`Stream`](futures_lite::Stream).
//!
//! Both ways make the same promises:
//!
//! - **Order.** Each connection is opened once, has data any number of times, and is closed once.
//!   Its bytes are delivered in the order in which they were sent, and before the error behind
//!   them. Between connections there is no order.
//! - **Threads.** Only the task or thread that runs the sink calls the output. An output that
//!   blocks blocks that task or thread, and no other: for such an output, run the sink in a thread
//!   of its own ([`Sink::run_blocking`]). Several sinks
//!   ([`build_lanes`](ServerBuilder::build_lanes)) share the connections, and each connection stays
//!   with its sink. Sinks are fastest when a sink and [its](Connection::lane) connections share a
//!   thread once the connections are [established](Connection::established), as they do in the
//!   program.
//! - **Memory.** Data comes in pieces of at most [`MAX_TURN_OUTPUT`](limits::MAX_TURN_OUTPUT) bytes
//!   (256 KiB); so do [records](output::Output::records). Chunks, windows, [held](Conn::hold) bytes,
//!   and bytes that this crate's outputs keep when they are given [`Sink::memory`], stay together
//!   within [`max_memory`](ServerBuilder::max_memory); one turn of each stream may be held beyond
//!   that. In addition, a sink has one buffer of `MAX_TURN_OUTPUT` bytes, and an established connection takes some 8
//!   KiB, or some 30 KiB while part of a TLS record has arrived.
//! - **Credits.** A connection's credit returns when its chunk is fully decoded and the last of its
//!   bytes were dealt with: the output's call has returned, or the sink was asked for the next
//!   event. A connection hears how it ended after the output has flushed, or after the sink was
//!   asked for the next event.
//! - **Holds.** Whoever takes bytes and is not through with them takes a [hold](Conn::hold), and
//!   finishes it on any thread. Credits return all the same; the connection hears how it ended when
//!   all its holds are done. A hold that fails or is dropped ends its own stream. A stream of which
//!   [`MAX_HELD`](limits::MAX_HELD) bytes (1 MiB) are held has no turn until fewer are, and no other
//!   stream waits for it.
//!
//! # Back-pressure
//!
//! A connection reads only while it holds a credit. It has four ([`CREDITS`](limits::CREDITS)), for
//! chunks of at most [`CHUNK`](limits::CHUNK) bytes (64 KiB). When the output is slow, credits do
//! not return, the connection reads nothing, and TCP slows the sender down. A stream that has no
//! turn because its bytes are [held](Conn::hold) slows its own sender down in the same way. While a
//! connection waits for its peer, it has no buffer.
//!
//! # Fairness
//!
//! The sink serves connections in turn, at most [`MAX_TURN_OUTPUT`](limits::MAX_TURN_OUTPUT)
//! decoded bytes each, so data that decodes to gigabytes delays nobody. An output that writes more
//! than it is given, such as a label for each line, ends a turn [earlier](output::Output::turn).
//! Each handshake runs in its own connection, under a [deadline](ServerBuilder::handshake_timeout),
//! never in the accept loop.
//!
//! # How streams end
//!
//! Only [`End::Clean`] means that a stream is complete: the sender's close_notify arrived, and the
//! compressed data is whole. Every other [`End`] tells which part is missing or wrong. The sender
//! learns the end, too: the server answers a clean stream, and no other, with a close_notify, once
//! the output has its data. Data that was authenticated and decoded before the end is delivered
//! first. No end is lost, whatever is dropped, and whenever: a sink that knows of a connection
//! hears of its end, and a connection hears of its outcome at the sink, or that the sink is gone.
//! The sink never sees a connection whose handshake fails; such a connection resolves to a
//! [`Report`] that is not [established](Report::established), and
//! [`Json::refused`](output::Json::refused) prints it.
//!
//! # Reports and counters
//!
//! Outputs are given a [`Conn`] with the connection's number, its [`Peer`] with verified names, its
//! [TLS session](tls::TlsSession), the format, and the numbers of bytes received and delivered so
//! far. A [`Report`] has the same and the end, and prints both. [`Server::connections`],
//! [`Server::totals`] and [`Server::failures`] are live counters: reading them takes no lock, and
//! keeping them costs the sink one store for each chunk.
//!
//! # Stopping
//!
//! [`Server::shutdown`] is the graceful stop: it stops accepting, lets open connections go on for a
//! while, cuts the rest, and yields the reports of those that it cut. [`Server::stop`] and
//! [`Server::cut`] are its two halves. After a stop, sinks end once all their connections have
//! ended and all holds are finished, [`Sink::run`] with its [`Totals`]; a cut waits for no hold. An
//! output that fails ends its sink; connections are then cut one by one, and the application has to
//! stop the server. A [`StreamError`](output::StreamError) ends only one stream, and the sink goes
//! on.
//!
//! # Limits
//!
//! | limit | default | when it is reached |
//! |---|---|---|
//! | [`max_connections`](ServerBuilder::max_connections) | 10,000 | further ones wait to be accepted |
//! | [`max_per_ip`](ServerBuilder::max_per_ip) | none | [`End::Limit`] |
//! | [`handshake_timeout`](ServerBuilder::handshake_timeout) | 10 s | [`End::Timeout`] |
//! | [`idle_timeout`](ServerBuilder::idle_timeout) | none | [`End::Timeout`] |
//! | [`max_memory`](ServerBuilder::max_memory) | 1 GiB | connections wait; a window without memory is [`End::Limit`] |
//! | [`max_window`](ServerBuilder::max_window) | 8 MiB | [`End::Limit`] |
//! | [`max_decoded`](ServerBuilder::max_decoded) | none | [`End::Limit`] |
//! | [`max_line`](output::Lines::max_line) of an output | 1 MiB | the line comes in pieces |
//!
//! Set TCP keep-alive in the application: without it, and without an idle timeout, the place of a
//! peer that vanished is never free again.
//!
//! # Executors
//!
//! The crate spawns nothing. Its futures run on any executor, and are `Send` if the streams are. A
//! stream is any type that is `AsyncRead + AsyncWrite + Unpin` of futures-io. Deadlines are timers
//! of async-io, whose one thread starts with the first timer, as smol's and async-std's do.
//!
//! **smol**: as above. With your own executor, of one thread or many, spawn on that:
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
//! **LocalExecutor**: the same, even with streams that are not `Send`.
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
//! **tokio** has stream traits of its own; async-compat adapts them:
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
//! **Without this crate's TLS**: [`Server::plain`] takes streams that something else has decrypted,
//! with a [`Peer`] whose names the application has verified. [`Server::serve_with`] takes the place of
//! [`Server::serve`].
//!
//! **Behind a proxy**: [`Connection::behind_proxy`] reads the PROXY header (version 1 or 2) in which a
//! balancer names the sender, who is then the [`Peer`]. The module [`proxy`] parses such headers for
//! applications that accept connections in another way. [`ServerBuilder::allow`] decides who may
//! connect.
//!
//! The repository's `examples` folder has a program for each.
//!
//! # Features
//!
//! `gzip`, `zlib`, `deflate`, `zstd` and `qt` are the formats; a format that is not built in is
//! refused by name. `octet`, `relp`, `lumberjack`, `forward` and `nul` are the [framings](frame).
//! `client` is the sender's side, the module [`client`]; `resume` is for
//! [streams that outlive their connection](resume), on both sides. `cli` is the program: it needs these
//! two, and adds nothing else to the library. All of these are on by default.
//! `unstable-rustls` adds `Tls::from_rustls`, which is exempt from semantic versioning.
//!
//! # Sending
//!
//! With the feature `client`, a [`client::Connector`] verifies a server and opens a
//! [`client::Sender`]: an [`AsyncWrite`](futures_lite::AsyncWrite) that reports whether the server
//! has the whole stream. It does not compress. A `client::ResumedSender` sends streams that outlive
//! their connection, with the feature `resume`.
//!
//! # Streams that outlive their connection
//!
//! With the feature `resume`, a stream goes on over the next connection where the last one was
//! acknowledged: [`ServerBuilder::offsets`] takes the place where positions are kept, a
//! [`client::ResumedSender`] sends such a stream, and the module [`resume`] has the lines that both sides
//! speak. An [`output::Journal`] keeps the positions of streams with the files that
//! [`Appended`](output::Appended) writes, so that each line is there exactly once.
//!
//! # Not included
//!
//! The crate accepts no connection by itself, sends no data back but acknowledgements and
//! [receipts](ServerBuilder::receipts), resumes no TLS session, and keeps nothing on disk but the data
//! that [`Files`](output::Files) and [`Appended`](output::Appended) are given, and a
//! [`Journal`](output::Journal) of it. It does not compress what it sends, and routes nothing; xz, lz4
//! and bzip2 are recognised and refused.

#![forbid(unsafe_code)]
// On docs.rs, each item shows the feature that it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_docs, unreachable_pub)]

mod channel;
mod clients;
mod conn;
mod conn_id;
mod count;
pub mod decode;
mod end;
mod event;
pub mod frame;
mod hold;
mod lane;
mod limit;
mod link;
mod memory;
mod peer;
mod places;
pub mod proxy;
mod quote;
mod rate;
#[cfg(feature = "resume")]
pub mod resume;
mod sender_id;
mod stream_error;
mod sync;
mod time;

#[cfg(feature = "client")]
pub mod client;
mod connection;
mod report;
mod server;
mod shared;
pub mod tls;

mod delivery;
pub mod output;
mod sink;
mod totals;

pub use clients::ClientTotals;
pub use conn::{Conn, ConnId};
pub use connection::Connection;
pub use delivery::Delivery;
pub use end::{Cut, End, Layer, Reset, Timeout, Truncation};
pub use hold::Hold;
pub use limit::Limit;
pub use memory::MemoryUse;
pub use peer::{Address, Peer};
pub use report::Report;
pub use server::{BuildError, Server, ServerBuilder};
pub use sink::{Sink, SinkEvent};
pub use tls::refusal::{Incompatibility, Refusal, RefusedCertificate};
pub use tls::server::Tls;
pub use totals::{Ends, Failures, Totals};

/// Names of senders' files, for `fuzz/`: they are made of what is not public.
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn check_names(bytes: &[u8]) {
    output::fuzz::check(bytes);
}

/// Fixed sizes, and defaults.
pub mod limits {
    pub use crate::event::CHUNK;
    pub use crate::hold::MAX_HELD;
    pub use crate::link::{CREDITS, MAX_UNREAD_ANSWERS};
    pub use crate::output::turn::MAX_TURN_OUTPUT;
    pub use crate::server::MAX_CONNECTIONS;
}
