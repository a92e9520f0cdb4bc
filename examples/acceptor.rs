//! Shows how to use another TLS stack: the application's own acceptor does the handshake, here
//! through async-tls, and tlsink receives the decrypted bytes, under the name that the application
//! has verified.
//!
//! It listens on the address in its first argument, 127.0.0.1:4433 without one, and needs the
//! `ca.pem`, `server.pem` and `server.key` that `tlsink cert .` makes. Senders need `client.pem`
//! and `client.key`.

use std::sync::Arc;
use std::time::Duration;
use std::{env, error::Error, fs, io};

use async_tls::TlsAcceptor;
use futures_lite::future;
use rustls::server::AllowAnyAuthenticatedClient;
use rustls::{Certificate, PrivateKey, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use smol::Timer;
use smol::net::{SocketAddr, TcpListener, TcpStream};
use tlsink::output::Lines;
use tlsink::{Peer, Server};

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(async {
        let acceptor = TlsAcceptor::from(config()?);
        let (server, sink) = Server::builder().build()?;

        let address = env::args().nth(1);
        let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:4433")).await?;
        eprintln!("listening on {}", listener.local_addr()?);
        let accepting = async move {
            loop {
                server.ready().await;
                let (stream, address) = listener.accept().await?;
                // The handshake is not in this loop: one stalled peer must not hold up another.
                let receiving = receive(server.clone(), acceptor.clone(), stream, address);
                smol::spawn(receiving).detach();
            }
        };
        let printing = async { sink.run(Lines::new(io::stdout()).labels(true)).await };
        future::or(accepting, async { Ok(printing.await.map(drop)?) }).await
    })
}

async fn receive(server: Server, acceptor: TlsAcceptor, stream: TcpStream, address: SocketAddr) {
    let late = async {
        Timer::after(Duration::from_secs(10)).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    match future::or(acceptor.accept(stream), late).await {
        Ok(stream) => {
            let peer = Peer::from(address).named("ours");
            server.plain(stream, peer).await;
        }
        Err(error) => eprintln!("{address}: no handshake: {error}"),
    }
}

/// Admits every sender with a certificate that our CA has signed.
fn config() -> Result<ServerConfig, Box<dyn Error>> {
    let chain = |file: &str| -> Result<Vec<Certificate>, Box<dyn Error>> {
        CertificateDer::pem_slice_iter(&fs::read(file)?)
            .map(|certificate| Ok(Certificate(certificate?.to_vec())))
            .collect()
    };
    let key = PrivateKeyDer::from_pem_slice(&fs::read("server.key")?)?;
    let mut roots = RootCertStore::empty();
    for certificate in chain("ca.pem")? {
        roots.add(&certificate)?;
    }
    let verifier = AllowAnyAuthenticatedClient::new(roots);
    let mut config = ServerConfig::builder()
        .with_safe_defaults()
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain("server.pem")?, PrivateKey(key.secret_der().to_vec()))?;
    // No session tickets: a sender that never reads would lose data by them, because its close
    // would become a reset.
    config.send_tls13_tickets = 0;
    Ok(config)
}
