//! Where decoded bytes go: the [`Output`] trait, and printers that implement it.

use std::io;

use crate::error::End;
use crate::peer::Conn;

mod each_line;
mod escape;
mod files;
mod json;
mod label;
mod lines;
mod partial;
mod raw;
mod shared;
mod template;
mod time;

pub use each_line::{EachLine, Line};
pub(crate) use escape::push_json;
pub use escape::{Escaped, escaped};
pub use files::Files;
pub use json::Json;
pub use label::label;
pub use lines::Lines;
pub use raw::Raw;
pub use template::Template;
pub use time::Timestamp;

/// Takes what a [`Sink`](crate::Sink) delivers.
///
/// For each connection, `open` is called once, then `data` any number of times, then `close` once,
/// all of them from the sink's own task or thread. Calls for different connections alternate.
/// `flush` is called whenever there is nothing more to decode, and soon after each `close`. After an
/// error nothing is called any more; nor is `close` when the sink is dropped.
///
/// A [`StreamError`](crate::StreamError) is the exception: it ends one stream, with which the output
/// can't go on, and the sink goes on with the others. After `open` or `data` have returned it, only
/// `close` is called for that connection, with [`Cut::Output`](crate::Cut::Output). A stream whose
/// `close` returns it is not clean, whatever its end was.
///
/// When a call returns, what it was given is dealt with, and credits go back to the connection: an
/// output that queues what it is given without a bound has no back-pressure. An end is told to its
/// connection after the `flush` that follows `close`.
///
/// Only [`data`](Self::data) must be written. These calls are synchronous: what they block, they
/// block the sink's task. [`EachLine`] makes an output of a function.
pub trait Output {
    /// Takes the next decoded bytes of a connection; never empty, and at most
    /// [`MAX_TURN_OUTPUT`](crate::limits::MAX_TURN_OUTPUT) of them.
    ///
    /// # Errors
    ///
    /// What the output's medium says. It ends the sink, but a [`StreamError`](crate::StreamError)
    /// ends this stream only.
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()>;

    /// Takes the first of these bytes, at least one. The sink gives the others again in the
    /// connection's next turn. Sinks call this; by default it takes all of them, by
    /// [`data`](Self::data).
    ///
    /// An output that may write much more than it is given, such as a label for each line, stops
    /// when it has written some [`MAX_TURN_OUTPUT`](crate::limits::MAX_TURN_OUTPUT) bytes, and says how many it wrote:
    /// without that, a few bytes that decode to nothing but newlines would make everybody else wait.
    ///
    /// # Errors
    ///
    /// As [`data`](Self::data).
    fn turn(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        self.data(connection, bytes)?;
        Ok(Portion {
            taken: bytes.len(),
            written: bytes.len(),
        })
    }

    /// A connection completed its handshake.
    ///
    /// # Errors
    ///
    /// As [`data`](Self::data).
    fn open(&mut self, connection: &Conn) -> io::Result<()> {
        let _ = connection;
        Ok(())
    }

    /// A connection is through. Only with [`End::Clean`] is what it sent known to be complete.
    ///
    /// # Errors
    ///
    /// As [`data`](Self::data).
    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        let _ = (connection, end);
        Ok(())
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    ///
    /// What the output's medium says. It ends the sink, whatever it is.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The part of a turn's bytes that an [`Output`] took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Portion {
    /// How many of them it took.
    pub taken: usize,
    /// How many bytes it wrote for them: the work, by which senders share the sink. A call of a
    /// function counts as the bytes that could be written in its time.
    pub written: usize,
}

impl<O: Output + ?Sized> Output for Box<O> {
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        (**self).data(connection, bytes)
    }

    fn turn(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        (**self).turn(connection, bytes)
    }

    fn open(&mut self, connection: &Conn) -> io::Result<()> {
        (**self).open(connection)
    }

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        (**self).close(connection, end)
    }

    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }
}
