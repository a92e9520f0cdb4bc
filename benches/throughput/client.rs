//! The sender: TLS 1.3 with the one cipher suite that is fastest where AES is in hardware, so that
//! every server does the same work. Records are sealed beforehand, so that the server is the
//! bottleneck.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::client::{Resumption, ServerCertVerified, ServerCertVerifier};
use rustls::kx_group::{SECP256R1, X25519};
use rustls::version::TLS13;
use rustls::{Certificate, ClientConfig, ClientConnection, Error, ServerName};

/// The most that a TLS record holds, in bytes (RFC 8446, section 5.1).
pub const RECORD: usize = 16 << 10;

/// The default size of a write, in bytes.
pub const WRITE: usize = 64 << 10;

/// A server that does nothing for this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection whose handshake is complete.
#[derive(Debug)]
pub struct Client {
    tls: ClientConnection,
    tcp: TcpStream,
}

impl Client {
    pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Client> {
        let tcp = TcpStream::connect_timeout(&address, PATIENCE)?;
        tcp.set_nodelay(true)?;
        Client::over(tcp, config)
    }

    /// Connects with Nagle's algorithm on, its default, and accepts session tickets, which some
    /// servers send with an acknowledgement.
    pub fn connect_with_nagle(address: SocketAddr) -> io::Result<Client> {
        // The client has no ticket from another connection, so this handshake is a full one, too.
        let config = Arc::new(resuming_config());
        Client::over(TcpStream::connect_timeout(&address, PATIENCE)?, &config)
    }

    fn over(mut tcp: TcpStream, config: &Arc<ClientConfig>) -> io::Result<Client> {
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        tls.set_buffer_limit(None);
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        let mut client = Client { tls, tcp };
        let mut finished = Vec::new();
        client.take_records(&mut finished)?;
        client.tcp.write_all(&finished)?;
        Ok(client)
    }

    /// Seals records of `size` bytes, to be sent before anything else is sealed.
    pub fn seal(&mut self, plain: &[u8], size: usize, sealed: &mut Vec<u8>) -> io::Result<()> {
        // In portions that are still in the cache when they are copied.
        for part in plain.chunks(size * RECORD.div_ceil(size)) {
            for record in part.chunks(size) {
                self.tls.writer().write_all(record)?;
            }
            self.take_records(sealed)?;
        }
        Ok(())
    }

    pub fn send(&mut self, sealed: &[u8]) -> io::Result<()> {
        self.send_by(WRITE, sealed)
    }

    /// Sets the size of a write, in bytes.
    pub fn send_by(&mut self, write: usize, sealed: &[u8]) -> io::Result<()> {
        sealed
            .chunks(write)
            .try_for_each(|piece| self.tcp.write_all(piece))
    }

    pub fn close_notify(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        let mut sealed = Vec::new();
        self.take_records(&mut sealed)?;
        self.tcp.write_all(&sealed)
    }

    /// Sends close_notify, stops sending, and waits until the server has closed too, in any manner.
    pub fn close(mut self) -> io::Result<()> {
        self.close_notify()?;
        // Some servers close only when TCP is closed too.
        self.tcp.shutdown(Shutdown::Write)?;
        let mut ignored = [0; 4096];
        loop {
            match self.tcp.read(&mut ignored) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn take_records(&mut self, sealed: &mut Vec<u8>) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(sealed)?;
        }
        Ok(())
    }
}

pub fn config() -> Arc<ClientConfig> {
    let mut config = resuming_config();
    // Every handshake is a full one.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn resuming_config() -> ClientConfig {
    ClientConfig::builder()
        .with_cipher_suites(&[TLS13_AES_128_GCM_SHA256])
        // All servers support the first, except socat 1.7, which asks for the second.
        .with_kx_groups(&[&X25519, &SECP256R1])
        .with_protocol_versions(&[&TLS13])
        .expect("the suite is one of TLS 1.3")
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth()
}

struct AnyCertificate;

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
}
