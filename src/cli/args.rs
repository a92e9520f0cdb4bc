//! The command line, parsed: what comes out of here can be run.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use pico_args::{Arguments, Error, Keys};
use tlsink::TlsVersion;
use tlsink::decode::Format;

use super::say::Level;
use super::{Failure, help, value};

/// What the program is to do.
pub(crate) enum Command {
    Print(&'static str),
    Listen(Box<Listen>),
    Cert(Cert),
}

/// How to receive. What is not given is for the library to choose.
#[derive(Debug)]
pub(crate) struct Listen {
    /// `HOST:PORT` each, at least one.
    pub(crate) addresses: Vec<String>,
    pub(crate) tls: Tls,
    pub(crate) decode: Format,
    pub(crate) printer: Printer,
    pub(crate) max_line: Option<usize>,
    pub(crate) output: Option<PathBuf>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_per_ip: Option<usize>,
    pub(crate) handshake_timeout: Option<Option<Duration>>,
    pub(crate) idle_timeout: Option<Option<Duration>>,
    pub(crate) max_decoded: Option<u64>,
    pub(crate) max_window: Option<u64>,
    pub(crate) max_memory: Option<usize>,
    pub(crate) drain: Duration,
    pub(crate) once: bool,
    pub(crate) stats: bool,
    pub(crate) level: Level,
    pub(crate) threads: usize,
    pub(crate) lanes: usize,
}

/// What is presented to senders, and asked of them.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) certificate: Certificate,
    pub(crate) clients: Option<Clients>,
    pub(crate) min: TlsVersion,
    pub(crate) key_log: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Certificate {
    /// A chain and its key each, at least one.
    Files(Vec<(PathBuf, PathBuf)>),
    /// For these names, on any address.
    SelfSigned(Vec<String>),
    /// For this machine, on loopback addresses alone.
    Loopback,
}

/// How senders are verified.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    pub(crate) ca: PathBuf,
    pub(crate) optional: bool,
    pub(crate) allow: Vec<String>,
    pub(crate) crls: Vec<PathBuf>,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Printer {
    Lines { label: bool },
    Raw,
}

const COMMANDS: [&str; 2] = ["listen", "cert"];

const DEFAULT_ADDRESS: &str = "127.0.0.1:4433";

/// What this machine calls itself.
pub(crate) const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const DRAIN: Duration = Duration::from_secs(10);

/// Takes the program's arguments apart.
///
/// # Errors
///
/// With what is wrong with them, for the user.
pub(crate) fn parse(mut args: Arguments) -> Result<Command, Failure> {
    if args.contains("--help") {
        return Ok(Command::Print(help::LONG));
    }
    if args.contains("-h") {
        return Ok(Command::Print(help::SHORT));
    }
    if args.contains(["-V", "--version"]) {
        return Ok(Command::Print(help::VERSION));
    }
    match args.subcommand().map_err(not_unicode)?.as_deref() {
        None | Some("listen") => {
            let listen = parse_listen(&mut args)?;
            match args.finish().first() {
                None => Ok(Command::Listen(Box::new(listen))),
                Some(left) => Err(unexpected(left)),
            }
        }
        Some("cert") => parse_cert(args.finish()).map(Command::Cert),
        Some(other) => {
            Err(Failure::misused(format!("unknown command {other}")).hint(nearest(other, COMMANDS)))
        }
    }
}

fn parse_listen(args: &mut Arguments) -> Result<Listen, Failure> {
    let mut addresses = all(|| option(args, ["-l", "--listen"], value::address))?;
    if addresses.is_empty() {
        addresses.push(DEFAULT_ADDRESS.to_owned());
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Ok(Listen {
        addresses,
        tls: Tls {
            certificate: parse_certificate(args)?,
            clients: parse_clients(args)?,
            min: option(args, "--tls-min", tls_version)?.unwrap_or(TlsVersion::Tls12),
            key_log: args.contains("--key-log"),
        },
        decode: option(args, ["-d", "--decode"], format)?.unwrap_or(Format::Auto),
        printer: parse_printer(args)?,
        max_line: option(args, "--max-line", value::memory)?,
        output: path(args, ["-o", "--output"])?,
        max_connections: option(args, "--max-connections", value::count)?,
        max_per_ip: option(args, "--max-per-ip", value::count)?,
        handshake_timeout: option(args, "--handshake-timeout", value::seconds)?,
        idle_timeout: option(args, "--idle-timeout", value::seconds)?,
        max_decoded: option(args, "--max-decoded", value::size)?,
        max_window: option(args, "--max-window", value::size)?,
        max_memory: option(args, "--max-memory", value::memory)?,
        drain: option(args, "--drain", value::duration)?.unwrap_or(DRAIN),
        once: args.contains("--once"),
        stats: args.contains("--stats"),
        level: parse_level(args)?,
        threads: option(args, "--threads", value::threads)?.unwrap_or(cores),
        lanes: option(args, "--lanes", value::threads)?.unwrap_or(cores),
    })
}

fn parse_printer(args: &mut Arguments) -> Result<Printer, Failure> {
    let parse = |name: &str| match name {
        "lines" | "raw" => Ok(name.to_owned()),
        _ => Err("expected lines or raw".to_owned()),
    };
    let raw = option(args, ["-f", "--format"], parse)?.is_some_and(|name| name == "raw");
    match (raw, args.contains("--label")) {
        (true, true) => Err(Failure::misused("--label needs --format lines")),
        (true, false) => Ok(Printer::Raw),
        (false, label) => Ok(Printer::Lines { label }),
    }
}

fn parse_level(args: &mut Arguments) -> Result<Level, Failure> {
    let verbose = args.contains(["-v", "--verbose"]);
    match (verbose, args.contains(["-q", "--quiet"])) {
        (true, true) => Err(Failure::misused("-v and -q can't be combined")),
        (true, false) => Ok(Level::Detail),
        (false, true) => Ok(Level::Error),
        (false, false) => Ok(Level::Info),
    }
}

fn parse_certificate(args: &mut Arguments) -> Result<Certificate, Failure> {
    let chains = all(|| path(args, ["-c", "--cert"]))?;
    let keys = all(|| path(args, ["-k", "--key"]))?;
    let names = option(args, "--self-signed", names)?;
    let unpaired = |option: &str, missing: &str| {
        Failure::misused(format!("{option} needs {missing}"))
            .hint("if both are in one file, name it twice")
    };
    match (chains.len().cmp(&keys.len()), names) {
        (_, Some(_)) if !chains.is_empty() || !keys.is_empty() => Err(Failure::misused(
            "--self-signed can't be combined with --cert and --key",
        )),
        (_, Some(names)) => Ok(Certificate::SelfSigned(names)),
        (Ordering::Greater, None) if keys.is_empty() => Err(unpaired("--cert", "--key")),
        (Ordering::Less, None) if chains.is_empty() => Err(unpaired("--key", "--cert")),
        (Ordering::Greater, None) => Err(unpaired("each --cert", "its --key")),
        (Ordering::Less, None) => Err(unpaired("each --key", "its --cert")),
        (Ordering::Equal, None) if chains.is_empty() => Ok(Certificate::Loopback),
        (Ordering::Equal, None) => Ok(Certificate::Files(chains.into_iter().zip(keys).collect())),
    }
}

fn parse_clients(args: &mut Arguments) -> Result<Option<Clients>, Failure> {
    let ca = path(args, "--client-ca")?;
    let optional = option(args, "--client-auth", client_auth)?;
    let allow = all(|| option(args, "--allow-client", name))?;
    let crls = all(|| path(args, "--crl"))?;
    let Some(ca) = ca else {
        let alone = [
            ("--client-auth", optional.is_some()),
            ("--allow-client", !allow.is_empty()),
            ("--crl", !crls.is_empty()),
        ];
        return match alone.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Failure::misused(format!("{option} needs --client-ca"))),
            None => Ok(None),
        };
    };
    let optional = optional.unwrap_or(false);
    if optional && !allow.is_empty() {
        return Err(Failure::misused(
            "--allow-client can't be combined with --client-auth optional",
        )
        .hint("who presents no certificate would be let in without any name"));
    }
    Ok(Some(Clients {
        ca,
        optional,
        allow,
        crls,
    }))
}

