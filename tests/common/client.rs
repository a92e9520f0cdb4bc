//! A TLS client whose bytes the test moves itself, and certificates for the server.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::{ServerCertVerified, ServerCertVerifier, WantsClientCert, WebPkiVerifier};
use rustls::{
    Certificate, ClientConfig, ClientConnection, ConfigBuilder, Error, RootCertStore, ServerName,
    SignatureScheme, SupportedProtocolVersion, WantsVerifier,
};
use tlsink::Tls;

pub use rustls::version::{TLS12, TLS13};

/// A client session in memory.
pub struct Client(ClientConnection);

impl Client {
    pub fn new(version: &'static SupportedProtocolVersion) -> Self {
        Client::with(config(version))
    }

    pub fn with(config: ClientConfig) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        Client(ClientConnection::new(Arc::new(config), name).unwrap())
    }

    /// The records that the client has to send by now.
    pub fn records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut records).unwrap();
        }
        records
    }

    /// A record, or several if `data` is long, with this content.
    pub fn record(&mut self, data: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        for part in data.chunks(16 * 1024) {
            self.0.writer().write_all(part).unwrap();
            records.extend(self.records());
        }
        records
    }

    /// A record that the server can't authenticate.
    pub fn bad_record(&mut self) -> Vec<u8> {
        let mut record = self.record(b"forged");
        *record.last_mut().unwrap() ^= 1;
        record
    }

    pub fn close_notify(&mut self) -> Vec<u8> {
        self.0.send_close_notify();
        self.records()
    }

    /// Takes what the server sent.
    pub fn take(&mut self, records: &[u8]) {
        self.try_take(records).unwrap();
    }

    /// Takes what the server sent, unless it is an alert.
    pub fn try_take(&mut self, mut records: &[u8]) -> Result<(), Error> {
        while !records.is_empty() {
            self.0.read_tls(&mut records).unwrap();
            self.0.process_new_packets()?;
        }
        Ok(())
    }

    /// Takes what the server sent, which ends the session; yields why.
    pub fn refused(&mut self, mut records: &[u8]) -> String {
        while !records.is_empty() {
            self.0.read_tls(&mut records).unwrap();
            if let Err(error) = self.0.process_new_packets() {
                return error.to_string();
            }
        }
        panic!("the server did not refuse it");
    }

    /// DER.
    pub fn server_certificate(&self) -> &[u8] {
        self.0.peer_certificates().unwrap()[0].as_ref()
    }

    pub fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Whether the server has answered with a close_notify.
    pub fn was_closed(&mut self) -> bool {
        matches!(self.0.reader().read(&mut [0]), Ok(0))
    }
}

/// A client's configuration that takes any certificate, and presents none.
pub fn config(version: &'static SupportedProtocolVersion) -> ClientConfig {
    builder(version).with_no_client_auth()
}

/// One that takes any certificate.
pub fn builder(
    version: &'static SupportedProtocolVersion,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    versions(version).with_custom_certificate_verifier(Arc::new(AnyCertificate(None)))
}

/// A client's configuration that knows only these kinds of signatures.
pub fn knowing(
    schemes: &[SignatureScheme],
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let verifier = AnyCertificate(Some(schemes.to_vec()));
    versions(version)
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth()
}

/// A client's configuration that takes a server for which one of these CAs has signed.
pub fn trusting(authorities: &[&[u8]], version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for der in authorities {
        roots.add(&Certificate(der.to_vec())).unwrap();
    }
    versions(version)
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn versions(
    version: &'static SupportedProtocolVersion,
) -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder()
        .with_safe_default_cipher_suites()
        .with_safe_default_kx_groups()
        .with_protocol_versions(&[version])
        .unwrap()
}

/// The server's side, with a certificate made for the test.
pub fn tls() -> Tls {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Tls::from_pem(
        key.cert.pem().as_bytes(),
        key.signing_key.serialize_pem().as_bytes(),
    )
    .unwrap()
}

/// With the signatures that it knows, if not all.
struct AnyCertificate(Option<Vec<SignatureScheme>>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &Certificate,
        _: &[Certificate],
        _: &ServerName,
        _: &mut dyn Iterator<Item = &[u8]>,
        _: &[u8],
        _: SystemTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let all = WebPkiVerifier::verification_schemes;
        self.0.clone().unwrap_or_else(all)
    }
}
