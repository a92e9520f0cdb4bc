//! Connections behind a proxy, in memory.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use futures_lite::future::block_on;
use futures_lite::stream;
use tlsink::proxy::Fault;
use tlsink::{Address, Connection, Cut, End, Failures, Limit, Peer, Refusal, Server, Timeout};

use crate::common::client::{Client, TLS12, TLS13, tls};
use crate::memory::{Driven, Pipe, Remote, Seen, Session, data, finish, pipe, pull};

const LINE: &[u8] = b"PROXY TCP6 2001:db8::7 2001:db8::1 40312 4433\r\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// LINE's address in version 2, with the name of a sender whom the proxy has verified.
fn block() -> Vec<u8> {
    let mut block = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x35".to_vec();
    let source: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
    block.extend(source.octets());
    block.extend([0; 16]);
    block.extend([0x9d, 0x78, 0, 0]);
    block.extend([0x20, 0, 14, 5, 0, 0, 0, 0, 0x22, 0, 6]);
    block.extend(b"boiler");
    block
}

fn sender() -> SocketAddr {
    "[2001:db8::7]:40312".parse().unwrap()
}

fn behind(connection: Connection<Pipe>) -> Driven<Connection<Pipe>> {
    Driven::new(connection.behind_proxy())
}

fn plain(server: &Server) -> (Driven<Connection<Pipe>>, Remote) {
    let (pipe, remote) = pipe();
    (behind(server.plain(pipe, Peer::unix(None))), remote)
}

#[test]
fn a_header_comes_before_tls_in_any_pieces() {
    for version in [&TLS12, &TLS13] {
        for stutters in [false, true] {
            for header in [LINE, &block()] {
                let (server, mut sink) = Server::builder().tls(tls()).build().unwrap();
                let (pipe, remote) = pipe();
                let mut session = Session {
                    connection: behind(server.connection(pipe, Peer::label("proxy"))),
                    client: Client::new(version),
                    remote,
                };
                if stutters {
                    session.remote.stutter();
                }
                // In one piece with the hello.
                let hello = session.client.records();
                session.remote.send([header, &hello].concat());
                assert!(session.connection.run().is_none());
                let records = session.remote.take();
                session.client.take(&records);
                session.shake_hands();
                session.remote.send(session.client.records());
                let record = session.client.record(b"hello");
                session.remote.send(record);
                session.remote.send(session.client.close_notify());
                let (seen, report) = finish(&mut session, &mut sink);
                assert_eq!(data(&seen), b"hello");
                assert_eq!(report.end, End::Clean);
                assert_eq!(report.conn.peer().address(), &Address::Ip(sender()));
                // Our own handshake has verified nobody.
                assert!(report.conn.names().is_empty());
            }
        }
    }
}

#[test]
fn a_stream_without_tls_has_the_name_that_the_proxy_has_verified() {
    let (server, mut sink) = Server::builder().build().unwrap();
    let (mut connection, remote) = plain(&server);
    remote.send([&block(), &b"hello"[..]].concat());
    remote.send_eof();
    assert!(connection.run().is_none());
    assert_eq!(data(&pull(&mut sink)), b"hello");
    let report = connection.run().unwrap();
    assert_eq!(report.conn.names(), ["boiler"]);
    assert_eq!(report.conn.received(), 5);
    assert_eq!(report.end, End::Clean);
}

#[test]
fn a_proxy_that_names_nobody_has_a_stream_once_it_sends_something() {
    let (server, mut sink) = Server::builder().build().unwrap();
    let (mut connection, remote) = plain(&server);
    remote.send(LOCAL);
    assert!(connection.run().is_none());
    assert_eq!(pull(&mut sink), []);
    remote.send("h");
    remote.send("i");
    remote.send_eof();
    assert!(connection.run().is_none());
    let seen = pull(&mut sink);
    assert_eq!(seen.first(), Some(&Seen::Open));
    assert_eq!(data(&seen), b"hi");
    let report = connection.run().unwrap();
    assert_eq!(report.conn.peer(), &Peer::unix(None));
    assert_eq!(report.conn.received(), 2);
    assert!(!report.is_health_check());

    for (bytes, error) in [
        (&b""[..], false),
        (b"", true),
        (LOCAL, false),
        (LOCAL, true),
    ] {
        let (mut connection, remote) = plain(&server);
        remote.send(bytes);
        match error {
            true => remote.send_error(ErrorKind::ConnectionReset),
            false => remote.send_eof(),
        }
        let report = connection.run().unwrap();
        assert!(report.is_health_check() && !report.established);
    }
    assert_eq!(pull(&mut sink), []);
    let mut expected = Failures::default();
    expected.health_checks = 4;
    assert_eq!(server.failures(), expected);
}

