//! The built program, as its users have it: its arguments, its messages, and the data sent to it.

#![cfg_attr(
    not(all(
        feature = "cli",
        feature = "gzip",
        feature = "zlib",
        feature = "deflate",
        feature = "zstd",
        feature = "qt"
    )),
    allow(
        dead_code,
        unused_imports,
        reason = "the tests that use it need other features"
    )
)]

mod append;
mod append_closed;
mod append_formats;
mod cert;
mod check;
mod client_certificates;
mod color;
mod damaged_streams;
mod exec;
mod follow;
mod follow_to_state;
mod framing;
mod full_disk;
mod generate;
mod kafka;
mod listen;
mod listeners;
mod live;
mod logrotate;
mod max_age;
mod messages;
mod mistakes;
mod openssl_and_socat;
mod options;
mod packaging;
mod power;
mod proxy_protocol;
mod rate;
mod receipt_promise;
mod receipts;
mod reload;
mod send;
mod send_relp;
mod server_certificates;
mod service;
mod shippers;
mod state;
mod status;
mod terminal;
mod upgrades;

// Modules that several tests use.
#[cfg(feature = "cli")]
mod help;
#[cfg(feature = "cli")]
mod refused;

#[path = "../common"]
mod common {
    pub mod authority;
    pub mod child;
    #[allow(dead_code, reason = "the library's tests use more of it")]
    pub mod client;
    #[cfg(feature = "cli")]
    #[allow(dead_code, reason = "the tests with a cluster of Kafka use more of it")]
    pub mod clients;
    #[allow(dead_code, reason = "the tests under load use more of it")]
    pub mod dice;
    #[allow(dead_code, reason = "the tests under load use more of it")]
    pub mod flushed;
    pub mod objects;
    pub mod pack;
    pub mod page;
    pub mod preload;
    #[allow(dead_code, reason = "the tests under load use more of it")]
    pub mod process;
    pub mod program;
    #[allow(dead_code, reason = "the library's tests use more of it")]
    pub mod sender;
    #[cfg(feature = "cli")]
    #[allow(dead_code, reason = "the tests with a cluster of Kafka use more of it")]
    pub mod shipped;
    pub mod skip;
    #[cfg(feature = "cli")]
    pub mod status;
    #[cfg(feature = "cli")]
    #[allow(dead_code, reason = "few tests trace")]
    pub mod strace;
    pub mod terminal;
    #[allow(dead_code, reason = "the library's tests use more of it")]
    pub mod zstd;
}
