//! The errors, grouped by the party at fault: the peer (`End`), the configuration (`BuildError`,
//! `TemplateError`, `TlsError`), the output (`OutputError`, `StreamError`).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::count::Loss;
use crate::decode::{Fault, Format};
use crate::limit::Limit;
use crate::quote::{QUOTED, quoted};

/// How a stream ended. Only [`End::Clean`] means that the stream is complete.
///
/// All data that was authenticated and decoded before the end has been delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The sender's close_notify (RFC 8446, section 6.1) arrived, and the data before it is whole.
    Clean,
    /// The stream stopped before its end.
    Truncated(Truncation),
    /// The data is not valid: a TLS record or the compressed data.
    Corrupt {
        /// The layer that is damaged: `tls`, or a format.
        layer: &'static str,
        /// The position of the damage, in bytes of the stream's content: decrypted, still
        /// compressed.
        offset: u64,
        /// The fault.
        what: String,
    },
    /// The connection broke.
    Reset {
        /// The text of the system's error or of the peer's TLS alert. It may quote the peer.
        what: String,
        /// Whether the peer sent a fatal alert (RFC 8446, section 6.2).
        alert: bool,
    },
    /// The peer took too long.
    Timeout(Timeout),
    /// The peer completed no handshake, or sent data that this receiver does not accept.
    Refused {
        /// The reason. It may quote the peer.
        what: String,
        /// The first names in the sender's certificate, which nobody verified, if that certificate
        /// is the reason. Long names are cut off.
        claimed: Vec<String>,
        /// A remedy for the sender or the receiver.
        hint: Option<&'static str>,
    },
    /// The stream, or the number of streams, exceeded one of the receiver's limits.
    Limit(Limit),
    /// This side ended the stream.
    Cut(Cut),
}

/// The part that is missing from a [truncated](End::Truncated) stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Truncation {
    /// The connection was closed during the handshake.
    Handshake,
    /// The connection was closed without a close_notify.
    NoCloseNotify,
    /// A close_notify arrived in the middle of the compressed data.
    Unfinished(Format),
    /// The connection was closed without a close_notify, in the middle of the compressed data.
    Both(Format),
}

/// The time limit that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timeout {
    /// The handshake took longer than this.
    Handshake(Duration),
    /// No data arrived for this long.
    Idle(Duration),
}

/// The reason why this side ended a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cut {
    /// [`Server::cut`](crate::Server::cut), or a connection made after
    /// [`Server::stop`](crate::Server::stop).
    Server,
    /// The [`Connection`](crate::Connection) was dropped before it resolved.
    Dropped,
    /// The [`Sink`](crate::Sink) was dropped before it had handled the whole stream.
    SinkGone,
    /// The output failed for this stream alone: it returned a [`StreamError`].
    Output {
        /// The kind of the error. A receipt tells the sender no more than this.
        kind: io::ErrorKind,
        /// The error's text. It may name a file of this system.
        what: String,
    },
}

impl End {
    /// Whether the stream is complete.
    pub fn is_clean(&self) -> bool {
        matches!(self, End::Clean)
    }

