//! The command line, parsed: what comes out of here can be run.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use pico_args::{Arguments, Error, Keys};
use tlsink::decode::Format;
use tlsink::output::Template;
use tlsink::{Fingerprint, TemplateError, TlsVersion};

use super::help::Options;
use super::level::Level;
use super::send::encode::Encoding;
use super::{Failure, help, value};

/// What the program is to do.
pub(crate) enum Command {
    Print(&'static str),
    Listen(Box<Listen>),
    Send(Box<Send>),
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
    pub(crate) destination: Destination,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_per_ip: Option<usize>,
    pub(crate) handshake_timeout: Option<Option<Duration>>,
    pub(crate) idle_timeout: Option<Option<Duration>>,
    pub(crate) max_decoded: Option<u64>,
    pub(crate) max_window: Option<u64>,
    pub(crate) max_memory: Option<usize>,
    pub(crate) drain: Duration,
    pub(crate) receipt: bool,
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

/// Where the data goes.
#[derive(Debug)]
pub(crate) enum Destination {
    Stdout,
    /// Appended to.
    File(PathBuf),
    Directory(Directory),
}

/// Where each connection has a file of its own.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) name: Template,
    pub(crate) sync: bool,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Printer {
    Lines { label: bool },
    Raw,
    Json,
}

/// What to send, and to whom.
#[derive(Debug)]
pub(crate) struct Send {
    /// `HOST:PORT`.
    pub(crate) to: String,
    /// Standard input, if there is none.
    pub(crate) file: Option<PathBuf>,
    pub(crate) encode: Encoding,
    /// The encoding's usual one, if there is none.
    pub(crate) compression: Option<i32>,
    pub(crate) trust: Trust,
    /// A chain and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// The server's.
    pub(crate) name: String,
    pub(crate) receipt: bool,
    /// How many further tries there are.
    pub(crate) retry: u64,
    pub(crate) level: Level,
}

/// How the server is verified.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// By the CAs that this system trusts.
    System,
    Ca(PathBuf),
    Fingerprint(Fingerprint),
    /// Not at all.
    Anyone,
}

const COMMANDS: [&str; 3] = ["listen", "send", "cert"];

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
    let (long, short) = (args.contains("--help"), args.contains("-h"));
    let version = args.contains(["-V", "--version"]);
    let command = args.subcommand().map_err(not_unicode)?;
    match (long || short, command.as_deref()) {
        (true, Some("send")) => return Ok(Command::Print(help::SEND)),
        (true, _) if long => return Ok(Command::Print(help::LONG)),
        (true, _) => return Ok(Command::Print(help::SHORT)),
        (false, _) if version => return Ok(Command::Print(help::VERSION)),
        (false, _) => {}
    }
    match command.as_deref() {
        None | Some("listen") => {
            let listen = parse_listen(&mut args)?;
            match args.finish().first() {
                None => Ok(Command::Listen(Box::new(listen))),
                Some(left) => Err(unexpected(left, help::LISTENING)),
            }
        }
        Some("send") => parse_send(args).map(|send| Command::Send(Box::new(send))),
        Some("cert") => parse_cert(args.finish()).map(Command::Cert),
        Some(other) => Err(
            Failure::misused(format!("unknown command {other}")).hint(nearest(
                other,
                COMMANDS,
                help::LISTENING.see,
            )),
        ),
    }
}

fn parse_listen(args: &mut Arguments) -> Result<Listen, Failure> {
    let mut addresses = all(|| option(args, ["-l", "--listen"], value::address))?;
    if addresses.is_empty() {
        addresses.push(DEFAULT_ADDRESS.to_owned());
    }
    let destination = parse_destination(args)?;
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
        printer: parse_printer(args, &destination)?,
        max_line: option(args, "--max-line", value::memory)?,
        destination,
        max_connections: option(args, "--max-connections", value::count)?,
        max_per_ip: option(args, "--max-per-ip", value::count)?,
        handshake_timeout: option(args, "--handshake-timeout", value::seconds)?,
        idle_timeout: option(args, "--idle-timeout", value::seconds)?,
        max_decoded: option(args, "--max-decoded", value::size)?,
        max_window: option(args, "--max-window", value::size)?,
        max_memory: option(args, "--max-memory", value::memory)?,
        drain: option(args, "--drain", value::duration)?.unwrap_or(DRAIN),
        receipt: args.contains("--receipt"),
        once: args.contains("--once"),
        stats: args.contains("--stats"),
        level: parse_level(args)?,
        threads: option(args, "--threads", value::threads)?.unwrap_or(cores),
        lanes: option(args, "--lanes", value::threads)?.unwrap_or(cores),
    })
}

