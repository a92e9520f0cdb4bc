//! The ends of streams.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::decode::{Fault, Format};
use crate::frame::{self, Framing};
use crate::limit::Limit;
use crate::quote::{QUOTED, quoted};
use crate::tls::{Alert, Refusal};

/// The end of a stream. Only [`End::Clean`] means that the stream is complete.
///
/// All data that was authenticated and decoded before the end has been delivered.
///
/// ```
/// use tlsink::{End, Limit, Refusal};
///
/// fn advice(end: &End) -> &'static str {
///     match end {
///         End::Clean => "the stream is complete",
///         End::Truncated(_) | End::Reset(_) => "send it again",
///         End::Limit(Limit::Memory { .. } | Limit::PerIp { .. }) => "send it again later",
///         End::Refused(Refusal::Certificate(_)) => "renew the certificate",
///         // Other ends, and those that later versions add.
///         _ => "look at the sender",
///     }
/// }
///
/// assert_eq!(advice(&End::Clean), "the stream is complete");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The sender's close_notify (RFC 8446, section 6.1) arrived, and the data before it is whole.
    Clean,
    /// The stream stopped before its end.
    Truncated(Truncation),
    /// The data is not valid.
    #[non_exhaustive]
    Corrupt {
        /// The layer whose data is damaged.
        layer: Layer,
        /// The position of the damage, in bytes of the stream's content: decrypted, still
        /// compressed; for [`Layer::Framing`], decompressed.
        offset: u64,
        /// The fault, for people.
        reason: String,
    },
    /// The connection broke.
    Reset(Reset),
    /// The peer took too long.
    Timeout(Timeout),
    /// One side refused the other during the handshake, or during that of
    /// [`forward`](crate::frame::Framing::Forward).
    Refused(Refusal),
    /// The data is in a format, or of a protocol, that is recognised and not supported. The
    /// printed form calls such a stream refused.
    #[non_exhaustive]
    Unsupported {
        /// The layer at which it was recognised.
        layer: Layer,
        /// The name of the format or the protocol, such as `xz`, or `TLS within TLS`.
        format: &'static str,
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
    /// A close_notify arrived in the middle of the compressed data, or of a frame.
    Unfinished(Layer),
    /// The connection was closed without a close_notify, in the middle of the compressed data, or of
    /// a frame.
    Both(Layer),
}

/// The layer whose data is [corrupt](End::Corrupt).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layer {
    /// A TLS record.
    Tls,
    /// The compressed data in the records.
    Compression(Format),
    /// The frames in the decompressed data.
    Framing(Framing),
}

