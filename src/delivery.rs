//! What a sink delivers, for those who keep it.

use futures_lite::{Stream, stream};

use crate::error::End;
use crate::peer::Conn;
use crate::sink::{Sink, SinkEvent};

/// A [`SinkEvent`] of its own: what [`Sink::into_stream`] yields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Delivery {
    /// A connection completed its handshake.
    Open(Conn),
    /// Decoded bytes of a connection; never empty, and at most [`MAX_TURN_OUTPUT`](crate::limits::MAX_TURN_OUTPUT) of
    /// them.
    Data(Conn, Vec<u8>),
    /// A connection is through: nothing more comes from it.
    Close(Conn, End),
}

impl Delivery {
    /// The connection, as it was then.
    pub fn conn(&self) -> &Conn {
        match self {
            Delivery::Open(conn) | Delivery::Data(conn, _) | Delivery::Close(conn, _) => conn,
        }
    }
}

impl From<SinkEvent<'_>> for Delivery {
    fn from(decoded: SinkEvent<'_>) -> Self {
        match decoded {
            SinkEvent::Open(conn) => Delivery::Open(conn.clone()),
            SinkEvent::Data(conn, bytes) => Delivery::Data(conn.clone(), bytes.to_vec()),
            SinkEvent::Close(conn, end) => Delivery::Close(conn.clone(), end.clone()),
        }
    }
}

impl Sink {
    /// [`next`](Self::next) as a stream, whose items are copies that can be kept and sent on.
    ///
    /// As there, asking for an item says that the one before it is dealt with: whoever collects
    /// them, or buffers them in an unbounded channel, has no back-pressure. Dropping the stream
    /// drops the sink.
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
