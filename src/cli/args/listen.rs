//! The options of `tlsink listen`.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use tlsink::decode::Format;
use tlsink::frame::Framing;
use tlsink::output::{Keep, PathTemplate, Prefix, Template, TemplateError};
use tlsink::tls::TlsVersion;

use super::super::Failure;
use super::super::address::HostPort;
use super::super::level::Level;
use super::super::listen_address::{ListenAddress, Place};
use super::super::networks::{self, Proxies};
use super::given::{Given, text, unpaired};
use super::value;

/// The options for receiving. The library chooses a default for those that are not given.
#[derive(Debug)]
pub(crate) struct ListenArgs {
    /// The addresses to listen on, at least one.
    pub(crate) addresses: Vec<ListenAddress>,
    /// Whether other programs can listen on the same IP addresses and ports.
    pub(crate) reuse_port: bool,
    /// The peers that send a PROXY header.
    pub(crate) proxies: Proxies,
    /// The networks of senders; every sender may connect if there are none.
    pub(crate) allow_from: Vec<IpNet>,
    pub(crate) tls: TlsArgs,
    pub(crate) decode: Format,
    pub(crate) framing: Framing,
    pub(crate) forward_key: Option<PathBuf>,
    pub(crate) printer: OutputFormat,
    pub(crate) max_line: Option<usize>,
    pub(crate) destination: Destination,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_per_ip: Option<usize>,
    /// The most bytes a second from one sender.
    pub(crate) rate: Option<NonZeroU64>,
    pub(crate) handshake_timeout: Option<Option<Duration>>,
    pub(crate) idle_timeout: Option<Option<Duration>>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_decoded: Option<u64>,
    pub(crate) max_window: Option<u64>,
    pub(crate) max_memory: Option<usize>,
    pub(crate) drain: Duration,
    pub(crate) drain_notice: Duration,
    pub(crate) receipt: bool,
    pub(crate) once: bool,
    /// Whether the program only says what it would do.
    pub(crate) check: bool,
    pub(crate) stats: bool,
    /// The address of the status server.
    pub(crate) status: Option<ListenAddress>,
    pub(crate) timestamps: bool,
    pub(crate) level: Level,
    pub(crate) threads: usize,
    pub(crate) lanes: usize,
}

/// The certificates that senders are shown, and the verification of senders.
#[derive(Clone, Debug)]
pub(crate) struct TlsArgs {
    pub(crate) certificate: CertificateSource,
    pub(crate) clients: Option<ClientArgs>,
    pub(crate) min: TlsVersion,
    pub(crate) key_log: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum CertificateSource {
    /// Pairs of a chain and its key, at least one.
    Files(Vec<(PathBuf, PathBuf)>),
    /// A self-signed certificate for these names, on any address.
    SelfSigned(Vec<String>),
    /// A self-signed certificate for this machine, on loopback addresses alone.
    Loopback,
}

/// The verification of senders.
#[derive(Clone, Debug)]
pub(crate) struct ClientArgs {
    pub(crate) ca: PathBuf,
    pub(crate) optional: bool,
    pub(crate) allow: Vec<String>,
    pub(crate) crls: Vec<PathBuf>,
}

/// The destination of the data.
#[derive(Debug)]
pub(crate) enum Destination {
    Stdout {
        /// The folder of the journal.
        state: Option<PathBuf>,
        /// The user named it: a terminal gets everything.
        named: bool,
    },
    /// A file that is appended to.
    File(PathBuf),
    Directory(Directory),
    /// Files that streams share.
    Append(AppendArgs),
    /// A program for each stream.
    Exec(ExecArgs),
    Kafka(KafkaArgs),
}

/// A directory with a file for each connection.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) name: Template,
    pub(crate) sync: bool,
}

