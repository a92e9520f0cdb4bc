//! Shows a custom output: it counts each sender's lines, and prints their number and whether the
//! stream was complete.
//!
//! It listens on the address in its first argument, 127.0.0.1:4433 without one, and needs the
//! `server.pem` and `server.key` that `tlsink cert .` makes.

use std::collections::HashMap;
use std::io::{self, Write};
use std::{env, error::Error};

use futures_lite::stream;
use smol::net::TcpListener;
use tlsink::output::{Output, label};
use tlsink::{Conn, ConnId, End, Server, Tls};

/// Only `data` is required; the other methods have defaults. Here, `data` does all the counting.
struct Count<W> {
    writer: W,
    lines: HashMap<ConnId, usize>,
}

impl<W: Write> Output for Count<W> {
    fn open(&mut self, connection: &Conn) -> io::Result<()> {
        self.lines.insert(connection.id(), 0);
        Ok(())
    }

    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        let newlines = bytes.iter().filter(|byte| **byte == b'\n').count();
        *self.lines.entry(connection.id()).or_default() += newlines;
        Ok(())
    }

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        let lines = self.lines.remove(&connection.id()).unwrap_or_default();
        // The facts of an end may quote the sender; its word does not.
        let (label, end) = (label(connection.peer()), end.word());
        writeln!(self.writer, "{label}: {lines} lines, {end}")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

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

        let output = Count {
            writer: io::stdout(),
            lines: HashMap::new(),
        };
        sink.run(output).await?;
        Ok(())
    })
}
