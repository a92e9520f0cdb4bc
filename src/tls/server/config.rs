//! The server's configuration.

use std::env;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use async_tls::TlsAcceptor;
use futures_lite::{AsyncRead, AsyncWrite};
use rustls::server::{ClientCertVerifier, NoClientAuth, NoServerSessionStorage};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ConfigBuilder, KeyLog, NoKeyLog, ServerConfig, ServerConnection, SupportedProtocolVersion,
    WantsVerifier,
};

use super::resolver::ServerCertificateResolver;
use super::stream::Accept;
use super::verifier::{ClientVerifier, RecordingClientVerifier, VerifyOutcome};
use crate::tls::error::{CredentialKind, TlsError};
use crate::tls::identity::Identity;
use crate::tls::x509::{Expiration, TlsWarning};
use crate::tls::{TlsVersion, key_log, suites};

/// The server's side of TLS: its certificates, and the senders and versions that it accepts.
///
/// It speaks TLS 1.2 and 1.3. Session tickets are off, and no session is stored: a sender that
/// writes and closes without reading would leave the tickets in its unread buffer, its close would
/// become a reset, and its own system would throw away the data that it still had to send. Nor
/// would a sender that resumes a session be verified anew.
///
/// Clones are handles to the same configuration: [`replace`](Self::replace) changes it for them
/// all.
///
/// ```no_run
/// use tlsink::Tls;
/// use tlsink::tls::{Identity, TlsVersion};
///
/// let tls = Tls::builder()
///     .identity(Identity::from_pem_files("server.pem", "server.key")?)
///     .min_version(TlsVersion::Tls13)
///     .build()?;
/// for warning in tls.warnings() {
///     eprintln!("{}", tlsink::output::escaped(&warning.to_string()));
/// }
/// # Ok::<(), tlsink::tls::TlsError>(())
/// ```
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
    client_verifier: Option<ClientVerifier>,
}

impl Tls {
    /// Starts with the default settings.
    pub fn builder() -> TlsBuilder {
        TlsBuilder {
            min_version: TlsVersion::Tls12,
            key_log: false,
            identities: Vec::new(),
            client_verifier: None,
        }
    }

    /// Takes one certificate chain and its key from files, and the default settings; see
    /// [`Identity::from_pem_files`].
    ///
    /// # Errors
    ///
    /// The same as there.
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

    /// Takes one certificate chain and its key, and the default settings; see
    /// [`Identity::from_pem`].
    ///
    /// # Errors
    ///
    /// The same as there.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let identity = Identity::from_pem(certificates, key)?;
        Self::builder().identity(identity).build()
    }

    pub(super) fn of(config: Config) -> Self {
        Tls {
            current: Arc::new(RwLock::new(Arc::new(config))),
        }
    }

    /// Makes all further handshakes with the configuration of `other`. Handshakes that have begun,
    /// and connections that are open, go on with the one before.
    pub fn replace(&self, other: &Tls) {
        let config = other.config();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// The faults of certificates and CRLs that the operator should know of: those that have
    /// expired, that will expire within 14 days, or that are of little use.
    pub fn warnings(&self) -> Vec<TlsWarning> {
        let config = self.config();
        let now = SystemTime::now();
        let own = config.identities();
        let verifier = config.client_verifier.iter();
        own.flat_map(|identity| identity.warnings(now))
            .chain(verifier.flat_map(|verifier| verifier.warnings(now)))
            .collect()
    }

    /// The times at which the certificates and CRLs expire that state one: those of the own chains, the
    /// CAs that verify clients, and the newest CRL of each issuer.
    pub fn expirations(&self) -> Vec<Expiration> {
        let config = self.config();
        let own = config.identities();
        let verifier = config.client_verifier.iter();
        own.flat_map(Identity::expirations)
            .chain(verifier.flat_map(|verifier| verifier.expirations()))
            .collect()
    }

    /// Whether the server verifies clients that present a certificate, and lets others in too.
    pub(crate) fn verifies_some_clients(&self) -> bool {
        let config = self.config();
        let verifier = config.client_verifier.as_ref();
        verifier.is_some_and(|verifier| verifier.optional)
    }

    pub(crate) fn accept<IO>(&self, io: IO) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let (acceptor, outcome) = self.config().acceptor();
        Accept::new(&acceptor, outcome, io)
    }

    fn config(&self) -> Arc<Config> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }
}

