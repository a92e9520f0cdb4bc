//! A lock on the machine, for which the tests of this binary wait. Cargo runs one binary after the
//! other, but libtest runs the tests of a binary side by side.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::new(());

/// For a test that measures delays, rates or memory, or opens hundreds of connections: no other
/// test runs beside it. libtest counts the wait as part of the test's time.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// For a test that mostly waits and is in no hurry: others of that kind may run beside it.
pub fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}
