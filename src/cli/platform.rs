//! Sockets and processes, as far as Linux and other systems differ.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType};
use rustix::process::Pid;

/// A stream socket that never blocks, and that child processes don't inherit.
///
/// # Errors
///
/// The errors of socket(2).
pub(super) fn stream_socket(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let socket = {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        rustix::net::socket_with(family, SocketType::STREAM, flags, None)?
    };
    #[cfg(not(target_os = "linux"))]
    let socket = {
        let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        socket
    };
    Ok(socket)
}

/// Whether a socket listens. Where the system does not tell, it is believed to.
///
/// # Errors
///
/// The errors of getsockopt(2).
pub(super) fn is_listening(socket: impl AsFd) -> rustix::io::Result<bool> {
    #[cfg(target_os = "linux")]
    return rustix::net::sockopt::socket_acceptconn(socket);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        Ok(true)
    }
}

/// Makes the system acknowledge at once, both later data and data that it has not acknowledged yet,
/// until the next write (tcp(7), `TCP_QUICKACK`). Where that fails, the connection is only slower.
pub(super) fn acknowledge_at_once(socket: impl AsFd) {
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_quickack(socket, true);
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

/// A descriptor that is readable once a process has ended (pidfd_open(2)).
///
/// # Errors
///
/// When there is no such process, and on systems without such descriptors.
pub(super) fn pidfd(process: Pid) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    return Ok(rustix::process::pidfd_open(
        process,
        rustix::process::PidfdFlags::empty(),
    )?);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = process;
        Err(io::ErrorKind::Unsupported.into())
    }
}
