//! The command line, parsed: what comes out of here can be run.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tlsink::client::Fingerprint;
use tlsink::decode::Format;
use tlsink::output::Template;
use tlsink::{TemplateError, TlsVersion};

use super::address::HostPort;
use super::help::{self, Topic};
use super::level::Level;
use super::options::{ANSWERS, CERT, LISTEN, SEND};
use super::send::encode::Encoding;
use super::split::{Asked, Given, Split};
use super::{Failure, suggest, value};

/// What the program is to do.
#[derive(Debug)]
pub(crate) enum Command {
    Print(String),
    Listen(Box<Listen>),
    Send(Box<Send>),
    Cert(Cert),
}

impl Command {
    /// Whether each line on standard error begins with the time.
    pub(crate) fn timestamps(&self) -> bool {
        match self {
            Command::Listen(listen) => listen.timestamps,
            Command::Send(send) => send.timestamps,
            Command::Print(_) | Command::Cert(_) => false,
        }
    }
}

/// How to receive. What is not given is for the library to choose.
#[derive(Debug)]
pub(crate) struct Listen {
    /// At least one.
    pub(crate) addresses: Vec<HostPort>,
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
    pub(crate) timestamps: bool,
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
    pub(crate) to: HostPort,
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
    pub(crate) timestamps: bool,
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

/// The port that is listened on where none is given.
const DEFAULT_PORT: u16 = 4433;

/// What this machine calls itself.
pub(crate) const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const DRAIN: Duration = Duration::from_secs(10);

/// Takes the program's arguments apart, without its name.
///
/// # Errors
///
/// With what is wrong with them, for the user.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, Failure> {
    let mut arguments = arguments.peekable();
    let word = arguments.next_if(|first| !first.as_encoded_bytes().starts_with(b"-"));
    let command = word
        .as_deref()
        .map(|word| word.to_str().unwrap_or_default());
    let options = match command {
        Some("send") => &SEND,
        Some("cert") => &CERT,
        Some("help" | "version") => &ANSWERS,
        _ => &LISTEN,
    };
    let topic = command.and_then(Topic::named);
    let Split {
        given,
        free,
        asked,
        error,
    } = Split::new(arguments, options);
    if let Some(asked) = asked {
        let topic = topic.unwrap_or(Topic::Program);
        return Ok(Command::Print(match asked {
            Asked::Version => help::VERSION.to_owned(),
            Asked::ShortHelp => help::short(topic),
            Asked::LongHelp => help::long(topic),
        }));
    }
    if let (Some(word), None) = (&word, topic) {
        return Err(suggest::unknown_command(word));
    }
    if let Some(error) = error {
        return Err(error);
    }
    match command {
        Some("send") => parse_send(given, &free).map(|send| Command::Send(Box::new(send))),
        Some("cert") => parse_cert(free).map(Command::Cert),
        Some("help") => parse_help(&free).map(Command::Print),
        command => {
            if let Some(more) = free.first() {
                return Err(suggest::unexpected_argument(more));
            }
            match command {
                Some("version") => Ok(Command::Print(help::VERSION.to_owned())),
                _ => parse_listen(given).map(|listen| Command::Listen(Box::new(listen))),
            }
        }
    }
}

/// The help for a command, or for the program.
fn parse_help(free: &[OsString]) -> Result<String, Failure> {
    match free {
        [] => Ok(help::long(Topic::Program)),
        [command] => match command.to_str().and_then(Topic::named) {
            Some(topic) => Ok(help::long(topic)),
            None => Err(suggest::unknown_command(command)),
        },
        [_, more, ..] => Err(suggest::unexpected_argument(more)),
    }
}

