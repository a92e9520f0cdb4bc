//! Thousands of connections, from a few threads.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use crate::common::client::{TLS13, config};
use crate::common::program::{LIMIT, client_hello, tcp};
use crate::common::sender::Sender;

/// The number of threads that connect at the same time.
const THREADS: usize = 4;

/// Connections whose handshake has begun, and does not go on.
pub fn stalled(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let hello = client_hello();
    let half = &hello[..hello.len() / 2];
    connect_all(count, || {
        let mut tcp = tcp(address).expect("the server accepts");
        tcp.write_all(half).expect("the server reads");
        tcp
    })
}

/// Connections that completed their handshake, and send nothing.
pub fn idle(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    connect_all(count, || {
        let tcp = tcp(address).expect("the server accepts");
        let sender = Sender::over(tcp, config(&TLS13)).expect("the handshake succeeds");
        sender.0.sock
    })
}

/// Connects from this address, which is one of this machine's.
pub fn tcp_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let family = match source {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    // No program that another test starts meanwhile may inherit it.
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddr::new(source, 0))?;
    connect(&socket, &address)?;
    let tcp = TcpStream::from(socket);
    tcp.set_read_timeout(Some(LIMIT))?;
    tcp.set_write_timeout(Some(LIMIT))?;
    Ok(tcp)
}

/// Waits until the server has closed all of them, in any manner.
pub fn wait_until_closed(connections: Vec<TcpStream>) {
    for mut connection in connections {
        let mut rest = [0; 4096];
        loop {
            match connection.read(&mut rest) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("the server does not close it: {error}"),
            }
        }
    }
}

pub fn connect_all(count: usize, one: impl Fn() -> TcpStream + Sync) -> Vec<TcpStream> {
    let part = |thread| (count * thread / THREADS..count * (thread + 1) / THREADS).len();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn({
                    let one = &one;
                    move || -> Vec<_> { (0..part(thread)).map(|_| one()).collect() }
                })
            })
            .collect();
        let all = threads
            .into_iter()
            .map(|thread| thread.join().expect("all of them connect"));
        all.flatten().collect()
    })
}
