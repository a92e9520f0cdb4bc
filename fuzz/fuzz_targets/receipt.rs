//! The answers of a server.

#![no_main]

#[path = "../../src/cli/send"]
mod send {
    #[path = "../../../tests/fuzz/receipt.rs"]
    pub mod body;
    mod receipt;

    use receipt::{LIMIT, Receipt, ReceiptStatus};
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| send::body::check(bytes));
