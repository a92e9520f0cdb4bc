//! The final report on a connection.

use std::fmt;

use crate::conn::Conn;
use crate::count::Count;
use crate::decode::Format;
use crate::end::End;
use crate::frame::Framing;
use crate::output::{escaped, label};

/// The result of one connection.
///
/// ```
/// # use futures_lite::{future, io::Cursor};
/// use tlsink::output::Raw;
/// use tlsink::{End, Peer, Server};
///
/// # future::block_on(async {
/// let (server, sink) = Server::builder().build()?;
/// let connection = server.plain(Cursor::new(b"hello".to_vec()), Peer::label("test"));
/// server.stop();
///
/// let (report, _) = future::zip(connection, sink.run(Raw::new(std::io::sink()))).await;
/// assert_eq!(report.end, End::Clean);
/// assert_eq!(report.conn.delivered(), 5);
/// assert_eq!(report.to_string(), "test: 5 bytes received, 5 delivered, plain, clean");
/// # Ok::<(), tlsink::BuildError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The connection, as it was at its end.
    pub conn: Conn,
    /// Whether the handshake was completed, so that the sink has seen the connection.
    pub established: bool,
    /// The end of the stream.
    pub end: End,
    /// The peer is a proxy that has passed nobody's connection on.
    pub(crate) probe: bool,
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
    /// nothing, and reset or closed the connection without a close_notify or another alert; or it is
    /// a [proxy](crate::Connection::behind_proxy) that named no sender, and went away before the
    /// handshake was completed.
    pub fn is_health_check(&self) -> bool {
        match self.established {
            true => self.conn.received() == 0 && self.end.is_departure(),
            false => self.probe && self.end.is_departure(),
        }
    }
}

/// Prints the report in one line: the [label] of the peer, the numbers of bytes, and
/// the end. A connection that was not [established](Report::established) has no numbers. The line
/// is [escaped].
///
/// ```text
/// boiler@192.0.2.7:40312: 26 bytes received, 6 delivered, gzip, clean
/// 192.0.2.8:51200: refused (this is not TLS)
/// ```
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conn = &self.conn;
        write!(f, "{}: ", label(conn.peer()))?;
        let end = self.end.to_string();
        let end = escaped(&end);
        if !self.established {
            return end.fmt(f);
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
        if !matches!(conn.framing(), Framing::Auto | Framing::None) {
            write!(f, "{}, ", conn.framing())?;
        }
        end.fmt(f)?;
        if conn.undecoded() > 0 {
            write!(f, ", {} not decoded", Count(conn.undecoded(), "byte"))?;
        }
        if conn.skipped() > 0 {
            let items = Count(conn.skipped(), "item");
            write!(f, ", {items} skipped that no log has")?;
        }
        Ok(())
    }
}