#[test]
fn an_invalid_header_is_refused_and_so_is_one_that_takes_too_long() {
    let (server, _sink) = Server::builder().build().unwrap();
    let (mut connection, remote) = plain(&server);
    remote.send("no header");
    let report = connection.run().unwrap();
    assert_eq!(report.end, End::Refused(Refusal::Proxy(Fault::NotProxy)));
    // No more was read than the shortest header.
    assert_eq!(remote.read(), 9);
    assert!(report.is_refused() && !report.is_health_check());
    assert_eq!(server.failures().refused, 1);

    let limit = Duration::from_millis(20);
    let builder = Server::builder().handshake_timeout(limit);
    let (server, _sink) = builder.build().unwrap();
    let (pipe, remote) = pipe();
    remote.send(&LINE[..20]);
    let report = block_on(server.plain(pipe, Peer::unix(None)).behind_proxy());
    assert_eq!(report.end, End::Timeout(Timeout::Handshake(limit)));
}

#[test]
fn a_connection_counts_for_its_sender_and_not_for_the_proxy() {
    let (server, _sink) = Server::builder().max_per_ip(1).build().unwrap();
    let proxy = SocketAddr::from(([192, 0, 2, 1], 1));
    let connect = || {
        let (pipe, remote) = pipe();
        (behind(server.plain(pipe, proxy)), remote)
    };
    let (mut first, remote) = connect();
    remote.send(LINE);
    assert!(first.run().is_none());
    let (mut second, remote) = connect();
    remote.send(LINE);
    let report = second.run().unwrap();
    assert_eq!(report.end, End::Limit(Limit::PerIp { most: 1 }));
    assert_eq!(report.conn.peer().address(), &Address::Ip(sender()));
    // Before its header, a connection counts for nobody.
    let (unnamed, _remote) = connect();
    let (pipe_, _other_remote) = pipe();
    let mut direct = Driven::new(server.plain(pipe_, proxy));
    assert!(direct.run().is_none());
    drop((first, second, unnamed));
    let (mut third, remote) = connect();
    remote.send(LINE);
    assert!(third.run().is_none());
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_filter_is_asked_for_the_sender() {
    let builder = Server::builder().tls(tls());
    let (server, _sink) = builder
        .allow(|peer| *peer.address() == Address::Ip(sender()))
        .build()
        .unwrap();
    let (direct, _remote) = pipe();
    let report = block_on(server.connection(direct, Peer::label("proxy")));
    assert_eq!(report.end, End::Refused(Refusal::Address));
    let (mut connection, remote) = plain(&server);
    remote.send(LINE);
    assert!(connection.run().is_none());
    let (mut connection, remote) = plain(&server);
    remote.send("PROXY UNKNOWN\r\n");
    let report = connection.run().unwrap();
    assert_eq!(report.end, End::Refused(Refusal::Address));
    assert_eq!(server.failures().refused, 2);
    // The proxy's own connections pass, or it would take the server for dead.
    let proxy = SocketAddr::from(([192, 0, 2, 1], 9));
    for header in [LOCAL, b"PROXY TCP4 192.0.2.1 192.0.2.2 9 9\r\n"] {
        let (pipe, remote) = pipe();
        let mut connection = behind(server.plain(pipe, proxy));
        remote.send(header);
        assert!(connection.run().is_none());
        remote.send_eof();
        assert!(connection.run().unwrap().is_health_check());
    }
}

#[test]
fn a_stop_cuts_a_connection_that_waits_for_its_header_or_its_first_byte() {
    for sent in [&b""[..], &LINE[..20], LOCAL] {
        let (server, _sink) = Server::builder().build().unwrap();
        let (mut connection, remote) = plain(&server);
        remote.send(sent);
        assert!(connection.run().is_none());
        server.cut();
        let report = connection.run().unwrap();
        assert_eq!(report.end, End::Cut(Cut::Server));
        assert!(!report.is_health_check());

        let (mut connection, remote) = plain(&server);
        remote.send(sent);
        assert!(connection.run().is_none());
        drop(connection);
        assert_eq!(server.failures().cut, 2);
    }
}

#[test]
fn an_accept_loop_makes_connections_of_any_kind() {
    let (server, mut sink) = Server::builder().build().unwrap();
    let (accepted, remote) = pipe();
    remote.send([LINE, b"hello"].concat());
    remote.send_eof();
    let errors = [Err(io::ErrorKind::ConnectionAborted.into()), Ok(accepted)];
    let connections = RefCell::new(Vec::new());
    let accepting = server.serve_with(stream::iter(errors), |io| {
        let connection = server.plain(io, Peer::label("proxy")).behind_proxy();
        connections.borrow_mut().push(Driven::new(connection));
    });
    block_on(accepting);
    let mut connections = connections.into_inner();
    assert_eq!(connections.len(), 1);
    assert!(connections[0].run().is_none());
    assert_eq!(data(&pull(&mut sink)), b"hello");
    assert!(connections[0].run().unwrap().end.is_clean());
}
