//! One suite for every kind of executor: real sockets, and senders that block in threads of their
//! own.

use std::collections::HashMap;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use async_channel::{Receiver, Sender as Telling};
use async_compat::Compat;
use futures_lite::{AsyncRead, AsyncWrite, Stream, StreamExt, future, stream};
use smol::{Executor, LocalExecutor, Timer};
use tlsink::output::Output;
use tlsink::{
    Conn, Connection, Cut, Delivery, End, Failures, Peer, Report, Server, ServerBuilder, Sink,
    SinkEvent, Timeout,
};

use crate::common::client::tls;
#[cfg(any(feature = "gzip", feature = "zlib", feature = "zstd", feature = "qt"))]
use crate::common::pack;
use crate::common::sender::{LIMIT, Sender};

/// Runs each test on each of these.
macro_rules! suite {
    ($($name:ident: $runtime:ty,)*) => {$(
        mod $name {
            suite! {
                $runtime:
                data_of_many_senders_is_pushed_into_an_output,
                several_sinks_share_the_senders_out,
                data_pulled_from_a_sink_lends_its_bytes,
                a_stream_of_deliveries_can_be_kept,
                an_incomplete_handshake_delays_no_sender_and_is_counted,
                a_graceful_stop_cuts_late_connections_and_reports_them,
                a_graceful_stop_ends_as_soon_as_the_last_stream_has_ended,
            }
        }
    )*};
    ($runtime:ty: $($test:ident,)*) => {$(
        #[test]
        fn $test() {
            use super::*;
            <$runtime>::run(async |runtime: &$runtime| {
                let late = async {
                    Timer::after(LIMIT).await;
                    panic!("it takes too long");
                };
                future::or(super::$test(runtime), late).await;
            });
        }
    )*};
}

suite! {
    on_smol_with_one_thread: Smol<1>,
    on_smol_with_many_threads: Smol<4>,
    on_a_local_executor_with_streams_that_are_not_send: Local,
    on_async_std: AsyncStd,
    on_tokio_with_one_thread: Tokio<1>,
    on_tokio_with_many_threads: Tokio<4>,
}

/// Senders in each test that has many.
const SENDERS: usize = 20;

async fn data_of_many_senders_is_pushed_into_an_output<R: Runtime>(runtime: &R) {
    let (receiver, sink) = Receiving::start(runtime, Server::builder()).await;
    let pages = Pages::default();
    let printed = pages.clone();
    let totals = runtime.spawn(async move { sink.run(printed).await.unwrap() });
    let sent = receiver.send_all().await;
    let reports = receiver.stop().await;
    pages.check(&sent);
    let totals = totals.recv().await.unwrap();
    assert_eq!((totals.connections, totals.ends.clean), (20, 20));
    assert_eq!(totals.flushed, totals.delivered);
    assert_eq!(reports.len(), SENDERS);
    for report in reports {
        assert_eq!(report.end, End::Clean);
        assert_eq!(
            report.conn.delivered(),
            sent[report.conn.peer()].len() as u64
        );
    }
}

async fn several_sinks_share_the_senders_out<R: Runtime>(runtime: &R) {
    let (receiver, sinks) = Receiving::start_lanes(runtime, Server::builder(), 3).await;
    let pages = Pages::default();
    let lanes: Vec<_> = sinks
        .into_iter()
        .map(|sink| {
            let printed = pages.clone();
            runtime.spawn(async move { sink.run(printed).await.unwrap() })
        })
        .collect();
    let sent = receiver.send_all().await;
    receiver.stop().await;
    pages.check(&sent);
    for lane in lanes {
        assert!(lane.recv().await.unwrap().ends.clean >= 6);
    }
}

async fn data_pulled_from_a_sink_lends_its_bytes<R: Runtime>(runtime: &R) {
    let (receiver, mut sink) = Receiving::start(runtime, Server::builder()).await;
    let pulled = runtime.spawn(async move {
        let mut pages = Pages::default();
        while let Some(decoded) = sink.next().await {
            match decoded {
                SinkEvent::Data(conn, bytes) => pages.data(conn, bytes).unwrap(),
                SinkEvent::Close(conn, end) => pages.close(conn, end).unwrap(),
                _ => {}
            }
        }
        pages
    });
    let sent = receiver.send_all().await;
    receiver.stop().await;
    pulled.recv().await.unwrap().check(&sent);
}

