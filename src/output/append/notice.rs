//! Events of a writer that its operator may want to know.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

/// A function that is told notices.
pub(super) type OnNotice = Box<dyn FnMut(&AppendNotice) + Send>;

/// The same, for several threads.
pub(super) type SharedNotice = Arc<Mutex<OnNotice>>;

/// Something that an [`AppendWriter`](super::AppendWriter) did, or met, that its operator may want to know.
#[derive(Debug)]
#[non_exhaustive]
pub enum AppendNotice {
    /// A file was opened.
    Opened(PathBuf),
    /// A file has reached its size, and has a new name.
    Rotated {
        /// The path of the file until now.
        path: PathBuf,
        /// Its new path.
        to: PathBuf,
    },
    /// The disk has no space for a file, or a quota is used up. The writer waits until there is.
    Full {
        /// The path of the file.
        path: PathBuf,
        /// The error of the first try.
        error: io::Error,
    },
    /// There is space again.
    Space(PathBuf),
    /// A file could not be synced, so bytes in it may be missing. It is written to no more.
    SetAside {
        /// The path of the file until now.
        path: PathBuf,
        /// Its new path, or the error of the rename.
        to: io::Result<PathBuf>,
        /// The error of the sync.
        error: io::Error,
    },
    /// Another program has shortened a file while it was written to, as logrotate's copytruncate does.
    /// With a [`Journal`](super::Journal), that is not supported: lines may be lost.
    Shortened(PathBuf),
    /// A closed file was packed.
    Packed {
        /// The path of the file, which was removed.
        path: PathBuf,
        /// The path of the packed file.
        to: PathBuf,
    },
    /// A closed file could not be packed, and stays as it is. The next start tries it again.
    NotPacked {
        /// The path of the file.
        path: PathBuf,
        /// The error, which is no lack of space.
        error: io::Error,
    },
    /// A closed file was removed, because it is not to be kept.
    Removed(PathBuf),
    /// A closed file that is not to be kept could not be removed.
    NotRemoved {
        /// The path of the file.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
}

impl fmt::Display for AppendNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendNotice::Opened(path) => write!(f, "writing to {}", path.display()),
            AppendNotice::Rotated { path, to } => {
                let (path, to) = (path.display(), to.display());
                write!(f, "{path} has reached its size, and is now {to}")
            }
            AppendNotice::Full { path, error } => match error.kind() {
                // The file system has space, as df(1) shows, but not for us.
                ErrorKind::QuotaExceeded => write!(
                    f,
                    "the disk quota for {} is used up; waiting until there is space",
                    path.display()
                ),
                _ => write!(
                    f,
                    "no space left for {}; waiting until there is",
                    path.display()
                ),
            },
            AppendNotice::Space(path) => write!(f, "there is space for {} again", path.display()),
            AppendNotice::SetAside { path, to, error } => {
                write!(f, "can't sync {}: {error}; ", path.display())?;
                match to {
                    Ok(to) => write!(f, "it is now {}", to.display()),
                    Err(error) => write!(f, "it can't be set aside: {error}"),
                }
            }
            AppendNotice::Shortened(path) => write!(
                f,
                "another program has shortened {}, so lines may be lost",
                path.display()
            ),
            AppendNotice::Packed { path, to } => {
                write!(f, "{} is packed, and now {}", path.display(), to.display())
            }
            AppendNotice::NotPacked { path, error } => {
                write!(f, "can't pack {}: {error}", path.display())
            }
            AppendNotice::Removed(path) => {
                write!(f, "{} is not to be kept, and removed", path.display())
            }
            AppendNotice::NotRemoved { path, error } => {
                write!(f, "can't remove {}: {error}", path.display())
            }
        }
    }
}