/// A directory with files that are appended to.
#[derive(Debug)]
pub(crate) struct AppendArgs {
    pub(crate) path: PathBuf,
    pub(crate) name: PathTemplate,
    /// The size of a file after which a new one begins, in bytes.
    pub(crate) rotate: Option<u64>,
    pub(crate) compress: bool,
    /// The closed files that are kept; `None` for all.
    pub(crate) keep: Option<Keep>,
    pub(crate) sync: bool,
    /// The folder of the journal.
    pub(crate) state: Option<PathBuf>,
    /// The one file in the directory that is appended to, if it was named itself.
    pub(crate) file: Option<PathBuf>,
}

/// A program for each stream.
#[derive(Debug)]
pub(crate) struct ExecArgs {
    /// The program and its arguments, at least one word.
    pub(crate) words: Vec<String>,
    /// The most programs that run at once.
    pub(crate) max: Option<usize>,
}

/// A topic of Kafka.
#[derive(Debug)]
#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "it is refused"))]
pub(crate) struct KafkaArgs {
    /// Addresses of brokers, separated by commas.
    pub(crate) brokers: String,
    pub(crate) topic: String,
    pub(crate) key: KafkaKey,
    pub(crate) record: KafkaRecord,
    /// Settings of librdkafka, and their values.
    pub(crate) settings: Vec<(String, String)>,
    /// A file with more of them.
    pub(crate) file: Option<PathBuf>,
}

/// The key of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KafkaKey {
    #[default]
    Client,
    Peer,
    Conn,
    None,
}

/// The content of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KafkaRecord {
    #[default]
    Line,
    Block,
}

/// The format of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    Lines(LineFront),
    Raw,
    Json,
}

/// The text in front of each line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LineFront {
    Nothing,
    Label,
    Prefix(Prefix),
}

/// The default port.
const DEFAULT_PORT: u16 = 4433;

const DRAIN: Duration = Duration::from_secs(10);

/// The hint for options that change the lines which become records.
const A_LINE: &str = "each record is a line as it came, and says in its headers who sent it";

/// The hint for options that change the bytes which programs get.
const AS_THEY_ARE: &str = "each program gets the bytes of its stream as they are";

