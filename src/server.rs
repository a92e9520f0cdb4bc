//! The server: its limits, the accept loop, and the graceful stop.

use std::fmt;
use std::future;
use std::io;
use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_io::Timer;
use futures_lite::{AsyncRead, AsyncWrite, Stream, StreamExt};

use crate::channel::{EventSender, channel};
use crate::clients::ClientTotals;
use crate::connection::{Connection, Transport};
use crate::decode::Format;
use crate::event::CHUNK;
use crate::frame::Framing;
#[cfg(feature = "forward")]
use crate::frame::SharedKey;
use crate::link::CREDITS;
use crate::memory::{Memory, MemoryUse};
use crate::peer::Peer;
use crate::rate::Rates;
use crate::report::Report;
#[cfg(feature = "resume")]
use crate::resume::Offsets;
use crate::shared::{PeerFilter, ServerSettings, Shared};
#[cfg(feature = "resume")]
use crate::sink::resuming::Keeper;
use crate::sink::{Sink, SinkSettings};
use crate::tls::Tls;
use crate::totals::{Counters, Failures, Totals};

/// Receives streams and sends their data to its [`Sink`]s.
///
/// Clones are handles to the same server; when the last one is dropped, it [stops](Self::stop).
#[derive(Clone, Debug)]
pub struct Server {
    handle: Arc<Handle>,
}