fn parse_send(mut given: Arguments) -> Result<Send, Failure> {
    let args = &mut given;
    let encode = option(args, ["-e", "--encode"], encoding)?.unwrap_or(Encoding::Zstd);
    let compression = parse_compression(args, encode)?;
    let trust = parse_trust(args)?;
    let identity = parse_identity(args)?;
    let name = option(args, "--name", server_name)?;
    let receipt = args.contains("--receipt");
    let retry = option(args, "--retry", value::tries)?.unwrap_or(0);
    let level = parse_level(args)?;
    let (to, file) = parse_places(&given.finish())?;
    Ok(Send {
        name: name.unwrap_or_else(|| value::host(&to).to_owned()),
        to,
        file,
        encode,
        compression,
        trust,
        identity,
        receipt,
        retry,
        level,
    })
}

/// Where to send, and which file, if it is not standard input: `-` stands for that too.
fn parse_places(free: &[OsString]) -> Result<(String, Option<PathBuf>), Failure> {
    const USAGE: &str = "tlsink send [OPTIONS] HOST:PORT [FILE]";
    let is_option = |argument: &&OsString| {
        argument.as_encoded_bytes().starts_with(b"-") && argument.as_os_str() != "-"
    };
    if let Some(option) = free.iter().find(is_option) {
        return Err(unexpected(option, help::SENDING));
    }
    let (to, file) = match free {
        [] => return Err(Failure::misused("send needs to know where to").hint(USAGE)),
        [to] => (to, None),
        [_, file] if file.is_empty() => {
            return Err(Failure::misused("FILE has no name").hint(USAGE));
        }
        [to, file] => (to, (file.as_os_str() != "-").then(|| PathBuf::from(file))),
        [_, _, more, ..] => {
            let more = more.to_string_lossy();
            return Err(Failure::misused(format!("unexpected argument {more}")).hint(USAGE));
        }
    };
    let to = to.to_string_lossy();
    let to = value::address(&to)
        .map_err(|error| Failure::misused(format!("{to}: {error}")).hint(USAGE))?;
    Ok((to, file))
}

fn parse_compression(args: &mut Arguments, encode: Encoding) -> Result<Option<i32>, Failure> {
    let Some(given) = option(args, "--level", |text| Ok(text.to_owned()))? else {
        return Ok(None);
    };
    let name = encode.name();
    let Some(levels) = encode.levels() else {
        return Err(Failure::misused(format!(
            "--level can't be combined with --encode {name}"
        )));
    };
    let level = given.parse().ok().filter(|level| levels.contains(level));
    match level {
        Some(level) => Ok(Some(level)),
        None => Err(Failure::misused(format!(
            "--level {given}: expected a number from {} to {} for {name}",
            levels.start(),
            levels.end()
        ))),
    }
}

fn parse_trust(args: &mut Arguments) -> Result<Trust, Failure> {
    let ca = path(args, "--ca")?;
    let fingerprint = option(args, "--fingerprint", fingerprint)?;
    let insecure = args.contains("--insecure");
    match (ca, fingerprint, insecure) {
        (None, None, false) => Ok(Trust::System),
        (Some(ca), None, false) => Ok(Trust::Ca(ca)),
        (None, Some(fingerprint), false) => Ok(Trust::Fingerprint(fingerprint)),
        (None, None, true) => Ok(Trust::Anyone),
        (Some(_), Some(_), _) => Err(Failure::misused("--ca and --fingerprint can't be combined")
            .hint("--fingerprint alone decides")),
        (Some(_), None, true) => Err(Failure::misused("--insecure and --ca can't be combined")),
        (None, Some(_), true) => Err(Failure::misused(
            "--insecure and --fingerprint can't be combined",
        )),
    }
}

