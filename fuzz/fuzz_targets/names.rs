//! The names of senders' files.

#![no_main]

/// The part of the library that makes them, which is not public.
#[path = "../../src/output"]
#[allow(dead_code, reason = "the rest of the library is not here")]
mod output {
    mod error {
        pub use tlsink::output::TemplateError;
    }
    mod template;
    mod time;

    #[path = "../../tests/fuzz/names.rs"]
    pub mod body;

    use template::Template;
}

#[path = "../../src/conn.rs"]
#[allow(dead_code, reason = "the rest of the library is not here")]
mod conn;

#[path = "../../src/peer.rs"]
#[allow(dead_code, reason = "the rest of the library is not here")]
mod peer;

use tlsink::{decode, tls};

mod memory {
    pub use tlsink::output::Memory;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| output::body::check(bytes));
