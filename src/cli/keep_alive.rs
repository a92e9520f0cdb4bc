//! TCP keep-alive (RFC 9293, section 3.8.4).

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// A peer that has vanished is given up after a minute without a word and four questions, each
/// fifteen seconds after the other, without an answer.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEP_ALIVE_COUNT: u32 = 4;

/// Without it, the place of a peer that vanished would never be free again. Where it can't be set,
/// the connection is none the worse for it.
pub(super) fn keep_alive(socket: impl AsFd) {
    let _ = sockopt::set_socket_keepalive(&socket, true);
    let _ = sockopt::set_tcp_keepidle(&socket, KEEP_ALIVE_IDLE);
    let _ = sockopt::set_tcp_keepintvl(&socket, KEEP_ALIVE_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(&socket, KEEP_ALIVE_COUNT);
}
