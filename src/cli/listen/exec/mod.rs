//! A program for each stream, which gets the decoded bytes on its standard input.
//!
//! A lane hands the bytes of a stream to a task, and goes on: the task writes them to the program as
//! fast as that reads, and holds the stream meanwhile. So a program that does not read holds back its
//! own stream only.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use async_channel::Sender;
use smol::Executor;
use smol::lock::{OnceCell, Semaphore};
use tlsink::output::Output;
use tlsink::{Conn, ConnId, Cut, End, Hold};

use super::super::Failure;
use super::super::args::ExecArgs;
use super::super::say::Say;
use super::super::signals;

mod child;
mod command;
mod task;

use command::{Command, Environment};
use task::{Piece, Task};

/// The pieces from which on a stream is held back until some are written. One that comes in single
/// bytes would otherwise take much more memory than it counts for.
const MAX_PIECES: usize = 1024;

/// The programs of all streams.
#[derive(Clone)]
pub(super) struct Programs(Arc<Shared>);

struct Shared {
    command: Command,
    /// The programs that may be started.
    places: Semaphore,
    /// Set when all streams are cut.
    cut: OnceCell<()>,
    /// Set when all streams are cut, and little time is left.
    cut_at_once: OnceCell<()>,
    say: Say,
}

/// Checks that the program can be started, of which at most `most` are to run at once.
///
/// # Errors
///
/// When the program can't be found or executed, or when this system can't wait for its end.
pub(super) fn open(args: &ExecArgs, most: usize, say: &Say) -> Result<Programs, Failure> {
    let command = Command::find(&args.words)?;
    child::check_system()?;
    signals::keep_ends_of_children()?;
    Ok(Programs(Arc::new(Shared {
        command,
        places: Semaphore::new(most),
        cut: OnceCell::new(),
        cut_at_once: OnceCell::new(),
        say: say.clone(),
    })))
}

impl Programs {
    /// Makes the output that starts the programs, whose tasks run on `executor`. Calls `ended` once all
    /// lanes are through with the output, and no program runs any more.
    pub(super) fn output(
        &self,
        executor: &Arc<Executor<'static>>,
        ended: impl FnOnce() + Send + 'static,
    ) -> Exec {
        let (in_use, all) = async_channel::bounded::<Infallible>(1);
        executor
            .spawn(async move {
                // An error says that no sender is left.
                let _ = all.recv().await;
                ended();
            })
            .detach();
        Exec {
            programs: self.clone(),
            executor: Arc::clone(executor),
            in_use,
            streams: HashMap::new(),
        }
    }

    /// Terminates all programs, and starts no more. Their streams have been cut.
    pub(super) fn cut(&self) {
        // An earlier cut may have set it.
        let _ = self.0.cut.set_blocking(());
    }

    /// Does the same, and gives the programs little time.
    pub(super) fn cut_at_once(&self) {
        self.cut();
        let _ = self.0.cut_at_once.set_blocking(());
    }
}

/// The output that gives each stream to a program of its own. Each lane has one.
pub(super) struct Exec {
    programs: Programs,
    executor: Arc<Executor<'static>>,
    /// Shared by all outputs and tasks; nothing is sent.
    in_use: Sender<Infallible>,
    /// The open streams that have a task.
    streams: HashMap<ConnId, Stream>,
}

/// The lane's side of a stream.
struct Stream {
    /// Needs no bound: the stream is held.
    pieces: Sender<Piece>,
    /// The end of the stream. When the pieces are closed, it is set.
    end: Arc<OnceCell<End>>,
}

impl Exec {
    /// The output of another lane.
    pub(super) fn another(&self) -> Self {
        Exec {
            programs: self.programs.clone(),
            executor: Arc::clone(&self.executor),
            in_use: self.in_use.clone(),
            streams: HashMap::new(),
        }
    }

    /// Starts the task of a stream, which starts the program.
    fn start(&self, connection: &Conn) -> Stream {
        let (pieces, queue) = async_channel::unbounded();
        let end = Arc::new(OnceCell::new());
        let task = Task::new(
            self.programs.clone(),
            Environment::of(connection),
            queue,
            Arc::clone(&end),
        );
        let hold = connection.hold_end();
        let in_use = self.in_use.clone();
        self.executor
            .spawn(async move {
                task.run(hold).await;
                drop(in_use);
            })
            .detach();
        Stream { pieces, end }
    }
}

