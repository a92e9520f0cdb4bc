//! The command `cert`: a CA, and certificates for servers and clients signed by it, as files.

use std::path::Path;

use super::Failure;
use super::args::{CertArgs, CertRequest};
use super::certificate::{CertificateAndKey, subject_names};
use super::say::Say;

mod authority;
mod client_name;
mod examples;
mod files;
mod host;

use authority::Authority;
use client_name::ClientName;
use examples::{examples, sending, serving};
use files::{PemFile, authority_in, file_name, make_directory, pair, refuse_to_overwrite, write};
use host::refuse_host;

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
