//! The settings that an embedding application gives, and the reports and parts that it gets.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::StreamExt;
use futures_lite::future::{block_on, poll_once};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, cipher_suite as suite};
use tlsink::tls::{Alert, CertificateFault, ClientVerifier, Identity, TlsVersion};
use tlsink::{Cut, Delivery, End, Failures, Peer, Refusal, Server, SinkEvent, Tls};

use crate::common::authority::{Authority, dns, ip, mail, uri};
use crate::common::client::{
    ALERT, AnyCertificate, Client, DATA, Sealer, TLS12, TLS13, tls, versions,
};
use crate::memory::{Driven, Remote, Session, data, finish, finish_connection, pipe, pull};

#[test]
fn each_reason_why_a_connection_is_not_established_is_counted_once() {
    let authority = Authority::new("CA");
    let own = authority.server(&["localhost"]).pem();
    let tls = Tls::builder()
        .identity(Identity::from_pem(own.as_bytes(), own.as_bytes()).unwrap())
        .client_verifier(ClientVerifier::from_ca_pem(authority.pem().as_bytes()).unwrap())
        .build()
        .unwrap();
    let builder = Server::builder().tls(tls).max_per_ip(1);
    let (server, _sink) = builder.build().unwrap();
    let count = |change: &dyn Fn(&mut Failures)| {
        let mut expected = Failures::default();
        change(&mut expected);
        expected
    };
    let mut before = server.failures();
    let mut since = || {
        let now = server.failures();
        let mut difference = now;
        difference.refused -= before.refused;
        difference.unverified -= before.unverified;
        difference.closed -= before.closed;
        difference.reset -= before.reset;
        difference.timeout -= before.timeout;
        difference.limit -= before.limit;
        difference.cut -= before.cut;
        difference.health_checks -= before.health_checks;
        before = now;
        assert_eq!(difference.total(), 1);
        difference
    };

    let (io, remote) = pipe();
    remote.send("GET / HTTP/1.1\r\n\r\n");
    let report = block_on(server.connection(io, Peer::label("browser")));
    assert!(!report.established);
    assert_eq!(since(), count(&|failures| failures.refused = 1));

    // The sender has no certificate.
    let mut session = Session::new(&server, Client::new(&TLS12));
    session.remote.send(session.client.records());
    assert!(session.connection.run().is_none());
    session.client.take(&session.remote.take());
    session.remote.send(session.client.records());
    let report = session.connection.run().unwrap();
    assert_eq!(report.end, End::Refused(Refusal::NoCertificate));
    assert_eq!(since(), count(&|failures| failures.unverified = 1));

    let (io, remote) = pipe();
    remote.send_eof();
    block_on(server.connection(io, Peer::label("scanner")));
    assert_eq!(since(), count(&|failures| failures.closed = 1));

    let (io, remote) = pipe();
    remote.send_error(ErrorKind::ConnectionReset);
    block_on(server.connection(io, Peer::label("scanner")));
    assert_eq!(since(), count(&|failures| failures.reset = 1));

    let (io, remote) = pipe();
    remote.send_eof();
    block_on(server.connection(io, Peer::label("proxy")).behind_proxy());
    assert_eq!(since(), count(&|failures| failures.health_checks = 1));

    let one = SocketAddr::from(([192, 0, 2, 7], 1));
    let (io, _first_remote) = pipe();
    let first = server.plain(io, one);
    let (io, _remote) = pipe();
    block_on(server.connection(io, one));
    assert_eq!(since(), count(&|failures| failures.limit = 1));

    drop(first);
    assert_eq!(since(), count(&|failures| failures.cut = 1));
    server.stop();
    let (io, _remote) = pipe();
    block_on(server.connection(io, one));
    assert_eq!(since(), count(&|failures| failures.cut = 1));
    assert_eq!(server.totals().connections, 0);

    let builder = Server::builder().handshake_timeout(Duration::ZERO);
    let (server, _sink) = builder.tls(crate::common::client::tls()).build().unwrap();
    let (io, _remote) = pipe();
    block_on(server.connection(io, Peer::label("silent")));
    assert_eq!(server.failures(), count(&|failures| failures.timeout = 1));
}

#[test]
fn an_established_connection_is_no_failure_however_it_ends() {
    let (server, mut sink) = Server::builder().tls(tls()).build().unwrap();
    let session = Session::open(&server, Client::new(&TLS13));
    drop(session);
    let mut session = Session::open(&server, Client::new(&TLS13));
    session.remote.send_error(ErrorKind::ConnectionReset);
    assert!(session.connection.run().is_none());
    pull(&mut sink);
    assert!(session.connection.run().is_some());
    assert_eq!(server.failures(), Failures::default());
    assert_eq!(server.totals().connections, 2);
}

