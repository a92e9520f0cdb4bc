//! Senders that have reached their rate.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, poll_once, zip};
use tlsink::output::Raw;
use tlsink::{Connection, Cut, End, Peer, Report, Server, Sink, Timeout};

use crate::memory::{Pipe, Remote, pipe};

/// A server that reads this many bytes a second of a sender, with a time limit for idle ones.
fn at_rate(bytes: u64, idle: Duration) -> (Server, Sink) {
    let builder = Server::builder().max_rate(NonZeroU64::new(bytes));
    builder.idle_timeout(idle).build().unwrap()
}

fn connect(server: &Server, bytes: usize) -> (Connection<Pipe>, Remote) {
    let (pipe, remote) = pipe();
    remote.send(vec![b'\n'; bytes]);
    (server.plain(pipe, Peer::label("sender")), remote)
}

/// Drives these connections, and then stops the server.
fn run<T>(server: Server, sink: Sink, connections: impl Future<Output = T>) -> T {
    let connections = async {
        let result = connections.await;
        server.stop();
        drop(server);
        result
    };
    block_on(zip(connections, sink.run(Raw::new(std::io::sink())))).0
}

#[test]
fn a_sender_that_has_reached_its_rate_is_not_idle_and_its_end_is_seen() {
    // A read takes 500 bytes at most.
    for len in [1999, 2000, 2001] {
        let (server, sink) = at_rate(4000, Duration::from_millis(20));
        let (connection, remote) = connect(&server, len);
        remote.send_eof();
        let start = Instant::now();
        let report = run(server, sink, connection);
        assert_eq!(report.end, End::Clean);
        assert_eq!(report.conn.received(), len as u64);
        assert!(start.elapsed() >= Duration::from_millis(370));
    }
}

#[test]
fn a_silent_connection_is_idle_though_its_sender_has_reached_its_rate_on_another() {
    let limit = Duration::from_millis(20);
    let (server, sink) = at_rate(4000, limit);
    let (busy, busy_remote) = connect(&server, 4000);
    busy_remote.send_eof();
    let (silent, _remote) = connect(&server, 0);
    let (busy, silent): (Report, Report) = run(server, sink, zip(busy, silent));
    assert_eq!(busy.end, End::Clean);
    assert_eq!(silent.end, End::Timeout(Timeout::Idle(limit)));
}

#[test]
fn a_cut_does_not_wait_for_the_rate() {
    let (server, sink) = at_rate(1, Duration::from_secs(3600));
    let (mut connection, _remote) = connect(&server, 3600);
    let start = Instant::now();
    let report = run(server.clone(), sink, async {
        assert!(poll_once(&mut connection).await.is_none());
        server.cut();
        connection.await
    });
    assert_eq!(report.end, End::Cut(Cut::Server));
    assert_eq!(report.conn.received(), 1);
    assert!(start.elapsed() < Duration::from_secs(60));
}
