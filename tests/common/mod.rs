//! What several test files use.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

pub mod authority;
pub mod bomb;
pub mod client;
pub mod crowd;
pub mod dice;
pub mod faults;
pub mod faulty;
pub mod flushed;
pub mod help;
pub mod honest;
pub mod memory;
pub mod objects;
pub mod pack;
pub mod press;
pub mod process;
pub mod program;
pub mod sealed;
pub mod sender;
pub mod server;
pub mod skip;
pub mod terminal;
