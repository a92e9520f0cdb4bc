//! The queue of connections that wait to be accepted.

use std::fs;

use super::super::super::say::Say;

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

/// Says which connections an upgrade by `--reuse-port` resets: those whose handshake (RFC 9293, section
/// 3.5) is not completed, or was completed after this program accepted for the last time. Linux hands
/// them to the other programs on the port only if it is told to.
pub(crate) fn say_unless_handed_on(say: &Say) {
    if setting("ipv4/tcp_migrate_req").as_deref() != Some("1") {
        say.info(
            "when this program stops, the system resets connections that it has not accepted, \
             unless net.ipv4.tcp_migrate_req=1 (Linux 5.14) was set before",
        );
    }
}

/// A setting of the network (proc_sys_net(5); ip-sysctl in the documentation of Linux).
fn setting(path: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/net/{path}"));
    text.ok().map(|text| text.trim().to_owned())
}