    /// The end in one word: the first of its printed form.
    pub fn word(&self) -> &'static str {
        match self {
            End::Clean => "clean",
            End::Truncated(_) => "truncated",
            End::Corrupt { .. } => "corrupt",
            End::Reset { .. } => "reset",
            End::Timeout(_) => "timeout",
            End::Refused { .. } => "refused",
            End::Limit(_) => "limit",
            End::Cut(_) => "cut",
        }
    }

    /// The reason for an end that is not clean: all that is known of it beyond the
    /// [word](Self::word) and the names that a refused sender claims. It may quote the peer, and is
    /// not escaped.
    pub fn reason(&self) -> Option<String> {
        match self {
            End::Refused { what, .. } => Some(what.clone()),
            end => end.facts().map(|facts| facts.to_string()),
        }
    }

    /// A remedy for the sender or the receiver.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            End::Refused { hint, .. } => *hint,
            _ => None,
        }
    }

    /// The facts beyond the word; `None` for a clean end.
    pub(crate) fn facts(&self) -> Option<Facts<'_>> {
        (!self.is_clean()).then_some(Facts(self))
    }

    /// Whether the peer merely went away: it broke or closed the connection without saying
    /// anything.
    pub(crate) fn is_departure(&self) -> bool {
        matches!(
            self,
            End::Reset { alert: false, .. }
                | End::Truncated(Truncation::NoCloseNotify | Truncation::Both(_))
        )
    }

    /// The end of a stream that the network side ends as `self` while the codec is in the middle of
    /// `format`.
    pub(crate) fn unfinished(self, format: Format) -> Self {
        match self {
            End::Clean => End::Truncated(Truncation::Unfinished(format)),
            End::Truncated(Truncation::NoCloseNotify) => End::Truncated(Truncation::Both(format)),
            other => other,
        }
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Corrupt {
                format,
                offset,
                what,
            } => End::Corrupt {
                layer: format.name(),
                offset,
                what,
            },
            Fault::Limit(limit) => End::Limit(limit),
            Fault::Unsupported(name) => End::Refused {
                what: format!("{name} is not built in"),
                claimed: Vec::new(),
                hint: None,
            },
        }
    }
}

/// Prints the [word](End::word), then the facts in parentheses. Quotations from a peer are not
/// escaped.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.facts() {
            None => f.write_str(self.word()),
            Some(facts) => write!(f, "{} ({facts})", self.word()),
        }
    }
}

/// The text in the parentheses.
pub(crate) struct Facts<'a>(&'a End);

impl fmt::Display for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            End::Clean => Ok(()),
            End::Truncated(what) => what.fmt(f),
            End::Corrupt {
                layer,
                offset,
                what,
            } => write!(f, "{layer}: {what} at byte {offset}"),
            End::Reset { what, .. } => f.write_str(what),
            End::Refused { what, claimed, .. } => {
                f.write_str(what)?;
                for (number, name) in claimed.iter().take(QUOTED.0).enumerate() {
                    let before = match number {
                        0 => "; the sender claims to be ",
                        _ => ", ",
                    };
                    write!(f, "{before}{}", quoted(name))?;
                }
                f.write_str(match claimed.len() > QUOTED.0 {
                    true => " and more",
                    false => "",
                })
            }
            End::Limit(limit) => limit.fmt(f),
            End::Timeout(Timeout::Handshake(limit)) => {
                write!(f, "no handshake within {}", Seconds(*limit))
            }
            End::Timeout(Timeout::Idle(limit)) => {
                write!(f, "nothing came for {}", Seconds(*limit))
            }
            End::Cut(Cut::Server) => f.write_str("the server is stopping"),
            End::Cut(Cut::Dropped) => f.write_str("the connection was dropped"),
            End::Cut(Cut::SinkGone) => f.write_str("the output is gone"),
            End::Cut(Cut::Output { what, .. }) => write!(f, "the output failed: {what}"),
        }
    }
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Truncation::Handshake => f.write_str("closed during the handshake"),
            Truncation::NoCloseNotify => f.write_str("no close_notify"),
            Truncation::Unfinished(format) => write!(f, "{format} not finished"),
            Truncation::Both(format) => write!(f, "no close_notify, {format} not finished"),
        }
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}

/// The reason why a [`ServerBuilder`](crate::ServerBuilder) made no server.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// A limit is below the least that the server needs to work at all.
    TooSmall {
        /// The name of the builder's method.
        setting: &'static str,
        /// The least value that the method takes, in its own unit.
        least: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::TooSmall { setting, least } => {
                write!(f, "{setting} must be at least {least}")
            }
        }
    }
}

impl std::error::Error for BuildError {}

