//! What is to be sent: a file, or standard input. It is read by a thread of its own, as no system
//! can be asked to read every kind of file without waiting.

use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::AsFd;
use std::path::Path;

use async_channel::{Receiver, Sender};
use rustix::event::{PollFd, PollFlags, poll};

use super::super::Failure;
use super::super::start_thread;

/// How much is read at once where it comes as somebody writes it: what a pipe holds.
const PIPE_CHUNK: usize = 64 << 10;

/// How much is read at once from a file.
const FILE_CHUNK: usize = 256 << 10;

/// One is read while the other is sent.
const BUFFERS: usize = 2;

/// What is to be sent.
pub(crate) struct Input {
    /// As it is called when something is said about it.
    name: String,
    /// How long it is, if it is a file that can tell.
    pub(crate) len: Option<u64>,
    /// It comes as somebody writes it, who may be waiting for what becomes of it.
    pub(crate) live: bool,
    pieces: Receiver<io::Result<Piece>>,
    spent: Sender<Vec<u8>>,
    /// Read ahead.
    first: Option<io::Result<Piece>>,
}

/// What was read.
pub(crate) enum Piece {
    /// A buffer, and how much of it was read into.
    Bytes(Vec<u8>, usize),
    End,
}

impl Input {
    /// Opens a file, or standard input for none, and begins to read.
    ///
    /// # Errors
    ///
    /// When it can't be opened, or is a folder.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let (name, opened) = match path {
            Some(path) => (path.display().to_string(), File::open(path)),
            None => {
                let own = io::stdin().as_fd().try_clone_to_owned();
                ("standard input".to_owned(), own.map(File::from))
            }
        };
        let unusable = |error| Failure::misused(format!("can't read {name}: {error}"));
        let file = opened.map_err(unusable)?;
        let facts = file.metadata().map_err(unusable)?;
        if facts.is_dir() {
            return Err(
                Failure::misused(format!("can't read {name}: it is a folder"))
                    .hint("tar -c FOLDER | tlsink send HOST:PORT sends all that is in it"),
            );
        }
        let is_file = path.is_some() && facts.is_file();
        let chunk = if is_file { FILE_CHUNK } else { PIPE_CHUNK };
        let (pieces_in, pieces) = async_channel::bounded(BUFFERS);
        let (spent, spent_out) = async_channel::bounded(BUFFERS);
        for _ in 0..BUFFERS {
            // There is room for all of them.
            let _ = spent.try_send(vec![0; chunk]);
        }
        start_thread("input", move || read(file, &spent_out, &pieces_in))?;
        Ok(Input {
            name,
            len: is_file.then_some(facts.len()),
            live: !is_file,
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
    /// When it can't be read. What came before is not all there is then.
    pub(crate) async fn next(&mut self) -> Result<Piece, Failure> {
        let piece = match self.first.take() {
            Some(piece) => piece,
            None => match self.pieces.recv().await {
                Ok(piece) => piece,
                Err(_) => Err(io::Error::other("reading has stopped")),
            },
        };
        piece.map_err(|error| Failure::failed(format!("can't read {}: {error}", self.name)))
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&self, buffer: Vec<u8>) {
        // There is room for all of them, and nobody who misses one after the end.
        let _ = self.spent.try_send(buffer);
    }
}

/// Reads to the end, or to the first error.
fn read(mut file: File, spent: &Receiver<Vec<u8>>, pieces: &Sender<io::Result<Piece>>) {
    while let Ok(mut buffer) = spent.recv_blocking() {
        let piece = match wait_and_read(&mut file, &mut buffer) {
            Ok(0) => Ok(Piece::End),
            Ok(read) => Ok(Piece::Bytes(mem::take(&mut buffer), read)),
            Err(error) => Err(error),
        };
        let goes_on = matches!(piece, Ok(Piece::Bytes(..)));
        if pieces.send_blocking(piece).is_err() || !goes_on {
            return;
        }
    }
}

/// Whoever we share a terminal or a pipe with may have made it non-blocking.
fn wait_and_read(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut readable = [PollFd::new(&*file, PollFlags::IN)];
                match poll(&mut readable, None) {
                    Err(rustix::io::Errno::INTR) | Ok(_) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            result => return result,
        }
    }
}
