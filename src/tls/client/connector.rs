//! The handshake with a server.

use std::fmt;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use async_tls::TlsConnector;
use futures_lite::{AsyncRead, AsyncWrite, future};
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};
use rustls_pki_types::ServerName;

use super::error::ConnectError;
use super::resolver::ClientCertificateResolver;
use super::sender::Sender;
use super::transport::SenderTransport;
use super::verifier::{RecordingServerVerifier, ServerVerifier};
use crate::tls::error::TlsError;
use crate::tls::identity::Identity;
use crate::tls::suites;

/// Connects to servers and sends to them.
///
/// It speaks TLS 1.2 and 1.3, and resumes no session, so that each server is verified anew.
///
/// ```no_run
/// use tlsink::client::{Connector, ServerVerifier};
///
/// # smol::block_on(async {
/// let connector = Connector::new(ServerVerifier::from_ca_pem_file("ca.pem")?)?;
/// let tcp = smol::net::TcpStream::connect("logs.example.net:4433").await?;
/// let mut sender = connector.connect("logs.example.net", tcp).await?;
/// sender.send(b"one line\n").await?;
/// sender.finish().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # });
/// ```
#[derive(Clone)]
pub struct Connector {
    start: ConfigBuilder<ClientConfig, WantsVerifier>,
    verifier: Arc<ServerVerifier>,
    identity: Option<Identity>,
    max_answer: usize,
}

/// The most bytes that a server may answer, unless [`Connector::max_answer`] says otherwise.
pub const MAX_ANSWER: usize = 4096;

impl Connector {
    /// Verifies servers with `verifier`, and shows them no certificate.
    ///
    /// # Errors
    ///
    /// When rustls can't be configured.
    pub fn new(verifier: ServerVerifier) -> Result<Self, TlsError> {
        Ok(Connector {
            start: ClientConfig::builder()
                .with_cipher_suites(suites::in_order())
                .with_safe_default_kx_groups()
                .with_protocol_versions(&[&TLS13, &TLS12])
                .map_err(TlsError::unusable)?,
            verifier: Arc::new(verifier),
            identity: None,
            max_answer: MAX_ANSWER,
        })
    }

    /// Shows this certificate to servers that ask for one.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Sets the most bytes that a server may answer before they are
    /// [taken](Sender::take_answer): one that sends more ends the stream with
    /// [`SendError::Answer`](super::SendError::Answer). [`MAX_ANSWER`] by default.
    pub fn max_answer(mut self, bytes: usize) -> Self {
        self.max_answer = bytes;
        self
    }

    /// Shakes hands with the server of this name, a DNS name or an IP address, over `io`. A DNS
    /// name is also sent to the server (SNI, RFC 6066, section 3).
    ///
    /// The server may take any time: the caller sets a deadline.
    ///
    /// # Errors
    ///
    /// When the server can't be verified, or does not accept this handshake.
    pub async fn connect<IO>(&self, name: &str, io: IO) -> Result<Sender<IO>, ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        // A dot at its end makes a name absolute; no certificate and no hello has it.
        let name = name.strip_suffix('.').unwrap_or(name);
        let unusable = || ConnectError::Name {
            name: name.to_owned(),
        };
        let parsed = ServerName::try_from(name).map_err(|_| unusable())?;
        rustls::ServerName::try_from(name).map_err(|_| unusable())?;
        let verifier = Arc::new(RecordingServerVerifier {
            verifier: Arc::clone(&self.verifier),
            name: parsed.to_owned(),
            refused: Mutex::new(None),
        });
        let resolver = Arc::new(ClientCertificateResolver {
            key: self.identity.as_ref().map(Identity::key),
            asked: AtomicBool::new(false),
            shown: AtomicBool::new(false),
        });
        let mut config = self
            .start
            .clone()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_cert_resolver(Arc::clone(&resolver) as _);
        config.resumption = Resumption::disabled();
        let mut connecting = TlsConnector::from(Arc::new(config))
            .connect(name, SenderTransport::new(io, self.max_answer));
        let connected = (&mut connecting).await;
        if let Err(error) = &connected
            && error.kind() == io::ErrorKind::InvalidData
        {
            let _ = future::poll_once(&mut connecting).await;
        }
        match connected {
            Ok(tls) => Ok(Sender::new(tls, resolver, self.max_answer)),
            Err(error) => Err(match verifier.refusal() {
                Some(refusal) => ConnectError::Untrusted {
                    fault: refusal.fault,
                    reason: refusal.reason,
                    fingerprint: refusal.fingerprint,
                },
                None => ConnectError::new(&error, &resolver),
            }),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("verifier", &self.verifier)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
