//! The output that writes bytes as they come.

use std::io::{self, Write};

use super::Output;
use super::shared::SharedWriter;
use crate::conn::Conn;

/// Writes every byte as soon as it is decoded, and nothing else.
///
/// The bytes of several connections alternate at arbitrary places. Clones share the writer: give
/// one clone to each lane.
#[derive(Debug)]
pub struct Raw<W: Write> {
    shared: SharedWriter<W, ()>,
}

impl<W: Write> Raw<W> {
    /// Prints to `writer`, which needs no buffer of its own.
    pub fn new(writer: W) -> Self {
        Raw {
            shared: SharedWriter::new(writer),
        }
    }
}

impl<W: Write> Clone for Raw<W> {
    fn clone(&self) -> Self {
        Raw {
            shared: self.shared.clone(),
        }
    }
}

impl<W: Write> Output for Raw<W> {
    fn data(&mut self, _: &Conn, bytes: &[u8]) -> io::Result<()> {
        self.shared.lock().writer.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shared.flush()
    }
}