pub(super) fn parse(mut given: Given) -> Result<ListenArgs, Failure> {
    let args = &mut given;
    let mut addresses = args.all("--listen", ListenAddress::parse)?;
    if addresses.is_empty() {
        addresses.push(ListenAddress {
            plain: false,
            place: Place::Host(HostPort::localhost_v4(DEFAULT_PORT)),
        });
    }
    let clients = parse_clients(args)?;
    if let Some(plain) = addresses.iter().find(|address| address.plain)
        && clients
            .as_ref()
            .is_some_and(|clients| !clients.allow.is_empty())
    {
        return Err(
            Failure::misused(format!("--allow-client can't be combined with {plain}"))
                .hint("without TLS, tlsink verifies no sender; the TLS proxy can"),
        );
    }
    let reuse_port = args.flag("--reuse-port");
    if reuse_port
        && !addresses
            .iter()
            .any(|address| matches!(address.place, Place::Host(_)))
    {
        return Err(
            Failure::misused("--reuse-port needs an IP address to listen on").hint(
                "fd: needs no such option, as systemd keeps the socket; a Unix socket can't be shared",
            ),
        );
    }
    let destination = parse_destination(args)?;
    let printer = parse_printer(args, &destination)?;
    let max_line = args.option("--max-line", value::line)?;
    if let Destination::Exec(_) = destination {
        alone("--exec", &[("--max-line", max_line.is_some())], AS_THEY_ARE)?;
    }
    let framing = args.choice("--framing", |name| name.parse().ok())?;
    let forward_key = args.path("--forward-key");
    if forward_key.is_some() && framing != Some(Framing::Forward) {
        return Err(Failure::misused("--forward-key needs --framing forward"));
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let listen = ListenArgs {
        addresses,
        reuse_port,
        proxies: Proxies::new(args.all("--proxy-protocol", networks::proxy)?),
        allow_from: args.all("--allow-from", networks::network)?,
        tls: TlsArgs {
            certificate: parse_certificate(args)?,
            clients,
            min: args
                .choice("--tls-min", tls_version)?
                .unwrap_or(TlsVersion::Tls12),
            key_log: args.flag("--key-log"),
        },
        decode: args
            .choice("--decode", |name| name.parse().ok())?
            .unwrap_or(Format::Auto),
        framing: framing.unwrap_or(match printer {
            OutputFormat::Lines(_) | OutputFormat::Json => Framing::Auto,
            // The bytes stay as they came.
            OutputFormat::Raw => Framing::None,
        }),
        forward_key,
        printer,
        max_line,
        destination,
        max_connections: args.option("--max-connections", value::count)?,
        max_per_ip: args.option("--max-per-ip", value::count)?,
        rate: args.option("--rate", value::rate)?,
        handshake_timeout: args.option("--handshake-timeout", value::limit)?,
        idle_timeout: args.option("--idle-timeout", value::limit)?,
        max_age: args.option("--max-age", value::limit)?.flatten(),
        max_decoded: args.option("--max-decoded", value::size)?,
        max_window: args.option("--max-window", value::size)?,
        max_memory: args.option("--max-memory", value::memory)?,
        drain: args.option("--drain", value::duration)?.unwrap_or(DRAIN),
        drain_notice: args
            .option("--drain-notice", value::duration)?
            .unwrap_or_default(),
        receipt: args.flag("--receipt"),
        once: args.flag("--once"),
        check: args.flag("--check"),
        stats: args.flag("--stats"),
        status: args.option("--status", status)?,
        timestamps: args.flag("--timestamps"),
        level: args.level()?,
        threads: args.option("--threads", value::threads)?.unwrap_or(cores),
        lanes: args.option("--lanes", value::threads)?.unwrap_or(cores),
    };
    given.finish();
    Ok(listen)
}

fn parse_destination(args: &mut Given) -> Result<Destination, Failure> {
    let output = args.path("--output");
    let directory = args.path("--output-dir");
    let state = args.path("--state");
    let is_append = args.flag("--append");
    let elsewhere = [
        ("--output", output.is_some()),
        ("--output-dir", directory.is_some()),
        ("--append", is_append),
        ("--state", state.is_some()),
    ];
    let exec = parse_exec(args, &elsewhere)?;
    let elsewhere = [&elsewhere[..], &[("--exec", exec.is_some())]].concat();
    let kafka = parse_kafka(args, &elsewhere)?;
    if is_append {
        return parse_append(args, output.is_some(), directory, state);
    }
    let name = args.option("--name", template::<Template>)?;
    let sync = args.flag("--sync");
    let rotation = parse_rotation(args)?;
    if rotation.size.is_some() {
        return Err(Failure::misused("--rotate needs --append"));
    }
    let needs_directory = |option| Err(Failure::misused(format!("{option} needs --output-dir")));
    let named = output.is_some();
    match (output, directory) {
        (Some(_), Some(_)) => Err(Failure::misused(
            "--output can't be combined with --output-dir",
        )),
        (None, Some(_)) if state.is_some() => Err(Failure::misused(
            "--state can't be combined with a file for each connection",
        )
        .hint("--append lets the connections of a stream share a file")),
        (None, Some(path)) => Ok(Destination::Directory(Directory {
            path,
            name: name.unwrap_or_default(),
            sync,
        })),
        _ if name.is_some() => needs_directory("--name"),
        (output, _) if sync && (state.is_none() || output.is_none()) => needs_directory("--sync"),
        (Some(path), None) if path.as_os_str() != "-" => match state {
            Some(state) => append_to_file(path, state),
            None => Ok(Destination::File(path)),
        },
        (_, None) => Ok(match (exec, kafka) {
            (Some(exec), _) => Destination::Exec(exec),
            (None, Some(kafka)) => Destination::Kafka(kafka),
            (None, None) => Destination::Stdout { state, named },
        }),
    }
}

fn parse_exec(args: &mut Given, elsewhere: &[(&str, bool)]) -> Result<Option<ExecArgs>, Failure> {
    let words = args.option("--exec", words)?;
    let max = args.option("--exec-max", value::count)?;
    let Some(words) = words else {
        return match max {
            Some(_) => Err(Failure::misused("--exec-max needs --exec")),
            None => Ok(None),
        };
    };
    alone(
        "--exec",
        elsewhere,
        "the output of the programs is standard output",
    )?;
    Ok(Some(ExecArgs { words, max }))
}

fn parse_kafka(args: &mut Given, elsewhere: &[(&str, bool)]) -> Result<Option<KafkaArgs>, Failure> {
    let brokers = args.option("--kafka", brokers)?;
    let topic = args.option("--topic", text)?;
    let key = args.choice("--kafka-key", |name| match name {
        "client" => Some(KafkaKey::Client),
        "peer" => Some(KafkaKey::Peer),
        "conn" => Some(KafkaKey::Conn),
        "none" => Some(KafkaKey::None),
        _ => None,
    })?;
    let record = args.choice("--kafka-record", |name| match name {
        "line" => Some(KafkaRecord::Line),
        "block" => Some(KafkaRecord::Block),
        _ => None,
    })?;
    let settings = args.all("--kafka-set", setting)?;
    let file = args.path("--kafka-file");
    let Some(brokers) = brokers else {
        let alone = [
            ("--topic", topic.is_some()),
            ("--kafka-key", key.is_some()),
            ("--kafka-record", record.is_some()),
            ("--kafka-set", !settings.is_empty()),
            ("--kafka-file", file.is_some()),
        ];
        return match alone.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Failure::misused(format!("{option} needs --kafka"))),
            None => Ok(None),
        };
    };
    let hint = "lines go to the topic alone, and streams are resumed without --state";
    alone("--kafka", elsewhere, hint)?;
    let Some(topic) = topic else {
        return Err(Failure::misused("--kafka needs --topic"));
    };
    Ok(Some(KafkaArgs {
        brokers,
        topic,
        key: key.unwrap_or_default(),
        record: record.unwrap_or_default(),
        settings,
        file,
    }))
}

