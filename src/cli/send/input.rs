//! The input: a file, or standard input. A thread of its own reads it, as no system can read every
//! kind of file without blocking.

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, PipeReader, PipeWriter, Read, Seek};
use std::mem;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use async_channel::{Receiver, Sender};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::ioctl_fionread;

use super::super::say::Say;
use super::super::slow_open::SlowOpenNotice;
use super::super::{Failure, start_thread, stdio};

/// The size of a read from a pipe, a terminal or a socket: the capacity of a pipe.
const PIPE_CHUNK: usize = 64 << 10;

/// The size of a read from a file.
const FILE_CHUNK: usize = 256 << 10;

/// One is read while the other is sent.
const BUFFERS: usize = 2;

/// The data to be sent.
pub(crate) struct Input {
    /// Its name in messages.
    name: String,
    /// Its length in bytes, if that is known.
    pub(crate) len: Option<u64>,
    /// Another program is writing it, and may be waiting for the effect.
    pub(crate) live: bool,
    /// It is standard input, and a terminal: somebody types it.
    pub(crate) is_typed: bool,
    /// Ends live input when it is dropped: bytes that were written before are still read.
    pub(crate) ending: Option<PipeWriter>,
    pieces: Receiver<io::Result<InputPiece>>,
    spent: Sender<Vec<u8>>,
    /// Read ahead.
    first: Option<io::Result<InputPiece>>,
}

/// A piece of the input.
pub(crate) enum InputPiece {
    /// A buffer, and the number of bytes in it.
    Bytes(Vec<u8>, usize),
    End,
}

impl Input {
    /// Opens a file, or standard input for `None`, and begins to read. A file is read up to its
    /// present length.
    ///
    /// # Errors
    ///
    /// When it can't be opened, is a folder, or was closed when the program started.
    ///
    /// # Blocking
    ///
    /// As long as the system takes to open it: opening a FIFO waits for a writer.
    pub(crate) fn open(path: Option<&Path>, say: &Say) -> Result<Self, Failure> {
        let path = path.filter(|path| stdio::descriptor(path) != Some(0));
        let (name, opened) = match path {
            Some(path) => (path.display().to_string(), open(path, say)),
            None => ("standard input".to_owned(), stdio::own(io::stdin())),
        };
        let unusable = |error: io::Error| {
            match error.kind() {
            io::ErrorKind::NotConnected => Failure::misused(format!(
                "nothing is connected to {name}, so there is nothing to send"
            ))
            .hint("give FILE, or pipe data to tlsink (docker run -i passes it on); FILE may be /dev/null"),
            _ => Failure::misused(format!("can't read {name}: {error}")),
        }
        };
        let mut file = opened.map_err(unusable)?;
        let facts = file.metadata().map_err(unusable)?;
        if facts.is_dir() {
            return Err(
                Failure::misused(format!("can't read {name}: it is a folder"))
                    .hint("tar -c FOLDER | tlsink send HOST:PORT sends all that is in it"),
            );
        }
        let is_typed = path.is_none() && file.is_terminal();
        let live = !facts.is_file() && !facts.file_type().is_block_device();
        let chunk = if live { PIPE_CHUNK } else { FILE_CHUNK };
        let (len, source, ending) = if live {
            let (ended, ending) = io::pipe().map_err(unusable)?;
            (
                None,
                InputSource::Live(LiveInput::new(file, ended)),
                Some(ending),
            )
        } else {
            let end = end(&mut file, &facts).map_err(unusable)?;
            let len = end.map(|(at, end)| end.saturating_sub(at));
            (len, InputSource::File { file, end }, None)
        };
        let (pieces_in, pieces) = async_channel::bounded(BUFFERS);
        let (spent, spent_out) = async_channel::bounded(BUFFERS);
        for _ in 0..BUFFERS {
            // There is room for all of them.
            let _ = spent.try_send(vec![0; chunk]);
        }
        start_thread("input", move || read(source, &spent_out, &pieces_in))?;
        Ok(Input {
            name,
            len,
            live,
            is_typed,
            ending,
            pieces,
            spent,
            first: None,
        })
    }

    /// Waits for the first piece, which [`next`](Self::next) then gives.
    ///
    /// # Errors
    ///
    /// When it can't be read.
    pub(crate) async fn read_ahead(&mut self) -> Result<(), Failure> {
        let piece = self.next().await?;
        self.first = Some(Ok(piece));
        Ok(())
    }

    /// Waits for the next piece. It can be dropped and called again.
    ///
    /// # Errors
    ///
    /// When it can't be read. The pieces before that are not the whole input.
    pub(crate) async fn next(&mut self) -> Result<InputPiece, Failure> {
        let piece = match self.first.take() {
            Some(piece) => piece,
            None => match self.pieces.recv().await {
                Ok(piece) => piece,
                Err(_) => Err(io::Error::other("reading has stopped")),
            },
        };
        piece.map_err(|error| Failure::failed(format!("can't read {}: {error}", self.name)))
    }

