//! The standard descriptors, as the parent process left them.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, stat};
use rustix::io::Errno;

/// Standard input, output or error, as a descriptor of our own.
///
/// # Errors
///
/// [`NotConnected`](io::ErrorKind::NotConnected) when it was closed at start. Other errors when no
/// descriptor is left.
pub(crate) fn own(stream: impl AsFd) -> io::Result<File> {
    if is_unconnected(stream.as_fd()) {
        return Err(io::ErrorKind::NotConnected.into());
    }
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}

/// Whether a standard descriptor was closed when the program started.
///
/// Before `main`, std opens `/dev/null` for reading and writing in the place of each closed one, so
/// that no other file gets its number. This is the only trace. Shells and systemd open `/dev/null`
/// for reading or for writing alone, so theirs can be told apart. Where standard error is such a
/// `/dev/null` too, it is taken as intended: daemon(3) and similar functions leave a program like
/// that.
fn is_unconnected(descriptor: BorrowedFd<'_>) -> bool {
    let stderr = io::stderr();
    let is_stderr = descriptor.as_raw_fd() == stderr.as_raw_fd();
    is_as_std_opens_it(descriptor) && (is_stderr || !is_as_std_opens_it(stderr.as_fd()))
}

fn is_as_std_opens_it(descriptor: BorrowedFd<'_>) -> bool {
    let (Ok(opened), Ok(null), Ok(flags)) = (
        fstat(descriptor),
        stat("/dev/null"),
        fcntl_getfl(descriptor),
    ) else {
        return false;
    };
    let is_device = FileType::from_raw_mode(opened.st_mode) == FileType::CharacterDevice;
    is_device && opened.st_rdev == null.st_rdev && flags & OFlags::RWMODE == OFlags::RDWR
}

/// More symbolic links than any system follows from one name.
const MOST_LINKS: usize = 40;

/// Finds the number of the program's own descriptor that a path stands for, directly or by symbolic
/// links: programs in container images write to standard output by one.
pub(crate) fn descriptor(path: &Path) -> Option<RawFd> {
    let mut path = PathBuf::from(path);
    for _ in 0..MOST_LINKS {
        let number = match path.to_str()? {
            "/dev/stdin" => Some(0),
            "/dev/stdout" => Some(1),
            "/dev/stderr" => Some(2),
            name => ["/dev/fd/", "/proc/self/fd/"]
                .iter()
                .find_map(|folder| name.strip_prefix(folder)?.parse().ok()),
        };
        if number.is_some() {
            return number;
        }
        let link = fs::read_link(&path).ok()?;
        path = path.parent()?.join(link);
    }
    None
}

/// Opens the inherited socket that a path such as `/dev/stdout` stands for. `error` is that of
/// opening the path: open(2) fails with ENXIO for a socket.
pub(crate) fn inherited_socket(path: &Path, error: &io::Error) -> Option<File> {
    if Errno::from_io_error(error) != Some(Errno::NXIO) {
        return None;
    }
    let file = by_number(descriptor(path)?).ok()?;
    // The program's own descriptors, which have numbers too, are of other kinds.
    file.metadata()
        .is_ok_and(|facts| facts.file_type().is_socket())
        .then_some(file)
}

#[cfg(target_os = "linux")]
fn by_number(number: RawFd) -> io::Result<File> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(process, number, PidfdGetfdFlags::empty())?.into())
}

#[cfg(not(target_os = "linux"))]
fn by_number(_: RawFd) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_name_of_a_descriptor_is_known_also_by_links() {
        let folder = tempfile::tempdir().unwrap();
        let link = |name: &str, target: &str| {
            let link = folder.path().join(name);
            symlink(target, &link).unwrap();
            link
        };
        for (path, number) in [
            ("/dev/stdin".into(), Some(0)),
            ("/dev/stdout".into(), Some(1)),
            ("/dev/fd/7".into(), Some(7)),
            ("/proc/self/fd/12".into(), Some(12)),
            (link("direct", "/dev/stderr"), Some(2)),
            (link("relative", "direct"), Some(2)),
            (link("nowhere", "none"), None),
            (link("circle", "circle"), None),
            (link("file", "/dev/null"), None),
            ("/dev/fd/x".into(), None),
            ("stdout".into(), None),
            ("/".into(), None),
        ] {
            assert_eq!(descriptor(&path), number, "{}", path.display());
        }
    }
}
