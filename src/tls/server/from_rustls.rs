//! A configuration that the application made with rustls.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::config::{Config, Tls, makes_sessions, resume_nothing};
use super::hello;
use crate::tls::error::TlsError;

impl Tls {
    /// Takes a configuration of rustls, for applications that already have one. All its settings
    /// count but two: no session is resumed, and no ticket is sent (see above).
    ///
    /// Then senders' names can't be known: verified or not, they are anonymous to
    /// [`Conn::names`](crate::Conn::names). [`warnings`](Self::warnings) yields none.
    ///
    /// **This method is exempt from semantic versioning**, as its feature says. It is the one place
    /// where a type of another TLS crate shows: that of rustls 0.21, on which async-tls 0.13 is
    /// built. It may change in a minor version of this crate.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use rustls::ServerConfig;
    ///
    /// # fn f(chain: Vec<rustls::Certificate>, key: rustls::PrivateKey) -> Result<(), Box<dyn std::error::Error>> {
    /// let config = ServerConfig::builder()
    ///     .with_safe_defaults()
    ///     .with_no_client_auth()
    ///     .with_single_cert(chain, key)?;
    /// let tls = tlsink::Tls::from_rustls(Arc::new(config))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`TlsError::Configuration`] when rustls can't make a session of it.
    pub fn from_rustls(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        let mut config = Arc::unwrap_or_clone(config);
        resume_nothing(&mut config);
        config.ticketer = Arc::new(NoTickets);
        config.cert_resolver = Arc::new(ApplicationResolver(config.cert_resolver));
        let config = Arc::new(config);
        makes_sessions(&config).map_err(|error| TlsError::Configuration {
            reason: error.to_string(),
        })?;
        Ok(Tls::of(Config {
            anyone: config.into(),
            template: None,
            client_verifier: None,
        }))
    }
}

/// Leaves the choice to the application's own resolver.
struct ApplicationResolver(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for ApplicationResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello::note_server_name(hello.server_name());
        self.0.resolve(hello)
    }
}

/// A maker of tickets that makes none: rustls has one only for configurations of its own.
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
