//! The same server on different executors, over real sockets.

mod common;

use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use common::client::{TLS13, config, tls};
use futures_lite::{AsyncRead, AsyncWrite, Stream, future, stream};
use smol::{Executor, LocalExecutor};
use tlsink::{Conn, End, Output, Peer, Server};

/// Senders in each test.
const SENDERS: usize = 20;

#[test]
fn smol_with_one_thread() {
    let executor = Executor::new();
    let pages = future::block_on(executor.run(async {
        let (address, incoming) = listen().await;
        let (server, sink) = Server::builder().tls(tls()).build().unwrap();
        let pages = Pages::default();
        let sinking = executor.spawn(sink.run(pages.clone()));
        let senders = send_all(address, &server);
        server
            .serve(incoming, |connection| executor.spawn(connection).detach())
            .await;
        assert_eq!(sinking.await.unwrap().clean, SENDERS as u64);
        senders.join().unwrap();
        pages
    }));
    pages.check();
}

#[test]
fn smol_with_many_threads_and_lanes() {
    let executor = Executor::new();
    let (stop, stopped) = async_channel::bounded::<()>(1);
    let pages = Pages::default();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| future::block_on(executor.run(stopped.recv())));
        }
        let (server, sinks) = Server::builder().tls(tls()).build_lanes(3).unwrap();
        for sink in sinks {
            let pages = pages.clone();
            scope.spawn(move || sink.run_blocking(pages).unwrap());
        }
        future::block_on(async {
            let (address, incoming) = listen().await;
            let senders = send_all(address, &server);
            server
                .serve(incoming, |connection| executor.spawn(connection).detach())
                .await;
            senders.join().unwrap();
        });
        // Once the sinks have ended, nothing is left to do on the executor.
        drop(server);
        drop(stop);
    });
    pages.check();
}

#[test]
fn a_local_executor_with_streams_that_are_not_send() {
    let executor = LocalExecutor::new();
    let pages = future::block_on(executor.run(async {
        let (address, incoming) = listen().await;
        let incoming = futures_lite::StreamExt::map(incoming, |accepted| {
            accepted.map(|(stream, peer)| (Local(stream, PhantomData), peer))
        });
        let (server, sink) = Server::builder().tls(tls()).build().unwrap();
        let pages = Pages::default();
        let sinking = executor.spawn(sink.run(pages.clone()));
        let senders = send_all(address, &server);
        server
            .serve(incoming, |connection| executor.spawn(connection).detach())
            .await;
        sinking.await.unwrap();
        senders.join().unwrap();
        pages
    }));
    pages.check();
}

#[test]
fn async_std() {
    let pages = async_std::task::block_on(async {
        let listener = async_std::net::TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = stream::unfold(listener, |listener| async {
            Some((listener.accept().await, listener))
        });
        let (server, sink) = Server::builder().tls(tls()).build().unwrap();
        let pages = Pages::default();
        let sinking = async_std::task::spawn(sink.run(pages.clone()));
        let senders = send_all(address, &server);
        server
            .serve(incoming, |connection| {
                async_std::task::spawn(connection);
            })
            .await;
        sinking.await.unwrap();
        senders.join().unwrap();
        pages
    });
    pages.check();
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

/// Sends from a thread, and stops the server when all is sent and answered.
fn send_all(address: SocketAddr, server: &Server) -> JoinHandle<()> {
    let server = server.clone();
    thread::spawn(move || {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| thread::spawn(move || send(address, &text(sender))))
            .collect();
        for sender in senders {
            sender.join().unwrap();
        }
        server.stop();
    })
}

fn text(sender: usize) -> Vec<u8> {
    (0..500)
        .flat_map(|line| format!("sender {sender}, line {line}\n").into_bytes())
        .collect()
}

/// Sends from a client that blocks, and waits for the server's close_notify.
fn send(address: SocketAddr, bytes: &[u8]) {
    let name = "localhost".try_into().unwrap();
    let session = rustls::ClientConnection::new(Arc::new(config(&TLS13)), name).unwrap();
    let mut stream = rustls::StreamOwned::new(session, TcpStream::connect(address).unwrap());
    stream.write_all(bytes).unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

/// What each connection sent.
#[derive(Clone, Debug, Default)]
struct Pages(Arc<Mutex<std::collections::HashMap<Peer, Vec<u8>>>>);

impl Pages {
    fn check(&self) {
        let pages = self.0.lock().unwrap();
        let mut seen: Vec<&Vec<u8>> = pages.values().collect();
        let mut expected: Vec<Vec<u8>> = (0..SENDERS).map(text).collect();
        seen.sort();
        expected.sort();
        assert!(seen.into_iter().eq(&expected));
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

/// A stream that must stay on its thread.
struct Local(smol::net::TcpStream, PhantomData<Rc<()>>);

impl AsyncRead for Local {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Local {
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
