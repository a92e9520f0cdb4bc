//! Another host from the program's point of view: another loopback address of this machine.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::common::client::{TLS13, config};
use crate::common::program::{Client, LIMIT};

const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Connects from that host, with TLS 1.3, and completes the handshake.
pub fn connect_from_another_host(address: SocketAddr) -> Client {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket is made");
    bind(&socket, &SocketAddr::from((HOST, 0))).expect("all of 127.0.0.0/8 is this machine");
    connect(&socket, &address).expect("the program listens");
    let tcp = TcpStream::from(socket);
    tcp.set_nodelay(true).expect("the socket is open");
    tcp.set_write_timeout(Some(LIMIT)).expect("that is no zero");
    tcp.set_read_timeout(Some(LIMIT)).expect("that is no zero");
    Client::over(tcp, config(&TLS13), "localhost").expect("the handshake succeeds")
}