fn parse_identity(args: &mut Arguments) -> Result<Option<(PathBuf, PathBuf)>, Failure> {
    let chain = path(args, ["-c", "--cert"])?;
    let key = path(args, ["-k", "--key"])?;
    match (chain, key) {
        (Some(chain), Some(key)) => Ok(Some((chain, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(unpaired("--cert", "--key")),
        (None, Some(_)) => Err(unpaired("--key", "--cert")),
    }
}

fn encoding(name: &str) -> Result<Encoding, String> {
    Encoding::parse(name).ok_or_else(|| "expected zstd, gzip, zlib or none".to_owned())
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    text.parse()
        .map_err(|_| "expected 64 hexadecimal digits, with or without colons".to_owned())
}

fn server_name(name: &str) -> Result<String, String> {
    match is_missing(name) {
        true => Err("expected a DNS name or an IP address".to_owned()),
        false => Ok(name.to_owned()),
    }
}

fn parse_destination(args: &mut Arguments) -> Result<Destination, Failure> {
    let output = path(args, ["-o", "--output"])?;
    let directory = path(args, "--output-dir")?;
    let name = option(args, "--name", template)?;
    let sync = args.contains("--sync");
    let needs_directory = |option| Err(Failure::misused(format!("{option} needs --output-dir")));
    match (output, directory) {
        (Some(_), Some(_)) => Err(Failure::misused(
            "--output can't be combined with --output-dir",
        )),
        (None, Some(path)) => Ok(Destination::Directory(Directory {
            path,
            name: name.unwrap_or_default(),
            sync,
        })),
        _ if name.is_some() => needs_directory("--name"),
        _ if sync => needs_directory("--sync"),
        (Some(path), None) => Ok(Destination::File(path)),
        (None, None) => Ok(Destination::Stdout),
    }
}

fn parse_printer(args: &mut Arguments, destination: &Destination) -> Result<Printer, Failure> {
    let parse = |name: &str| match name {
        "lines" => Ok(Printer::Lines { label: false }),
        "raw" => Ok(Printer::Raw),
        "json" => Ok(Printer::Json),
        _ => Err("expected lines, raw or json".to_owned()),
    };
    let format = option(args, ["-f", "--format"], parse)?;
    let label = args.contains("--label");
    if let Destination::Directory(_) = destination {
        let combined = |option| {
            Err(
                Failure::misused(format!("{option} can't be combined with --output-dir"))
                    .hint("each file holds the bytes of one sender as they are"),
            )
        };
        return match format {
            Some(Printer::Lines { .. }) => combined("--format lines"),
            Some(Printer::Json) => combined("--format json"),
            None | Some(Printer::Raw) if label => combined("--label"),
            None | Some(Printer::Raw) => Ok(Printer::Raw),
        };
    }
    match (format.unwrap_or(Printer::Lines { label: false }), label) {
        (Printer::Lines { .. }, label) => Ok(Printer::Lines { label }),
        (_, true) => Err(Failure::misused("--label needs --format lines")),
        (printer, false) => Ok(printer),
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

fn unpaired(option: &str, missing: &str) -> Failure {
    Failure::misused(format!("{option} needs {missing}"))
        .hint("if both are in one file, name it twice")
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

fn template(text: &str) -> Result<Template, String> {
    text.parse()
        .map_err(|error: TemplateError| error.to_string())
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

/// What is wrong with an argument that is left over, where these are the options.
fn unexpected(argument: &OsStr, options: Options) -> Failure {
    let argument = argument.to_string_lossy();
    let given = argument.split('=').next().unwrap_or(&argument);
    if !argument.starts_with('-') {
        return Failure::misused(format!("unexpected argument {argument}"))
            .hint("see tlsink --help");
    }
    if options.names().any(|option| option == given) {
        let wrong = match (argument.split_once('='), options.takes_value(given)) {
            (Some(_), false) => "takes no value",
            (Some((_, "")), true) => "needs a value",
            _ => "is given twice",
        };
        return Failure::misused(format!("{given} {wrong}"));
    }
    let elsewhere = [help::LISTENING, help::SENDING]
        .into_iter()
        .find(|other| other.names().any(|option| option == given));
    Failure::misused(format!("unknown option {given}")).hint(match elsewhere {
        Some(other) => format!("{} has it", other.command),
        None => nearest(given, options.names(), options.see),
    })
}

/// A hint to the name that was probably meant, or else to all of them.
fn nearest(given: &str, names: impl IntoIterator<Item = &'static str>, all: &str) -> String {
    let nearest = names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(name, given), name))
        .min();
    match nearest {
        Some((distance, name)) if distance <= given.trim_start_matches('-').len() / 3 => {
            format!("did you mean {name}?")
        }
        _ => all.to_owned(),
    }
}

/// What certificates to make, and where.
#[derive(Debug)]
pub(crate) struct Cert {
    pub(crate) made: Made,
    pub(crate) directory: PathBuf,
}

/// What certificates to make.
#[derive(Debug)]
pub(crate) enum Made {
    /// A CA, and by it one for a server of these names and one for a client.
    All(Vec<String>),
    /// One for a server of these names, by the CA that is there.
    Server(Vec<String>),
    /// One for a client of this name, by the CA that is there.
    Client(String),
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
    let names: Vec<String> = free
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let made = match names.split_first() {
        None => Made::All(LOCAL_NAMES.map(str::to_owned).into()),
        Some((command, names)) if command == "server" => match names {
            [] => {
                return Err(Failure::misused("cert server needs names and a directory")
                    .hint("tlsink cert server NAMES... DIR, where DIR has a CA"));
            }
            names => Made::Server(names.into()),
        },
        Some((command, names)) if command == "client" => match names {
            [name] => Made::Client(name.clone()),
            _ => {
                return Err(
                    Failure::misused("cert client needs one name and a directory").hint(
                        "tlsink cert client NAME DIR, where DIR has a CA; once for each client",
                    ),
                );
            }
        },
        Some(_) => Made::All(names),
    };
    Ok(Cert { made, directory })
}
