//! Where decoded bytes go: the [`Output`] trait, and printers that implement it.

use std::io;

use crate::error::End;
use crate::peer::Conn;

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

pub(crate) use escape::push_json;
pub use escape::{Escaped, escaped};
pub use files::Files;
pub use json::Json;
pub use label::label;
pub use lines::Lines;
pub use raw::Raw;
pub use template::Template;

/// Takes what a [`Sink`](crate::Sink) delivers.
///
/// For each connection, `open` is called once, then `data` any number of times, then `close` once,
/// all of them from the sink's own task or thread. Calls for different connections alternate.
/// `flush` is called whenever there is nothing more to decode. After an error nothing is called any
/// more.
///
/// Only [`data`](Self::data) must be written. These calls are synchronous: what they block, they
/// block the sink's task.
pub trait Output {
    /// Takes the next decoded bytes of a connection; never empty.
    ///
    /// # Errors
    ///
    /// What the output's medium says. It ends the sink.
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()>;

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
    /// As [`data`](Self::data).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<O: Output + ?Sized> Output for Box<O> {
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        (**self).data(connection, bytes)
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