    /// Says how to give input, if somebody types it.
    pub(crate) fn hint(&self, say: &Say) {
        if self.is_typed && say.is_terminal() {
            say.info("type lines to send; Ctrl-D at the beginning of a line ends");
        }
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&self, buffer: Vec<u8>) {
        // There is room for all buffers; after the end, none is needed.
        let _ = self.spent.try_send(buffer);
    }
}

fn open(path: &Path, say: &Say) -> io::Result<File> {
    let _notice = SlowOpenNotice::new(say, path, "write to");
    File::open(path).or_else(|error| stdio::inherited_socket(path, &error).ok_or(error))
}

/// The positions at which reading begins and ends: the end is the present length of a regular file.
/// Files whose length says nothing, such as those in `/proc` with 0 bytes, have none.
fn end(file: &mut File, facts: &Metadata) -> io::Result<Option<(u64, u64)>> {
    if !facts.is_file() {
        return Ok(None);
    }
    // Another program may have read a part of standard input.
    let at = file.stream_position()?;
    Ok((at < facts.len()).then_some((at, facts.len())))
}

/// Reads to the end, or to the first error.
fn read(
    mut source: InputSource,
    spent: &Receiver<Vec<u8>>,
    pieces: &Sender<io::Result<InputPiece>>,
) {
    while let Ok(mut buffer) = spent.recv_blocking() {
        let piece = match source.read(&mut buffer) {
            Ok(0) => Ok(InputPiece::End),
            Ok(read) => Ok(InputPiece::Bytes(mem::take(&mut buffer), read)),
            Err(error) => Err(error),
        };
        let goes_on = matches!(piece, Ok(InputPiece::Bytes(..)));
        if pieces.send_blocking(piece).is_err() || !goes_on {
            return;
        }
    }
}

enum InputSource {
    /// A file, with its present position and its end, if these are known.
    File {
        file: File,
        end: Option<(u64, u64)>,
    },
    Live(LiveInput),
}

impl InputSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            InputSource::File { file, end } => read_file(file, end.as_mut(), buffer),
            InputSource::Live(live) => live.read(buffer),
        }
    }
}

/// Reads up to the end that the file had when it was opened.
///
/// # Errors
///
/// When it can't be read, or when it has shrunk: its rest is missing then.
fn read_file(
    file: &mut File,
    end: Option<&mut (u64, u64)>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let Some((at, end)) = end else {
        return read_on(file, buffer);
    };
    let left = usize::try_from(end.saturating_sub(*at)).unwrap_or(usize::MAX);
    let room = buffer.len().min(left);
    let read = read_on(file, buffer.get_mut(..room).unwrap_or_default())?;
    *at = at.saturating_add(read as u64);
    if read == 0 && room > 0 {
        let now = file.metadata()?.len();
        // The files of sysfs(5) say 4096 bytes before and after.
        if now < *end {
            return Err(io::Error::other(format!(
                "it shrank from {end} to {now} bytes while it was read"
            )));
        }
    }
    Ok(read)
}

fn read_on(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Input that is still being written: a pipe, a terminal, a socket, a device.
struct LiveInput {
    file: File,
    /// The input ends when the other side of this pipe is closed.
    ended: PipeReader,
    /// The bytes left to read after that.
    left: Option<u64>,
}

impl LiveInput {
    fn new(file: File, ended: PipeReader) -> Self {
        LiveInput {
            file,
            ended,
            left: None,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.left.is_none() && self.is_ended()? {
                // The bytes written before the end. A device that does not count them ends at once.
                self.left = Some(ioctl_fionread(&self.file).unwrap_or(0));
            }
            let left = self.left.unwrap_or(u64::MAX);
            if left == 0 {
                return Ok(0);
            }
            let room = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            match read_on(&mut self.file, buffer.get_mut(..room).unwrap_or_default()) {
                // Another program that shares the terminal or the pipe may have made it
                // non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.left.is_some() {
                        return Ok(0);
                    }
                }
                Ok(read) => {
                    let read_now = read as u64;
                    self.left = self.left.map(|left| left.saturating_sub(read_now));
                    return Ok(read);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the file is readable, or until the input is to end.
    fn is_ended(&self) -> io::Result<bool> {
        let mut ready = [
            PollFd::new(&self.file, PollFlags::IN),
            PollFd::new(&self.ended, PollFlags::IN),
        ];
        loop {
            match poll(&mut ready, None) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    let [_, ended] = &ready;
                    return Ok(!ended.revents().is_empty());
                }
            }
        }
    }
}
