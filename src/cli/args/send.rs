//! The options and arguments of `tlsink send`.

use std::ffi::OsString;
use std::path::PathBuf;

use tlsink::client::Fingerprint;
use tlsink::resume::{MAX_NAME, Position, Preamble};

use super::super::Failure;
use super::super::address::HostPort;
use super::super::encoding::Encoding;
use super::super::level::Level;
use super::given::{Given, text, unpaired};
use super::value;

/// The file to send, its receiver, and the options for sending.
#[derive(Debug)]
pub(crate) struct SendArgs {
    pub(crate) to: HostPort,
    /// The file; `None` is standard input.
    pub(crate) file: Option<PathBuf>,
    pub(crate) framing: LineFraming,
    pub(crate) encode: Encoding,
    /// The level; `None` is the default of the encoding.
    pub(crate) compression: Option<i32>,
    pub(crate) trust: Trust,
    /// A chain and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// The name of the server.
    pub(crate) name: String,
    pub(crate) receipt: bool,
    /// The number of retries.
    pub(crate) retry: u64,
    /// The stream outlives its connection.
    pub(crate) resume: Option<ResumeArgs>,
    pub(crate) timestamps: bool,
    pub(crate) level: Level,
}

/// The options of a stream that outlives its connection.
#[derive(Debug)]
pub(crate) struct ResumeArgs {
    /// The file to follow; `None` is standard input.
    pub(crate) follow: Option<FollowArgs>,
    /// The servers, of which there is one at least, and the names of their certificates.
    pub(crate) servers: Vec<(HostPort, String)>,
    /// The name of the stream; `None` is one that the program makes.
    pub(crate) stream: Option<String>,
    /// The most bytes that are read and not acknowledged.
    pub(crate) buffer: u64,
    pub(crate) accept_gap: bool,
}

/// The file to follow.
#[derive(Debug)]
pub(crate) struct FollowArgs {
    pub(crate) path: PathBuf,
    /// The file that keeps how much of it is acknowledged.
    pub(crate) state: PathBuf,
}

/// The default of `--buffer`.
const BUFFER: u64 = 64 << 20;

/// The smallest `--buffer`: room for the longest piece of a line, and the pieces around it.
const LEAST_BUFFER: u64 = 2 << 20;

/// The frames that are made of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineFraming {
    /// None: the input is sent as it is.
    None,
    /// An octet-counted frame of each line.
    Octet,
    /// A frame of each line in a session of RELP, in which the server acknowledges each.
    Relp,
}

/// The verification of the server.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// Verify by the CAs that this system trusts.
    System,
    Ca(PathBuf),
    Fingerprint(Fingerprint),
    /// Verify nothing.
    Anyone,
}

pub(super) fn parse(mut given: Given, free: &[OsString]) -> Result<SendArgs, Failure> {
    if free.is_empty() {
        let swallowed = given.swallowed(|value| HostPort::parse(value).is_ok());
        if let Some((option, to)) = swallowed {
            return Err(Failure::misused("send needs HOST:PORT")
                .hint(format!("{option} has taken {to} as its value")));
        }
    }
    let args = &mut given;
    let framing = args.choice("--framing", framing)?;
    let framing = framing.unwrap_or(LineFraming::None);
    let encode = args
        .choice("--encode", Encoding::parse)?
        .unwrap_or(Encoding::Zstd);
    let compression = parse_compression(args, encode)?;
    let trust = parse_trust(args)?;
    let identity = parse_identity(args)?;
    let name = args.option("--name", text)?;
    let receipt = args.flag("--receipt");
    if receipt && framing == LineFraming::Relp {
        return Err(
            Failure::misused("--receipt can't be combined with --framing relp")
                .hint("in RELP, the server acknowledges each line"),
        );
    }
    let retry = args.option("--retry", value::tries)?;
    let resume = parse_resume(args)?;
    if resume.is_some() {
        let uncombined = [
            (framing != LineFraming::None, "--framing"),
            (receipt, "--receipt"),
            (retry.is_some(), "--retry"),
        ];
        for (is_given, option) in uncombined {
            if is_given {
                return Err(uncombinable(option));
            }
        }
    }
    let timestamps = args.flag("--timestamps");
    let level = args.level()?;
    given.finish();
    let name_of = |to: &HostPort| match &name {
        Some(name) => name.clone(),
        None => to.name().to_owned(),
    };
    let (to, file, resume) = match resume {
        None => {
            let (to, file) = parse_places(free)?;
            (to, file, None)
        }
        Some(mut resume) => {
            let servers = parse_servers(free)?;
            let to = servers.first().cloned().ok_or_else(no_server)?;
            let named = servers.into_iter().map(|to| (name_of(&to), to));
            resume.servers = named.map(|(name, to)| (to, name)).collect();
            (to, None, Some(resume))
        }
    };
    Ok(SendArgs {
        name: name_of(&to),
        to,
        file,
        framing,
        encode,
        compression,
        trust,
        identity,
        receipt,
        retry: retry.unwrap_or(0),
        resume,
        timestamps,
        level,
    })
}

