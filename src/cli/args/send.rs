//! The options and arguments of `tlsink send`.

use std::ffi::OsString;
use std::path::PathBuf;

use tlsink::client::Fingerprint;

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
    pub(crate) timestamps: bool,
    pub(crate) level: Level,
}

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
    let args = &mut given;
    let framing = args.option("--framing", framing)?;
    let framing = framing.unwrap_or(LineFraming::None);
    let encode = args.option("--encode", encoding)?.unwrap_or(Encoding::Zstd);
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
    let retry = args.option("--retry", value::tries)?.unwrap_or(0);
    let timestamps = args.flag("--timestamps");
    let level = args.level()?;
    given.finish();
    let (to, file) = parse_places(free)?;
    Ok(SendArgs {
        name: name.unwrap_or_else(|| to.name().to_owned()),
        to,
        file,
        framing,
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

/// Parses the receiver and the file; `-` is standard input, as is no file.
fn parse_places(free: &[OsString]) -> Result<(HostPort, Option<PathBuf>), Failure> {
    const USAGE: &str = "tlsink send [OPTIONS] HOST:PORT [FILE]";
    let (to, file) = match free {
        [] => return Err(Failure::misused("send needs HOST:PORT").hint(USAGE)),
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

fn framing(name: &str) -> Result<LineFraming, String> {
    match &*name.to_ascii_lowercase() {
        "octet" => Ok(LineFraming::Octet),
        "relp" => Ok(LineFraming::Relp),
        "none" => Ok(LineFraming::None),
        _ => Err("expected octet, relp or none".to_owned()),
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

fn encoding(name: &str) -> Result<Encoding, String> {
    Encoding::parse(&name.to_ascii_lowercase())
        .ok_or_else(|| "expected zstd, gzip, zlib or none".to_owned())
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    text.parse()
        .map_err(|_| "expected 64 hexadecimal digits, with or without colons".to_owned())
}