impl Output for Exec {
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        let id = connection.id();
        match self.streams.get(&id) {
            Some(stream) if stream.pieces.len() < MAX_PIECES => {
                stream.give(bytes, connection.hold());
            }
            Some(stream) => stream.give(bytes, connection.hold_back()),
            None => {
                let stream = self.start(connection);
                // The program may have to wait for others to end.
                stream.give(bytes, connection.hold_back());
                self.streams.insert(id, stream);
            }
        }
        Ok(())
    }

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        let stream = match self.streams.remove(&connection.id()) {
            Some(stream) => stream,
            // A complete stream of no bytes is one, too.
            None if end.is_clean() => self.start(connection),
            None => return Ok(()),
        };
        stream.close(end.clone());
        Ok(())
    }
}

impl Stream {
    fn give(&self, bytes: &[u8], hold: Hold) {
        // When the task is over, it has failed the stream, and no hold has an effect any more.
        let _ = self.pieces.try_send(Piece {
            bytes: bytes.to_vec(),
            hold,
        });
    }

    fn close(&self, end: End) {
        // Only the first end counts.
        let _ = self.end.set_blocking(end);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.close(End::Cut(Cut::SinkGone));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures_lite::future::{block_on, poll_once};
    use futures_lite::{AsyncRead, AsyncWrite};
    use tlsink::decode::Format;
    use tlsink::{Connection, Peer, Server, Sink, SinkEvent};

    use super::super::super::color::Color;
    use super::*;

    /// A sender whose bytes come one by one.
    struct Drip(bool);

    impl AsyncRead for Drip {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            self.0 = !self.0;
            if self.0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            buffer[0] = b'x';
            Poll::Ready(Ok(1))
        }
    }

    impl AsyncWrite for Drip {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A sender and the output that it feeds. If the test has no stream of its own, the output starts
    /// one, whose task never runs.
    struct Feeding {
        connection: Connection<Drip>,
        sink: Sink,
        output: Exec,
        own: Option<Stream>,
    }

    impl Feeding {
        fn new(own: Option<Stream>) -> Self {
            let (server, sink) = Server::builder().decode(Format::Plain).build().unwrap();
            let args = ExecArgs {
                words: vec!["true".to_owned()],
                max: None,
            };
            let programs = open(&args, 1, &Say::start(Color::Never, false)).unwrap();
            Feeding {
                connection: server.plain(Drip(false), Peer::label("test")),
                sink,
                output: programs.output(&Arc::new(Executor::new()), || ()),
                own,
            }
        }

        /// Gives the output what the sink has for it in so many turns; returns the pieces that wait.
        fn turns(&mut self, count: usize) -> usize {
            for _ in 0..count {
                assert!(block_on(poll_once(&mut self.connection)).is_none());
                let event = block_on(poll_once(self.sink.next()));
                if let Some(Some(SinkEvent::Data(conn, bytes))) = event {
                    if let Some(own) = self.own.take() {
                        self.output.streams.insert(conn.id(), own);
                    }
                    self.output.data(conn, bytes).unwrap();
                }
            }
            let streams = self.output.streams.values();
            streams.map(|stream| stream.pieces.len()).sum()
        }
    }

    #[test]
    fn a_stream_of_single_bytes_is_held_back_when_too_many_wait() {
        let (pieces, queue) = async_channel::unbounded();
        let end = Arc::default();
        let mut feeding = Feeding::new(Some(Stream { pieces, end }));
        assert_eq!(feeding.turns(4 * MAX_PIECES), MAX_PIECES + 1);
        while let Ok(piece) = queue.try_recv() {
            piece.hold.done();
        }
        assert!(feeding.turns(8) > 1);
    }

    #[test]
    fn a_stream_is_held_back_until_its_program_has_the_first_bytes() {
        assert_eq!(Feeding::new(None).turns(64), 1);
    }
}