/// The reason why a connection [broke](End::Reset).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// The transport failed.
    Transport {
        /// The text of the transport's error.
        reason: String,
    },
    /// The peer sent a fatal alert (RFC 8446, section 6.2) after the handshake.
    Alert(Alert),
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
    /// The output failed for this stream alone: it returned a
    /// [`StreamError`](crate::output::StreamError), or one of its [holds](crate::Hold) failed.
    #[non_exhaustive]
    Output {
        /// The kind of the error. A receipt tells the sender no more than this.
        kind: io::ErrorKind,
        /// The error's text. It may name a file of this system.
        reason: String,
    },
    /// Another connection goes on with the same [stream](crate::resume).
    TakenOver,
    /// The connection was as old as [`ServerBuilder::max_age`](crate::ServerBuilder::max_age) allows, and
    /// the sender was told to go on with its [stream](crate::resume) over another one.
    MaxAge,
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
            End::Reset(_) => "reset",
            End::Timeout(_) => "timeout",
            End::Refused(_) | End::Unsupported { .. } => "refused",
            End::Limit(_) => "limit",
            End::Cut(_) => "cut",
        }
    }

    /// The reason for an end that is not clean: all that is known of it beyond the
    /// [word](Self::word) and the names that a refused sender claims. It may quote the peer, and is
    /// not escaped.
    pub fn reason(&self) -> Option<String> {
        match self {
            End::Refused(refusal) => Some(refusal.to_string()),
            end => end.facts().map(|facts| facts.to_string()),
        }
    }

    /// The end as its sender is told of it. The full text may name files of this system, which do not
    /// concern the sender.
    pub(crate) fn told(&self) -> String {
        match self {
            End::Cut(Cut::Output { kind, .. }) => format!("cut (the output failed: {kind})"),
            end => end.to_string(),
        }
    }

    /// A remedy for the sender or the receiver.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            End::Refused(refusal) => refusal.hint(),
            End::Unsupported { format, .. } if *format == frame::RSYSLOG_SINGLE => {
                Some("compression.mode=\"stream:always\" in its action is supported")
            }
            End::Unsupported {
                layer: Layer::Framing(Framing::Resume),
                ..
            } => Some("tlsink with --state resumes streams"),
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
            End::Reset(Reset::Transport { .. })
                | End::Truncated(
                    Truncation::Handshake | Truncation::NoCloseNotify | Truncation::Both(_)
                )
        )
    }

    /// The end of a stream that the network side ends as `self` while the decoder is in the middle
    /// of `layer`.
    pub(crate) fn unfinished(self, layer: Layer) -> Self {
        match self {
            End::Clean => End::Truncated(Truncation::Unfinished(layer)),
            End::Truncated(Truncation::NoCloseNotify) => End::Truncated(Truncation::Both(layer)),
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
                reason,
            } => End::Corrupt {
                layer: Layer::Compression(format),
                offset,
                reason,
            },
            Fault::Limit(limit) => End::Limit(limit),
            Fault::Unsupported(format) => End::Unsupported {
                layer: Layer::Compression(Format::Auto),
                format,
            },
        }
    }
}

impl From<frame::Fault> for End {
    fn from(fault: frame::Fault) -> Self {
        match fault {
            frame::Fault::Corrupt {
                framing,
                offset,
                reason,
            } => End::Corrupt {
                layer: Layer::Framing(framing),
                offset,
                reason: reason.into_owned(),
            },
            frame::Fault::Limit(limit) => End::Limit(limit),
            frame::Fault::SharedKey => End::Refused(Refusal::SharedKey),
            frame::Fault::Unsupported(format) => End::Unsupported {
                layer: Layer::Framing(Framing::Auto),
                format,
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
            End::Truncated(truncation) => truncation.fmt(f),
            End::Corrupt {
                layer,
                offset,
                reason,
            } => write!(f, "{layer}: {reason} at byte {offset}"),
            End::Reset(reset) => reset.fmt(f),
            End::Refused(refusal) => {
                refusal.fmt(f)?;
                let claimed = refusal.claimed();
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
            End::Unsupported { format, .. } => write!(f, "{format} is not supported"),
            End::Limit(limit) => limit.fmt(f),
            End::Timeout(timeout) => timeout.fmt(f),
            End::Cut(cut) => cut.fmt(f),
        }
    }
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Truncation::Handshake => f.write_str("closed during the handshake"),
            Truncation::NoCloseNotify => f.write_str("no close_notify"),
            Truncation::Unfinished(layer) => write!(f, "{layer} not finished"),
            Truncation::Both(layer) => write!(f, "no close_notify, {layer} not finished"),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layer::Tls => f.write_str("tls"),
            Layer::Compression(format) => format.fmt(f),
            Layer::Framing(framing) => framing.fmt(f),
        }
    }
}

/// Quotations from a peer are not escaped.
impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reset::Transport { reason } => f.write_str(reason),
            Reset::Alert(alert) => write!(f, "the sender sent a fatal alert: {alert}"),
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Timeout::Handshake(limit) => write!(f, "no handshake within {}", Seconds(*limit)),
            Timeout::Idle(limit) => write!(f, "nothing came for {}", Seconds(*limit)),
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cut::Server => f.write_str("the server is stopping"),
            Cut::Dropped => f.write_str("the connection was dropped"),
            Cut::SinkGone => f.write_str("the output is gone"),
            Cut::Output { reason, .. } => write!(f, "the output failed: {reason}"),
            Cut::TakenOver => f.write_str("another connection took the stream over"),
            Cut::MaxAge => f.write_str("the sender was told to connect again"),
        }
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}