/// Parses the options of a stream that outlives its connection. The servers are yet to be parsed.
fn parse_resume(args: &mut Given) -> Result<Option<ResumeArgs>, Failure> {
    let path = args.path("--follow");
    let state = args.path("--follow-state");
    let is_resumed = args.flag("--resume");
    let stream = args.option("--stream", stream)?;
    let buffer = args.option("--buffer", buffer)?;
    let accept_gap = args.flag("--accept-gap");
    if path.is_some() && is_resumed {
        return Err(Failure::misused("--follow and --resume can't be combined")
            .hint("--follow FILE sends a file, --resume sends standard input"));
    }
    if path.is_none() && state.is_some() {
        return Err(Failure::misused("--follow-state needs --follow FILE"));
    }
    if path.is_none() && !is_resumed {
        let given = [
            (stream.is_some(), "--stream"),
            (buffer.is_some(), "--buffer"),
            (accept_gap, "--accept-gap"),
        ];
        return match given.into_iter().find(|(is_given, _)| *is_given) {
            Some((_, option)) => Err(Failure::misused(format!(
                "{option} needs --follow FILE or --resume"
            ))),
            None => Ok(None),
        };
    }
    let follow = match path {
        None => None,
        Some(path) => {
            let Some(name) = path.file_name().filter(|_| path.as_os_str() != "-") else {
                let shown = path.display();
                return Err(
                    Failure::misused(format!("--follow {shown}: expected a file"))
                        .hint("--resume sends standard input"),
                );
            };
            // No pattern of a shell or of logrotate finds a name that begins with a dot.
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(".tlsink");
            Some(FollowArgs {
                state: state.unwrap_or_else(|| path.with_file_name(hidden)),
                path,
            })
        }
    };
    Ok(Some(ResumeArgs {
        follow,
        servers: Vec::new(),
        stream,
        buffer: buffer.unwrap_or(BUFFER),
        accept_gap,
    }))
}

/// The error for an option of streams that end with their connection.
fn uncombinable(option: &str) -> Failure {
    let what = format!("{option} can't be combined with --follow and --resume");
    Failure::misused(what).hint(match option {
        "--framing" => {
            "they have a protocol of their own, for which the server needs --state or --kafka"
        }
        "--receipt" => "with these, the server acknowledges everything anyway",
        _ => "with these, tlsink tries again until it is stopped",
    })
}

const USAGE_RESUMED: &str = "tlsink send [OPTIONS] --follow FILE HOST:PORT [HOST:PORT...]";

fn no_server() -> Failure {
    Failure::misused("send needs HOST:PORT").hint(USAGE_RESUMED)
}

/// Parses the servers, which are tried in turn.
fn parse_servers(free: &[OsString]) -> Result<Vec<HostPort>, Failure> {
    free.iter()
        .map(|to| parse_server(to, USAGE_RESUMED))
        .collect()
}

fn parse_server(to: &OsString, usage: &str) -> Result<HostPort, Failure> {
    let shown = to.to_string_lossy();
    let to = match HostPort::parse(&shown) {
        Ok(to) if to.port == 0 => Err("expected a port from 1 to 65535".to_owned()),
        parsed => parsed,
    };
    to.map_err(|error| Failure::misused(format!("{shown}: {error}")).hint(usage))
}

/// A stream's name leaves room for the number of its generation.
const MAX_STREAM: usize = MAX_NAME - 16;

fn stream(name: &str) -> Result<String, String> {
    match name.len() <= MAX_STREAM && Preamble::new(name, Position::START).is_ok() {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "expected up to {MAX_STREAM} bytes without control characters"
        )),
    }
}

fn buffer(text: &str) -> Result<u64, String> {
    match value::size(text)? {
        bytes @ LEAST_BUFFER.. => Ok(bytes),
        _ => Err("expected at least 2M".to_owned()),
    }
}

/// Parses the receiver and the file; `-` is standard input, as is no file.
fn parse_places(free: &[OsString]) -> Result<(HostPort, Option<PathBuf>), Failure> {
    const USAGE: &str = "tlsink send [OPTIONS] HOST:PORT [FILE]";
    let Some((to, files)) = free.split_first() else {
        return Err(Failure::misused("send needs HOST:PORT").hint(USAGE));
    };
    let to = parse_server(to, misplaced(free).as_deref().unwrap_or(USAGE))?;
    match files {
        [] => Ok((to, None)),
        [file] => Ok((to, (file != "-").then(|| PathBuf::from(file)))),
        [_, more, ..] => {
            let more = more.to_string_lossy();
            Err(Failure::misused(format!("unexpected argument {more}")).hint(USAGE))
        }
    }
}

/// A hint for a server whose port is an argument of its own, or that follows the file.
fn misplaced(free: &[OsString]) -> Option<String> {
    let [first, second, ..] = free else {
        return None;
    };
    let (first, second) = (first.to_string_lossy(), second.to_string_lossy());
    let together = format!("{first}:{second}");
    let is_server = |text: &str| HostPort::parse(text).is_ok();
    match is_server(&second) {
        true if is_server(&together) => Some(format!(
            "host and port are given together: tlsink send {together}"
        )),
        true => Some(format!(
            "the server comes before the file: tlsink send {second} {first}"
        )),
        false => None,
    }
}

fn framing(name: &str) -> Option<LineFraming> {
    match name {
        "octet" => Some(LineFraming::Octet),
        "relp" => Some(LineFraming::Relp),
        "none" => Some(LineFraming::None),
        _ => None,
    }
}

fn parse_compression(args: &mut Given, encode: Encoding) -> Result<Option<i32>, Failure> {
    let Some(given) = args.option("--level", text)? else {
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
    let ca = args.path("--ca");
    let fingerprint = args.option("--fingerprint", fingerprint)?;
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
    let chain = args.path("--cert");
    let key = args.path("--key");
    match (chain, key) {
        (Some(chain), Some(key)) => Ok(Some((chain, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(unpaired("--cert", "--key")),
        (None, Some(_)) => Err(unpaired("--key", "--cert")),
    }
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    text.parse()
        .map_err(|_| "expected 64 hexadecimal digits, with or without colons".to_owned())
}
