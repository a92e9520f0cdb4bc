//! A sender that seals its records in memory, and sends them on command, whole or not.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::common::client::Client;
use crate::common::program::{Version, tcp};

pub struct Sealed {
    tls: Client,
    tcp: TcpStream,
    /// The bytes that are sealed, but not sent yet.
    pub held: Vec<u8>,
}

impl Sealed {
    /// Completes the handshake, except for the last message in TLS 1.3, which is held.
    pub fn connect(address: SocketAddr, version: Version) -> io::Result<Self> {
        let mut sealed = Sealed {
            tls: Client::new(version.of_rustls()),
            tcp: tcp(address)?,
            held: Vec::new(),
        };
        loop {
            sealed.held = sealed.tls.records();
            if !sealed.tls.is_handshaking() {
                return Ok(sealed);
            }
            sealed.send()?;
            if sealed.read()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub fn local_address(&self) -> SocketAddr {
        self.tcp.local_addr().expect("the socket is bound")
    }

    /// Holds a record, or several if there is much, with this content.
    pub fn seal(&mut self, bytes: &[u8]) {
        self.held.extend(self.tls.record(bytes));
    }

    pub fn seal_close_notify(&mut self) {
        self.held.extend(self.tls.close_notify());
    }

    /// Sends the held bytes.
    pub fn send(&mut self) -> io::Result<()> {
        self.tcp.write_all(&std::mem::take(&mut self.held))
    }

    /// Sends the held bytes one by one.
    pub fn send_bytes(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        held.chunks(1).try_for_each(|byte| self.tcp.write_all(byte))
    }

    /// Sends this many of the held bytes.
    pub fn send_some(&mut self, count: usize) -> io::Result<()> {
        self.tcp
            .write_all(&self.held.drain(..count).collect::<Vec<_>>())
    }

    /// Stops sending, but still reads.
    pub fn stop_sending(&self) -> io::Result<()> {
        self.tcp.shutdown(Shutdown::Write)
    }

    /// Closes the socket with a reset, which overtakes bytes still on their way.
    pub fn reset(self) -> io::Result<()> {
        let no_time = Some(Duration::ZERO);
        Ok(rustix::net::sockopt::set_socket_linger(&self.tcp, no_time)?)
    }

    /// Reads until the server closes the connection; returns whether its close_notify came.
    pub fn read_to_end(&mut self) -> io::Result<bool> {
        while self.read()? > 0 {}
        Ok(self.tls.was_closed())
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut piece = [0; 4096];
        let read = self.tcp.read(&mut piece)?;
        self.tls
            .try_take(&piece[..read])
            .map_err(io::Error::other)?;
        Ok(read)
    }
}
