//! Configurations that an application made with rustls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::server::AllowAnyAuthenticatedClient;
use rustls::{Certificate, NamedGroup, RootCertStore, ServerConfig, ServerName};
use tlsink::tls::TlsError;
use tlsink::{End, Refusal, Server, Tls};

use crate::common::authority::Authority;
use crate::common::client::{Client, TLS12, TLS13, config};
use crate::memory::{Session, data, finish};

#[test]
fn a_configuration_of_rustls_is_taken_but_resumes_nothing() {
    let mut given = server_config(&Authority::new("CA"));
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
fn a_sender_that_a_configuration_of_rustls_verifies_is_anonymous_and_others_are_refused() {
    let authority = Authority::new("CA");
    let mut roots = RootCertStore::empty();
    roots.add(&Certificate(authority.der().to_vec())).unwrap();
    let own = authority.server(&["localhost"]);
    let given = ServerConfig::builder()
        .with_safe_defaults()
        .with_client_cert_verifier(AllowAnyAuthenticatedClient::new(roots).boxed())
        .with_single_cert(own.chain.clone(), own.key())
        .unwrap();
    let tls = Tls::from_rustls(Arc::new(given)).unwrap();
    let (server, mut sink) = Server::builder().tls(tls).build().unwrap();

    let sender = authority.sender("sender.example.net", &[]);
    let mut session = Session::open(&server, Client::with(sender.config(&TLS13)));
    session.remote.send(session.client.close_notify());
    let (_, report) = finish(&mut session, &mut sink);
    assert_eq!(report.end, End::Clean);
    assert_eq!(report.conn.peer().names(), [""; 0]);

    let mut session = Session::new(&server, Client::new(&TLS13));
    session.shake_hands();
    session.remote.send(session.client.records());
    let report = session.connection.run().unwrap();
    assert_eq!(report.end, End::Refused(Refusal::NoCertificate));
    assert_eq!(server.failures().unverified, 1);
}

#[test]
fn a_configuration_of_which_rustls_makes_no_session_is_an_error() {
    let mut given = server_config(&Authority::new("CA"));
    given.max_fragment_size = Some(1);
    let error = Tls::from_rustls(Arc::new(given)).unwrap_err();
    assert!(matches!(error, TlsError::Configuration { .. }), "{error:?}");
}

/// The configuration of a server whose certificate this CA has signed.
fn server_config(authority: &Authority) -> ServerConfig {
    let own = authority.server(&["localhost"]);
    ServerConfig::builder()
        .with_safe_defaults()
        .with_no_client_auth()
        .with_single_cert(own.chain.clone(), own.key())
        .unwrap()
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
