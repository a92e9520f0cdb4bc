//! A TLS client in memory, whose bytes the test carries, and a certificate for the server.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::SystemTime;

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
use rustls::client::{ServerCertVerified, ServerCertVerifier, WantsClientCert, WebPkiVerifier};
use rustls::{
    Certificate, ClientConfig, ClientConnection, ConfigBuilder, ConnectionTrafficSecrets, Error,
    ExtractedSecrets, ServerName, SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion,
    WantsVerifier,
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

    /// The records that the client has ready to send.
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

    /// Makes a record that the server can't authenticate.
    pub fn bad_record(&mut self) -> Vec<u8> {
        let mut record = self.record(b"forged");
        *record.last_mut().unwrap() ^= 1;
        record
    }

    pub fn close_notify(&mut self) -> Vec<u8> {
        self.0.send_close_notify();
        self.records()
    }

    /// Takes the bytes that the server sent.
    pub fn take(&mut self, records: &[u8]) {
        self.try_take(records).unwrap();
    }

    /// Takes the bytes that the server sent, unless they are an alert.
    pub fn try_take(&mut self, mut records: &[u8]) -> Result<(), Error> {
        while !records.is_empty() {
            self.0.read_tls(&mut records).unwrap();
            self.0.process_new_packets()?;
        }
        Ok(())
    }

    /// Takes the bytes that the server sent, and returns the error with which they end the session.
    pub fn refused(&mut self, mut records: &[u8]) -> String {
        while !records.is_empty() {
            self.0.read_tls(&mut records).unwrap();
            if let Err(error) = self.0.process_new_packets() {
                return error.to_string();
            }
        }
        panic!("the server did not refuse it");
    }

    /// The server's certificate as DER.
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

/// Content types (RFC 5246, section 6.2.1).
pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const DATA: u8 = 23;

/// The only cipher suite that a [`Sealer`] supports.
pub const SEALED: SupportedCipherSuite = TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;

/// A session of TLS 1.2 that can seal records that no real peer would send.
pub struct Sealer {
    key: LessSafeKey,
    salt: [u8; 4],
    sequence: u64,
}

impl Sealer {
    /// The configuration of a client that can become a `Sealer`.
    pub fn config() -> ClientConfig {
        let mut config = ClientConfig::builder()
            .with_cipher_suites(&[SEALED])
            .with_safe_default_kx_groups()
            .with_protocol_versions(&[&TLS12])
            .unwrap()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(None)))
            .with_no_client_auth();
        config.enable_secret_extraction = true;
        config
    }

    /// Continues the client's session.
    pub fn new(client: Client) -> Self {
        Sealer::with(client.0.extract_secrets().unwrap())
    }

    /// Continues a session of [`SEALED`] with its extracted secrets.
    pub fn with(secrets: ExtractedSecrets) -> Self {
        let (sequence, secrets) = secrets.tx;
        let ConnectionTrafficSecrets::Aes128Gcm { key, salt, .. } = secrets else {
            panic!("it was the only suite");
        };
        Sealer {
            key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap()),
            salt,
            sequence,
        }
    }

    /// The warning alert close_notify (RFC 5246, section 7.2).
    pub fn close_notify(&mut self) -> Vec<u8> {
        self.record(ALERT, &[1, 0])
    }

    /// A record of this type (RFC 5288, section 3).
    pub fn record(&mut self, content_type: u8, content: &[u8]) -> Vec<u8> {
        let sequence = self.sequence.to_be_bytes();
        self.sequence += 1;
        let nonce = [self.salt.as_slice(), &sequence].concat();
        let nonce = Nonce::try_assume_unique_for_key(&nonce).unwrap();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let head = [&sequence, [content_type, 3, 3].as_slice(), &length].concat();
        let mut sealed = content.to_vec();
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(head), &mut sealed)
            .unwrap();
        let length = u16::try_from(sequence.len() + sealed.len()).unwrap();
        let header = [[content_type, 3, 3].as_slice(), &length.to_be_bytes()].concat();
        [header, sequence.to_vec(), sealed].concat()
    }
}

/// A client's configuration that accepts any certificate, and presents none.
pub fn config(version: &'static SupportedProtocolVersion) -> ClientConfig {
    builder(version).with_no_client_auth()
}

/// A configuration that accepts any certificate.
pub fn builder(
    version: &'static SupportedProtocolVersion,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    versions(version).with_custom_certificate_verifier(Arc::new(AnyCertificate(None)))
}

/// A configuration for this version, without a verifier.
pub fn versions(
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

/// A verifier that accepts any certificate. It supports these kinds of signatures, or all.
pub struct AnyCertificate(pub Option<Vec<SignatureScheme>>);

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
