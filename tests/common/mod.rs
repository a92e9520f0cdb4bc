//! What several test files use. Each of them uses a part of it.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

pub mod program;