impl TlsBuilder {
    /// Sets the oldest version of TLS to accept. [`TlsVersion::Tls12`] by default.
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.min_version = version;
        self
    }

    /// Whether to append the secrets of each connection to the file that the environment variable
    /// `SSLKEYLOGFILE` names, so that a capture of its traffic can be decrypted. The file is
    /// created for its owner alone. Off by default.
    pub fn key_log(mut self, on: bool) -> Self {
        self.key_log = on;
        self
    }

    /// Adds a certificate and its key. Of several certificates, a sender is shown one for the name
    /// that it asks for (SNI) and for which it has a signature scheme: one with the exact name
    /// before one with a wildcard such as `*.example.net`. Every other sender is shown the first
    /// one.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identities.push(identity);
        self
    }

    /// Verifies senders' certificates. By default senders are not verified, and have no names.
    pub fn client_verifier(mut self, verifier: ClientVerifier) -> Self {
        self.client_verifier = Some(verifier);
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
                kind: CredentialKind::Certificate,
            });
        }
        let versions: &[&SupportedProtocolVersion] = match self.min_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let template = ConfigTemplate {
            start: ServerConfig::builder()
                .with_cipher_suites(suites::in_order())
                .with_safe_default_kx_groups()
                .with_protocol_versions(versions)
                .map_err(TlsError::unusable)?,
            resolver: Arc::new(ServerCertificateResolver(self.identities)),
            key_log: match self.key_log {
                true => key_log::open(env::var_os("SSLKEYLOGFILE").as_deref())?,
                false => Arc::new(NoKeyLog {}),
            },
        };
        let anyone = template.with_verifier(NoClientAuth::boxed());
        makes_sessions(&anyone).map_err(TlsError::unusable)?;
        Ok(Tls::of(Config {
            anyone: anyone.into(),
            template: Some(template),
            client_verifier: self.client_verifier.map(Arc::new),
        }))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// The configuration that a [`Tls`] has at one time.
pub(super) struct Config {
    /// For all connections whose senders' certificates are not verified here.
    pub(super) anyone: TlsAcceptor,
    /// Makes the configuration of a connection; `None` if the application brought a whole one.
    pub(super) template: Option<ConfigTemplate>,
    pub(super) client_verifier: Option<Arc<ClientVerifier>>,
}

impl Config {
    /// The own certificates; none if the application brought a whole configuration.
    fn identities(&self) -> impl Iterator<Item = &Identity> {
        let templates = self.template.iter();
        templates.flat_map(|template| &template.resolver.0)
    }

    /// The acceptor for the next connection, and the place where it keeps the outcome of verifying
    /// the sender: for that, each connection has a configuration of its own.
    fn acceptor(&self) -> (TlsAcceptor, Option<Arc<VerifyOutcome>>) {
        let (Some(template), Some(verifier)) = (&self.template, &self.client_verifier) else {
            return (self.anyone.clone(), None);
        };
        let outcome = Arc::new(VerifyOutcome::default());
        let recording = RecordingClientVerifier {
            verifier: Arc::clone(verifier),
            outcome: Arc::clone(&outcome),
        };
        let config = template.with_verifier(Arc::new(recording));
        (config.into(), Some(outcome))
    }
}

/// A configuration without its verifier of senders.
pub(super) struct ConfigTemplate {
    start: ConfigBuilder<ServerConfig, WantsVerifier>,
    resolver: Arc<ServerCertificateResolver>,
    key_log: Arc<dyn KeyLog>,
}

impl ConfigTemplate {
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

/// Checks that rustls can make sessions of this configuration: async-tls panics if it can't.
pub(super) fn makes_sessions(config: &Arc<ServerConfig>) -> Result<(), rustls::Error> {
    ServerConnection::new(Arc::clone(config)).map(drop)
}

pub(super) fn resume_nothing(config: &mut ServerConfig) {
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
}
