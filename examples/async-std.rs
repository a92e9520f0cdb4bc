//! Shows how an async-std program receives JSON logs: each line is parsed, and printed if it says
//! that something went wrong.
//!
//! It listens on the address in its first argument, 127.0.0.1:4433 without one, and needs the
//! `server.pem` and `server.key` that `tlsink cert .` makes.

use std::{env, error::Error};

use async_std::net::TcpListener;
use async_std::task;
use futures_lite::stream;
use serde_json::Value;
use tlsink::output::{EachLine, escaped, label};
use tlsink::{Server, Tls};

fn main() -> Result<(), Box<dyn Error>> {
    task::block_on(async {
        let tls = Tls::from_pem_files("server.pem", "server.key")?;
        let (server, sink) = Server::builder().tls(tls).build()?;

        let address = env::args().nth(1);
        let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:4433")).await?;
        eprintln!("listening on {}", listener.local_addr()?);
        let incoming = stream::unfold(listener, |listener| async {
            Some((listener.accept().await, listener))
        });
        task::spawn(async move {
            let spawn = |connection| drop(task::spawn(connection));
            server.serve(incoming, spawn).await;
        });

        let output = EachLine::new(|conn, line| {
            let sender = label(conn.peer());
            match serde_json::from_slice::<Value>(line.bytes) {
                Ok(log) if log["level"] == "error" => {
                    let message = log["message"].as_str().unwrap_or_default();
                    println!("{sender}: {}", escaped(message));
                }
                Ok(_) => {}
                Err(error) => eprintln!("{sender}: not JSON: {error}"),
            }
            Ok(())
        });
        sink.run(output).await?;
        Ok(())
    })
}
