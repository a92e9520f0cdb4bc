//! The task of one stream: it starts the program, feeds it, and waits for its end.

use std::io;
use std::process::{ChildStdin, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use async_channel::Receiver;
use async_io::Async;
use futures_lite::{AsyncWriteExt, future};
use rustix::process::Signal;
use smol::Timer;
use smol::lock::OnceCell;
use tlsink::output::StreamError;
use tlsink::{Cut, End, Hold};

use super::Programs;
use super::child::Program;
use super::command::Environment;

/// The time that a program has to end after SIGTERM. It is shorter than the time after which an output
/// counts as hanging.
const GRACE: Duration = Duration::from_secs(5);

/// The same after a second signal, when all of the output has a second.
const GRACE_AT_ONCE: Duration = Duration::from_millis(500);

/// The time in which a program that has closed its standard input may end by itself. Most do so because
/// they end, and their exit status says more than a signal of ours.
const ENDING: Duration = Duration::from_secs(1);

/// The bytes for one write, if there are so many. A pipe has room for as many (pipe(7)).
const BATCH: usize = 64 * 1024;

/// Bytes for the program, which hold their stream until they are written.
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    pub(super) hold: Hold,
}

/// Runs on an executor, as a lane must not wait for a program.
pub(super) struct Task {
    environment: Environment,
    ending: Ending,
    feed: Feed,
}

/// The end of a stream, once it is known.
struct Ending {
    end: Arc<OnceCell<End>>,
    programs: Programs,
}

/// Writes the pieces of a stream to its program.
struct Feed {
    pieces: Receiver<Piece>,
    /// The holds of the bytes that are being written. They are kept here, so that they are not dropped
    /// when the writing is.
    holds: Vec<Hold>,
}

/// The first thing that happens while a program is fed.
enum First {
    /// All bytes are written, and the stream has ended; or they can't be written.
    Fed(io::Result<()>),
    /// The stream has ended like this, and is not clean.
    Unclean(End),
    /// The program has ended.
    Ended,
}

impl Task {
    pub(super) fn new(
        programs: Programs,
        environment: Environment,
        pieces: Receiver<Piece>,
        end: Arc<OnceCell<End>>,
    ) -> Self {
        Task {
            environment,
            ending: Ending { end, programs },
            feed: Feed {
                pieces,
                holds: Vec::new(),
            },
        }
    }

    /// Runs the program of the stream, whose end is held until the program has ended.
    pub(super) async fn run(mut self, end: Hold) {
        // The holds of bytes that are not written are dropped after this one, and change nothing then.
        match self.serve().await {
            Ok(()) => end.done(),
            Err(unclean) => end.fail_as(unclean),
        }
    }

    /// Runs the program; the error is how the stream ended, or ends.
    async fn serve(&mut self) -> Result<(), End> {
        let Task {
            environment,
            ending,
            feed,
        } = self;
        let programs = &*ending.programs.0;
        let unclean = async { Err(ending.unclean().await) };
        let place = async { Ok(programs.places.acquire().await) };
        let _place = future::or(unclean, place).await?;

        let (program, stdin) = Program::start(&programs.command, environment).map_err(failed)?;
        let label = &environment.label;
        let id = program.id();
        programs
            .say
            .detail(|| format!("{label}: the program is process {id}"));
        let fed = async { First::Fed(feed.run(&stdin).await) };
        let unclean = async { First::Unclean(ending.unclean().await) };
        let ended = async {
            program.ended().await;
            First::Ended
        };
        let first = future::or(fed, future::or(unclean, ended)).await;
        let end = match first {
            First::Fed(Ok(())) => match ending.end.wait().await {
                End::Clean => {
                    drop(stdin);
                    if program.ends_before(ending.cut()).await {
                        return program.reap().and_then(verdict).map_err(failed);
                    }
                    End::Cut(Cut::Server)
                }
                unclean => unclean.clone(),
            },
            First::Fed(Err(error)) => {
                if program.ends_before(after(ENDING)).await {
                    return Err(ended_early(program));
                }
                failed(match error.kind() {
                    io::ErrorKind::BrokenPipe => io::Error::new(
                        error.kind(),
                        "the program closed its standard input before the stream's end",
                    ),
                    kind => io::Error::new(kind, format!("can't write to the program: {error}")),
                })
            }
            First::Unclean(end) => end,
            First::Ended => return Err(ended_early(program)),
        };
        terminate(&program, &ending.programs, label).await;
        // The end is known without the status.
        let _ = program.reap();
        Err(end)
    }
}