async fn a_stream_of_deliveries_can_be_kept<R: Runtime>(runtime: &R) {
    let (receiver, sink) = Receiving::start(runtime, Server::builder()).await;
    let pulled = runtime.spawn(sink.into_stream().collect::<Vec<Delivery>>());
    let sent = receiver.send_all().await;
    receiver.stop().await;
    let mut pages = Pages::default();
    let mut open = HashMap::new();
    for delivery in pulled.recv().await.unwrap() {
        match &delivery {
            Delivery::Open(conn) => assert!(open.insert(conn.id(), conn.received()).is_none()),
            Delivery::Data(conn, bytes) => {
                assert!(open.contains_key(&conn.id()));
                pages.data(conn, bytes).unwrap();
            }
            Delivery::Close(conn, end) => {
                assert!(open.remove(&conn.id()).is_some());
                assert_eq!(conn.delivered(), sent[conn.peer()].len() as u64);
                pages.close(conn, end).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    pages.check(&sent);
}

async fn an_incomplete_handshake_delays_no_sender_and_is_counted<R: Runtime>(runtime: &R) {
    // An honest sender needs less time than this, even on a busy machine.
    let limit = Duration::from_secs(2);
    let builder = Server::builder().handshake_timeout(limit);
    let (receiver, sink) = Receiving::start(runtime, builder).await;
    let pages = Pages::default();
    let printed = pages.clone();
    runtime.spawn(async move { sink.run(printed).await.unwrap() });
    let address = receiver.address;
    let silent = TcpStream::connect(address).unwrap();
    drop(TcpStream::connect(address).unwrap());
    let mut stranger = TcpStream::connect(address).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let honest = in_thread(move || send(address, b"hello\n"));
    let peer = honest.recv().await.unwrap();
    let mut ends = Vec::new();
    while ends.len() < 3 {
        let report = receiver.reports.recv().await.unwrap();
        if !report.established {
            ends.push(report.end);
        }
    }
    assert!(ends.contains(&End::Timeout(Timeout::Handshake(limit))));
    let mut expected = Failures::default();
    (expected.timeout, expected.closed, expected.refused) = (1, 1, 1);
    assert_eq!(receiver.server.failures(), expected);
    drop((silent, stranger));
    receiver.stop().await;
    pages.check(&HashMap::from([(peer, b"hello\n".to_vec())]));
}

async fn a_graceful_stop_cuts_late_connections_and_reports_them<R: Runtime>(runtime: &R) {
    let (receiver, sink) = Receiving::start(runtime, Server::builder()).await;
    let mut deliveries = sink.into_stream();
    let address = receiver.address;
    let late = in_thread(move || {
        let mut sender = Sender::connect(address);
        sender.write(b"half a li");
        (sender.address(), sender)
    });
    let (late, sender) = late.recv().await.unwrap();
    let late = Peer::from(late);
    // Another peer does not even begin its handshake.
    let silent = TcpStream::connect(address).unwrap();
    while receiver.server.connections() < 2 {
        future::yield_now().await;
    }
    // A connection that ended before is not reported: it was not cut.
    let early = in_thread(move || send(address, b"early\n"));
    let mut delivered = HashMap::<Peer, Vec<u8>>::new();
    let mut early_is_through = false;
    while !early_is_through || !delivered.contains_key(&late) {
        match deliveries.next().await.unwrap() {
            Delivery::Data(conn, bytes) => {
                delivered
                    .entry(conn.peer().clone())
                    .or_default()
                    .extend(bytes);
            }
            Delivery::Close(..) => early_is_through = true,
            _ => {}
        }
    }
    let rest = runtime.spawn(deliveries.collect::<Vec<_>>());
    early.recv().await.unwrap();
    let cut = receiver.server.shutdown(Duration::from_millis(50)).await;
    assert_eq!(receiver.server.connections(), 0);

    let ends = cut.iter().map(|report| &report.end);
    assert!(ends.clone().all(|end| end == &End::Cut(Cut::Server)));
    let mut told: Vec<_> = cut
        .iter()
        .map(|report| {
            (
                report.conn.peer(),
                report.established,
                report.conn.delivered(),
            )
        })
        .collect();
    told.sort_by_key(|(_, established, _)| *established);
    let silent = Peer::from(silent.local_addr().unwrap());
    assert_eq!(told, [(&silent, false, 0), (&late, true, 9)]);
    assert_eq!(delivered[&late], b"half a li");
    match rest.recv().await.unwrap().last().unwrap() {
        Delivery::Close(conn, End::Cut(Cut::Server)) => assert_eq!(conn.peer(), &late),
        other => panic!("{other:?}"),
    }
    assert_eq!(receiver.server.failures().cut, 1);
    sender.wait_for_end();
    // No connection is admitted any more, and stopping again changes nothing.
    assert_eq!(receiver.server.shutdown(None).await.len(), 2);
    receiver.served.recv().await.unwrap();
}

async fn a_graceful_stop_ends_as_soon_as_the_last_stream_has_ended<R: Runtime>(runtime: &R) {
    let (receiver, sink) = Receiving::start(runtime, Server::builder()).await;
    let pages = Pages::default();
    let printed = pages.clone();
    let totals = runtime.spawn(async move { sink.run(printed).await.unwrap() });
    let address = receiver.address;
    let (go_on, waits) = async_channel::bounded::<()>(1);
    let sender = in_thread(move || {
        let mut sender = Sender::connect(address);
        let peer = Peer::from(sender.address());
        sender.write(b"before, ");
        waits.recv_blocking().unwrap();
        sender.write(b"after\n");
        sender.finish();
        peer
    });
    while receiver.server.totals().delivered < 8 {
        future::yield_now().await;
    }
    let stopping = receiver.server.shutdown(LIMIT * 10);
    let going_on = async {
        // The server is stopped by now: the shutdown was polled first.
        go_on.send(()).await.unwrap();
    };
    let (cut, ()) = future::zip(stopping, going_on).await;
    assert!(cut.is_empty());
    assert_eq!(totals.recv().await.unwrap().ends.clean, 1);
    let peer = sender.recv().await.unwrap();
    pages.check(&HashMap::from([(peer, b"before, after\n".to_vec())]));
}

/// A server that accepts, on a runtime.
struct Receiving {
    server: Server,
    address: SocketAddr,
    reports: Receiver<Report>,
    /// Notified when the accept loop has ended.
    served: Receiver<()>,
}

impl Receiving {
    async fn start<R: Runtime>(runtime: &R, builder: ServerBuilder) -> (Self, Sink) {
        let (this, mut sinks) = Receiving::start_lanes(runtime, builder, 1).await;
        (this, sinks.remove(0))
    }

    async fn start_lanes<R: Runtime>(
        runtime: &R,
        builder: ServerBuilder,
        lanes: usize,
    ) -> (Self, Vec<Sink>) {
        let (server, sinks) = builder.tls(tls()).build_lanes(lanes).unwrap();
        let (tell, reports) = async_channel::unbounded();
        let (address, served) = runtime.serve(server.clone(), tell).await;
        let this = Receiving {
            server,
            address,
            reports,
            served,
        };
        (this, sinks)
    }

    /// Sends from many threads at once; returns the data that each peer sent and was told has
    /// arrived.
    async fn send_all(&self) -> HashMap<Peer, Vec<u8>> {
        let address = self.address;
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                in_thread(move || {
                    let text = text(sender);
                    (send(address, &encoded(sender, &text)), text)
                })
            })
            .collect();
        let mut sent = HashMap::new();
        for sender in senders {
            let (peer, text) = sender.recv().await.unwrap();
            sent.insert(peer, text);
        }
        sent
    }

    /// Stops the server, and waits for all its results.
    async fn stop(self) -> Vec<Report> {
        assert!(self.server.shutdown(LIMIT).await.is_empty());
        self.served.recv().await.unwrap();
        self.reports.collect().await
    }
}

fn text(sender: usize) -> Vec<u8> {
    (0..2_000)
        .flat_map(|line| format!("sender {sender}, line {line}\n").into_bytes())
        .collect()
}

/// Packs the data in none, or one, of the built-in formats that can be detected.
fn encoded(sender: usize, text: &[u8]) -> Vec<u8> {
    type Encoding = fn(&[u8]) -> Vec<u8>;
    let encodings: &[Encoding] = &[
        <[u8]>::to_vec,
        #[cfg(feature = "gzip")]
        pack::gzip,
        #[cfg(feature = "zlib")]
        pack::zlib,
        #[cfg(feature = "zstd")]
        pack::zstd,
        #[cfg(feature = "qt")]
        pack::qt,
    ];
    encodings[sender % encodings.len()](text)
}

/// Sends all data, and returns when the server has answered.
fn send(address: SocketAddr, bytes: &[u8]) -> Peer {
    let mut sender = Sender::connect(address);
    let peer = Peer::from(sender.address());
    sender.write(bytes);
    sender.finish();
    peer
}

/// Runs the function on a thread that may block.
fn in_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (tell, told) = async_channel::bounded(1);
    thread::spawn(move || tell.send_blocking(body()).unwrap());
    told
}

