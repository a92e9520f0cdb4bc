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
    let Some(host) = host_in(directory).filter(|_| !args.directory.is_dir()) else {
        return Ok(());
    };
    let before = match &args.request {
        CertRequest::All(_) => "",
        CertRequest::Server(_) => "server ",
        CertRequest::Client(_) => "client ",
    };
    Err(Failure::misused(format!(
        "{directory} looks like a host, and the last argument is the directory to write into"
    ))
    .hint(format!(
        "tlsink cert {before}{host} DIR makes a certificate for it; a directory of that name is \
         given as ./{directory}"
    )))
}

/// The host that this looks like, rather than a folder: `localhost`, an address, or a DNS name with
/// a dot in it, perhaps with a port or as a URL.
fn host_in(text: &str) -> Option<&str> {
    let (text, is_url) = match text.split_once("://") {
        Some((_, behind)) => (behind.split('/').next().unwrap_or_default(), true),
        None => (text, false),
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match text.rsplit_once(':') {
        Some((host, port)) if is_port(port) && text.parse::<IpAddr>().is_err() => host,
        _ => text,
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_host = match subject_name(name) {
        Ok(SanType::IpAddress(_)) => true,
        Ok(_) => name.contains('.') || name == "localhost" || is_url,
        Err(_) => false,
    };
    is_host.then_some(host)
}

#[cfg(test)]
mod tests {
    use super::host_in;

    #[test]
    fn a_host_is_told_from_a_folder() {
        for (text, host) in [
            ("logs.example.net", "logs.example.net"),
            ("logs.example.net.", "logs.example.net."),
            ("logs.example.net:4433", "logs.example.net"),
            ("https://logs.example.net:443/a/b", "logs.example.net"),
            ("https://logs", "logs"),
            ("*.example.net", "*.example.net"),
            ("localhost", "localhost"),
            ("localhost:4433", "localhost"),
            ("10.0.0.7", "10.0.0.7"),
            ("10.0.0.7:4433", "10.0.0.7"),
            ("::1", "::1"),
            ("[::1]:4433", "::1"),
        ] {
            assert_eq!(host_in(text), Some(host));
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
            "https://",
        ] {
            assert_eq!(host_in(folder), None, "{folder}");
        }
    }
}