#[test]
fn a_peer_that_sent_nothing_and_left_without_an_alert_is_a_health_check() {
    type Leaving = fn(&Remote, &mut Sealer);
    let leavings: [(Leaving, &str); 6] = [
        (|remote, _| remote.send_eof(), "truncated"),
        (
            |remote, _| remote.send_error(ErrorKind::ConnectionReset),
            "reset",
        ),
        // One byte makes it a stream.
        (
            |remote, sealer| {
                remote.send(sealer.record(DATA, b"h"));
                remote.send_eof();
            },
            "truncated",
        ),
        // These peers leave with a reason.
        (|remote, sealer| remote.send(sealer.close_notify()), "clean"),
        (
            |remote, sealer| remote.send(sealer.record(ALERT, &[2, 42])),
            "reset",
        ),
        (|remote, _| remote.send(vec![DATA; 64]), "corrupt"),
    ];
    let (server, mut sink) = Server::builder().tls(tls()).build().unwrap();
    for (number, (leave, word)) in (0..).zip(leavings) {
        let client = Client::with(Sealer::config());
        let Session {
            connection,
            client,
            remote,
        } = Session::open(&server, client);
        let mut connection = connection;
        leave(&remote, &mut Sealer::new(client));
        let (_, report) = finish_connection(&mut connection, &mut sink);
        assert_eq!(report.end.word(), word);
        assert_eq!(report.is_health_check(), number < 2, "{}", report.end);
    }
    let totals = server.totals();
    assert_eq!((totals.connections, totals.health_checks), (6, 2));

    // A connection that was never established is no health check.
    let (io, remote) = pipe();
    remote.send_error(ErrorKind::ConnectionReset);
    assert!(!block_on(server.connection(io, Peer::label("scanner"))).is_health_check());
}

#[test]
fn a_connection_that_has_resolved_holds_nothing_back_even_if_it_is_kept() {
    let builder = Server::builder().max_connections(1).max_per_ip(1);
    let (server, mut sink) = builder.build().unwrap();
    let peer = SocketAddr::from(([192, 0, 2, 7], 1));
    let mut kept = Vec::new();
    for number in 1..=3 {
        let (io, remote) = pipe();
        remote.send("hello\n");
        remote.send_eof();
        let mut connection = Box::pin(server.plain(io, peer));
        assert!(block_on(poll_once(&mut connection)).is_none());
        assert_eq!(server.connections(), 1);
        assert_eq!(data(&pull(&mut sink)), b"hello\n");
        let report = block_on(&mut connection);
        assert_eq!(
            (report.end, u64::from(report.conn.id())),
            (End::Clean, number)
        );
        assert_eq!(server.connections(), 0);
        kept.push(connection);
    }
    assert!(block_on(server.shutdown(None)).is_empty());
    assert!(block_on(sink.next()).is_none());
}

#[test]
fn a_shutdown_does_not_report_a_connection_that_was_cut_before_it() {
    let (server, sink) = Server::builder().build().unwrap();
    let mut deliveries = sink.into_stream();
    let mut connect = |name| {
        let (io, remote) = pipe();
        let mut connection = Driven::new(server.plain(io, Peer::label(name)));
        assert!(connection.run().is_none());
        assert!(matches!(
            block_on(deliveries.next()),
            Some(Delivery::Open(_))
        ));
        (connection, remote)
    };
    let (mut first, _first_remote) = connect("first");
    let (mut second, _second_remote) = connect("second");
    server.cut();
    assert!(first.run().is_none());
    assert!(matches!(
        block_on(deliveries.next()),
        Some(Delivery::Close(_, End::Cut(Cut::Server)))
    ));
    assert!(block_on(poll_once(deliveries.next())).is_none());
    assert_eq!(first.run().unwrap().end, End::Cut(Cut::Server));
    let mut stopping = Box::pin(server.shutdown(None));
    assert!(block_on(poll_once(&mut stopping)).is_none());
    assert!(second.run().is_none());
    assert!(block_on(deliveries.next()).is_some());
    assert!(block_on(poll_once(deliveries.next())).is_none());
    assert!(second.run().is_some());
    assert!(block_on(deliveries.next()).is_none());
    let cut = block_on(stopping);
    assert_eq!(cut.len(), 1);
    assert_eq!(*cut[0].conn.peer(), Peer::label("second"));
}

