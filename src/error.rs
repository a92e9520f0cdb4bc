//! What can go wrong, grouped by who is at fault: the peer (`End`), the configuration
//! (`BuildError`, `TemplateError`, `TlsError`), the output (`OutputError`, `StreamError`).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::count::Loss;
use crate::decode::{Fault, Format};
use crate::limit::Limit;
use crate::quote::{QUOTED, quoted};

/// How a stream ended. Nothing but [`End::Clean`] may be taken for complete.
///
/// What was authenticated and decoded before the end has been delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The sender's close_notify (RFC 8446, section 6.1) came, and what came before it is whole.
    Clean,
    /// The stream stopped before its end.
    Truncated(Truncation),
    /// What came is not valid: a TLS record or the compressed data.
    Corrupt {
        /// The layer that is damaged: `tls`, or a format.
        layer: &'static str,
        /// Where, in bytes of that stream's content: decrypted bytes, still compressed.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The connection broke.
    Reset {
        /// What the system, or the peer's TLS alert, said. It may quote the peer.
        what: String,
        /// Whether the peer sent a fatal alert (RFC 8446, section 6.2).
        alert: bool,
    },
    /// The peer took too long.
    Timeout(Timeout),
    /// The peer completed no handshake, or sent what this receiver does not take.
    Refused {
        /// Why. It may quote the peer.
        what: String,
        /// The first names in the sender's certificate, which nobody verified, if that certificate
        /// is why. Long ones are cut off.
        claimed: Vec<String>,
        /// What the sender or the receiver can do about it.
        hint: Option<&'static str>,
    },
    /// The stream, or the number of them, went over one of the receiver's limits.
    Limit(Limit),
    /// This side ended the stream.
    Cut(Cut),
}

/// What is missing from a [truncated](End::Truncated) stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Truncation {
    /// The connection was closed during the handshake.
    Handshake,
    /// The connection was closed without a close_notify.
    NoCloseNotify,
    /// A close_notify came, in the middle of the compressed data.
    Unfinished(Format),
    /// The connection was closed without a close_notify, in the middle of the compressed data.
    Both(Format),
}

/// Which time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timeout {
    /// The handshake took longer than this.
    Handshake(Duration),
    /// Nothing came for this long.
    Idle(Duration),
}

/// Why this side ended a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cut {
    /// [`Server::cut`](crate::Server::cut), or a connection made after
    /// [`Server::stop`](crate::Server::stop).
    Server,
    /// The [`Connection`](crate::Connection) was dropped before it was done.
    Dropped,
    /// The [`Sink`](crate::Sink) was dropped before it had handled the whole stream.
    SinkGone,
    /// The output failed for this stream alone: it returned a [`StreamError`].
    Output {
        /// What kind of error it was. A receipt tells the sender no more than this.
        kind: io::ErrorKind,
        /// The error's text. It may name a file of this system.
        what: String,
    },
}

impl End {
    /// Whether the stream is known to be complete.
    pub fn is_clean(&self) -> bool {
        matches!(self, End::Clean)
    }

    /// The end in one word, as it begins when printed.
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

    /// Why it ended so, if it is not clean: what is known of it beyond the [word](Self::word) and
    /// the names that a refused sender claims. It may quote the peer, and is not escaped.
    pub fn reason(&self) -> Option<String> {
        match self {
            End::Refused { what, .. } => Some(what.clone()),
            end => end.facts().map(|facts| facts.to_string()),
        }
    }

    /// What the sender or the receiver can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            End::Refused { hint, .. } => *hint,
            _ => None,
        }
    }

    /// What is known of it beyond the word; nothing of a clean end.
    pub(crate) fn facts(&self) -> Option<Facts<'_>> {
        (!self.is_clean()).then_some(Facts(self))
    }

    /// Whether the peer just went away: it broke or closed the connection, and said nothing.
    pub(crate) fn is_departure(&self) -> bool {
        matches!(
            self,
            End::Reset { alert: false, .. }
                | End::Truncated(Truncation::NoCloseNotify | Truncation::Both(_))
        )
    }

    /// The end of a stream that the network side takes for `self`, when the codec is in the middle
    /// of `format`.
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