/// Addresses of brokers, separated by commas.
fn brokers(text: &str) -> Result<String, String> {
    for address in text.split(',') {
        let is_whole = HostPort::parse(address).is_ok_and(|address| address.host().is_some());
        if !is_whole {
            return Err(
                "expected HOST:PORT, such as 127.0.0.1:9092; commas part several".to_owned(),
            );
        }
    }
    Ok(text.to_owned())
}

/// A setting and its value.
pub(crate) fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("expected KEY=VALUE, such as compression.type=zstd".to_owned()),
    }
}

/// Refuses the first of these options that is given beside `with`.
fn alone(with: &str, options: &[(&str, bool)], hint: &str) -> Result<(), Failure> {
    match options.iter().find(|(_, given)| *given) {
        Some((option, _)) => {
            let failure = Failure::misused(format!("{option} can't be combined with {with}"));
            Err(failure.hint(hint))
        }
        None => Ok(()),
    }
}

/// The words of a command, quoted as for a shell.
fn words(text: &str) -> Result<Vec<String>, String> {
    match shlex::split(text) {
        None => Err("a quotation or an escape does not end".to_owned()),
        Some(words) if words.first().is_none_or(String::is_empty) => {
            Err("expected a program and its arguments".to_owned())
        }
        Some(words) => Ok(words),
    }
}

/// A place for the status server.
fn status(text: &str) -> Result<ListenAddress, String> {
    let address = ListenAddress::parse(text)?;
    match (address.plain, &address.place) {
        (false, Place::Host(_) | Place::Unix(_)) => Ok(address),
        _ => Err("expected HOST:PORT or unix:PATH, such as 127.0.0.1:9101".to_owned()),
    }
}

impl Destination {
    /// Whether streams are resumed.
    pub(crate) fn is_resuming(&self) -> bool {
        match self {
            Destination::Stdout { state, .. } => state.is_some(),
            Destination::File(_) | Destination::Directory(_) | Destination::Exec(_) => false,
            Destination::Append(append) => append.state.is_some(),
            Destination::Kafka(_) => true,
        }
    }
}