impl Ending {
    /// Waits until the stream has ended without being clean, or is cut; returns that end.
    async fn unclean(&self) -> End {
        let unclean = async {
            match self.end.wait().await {
                End::Clean => future::pending().await,
                end => end.clone(),
            }
        };
        let cut = async {
            self.cut().await;
            End::Cut(Cut::Server)
        };
        future::or(unclean, cut).await
    }

    /// Waits until all streams are cut.
    async fn cut(&self) {
        self.programs.0.cut.wait().await;
    }
}

impl Feed {
    /// Writes all pieces, until no more will come.
    ///
    /// # Errors
    ///
    /// When the program reads no more.
    async fn run(&mut self, mut stdin: &Async<ChildStdin>) -> io::Result<()> {
        while let Ok(Piece { mut bytes, hold }) = self.pieces.recv().await {
            self.holds.push(hold);
            while bytes.len() < BATCH
                && let Ok(piece) = self.pieces.try_recv()
            {
                bytes.extend_from_slice(&piece.bytes);
                self.holds.push(piece.hold);
            }
            stdin.write_all(&bytes).await?;
            self.holds.drain(..).for_each(Hold::done);
            // The other tasks have their turns, too, however fast this program reads.
            future::yield_now().await;
        }
        Ok(())
    }
}

/// Sends SIGTERM, and SIGKILL if the program does not end. Nothing is left of its process group
/// then, so nothing mistakes the end of standard input, which is yet to come, for that of a clean
/// stream.
async fn terminate(program: &Program, programs: &Programs, label: &str) {
    program.signal(Signal::TERM);
    let late = async {
        programs.0.cut_at_once.wait().await;
        after(GRACE_AT_ONCE).await;
    };
    if !program.ends_before(future::or(after(GRACE), late)).await {
        let text = format!("{label}: the program did not end after SIGTERM, and is killed");
        programs.0.say.error(&text);
        program.signal(Signal::KILL);
        program.ended().await;
    }
    program.signal(Signal::KILL);
}

/// The end of a stream whose program has ended before it.
fn ended_early(program: Program) -> End {
    // For the same reason as in `terminate`.
    program.signal(Signal::KILL);
    let verdict = program.reap().and_then(verdict);
    let early = || io::Error::other("the program exited before the stream's end");
    failed(verdict.err().unwrap_or_else(early))
}

/// The verdict of a program's exit status.
fn verdict(status: ExitStatus) -> io::Result<()> {
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::other(format!(
            "the program exited with status {code}"
        ))),
        // Printed as `signal: 9 (SIGKILL)`.
        None => {
            let signal = status.to_string().replacen(": ", " ", 1);
            Err(io::Error::other(format!(
                "the program was killed by {signal}"
            )))
        }
    }
}

fn failed(error: io::Error) -> End {
    StreamError::new(error).into()
}

async fn after(time: Duration) {
    Timer::after(time).await;
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn an_exit_status_is_told_in_words() {
        let told = |status| match verdict(ExitStatus::from_raw(status)) {
            Ok(()) => "success".to_owned(),
            Err(error) => error.to_string(),
        };
        // wait(2)
        assert_eq!(told(0), "success");
        assert_eq!(told(3 << 8), "the program exited with status 3");
        assert_eq!(told(9), "the program was killed by signal 9 (SIGKILL)");
    }
}