/// Whether a certificate is optional.
fn client_auth(mode: &str) -> Result<bool, String> {
    match mode {
        "require" => Ok(false),
        "optional" => Ok(true),
        _ => Err("expected require or optional".to_owned()),
    }
}

fn name(text: &str) -> Result<String, String> {
    match is_missing(text) {
        true => Err("expected a name".to_owned()),
        false => Ok(text.to_owned()),
    }
}

fn names(text: &str) -> Result<Vec<String>, String> {
    match is_missing(text) {
        true => Err("expected names, separated by commas".to_owned()),
        false => Ok(text.split(',').map(str::to_owned).collect()),
    }
}

fn format(name: &str) -> Result<Format, String> {
    Format::from_str(name)
        .map_err(|_| "expected auto, none, gzip, zlib, deflate, zstd or qt".to_owned())
}

fn tls_version(name: &str) -> Result<TlsVersion, String> {
    match name {
        "1.2" => Ok(TlsVersion::Tls12),
        "1.3" => Ok(TlsVersion::Tls13),
        _ => Err("expected 1.2 or 1.3".to_owned()),
    }
}

/// The value of an option, if it is given.
fn option<T>(
    args: &mut Arguments,
    name: impl Name,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Failure> {
    args.opt_value_from_fn(name, parse)
        .map_err(|error| match error {
            Error::Utf8ArgumentParsingFailed { value, .. } if is_missing(&value) => {
                needs_value(name)
            }
            Error::Utf8ArgumentParsingFailed { value, cause } => {
                Failure::misused(format!("{} {value}: {cause}", name.long()))
            }
            error => no_value(name, error),
        })
}

/// All values of an option that may be given several times, in their order.
fn all<T>(mut next: impl FnMut() -> Result<Option<T>, Failure>) -> Result<Vec<T>, Failure> {
    std::iter::from_fn(|| next().transpose()).collect()
}

fn path(args: &mut Arguments, name: impl Name) -> Result<Option<PathBuf>, Failure> {
    let parse = |path: &OsStr| match path.to_str() {
        Some(text) if is_missing(text) => Err(String::new()),
        _ => Ok(PathBuf::from(path)),
    };
    args.opt_value_from_os_str(name, parse)
        .map_err(|error| no_value(name, error))
}

/// The name of an option: a long one, or a short one and a long one.
trait Name: Copy + Into<Keys> {
    fn long(self) -> &'static str;
}

impl Name for &'static str {
    fn long(self) -> &'static str {
        self
    }
}

