//! In place of `resuming`, where it is not built in: no stream is resumed.

use super::SinkSettings;
use super::stream::{Stream, Turn, TurnBuffers};
use crate::end::End;

#[derive(Debug)]
pub(super) enum Resuming {
    No,
}

impl Resuming {
    pub(super) fn new(_: &SinkSettings) -> Self {
        Resuming::No
    }

    pub(super) fn is_beginning(&self) -> bool {
        false
    }

    pub(super) fn is_opening(&self) -> bool {
        false
    }

    pub(super) fn keep_alive(&self) -> Option<&'static [u8]> {
        None
    }

    pub(super) fn is_on(&self) -> bool {
        false
    }

    pub(super) fn take(&mut self, _: &[u8]) {}

    pub(super) fn drop_unflushed(&mut self) {}

    pub(super) fn checksum(&self, _: u64) -> Option<u32> {
        None
    }

    pub(super) fn needs_answer(&mut self) -> bool {
        false
    }
}

impl Stream {
    pub(super) fn begin(&mut self, _: &mut TurnBuffers, _: &SinkSettings) -> Option<(Turn, usize)> {
        None
    }

    pub(super) fn acknowledge(&mut self, _: bool) {}

    pub(super) fn look_at_position(&mut self) {}

    pub(super) fn retire_resumed(&mut self) {}

    pub(super) fn say_goodbye(&self) {}

    pub(super) fn keep_end(&mut self, _: &End) -> bool {
        false
    }
}
