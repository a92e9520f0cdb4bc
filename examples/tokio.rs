//! Shows how a tokio program receives through async-compat, and how it stops: at Ctrl-C, open
//! connections have 10 seconds, and the program reports those that it cut.
//!
//! It listens on the address in its first argument, 127.0.0.1:4433 without one, and needs the
//! `server.pem` and `server.key` that `tlsink cert .` makes.

use std::time::Duration;
use std::{env, error::Error, io};

use async_compat::Compat;
use futures_lite::{future, stream};
use tlsink::output::Json;
use tlsink::{Server, Tls};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task;

fn main() -> Result<(), Box<dyn Error>> {
    Runtime::new()?.block_on(async {
        let tls = Tls::from_pem_files("server.pem", "server.key")?;
        let (server, sink) = Server::builder().tls(tls).build()?;

        let address = env::args().nth(1);
        let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:4433")).await?;
        let address = listener.local_addr()?;
        // tokio has stream traits of its own; the peer stays the same.
        let incoming = stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await;
            let accepted = accepted.map(|(stream, peer)| (Compat::new(stream), peer));
            Some((accepted, listener))
        });
        let accepting = server.clone();
        task::spawn(async move {
            let spawn = |connection| drop(task::spawn(connection));
            accepting.serve(incoming, spawn).await;
        });
        // Printing blocks, so it has a thread of its own.
        let printing = task::spawn_blocking(|| sink.run_blocking(Json::new(io::stdout())));

        let mut interrupts = signal(SignalKind::interrupt())?;
        eprintln!("listening on {address}");
        let stopping = async {
            interrupts.recv().await;
            for report in server.shutdown(Duration::from_secs(10)).await {
                eprintln!("{report}");
            }
            future::pending().await
        };
        let totals = future::or(stopping, printing).await??;
        eprintln!(
            "{} of {} streams are complete",
            totals.ends.clean, totals.connections
        );
        Ok(())
    })
}
