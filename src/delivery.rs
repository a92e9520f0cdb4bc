//! Copies of a sink's events, for callers that keep them.

use futures_lite::{Stream, stream};

use crate::conn::Conn;
use crate::end::End;
use crate::frame::RecordBuffer;
use crate::sink::{Sink, SinkEvent};

/// An owned copy of a [`SinkEvent`], as [`Sink::into_stream`] yields it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Delivery {
    /// A connection completed its handshake.
    Open(Conn),
    /// Decoded bytes of a connection: at least one, at most
    /// [`MAX_TURN_OUTPUT`](crate::limits::MAX_TURN_OUTPUT).
    Data(Conn, Vec<u8>),
    /// Records of a connection whose stream has a [framing](crate::frame).
    Records(Conn, RecordBuffer),
    /// A connection has ended: nothing more comes from it.
    Close(Conn, End),
}

impl Delivery {
    /// The connection, as it was at the time of the event.
    pub fn conn(&self) -> &Conn {
        match self {
            Delivery::Open(conn)
            | Delivery::Data(conn, _)
            | Delivery::Records(conn, _)
            | Delivery::Close(conn, _) => conn,
        }
    }
}

impl From<SinkEvent<'_>> for Delivery {
    fn from(decoded: SinkEvent<'_>) -> Self {
        match decoded {
            SinkEvent::Open(conn) => Delivery::Open(conn.clone()),
            SinkEvent::Data(conn, bytes) => Delivery::Data(conn.clone(), bytes.to_vec()),
            SinkEvent::Records(conn, records) => {
                Delivery::Records(conn.clone(), records.to_buffer())
            }
            SinkEvent::Close(conn, end) => Delivery::Close(conn.clone(), end.clone()),
        }
    }
}

impl Sink {
    /// Turns [`next`](Self::next) into a stream of copies, which can be kept and sent on.
    ///
    /// As with `next`, polling for an item says that the one before it is dealt with: a caller that
    /// collects the items, or queues them in an unbounded channel, has no back-pressure, unless it
    /// takes a [hold](Conn::hold) of each before it polls for the next. Dropping the stream drops
    /// the sink.
    ///
    /// ```
    /// # use futures_lite::{future, io::Cursor};
    /// use futures_lite::StreamExt;
    /// use tlsink::{Delivery, Peer, Server};
    ///
    /// # future::block_on(async {
    /// let (server, sink) = Server::builder().build()?;
    /// let connection = server.plain(Cursor::new(b"hello".to_vec()), Peer::label("test"));
    /// server.stop();
    ///
    /// let texts = sink.into_stream().filter_map(|delivery| match delivery {
    ///     Delivery::Data(_, bytes) => String::from_utf8(bytes).ok(),
    ///     _ => None,
    /// });
    /// let (_, texts): (_, Vec<String>) = future::zip(connection, texts.collect()).await;
    /// assert_eq!(texts, ["hello"]);
    /// # Ok::<(), tlsink::BuildError>(())
    /// # }).unwrap();
    /// ```
    pub fn into_stream(self) -> impl Stream<Item = Delivery> + Send + Unpin + 'static {
        Box::pin(stream::unfold(self, |mut sink| async {
            let delivery = sink.next().await?.into();
            Some((delivery, sink))
        }))
    }
}
