//! The header of a proxy.

#![no_main]

use tlsink::proxy::{Fault, MAX_HEADER, Parsed, parse};

#[path = "../../tests/fuzz/proxy.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = body::check(bytes);
});
