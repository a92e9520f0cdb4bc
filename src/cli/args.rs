//! The command line, parsed: what comes out of here can be run.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use pico_args::Arguments;
use tlsink::decode::Format;

use super::Failure;

/// What the program is to do.
pub(crate) enum Command {
    Print(&'static str),
    Listen(Box<Listen>),
    Cert(Cert),
}

/// How to receive.
#[derive(Debug)]
pub(crate) struct Listen {
    /// `HOST:PORT` each, at least one.
    pub(crate) addresses: Vec<String>,
    pub(crate) certificate: Certificate,
    pub(crate) decode: Format,
    pub(crate) format: Printer,
    pub(crate) once: bool,
    pub(crate) threads: usize,
    pub(crate) lanes: usize,
}

#[derive(Debug)]
pub(crate) enum Certificate {
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
    /// For these names, on any address.
    SelfSigned(Vec<String>),
    /// For this machine, on loopback addresses alone.
    Loopback,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Printer {
    Lines,
    Raw,
}

impl FromStr for Printer {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "lines" => Ok(Printer::Lines),
            "raw" => Ok(Printer::Raw),
            _ => Err("unknown format, expected lines or raw"),
        }
    }
}

const DEFAULT_ADDRESS: &str = "127.0.0.1:4433";

/// More than any machine has use for.
const MOST_THREADS: usize = 1024;

const HELP: &str = "\
tlsink receives streams over TLS, decompresses them, and prints the plain bytes

usage: tlsink [listen] [OPTIONS]
       tlsink cert [NAMES...] DIR

  -l, --listen ADDR        HOST:PORT; repeatable; port 0 takes a free one [127.0.0.1:4433]
  -c, --cert FILE          certificate chain, PEM
  -k, --key FILE           its private key, PEM: PKCS#8, PKCS#1 or SEC1
      --self-signed NAMES  a fresh certificate for these names, separated by commas
                           [without --cert: one for localhost, on loopback addresses only]
  -d, --decode FORMAT      auto, none, gzip, zlib, deflate, zstd, qt [auto]
  -f, --format FORMAT      lines: whole lines, never spliced; raw: bytes as they come [lines]
      --once               stop after the first connection that completed its handshake
      --threads N          threads that shake hands and decrypt [as many as there are cores]
      --lanes N            threads that decompress and print [as many as there are cores]
  -h, --help               print this
  -V, --version            print the version

cert writes ca.pem ca.key server.pem server.key client.pem client.key into DIR, the server's for
NAMES: DNS names and IP addresses [localhost 127.0.0.1 ::1]

example:
  tlsink >received.txt
  gzip -c notes.txt |
    openssl s_client -connect 127.0.0.1:4433 -quiet -no_ign_eof -nocommands

Data goes to standard output, everything else to standard error.
Exit status: 0 after a requested stop, or a clean stream with --once; 1 when running failed;
2 for wrong arguments.
";

const VERSION: &str = concat!("tlsink ", env!("CARGO_PKG_VERSION"), "\n");

/// Takes the program's arguments apart.
///
/// # Errors
///
/// With what is wrong with them, for the user.
pub(crate) fn parse(mut args: Arguments) -> Result<Command, Failure> {
    if args.contains(["-h", "--help"]) {
        return Ok(Command::Print(HELP));
    }
    if args.contains(["-V", "--version"]) {
        return Ok(Command::Print(VERSION));
    }
    match args.subcommand().map_err(wrong)?.as_deref() {
        None | Some("listen") => {
            let listen = parse_listen(&mut args)?;
            match args.finish().first() {
                None => Ok(Command::Listen(Box::new(listen))),
                Some(left) => Err(unexpected(left)),
            }
        }
        Some("cert") => parse_cert(args.finish()).map(Command::Cert),
        Some(other) => Err(unexpected(&OsString::from(other))),
    }
}

fn parse_listen(args: &mut Arguments) -> Result<Listen, Failure> {
    let certificate = parse_certificate(args)?;
    let mut addresses: Vec<String> = args.values_from_str(["-l", "--listen"]).map_err(wrong)?;
    if addresses.is_empty() {
        addresses.push(DEFAULT_ADDRESS.to_owned());
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Ok(Listen {
        addresses,
        certificate,
        decode: option(args, ["-d", "--decode"])?.unwrap_or(Format::Auto),
        format: option(args, ["-f", "--format"])?.unwrap_or(Printer::Lines),
        once: args.contains("--once"),
        threads: threads(args, "--threads")?.unwrap_or(cores),
        lanes: threads(args, "--lanes")?.unwrap_or(cores),
    })
}

fn parse_certificate(args: &mut Arguments) -> Result<Certificate, Failure> {
    let path = |path: &std::ffi::OsStr| Ok::<_, &str>(PathBuf::from(path));
    let file = args
        .opt_value_from_os_str(["-c", "--cert"], path)
        .map_err(wrong)?;
    let key = args
        .opt_value_from_os_str(["-k", "--key"], path)
        .map_err(wrong)?;
    let names: Option<String> = args.opt_value_from_str("--self-signed").map_err(wrong)?;
    match (file, key, names) {
        (None, None, None) => Ok(Certificate::Loopback),
        (None, None, Some(names)) => Ok(Certificate::SelfSigned(
            names.split(',').map(str::to_owned).collect(),
        )),
        (Some(certificate), Some(key), None) => Ok(Certificate::Files { certificate, key }),
        (_, _, Some(_)) => Err(Failure::misused(
            "--self-signed can't be combined with --cert and --key",
        )),
        (Some(_), None, None) => {
            Err(Failure::misused("--cert needs --key")
                .hint("if both are in one file, name it twice"))
        }
        (None, Some(_), None) => Err(Failure::misused("--key needs --cert")),
    }
}

fn option<T>(args: &mut Arguments, names: [&'static str; 2]) -> Result<Option<T>, Failure>
where
    T: FromStr<Err: std::fmt::Display>,
{
    args.opt_value_from_str(names).map_err(wrong)
}

fn threads(args: &mut Arguments, name: &'static str) -> Result<Option<usize>, Failure> {
    let parse = |text: &str| {
        let count = text.parse().ok();
        count
            .filter(|count| (1..=MOST_THREADS).contains(count))
            .ok_or_else(|| format!("expected a number from 1 to {MOST_THREADS}"))
    };
    args.opt_value_from_fn(name, parse).map_err(wrong)
}

fn wrong(error: pico_args::Error) -> Failure {
    Failure::misused(error.to_string())
}

fn unexpected(argument: &OsString) -> Failure {
    Failure::misused(format!(
        "unexpected argument {}",
        argument.to_string_lossy()
    ))
    .hint("see tlsink --help")
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
        return Err(unexpected(option));
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
        names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    }
    Ok(Cert { names, directory })
}