/// The reason why a text is no [`Template`](crate::output::Template) for file names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// The template is empty.
    Empty,
    /// A brace has no counterpart, or stands within a token.
    Unbalanced,
    /// The template has an unknown token.
    UnknownToken(String),
    /// The template has a character that no file name in a directory can hold: `/`, or a control
    /// character.
    Forbidden(char),
    /// The template begins with `.` or `-`, as hidden files and options do.
    Beginning,
    /// The template ends in `.part`, as names of incomplete files do.
    End,
    /// The text besides the tokens is too long.
    TooLong {
        /// The longest text allowed, in bytes.
        most: usize,
    },
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TOKENS: &str = "{time}, {peer}, {port}, {client} and {conn}";
        match self {
            TemplateError::Empty => f.write_str("expected a name, such as {time}-{peer}-{conn}"),
            TemplateError::Unbalanced => {
                write!(f, "expected braces around tokens alone, which are {TOKENS}")
            }
            TemplateError::UnknownToken(token) => {
                write!(f, "unknown token {{{token}}}; there are {TOKENS}")
            }
            TemplateError::Forbidden('/') => {
                f.write_str("names can't hold /, as all files are in one directory")
            }
            TemplateError::Forbidden(c) => write!(f, "names can't hold {}", c.escape_default()),
            TemplateError::Beginning => {
                f.write_str("names can't begin with . or -, as hidden files and options do")
            }
            TemplateError::End => {
                f.write_str("names can't end in .part, as those of incomplete files do")
            }
            TemplateError::TooLong { most } => {
                write!(f, "expected at most {most} bytes besides the tokens")
            }
        }
    }
}

impl std::error::Error for TemplateError {}

