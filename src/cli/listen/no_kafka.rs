//! No producing to Kafka: that is not built in.

use std::io;

use tlsink::output::{Memory, Raw};

use super::super::Failure;
use super::super::args::KafkaArgs;
use super::super::say::Say;
use super::outlet::Backlog;

pub(super) enum KafkaOutlet {}

pub(super) fn open(_: &KafkaArgs, _: &Say) -> Result<KafkaOutlet, Failure> {
    Err(missing())
}

pub(super) fn check(_: &KafkaArgs, _: &Say) -> Result<(), Failure> {
    Err(missing())
}

fn missing() -> Failure {
    Failure::misused("--kafka needs the feature kafka, which is not built in")
}

impl KafkaOutlet {
    pub(super) fn backlog(&self) -> Backlog {
        match *self {}
    }

    pub(super) fn start(
        self,
        _: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> Result<Self, Failure> {
        match self {}
    }

    pub(super) fn another(&self, _: Option<usize>, _: Memory) -> Raw<io::Sink> {
        match *self {}
    }
}
