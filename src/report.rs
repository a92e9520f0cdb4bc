//! The final report on a connection.

use std::fmt;

use crate::conn::Conn;
use crate::count::Count;
use crate::decode::Format;
use crate::end::End;
use crate::output::label;

/// The result of one connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The connection, as it was at its end.
    pub conn: Conn,
    /// Whether the handshake was completed, so that the sink has seen the connection.
    pub established: bool,
    /// How the stream ended.
    pub end: End,
}

impl Report {
    /// Whether one side refused the other: the connection was not [established](Self::established),
    /// and its end is [`Refused`](End::Refused) (perhaps by an alert from the peer),
    /// [`Limit`](End::Limit) or [`Timeout`](End::Timeout). A peer that merely closes or breaks the
    /// connection is not refused, nor is one that a stop cuts.
    pub fn is_refused(&self) -> bool {
        let refused = matches!(self.end, End::Refused(_) | End::Limit(_) | End::Timeout(_));
        refused && !self.established
    }

    /// Whether this looks like a load balancer's health check: the peer completed the handshake, sent
    /// nothing, and reset or closed the connection without a close_notify or another alert.
    pub fn is_health_check(&self) -> bool {
        self.established && self.conn.received() == 0 && self.end.is_departure()
    }
}

/// Prints the report in one line: the [label] of the peer, the numbers of bytes, and
/// the end. A connection that was not [established](Report::established) has no numbers. Quotations
/// from the peer are not escaped.
///
/// ```text
/// boiler@192.0.2.7:40312: 26 bytes received, 6 bytes delivered, gzip, clean
/// 192.0.2.8:51200: refused (this is not TLS)
/// ```
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conn = &self.conn;
        write!(f, "{}: ", label(conn.peer()))?;
        if !self.established {
            return self.end.fmt(f);
        }
        write!(
            f,
            "{} received, {} delivered, ",
            Count(conn.received(), "byte"),
            conn.delivered()
        )?;
        // Too few bytes may have come to detect a format.
        if conn.format() != Format::Auto {
            write!(f, "{}, ", conn.format())?;
        }
        self.end.fmt(f)?;
        match conn.undecoded() {
            0 => Ok(()),
            undecoded => write!(f, ", {} not decoded", Count(undecoded, "byte")),
        }
    }
}
