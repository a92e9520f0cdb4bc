//! Shows how to receive streams without this crate's TLS: from a Unix socket, say behind stunnel,
//! under a name that the application chooses.
//!
//! It listens on the path in its first argument, tlsink.sock without one.

use std::{env, error::Error, io};

use smol::net::unix::UnixListener;
use tlsink::output::Lines;
use tlsink::{Peer, Server};

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(async {
        let (server, sink) = Server::builder().build()?;

        let path = env::args().nth(1);
        let path = path.as_deref().unwrap_or("tlsink.sock");
        let listener = UnixListener::bind(path)?;
        eprintln!("listening on {path}");
        smol::spawn(accept(server, listener)).detach();

        sink.run(Lines::new(io::stdout()).labels(true)).await?;
        Ok(())
    })
}

/// Does the same as [`Server::serve`], with `plain` in place of `connection`.
async fn accept(server: Server, listener: UnixListener) -> io::Result<()> {
    loop {
        // While there is no place, the next connection waits in the backlog.
        server.ready().await;
        let (stream, address) = listener.accept().await?;
        let peer = Peer::unix(address.as_pathname()).named("local");
        let connection = server.plain(stream, peer);
        smol::spawn(async { eprintln!("{}", connection.await) }).detach();
    }
}