fn parse_listen(mut given: Given) -> Result<Listen, Failure> {
    let args = &mut given;
    let mut addresses = all(|| option(args, "--listen", HostPort::parse))?;
    if addresses.is_empty() {
        addresses.push(HostPort::localhost_v4(DEFAULT_PORT));
    }
    let destination = parse_destination(args)?;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let listen = Listen {
        addresses,
        tls: Tls {
            certificate: parse_certificate(args)?,
            clients: parse_clients(args)?,
            min: option(args, "--tls-min", tls_version)?.unwrap_or(TlsVersion::Tls12),
            key_log: args.flag("--key-log"),
        },
        decode: option(args, "--decode", format)?.unwrap_or(Format::Auto),
        printer: parse_printer(args, &destination)?,
        max_line: option(args, "--max-line", value::line)?,
        destination,
        max_connections: option(args, "--max-connections", value::count)?,
        max_per_ip: option(args, "--max-per-ip", value::count)?,
        handshake_timeout: option(args, "--handshake-timeout", value::limit)?,
        idle_timeout: option(args, "--idle-timeout", value::limit)?,
        max_decoded: option(args, "--max-decoded", value::size)?,
        max_window: option(args, "--max-window", value::size)?,
        max_memory: option(args, "--max-memory", value::memory)?,
        drain: option(args, "--drain", value::duration)?.unwrap_or(DRAIN),
        receipt: args.flag("--receipt"),
        once: args.flag("--once"),
        stats: args.flag("--stats"),
        timestamps: args.flag("--timestamps"),
        level: parse_level(args)?,
        threads: option(args, "--threads", value::threads)?.unwrap_or(cores),
        lanes: option(args, "--lanes", value::threads)?.unwrap_or(cores),
    };
    given.finish();
    Ok(listen)
}

fn parse_send(mut given: Given, free: &[OsString]) -> Result<Send, Failure> {
    let args = &mut given;
    let encode = option(args, "--encode", encoding)?.unwrap_or(Encoding::Zstd);
    let compression = parse_compression(args, encode)?;
    let trust = parse_trust(args)?;
    let identity = parse_identity(args)?;
    let name = option(args, "--name", text)?;
    let receipt = args.flag("--receipt");
    let retry = option(args, "--retry", value::tries)?.unwrap_or(0);
    let timestamps = args.flag("--timestamps");
    let level = parse_level(args)?;
    given.finish();
    let (to, file) = parse_places(free)?;
    Ok(Send {
        name: name.unwrap_or_else(|| to.name().to_owned()),
        to,
        file,
        encode,
        compression,
        trust,
        identity,
        receipt,
        retry,
        timestamps,
        level,
    })
}

/// Where to send, and which file, if it is not standard input: `-` stands for that too.
fn parse_places(free: &[OsString]) -> Result<(HostPort, Option<PathBuf>), Failure> {
    const USAGE: &str = "tlsink send [OPTIONS] HOST:PORT [FILE]";
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
    let shown = to.to_string_lossy();
    let to = match HostPort::parse(&shown) {
        Ok(to) if to.port == 0 => Err("expected a port from 1 to 65535".to_owned()),
        parsed => parsed,
    };
    let to = to.map_err(|error| Failure::misused(format!("{shown}: {error}")).hint(USAGE))?;
    Ok((to, file))
}

