//! Listening on a Unix socket in the file system.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, chmod};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, bind as bind_socket, connect, listen};
use smol::Async;

use super::super::super::Failure;
use super::super::super::platform::stream_socket;
use super::queue::BACKLOG;

/// The access to the socket: who may write to it may connect (unix(7)).
const ACCESS: Mode = Mode::from_raw_mode(0o660);

/// The file of a socket, which is removed when this is dropped, unless another has its name.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// The file's device and number.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |file: &Metadata| (file.dev(), file.ino()) == self.identity;
        if fs::symlink_metadata(&self.path).is_ok_and(|file| is_ours(&file)) {
            // Left where it is, the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens on a socket with this path. A socket file that nobody listens on is replaced.
///
/// # Errors
///
/// When the path is in use, or can't be used.
pub(super) fn bind(path: &Path) -> Result<(Async<UnixListener>, SocketFile), Failure> {
    let failure = |error: io::Error| {
        let failure = Failure::misused(format!("can't listen on unix:{}: {error}", path.display()));
        match Errno::from_io_error(&error) {
            Some(Errno::ADDRINUSE) if !is_socket(path) => {
                failure.hint("that file is no socket, so tlsink leaves it")
            }
            Some(Errno::ADDRINUSE) => failure.hint("another program listens there; stop it first"),
            Some(Errno::NOENT) => failure.hint("the folder of a socket must exist"),
            Some(Errno::NAMETOOLONG | Errno::INVAL) => {
                failure.hint("the path of a socket has 107 bytes at most")
            }
            _ => failure,
        }
    };
    let bound = || -> io::Result<_> {
        let address = SocketAddrUnix::new(path)?;
        let socket = stream_socket(AddressFamily::UNIX)?;
        match bind_socket(&socket, &address) {
            Err(Errno::ADDRINUSE) if is_stale(path, &address) => {
                fs::remove_file(path)?;
                bind_socket(&socket, &address)?;
            }
            bound => bound?,
        }
        let file = fs::symlink_metadata(path)?;
        let file = SocketFile {
            path: path.to_owned(),
            identity: (file.dev(), file.ino()),
        };
        // Nobody can connect before `listen`, so nobody gets in with other access.
        chmod(path, ACCESS)?;
        listen(&socket, BACKLOG)?;
        Ok((Async::new(UnixListener::from(socket))?, file))
    };
    bound().map_err(failure)
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// Whether the path is that of a socket on which nobody listens. One whose queue is full, or that this
/// user may not connect to, is in use.
fn is_stale(path: &Path, address: &SocketAddrUnix) -> bool {
    is_socket(path)
        && stream_socket(AddressFamily::UNIX)
            .is_ok_and(|socket| connect(&socket, address) == Err(Errno::CONNREFUSED))
}