/// Settings of a [`Server`].
///
/// ```
/// use std::time::Duration;
/// use tlsink::Server;
///
/// let (server, sink) = Server::builder()
///     .max_connections(500)
///     .idle_timeout(Some(Duration::from_secs(60)))
///     .build()?;
/// # Ok::<(), tlsink::BuildError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing unless it is built"]
pub struct ServerBuilder {
    settings: ServerSettings,
    max_connections: usize,
    max_memory: usize,
    max_rate: Option<NonZeroU64>,
    max_window: u64,
    format: Format,
    framing: Framing,
    #[cfg(feature = "forward")]
    forward_key: Option<SharedKey>,
    max_decoded: Option<u64>,
    #[cfg(feature = "resume")]
    keeper: Option<Keeper>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

/// The default of [`ServerBuilder::max_connections`]. An idle sender takes some 8 KiB, so all of
/// them together take far less memory than windows may.
pub const MAX_CONNECTIONS: usize = 10_000;

/// The pause after an accept error grows from the first of these to the second, doubling with each
/// error in a row. Running out of file descriptors is such an error: accepting again at once would
/// only burn the processor.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// The least memory that a server works with, in bytes: enough for one connection to read while its
/// last chunks are decoded with a window of the default size.
const LEAST_MEMORY: usize = 1 << 20;

impl Server {
    /// Starts with the default settings.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            settings: ServerSettings {
                tls: None,
                handshake_timeout: Some(Duration::from_secs(10)),
                idle_timeout: None,
                max_age: None,
                max_per_ip: None,
                stop_after: None,
                receipts: false,
                allow: None,
                counted_clients: 0,
            },
            max_connections: MAX_CONNECTIONS,
            max_memory: 1 << 30,
            max_rate: None,
            max_window: 8 << 20,
            format: Format::Auto,
            framing: Framing::None,
            #[cfg(feature = "forward")]
            forward_key: None,
            max_decoded: None,
            #[cfg(feature = "resume")]
            keeper: None,
        }
    }

    /// Receives one stream: TLS handshake, data, end. Poll the future on any executor.
    ///
    /// If all places are taken, the connection waits for one; see [`ready`](Self::ready). Without a
    /// [certificate](ServerBuilder::tls), it ends at once with
    /// [`End::Refused`](crate::End::Refused).
    ///
    /// # Latency
    ///
    /// After the handshake, a server sends nothing, so Linux delays its acknowledgements. A client
    /// that leaves Nagle's algorithm on waits for one: its first line (TLS 1.3) or its second (TLS
    /// 1.2) comes 40 ms late. An `io` over TCP avoids the delay by setting `TCP_QUICKACK` (tcp(7))
    /// in the first read after a write, once or twice for each connection. `examples/quick-ack.rs`
    /// has such an `io`.
    pub fn connection<IO>(&self, io: IO, peer: impl Into<Peer>) -> Connection<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.connect(Transport::Tls(io), peer.into())
    }

    /// Receives one stream whose bytes are already decrypted, or were never encrypted. The peer may
    /// carry [names](Peer::named) that the application has verified. The end of `io` is a clean
    /// end.
    pub fn plain<IO>(&self, io: IO, peer: impl Into<Peer>) -> Connection<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.connect(Transport::Plain(io), peer.into())
    }

    /// The accept loop: takes streams as they come and passes each [`connection`](Self::connection)
    /// to `spawn`, which must spawn it on an executor. Returns when the server is stopped, or when
    /// `incoming` ends.
    ///
    /// While all places are taken, the loop accepts nothing, so further peers wait in the backlog.
    /// After an error, it goes on: at once if the error concerned only that peer, else after a
    /// pause that grows from 10 ms to 1 s, on a timer of async-io. To see the errors, inspect
    /// `incoming` ([`StreamExt::inspect`]). Dropping the future ends the loop, and loses nothing that
    /// `incoming` has yielded.
    ///
    /// `spawn` may wrap the connection, to read its [`Report`]:
    ///
    /// ```no_run
    /// use tlsink::{End, Refusal};
    ///
    /// # async fn f(server: tlsink::Server, listener: smol::net::TcpListener) {
    /// # let incoming = futures_lite::stream::unfold(listener, |listener| async {
    /// #     Some((listener.accept().await, listener))
    /// # });
    /// server
    ///     .serve(incoming, |connection| {
    ///         let reporting = async {
    ///             let report = connection.await;
    ///             match &report.end {
    ///                 End::Clean => {}
    ///                 // Port scanners are no news.
    ///                 End::Refused(Refusal::NotTls) => {}
    ///                 _ => eprintln!("{report}"),
    ///             }
    ///         };
    ///         smol::spawn(reporting).detach();
    ///     })
    ///     .await;
    /// # }
    /// ```
    pub async fn serve<IO, P>(
        &self,
        incoming: impl Stream<Item = io::Result<(IO, P)>>,
        spawn: impl FnMut(Connection<IO>),
    ) where
        IO: AsyncRead + AsyncWrite + Unpin,
        P: Into<Peer>,
    {
        let incoming = incoming.map(|accepted| {
            let (io, peer) = accepted?;
            Ok(self.connection(io, peer))
        });
        self.serve_with(incoming, spawn).await;
    }

    /// The accept loop for connections of any kind: like [`serve`](Self::serve), but `take` makes the
    /// connection of whatever was accepted, and spawns it.
    ///
    /// ```no_run
    /// # async fn f(server: tlsink::Server, listener: smol::net::unix::UnixListener) {
    /// # let incoming = futures_lite::stream::unfold(listener, |listener| async {
    /// #     Some((listener.accept().await, listener))
    /// # });
    /// use tlsink::Peer;
    ///
    /// // A TLS proxy on this machine passes decrypted streams on, with a PROXY header.
    /// server
    ///     .serve_with(incoming, |(stream, _)| {
    ///         let connection = server.plain(stream, Peer::unix(None)).behind_proxy();
    ///         smol::spawn(connection).detach();
    ///     })
    ///     .await;
    /// # }
    /// ```
    pub async fn serve_with<A>(
        &self,
        incoming: impl Stream<Item = io::Result<A>>,
        mut take: impl FnMut(A),
    ) {
        let mut incoming = pin!(incoming);
        let mut pause = ACCEPT_PAUSE.0;
        while self.unless_stopped(self.ready()).await.is_some() {
            match self.unless_stopped(incoming.next()).await.flatten() {
                None => return,
                Some(Ok(accepted)) => {
                    pause = ACCEPT_PAUSE.0;
                    take(accepted);
                }
                Some(Err(error)) if concerns_one_peer(&error) => {}
                Some(Err(_)) => {
                    self.unless_stopped(Timer::after(pause)).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE.1);
                }
            }
        }
    }

    /// Waits until there is a place for another connection, for accept loops other than
    /// [`serve`](Self::serve):
    ///
    /// ```no_run
    /// # async fn f(server: tlsink::Server, listener: smol::net::TcpListener) -> std::io::Result<()> {
    /// loop {
    ///     server.ready().await;
    ///     let (stream, peer) = listener.accept().await?;
    ///     smol::spawn(server.connection(stream, peer)).detach();
    /// }
    /// # }
    /// ```
    pub async fn ready(&self) {
        let mut waiting = None;
        future::poll_fn(|cx| self.shared().places.poll_take(&mut waiting, cx).map(drop)).await;
    }

    /// Stops accepting: [`serve`](Self::serve) returns, and further connections end at once. Open
    /// connections may finish; then the sinks end.
    ///
    /// Peers that wait in the backlog are reset when the listener is closed, unless another process
    /// has it too. To serve them, drop the future of `serve` first, accept those who wait, and stop
    /// then.
    pub fn stop(&self) {
        self.shared().stop();
    }

    /// Ends all open connections, as [`Cut::Server`](crate::Cut::Server). Data that had arrived is
    /// delivered, up to 1 MiB of output for each sink: a few bytes may decode to gigabytes. The
    /// rest is [counted](crate::Conn::undecoded) and dropped. Streams of which an output still
    /// [holds](crate::Hold) bytes when their data is delivered end as `Cut::Server` too, whatever
    /// their senders did.
    pub fn cut(&self) {
        self.shared().cut();
    }

    /// The graceful stop: [stops](Self::stop), lets open connections go on for `grace` or until all
    /// have ended, and [cuts](Self::cut) the rest. `None` cuts nothing, however long the
    /// connections take.
    ///
    /// Returns when no connection is left: each has resolved or was dropped, so with [`Sink::run`]
    /// their data is flushed. Yields the reports of the connections that were cut, by this call or
    /// by another one since the stop; those in the handshake are [not
    /// established](Report::established). The timer is async-io's.
    ///
    /// The grace period is for senders, and for [holds](crate::Hold) that are out. After it, each
    /// sink delivers 1 MiB at most; connections wait for that, so the shutdown takes as long as the
    /// output does. Dropping the future leaves the server stopped and open connections open.
    ///
    /// ```
    /// # async fn stop(server: tlsink::Server) {
    /// for report in server.shutdown(std::time::Duration::from_secs(10)).await {
    ///     eprintln!("{report}");
    /// }
    /// # }
    /// ```
    ///
    /// [`Sink::run`]: crate::Sink::run
    pub async fn shutdown(&self, grace: impl Into<Option<Duration>>) -> Vec<Report> {
        let grace = grace.into();
        let late = async {
            match grace {
                Some(grace) => Timer::after(grace).await,
                None => future::pending().await,
            };
            true
        };
        self.stop();
        let through = async {
            self.shared().until_no_connections().await;
            false
        };
        if futures_lite::future::or(through, late).await {
            self.cut();
            self.shared().until_no_connections().await;
        }
        self.shared().cut_reports()
    }

    /// The number of connections, including those in the handshake. Takes no lock.
    pub fn connections(&self) -> usize {
        self.shared().connections()
    }

    /// The number of [connections](Self::connections) that have not completed their handshake: they wait
    /// for a place, for a proxy's header, or for their peer. Takes no lock.
    pub fn handshakes(&self) -> usize {
        self.shared().handshakes.load(Ordering::Relaxed)
    }

    /// The counters of all sinks together, so far. Takes no lock; each number is live, and the
    /// numbers are consistent with each other only when nothing is in motion.
    pub fn totals(&self) -> Totals {
        self.shared().totals()
    }

    /// The number of connections that were never established so far, by reason. Takes no lock.
    pub fn failures(&self) -> Failures {
        self.shared().failures.failures()
    }

    /// The counters of each verified client so far, in no order: of as many as
    /// [`count_clients`](ServerBuilder::count_clients) says. Handshakes that are completed at the same
    /// moment wait while the list is copied.
    pub fn clients(&self) -> Vec<ClientTotals> {
        self.shared().clients.totals()
    }

    /// The use of the [memory](ServerBuilder::max_memory) that connections share. Takes no lock.
    pub fn memory_use(&self) -> MemoryUse {
        self.shared().memory.in_use()
    }

    fn connect<IO>(&self, transport: Transport<IO>, peer: Peer) -> Connection<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Connection::new(self.shared(), transport, peer)
    }

    async fn unless_stopped<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let stopped = async {
            self.shared().until_stopped().await;
            None
        };
        futures_lite::future::or(stopped, async { Some(future.await) }).await
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// Whether an accept error concerns only the connection that was to be accepted (accept(2)).
fn concerns_one_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

