//! Shows an output that writes to a slow store in another thread: lines are appended to
//! `lines.log`, and each stream ends when its lines are on the disk.
//!
//! It listens on the address in its first argument, 127.0.0.1:4433 without one, and needs the
//! `server.pem` and `server.key` that `tlsink cert .` makes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver};
use std::{env, error::Error, thread};

use futures_lite::stream;
use smol::net::TcpListener;
use tlsink::output::EachLine;
use tlsink::{Hold, Server, Tls};

/// Writes all lines that are there, syncs them at once, and says that they are through.
fn store(lines: &Receiver<(Vec<u8>, Hold)>, file: &mut File) {
    while let Ok(first) = lines.recv() {
        let group = [first].into_iter().chain(lines.try_iter());
        let (lines, holds): (Vec<_>, Vec<_>) = group.unzip();
        let written = file
            .write_all(&lines.concat())
            .and_then(|()| file.sync_data());
        for hold in holds {
            match &written {
                Ok(()) => hold.done(),
                // This ends the streams of the group, and no other.
                Err(error) => hold.fail(io::Error::new(error.kind(), error.to_string())),
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(async {
        let tls = Tls::from_pem_files("server.pem", "server.key")?;
        let (server, sink) = Server::builder().tls(tls).build()?;

        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open("lines.log")?;
        // It needs no bound: a stream of which much is held has to wait.
        let (queue, lines) = mpsc::channel();
        thread::spawn(move || store(&lines, &mut file));

        let address = env::args().nth(1);
        let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:4433")).await?;
        eprintln!("listening on {}", listener.local_addr()?);
        let incoming = stream::unfold(listener, |listener| async {
            Some((listener.accept().await, listener))
        });
        let accepting = async move {
            let spawn = |connection| {
                let reporting = async { println!("{}", connection.await) };
                smol::spawn(reporting).detach();
            };
            server.serve(incoming, spawn).await;
        };
        smol::spawn(accepting).detach();

        let memory = sink.memory();
        let output = EachLine::new(|conn, line| {
            // If the thread is gone, the hold is dropped, which ends the stream.
            let _ = queue.send(([line.bytes, b"\n"].concat(), conn.hold()));
            Ok(())
        });
        sink.run(output.memory(memory)).await?;
        Ok(())
    })
}
