//! Receiving: listeners, threads, signals, and how it all ends.

use std::env;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_channel::Sender;
use futures_lite::future;
use smol::Executor;
use tlsink::decode::Format;
use tlsink::limits::MAX_CONNECTIONS;
use tlsink::output::{Files, Json, Lines, Portion, Raw, label};
use tlsink::{BuildError, Conn, End, Output, Server, ServerBuilder, Sink};

use super::accept::{Acceptor, Listener};
use super::args::{Destination, Listen, Printer};
use super::control::{Control, Event, signals};
use super::files::{self, Naming};
use super::journal::Journal;
use super::lane::{self, Tasks};
use super::material::Material;
use super::output::{Form, Reopen, Target, end_line};
use super::patience::Patience;
use super::probes::Probes;
use super::reload::Reload;
use super::say::Say;
use super::stats::Stats;
use super::{Failure, start_thread};

/// Descriptors that are not for connections: standard ones, the reactor's, some listeners'.
const RESERVED_FILES: u64 = 32;

/// What each listener takes: itself, and a socket that it has accepted before there is a place.
const FILES_PER_LISTENER: u64 = 2;

/// So many listeners have room among the [reserved](RESERVED_FILES) ones.
const RESERVED_LISTENERS: usize = 4;

/// Receives until it is told to stop.
///
/// # Errors
///
/// With what keeps it from running, or what ended it.
pub(crate) fn run(args: Listen, say: &Say) -> Result<(), Failure> {
    let say = say.with_level(args.level);
    let file_limit = raise_file_limit();
    let outlet = open_outlet(&args, &say)?;
    let listeners = smol::block_on(async {
        let mut listeners = Vec::new();
        for address in &args.addresses {
            let bound = Listener::bind(address, &listeners, &say).await?;
            listeners.extend(bound);
        }
        Ok(listeners)
    })?;
    let material = Material::new(args.tls.clone(), &listeners)?;
    let fresh = material.fingerprint().map(str::to_owned);
    let key_log = args.tls.key_log.then(key_log_file).transpose()?;
    let (tls, reload) = Reload::start(material, outlet.reopen(), &say)?;
    if let Some(file) = key_log {
        announce_key_log(&file, &say)?;
    }
    let (server, sinks) = settings(&args, listeners.len(), file_limit)?
        .tls(tls)
        .build_lanes(args.lanes)
        .map_err(unbuildable)?;

    let executor = Arc::new(Executor::new());
    let (events, inbox) = async_channel::unbounded();
    let (reports, reported) = async_channel::unbounded();
    executor
        .spawn(signals(events.clone(), reload.is_some())?)
        .detach();
    let stats = args
        .stats
        .then(|| Stats::new(say.clone(), server.clone(), outlet.is_terminal()));
    let (lanes, json) = start_lanes(sinks, &args, outlet, &say, &server, &events)?;
    let journal = json
        .zip(lanes.first())
        .map(|(json, lane)| Journal::new(json, Arc::clone(lane), events, reports.clone()));
    start_executor(&executor, args.threads)?;
    // Whoever reads this may send, and stop us, right away.
    say_ready(&args, &listeners, fresh.as_deref(), &say);
    let probes = Probes::new(say.clone(), Arc::clone(&executor), journal);
    let told = Arc::downgrade(&probes);
    let acceptor = Arc::new(Acceptor {
        server: server.clone(),
        executor: Arc::clone(&executor),
        lanes,
        say: say.clone(),
        probes,
        once: args.once,
        reports,
    });
    for listener in listeners {
        executor
            .spawn(Arc::clone(&acceptor).serve(listener))
            .detach();
    }
    drop(acceptor);
    let control = Control {
        stats,
        server,
        inbox,
        reported,
        say,
        reload,
        once: args.once,
        drain: args.drain,
        lanes: args.lanes,
    };
    let result = smol::block_on(executor.run(control.run()));
    // When connections are left, it is not dropped.
    if let Some(probes) = told.upgrade() {
        probes.finish();
    }
    result
}

/// Where the data goes, opened.
enum Outlet {
    /// All of it to the same place.
    Target(Target),
    Files(Files),
}

impl Outlet {
    fn is_terminal(&self) -> bool {
        match self {
            Outlet::Target(target) => target.is_terminal(),
            Outlet::Files(_) => false,
        }
    }

    fn reopen(&self) -> Option<Reopen> {
        match self {
            Outlet::Target(target) => target.reopen(),
            Outlet::Files(_) => None,
        }
    }
}

