//! Connections that go wrong, each in its way.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::common::pack::gzip;
use crate::common::program::{Client, Version, client_hello, tcp};

/// The beginning of the data from the faulty connections that deliver any.
pub const FAULTY: &str = "faulty ";

type Fault = fn(SocketAddr) -> io::Result<()>;

/// Each connection is over when its socket is closed. How far it got makes no difference: the
/// server may have been faster.
pub const FAULTS: [Fault; 9] = [
    closed_at_once,
    closed_in_the_handshake,
    reset_in_the_handshake,
    no_tls,
    reset,
    no_close_notify,
    not_finished,
    corrupt,
    forged,
];

fn closed_at_once(address: SocketAddr) -> io::Result<()> {
    tcp(address).map(drop)
}

fn closed_in_the_handshake(address: SocketAddr) -> io::Result<()> {
    tcp(address)?.write_all(&client_hello()[..100])
}

fn reset_in_the_handshake(address: SocketAddr) -> io::Result<()> {
    let mut tcp = tcp(address)?;
    tcp.write_all(&client_hello())?;
    Ok(set_socket_linger(&tcp, Some(Duration::ZERO))?)
}

fn no_tls(address: SocketAddr) -> io::Result<()> {
    let mut tcp = tcp(address)?;
    tcp.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    tcp.read_to_end(&mut Vec::new()).map(drop)
}

fn reset(address: SocketAddr) -> io::Result<()> {
    let mut client = Client::connect_as(address, Version::Tls13)?;
    client.write(FAULTY.as_bytes())?;
    client.reset()
}

fn no_close_notify(address: SocketAddr) -> io::Result<()> {
    let mut client = Client::connect_as(address, Version::Tls12)?;
    client.write(FAULTY.as_bytes())?;
    client.abandon()
}

fn not_finished(address: SocketAddr) -> io::Result<()> {
    let packed = gzip(FAULTY.repeat(100).as_bytes());
    let mut client = Client::connect_as(address, Version::Tls13)?;
    client.write(&packed[..packed.len() - 9])?;
    client.finish_for_receipt().map(drop)
}

fn corrupt(address: SocketAddr) -> io::Result<()> {
    let mut packed = gzip(FAULTY.repeat(100).as_bytes());
    // Its checksum (RFC 1952, section 2.3.1).
    let at = packed.len() - 8;
    packed[at] ^= 1;
    let mut client = Client::connect_as(address, Version::Tls13)?;
    client.write(&packed)?;
    client.finish_for_receipt().map(drop)
}

fn forged(address: SocketAddr) -> io::Result<()> {
    let mut client = Client::connect_as(address, Version::Tls12)?;
    client.write(FAULTY.as_bytes())?;
    client.write_forged()?;
    client.read_receipt().map(drop)
}