#[test]
fn a_refusal_tells_its_reason_to_a_program() {
    let (plant, other) = (Authority::new("Plant CA"), Authority::new("Other CA"));
    let own = plant.server(&["localhost"]).pem();
    let tls = Tls::builder()
        .identity(Identity::from_pem(own.as_bytes(), own.as_bytes()).unwrap())
        .client_verifier(ClientVerifier::from_ca_pem(plant.pem().as_bytes()).unwrap())
        .build()
        .unwrap();
    let (server, _sink) = Server::builder().tls(tls).build().unwrap();
    let refusal = |client| {
        let mut session = Session::new(&server, client);
        session.remote.send(session.client.records());
        loop {
            if let Some(report) = session.connection.run() {
                assert!(report.is_refused());
                match report.end {
                    End::Refused(refusal) => return refusal,
                    end => panic!("{end}"),
                }
            }
            // A client that refuses the server's certificate has an alert to send.
            let _ = session.client.try_take(&session.remote.take());
            session.remote.send(session.client.records());
        }
    };

    let sender = other.sender("c", &[dns("a.example")]);
    let Refusal::Certificate(refused) = refusal(Client::with(sender.config(&TLS13))) else {
        panic!("its CA is unknown");
    };
    assert_eq!(refused.fault, CertificateFault::UnknownCa);
    assert_eq!(refused.reason, "unknown CA \"CN=Other CA\"");
    assert_eq!(refused.claimed, ["a.example", "c"]);

    let trusting_nobody = versions(&TLS12)
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let Refusal::Alert(alert) = refusal(Client::with(trusting_nobody)) else {
        panic!("the client trusts no CA");
    };
    assert_eq!(alert, Alert::from_code(48));
    assert_eq!(alert.to_string(), "unknown_ca");
}

#[test]
fn a_connection_and_its_report_tell_the_tls_session() {
    let (server, mut sink) = Server::builder().tls(tls()).build().unwrap();
    for (version, expected, suite) in [
        (
            &TLS12,
            TlsVersion::Tls12,
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ),
        (&TLS13, TlsVersion::Tls13, "TLS_CHACHA20_POLY1305_SHA256"),
    ] {
        for asks in [true, false] {
            let mut config = config_with_chacha20(version);
            config.enable_sni = asks;
            let mut session = Session::open(&server, Client::with(config));
            let opened = block_on(sink.next());
            let Some(SinkEvent::Open(conn)) = opened else {
                panic!("{opened:?}");
            };
            let told = conn.tls().unwrap().clone();
            assert_eq!(told.version(), expected);
            assert_eq!(told.cipher_suite().to_string(), suite);
            assert_eq!(told.server_name(), asks.then_some("localhost"));
            session.remote.send(session.client.close_notify());
            let (_, report) = finish(&mut session, &mut sink);
            assert_eq!(report.conn.tls(), Some(&told));
        }
    }
    let (io, remote) = pipe();
    let mut plain = Driven::new(server.plain(io, Peer::label("test")));
    remote.send_eof();
    let (_, report) = finish_connection(&mut plain, &mut sink);
    assert_eq!(report.conn.tls(), None);
}

#[test]
fn all_verified_names_are_listed_the_one_to_show_first() {
    let ca = Authority::new("Plant CA");
    let names = [
        mail("m@x.example"),
        uri("urn:u"),
        dns("d.example"),
        ip("192.0.2.7"),
        dns("e.example"),
    ];
    let sender = ca.sender("c", &names);
    for (allowed, listed) in [
        (
            None,
            [
                "d.example",
                "e.example",
                "urn:u",
                "m@x.example",
                "c",
                "192.0.2.7",
            ],
        ),
        (
            Some("urn:u"),
            [
                "urn:u",
                "d.example",
                "e.example",
                "m@x.example",
                "c",
                "192.0.2.7",
            ],
        ),
    ] {
        let mut clients = ClientVerifier::from_ca_pem(ca.pem().as_bytes()).unwrap();
        if let Some(name) = allowed {
            clients = clients.allow(name).unwrap();
        }
        let own = ca.server(&["localhost"]).pem();
        let tls = Tls::builder()
            .identity(Identity::from_pem(own.as_bytes(), own.as_bytes()).unwrap())
            .client_verifier(clients)
            .build()
            .unwrap();
        for version in [&TLS12, &TLS13] {
            let (server, mut sink) = Server::builder().tls(tls.clone()).build().unwrap();
            let client = Client::with(sender.config(version));
            let mut session = Session::open(&server, client);
            let opened = block_on(sink.next());
            let Some(SinkEvent::Open(conn)) = opened else {
                panic!("{opened:?}");
            };
            assert_eq!(conn.names(), listed);
            session.remote.send(session.client.close_notify());
            let (_, report) = finish(&mut session, &mut sink);
            assert_eq!(report.end, End::Clean);
            assert_eq!(report.conn.peer().names(), listed);
        }
    }
}

#[test]
fn types_that_an_application_moves_between_threads_are_send() {
    fn send<T: Send>(_: &T) {}
    let (server, sink) = Server::builder().build().unwrap();
    let (io, _remote) = pipe();
    send(&server.plain(io, Peer::label("test")));
    send(&server.shutdown(None));
    send(&server.ready());
    send(&sink);
    send(&sink.into_stream());
}

/// The configuration of a client that offers no suites but those with ChaCha20.
fn config_with_chacha20(version: &'static SupportedProtocolVersion) -> ClientConfig {
    ClientConfig::builder()
        .with_cipher_suites(&[
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ])
        .with_safe_default_kx_groups()
        .with_protocol_versions(&[version])
        .unwrap()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(None)))
        .with_no_client_auth()
}