/// The [word](End::word), then the facts in parentheses. What it quotes from a peer is not
/// escaped.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.facts() {
            None => f.write_str(self.word()),
            Some(facts) => write!(f, "{} ({facts})", self.word()),
        }
    }
}

/// What stands in the parentheses.
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

/// Why a [`ServerBuilder`](crate::ServerBuilder) made no server.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// A limit below what the server needs to work at all.
    TooSmall {
        /// The builder's method.
        setting: &'static str,
        /// The least that it takes, in the method's own unit.
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

/// Why a text is no [`Template`](crate::output::Template) for the names of files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// There is nothing in it.
    Empty,
    /// A brace without the other one, or within a token.
    Unbalanced,
    /// There is no such token.
    UnknownToken(String),
    /// No name of a file in a directory can hold this character: `/`, or a control character.
    Forbidden(char),
    /// It begins as a hidden file, or as an option, does: with `.` or `-`.
    Beginning,
    /// It ends as an incomplete file does, in `.part`.
    End,
    /// There is too much text besides the tokens.
    TooLong {
        /// The most that there may be, in bytes.
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

/// Why a certificate and its key can't be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in a file can't be used.
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<TlsError>,
    },
    /// The PEM text is damaged, or holds a block that would be lost.
    Pem {
        /// The line, from 1 on.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The text holds no such item.
    Missing {
        /// What was looked for: `certificate`, `private key`, `CA certificate` or `CRL`.
        what: &'static str,
    },
    /// What the text holds can't be read, or is of a kind that is not supported.
    Damaged {
        /// What it is: `certificate`, `CA certificate` or `CRL`.
        what: &'static str,
        /// The line that it begins on, from 1 on, if it is PEM.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// Neither a name nor `*.` and a DNS name.
    Pattern {
        /// What was given.
        name: String,
    },
    /// The private key is encrypted.
    EncryptedKey,
    /// The private key is damaged, or of a kind that is not built in.
    UnusableKey {
        /// What kind of key it is, if that is the reason.
        kind: Option<String>,
    },
    /// The private key belongs to none of the certificates.
    WrongKey,
    /// This system has no CA certificates, or none that can be read.
    #[cfg(feature = "cli")]
    NoRoots {
        /// What kept them from being read, if there was anything.
        reason: Option<String>,
    },
    /// The file for secrets can't be opened.
    KeyLog {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner may read or write the file for secrets.
    ExposedKeyLog {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The certificate or the key can't be used for TLS.
    Unusable {
        /// What the TLS library says.
        reason: String,
    },
    /// The TLS library's own configuration can't be used.
    Configuration {
        /// What the TLS library says.
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
            #[cfg(feature = "cli")]
            TlsError::NoRoots { reason: None } => f.write_str("this system has no CA certificates"),
            #[cfg(feature = "cli")]
            TlsError::NoRoots {
                reason: Some(reason),
            } => write!(f, "can't read the CA certificates of this system: {reason}"),
            TlsError::KeyLog { path, source } => {
                write!(f, "can't open {}: {source}", path.display())
            }
            TlsError::ExposedKeyLog { path, mode } => write!(
                f,
                "{} is not for secrets: others than its owner may use it (mode {mode:04o})",
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
    /// What kind of error the output's medium gave.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Both failures as one, of sinks that feed the same output, with the cause of this one.
    pub fn and(mut self, other: &OutputError) -> Self {
        self.streams = self.streams.saturating_add(other.streams);
        self.unflushed = self.unflushed.saturating_add(other.unflushed);
        self
    }

    /// How many streams were open, or not yet flushed, when it failed.
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// How many bytes the output was given since it last flushed, at most so many of which are
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
/// An output returns it, as an [`io::Error`], in place of the error that it had. It ends that stream
/// as [`Cut::Output`], and the sink goes on.
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
    /// Of the error that the stream's own medium gave.
    pub fn new(source: io::Error) -> Self {
        StreamError { source }
    }

    /// What kind of error it was.
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