/// The reason why a certificate and its key can't be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read.
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The content of a file can't be used.
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: Box<TlsError>,
    },
    /// The PEM text is damaged, or holds a block that would be lost.
    Pem {
        /// The line, from 1 on.
        line: usize,
        /// The fault on that line.
        reason: String,
    },
    /// The text holds no such item.
    Missing {
        /// The missing item: `certificate`, `private key`, `CA certificate` or `CRL`.
        what: &'static str,
    },
    /// An item in the text can't be read, or is of a kind that is not supported.
    Damaged {
        /// The item: `certificate`, `CA certificate` or `CRL`.
        what: &'static str,
        /// The line on which the item begins, from 1 on, if it is PEM.
        line: Option<usize>,
        /// The fault.
        reason: String,
    },
    /// A pattern is neither a name nor `*.` and a DNS name.
    Pattern {
        /// The pattern.
        name: String,
    },
    /// The private key is encrypted.
    EncryptedKey,
    /// The private key is damaged, or of a kind that is not built in.
    UnusableKey {
        /// The kind of the key, if that is the reason.
        kind: Option<String>,
    },
    /// The private key belongs to none of the certificates.
    WrongKey,
    /// This system has no CA certificates, or none that can be read.
    #[cfg(feature = "client")]
    NoRoots {
        /// The reason why they can't be read, if there was an error.
        reason: Option<String>,
    },
    /// The file for secrets can't be opened.
    KeyLog {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Users other than its owner may read or write the file for secrets.
    ExposedKeyLog {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The certificate or the key can't be used for TLS.
    Unusable {
        /// The error of the TLS library.
        reason: String,
    },
    /// The TLS library's own configuration can't be used.
    Configuration {
        /// The error of the TLS library.
        reason: String,
    },
}

impl TlsError {
    pub(crate) fn in_file(self, path: &Path) -> Self {
        TlsError::File {
            path: path.to_owned(),
            source: Box::new(self),
        }
    }

    pub(crate) fn unusable(error: impl fmt::Display) -> Self {
        TlsError::Unusable {
            reason: error.to_string(),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Read { path, source } => {
                write!(f, "can't read {}: {source}", path.display())
            }
            TlsError::File { path, source } => write!(f, "{}: {source}", path.display()),
            TlsError::Pem { line, reason } => write!(f, "line {line}: {reason}"),
            TlsError::Missing { what } => write!(f, "no {what} found"),
            TlsError::Damaged { what, line, reason } => {
                if let Some(line) = line {
                    write!(f, "line {line}: ")?;
                }
                write!(f, "the {what} can't be used: {reason}")
            }
            TlsError::Pattern { name } => write!(f, "{name:?} is not a name"),
            TlsError::EncryptedKey => f.write_str("the private key is encrypted"),
            TlsError::UnusableKey { kind: None } => {
                f.write_str("the private key is damaged, or of a kind that can't be used")
            }
            TlsError::UnusableKey { kind: Some(kind) } => {
                write!(f, "the private key is {kind}, which can't be used")
            }
            TlsError::WrongKey => f.write_str("the private key is not that of the certificate"),
            #[cfg(feature = "client")]
            TlsError::NoRoots { reason: None } => f.write_str("this system has no CA certificates"),
            #[cfg(feature = "client")]
            TlsError::NoRoots {
                reason: Some(reason),
            } => write!(f, "can't read the CA certificates of this system: {reason}"),
            TlsError::KeyLog { path, source } => {
                write!(f, "can't open {}: {source}", path.display())
            }
            TlsError::ExposedKeyLog { path, mode } => write!(
                f,
                "{} can't hold secrets: others than its owner may use it (mode {mode:04o})",
                path.display()
            ),
            TlsError::Configuration { reason } => {
                write!(f, "can't use the TLS configuration: {reason}")
            }
            TlsError::Unusable { reason } => write!(f, "can't use the certificate: {reason}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::Read { source, .. } | TlsError::KeyLog { source, .. } => Some(source),
            TlsError::File { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}

/// An [`Output`](crate::Output) failed, and with it the sink that fed it.
#[derive(Debug)]
pub struct OutputError {
    pub(crate) source: io::Error,
    pub(crate) streams: usize,
    pub(crate) unflushed: u64,
}

impl OutputError {
    /// The kind of the error that the output's medium returned.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Combines two failures of sinks that feed the same output, with the cause of this one.
    pub fn and(mut self, other: &OutputError) -> Self {
        self.streams = self.streams.saturating_add(other.streams);
        self.unflushed = self.unflushed.saturating_add(other.unflushed);
        self
    }

    /// The number of streams that were open, or not yet flushed, when the output failed.
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// The number of bytes that the output was given since its last flush. Up to this many are
    /// lost.
    pub fn unflushed(&self) -> u64 {
        self.unflushed
    }
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = Loss {
            bytes: self.unflushed,
            streams: self.streams as u64,
        };
        write!(f, "can't write the output: {}{loss}", self.source)
    }
}

impl std::error::Error for OutputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// An error of an [`Output`](crate::Output) that concerns one stream only.
///
/// An output returns a `StreamError`, as an [`io::Error`], in place of the original error. It ends
/// that stream as [`Cut::Output`], and the sink goes on.
///
/// ```
/// use std::io::{self, Write};
/// use std::net::TcpStream;
///
/// use tlsink::{Conn, Output, StreamError};
///
/// /// Each stream goes to a connection of its own.
/// struct Forward(std::collections::HashMap<tlsink::ConnId, TcpStream>);
///
/// impl Output for Forward {
///     fn open(&mut self, connection: &Conn) -> io::Result<()> {
///         let target = TcpStream::connect("127.0.0.1:9000").map_err(StreamError::new)?;
///         self.0.insert(connection.id(), target);
///         Ok(())
///     }
///
///     fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
///         if let Some(target) = self.0.get_mut(&connection.id()) {
///             target.write_all(bytes).map_err(StreamError::new)?;
///         }
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug)]
pub struct StreamError {
    source: io::Error,
}

impl StreamError {
    /// Wraps the error that the stream's own medium returned.
    pub fn new(source: io::Error) -> Self {
        StreamError { source }
    }

    /// The kind of the error.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        io::Error::new(error.kind(), error)
    }
}

impl From<StreamError> for End {
    fn from(error: StreamError) -> Self {
        End::Cut(Cut::Output {
            kind: error.kind(),
            what: error.to_string(),
        })
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl std::error::Error for StreamError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
