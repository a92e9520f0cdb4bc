//! A lock on the machine, for which the tests of this binary wait. Cargo runs one binary after the
//! other, but libtest runs the tests of a binary side by side.

use std::fs;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::new(());

/// Waits until no other test runs, and keeps others out: for a test that measures delays, rates or
/// memory, or opens hundreds of connections. libtest counts the wait as part of the test's time.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Lets other tests of the same kind run beside this one, which mostly waits and is in no hurry.
pub fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// A test that did not wait would disturb the others now and then.
#[test]
fn each_test_here_first_waits_for_the_machine() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/load");
    let mut tests = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() || path.ends_with("machine.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for test in text.split("#[test]\n").skip(1) {
            let (name, body) = test.split_once("() {\n").unwrap();
            let waits = body.starts_with("    let _machine = machine::");
            assert!(waits, "{name} does not, in {}", path.display());
            tests += 1;
        }
    }
    assert_ne!(tests, 0);
}
