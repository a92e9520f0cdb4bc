//! The answers of a RELP server.

#![no_main]

#[path = "../../src/cli/send"]
#[allow(dead_code, reason = "the rest of the program is not here")]
mod send {
    #[path = "../../../tests/fuzz/answers.rs"]
    pub mod body;
    mod relp;

    use relp::{Session, SessionError, WINDOW};
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| send::body::check(bytes));