fn parse_compression(args: &mut Given, encode: Encoding) -> Result<Option<i32>, Failure> {
    let Some(given) = option(args, "--level", text)? else {
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

fn parse_trust(args: &mut Given) -> Result<Trust, Failure> {
    let ca = path(args, "--ca");
    let fingerprint = option(args, "--fingerprint", fingerprint)?;
    let insecure = args.flag("--insecure");
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

fn parse_identity(args: &mut Given) -> Result<Option<(PathBuf, PathBuf)>, Failure> {
    let chain = path(args, "--cert");
    let key = path(args, "--key");
    match (chain, key) {
        (Some(chain), Some(key)) => Ok(Some((chain, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(unpaired("--cert", "--key")),
        (None, Some(_)) => Err(unpaired("--key", "--cert")),
    }
}

fn encoding(name: &str) -> Result<Encoding, String> {
    Encoding::parse(&name.to_ascii_lowercase())
        .ok_or_else(|| "expected zstd, gzip, zlib or none".to_owned())
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    text.parse()
        .map_err(|_| "expected 64 hexadecimal digits, with or without colons".to_owned())
}

fn parse_destination(args: &mut Given) -> Result<Destination, Failure> {
    let output = path(args, "--output");
    let directory = path(args, "--output-dir");
    let name = option(args, "--name", template)?;
    let sync = args.flag("--sync");
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
        (Some(path), None) if path.as_os_str() == "-" => Ok(Destination::Stdout),
        (Some(path), None) => Ok(Destination::File(path)),
        (None, None) => Ok(Destination::Stdout),
    }
}

fn parse_printer(args: &mut Given, destination: &Destination) -> Result<Printer, Failure> {
    let parse = |name: &str| match &*name.to_ascii_lowercase() {
        "lines" => Ok(Printer::Lines { label: false }),
        "raw" => Ok(Printer::Raw),
        "json" => Ok(Printer::Json),
        _ => Err("expected lines, raw or json".to_owned()),
    };
    let format = option(args, "--format", parse)?;
    let label = args.flag("--label");
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

fn parse_level(args: &mut Given) -> Result<Level, Failure> {
    let verbose = args.flag("--verbose");
    match (verbose, args.flag("--quiet")) {
        (true, true) => Err(Failure::misused("-v and -q can't be combined")),
        (true, false) => Ok(Level::Detail),
        (false, true) => Ok(Level::Error),
        (false, false) => Ok(Level::Info),
    }
}

fn parse_certificate(args: &mut Given) -> Result<Certificate, Failure> {
    let chains = paths(args, "--cert");
    let keys = paths(args, "--key");
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

fn parse_clients(args: &mut Given) -> Result<Option<Clients>, Failure> {
    let ca = path(args, "--client-ca");
    let optional = option(args, "--client-auth", client_auth)?;
    let allow = all(|| option(args, "--allow-client", text))?;
    let crls = paths(args, "--crl");
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
    match &*mode.to_ascii_lowercase() {
        "require" => Ok(false),
        "optional" => Ok(true),
        _ => Err("expected require or optional".to_owned()),
    }
}

/// Any text, which the library looks at.
fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// Names, separated by commas, which are looked at when a certificate is made for them.
fn names(text: &str) -> Result<Vec<String>, String> {
    Ok(text.split(',').map(str::to_owned).collect())
}

fn format(name: &str) -> Result<Format, String> {
    Format::from_str(&name.to_ascii_lowercase())
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
    args: &mut Given,
    name: &'static str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Failure> {
    let Some(value) = args.value(name) else {
        return Ok(None);
    };
    let value = value
        .to_str()
        .ok_or_else(|| Failure::misused(format!("the value of {name} is not UTF-8")))?;
    parse(value)
        .map(Some)
        .map_err(|cause| Failure::misused(format!("{name} {value}: {cause}")))
}

/// All values of an option that may be given several times, in their order.
fn all<T>(mut next: impl FnMut() -> Result<Option<T>, Failure>) -> Result<Vec<T>, Failure> {
    std::iter::from_fn(|| next().transpose()).collect()
}

fn path(args: &mut Given, name: &'static str) -> Option<PathBuf> {
    args.value(name).map(PathBuf::from)
}

fn paths(args: &mut Given, name: &'static str) -> Vec<PathBuf> {
    std::iter::from_fn(|| path(args, name)).collect()
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

#[cfg(test)]
mod tests {
    use super::super::options::{COMMANDS, Opt, Options};
    use super::*;

    #[test]
    fn every_option_means_the_same_in_every_form() {
        for command in COMMANDS {
            for option in command.all() {
                let forms = forms(option);
                let meant = meaning(command, option, &forms[0]);
                assert!(meant.starts_with("Ok("), "{}: {meant}", option.long);
                let without = meaning(command, option, &[]);
                assert_ne!(meant, without, "{} is passed over", option.long);
                for form in &forms {
                    assert_eq!(meaning(command, option, form), meant, "{form:?}");
                }
            }
        }
    }

    #[test]
    fn an_option_that_is_given_twice_is_refused_in_every_form() {
        for command in COMMANDS {
            let once = |option: &&'static Opt| !option.repeatable && !is_answered(option);
            for option in command.all().filter(once) {
                for first in &forms(option) {
                    for second in &forms(option) {
                        let twice = [&first[..], second].concat();
                        let said = meaning(command, option, &twice);
                        let name = match second[0].starts_with("--") {
                            true => option.long,
                            false => option.short.unwrap(),
                        };
                        let expected = format!("{name} is given twice");
                        assert!(said.contains(&expected), "{twice:?}: {said}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_option_without_its_value_is_refused_in_every_form() {
        for command in COMMANDS {
            for option in command.all().filter(|option| option.value.is_some()) {
                let expected = format!("{} needs a value", option.long);
                for name in option.names() {
                    let name = name.to_owned();
                    for form in [
                        vec![name.clone()],
                        vec![format!("{name}=")],
                        vec![name.clone(), String::new()],
                        vec![name.clone(), "--quiet".to_owned()],
                        vec![name.clone(), "--".to_owned()],
                    ] {
                        // It is the last argument, or this would be its value.
                        let mut words = vec![word(command)];
                        words.extend(form);
                        let said = parsed(words);
                        assert!(said.contains(&expected), "{name}: {said}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_flag_takes_no_value_in_any_form() {
        for command in COMMANDS {
            for option in command.all().filter(|option| option.value.is_none()) {
                for name in option.names() {
                    for value in ["", "1"] {
                        let form = [format!("{name}={value}")];
                        let said = meaning(command, option, &form);
                        let expected = format!("{name} takes no value");
                        assert!(said.contains(&expected), "{form:?}: {said}");
                    }
                }
            }
        }
    }

    /// Each way to give an option.
    fn forms(option: &Opt) -> Vec<Vec<String>> {
        let Some(placeholder) = option.value else {
            // Help and its short form are two texts.
            let short = option.short.filter(|_| option.long != "--help");
            let short = short.map(|short| vec![short.to_owned()]);
            return [vec![option.long.to_owned()]]
                .into_iter()
                .chain(short)
                .collect();
        };
        let (long, value) = (option.long, sample(option.long, placeholder));
        let mut forms = vec![
            vec![long.to_owned(), value.to_owned()],
            vec![format!("{long}={value}")],
        ];
        if let Some(short) = option.short {
            forms.push(vec![short.to_owned(), value.to_owned()]);
            forms.push(vec![format!("{short}{value}")]);
            forms.push(vec![format!("{short}={value}")]);
        }
        forms
    }

    /// A value that the option takes.
    fn sample(long: &str, placeholder: &str) -> &'static str {
        match (long, placeholder) {
            ("--format", _) => "JSON",
            (_, "FORMAT") => "Gzip",
            ("--allow-client", _) => "*.example.net",
            (_, "ADDR") => "[::1]:9",
            (_, "N") => "3",
            (_, "TIME") => "1h30m",
            (_, "SIZE") => "2MiB",
            (_, "FILE" | "DIR") => "of=a/b.pem",
            (_, "NAME" | "NAMES") => "a.example",
            (_, "MODE") => "Optional",
            (_, "VERSION") => "1.3",
            (_, "TEMPLATE") => "{conn}=",
            (_, "SHA256") => "0000000000000000000000000000000000000000000000000000000000000000",
            (_, other) => panic!("{long} takes a value of a new kind, {other}"),
        }
    }

    /// What the arguments of the command are parsed to, beside what this option needs.
    fn meaning(command: &Options, option: &Opt, form: &[String]) -> String {
        let needs: &[&str] = match (command.command, option.long) {
            (_, "--cert") => &["--key=k"],
            (_, "--key") => &["--cert=c"],
            (_, "--client-auth" | "--allow-client" | "--crl") => &["--client-ca=ca"],
            ("tlsink listen", "--name" | "--sync") => &["--output-dir=d"],
            _ => &[],
        };
        let mut words = vec![word(command)];
        words.extend(needs.iter().map(|need| (*need).to_owned()));
        words.extend(form.iter().cloned());
        match command.command {
            "tlsink send" => words.push("h:1".to_owned()),
            "tlsink cert" => words.push("dir".to_owned()),
            _ => {}
        }
        parsed(words)
    }

    /// The command as it is typed behind the program's name.
    fn word(command: &Options) -> String {
        command.command.replace("tlsink ", "")
    }

    fn parsed(words: Vec<String>) -> String {
        format!("{:?}", parse(words.into_iter().map(OsString::from)))
    }

    /// Whether the option is answered with a text, however often it is given.
    fn is_answered(option: &Opt) -> bool {
        ["--help", "--version"].contains(&option.long)
    }
}
