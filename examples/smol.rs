//! Shows a complete receiver on smol: it prints the lines of many senders, each with its sender
//! before it, to standard output.
//!
//! It listens on the address in its first argument, 127.0.0.1:4433 without one, and needs the
//! `server.pem` and `server.key` that `tlsink cert .` makes.

use std::{env, error::Error, io};

use futures_lite::stream;
use smol::net::TcpListener;
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
            Some((listener.accept().await, listener))
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
