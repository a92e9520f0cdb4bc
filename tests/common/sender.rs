//! A blocking sender over any stream, for a thread of a test, or for a test of a program.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::client::{TLS13, config};

/// The time limit of every wait. Only a failing test takes so long.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Connects and completes the handshake. Any server certificate is accepted.
pub struct Sender<S: Read + Write>(pub StreamOwned<ClientConnection, S>);

impl Sender<TcpStream> {
    pub fn connect(address: SocketAddr) -> Self {
        Sender::connect_with(address, config(&TLS13)).unwrap()
    }

    pub fn connect_with(address: SocketAddr, config: ClientConfig) -> io::Result<Self> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(LIMIT))?;
        Sender::over(tcp, config)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.sock.local_addr().unwrap()
    }
}

impl<S: Read + Write> Sender<S> {
    pub fn over(mut stream: S, config: ClientConfig) -> io::Result<Self> {
        let name = "localhost".try_into().unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        // The client may not have sent its last message yet.
        while session.wants_write() {
            session.write_tls(&mut stream)?;
        }
        Ok(Sender(StreamOwned::new(session, stream)))
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        self.0.flush().unwrap();
    }

    /// Sends close_notify, and waits for the server's.
    pub fn finish(mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0);
    }

    /// Waits until the server closes the connection, in any manner.
    pub fn wait_for_end(mut self) {
        let end = self.0.read(&mut [0]);
        assert!(!matches!(end, Ok(1..)), "the server sent data");
    }
}