fn open_outlet(args: &Listen, say: &Say) -> Result<Outlet, Failure> {
    let form = match args.printer {
        Printer::Lines { .. } | Printer::Json => Form::Lines,
        Printer::Raw => Form::Bytes,
    };
    match &args.destination {
        Destination::Directory(directory) => files::open(directory).map(Outlet::Files),
        Destination::File(path) => append(path, form, say).map(Outlet::Target),
        Destination::Stdout => {
            Target::stdout(form)
                .map(Outlet::Target)
                .map_err(|error| match error.kind() {
                    io::ErrorKind::NotConnected => unconnected("standard output"),
                    _ => Failure::failed(format!("can't use standard output: {error}")),
                })
        }
    }
}

fn append(path: &Path, form: Form, say: &Say) -> Result<Target, Failure> {
    let shown = path.display();
    let _patience = Patience::new(say, path, "reads");
    Target::append(path, form).map_err(|error| {
        let failure = Failure::misused(format!("can't open {shown}: {error}"));
        match error.kind() {
            io::ErrorKind::NotConnected => unconnected(&shown.to_string()),
            io::ErrorKind::NotFound => {
                failure.hint("--output makes the file, but not the folder that it is in")
            }
            io::ErrorKind::IsADirectory => {
                failure.hint("give --output a file in it, or --output-dir the directory")
            }
            _ => failure,
        }
    })
}

/// The error for an output that was closed: receipts would be given for data that is nowhere.
fn unconnected(what: &str) -> Failure {
    Failure::misused(format!(
        "nothing is connected to {what}, so all data would be lost"
    ))
    .hint("give --output a file; --output /dev/null throws all data away")
}

/// What was given; the library's defaults for what was not.
fn settings(
    args: &Listen,
    listeners: usize,
    file_limit: Option<u64>,
) -> Result<ServerBuilder, Failure> {
    let mut builder = Server::builder()
        .decode(args.decode)
        .max_per_ip(args.max_per_ip)
        .max_decoded(args.max_decoded)
        .receipts(args.receipt)
        .stop_after(args.once.then_some(1));
    if let Some(connections) = max_connections(args, listeners, file_limit)? {
        builder = builder.max_connections(connections);
    }
    if let Some(limit) = args.handshake_timeout {
        builder = builder.handshake_timeout(limit);
    }
    if let Some(limit) = args.idle_timeout {
        builder = builder.idle_timeout(limit);
    }
    if let Some(bytes) = args.max_window {
        builder = builder.max_window(bytes);
    }
    if let Some(bytes) = args.max_memory {
        builder = builder.max_memory(bytes);
    }
    Ok(builder)
}

/// What was given; else as many as there can be files for, if that is limited.
fn max_connections(
    args: &Listen,
    listeners: usize,
    file_limit: Option<u64>,
) -> Result<Option<usize>, Failure> {
    let Some(limit) = file_limit else {
        return Ok(args.max_connections);
    };
    let (lanes, each) = match &args.destination {
        // A lane that syncs opens the directory; a connection has a socket and a file.
        Destination::Directory(_) => (args.lanes as u64, 2),
        Destination::Stdout | Destination::File(_) => (0, 1),
    };
    let listeners = listeners.saturating_sub(RESERVED_LISTENERS) as u64;
    let reserved = RESERVED_FILES + listeners * FILES_PER_LISTENER;
    let free = limit.saturating_sub(reserved).saturating_sub(lanes);
    let allowed = usize::try_from(free / each).unwrap_or(usize::MAX).max(1);
    match args.max_connections {
        // A socket too many just has to wait, but a file that can't be made ends its stream.
        Some(given) if each > 1 && given > allowed => Err(Failure::misused(format!(
            "--max-connections {given} with --output-dir takes more open files than the {limit} \
             that are allowed"
        ))
        .hint(format!(
            "allow more open files (ulimit -Hn), or give --max-connections at most {allowed}"
        ))),
        Some(given) => Ok(Some(given)),
        None => Ok(Some(allowed.min(MAX_CONNECTIONS))),
    }
}

fn unbuildable(error: BuildError) -> Failure {
    match error {
        BuildError::TooSmall { setting, least } => {
            let option = setting.replace('_', "-");
            Failure::misused(format!("--{option} must be at least {least}"))
        }
        error => Failure::misused(error.to_string()),
    }
}

/// Says that the secrets are written down, which needs a place to write them.
/// The file that secrets are to be written to. If it is there, it must be our own: its owner can read
/// it, whatever its permissions.
fn key_log_file() -> Result<PathBuf, Failure> {
    let file = env::var_os("SSLKEYLOGFILE")
        .filter(|file| !file.is_empty())
        .map(PathBuf::from)
        .ok_or_else(|| {
            Failure::misused("--key-log needs a file's name in SSLKEYLOGFILE")
                .hint("SSLKEYLOGFILE=FILE tlsink --key-log writes the secrets to FILE")
        })?;
    let is_anothers = fs::metadata(&file).is_ok_and(|metadata| {
        metadata.is_file() && metadata.uid() != rustix::process::geteuid().as_raw()
    });
    match is_anothers {
        false => Ok(file),
        true => Err(Failure::misused(format!(
            "{} is not for secrets: it belongs to another user",
            file.display()
        ))
        .hint("name a file in SSLKEYLOGFILE that is not there, in a folder of your own")),
    }
}

