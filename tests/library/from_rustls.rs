//! Configurations that an application made with rustls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::server::AllowAnyAuthenticatedClient;
use rustls::{
    Certificate, ClientConfig, NamedGroup, PrivateKey, RootCertStore, ServerConfig, ServerName,
};
use tlsink::tls::TlsError;
use tlsink::{End, Refusal, Server, Tls};

use crate::common::client::{Client, TLS12, TLS13, config};
use crate::memory::{Session, data, finish};

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
fn a_sender_that_a_configuration_of_rustls_verifies_is_anonymous_and_others_are_refused() {
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
    let mut given = Authority::new().server_config();
    given.max_fragment_size = Some(1);
    let error = Tls::from_rustls(Arc::new(given)).unwrap_err();
    assert!(matches!(error, TlsError::Configuration { .. }), "{error:?}");
}

/// A CA that signs for servers and senders.
struct Authority {
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
            der: certificate.der().to_vec(),
            issuer: Issuer::new(params, key),
        }
    }

    fn der(&self) -> Certificate {
        Certificate(self.der.clone())
    }

    fn der_chain(&self, name: &str) -> (Vec<Certificate>, PrivateKey) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
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
