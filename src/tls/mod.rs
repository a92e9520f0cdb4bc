//! TLS: certificates, the server's configuration, and the stream on which async-tls's peculiarities
//! end. Nothing outside this folder names async-tls or rustls.

use std::env;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use async_tls::TlsAcceptor;
use futures_lite::{AsyncRead, AsyncWrite};
use rustls::server::{ClientCertVerifier, NoClientAuth, NoServerSessionStorage, ProducesTickets};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ConfigBuilder, KeyLog, NoKeyLog, ServerConfig, ServerConnection, SupportedProtocolVersion,
    WantsVerifier,
};

use crate::error::TlsError;

mod authorities;
mod candidates;
mod chain;
#[cfg(feature = "cli")]
mod client;
#[cfg(feature = "cli")]
mod client_error;
mod clients;
mod crl;
mod facts;
#[cfg(feature = "cli")]
mod fingerprint;
mod identity;
mod key_log;
mod keys;
mod pem;
mod refusal;
mod schemes;
#[cfg(feature = "cli")]
mod servers;
mod signatures;
mod stream;
mod suites;
mod warning;
mod wire;
mod words;
mod x509;

#[cfg(feature = "cli")]
pub use client::{ANSWER, Connector, Sender};
#[cfg(feature = "cli")]
pub use client_error::{Alert, ConnectError, SendError};
pub use clients::Clients;
#[cfg(feature = "cli")]
pub use fingerprint::{Fingerprint, NoFingerprint};
pub use identity::Identity;
#[cfg(feature = "cli")]
pub use servers::{Distrust, Servers};
pub(crate) use stream::{Accept, HandshakeError, ReadError, Stream, Transport};
pub use warning::TlsWarning;
pub(crate) use wire::reading_ahead;

use clients::{Seen, Verifier};
use identity::Resolver;

/// The server's side of TLS: its certificates, and what it accepts.
///
/// TLS 1.2 and 1.3. Session tickets are off, and no session is stored: a sender that writes and
/// closes without reading would find the tickets in its unread buffer, its close would become a
/// reset, and its own system would throw away what it still had to send. Nor could a sender be
/// verified anew.
///
/// Clones are handles to the same: [`replace`](Self::replace) concerns them all.
#[derive(Clone)]
pub struct Tls {
    current: Arc<RwLock<Arc<Config>>>,
}

/// Settings of a [`Tls`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing unless it is built"]
pub struct TlsBuilder {
    min_version: TlsVersion,
    key_log: bool,
    identities: Vec<Identity>,
    clients: Option<Clients>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl Tls {
    /// Starts with the default settings.
    pub fn builder() -> TlsBuilder {
        TlsBuilder {
            min_version: TlsVersion::Tls12,
            key_log: false,
            identities: Vec::new(),
            clients: None,
        }
    }

    /// One certificate chain and its key, and the default settings; see
    /// [`Identity::from_pem_files`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Blocking
    ///
    /// Reads two files.
    pub fn from_pem_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let identity = Identity::from_pem_files(certificates, key)?;
        Self::builder().identity(identity).build()
    }

    /// One certificate chain and its key, and the default settings; see [`Identity::from_pem`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let identity = Identity::from_pem(certificates, key)?;
        Self::builder().identity(identity).build()
    }

    /// Takes a configuration of rustls, for those who already have one: whatever it says, but no
    /// session is resumed, and no ticket is sent (see above).
    ///
    /// Names can't be known then: verified or not, its senders are anonymous to
    /// [`Conn::names`](crate::Conn::names). [`warnings`](Self::warnings) has none.
    ///
    /// **Not part of what stays.** This is the one place where a type of another TLS crate shows.
    /// It is rustls 0.21, on which async-tls 0.13 is built, and changes with it. That can be in a
    /// minor version of this crate.
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
    /// [`TlsError::Configuration`] when rustls makes no session of it.
    pub fn from_rustls(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        let mut config = Arc::unwrap_or_clone(config);
        resume_nothing(&mut config);
        config.ticketer = Arc::new(NoTickets);
        let config = Arc::new(config);
        makes_sessions(&config).map_err(|error| TlsError::Configuration {
            reason: error.to_string(),
        })?;
        Ok(Tls::of(Config {
            anyone: config.into(),
            recipe: None,
            clients: None,
        }))
    }

    fn of(config: Config) -> Self {
        Tls {
            current: Arc::new(RwLock::new(Arc::new(config))),
        }
    }

    /// From now on, handshakes are made as `other` would make them. Those that have begun, and
    /// connections that are open, go on as they are.
    pub fn replace(&self, other: &Tls) {
        let config = other.config();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// What should be known of the certificates and CRLs: those that have ended, that will within
    /// 14 days, or that are of little use.
    pub fn warnings(&self) -> Vec<TlsWarning> {
        let config = self.config();
        let now = SystemTime::now();
        let recipes = config.recipe.iter();
        recipes
            .flat_map(|recipe| &recipe.resolver.0)
            .flat_map(|identity| identity.warnings(now))
            .chain(
                config
                    .clients
                    .iter()
                    .flat_map(|clients| clients.warnings(now)),
            )
            .collect()
    }

    /// Whether clients are verified that have a certificate, and others are let in too.
    pub(crate) fn verifies_some_clients(&self) -> bool {
        let config = self.config();
        config
            .clients
            .as_ref()
            .is_some_and(|clients| clients.optional)
    }

    pub(crate) fn accept<IO>(&self, io: IO) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let (acceptor, seen) = self.config().acceptor();
        Accept::new(&acceptor, seen, io)
    }

    fn config(&self) -> Arc<Config> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }
}