/// The data of each connection.
#[derive(Clone, Debug, Default)]
struct Pages(Arc<Mutex<HashMap<Peer, Vec<u8>>>>);

impl Pages {
    fn check(&self, sent: &HashMap<Peer, Vec<u8>>) {
        assert!(*self.0.lock().unwrap() == *sent, "what arrived differs");
    }
}

impl Output for Pages {
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        let mut pages = self.0.lock().unwrap();
        pages
            .entry(connection.peer().clone())
            .or_default()
            .extend(bytes);
        Ok(())
    }

    fn close(&mut self, _: &Conn, end: &End) -> io::Result<()> {
        assert_eq!(end, &End::Clean);
        Ok(())
    }
}

/// The operations that the tests need from a runtime.
trait Runtime: Sized {
    /// Runs a test on the runtime, to its end.
    fn run(test: impl AsyncFnOnce(&Self));

    /// Spawns a future, and passes on its result.
    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Receiver<T>;

    /// Spawns the accept loop on one of the runtime's listeners, which spawns each connection.
    /// Returns the address, and a notification of the loop's end.
    async fn serve(&self, server: Server, reports: Telling<Report>) -> (SocketAddr, Receiver<()>);
}

/// Accepts until the server is stopped.
async fn accept<IO, S>(
    server: Server,
    incoming: S,
    mut spawn: impl FnMut(Connection<IO>),
    served: Telling<()>,
) where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Stream<Item = io::Result<(IO, SocketAddr)>>,
{
    server.serve(incoming, &mut spawn).await;
    served.send(()).await.unwrap();
}

