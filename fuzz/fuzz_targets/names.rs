//! The names of senders' files.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tlsink::check_names(bytes));
