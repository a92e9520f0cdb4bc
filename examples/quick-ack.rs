//! Shows how to receive a first line 40 ms sooner from clients that leave Nagle's algorithm on:
//! like the program, this socket acknowledges data at once after each flight of the handshake. For
//! Linux.
//!
//! It listens on the address in its first argument, 127.0.0.1:4433 without one, and needs the
//! `server.pem` and `server.key` that `tlsink cert .` makes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::{env, error::Error, io};

use futures_lite::{AsyncRead, AsyncWrite, stream};
use rustix::net::sockopt;
use smol::net::{TcpListener, TcpStream};
use tlsink::output::Lines;
use tlsink::{Server, Tls};

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(async {
        let tls = Tls::from_pem_files("server.pem", "server.key")?;
        let (server, sink) = Server::builder().tls(tls).build()?;

        let address = env::args().nth(1);
        let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:4433")).await?;
        eprintln!("listening on {}", listener.local_addr()?);
        let incoming = stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await;
            let accepted = accepted.map(|(socket, peer)| (QuickAck::new(socket), peer));
            Some((accepted, listener))
        });
        let accepting = async move {
            let spawn = |connection| smol::spawn(connection).detach();
            server.serve(incoming, spawn).await;
        };
        smol::spawn(accepting).detach();

        sink.run(Lines::new(io::stdout()).labels(true)).await?;
        Ok(())
    })
}

struct QuickAck {
    socket: TcpStream,
    /// Something was written since the last read.
    wrote: bool,
}

impl QuickAck {
    fn new(socket: TcpStream) -> Self {
        QuickAck {
            socket,
            wrote: false,
        }
    }
}

impl AsyncRead for QuickAck {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.wrote {
            // The kernel resets the option with the next write, not with reads: so this is one
            // system call for a handshake in TLS 1.3, two in TLS 1.2, and none after that.
            let _ = sockopt::set_tcp_quickack(&self.socket, true);
            self.wrote = false;
        }
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for QuickAck {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wrote = true;
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}
