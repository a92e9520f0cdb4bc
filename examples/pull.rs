//! Shows how to pull: the application asks for the next event, and reads live counters at any time.
//!
//! It listens on the address in its first argument, 127.0.0.1:4433 without one, and needs the
//! `server.pem` and `server.key` that `tlsink cert .` makes.

use std::{env, error::Error};

use futures_lite::stream;
use smol::net::TcpListener;
use tlsink::output::label;
use tlsink::{Server, SinkEvent, Tls};

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(async {
        let tls = Tls::from_pem_files("server.pem", "server.key")?;
        let (server, mut sink) = Server::builder().tls(tls).build()?;
        let watched = server.clone();

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

        // An event is lent until the next call; `Sink::into_stream` yields copies.
        while let Some(decoded) = sink.next().await {
            match decoded {
                SinkEvent::Open(conn) => println!("{}: open", label(conn.peer())),
                SinkEvent::Data(conn, bytes) => {
                    println!("{}: {} bytes", label(conn.peer()), bytes.len());
                }
                SinkEvent::Close(conn, end) => {
                    let (peer, end) = (label(conn.peer()), end.word());
                    println!("{peer}: {} bytes in all, {end}", conn.delivered());
                    let (totals, failures) = (watched.totals(), watched.failures());
                    println!(
                        "{} streams so far, and {} that never began",
                        totals.connections,
                        failures.total()
                    );
                }
                _ => {}
            }
        }
        Ok(())
    })
}
