//! The information, parts and results that an embedding application gives and gets.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_lite::StreamExt;
use futures_lite::future::{block_on, poll_once};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::server::AllowAnyAuthenticatedClient;
use rustls::{
    Certificate, ClientConfig, NamedGroup, PrivateKey, RootCertStore, ServerConfig, ServerName,
};
use tlsink::{
    ClientVerifier, Cut, Delivery, End, Failures, Identity, Peer, Server, SinkEvent, Tls, TlsError,
};

use crate::common::authority::{self, dns, ip, mail, uri};
use crate::common::client::{ALERT, Client, DATA, Sealer, TLS12, TLS13, config, tls};
use crate::memory::{Driven, Remote, Session, data, finish, finish_connection, pipe, pull};

#[test]
fn each_reason_why_a_connection_is_not_established_is_counted_once() {
    let authority = Authority::new();
    let (chain, key) = authority.issue("localhost");
    let tls = Tls::builder()
        .identity(Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap())
        .client_verifier(ClientVerifier::from_ca_pem(authority.pem.as_bytes()).unwrap())
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
        before = now;
        assert_eq!(difference.total(), 1);
        difference
    };

    let (io, remote) = pipe();
    remote.send("GET / HTTP/1.1\r\n\r\n");
    let report = block_on(server.connection(io, Peer::label("browser")));
    assert!(!report.established);
    assert_eq!(since(), count(&|failures| failures.refused = 1));

    // A sender that has no certificate.
    let mut session = Session::new(&server, Client::new(&TLS12));
    session.remote.send(session.client.records());
    assert!(session.connection.run().is_none());
    session.client.take(&session.remote.take());
    session.remote.send(session.client.records());
    let report = session.connection.run().unwrap();
    assert!(matches!(report.end, End::Refused { .. }), "{report:?}");
    assert_eq!(since(), count(&|failures| failures.unverified = 1));

    let (io, remote) = pipe();
    remote.send_eof();
    block_on(server.connection(io, Peer::label("scanner")));
    assert_eq!(since(), count(&|failures| failures.closed = 1));

    let (io, remote) = pipe();
    remote.send_error(ErrorKind::ConnectionReset);
    block_on(server.connection(io, Peer::label("scanner")));
    assert_eq!(since(), count(&|failures| failures.reset = 1));

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
fn a_peer_that_sent_nothing_and_went_away_without_a_word_is_a_health_check() {
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

    // A connection that was never established is not counted as one.
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
        assert_eq!((report.end, u64::from(report.id)), (End::Clean, number));
        assert_eq!(server.connections(), 0);
        kept.push(connection);
    }
    assert!(block_on(server.shutdown(None)).is_empty());
    assert!(block_on(sink.next()).is_none());
}

#[test]
fn what_was_cut_before_the_stop_is_not_part_of_it() {
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
    assert_eq!(cut[0].peer, Peer::label("second"));
}

#[test]
fn a_configuration_of_rustls_is_taken_but_resumes_nothing() {
    let authority = Authority::new();
    let mut given = authority.server_config();
    given.ticketer = rustls::Ticketer::new().unwrap();
    given.send_tls13_tickets = 4;
    let tls = Tls::from_rustls(Arc::new(given)).unwrap();
    assert_eq!(tls.warnings(), []);
    let (server, mut sink) = Server::builder().tls(tls).build().unwrap();
    for version in [&TLS12, &TLS13] {
        let store = Arc::new(Tickets::default());
        let mut config = config(version);
        config.resumption = Resumption::store(Arc::clone(&store) as _);
        let mut session = Session::open(&server, Client::with(config));
        let tickets = session.remote.take();
        session.client.take(&tickets);
        let records = session.client.record(b"hello\n");
        session.remote.send(records);
        session.remote.send(session.client.close_notify());
        let (seen, report) = finish(&mut session, &mut sink);
        assert_eq!(data(&seen), b"hello\n");
        assert_eq!(report.end, End::Clean);
        assert_eq!(store.0.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn all_verified_names_are_listed_the_one_to_show_first() {
    let ca = authority::Authority::new("Plant CA");
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
            assert_eq!(report.peer.names(), listed);
        }
    }
}

#[test]
fn whom_a_configuration_of_rustls_verifies_is_anonymous_and_others_are_refused() {
    let authority = Authority::new();
    let mut roots = RootCertStore::empty();
    roots.add(&authority.der()).unwrap();
    let (chain, key) = authority.der_chain("localhost");
    let given = ServerConfig::builder()
        .with_safe_defaults()
        .with_client_cert_verifier(AllowAnyAuthenticatedClient::new(roots).boxed())
        .with_single_cert(chain, key)
        .unwrap();
    let tls = Tls::from_rustls(Arc::new(given)).unwrap();
    let (server, mut sink) = Server::builder().tls(tls).build().unwrap();

    let (chain, key) = authority.der_chain("sender.example.net");
    let mut session = Session::open(&server, Client::with(authority.client_config(chain, key)));
    session.remote.send(session.client.close_notify());
    let (_, report) = finish(&mut session, &mut sink);
    assert_eq!(report.end, End::Clean);
    assert_eq!(report.peer.names(), [""; 0]);

    let mut session = Session::new(&server, Client::new(&TLS13));
    session.shake_hands();
    session.remote.send(session.client.records());
    let report = session.connection.run().unwrap();
    assert!(matches!(report.end, End::Refused { .. }), "{report:?}");
    assert_eq!(server.failures().unverified, 1);
}

#[test]
fn a_configuration_of_which_rustls_makes_no_session_is_an_error() {
    let mut given = Authority::new().server_config();
    given.max_fragment_size = Some(1);
    let error = Tls::from_rustls(Arc::new(given)).unwrap_err();
    assert!(matches!(error, TlsError::Configuration { .. }), "{error:?}");
}

#[test]
fn what_an_application_moves_between_threads_is_send() {
    fn send<T: Send>(_: &T) {}
    let (server, sink) = Server::builder().build().unwrap();
    let (io, _remote) = pipe();
    send(&server.plain(io, Peer::label("test")));
    send(&server.shutdown(None));
    send(&server.ready());
    send(&sink);
    send(&sink.into_stream());
}

/// A CA that signs for servers and senders.
struct Authority {
    pem: String,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A certificate and its key, PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let (certificate, key) = self.sign(name);
        (certificate.pem(), key.serialize_pem())
    }

    fn der(&self) -> Certificate {
        Certificate(self.der.clone())
    }

    fn der_chain(&self, name: &str) -> (Vec<Certificate>, PrivateKey) {
        let (certificate, key) = self.sign(name);
        let chain = vec![Certificate(certificate.der().to_vec())];
        (chain, PrivateKey(key.serialize_der()))
    }

    fn server_config(&self) -> ServerConfig {
        let (chain, key) = self.der_chain("localhost");
        ServerConfig::builder()
            .with_safe_defaults()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }

    fn client_config(&self, chain: Vec<Certificate>, key: PrivateKey) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(&self.der()).unwrap();
        ClientConfig::builder()
            .with_safe_defaults()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap()
    }
}

/// Counts the sessions that a client could resume.
#[derive(Default)]
struct Tickets(AtomicUsize);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: &ServerName, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: &ServerName, _: Tls12ClientSessionValue) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn tls12_session(&self, _: &ServerName) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName) {}

    fn insert_tls13_ticket(&self, _: &ServerName, _: Tls13ClientSessionValue) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn take_tls13_ticket(&self, _: &ServerName) -> Option<Tls13ClientSessionValue> {
        None
    }
}
