//! The error of an output that ends one stream.

use std::fmt;
use std::io;

use crate::end::{Cut, End};

/// An error of an [`Output`](crate::output::Output) that concerns one stream only.
///
/// An output returns a `StreamError`, as an [`io::Error`], in place of the original error. It ends
/// that stream as [`Cut::Output`], and the sink goes on.
///
/// ```
/// use std::io::{self, Write};
/// use std::net::TcpStream;
///
/// use tlsink::output::{Output, StreamError};
/// use tlsink::Conn;
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
            reason: error.to_string(),
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
