//! The receiver's limits that a stream or a sender can exceed.

use std::fmt;

use crate::count::Count;

/// A limit of the receiver that a stream or a sender exceeded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// [`ServerBuilder::max_per_ip`](crate::ServerBuilder::max_per_ip).
    PerIp {
        /// The most connections that one address may have.
        most: usize,
    },
    /// [`ServerBuilder::max_window`](crate::ServerBuilder::max_window).
    Window {
        /// The window that the stream needs, in bytes.
        window: u64,
        /// The largest window allowed, in bytes.
        most: u64,
    },
    /// [`ServerBuilder::max_memory`](crate::ServerBuilder::max_memory).
    Memory {
        /// The use that there was no memory for, such as a zstd window.
        purpose: String,
    },
    /// The events of a window of lumberjack, which are acknowledged together.
    Events {
        /// The number of events that the window announces.
        events: u64,
        /// The most events of a window.
        most: u64,
    },
    /// [`ServerBuilder::max_decoded`](crate::ServerBuilder::max_decoded).
    Decoded {
        /// The most that a stream may decode to, in bytes.
        most: u64,
    },
    /// The [resumed](crate::ServerBuilder::offsets) streams of a client that a
    /// [`Journal`](crate::output::Journal) knows.
    Streams {
        /// The most streams that it knows of a client.
        most: usize,
    },
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::PerIp { most } => {
                let are = if *most == 1 { "is" } else { "are" };
                let connections = Count(*most as u64, "connection");
                write!(f, "{connections} {are} open from this address")
            }
            Limit::Window { window, most } => {
                write!(f, "zstd window of {window} bytes, the limit is {most}")
            }
            Limit::Memory { purpose } => write!(f, "no memory left for {purpose}"),
            Limit::Events { events, most } => {
                write!(f, "window of {events} events, the limit is {most}")
            }
            Limit::Decoded { most } => {
                write!(f, "more than {} when decoded", Count(*most, "byte"))
            }
            Limit::Streams { most } => {
                let streams = Count(*most as u64, "stream");
                write!(f, "{streams} of this client are known")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_a_number_of_its_own() {
        for (limit, said) in [
            (
                Limit::PerIp { most: 1 },
                "1 connection is open from this address",
            ),
            (
                Limit::PerIp { most: 2 },
                "2 connections are open from this address",
            ),
            (Limit::Decoded { most: 0 }, "more than 0 bytes when decoded"),
            (Limit::Decoded { most: 1 }, "more than 1 byte when decoded"),
        ] {
            assert_eq!(limit.to_string(), said);
        }
    }
}
