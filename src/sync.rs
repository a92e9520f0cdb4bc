//! The synchronization primitives of the modules that have loom models. Under loom, which tries
//! every interleaving of the threads, they are loom's.

#[cfg(not(tlsink_loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
#[cfg(not(tlsink_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};
use std::task::Context;

#[cfg(not(tlsink_loom))]
pub(crate) use atomic_waker::AtomicWaker;
#[cfg(tlsink_loom)]
pub(crate) use loom::future::AtomicWaker;
#[cfg(tlsink_loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
#[cfg(tlsink_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// Registers the task to wake.
pub(crate) fn register(waker: &AtomicWaker, cx: &Context<'_>) {
    #[cfg(not(tlsink_loom))]
    waker.register(cx.waker());
    #[cfg(tlsink_loom)]
    waker.register_by_ref(cx.waker());
}