impl TlsBuilder {
    /// The oldest version that is accepted. [`TlsVersion::Tls12`] by default.
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.min_version = version;
        self
    }

    /// Whether the secrets of each connection are appended to the file that the environment
    /// variable `SSLKEYLOGFILE` names, so that a capture of its traffic can be decrypted. The file
    /// is made for its owner alone. Off by default.
    pub fn key_log(mut self, on: bool) -> Self {
        self.key_log = on;
        self
    }

    /// Adds a certificate and its key. Of several, the one is shown that is for the name that a
    /// sender asks for (SNI), and for which it has a signature scheme: an exact name before one
    /// such as `*.example.net`. The first one is shown to everyone else.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identities.push(identity);
        self
    }

    /// How senders are verified. By default they are not, and have no names.
    pub fn clients(mut self, clients: Clients) -> Self {
        self.clients = Some(clients);
        self
    }

    /// # Errors
    ///
    /// [`TlsError::Missing`] without an [identity](Self::identity); [`TlsError::KeyLog`] and
    /// [`TlsError::ExposedKeyLog`] when the file of [`key_log`](Self::key_log) can't be used.
    ///
    /// # Blocking
    ///
    /// Opens the file of [`key_log`](Self::key_log), if that is on.
    pub fn build(self) -> Result<Tls, TlsError> {
        if self.identities.is_empty() {
            return Err(TlsError::Missing {
                what: "certificate",
            });
        }
        let versions: &[&SupportedProtocolVersion] = match self.min_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let recipe = Recipe {
            start: ServerConfig::builder()
                .with_cipher_suites(suites::in_order())
                .with_safe_default_kx_groups()
                .with_protocol_versions(versions)
                .map_err(pem::unusable)?,
            resolver: Arc::new(Resolver(self.identities)),
            key_log: match self.key_log {
                true => key_log::open(env::var_os("SSLKEYLOGFILE").as_deref())?,
                false => Arc::new(NoKeyLog {}),
            },
        };
        let anyone = recipe.with_verifier(NoClientAuth::boxed());
        makes_sessions(&anyone).map_err(pem::unusable)?;
        Ok(Tls::of(Config {
            anyone: anyone.into(),
            recipe: Some(recipe),
            clients: self.clients.map(Arc::new),
        }))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// What a [`Tls`] is at one time.
struct Config {
    /// For all connections whose senders' certificates are not looked at here.
    anyone: TlsAcceptor,
    /// What it is made of; none if it came whole.
    recipe: Option<Recipe>,
    clients: Option<Arc<Clients>>,
}

impl Config {
    /// What shakes hands with the next connection, and where it keeps what it saw of the sender's
    /// certificate. That is why each connection has a configuration of its own then.
    fn acceptor(&self) -> (TlsAcceptor, Option<Arc<Seen>>) {
        let (Some(recipe), Some(clients)) = (&self.recipe, &self.clients) else {
            return (self.anyone.clone(), None);
        };
        let seen = Arc::new(Seen::default());
        let verifier = Verifier {
            clients: Arc::clone(clients),
            seen: Arc::clone(&seen),
        };
        let config = recipe.with_verifier(Arc::new(verifier));
        (config.into(), Some(seen))
    }
}

/// All of a configuration but how senders are verified.
struct Recipe {
    start: ConfigBuilder<ServerConfig, WantsVerifier>,
    resolver: Arc<Resolver>,
    key_log: Arc<dyn KeyLog>,
}

impl Recipe {
    fn with_verifier(&self, verifier: Arc<dyn ClientCertVerifier>) -> Arc<ServerConfig> {
        let mut config = self
            .start
            .clone()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&self.resolver) as _);
        config.ignore_client_order = true;
        config.key_log = Arc::clone(&self.key_log);
        resume_nothing(&mut config);
        Arc::new(config)
    }
}

/// async-tls panics where this fails: it never sees a configuration that does.
fn makes_sessions(config: &Arc<ServerConfig>) -> Result<(), rustls::Error> {
    ServerConnection::new(Arc::clone(config)).map(drop)
}

fn resume_nothing(config: &mut ServerConfig) {
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
}

/// In place of what would make tickets, which rustls only has for configurations of its own.
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
