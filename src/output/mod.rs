//! Outputs for decoded bytes: the [`Output`] trait, and printers that implement it.

use std::io;

use crate::conn::Conn;
use crate::end::End;
use crate::frame::Records;

mod append;
mod backlog;
mod each_line;
mod error;
mod escape;
#[cfg(any(feature = "lumberjack", feature = "forward"))]
mod event;
mod files;
mod json;
#[cfg(feature = "kafka")]
mod kafka;
mod label;
mod lines;
mod partial;
mod prefix;
mod raw;
mod shared;
mod template;
pub(crate) mod turn;

#[cfg(not(any(feature = "lumberjack", feature = "forward")))]
mod event {
    /// No record is an event: the framings that have some are not built in.
    pub(super) fn object(_: &str) -> Option<&str> {
        None
    }
}

pub use crate::memory::Memory;
pub use crate::stream_error::StreamError;
pub use crate::time::Timestamp;
pub use append::{AppendHandle, AppendNotice, AppendWriter, Appended, Keep};
#[cfg(all(unix, feature = "resume"))]
pub use append::{Journal, JournalKeeper, KeeperWriter, Recovery};
pub use each_line::{EachLine, Line};
pub use error::{OutputError, TemplateError};
pub(crate) use escape::push_json;
pub use escape::{Escaped, escaped};
pub use files::Files;
pub use json::Json;
#[cfg(feature = "kafka")]
pub use kafka::{
    Kafka, KafkaHandle, KafkaKey, KafkaNotice, KafkaRecord, KafkaSettings, KafkaTotals, KafkaWriter,
};
pub use label::label;
pub use lines::Lines;
pub use prefix::Prefix;
pub use raw::Raw;
#[cfg(fuzzing)]
pub(crate) use template::fuzz;
pub use template::{PathTemplate, Template};
pub use turn::Portion;

/// The most records that are escaped in one turn: what an output adds to each of them, such as a
/// label, then takes no more than a turn's worth of bytes.
const MAX_ESCAPED: usize = 512;

/// Receives decoded bytes from a [`Sink`](crate::Sink).
///
/// For each connection, the sink calls `open` once, then `data` any number of times, then `close`
/// once, all of them from its own task or thread. Calls for different connections alternate. The
/// sink calls `flush` whenever there is nothing more to decode, and soon after each `close`. After
/// an error it calls nothing any more. A sink that is dropped does not call `close` either.
///
/// A [`StreamError`] is the exception: it ends the one stream for which the
/// output can't go on, and the sink goes on with the others. After `open` or `data` have returned
/// it, the sink calls only `close` for that connection, with [`Cut::Output`](crate::Cut::Output). A
/// stream whose `close` returns it is not clean, whatever its end was.
///
/// When a call returns, the bytes that it was given are dealt with, and credits go back to the
/// connection: an output that queues bytes without a bound has no back-pressure. A connection hears
/// how it ended after the `flush` that follows `close`.
///
/// Only [`data`](Self::data) is required. All calls are synchronous: a call that blocks blocks the
/// sink's task. [`EachLine`] makes an output of a function.
///
/// ```
/// use std::io;
///
/// use tlsink::output::Output;
/// use tlsink::{Conn, End};
///
/// /// Counts the bytes of complete streams.
/// #[derive(Default)]
/// struct Complete(u64);
///
/// impl Output for Complete {
///     fn data(&mut self, _: &Conn, _: &[u8]) -> io::Result<()> {
///         Ok(())
///     }
///
///     fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
///         if end.is_clean() {
///             self.0 += connection.delivered();
///         }
///         Ok(())
///     }
/// }
/// ```
///
/// # Holds
///
/// An output that is not through with the bytes when its call returns, because another thread
/// writes them or a server has yet to acknowledge them, takes a [hold](Conn::hold) in that call.
/// Any thread says later that it is [done](crate::Hold::done):
///
/// - The connection hears how it ended when all its holds are done, and not before. A frame is
///   acknowledged when the holds of its bytes, and of those before them, are done.
/// - A hold that [fails](crate::Hold::fail), or is dropped, ends its stream as
///   [`Cut::Output`](crate::Cut::Output), like a `StreamError`. After `close`, it makes a stream that
///   was clean one that is not.
/// - A stream of which [`MAX_HELD`](crate::limits::MAX_HELD) bytes are held has no turn until fewer
///   are. The other streams go on. The sink flushes for a stream that waits within 8 turns.
/// - The bytes of the call count as held, and not those of earlier calls: an output that keeps bytes
///   of several calls takes a hold in each.
/// - Held bytes count in [`max_memory`](crate::ServerBuilder::max_memory). If there is no memory for
///   those of a call, they are held all the same, and the stream has no turn until they are through.
///   So every stream goes on with its own holds alone, and exceeds the memory by one turn at most.
/// - An output that can't take more of one stream yet [holds it back](Conn::hold_back). One that
///   decides about the stream as a whole [holds its end](Conn::hold_end).
/// - [`Server::cut`](crate::Server::cut) waits for no hold: the streams that are still held end as
///   [`Cut::Server`](crate::Cut::Server).
///
/// ```
/// use std::io;
/// use std::sync::mpsc::Sender;
///
/// use tlsink::output::Output;
/// use tlsink::{Conn, Hold};
///
/// /// Hands all bytes to a thread that writes them.
/// struct Queue(Sender<(Vec<u8>, Hold)>);
///
/// impl Output for Queue {
///     fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
///         // If the thread is gone, the hold is dropped, and the stream ends.
///         let _ = self.0.send((bytes.to_vec(), connection.hold()));
///         Ok(())
///     }
/// }
/// ```
pub trait Output {
    /// Takes the next decoded bytes of a connection: at least one, at most
    /// [`MAX_TURN_OUTPUT`](crate::limits::MAX_TURN_OUTPUT).
    ///
    /// # Errors
    ///
    /// The error of the output's medium. It ends the sink, unless it is a
    /// [`StreamError`], which ends only this stream.
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()>;

