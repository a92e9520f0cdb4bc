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
use rustix::event::{PollFd, PollFlags, Timespec};
use rustls::{
    Certificate, DEFAULT_CIPHER_SUITES, PrivateKey, ServerConfig, ServerConnection,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use tlsink::client::Fingerprint;
use tlsink::resume::{Answer, Position, Preamble};

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

/// A server for any number of connections, which the test accepts one by one.
pub struct Resuming {
    listener: TcpListener,
    config: ServerConfig,
}

impl Resuming {
    pub fn new() -> Self {
        Resuming::on(TcpListener::bind(FREE).unwrap())
    }

    pub fn on(listener: TcpListener) -> Self {
        Resuming {
            listener,
            config: Keyed::self_signed(&["127.0.0.1"]).config(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Waits for the next connection that names a stream.
    pub fn accept(&self) -> ResumingPeer {
        self.accept_within(LIMIT).expect("a sender connects")
    }

    /// Waits this long for a connection that names a stream.
    pub fn accept_within(&self, limit: Duration) -> Option<ResumingPeer> {
        let mut ready = [PollFd::new(&self.listener, PollFlags::IN)];
        let limit = Timespec::try_from(limit).unwrap();
        if rustix::event::poll(&mut ready, Some(&limit)).unwrap() == 0 {
            return None;
        }
        let (tcp, _) = self.listener.accept().unwrap();
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        tcp.set_write_timeout(Some(LIMIT)).unwrap();
        let mut accepted = Accepted::new(self.config.clone(), tcp);
        accepted.shake_hands().expect("the handshake succeeds");
        let mut unread = Vec::new();
        while !unread.contains(&b'\n') {
            let mut buf = [0; 1024];
            match accepted.read(&mut buf).expect("the sender goes on") {
                0 => panic!("the sender ended the stream"),
                read => unread.extend_from_slice(&buf[..read]),
            }
        }
        // It sends nothing more until it is answered.
        let preamble = Preamble::parse(&unread).expect("the sender names a stream");
        Some(ResumingPeer {
            accepted,
            preamble,
            received: Vec::new(),
            sums: (0, 0),
        })
    }
}

/// A sender that has named a stream.
pub struct ResumingPeer {
    pub accepted: Accepted,
    pub preamble: Preamble,
    /// The bytes that have come, and were not taken.
    received: Vec<u8>,
    /// The number of bytes that have come, and their checksum.
    sums: (usize, u32),
}

impl ResumingPeer {
    pub fn answer(&mut self, answer: &Answer) {
        self.say(&answer.to_line());
    }

    /// Answers this, whatever it is. The sender may be gone.
    pub fn say(&mut self, bytes: &[u8]) {
        let _ = self.accepted.write(bytes);
    }

    /// Answers that the stream goes on where these bytes end.
    pub fn answer_at(&mut self, bytes: &[u8]) {
        self.answer(&Answer::At(Position::START.behind(bytes)));
    }

    pub fn acknowledge(&mut self, offset: usize) {
        self.answer(&Answer::Acknowledged(offset as u64));
    }

    /// Takes some bytes; none after the end of the stream.
    pub fn read_some(&mut self) -> io::Result<Vec<u8>> {
        if self.received.is_empty() {
            let mut buf = [0; 16 << 10];
            let read = self.accepted.read(&mut buf)?;
            self.received.extend_from_slice(&buf[..read]);
            self.sums.0 += read;
            self.sums.1 = crc32c::crc32c_append(self.sums.1, &buf[..read]);
        }
        Ok(std::mem::take(&mut self.received))
    }

    /// Takes exactly this many bytes.
    pub fn read(&mut self, len: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < len {
            let some = self.read_some().expect("the sender goes on");
            assert!(!some.is_empty(), "the sender ended the stream");
            all.extend(some);
        }
        self.received = all.split_off(len);
        all
    }

    /// Expects these bytes next.
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let read = self.read(bytes.len());
        assert!(read == bytes, "{:?}", String::from_utf8_lossy(&read));
    }

    /// Takes everything up to the end of the stream, and confirms the whole of it.
    pub fn finish(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let some = self.read_some().expect("the sender goes on");
            if some.is_empty() {
                break;
            }
            all.extend(some);
        }
        let (delivered, crc32c) = self.sums;
        self.say(
            format!(
                "{{\"ok\":true,\"received\":{delivered},\"delivered\":{delivered},\
                 \"crc32c\":\"{crc32c:08x}\"}}\n"
            )
            .as_bytes(),
        );
        self.accepted.close_notify();
        all
    }

    /// Ends the connection, as a server does that is killed.
    pub fn cut(self) {
        self.accepted.reset_when_closed();
    }
}
