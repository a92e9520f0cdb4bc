//! The arguments of `tlsink cert`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::super::Failure;
use super::super::address::LOCAL_NAMES;

/// The certificates to make, and the directory to write them to.
#[derive(Debug)]
pub(crate) struct CertArgs {
    pub(crate) request: CertRequest,
    pub(crate) directory: PathBuf,
}

/// The certificates to make.
#[derive(Debug)]
pub(crate) enum CertRequest {
    /// A CA, a certificate for a server of these names, and one for a client, both signed by the
    /// CA.
    All(Vec<String>),
    /// A certificate for a server of these names, signed by the CA in the directory.
    Server(Vec<String>),
    /// A certificate for a client of this name, signed by the CA in the directory.
    Client(String),
}

pub(super) fn parse(free: Vec<OsString>) -> Result<CertArgs, Failure> {
    // An argument that is not UTF-8 is not a valid name, nor is its lossy form.
    let mut names: Vec<String> = free
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.pop();
    let request = match (free.first().and_then(|word| word.to_str()), &names[..]) {
        (Some("server"), [_, names @ ..]) if !names.is_empty() => CertRequest::Server(names.into()),
        (Some("server"), _) => {
            return Err(Failure::misused("cert server needs names and a directory")
                .hint("tlsink cert server NAMES... DIR, where DIR has a CA"));
        }
        (Some("client"), [_, name]) => CertRequest::Client(name.clone()),
        (Some("client"), _) => {
            return Err(
                Failure::misused("cert client needs one name and a directory")
                    .hint("tlsink cert client NAME DIR, where DIR has a CA; once for each client"),
            );
        }
        (_, []) => CertRequest::All(LOCAL_NAMES.map(str::to_owned).into()),
        (_, _) => CertRequest::All(names),
    };
    let Some(directory) = free.last() else {
        return Err(Failure::misused("cert needs a directory to write into")
            .hint("tlsink cert DIR, or tlsink cert NAMES... DIR"));
    };
    Ok(CertArgs {
        request,
        directory: PathBuf::from(directory),
    })
}
