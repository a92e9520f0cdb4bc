//! The command `cert`: a CA, and a server's and a client's certificate signed by it, as files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::Failure;
use super::args::Cert;
use super::certificate::{Authority, subject_names};
use super::say::Say;

/// Makes the certificates and writes them, all or none.
///
/// # Errors
///
/// With the name that can't be in a certificate, with the files that are there already, or with
/// what keeps them from being written.
pub(crate) fn run(args: &Cert, say: &Say) -> Result<(), Failure> {
    let directory = args.directory.as_path();
    let names = subject_names(&args.names).map_err(|error| {
        Failure::misused(error).hint(
            "give names such as sink.example or *.sink.example, and addresses without port, \
             separated by spaces; the last argument is the directory",
        )
    })?;
    let made = Authority::new(names)
        .map_err(|error| Failure::failed(format!("can't make certificates: {error}")))?;
    let items = items(&made);
    refuse_to_overwrite(directory, &items)?;
    make_directory(directory)?;
    write(directory, &items)?;

    let written = items.map(|item| item.name).join(" ");
    say.info(&format!("wrote {written} to {}", directory.display()));
    say.info(&format!(
        "server certificate for {}, sha256 {}",
        args.names.join(" "),
        made.server.fingerprint()
    ));
    for example in examples(directory).into_iter().flatten() {
        say.info(&format!("try: {example}"));
    }
    Ok(())
}

/// What is to become a file.
struct Item {
    name: &'static str,
    /// Its permissions from its first byte on, less what the umask takes away.
    mode: u32,
    text: String,
}

fn items(made: &Authority) -> [Item; 6] {
    let certificate = |name, text| Item {
        name,
        mode: 0o644,
        text,
    };
    let key = |name, text| Item {
        name,
        mode: 0o600,
        text,
    };
    [
        certificate("ca.pem", made.ca.certificate_pem()),
        key("ca.key", made.ca.key_pem()),
        certificate("server.pem", made.server.certificate_pem()),
        key("server.key", made.server.key_pem()),
        certificate("client.pem", made.client.certificate_pem()),
        key("client.key", made.client.key_pem()),
    ]
}

/// Looks before anything is written, so that all that is in the way is named at once. A link that
/// leads nowhere is in the way too.
fn refuse_to_overwrite(directory: &Path, items: &[Item]) -> Result<(), Failure> {
    let present: Vec<&str> = items
        .iter()
        .map(|item| item.name)
        .filter(|name| fs::symlink_metadata(directory.join(name)).is_ok())
        .collect();
    if present.is_empty() {
        return Ok(());
    }
    let directory = directory.display();
    Err(
        Failure::misused(format!("{directory} already has {}", present.join(" ")))
            .hint("nothing is overwritten: give another directory, or move them away first"),
    )
}

fn make_directory(directory: &Path) -> Result<(), Failure> {
    // Whatever the umask, nobody else may put other keys in place of these.
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

fn write(directory: &Path, items: &[Item]) -> Result<(), Failure> {
    let mut created = Vec::new();
    for item in items {
        let path = directory.join(item.name);
        let written = create(&path, item.mode).and_then(|mut file| {
            created.push(item.name);
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

/// Creates what is not there yet, as O_EXCL sees to, even where something came there just now.
fn create(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

/// Takes half of the work back, and says so.
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

/// Commands that use the files, unless the directory's name can't be said on a line.
fn examples(directory: &Path) -> Option<[String; 2]> {
    let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"]
        .map(|name| shell_word(directory.join(name).to_str()?));
    let (ca, certificate, key) = (ca?, certificate?, key?);
    Some([
        format!("tlsink --cert {certificate} --key {key}"),
        format!(
            "echo hello | gzip | openssl s_client -connect 127.0.0.1:4433 -CAfile {ca} \
             -verify_return_error -quiet -no_ign_eof -nocommands"
        ),
    ])
}

/// Quotes what a shell would not take as it is for one word (POSIX, XCU 2.2.2).
fn shell_word(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,+@%".contains(c);
    if text.contains(char::is_control) {
        None
    } else if text.chars().all(plain) {
        Some(text.to_owned())
    } else {
        Some(format!("'{}'", text.replace('\'', r"'\''")))
    }
}