/// Says where the secrets are written. A secret behind half a line is one that nobody can use.
fn announce_key_log(file: &Path, say: &Say) -> Result<(), Failure> {
    let shown = file.display();
    OpenOptions::new()
        .append(true)
        .open(file)
        .and_then(|mut file| end_line(&mut file))
        .map_err(|error| Failure::misused(format!("can't write to {shown}: {error}")))?;
    say.error(&format!(
        "the secrets of all connections are written to {shown}"
    ));
    Ok(())
}

fn say_ready(args: &Listen, listeners: &[Listener], fresh: Option<&str>, say: &Say) {
    for listener in listeners {
        say.info(&format!("listening on {}", listener.address));
    }
    if let Some(fingerprint) = fresh {
        say.info(&format!(
            "fresh self-signed certificate, sha256 {fingerprint}"
        ));
        // A command that would be refused is none to try.
        let takes_gzip = matches!(args.decode, Format::Auto | Format::Gzip);
        if let Some(listener) = listeners.first()
            && takes_gzip
            && args.tls.clients.is_none()
        {
            say.info(&format!("try: {}", example(listener.address)));
        }
    }
}

/// A command that sends something compressed and ends cleanly.
fn example(bound: SocketAddr) -> String {
    let target = match bound {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("127.0.0.1:{}", v4.port()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("[::1]:{}", v6.port()),
        bound => bound.to_string(),
    };
    format!(
        "echo hello | gzip | openssl s_client -connect {target} -quiet -no_ign_eof -nocommands 2>/dev/null"
    )
}

/// The lanes, and the output that they share if it has objects.
type Lanes = (Vec<Tasks>, Option<Json<Target>>);

/// Starts a lane for each sink.
fn start_lanes(
    sinks: Vec<Sink>,
    args: &Listen,
    outlet: Outlet,
    say: &Say,
    server: &Server,
    events: &Sender<Event>,
) -> Result<Lanes, Failure> {
    let target = match outlet {
        Outlet::Target(target) => target,
        Outlet::Files(files) => {
            let say = say.clone();
            let naming = Naming { files, say };
            let lanes = start_each(sinks, &naming.say, server, events, |_| naming.clone())?;
            return Ok((lanes, None));
        }
    };
    let lanes = match args.printer {
        Printer::Raw => {
            let raw = Raw::new(target);
            start_each(sinks, say, server, events, |_| raw.clone())
        }
        Printer::Lines { label } => {
            let escape = target.is_terminal();
            let mut lines = Lines::new(target).labels(label).escape(escape);
            if let Some(bytes) = args.max_line {
                lines = lines.max_line(bytes);
            }
            start_each(sinks, say, server, events, |sink| {
                lines.clone().memory(sink.memory())
            })
        }
        Printer::Json => {
            let mut json = Json::new(target);
            if let Some(bytes) = args.max_line {
                json = json.max_line(bytes);
            }
            let lanes = start_each(sinks, say, server, events, |sink| {
                json.clone().memory(sink.memory())
            })?;
            return Ok((lanes, Some(json)));
        }
    };
    Ok((lanes?, None))
}

fn start_each<O: Output + Send + 'static>(
    sinks: Vec<Sink>,
    say: &Say,
    server: &Server,
    events: &Sender<Event>,
    output: impl Fn(&Sink) -> O,
) -> Result<Vec<Tasks>, Failure> {
    sinks
        .into_iter()
        .map(|sink| {
            let output = Announcing {
                output: output(&sink),
                say: say.clone(),
            };
            lane::start(sink, output, server.clone(), events.clone())
        })
        .collect()
}

/// An output that says each open.
struct Announcing<O> {
    output: O,
    say: Say,
}

impl<O: Output> Output for Announcing<O> {
    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        self.output.data(connection, bytes)
    }

    fn turn(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<Portion> {
        self.output.turn(connection, bytes)
    }

    fn open(&mut self, connection: &Conn) -> io::Result<()> {
        self.say
            .detail(|| format!("{}: open", label(connection.peer())));
        self.output.open(connection)
    }

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        self.output.close(connection, end)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Starts all threads for handshakes but the one that calls this.
fn start_executor(executor: &Arc<Executor<'static>>, threads: usize) -> Result<(), Failure> {
    (1..threads).try_for_each(|_| {
        let executor = Arc::clone(executor);
        start_thread("network", move || {
            smol::block_on(executor.run(future::pending::<()>()));
        })
    })
}

/// Each connection takes a descriptor, and the usual soft limit of 1024 is soon used up. Returns
/// how many there may be, if that is limited.
fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // What there is has to do.
        Err(_) => limit.current,
    }
}
