//! A host in place of the directory, which the user forgot.

use std::net::IpAddr;

use rcgen::SanType;

use super::super::Failure;
use super::super::args::{CertArgs, CertRequest};
use super::super::certificate::subject_name;

/// Refuses a directory whose name looks like a host, unless it exists: the user forgot DIR.
pub(super) fn refuse_host(args: &CertArgs) -> Result<(), Failure> {
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

/// Whether this looks like a host rather than a folder: `localhost`, an address, or a DNS name with
/// a dot in it, perhaps with a port.
fn looks_like_host(text: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match text.rsplit_once(':') {
        Some((host, port)) if is_port(port) && text.parse::<IpAddr>().is_err() => host,
        _ => text,
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    match subject_name(host) {
        Ok(SanType::IpAddress(_)) => true,
        Ok(_) => host.contains('.') || host == "localhost",
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::looks_like_host;

    #[test]
    fn a_host_is_told_from_a_folder() {
        for host in [
            "logs.example.net",
            "logs.example.net.",
            "logs.example.net:4433",
            "*.example.net",
            "localhost",
            "localhost:4433",
            "10.0.0.7",
            "10.0.0.7:4433",
            "::1",
            "[::1]:4433",
        ] {
            assert!(looks_like_host(host), "{host}");
        }
        for folder in [
            "",
            ".",
            "..",
            "tls",
            "tls/",
            "./logs.example.net",
            "logs.example.net/",
            "/etc/tls.d",
            ".tls",
            "my certificates",
            "~/a.b",
        ] {
            assert!(!looks_like_host(folder), "{folder}");
        }
    }
}
