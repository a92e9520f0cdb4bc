//! The files in the directory: the CA that is read from it, and the pairs of certificate and key that
//! are written to it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use tlsink::tls::{Identity, TlsError};

use super::super::Failure;
use super::super::certificate::CertificateAndKey;
use super::super::unusable::unusable;
use super::authority::Authority;

/// Reads the CA that is in the directory: an earlier run wrote it, or another program.
pub(super) fn authority_in(directory: &Path) -> Result<Authority, Failure> {
    let [certificate, key] = ["ca.pem", "ca.key"].map(|name| directory.join(name));
    let shown = directory.display();
    if !certificate.exists() && !key.exists() {
        return Err(
            Failure::misused(format!("{shown} has no CA: no ca.pem and no ca.key"))
                .hint(format!("tlsink cert {shown} makes one there")),
        );
    }
    Identity::from_pem_files(&certificate, &key).map_err(|error| match &error {
        TlsError::File { source, .. } if matches!(**source, TlsError::WrongKey) => {
            Failure::misused(error.to_string()).hint("ca.pem and ca.key must belong together")
        }
        _ => unusable(error),
    })?;
    let read = |path: &Path| {
        fs::read(path)
            .map_err(|error| Failure::misused(format!("can't read {}: {error}", path.display())))
    };
    Authority::from_pem(&read(&certificate)?, &read(&key)?).map_err(|error| {
        Failure::misused(format!("the CA in {shown} can't be used: {error}")).hint(
            "ca.pem is a CA's certificate, and ca.key its key in PKCS#8: openssl pkcs8 -topk8 \
             -nocrypt makes that of other keys",
        )
    })
}

/// A file to be written.
pub(super) struct PemFile {
    pub(super) name: String,
    /// Its permissions, which it has from its first byte on, before the umask.
    mode: u32,
    text: String,
}

/// The files of a certificate and its key.
pub(super) fn pair(name: &str, made: &CertificateAndKey) -> [PemFile; 2] {
    [
        PemFile {
            name: format!("{name}.pem"),
            mode: 0o644,
            text: made.certificate_pem(),
        },
        PemFile {
            name: format!("{name}.key"),
            mode: 0o600,
            text: made.key_pem(),
        },
    ]
}

/// Makes a name a part of a file's name: characters that mean something to a shell, to another
/// system or in a path become underscores.
pub(super) fn file_name(name: &str) -> String {
    let is_plain = |c: &char| c.is_alphanumeric() || ".-_@+".contains(*c);
    name.chars()
        .map(|c| if is_plain(&c) { c } else { '_' })
        .collect()
}

/// Names all files that exist, before anything is written. A dangling symbolic link counts as one.
pub(super) fn refuse_to_overwrite(directory: &Path, items: &[PemFile]) -> Result<(), Failure> {
    let present: Vec<&str> = items
        .iter()
        .map(|item| &*item.name)
        .filter(|name| fs::symlink_metadata(directory.join(name)).is_ok())
        .collect();
    if present.is_empty() {
        return Ok(());
    }
    let directory = directory.display();
    Err(
        Failure::misused(format!("{directory} already has {}", present.join(" ")))
            .hint("no file is overwritten: give another directory, or move these files away first"),
    )
}

pub(super) fn make_directory(directory: &Path) -> Result<(), Failure> {
    // With a lax umask, other users could replace these keys.
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory);
    let shown = directory.display();
    made.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::misused(format!("{shown} is not a directory"))
            .hint("the last argument is the directory to write into"),
        ErrorKind::NotADirectory => Failure::misused(format!("can't make {shown}: {error}")),
        _ => Failure::failed(format!("can't make {shown}: {error}")),
    })
}

/// Writes the files, all or none.
pub(super) fn write(directory: &Path, items: &[PemFile]) -> Result<(), Failure> {
    let mut created = Vec::new();
    for item in items {
        let path = directory.join(&item.name);
        let written = create(&path, item.mode).and_then(|mut file| {
            created.push(&*item.name);
            file.write_all(item.text.as_bytes())
        });
        if let Err(error) = written {
            let removed = remove(directory, &created);
            let path = path.display();
            return Err(Failure::failed(format!(
                "can't write {path}: {error}{removed}"
            )));
        }
    }
    Ok(())
}

/// Creates a file that must not exist; O_EXCL also catches one that another program has just made.
fn create(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

/// Removes the files that were written before an error, and describes the result.
fn remove(directory: &Path, created: &[&str]) -> String {
    let (removed, left): (Vec<&str>, Vec<&str>) = created
        .iter()
        .partition(|name| fs::remove_file(directory.join(name)).is_ok());
    let mut said = String::new();
    for (names, what) in [(removed, "removed"), (left, "could not remove")] {
        if !names.is_empty() {
            said.push_str(&format!("; {what} {}", names.join(" ")));
        }
    }
    said
}