impl Name for [&'static str; 2] {
    fn long(self) -> &'static str {
        let [_, long] = self;
        long
    }
}

/// Whether what stands in a value's place is none: in `--cert --key FILE`, the file's name was
/// forgotten.
fn is_missing(value: &str) -> bool {
    value.is_empty() || help::options().any(|option| option == value)
}

fn needs_value(name: impl Name) -> Failure {
    Failure::misused(format!("{} needs a value", name.long()))
}

fn no_value(name: impl Name, error: Error) -> Failure {
    match error {
        Error::OptionWithoutAValue(_) | Error::ArgumentParsingFailed { .. } => needs_value(name),
        Error::NonUtf8Argument => {
            Failure::misused(format!("the value of {} is not UTF-8", name.long()))
        }
        error => not_unicode(error),
    }
}

fn not_unicode(error: Error) -> Failure {
    Failure::misused(error.to_string())
}

fn unexpected(argument: &OsStr) -> Failure {
    let argument = argument.to_string_lossy();
    let given = argument.split('=').next().unwrap_or(&argument);
    if !argument.starts_with('-') {
        return Failure::misused(format!("unexpected argument {argument}"))
            .hint("see tlsink --help");
    }
    if help::options().any(|option| option == given) {
        let wrong = match (argument.split_once('='), help::takes_value(given)) {
            (Some(_), false) => "takes no value",
            (Some((_, "")), true) => "needs a value",
            _ => "is given twice",
        };
        return Failure::misused(format!("{given} {wrong}"));
    }
    Failure::misused(format!("unknown option {given}")).hint(nearest(given, help::options()))
}

/// A hint to the name that was probably meant, or else to all of them.
fn nearest(given: &str, names: impl IntoIterator<Item = &'static str>) -> String {
    let nearest = names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(name, given), name))
        .min();
    match nearest {
        Some((distance, name)) if distance <= given.trim_start_matches('-').len() / 3 => {
            format!("did you mean {name}?")
        }
        _ => "see tlsink --help".to_owned(),
    }
}

/// What certificates to make, and where.
#[derive(Debug)]
pub(crate) struct Cert {
    /// The server's.
    pub(crate) names: Vec<String>,
    pub(crate) directory: PathBuf,
}

fn parse_cert(mut free: Vec<OsString>) -> Result<Cert, Failure> {
    let option = |argument: &&OsString| argument.as_encoded_bytes().starts_with(b"-");
    if let Some(option) = free.iter().find(option) {
        let option = option.to_string_lossy();
        return Err(Failure::misused(format!("unexpected argument {option}"))
            .hint("cert takes names and a directory; one that begins with - is given as ./-"));
    }
    let directory = match free.pop() {
        Some(directory) if !directory.is_empty() => PathBuf::from(directory),
        _ => {
            return Err(Failure::misused("cert needs a directory to write into")
                .hint("tlsink cert DIR, or tlsink cert NAMES... DIR"));
        }
    };
    // What is not UTF-8 is no name, and neither is what it becomes here.
    let mut names: Vec<String> = free
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    if names.is_empty() {
        names = LOCAL_NAMES.map(str::to_owned).into();
    }
    Ok(Cert { names, directory })
}
