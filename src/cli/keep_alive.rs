//! TCP keep-alive (RFC 9293, section 3.8.4).

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// A vanished peer is given up after a minute of silence and six unanswered probes, ten seconds
/// apart.
///
/// The probes also keep an idle connection known to balancers and address translators, which forget it
/// in silence: those of AWS after 350 seconds.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_COUNT: u32 = 6;

/// Turns keep-alive on. Without it, the place of a vanished peer would never be free again. Where
/// an option can't be set, the connection works all the same.
pub(super) fn keep_alive(socket: impl AsFd) {
    let _ = sockopt::set_socket_keepalive(&socket, true);
    let _ = sockopt::set_tcp_keepidle(&socket, KEEP_ALIVE_IDLE);
    let _ = sockopt::set_tcp_keepintvl(&socket, KEEP_ALIVE_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(&socket, KEEP_ALIVE_COUNT);
}
