//! No streams that outlive their connection: resuming is not built in.

use std::io;
use std::sync::Arc;

use super::Batch;
use super::file::Written;
use super::writer::OpenFiles;
use crate::conn::Conn;

#[derive(Debug)]
pub(super) enum StreamCommand {}

#[derive(Debug)]
pub(super) enum Part {}

#[derive(Debug, Default)]
pub(super) struct Track(());

#[derive(Debug)]
pub(super) enum Journal {}

#[derive(Debug)]
pub(super) enum Journaled {}

impl Track {
    pub(super) fn look(&mut self, _: &Conn) {}

    pub(super) fn is_on(&self) -> bool {
        false
    }

    pub(super) fn take(&mut self, _: &[u8]) {}

    pub(super) fn part_before(&mut self, _: &[u8]) -> Option<(Part, u64)> {
        None
    }

    pub(super) fn part(&mut self, _: [&[u8]; 2], _: bool) -> Option<(Part, u64)> {
        None
    }
}

impl Part {
    pub(super) fn take_len(&mut self, _: usize) -> usize {
        match *self {}
    }
}

impl Journal {
    pub(super) fn another(&self) -> Self {
        match *self {}
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn commit(&self, _: u64, _: &[u64]) -> io::Result<()> {
        match *self {}
    }
}

impl Journaled {
    pub(super) fn journal(&self) -> Journal {
        match *self {}
    }

    pub(super) fn failure(&mut self) -> Option<io::Error> {
        match *self {}
    }
}

impl OpenFiles {
    pub(super) fn append_journaled(&mut self, _: Batch) {}

    pub(super) fn handle_stream(&mut self, command: StreamCommand) {
        match command {}
    }

    pub(super) fn note_closed(&mut self, _: &Arc<Written>) {}

    pub(super) fn sync_journal(&mut self) -> bool {
        true
    }

    pub(super) fn mend_lost(&mut self, _: &Arc<Written>) {}
}
