//! The program's arguments.

#![no_main]

/// The part of the program that parses them.
#[path = "../../src/cli"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the rest of the program is not here"
)]
mod cli {
    mod address;
    mod args;
    mod color;
    mod encoding;
    mod failure;
    mod level;
    mod listen_address;
    mod networks;

    #[path = "../../tests/fuzz/arguments.rs"]
    pub mod body;

    use failure::Failure;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cli::body::check(bytes));