    /// Takes the first of these bytes, at least one. The sink gives the others again in the
    /// connection's next turn. Sinks call this method; by default, it takes all bytes, by
    /// [`data`](Self::data).
    ///
    /// An output that may write much more than it is given, such as a label for each line, stops
    /// when it has written about [`MAX_TURN_OUTPUT`](crate::limits::MAX_TURN_OUTPUT) bytes, and
    /// returns the number of bytes that it wrote: otherwise, a few bytes that decode to nothing but
    /// newlines would make all other connections wait.
    ///
    /// # Errors
    ///
    /// The same as for [`data`](Self::data).
    fn turn(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        self.data(connection, bytes)?;
        Ok(Portion::new(bytes.len(), bytes.len()))
    }

    /// Takes the first of these records, at least one, of which some contain newlines. The sink gives
    /// the others again in the connection's next turn. Sinks call this method for streams with a
    /// [framing](crate::frame); records without newlines are given to [`turn`](Self::turn), as lines.
    ///
    /// By default, each newline in a record is escaped as `\x0a`, so that the record is one line for
    /// `turn`. An output that can keep newlines apart from the ends of records does so here.
    ///
    /// # Errors
    ///
    /// The same as for [`data`](Self::data).
    fn records(&mut self, connection: &Conn, records: Records<'_>) -> io::Result<Portion> {
        records_as_lines(self, connection, records)
    }

    /// A connection completed its handshake.
    ///
    /// # Errors
    ///
    /// The same as for [`data`](Self::data).
    fn open(&mut self, connection: &Conn) -> io::Result<()> {
        let _ = connection;
        Ok(())
    }

    /// A connection has ended. Its data is complete only if `end` is [`End::Clean`].
    ///
    /// # Errors
    ///
    /// The same as for [`data`](Self::data).
    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        let _ = (connection, end);
        Ok(())
    }

    /// Writes out all buffered bytes.
    ///
    /// # Errors
    ///
    /// The error of the output's medium. It ends the sink, whatever it is.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives records to an output as lines, with their newlines escaped.
fn records_as_lines(
    output: &mut (impl Output + ?Sized),
    connection: &Conn,
    records: Records<'_>,
) -> io::Result<Portion> {
    let (lines, taken) = records.escaped(MAX_ESCAPED);
    let mut portion = output.turn(connection, &lines)?;
    let rest = lines.get(portion.taken..).unwrap_or_default();
    if !rest.is_empty() {
        output.data(connection, rest)?;
        portion.written = portion.written.saturating_add(rest.len());
    }
    Ok(Portion::new(taken, portion.written))
}

impl<O: Output + ?Sized> Output for Box<O> {
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        (**self).data(connection, bytes)
    }

    fn turn(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        (**self).turn(connection, bytes)
    }

    fn records(&mut self, connection: &Conn, records: Records<'_>) -> io::Result<Portion> {
        (**self).records(connection, records)
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
