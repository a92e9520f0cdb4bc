//! Heavy or long load: crowds, bombs, misbehaving senders, slow outputs. Other load would change
//! their measurements, so each test first waits for the [`machine`].

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

mod conservation;
mod crash;
mod crowd;
mod fairness;
mod leak;
mod many_senders;
mod service;
mod slow_output;
mod soak;
mod stop_under_load;

// Modules that several tests use.
mod bomb;
mod faults;
mod honest;
mod host;
mod machine;
mod process;

#[path = "../common"]
mod common {
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod authority;
    #[allow(dead_code, reason = "the library's tests use more of it")]
    pub mod client;
    pub mod dice;
    pub mod flushed;
    pub mod objects;
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod pack;
    pub mod page;
    pub mod preload;
    pub mod process;
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod program;
    #[allow(dead_code, reason = "the library's tests use more of it")]
    pub mod sender;
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod skip;
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod terminal;
    pub mod zstd;
}
