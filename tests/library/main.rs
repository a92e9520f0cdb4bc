//! The crate as a dependency: the behavior that an embedding application relies on, and the results
//! of its decoders and outputs for any bytes. Behavior that the program shows as well is tested
//! there.

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

mod async_tls;
#[cfg(feature = "client")]
mod client;
mod connection;
mod credential_files;
mod decode;
mod each_line;
mod embedding;
#[cfg(all(
    feature = "gzip",
    feature = "zstd",
    feature = "lumberjack",
    feature = "forward"
))]
mod events;
mod executors;
mod files;
#[cfg(all(
    feature = "zstd",
    feature = "octet",
    feature = "relp",
    feature = "lumberjack",
    feature = "forward",
    feature = "nul"
))]
mod frames;
#[cfg(feature = "unstable-rustls")]
mod from_rustls;
mod holds;
mod json;
mod lines;
mod proxied;
mod rate;
mod reference_vectors;
#[cfg(feature = "resume")]
mod resume;
#[cfg(all(feature = "client", feature = "resume"))]
mod resumed_sender;
mod sink;

// Modules that several tests use.
#[cfg(feature = "gzip")]
mod by_hand;
mod memory;
mod press;

#[path = "../common"]
mod common {
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod authority;
    pub mod client;
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod pack;
    pub mod page;
    #[allow(dead_code, reason = "the tests under load use more of it")]
    pub mod process;
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod program;
    pub mod sender;
    pub mod skip;
    #[cfg(feature = "cli")]
    #[allow(dead_code, reason = "few tests trace")]
    pub mod strace;
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod terminal;
    pub mod zstd;
}

#[path = "../fuzz"]
mod fuzz {
    mod certificates;
    #[cfg(all(
        feature = "gzip",
        feature = "zlib",
        feature = "deflate",
        feature = "zstd",
        feature = "qt"
    ))]
    pub mod decode;
    #[cfg(all(
        feature = "zstd",
        feature = "octet",
        feature = "relp",
        feature = "lumberjack",
        feature = "forward",
        feature = "nul"
    ))]
    pub mod frames;
    #[cfg(feature = "resume")]
    mod resumed;
}
