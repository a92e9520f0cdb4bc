//! The queue of connections that wait to be accepted.

use std::fs;

/// The length of the accept queue. The system reduces it to net.core.somaxconn (listen(2)): 4,096
/// since Linux 5.4. The standard library asks for 128, and a peer that a full queue drops retries
/// only after a second.
pub(super) const BACKLOG: i32 = i32::MAX;

/// The limit of the system where it can't be read.
const SOMAXCONN: usize = 4096;

/// The most connections that wait in the queue of a socket that listens with [`BACKLOG`]. Linux lets
/// one more in than it was asked for.
pub(super) fn capacity() -> usize {
    let limit = setting("core/somaxconn").and_then(|text| text.parse().ok());
    limit.unwrap_or(SOMAXCONN).saturating_add(1)
}

/// A setting of the network (proc_sys_net(5); ip-sysctl in the documentation of Linux).
fn setting(path: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/net/{path}"));
    text.ok().map(|text| text.trim().to_owned())
}
