//! Certificates, keys and lists of revoked certificates.

#![no_main]

#[path = "../../tests/fuzz/certificates.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::check(bytes));