fn parse_append(
    args: &mut Given,
    has_output: bool,
    directory: Option<PathBuf>,
    state: Option<PathBuf>,
) -> Result<Destination, Failure> {
    let name = args.option("--name", template::<PathTemplate>)?;
    let sync = args.flag("--sync");
    let rotation = parse_rotation(args)?;
    if has_output {
        return Err(Failure::misused("--append can't be combined with --output")
            .hint("--output appends to its file as it is"));
    }
    let Some(path) = directory else {
        return Err(Failure::misused("--append needs --output-dir"));
    };
    let Some(name) = name else {
        return Err(Failure::misused("--append needs --name")
            .hint("streams of the same name share a file: --name '{client}/{date}.log'"));
    };
    Ok(Destination::Append(AppendArgs {
        path,
        name,
        rotate: rotation.size,
        compress: rotation.compress,
        keep: rotation.keep,
        // The positions of streams are synced, so their lines must be.
        sync: sync || state.is_some(),
        state,
        file: None,
    }))
}

/// One file, with a journal.
fn append_to_file(file: PathBuf, state: PathBuf) -> Result<Destination, Failure> {
    let folder = match file.parent() {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) => folder.to_owned(),
        None => PathBuf::from("/"),
    };
    let name = file.file_name().and_then(OsStr::to_str);
    let name = name.and_then(|name| PathTemplate::fixed(name).ok());
    let Some(name) = name else {
        return Err(
            Failure::misused(format!("--state can't be used with {}", file.display()))
                .hint("FILE must be a regular file, with a name in UTF-8"),
        );
    };
    Ok(Destination::Append(AppendArgs {
        path: folder,
        name,
        rotate: None,
        compress: false,
        keep: None,
        sync: true,
        state: Some(state),
        file: Some(file),
    }))
}

/// When files are closed, and what is done with them then.
struct Rotation {
    size: Option<u64>,
    compress: bool,
    keep: Option<Keep>,
}

fn parse_rotation(args: &mut Given) -> Result<Rotation, Failure> {
    let rotation = Rotation {
        size: args.option("--rotate", value::size)?,
        compress: args.flag("--compress"),
        keep: args.option("--keep", keep)?,
    };
    let alone = [
        ("--compress", rotation.compress),
        ("--keep", rotation.keep.is_some()),
    ];
    match alone.iter().find(|(_, given)| *given) {
        Some((option, _)) if rotation.size.is_none() => {
            Err(Failure::misused(format!("{option} needs --rotate"))
                .hint("only files that --rotate has closed are packed or removed"))
        }
        _ => Ok(rotation),
    }
}

/// A number of files, or an age.
fn keep(text: &str) -> Result<Keep, String> {
    if let Ok(count) = value::count(text) {
        return Ok(Keep::Count(count));
    }
    let age = value::duration(text).ok().filter(|age| {
        let has_unit = text.contains(|c: char| c.is_ascii_alphabetic());
        has_unit && !age.is_zero()
    });
    let expected =
        "expected a number of files, such as 10, or an age with a unit, such as 12h or 30d";
    age.map(Keep::Age).ok_or_else(|| expected.to_owned())
}

