//! The lines of resumed streams.

#![no_main]

#[path = "../../tests/fuzz/resumed.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::check(bytes));
