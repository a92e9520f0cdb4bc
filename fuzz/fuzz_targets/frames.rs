//! Every framing, and its detection.

#![no_main]

#[path = "../../tests/fuzz/frames.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    body::check(bytes);
});
