//! `--check`: loads what a start would load, looks at what it would open, and says what it would do.
//! Nothing is opened for writing and nothing is listened on: a tlsink that runs is not disturbed.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use tlsink::output::Timestamp;
use tlsink::tls::TlsVersion;

use super::super::Failure;
use super::super::args::{CertificateSource, Destination, ListenArgs, OutputFormat};
use super::super::listen_address::{ListenAddress, Place};
use super::super::say::Say;
use super::binary;
use super::credentials::Credentials;
use super::exec;
use super::file_limit::{max_programs, raise_file_limit};
use super::files::unusable;
use super::kafka;
use super::key_log::key_log_file;
use super::listener::{Bound, may_listen, resolve_host};
use super::reload::warn;
use super::{server_builder, unbuildable};

/// Checks everything that can be known before a start; returns what the start would do.
///
/// # Errors
///
/// With the first thing that would make it fail.
pub(super) fn check(args: &ListenArgs, say: &Say) -> Result<String, Failure> {
    let mut plan = String::new();
    let mut with_tls = Vec::new();
    for address in &args.addresses {
        let resolved = resolved(address)?;
        if !address.plain {
            with_tls.extend(resolved.iter().map(SocketAddr::ip));
        }
        let version = match (address.plain, args.tls.min) {
            (true, _) => "without TLS",
            (false, TlsVersion::Tls13) => "TLS 1.3",
            (false, _) => "TLS 1.2 or newer",
        };
        line(&mut plan, &format!("would listen on {address}, {version}"));
    }
    let credentials = Credentials::new(args.tls.clone(), with_tls)?;
    let tls = credentials.load()?;
    warn(&tls, say);
    if args.tls.key_log {
        key_log_file()?;
    }
    match &args.tls.certificate {
        CertificateSource::Files(_) => {}
        CertificateSource::SelfSigned(names) => line(
            &mut plan,
            &format!(
                "would make a self-signed certificate for {}",
                names.join(", ")
            ),
        ),
        CertificateSource::Loopback => line(
            &mut plan,
            "would make a self-signed certificate for this machine",
        ),
    }
    // A certificate that was made for this check is not the one that a start would make.
    let made = usize::from(credentials.fingerprint().is_some());
    for expiration in tls.expirations().iter().skip(made) {
        let end = Timestamp(expiration.end).to_string();
        let day = end.split('T').next().unwrap_or_default();
        let (kind, name) = (expiration.kind, &expiration.name);
        line(&mut plan, &format!("{kind} {name}, until {day}"));
    }
    line(
        &mut plan,
        match &args.tls.clients {
            None => "senders are not verified",
            Some(clients) if clients.optional => "senders with a certificate are verified",
            Some(_) => "senders are verified",
        },
    );
    let file_limit = raise_file_limit();
    check_destination(args, file_limit, say)?;
    line(&mut plan, &written(args));
    if let Some(address) = &args.status {
        resolved(address)?;
        line(
            &mut plan,
            &format!("would serve /metrics and /healthz on {address}"),
        );
    }
    let builder = server_builder(args, args.addresses.len(), file_limit)?;
    builder.build_lanes(args.lanes).map_err(unbuildable)?;
    Ok(plan)
}

fn line(plan: &mut String, text: &str) {
    // Writing to a String can't fail.
    let _ = writeln!(plan, "{text}");
}

/// The IP addresses of a place.
fn resolved(address: &ListenAddress) -> Result<Vec<SocketAddr>, Failure> {
    match &address.place {
        Place::Host(host) => {
            let resolved = smol::block_on(resolve_host(host))?;
            for one in &resolved {
                may_listen(address, &Bound::Ip(*one))?;
            }
            Ok(resolved)
        }
        Place::Unix(path) => {
            let folder = parent(path);
            check_folder(&folder).map_err(|error| {
                Failure::misused(format!(
                    "can't listen on {address}: {}: {error}",
                    folder.display()
                ))
            })?;
            Ok(Vec::new())
        }
        Place::Passed(_) => Ok(Vec::new()),
    }
}

/// Says how the output would be written.
fn written(args: &ListenArgs) -> String {
    let what = match &args.printer {
        OutputFormat::Lines(_) => "lines",
        OutputFormat::Raw => "bytes",
        OutputFormat::Json => "JSON",
    };
    match &args.destination {
        Destination::Stdout { .. } => format!("would write {what} to standard output"),
        Destination::File(path) => format!("would append {what} to {}", path.display()),
        Destination::Directory(directory) => format!(
            "would write each stream to a file in {}",
            directory.path.display()
        ),
        Destination::Exec(exec) => {
            format!("would run {} for each stream", exec.words.join(" "))
        }
        Destination::Kafka(kafka) => format!(
            "would write {what} to the topic {} of {}",
            kafka.topic, kafka.brokers
        ),
        Destination::Append(append) => match &append.file {
            Some(file) => format!("would append {what} to {}", file.display()),
            None => format!("would append {what} to files in {}", append.path.display()),
        },
    }
}

/// Looks whether the destination can be written.
fn check_destination(args: &ListenArgs, file_limit: Option<u64>, say: &Say) -> Result<(), Failure> {
    let folder = |path: &Path| check_folder(path).map_err(|error| unusable(path, &error));
    let state = match &args.destination {
        Destination::Exec(exec) => {
            exec::open(exec, max_programs(exec.max, file_limit)?, say)?;
            None
        }
        Destination::Kafka(args) => {
            kafka::check(args, say)?;
            None
        }
        Destination::Stdout { state, .. } => {
            binary::check(args)?;
            state.as_deref()
        }
        Destination::File(path) => {
            check_file(path)?;
            None
        }
        Destination::Directory(directory) => {
            folder(&directory.path)?;
            None
        }
        Destination::Append(append) => {
            match &append.file {
                Some(file) => check_file(file)?,
                None => folder(&append.path)?,
            }
            append.state.as_deref()
        }
    };
    match state {
        Some(state) => check_folder(state).map_err(|error| {
            Failure::misused(format!(
                "can't keep the state in {}: {error}",
                state.display()
            ))
        }),
        None => Ok(()),
    }
}

/// Looks whether a file can be written, or be made.
fn check_file(path: &Path) -> Result<(), Failure> {
    let can = match fs::metadata(path) {
        Ok(facts) if facts.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => access(path, Access::WRITE_OK).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => check_folder(&parent(path)),
        Err(error) => Err(error),
    };
    can.map_err(|error| Failure::misused(format!("can't open {}: {error}", path.display())))
}

/// Looks whether files can be made in a folder.
fn check_folder(folder: &Path) -> io::Result<()> {
    if !fs::metadata(folder)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
