//! A TLS server that follows the test's instructions, misbehavior included, and certificates for
//! it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::{
    Certificate, DEFAULT_CIPHER_SUITES, PrivateKey, ServerConfig, ServerConnection,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use tlsink::client::Fingerprint;

use crate::common::client::{TLS12, TLS13};
use crate::common::program::{FREE, LIMIT};

/// A CA of the test's own.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

/// A certificate and its key.
pub struct Keyed {
    pub pem: String,
    pub key_pem: String,
    der: Vec<u8>,
    key_der: Vec<u8>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, name.to_owned());
        Authority {
            params,
            key: KeyPair::generate().unwrap(),
        }
    }

    pub fn pem(&self) -> String {
        self.params.self_signed(&self.key).unwrap().pem()
    }

    /// The CA's own certificate, used as a server's.
    pub fn keyed(&self) -> Keyed {
        Keyed::new(self.params.self_signed(&self.key).unwrap(), &self.key)
    }

    /// A certificate for these names, signed by the CA.
    pub fn sign(&self, names: &[&str]) -> Keyed {
        self.sign_with(names, |_| ())
    }

    pub fn sign_with(&self, names: &[&str], edit: impl FnOnce(&mut CertificateParams)) -> Keyed {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        edit(&mut params);
        let issuer = Issuer::from_params(&self.params, &self.key);
        let key = KeyPair::generate().unwrap();
        Keyed::new(params.signed_by(&key, &issuer).unwrap(), &key)
    }
}

impl Keyed {
    fn new(certificate: rcgen::Certificate, key: &KeyPair) -> Self {
        Keyed {
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
        }
    }

    /// A self-signed certificate.
    pub fn self_signed(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        Keyed::new(params.self_signed(&key).unwrap(), &key)
    }

    pub fn fingerprint(&self) -> String {
        Fingerprint::of(&self.der).to_string()
    }

    pub fn certificate(&self) -> Certificate {
        Certificate(self.der.clone())
    }

    pub fn config(&self) -> ServerConfig {
        self.config_of(&[&TLS13, &TLS12])
    }

    pub fn config_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        self.config_with(DEFAULT_CIPHER_SUITES, versions)
    }

    pub fn config_with(
        &self,
        suites: &[SupportedCipherSuite],
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        ServerConfig::builder()
            .with_cipher_suites(suites)
            .with_safe_default_kx_groups()
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate()], PrivateKey(self.key_der.clone()))
            .unwrap()
    }
}

/// A server for one connection.
pub struct Server<T = ()> {
    pub address: SocketAddr,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Server<T> {
    /// Accepts one connection, completes the handshake, and runs the given function.
    pub fn start(
        config: ServerConfig,
        serve: impl FnOnce(&mut Accepted) -> T + Send + 'static,
    ) -> Self {
        Server::start_tcp(move |tcp| {
            let mut accepted = Accepted::new(config, tcp);
            accepted.shake_hands().expect("the handshake succeeds");
            serve(&mut accepted)
        })
    }

    /// Accepts one connection, and runs the given function, without TLS.
    pub fn start_tcp(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> Self {
        Server::start_on(TcpListener::bind(FREE).unwrap(), serve)
    }

    pub fn start_on(
        listener: TcpListener,
        serve: impl FnOnce(TcpStream) -> T + Send + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (tcp, _) = listener.accept().unwrap();
            tcp.set_read_timeout(Some(LIMIT)).unwrap();
            tcp.set_write_timeout(Some(LIMIT)).unwrap();
            serve(tcp)
        });
        Server { address, thread }
    }

    /// Waits until the server has done its part; returns the result.
    pub fn join(self) -> T {
        self.thread.join().expect("the server's part goes well")
    }
}

/// A connection that was accepted.
pub struct Accepted {
    pub tls: ServerConnection,
    pub tcp: TcpStream,
}

impl Accepted {
    pub fn new(config: ServerConfig, tcp: TcpStream) -> Self {
        Accepted {
            tls: ServerConnection::new(Arc::new(config)).unwrap(),
            tcp,
        }
    }

    pub fn shake_hands(&mut self) -> io::Result<()> {
        while self.tls.is_handshaking() {
            self.tls.complete_io(&mut self.tcp)?;
        }
        self.send_records()
    }

    /// Reads some plain bytes; returns 0 after a close_notify.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.tls.read_tls(&mut self.tcp)?;
            self.tls.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Reads until a close_notify comes.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buf = vec![0; 64 << 10];
        loop {
            match self.read(&mut buf).expect("the sender goes on") {
                0 => return all,
                read => all.extend_from_slice(&buf[..read]),
            }
        }
    }

    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.tls.writer().write(bytes)?;
            bytes = &bytes[taken..];
            self.send_records()?;
        }
        Ok(())
    }

    pub fn close_notify(&mut self) {
        self.tls.send_close_notify();
        self.send_records().expect("the sender is there");
    }

    /// Makes the close of the connection a reset.
    pub fn reset_when_closed(&self) {
        rustix::net::sockopt::set_socket_linger(&self.tcp, Some(Duration::ZERO)).unwrap();
    }

    /// Waits until the sender has closed the connection, and discards its further data.
    pub fn wait_for_eof(&mut self) {
        let mut buf = vec![0; 64 << 10];
        while let Ok(1..) = self.tcp.read(&mut buf) {}
    }

    fn send_records(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.tcp)?;
        }
        Ok(())
    }
}
