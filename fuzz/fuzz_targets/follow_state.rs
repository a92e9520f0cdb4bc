//! The state of a followed file.

#![no_main]

#[path = "../../src/cli/send/follow"]
#[allow(dead_code, reason = "the rest of the program is not here")]
mod follow {
    #[path = "../../../../tests/fuzz/follow_state.rs"]
    pub mod body;
    mod mark;
    mod state;

    use state::{CHECK, State};
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| follow::body::check(bytes));
