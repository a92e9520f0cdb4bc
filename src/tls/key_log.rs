//! A file with the secrets of connections, so that a capture of their traffic can be decrypted (the
//! format of NSS, which Wireshark reads).

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use rustls::{KeyLog, NoKeyLog};

use crate::tls::error::TlsError;

/// The file's permissions: its owner alone may read and write it.
#[cfg(unix)]
const MODE: u32 = 0o600;

/// Opens the file of this name for appending. Without a name, nothing is logged.
pub(super) fn open(path: Option<&OsStr>) -> Result<Arc<dyn KeyLog>, TlsError> {
    let Some(path) = path.filter(|path| !path.is_empty()).map(Path::new) else {
        return Ok(Arc::new(NoKeyLog {}));
    };
    let failed = |source| TlsError::KeyLog {
        path: path.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, MODE);
    let file = options.open(path).map_err(failed)?;
    // The file may have existed before: other programs leave its permissions to the umask.
    match exposed(&file.metadata().map_err(failed)?) {
        None => Ok(Arc::new(KeyLogFile(file))),
        Some(mode) => Err(TlsError::ExposedKeyLog {
            path: path.to_owned(),
            mode,
        }),
    }
}

/// The permissions, if others than the owner have some. Terminals and pipes keep nothing.
#[cfg(unix)]
fn exposed(file: &Metadata) -> Option<u32> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777;
    (file.is_file() && mode & !MODE != 0).then_some(mode)
}

#[cfg(not(unix))]
fn exposed(_: &Metadata) -> Option<u32> {
    None
}

struct KeyLogFile(File);

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = format!("{label} ");
        let mut add = |bytes: &[u8], end| {
            for byte in bytes {
                let _ = write!(line, "{byte:02x}");
            }
            line.push(end);
        };
        add(client_random, ' ');
        add(secret, '\n');
        // One call writes a line, so that lines of several threads stay apart. A full disk does not
        // end a handshake.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn it_is_for_its_owner_alone_whenever_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.log");
        let log = |secret| {
            let log = open(Some(path.as_os_str())).unwrap();
            log.log("CLIENT_RANDOM", &[1, 0xab], secret);
        };
        log(&[2]);
        assert_eq!(mode(&path), 0o600);
        log(&[3]);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "CLIENT_RANDOM 01ab 02\nCLIENT_RANDOM 01ab 03\n");
        fs::remove_file(&path).unwrap();
        log(&[4]);
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_file_that_others_may_read_or_write_gets_no_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.log");
        fs::write(&path, "").unwrap();
        for open_to in [0o640, 0o604, 0o602, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open_to)).unwrap();
            match open(Some(path.as_os_str())).err() {
                Some(TlsError::ExposedKeyLog { mode, .. }) => assert_eq!(mode, open_to),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        for closed in [0o600, 0o200] {
            fs::set_permissions(&path, fs::Permissions::from_mode(closed)).unwrap();
            assert!(open(Some(path.as_os_str())).is_ok());
        }
        assert!(open(Some("/dev/null".as_ref())).is_ok());
        assert!(open(None).is_ok());
        assert!(open(Some("".as_ref())).is_ok());
    }
}