fn parse_printer(args: &mut Given, destination: &Destination) -> Result<OutputFormat, Failure> {
    let format = args.choice("--format", |name| match name {
        "lines" => Some(OutputFormat::Lines(LineFront::Nothing)),
        "raw" => Some(OutputFormat::Raw),
        "json" => Some(OutputFormat::Json),
        _ => None,
    })?;
    let label = args.flag("--label");
    let prefix = args.option("--prefix", template::<Prefix>)?;
    let (option, front) = match (label, prefix) {
        (true, Some(_)) => {
            return Err(Failure::misused("--label and --prefix can't be combined")
                .hint("a prefix can name the sender: --prefix '{time} {client} '"));
        }
        (true, None) => (Some("--label"), LineFront::Label),
        (false, Some(prefix)) => (Some("--prefix"), LineFront::Prefix(prefix)),
        (false, None) => (None, LineFront::Nothing),
    };
    if let Destination::Exec(_) = destination {
        let given = [
            ("--format", format.is_some()),
            (option.unwrap_or_default(), option.is_some()),
        ];
        alone("--exec", &given, AS_THEY_ARE)?;
        return Ok(OutputFormat::Raw);
    }
    if let Destination::Kafka(_) = destination {
        let given = [
            ("--format raw", format == Some(OutputFormat::Raw)),
            ("--format json", format == Some(OutputFormat::Json)),
            (option.unwrap_or_default(), option.is_some()),
        ];
        alone("--kafka", &given, A_LINE)?;
        return Ok(OutputFormat::Lines(LineFront::Nothing));
    }
    if let Destination::Directory(_) = destination {
        let combined = |option| {
            Err(
                Failure::misused(format!("{option} can't be combined with --output-dir"))
                    .hint("each file holds the bytes of one sender as they are"),
            )
        };
        return match (format, option) {
            (Some(OutputFormat::Lines(_)), _) => combined("--format lines"),
            (Some(OutputFormat::Json), _) => combined("--format json"),
            (None | Some(OutputFormat::Raw), Some(option)) => combined(option),
            (None | Some(OutputFormat::Raw), None) => Ok(OutputFormat::Raw),
        };
    }
    if let (Destination::Append(append), Some(OutputFormat::Raw)) = (destination, &format) {
        let with = match append.file {
            Some(_) => "--state",
            None => "--append",
        };
        return Err(
            Failure::misused(format!("--format raw can't be combined with {with}"))
                .hint("files that are appended to hold whole lines"),
        );
    }
    match (format, option) {
        (None | Some(OutputFormat::Lines(_)), _) => Ok(OutputFormat::Lines(front)),
        (_, Some(option)) => Err(Failure::misused(format!("{option} needs --format lines"))),
        (Some(printer), None) => Ok(printer),
    }
}

fn parse_certificate(args: &mut Given) -> Result<CertificateSource, Failure> {
    let chains = args.paths("--cert");
    let keys = args.paths("--key");
    let names = args.option("--self-signed", names)?;
    match (chains.len().cmp(&keys.len()), names) {
        (_, Some(_)) if !chains.is_empty() || !keys.is_empty() => Err(Failure::misused(
            "--self-signed can't be combined with --cert and --key",
        )),
        (_, Some(names)) => Ok(CertificateSource::SelfSigned(names)),
        (Ordering::Greater, None) if keys.is_empty() => Err(unpaired("--cert", "--key")),
        (Ordering::Less, None) if chains.is_empty() => Err(unpaired("--key", "--cert")),
        (Ordering::Greater, None) => Err(unpaired("each --cert", "its --key")),
        (Ordering::Less, None) => Err(unpaired("each --key", "its --cert")),
        (Ordering::Equal, None) if chains.is_empty() => Ok(CertificateSource::Loopback),
        (Ordering::Equal, None) => Ok(CertificateSource::Files(
            chains.into_iter().zip(keys).collect(),
        )),
    }
}

fn parse_clients(args: &mut Given) -> Result<Option<ClientArgs>, Failure> {
    let ca = args.path("--client-ca");
    let optional = args.choice("--client-auth", client_auth)?;
    let allow = args.all("--allow-client", text)?;
    let crls = args.paths("--crl");
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
        .hint("a sender without a certificate would be let in without a name"));
    }
    Ok(Some(ClientArgs {
        ca,
        optional,
        allow,
        crls,
    }))
}

/// Whether the certificate of a sender is optional.
fn client_auth(mode: &str) -> Option<bool> {
    match mode {
        "require" => Some(false),
        "optional" => Some(true),
        _ => None,
    }
}

/// Splits names at commas. They are checked when a certificate is made for them.
fn names(text: &str) -> Result<Vec<String>, String> {
    Ok(text.split(',').map(str::to_owned).collect())
}

fn template<T: FromStr<Err = TemplateError>>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|error: TemplateError| error.to_string())
}

fn tls_version(name: &str) -> Option<TlsVersion> {
    match name {
        "1.2" => Some(TlsVersion::Tls12),
        "1.3" => Some(TlsVersion::Tls13),
        _ => None,
    }
}
