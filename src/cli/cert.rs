//! The command `cert`: a CA, and certificates for servers and clients signed by it, as files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use tlsink::tls::{Identity, TlsError};

use super::Failure;
use super::args::{CertArgs, CertRequest};
use super::certificate::{
    Authority, CertificateAndKey, ClientName, looks_like_host, subject_names,
};
use super::say::Say;
use super::unusable::unusable;

/// Makes the certificates and writes them, all or none.
///
/// # Errors
///
/// When a name can't be in a certificate, when files of these names exist, or when they can't be
/// written.
pub(crate) fn run(args: &CertArgs, say: &Say) -> Result<(), Failure> {
    let directory = args.directory.as_path();
    refuse_host(args)?;
    match &args.request {
        CertRequest::All(names) => all(names, directory, say),
        CertRequest::Server(names) => server(names, directory, say),
        CertRequest::Client(name) => client(name, directory, say),
    }
}

fn all(names: &[String], directory: &Path, say: &Say) -> Result<(), Failure> {
    let alternative = server_names(names)?;
    let [ca, server, client] = (|| {
        let authority = Authority::new()?;
        let server = authority.server(alternative)?;
        let client = authority.client(ClientName::new(ClientName::DEFAULT)?)?;
        Ok([authority.into_own()?, server, client])
    })()
    .map_err(unmade)?;
    let items = [("ca", &ca), ("server", &server), ("client", &client)];
    let items: Vec<PemFile> = items
        .into_iter()
        .flat_map(|(name, made)| pair(name, made))
        .collect();
    refuse_to_overwrite(directory, &items)?;
    make_directory(directory)?;
    write_and_say(directory, &items, say)?;
    say_server(names, &server, say);
    say_examples(examples(directory), say);
    Ok(())
}

fn server(names: &[String], directory: &Path, say: &Say) -> Result<(), Failure> {
    let alternative = server_names(names)?;
    let made = authority_in(directory)?
        .server(alternative)
        .map_err(unmade)?;
    let name = format!(
        "server-{}",
        names
            .first()
            .map_or_else(String::new, |name| file_name(name))
    );
    let items = pair(&name, &made);
    refuse_to_overwrite(directory, &items)?;
    write_and_say(directory, &items, say)?;
    say_server(names, &made, say);
    say_examples(serving(directory, &name), say);
    Ok(())
}

fn client(name: &str, directory: &Path, say: &Say) -> Result<(), Failure> {
    let client = ClientName::new(name).map_err(|error| {
        Failure::misused(error).hint(
            "give a name such as boiler.example, an address, an e-mail address, a URI, or any \
             other text of one line",
        )
    })?;
    let made = authority_in(directory)?.client(client).map_err(unmade)?;
    let file = format!("client-{}", file_name(name));
    let items = pair(&file, &made);
    refuse_to_overwrite(directory, &items)?;
    write_and_say(directory, &items, say)?;
    say.info(&format!(
        "client certificate for {name}, sha256 {}",
        made.fingerprint()
    ));
    say_examples(sending(directory, &file), say);
    Ok(())
}

fn server_names(names: &[String]) -> Result<Vec<rcgen::SanType>, Failure> {
    subject_names(names).map_err(|error| {
        Failure::misused(error).hint(
            "give names such as sink.example or *.sink.example, and addresses without port, \
             separated by spaces; the last argument is the directory",
        )
    })
}

fn unmade(error: String) -> Failure {
    Failure::failed(format!("can't make certificates: {error}"))
}

/// Refuses a directory whose name looks like a host, unless it exists: the user forgot DIR.
fn refuse_host(args: &CertArgs) -> Result<(), Failure> {
    let Some(directory) = args.directory.to_str() else {
        return Ok(());
    };
    if !looks_like_host(directory) || args.directory.is_dir() {
        return Ok(());
    }
    let before = match &args.request {
        CertRequest::All(_) => "",
        CertRequest::Server(_) => "server ",
        CertRequest::Client(_) => "client ",
    };
    Err(Failure::misused(format!(
        "{directory} looks like a host, and the last argument is the directory to write into"
    ))
    .hint(format!(
        "tlsink cert {before}{directory} DIR makes a certificate for it; a directory of that name \
         is given as ./{directory}"
    )))
}

/// Reads the CA that is in the directory: an earlier run wrote it, or another program.
fn authority_in(directory: &Path) -> Result<Authority, Failure> {
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
struct PemFile {
    name: String,
    /// Its permissions, which it has from its first byte on, before the umask.
    mode: u32,
    text: String,
}

/// The files of a certificate and its key.
fn pair(name: &str, made: &CertificateAndKey) -> [PemFile; 2] {
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
fn file_name(name: &str) -> String {
    let is_plain = |c: &char| c.is_alphanumeric() || ".-_@+".contains(*c);
    name.chars()
        .map(|c| if is_plain(&c) { c } else { '_' })
        .collect()
}

fn write_and_say(directory: &Path, items: &[PemFile], say: &Say) -> Result<(), Failure> {
    write(directory, items)?;
    let names: Vec<&str> = items.iter().map(|item| &*item.name).collect();
    say.info(&format!(
        "wrote {} to {}",
        names.join(" "),
        directory.display()
    ));
    Ok(())
}

fn say_server(names: &[String], made: &CertificateAndKey, say: &Say) {
    say.info(&format!(
        "server certificate for {}, sha256 {}",
        names.join(" "),
        made.fingerprint()
    ));
}

fn say_examples(examples: Option<impl IntoIterator<Item = String>>, say: &Say) {
    for example in examples.into_iter().flatten() {
        say.info(&format!("try: {example}"));
    }
}

/// Names all files that exist, before anything is written. A dangling symbolic link counts as one.
fn refuse_to_overwrite(directory: &Path, items: &[PemFile]) -> Result<(), Failure> {
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

fn make_directory(directory: &Path) -> Result<(), Failure> {
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

fn write(directory: &Path, items: &[PemFile]) -> Result<(), Failure> {
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

/// Commands that use the files; `None` if the directory's name does not fit on a line.
fn examples(directory: &Path) -> Option<[String; 2]> {
    let ca = word(directory, "ca.pem")?;
    let [serve] = serving(directory, "server")?;
    Some([
        serve,
        format!(
            "echo hello | gzip | openssl s_client -connect 127.0.0.1:4433 -CAfile {ca} \
             -verify_return_error -quiet -no_ign_eof -nocommands"
        ),
    ])
}

fn serving(directory: &Path, name: &str) -> Option<[String; 1]> {
    let certificate = word(directory, &format!("{name}.pem"))?;
    let key = word(directory, &format!("{name}.key"))?;
    Some([format!("tlsink --cert {certificate} --key {key}")])
}

fn sending(directory: &Path, name: &str) -> Option<[String; 1]> {
    let ca = word(directory, "ca.pem")?;
    let certificate = word(directory, &format!("{name}.pem"))?;
    let key = word(directory, &format!("{name}.key"))?;
    Some([format!(
        "tlsink send --ca {ca} --cert {certificate} --key {key} localhost:4433"
    )])
}

fn word(directory: &Path, name: &str) -> Option<String> {
    shell_word(directory.join(name).to_str()?)
}

/// Quotes a word for a shell, if it needs that (POSIX, XCU 2.2.2).
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