async fn report<IO>(connection: Connection<IO>, reports: Telling<Report>)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let report = connection.await;
    // A test may have dropped the receiver.
    let _ = reports.send(report).await;
}

async fn tell<T>(future: impl Future<Output = T>, tell: Telling<T>) {
    let _ = tell.send(future.await).await;
}

/// An async-executor, run by this many threads.
struct Smol<const THREADS: usize>(Arc<Executor<'static>>);

impl<const THREADS: usize> Runtime for Smol<THREADS> {
    fn run(test: impl AsyncFnOnce(&Self)) {
        let this = Smol(Arc::new(Executor::new()));
        let (stop, stopped) = async_channel::bounded::<()>(1);
        thread::scope(|scope| {
            for _ in 1..THREADS {
                scope.spawn(|| future::block_on(this.0.run(stopped.recv())));
            }
            // The threads end whether the test passes or fails.
            let _stop = stop;
            future::block_on(this.0.run(test(&this)));
        });
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Receiver<T> {
        let (told, result) = async_channel::bounded(1);
        self.0.spawn(tell(future, told)).detach();
        result
    }

    async fn serve(&self, server: Server, reports: Telling<Report>) -> (SocketAddr, Receiver<()>) {
        let (address, incoming) = listen().await;
        let (told, served) = async_channel::bounded(1);
        let executor = Arc::clone(&self.0);
        let spawn = move |connection| {
            executor.spawn(report(connection, reports.clone())).detach();
        };
        self.0.spawn(accept(server, incoming, spawn, told)).detach();
        (address, served)
    }
}

/// A LocalExecutor, and streams that must stay on its thread.
struct Local(Rc<LocalExecutor<'static>>);

impl Runtime for Local {
    fn run(test: impl AsyncFnOnce(&Self)) {
        let this = Local(Rc::new(LocalExecutor::new()));
        future::block_on(this.0.run(test(&this)));
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Receiver<T> {
        let (told, result) = async_channel::bounded(1);
        self.0.spawn(tell(future, told)).detach();
        result
    }

    async fn serve(&self, server: Server, reports: Telling<Report>) -> (SocketAddr, Receiver<()>) {
        let (address, incoming) = listen().await;
        let incoming = incoming
            .map(|accepted| accepted.map(|(stream, peer)| (Here(stream, PhantomData), peer)));
        let (told, served) = async_channel::bounded(1);
        let executor = Rc::downgrade(&self.0);
        let spawn = move |connection| {
            let executor = executor.upgrade().unwrap();
            executor.spawn(report(connection, reports.clone())).detach();
        };
        self.0.spawn(accept(server, incoming, spawn, told)).detach();
        (address, served)
    }
}

async fn listen() -> (
    SocketAddr,
    impl Stream<Item = io::Result<(smol::net::TcpStream, SocketAddr)>>,
) {
    let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = stream::unfold(listener, |listener| async {
        Some((listener.accept().await, listener))
    });
    (address, incoming)
}

struct AsyncStd;

impl Runtime for AsyncStd {
    fn run(test: impl AsyncFnOnce(&Self)) {
        async_std::task::block_on(test(&AsyncStd));
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Receiver<T> {
        let (told, result) = async_channel::bounded(1);
        async_std::task::spawn(tell(future, told));
        result
    }

    async fn serve(&self, server: Server, reports: Telling<Report>) -> (SocketAddr, Receiver<()>) {
        let listener = async_std::net::TcpListener::bind("127.0.0.1:0");
        let listener = listener.await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = stream::unfold(listener, |listener| async {
            Some((listener.accept().await, listener))
        });
        let (told, served) = async_channel::bounded(1);
        let spawn = move |connection| {
            async_std::task::spawn(report(connection, reports.clone()));
        };
        async_std::task::spawn(accept(server, incoming, spawn, told));
        (address, served)
    }
}

/// tokio, with this many threads, through async-compat.
struct Tokio<const THREADS: usize>;

impl<const THREADS: usize> Runtime for Tokio<THREADS> {
    fn run(test: impl AsyncFnOnce(&Self)) {
        let mut builder = match THREADS {
            1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder.worker_threads(THREADS).enable_io().build();
        runtime.unwrap().block_on(test(&Tokio));
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Receiver<T> {
        let (told, result) = async_channel::bounded(1);
        tokio::spawn(tell(future, told));
        result
    }

    async fn serve(&self, server: Server, reports: Telling<Report>) -> (SocketAddr, Receiver<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await;
            let accepted = accepted.map(|(stream, peer)| (Compat::new(stream), peer));
            Some((accepted, listener))
        });
        let (told, served) = async_channel::bounded(1);
        let spawn = move |connection| {
            tokio::spawn(report(connection, reports.clone()));
        };
        tokio::spawn(accept(server, incoming, spawn, told));
        (address, served)
    }
}

/// A stream that must stay on its thread.
struct Here(smol::net::TcpStream, PhantomData<Rc<()>>);

impl AsyncRead for Here {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Here {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}
