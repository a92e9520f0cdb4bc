//! Binary data, which is not written to a terminal unless the user names standard output.

use std::io::{self, IsTerminal};

use memchr::memchr;
use tlsink::frame::{Framing, Records};
use tlsink::output::{Output, Portion, StreamError};
use tlsink::{Conn, End};

use super::super::Failure;
use super::super::args::{Destination, ListenArgs, OutputFormat};

/// The reason for the end of a stream of binary data.
pub(super) const REASON: &str = "binary data is not written to a terminal";

/// The way out.
pub(super) const HINT: &str = "-o FILE writes it to a file, and -o - to the terminal";

/// Whether the output is a terminal that nobody has named as such.
pub(super) fn is_unasked(args: &ListenArgs) -> bool {
    let is_stdout = matches!(args.destination, Destination::Stdout { named: false, .. });
    is_stdout && io::stdout().is_terminal()
}

/// Refuses a format that changes no byte where the output is such a terminal.
///
/// # Errors
///
/// When it is so.
pub(super) fn check(args: &ListenArgs) -> Result<(), Failure> {
    match args.printer {
        OutputFormat::Raw if is_unasked(args) => Err(Failure::misused(
            "-f raw does not write to a terminal, which obeys control characters",
        )
        .hint(HINT)),
        _ => Ok(()),
    }
}

/// An output that ends a stream whose data is binary.
///
/// As grep(1) and git(1) do, it takes data for binary if there is a NUL among its first bytes. Of messages in
/// frames, each is a text on its own.
pub(super) struct TextOnly<O>(pub(super) O);

impl<O: Output> Output for TextOnly<O> {
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        refuse(connection, bytes)?;
        self.0.data(connection, bytes)
    }

    fn turn(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        refuse(connection, bytes)?;
        self.0.turn(connection, bytes)
    }

    fn records(&mut self, connection: &Conn, records: Records<'_>) -> io::Result<Portion> {
        self.0.records(connection, records)
    }

    fn open(&mut self, connection: &Conn) -> io::Result<()> {
        self.0.open(connection)
    }

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        self.0.close(connection, end)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn refuse(connection: &Conn, bytes: &[u8]) -> Result<(), StreamError> {
    let is_framed = !matches!(connection.framing(), Framing::Auto | Framing::None);
    // The bytes of the call are counted.
    let is_first = connection.delivered() <= bytes.len() as u64;
    match is_first && !is_framed && memchr(0, bytes).is_some() {
        true => Err(StreamError::new(io::Error::new(
            io::ErrorKind::InvalidData,
            REASON,
        ))),
        false => Ok(()),
    }
}