impl ServerBuilder {
    /// The certificate and key for [`Server::connection`]. By default there are none, and the
    /// server takes only [plain](Server::plain) streams.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.settings.tls = Some(tls);
        self
    }

    /// The compression format of all streams. [`Format::Auto`] by default.
    pub fn decode(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// The framing of all streams, once they are decompressed. [`Framing::None`] by default:
    /// outputs get the bytes as they are. Of a stream with a framing, outputs get a line for each
    /// frame, or [records](crate::output::Output::records) if frames contain newlines.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        #[cfg(feature = "forward")]
        {
            self.forward_key = None;
        }
        self
    }

    /// Makes [`Framing::Forward`] the framing of all streams, and demands of their senders to know
    /// this key: `shared_key` in Fluentd, `Shared_Key` in Fluent Bit. Without a key, no sender has to
    /// know one.
    ///
    /// The server then speaks first, so senders that do not expect it fail. A sender that does not know
    /// the key is [refused](crate::Refusal::SharedKey).
    #[cfg(feature = "forward")]
    pub fn forward_key(mut self, key: SharedKey) -> Self {
        self.framing = Framing::Forward;
        self.forward_key = Some(key);
        self
    }

    /// Resumes streams whose senders [ask for it](crate::resume), and keeps their positions there. A
    /// stream that begins with the line `tlsink/1 {…}`, before any compression, is resumed; no framing
    /// is looked for in it. Without this, such a stream is refused if both the format and the framing
    /// of streams are detected, and is no different from others if not.
    ///
    /// Outputs get the bytes of a resumed stream from its position on; [`Conn::stream`] has its name.
    /// The position moves on by whole lines, once the output is flushed and its holds are done, so that
    /// after any end but a clean one, the bytes behind the last newline come again. An output that keeps
    /// an unfinished line drops it when such a stream ends otherwise.
    ///
    /// [`Conn::stream`]: crate::Conn::stream
    #[cfg(feature = "resume")]
    pub fn offsets(mut self, offsets: impl Offsets + 'static) -> Self {
        self.keeper = Some(Keeper(Arc::new(offsets)));
        self
    }

    /// The most connections at once; further ones wait. 10,000 by default, at least 1. A
    /// connection's place is free again when the sink has finished with the connection.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// The most connections that one IP address may have at once; further ones end at once, with
    /// [`End::Limit`](crate::End::Limit). `None` means no limit, and is the default. Peers on Unix
    /// sockets are not limited, nor are [proxies](Connection::behind_proxy) until they have named the
    /// sender, whose address then counts.
    pub fn max_per_ip(mut self, connections: impl Into<Option<usize>>) -> Self {
        self.settings.max_per_ip = connections.into();
        self
    }

    /// Sets the peers that may connect: others are refused, with
    /// [`Refusal::Address`](crate::Refusal::Address), before their handshake. By default all may.
    ///
    /// Of connections that a [proxy](Connection::behind_proxy) passes on, the peer that the proxy
    /// names is asked for.
    ///
    /// ```
    /// use tlsink::{Address, Server};
    ///
    /// let builder = Server::builder().allow(|peer| match peer.address() {
    ///     Address::Ip(address) => address.ip().is_loopback(),
    ///     Address::Unix(_) => true,
    ///     _ => false,
    /// });
    /// ```
    pub fn allow(mut self, allow: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        self.settings.allow = Some(PeerFilter(Arc::new(allow)));
        self
    }

    /// The longest that a handshake may take; `None` means forever. 10 seconds by default.
    pub fn handshake_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.handshake_timeout = limit.into();
        self
    }

    /// The longest that a sender may send nothing although it could; `None` means forever, and is
    /// the default.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.idle_timeout = limit.into();
        self
    }

    /// The time after which a connection's sender is told to connect again, perhaps to another server;
    /// `None` means never, and is the default. For each connection, it is up to a tenth more or less, at
    /// random.
    ///
    /// Only senders that then lose nothing, and repeat nothing, are told:
    ///
    /// - Those of [resumed](Self::offsets) streams, once everything up to a newline is acknowledged. The
    ///   connection ends as [`Cut::MaxAge`](crate::Cut::MaxAge).
    /// - Those of [`Framing::Relp`], once all frames so far are acknowledged. The connection ends as
    ///   [`End::Clean`](crate::End::Clean).
    ///
    /// All others are left alone, however old their connections become.
    pub fn max_age(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.max_age = limit.into();
        self
    }

    /// The memory for chunks, windows, and bytes that outputs keep or [hold](crate::Conn::hold), in
    /// bytes, for all connections together. 1 GiB by default, at least 1 MiB.
    ///
    /// A connection whose chunk finds no memory waits. A zstd window counts as far as it is used;
    /// one that finds no memory ends its stream with [`End::Limit`](crate::End::Limit).
    ///
    /// A sender (a verified client, an IPv4 address, or an IPv6 network of 64 bits) may hold, on
    /// all its connections together, no more memory than it leaves free, which is nearly half of
    /// the memory if the sender is alone. So there is always memory for others. If clients are
    /// verified but [need not be](crate::tls::ClientVerifier::optional), a quarter of the memory is
    /// reserved for verified ones.
    pub fn max_memory(mut self, bytes: usize) -> Self {
        self.max_memory = bytes;
        self
    }

    /// The most bytes a second that are read of each sender on all its connections together:
    /// [received](crate::Conn::received) bytes, still compressed. `None` means no limit, and is the
    /// default. Senders are told apart as for [`max_memory`](Self::max_memory).
    ///
    /// Of a sender that has reached its rate, nothing is read until more may be, so TCP slows it down;
    /// its connections read in turn. Such a sender is not [idle](Self::idle_timeout). After a pause, it
    /// may send what an eighth of a second allows at once. The timers are async-io's.
    pub fn max_rate(mut self, bytes: impl Into<Option<NonZeroU64>>) -> Self {
        self.max_rate = bytes.into();
        self
    }

    /// The largest zstd window, in bytes. 8 MiB by default.
    pub fn max_window(mut self, bytes: u64) -> Self {
        self.max_window = bytes;
        self
    }

    /// The most that one stream may decode to, in bytes; `None` means no limit, and is the default.
    /// This many bytes are delivered, then the stream ends with [`End::Limit`](crate::End::Limit).
    pub fn max_decoded(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_decoded = bytes.into();
        self
    }

    /// [Stops](Server::stop) the server once this many connections have completed their handshake;
    /// connections still in the handshake end at once. `None` means never, and is the default.
    pub fn stop_after(mut self, connections: impl Into<Option<u64>>) -> Self {
        self.settings.stop_after = connections.into();
        self
    }

    /// Whether each sender gets a receipt when its stream has ended: one line of JSON, in front of
    /// the close_notify that answers a clean stream. Off by default.
    ///
    /// After a clean stream, once the output has flushed it:
    ///
    /// ```json
    /// {"ok":true,"received":26,"delivered":6,"crc32c":"e3069283"}
    /// ```
    ///
    /// `received` and `delivered` are in bytes, as in the [`Report`](crate::Report); `crc32c` is
    /// the CRC-32C (RFC 3720, appendix B.4) of the decoded bytes. After any other end, `ok` is
    /// `false`, and a `reason` says how the stream ended. The server then closes the transport for
    /// writing, without a close_notify, and discards further data until the sender closes too, for
    /// at most 10 seconds, lest a reset overtake the receipt. A broken connection or TLS session
    /// gets no receipt.
    pub fn receipts(mut self, on: bool) -> Self {
        self.settings.receipts = on;
        self
    }

    /// Counts the streams and the bytes of each verified client, for [`Server::clients`], of at most so
    /// many clients. 0 by default: then none is counted. With more clients, a new one takes the place of
    /// the one that was away for longest; those for which there is no place are not counted.
    ///
    /// Counting costs a look at the clock for each chunk that arrives.
    pub fn count_clients(mut self, most: usize) -> Self {
        self.settings.counted_clients = most;
        self
    }

    /// Makes a server and its sink.
    ///
    /// # Errors
    ///
    /// [`BuildError`] if a limit is too small to work with.
    pub fn build(self) -> Result<(Server, Sink), BuildError> {
        let memory = self.memory()?;
        let (channel, sink) = self.sink(&memory);
        let counters = vec![sink.counters()];
        Ok((self.server(vec![channel], counters, memory), sink))
    }

    /// Makes a server and `lanes` sinks, among which it distributes its connections, so that
    /// decoding uses several cores. Run each sink.
    ///
    /// # Errors
    ///
    /// The same as for [`build`](Self::build), and [`BuildError`] if `lanes` is 0.
    pub fn build_lanes(self, lanes: usize) -> Result<(Server, Vec<Sink>), BuildError> {
        if lanes == 0 {
            return Err(BuildError::NoLanes);
        }
        let memory = self.memory()?;
        let (channels, sinks): (_, Vec<Sink>) = (0..lanes).map(|_| self.sink(&memory)).unzip();
        let counters = sinks.iter().map(Sink::counters).collect();
        Ok((self.server(channels, counters, memory), sinks))
    }

    fn memory(&self) -> Result<Memory, BuildError> {
        if self.max_connections == 0 {
            return Err(BuildError::NoConnections);
        }
        if self.max_memory < LEAST_MEMORY {
            return Err(BuildError::TooLittleMemory {
                least: LEAST_MEMORY,
            });
        }
        let tls = self.settings.tls.as_ref();
        let prefers_clients = tls.is_some_and(Tls::verifies_some_clients);
        Ok(Memory::shared(self.max_memory, prefers_clients))
    }

    fn sink(&self, memory: &Memory) -> (EventSender, Sink) {
        let (sender, receiver) = channel();
        let settings = SinkSettings {
            format: self.format,
            framing: self.framing,
            #[cfg(feature = "forward")]
            forward_key: self.forward_key.clone(),
            max_window: self.max_window,
            memory: memory.clone(),
            max_decoded: self.max_decoded.unwrap_or(u64::MAX),
            checksums: self.settings.receipts,
            #[cfg(feature = "resume")]
            keeper: self.keeper.clone(),
        };
        (sender, Sink::new(receiver, settings))
    }

    fn server(
        self,
        channels: Vec<EventSender>,
        counters: Vec<Arc<Counters>>,
        memory: Memory,
    ) -> Server {
        let handle = Handle {
            shared: Shared::new(
                self.settings,
                memory,
                self.max_rate.map(Rates::new),
                self.max_connections,
                channels,
                counters,
            ),
        };
        Server {
            handle: Arc::new(handle),
        }
    }
}

const _: () = assert!(
    LEAST_MEMORY / 4 >= CREDITS * CHUNK,
    "what is kept back for chunks must hold those of one connection"
);

/// The reason why a [`ServerBuilder`] made no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// [`max_connections`](ServerBuilder::max_connections) is 0.
    NoConnections,
    /// [`build_lanes`](ServerBuilder::build_lanes) was asked for no lanes.
    NoLanes,
    /// [`max_memory`](ServerBuilder::max_memory) is too small for a single connection.
    TooLittleMemory {
        /// The least memory, in bytes.
        least: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::NoConnections => f.write_str("max_connections must be at least 1"),
            BuildError::NoLanes => f.write_str("lanes must be at least 1"),
            BuildError::TooLittleMemory { least } => {
                write!(f, "max_memory must be at least {least}")
            }
        }
    }
}

impl std::error::Error for BuildError {}
