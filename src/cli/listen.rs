//! Receiving: listeners, threads, signals, and how it all ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use async_channel::Sender;
use futures_lite::future;
use smol::Executor;
use tlsink::limits::MAX_CONNECTIONS;
use tlsink::output::{Json, Lines, Raw};
use tlsink::{BuildError, Builder, Conn, End, Output, Server, Sink, Tls, TlsBuilder, TlsError};

use super::Failure;
use super::accept::{self, Acceptor, Listener};
use super::args::{Certificate, LOCAL_NAMES, Listen, Printer};
use super::certificate::SelfSigned;
use super::control::{Control, Event, stop_signals};
use super::output::Target;
use super::probes::Probes;
use super::say::{Level, Say};
use super::stats::Stats;

/// Descriptors that are not for connections: standard ones, listeners, the reactor's.
const RESERVED_FILES: u64 = 32;

/// Receives until it is told to stop.
///
/// # Errors
///
/// With what keeps it from running, or what ended it.
pub(crate) fn run(args: Listen, say: &Say) -> Result<(), Failure> {
    let say = say.with_level(args.level);
    let files = raise_file_limit();
    let target = open_target(&args)?;
    let listeners = smol::block_on(async {
        let mut listeners = Vec::new();
        for address in &args.addresses {
            listeners.push(Listener::bind(address).await?);
        }
        Ok(listeners)
    })?;
    let (tls, fresh) = certificate(&args, &listeners)?;
    warn(&args, &tls, &say)?;
    let (server, sinks) = settings(&args, files)
        .tls(tls)
        .build_lanes(args.lanes)
        .map_err(unbuildable)?;

    let executor = Arc::new(Executor::new());
    let (events, inbox) = async_channel::unbounded();
    let (reports, reported) = async_channel::unbounded();
    executor.spawn(stop_signals(events.clone())?).detach();
    let stats = args
        .stats
        .then(|| Stats::new(say.clone(), server.clone(), &target));
    start_lanes(sinks, &args, target, &say, &events)?;
    start_executor(&executor, args.threads)?;
    // Whoever reads this may send, and stop us, right away.
    say_ready(&listeners, fresh.as_deref(), &say);
    let probes = Probes::new(say.clone(), Arc::clone(&executor));
    let acceptor = Acceptor {
        server: server.clone(),
        executor: Arc::clone(&executor),
        say: say.clone(),
        probes: probes.clone(),
        reports,
    };
    for listener in listeners {
        executor.spawn(acceptor.clone().serve(listener)).detach();
    }
    drop(acceptor);
    let control = Control {
        stats,
        server,
        inbox,
        reported,
        say,
        once: args.once,
        drain: args.drain,
        lanes: args.lanes,
    };
    let result = smol::block_on(executor.run(control.run()));
    probes.finish();
    result
}

fn open_target(args: &Listen) -> Result<Target, Failure> {
    match &args.output {
        Some(path) => Target::append(path).map_err(|error| {
            let failure = Failure::misused(format!("can't open {}: {error}", path.display()));
            match error.kind() {
                io::ErrorKind::NotFound => {
                    failure.hint("--output makes the file, but not the folder that it is in")
                }
                io::ErrorKind::IsADirectory => failure.hint("give --output a file in it"),
                _ => failure,
            }
        }),
        None => Target::stdout()
            .map_err(|error| Failure::failed(format!("can't use standard output: {error}"))),
    }
}

/// What was given; the library's defaults for what was not.
fn settings(args: &Listen, files: Option<u64>) -> Builder {
    let mut builder = Server::builder()
        .decode(args.decode)
        .max_per_ip(args.max_per_ip)
        .max_decoded(args.max_decoded)
        .stop_after(args.once.then_some(1));
    if let Some(connections) = args.max_connections {
        builder = builder.max_connections(connections);
    } else if let Some(files) = files {
        let allowed = usize::try_from(files.saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX);
        builder = builder.max_connections(allowed.clamp(1, MAX_CONNECTIONS));
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
    builder
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

/// Loads or makes the certificate; of a fresh one, its fingerprint is known.
fn certificate(args: &Listen, listeners: &[Listener]) -> Result<(Tls, Option<String>), Failure> {
    let tls = Tls::builder()
        .min_version(args.tls_min)
        .key_log(args.key_log);
    let exposed = listeners
        .iter()
        .find(|listener| !listener.address.ip().is_loopback());
    match (&args.certificate, exposed) {
        (Certificate::Files { certificate, key }, _) => tls
            .from_pem_files(certificate, key)
            .map(|tls| (tls, None))
            .map_err(unusable),
        (Certificate::SelfSigned(names), _) => self_signed(tls, names),
        (Certificate::Loopback, None) => self_signed(tls, &LOCAL_NAMES.map(str::to_owned)),
        (Certificate::Loopback, Some(listener)) => Err(Failure::misused(format!(
            "{} is not a loopback address, so it needs a certificate",
            listener.address.ip()
        ))
        .hint("give --cert and --key, or --self-signed with the names senders will use")),
    }
}

fn self_signed(tls: TlsBuilder, names: &[String]) -> Result<(Tls, Option<String>), Failure> {
    SelfSigned::new(tls, names)
        .map(|fresh| (fresh.tls, Some(fresh.fingerprint)))
        .map_err(|error| {
            Failure::misused(format!("can't make a certificate for these names: {error}")).hint(
                "give --self-signed names such as sink.example or *.sink.example, and addresses \
                 without port, separated by commas",
            )
        })
}

fn unusable(error: TlsError) -> Failure {
    let failure = Failure::misused(error.to_string());
    let mut cause = &error;
    while let TlsError::File { source, .. } = cause {
        cause = source;
    }
    match cause {
        TlsError::EncryptedKey => {
            failure.hint("decrypt it first: openssl pkey -in KEY -out PLAIN-KEY")
        }
        TlsError::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            failure.hint("the user who runs tlsink must be allowed to read it")
        }
        TlsError::Missing { .. } => failure
            .hint("certificates and keys are PEM files, with lines that begin with -----BEGIN"),
        TlsError::Pem { .. } => {
            failure.hint("the file is damaged, or not all of it was copied: get it anew")
        }
        TlsError::UnusableKey => {
            failure.hint("keys are RSA, ECDSA on P-256 or P-384, or Ed25519, and not damaged")
        }
        TlsError::WrongKey => failure
            .hint("--cert and --key must belong together, the server's own certificate first"),
        _ => failure,
    }
}

/// Says what is allowed, but better known.
fn warn(args: &Listen, tls: &Tls, say: &Say) -> Result<(), Failure> {
    if let Some(end) = tls.expired() {
        let end = time::OffsetDateTime::from(end).date();
        say.line(
            Level::Error,
            &format!("the certificate expired on {end}"),
            Some("senders that verify it will refuse it"),
        );
    }
    if args.key_log {
        let file = std::env::var_os("SSLKEYLOGFILE")
            .filter(|file| !file.is_empty())
            .ok_or_else(|| {
                Failure::misused("--key-log needs a file's name in SSLKEYLOGFILE")
                    .hint("SSLKEYLOGFILE=FILE tlsink --key-log writes the secrets to FILE")
            })?;
        say.error(&format!(
            "the secrets of all connections are written to {}",
            file.to_string_lossy()
        ));
    }
    Ok(())
}

fn say_ready(listeners: &[Listener], fresh: Option<&str>, say: &Say) {
    for listener in listeners {
        say.info(&format!("listening on {}", listener.address));
    }
    if let Some(fingerprint) = fresh {
        say.info(&format!(
            "fresh self-signed certificate, sha256 {fingerprint}"
        ));
        if let Some(listener) = listeners.first() {
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

/// Starts a thread for each sink: printing blocks.
fn start_lanes(
    sinks: Vec<Sink>,
    args: &Listen,
    target: Target,
    say: &Say,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    match args.printer {
        Printer::Raw => {
            let raw = Raw::new(target);
            sinks
                .into_iter()
                .try_for_each(|sink| start_lane(sink, raw.clone(), say, events))
        }
        Printer::Lines { label } => {
            let escape = target.is_terminal();
            let mut lines = Lines::new(target).labels(label).escape(escape);
            if let Some(bytes) = args.max_line {
                lines = lines.max_line(bytes);
            }
            sinks.into_iter().try_for_each(|sink| {
                let lines = lines.clone().memory(sink.memory());
                start_lane(sink, lines, say, events)
            })
        }
        Printer::Json => {
            let mut json = Json::new(target);
            if let Some(bytes) = args.max_line {
                json = json.max_line(bytes);
            }
            sinks.into_iter().try_for_each(|sink| {
                let json = json.clone().memory(sink.memory());
                start_lane(sink, json, say, events)
            })
        }
    }
}

fn start_lane(
    sink: Sink,
    output: impl Output + Send + 'static,
    say: &Say,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    let events = events.clone();
    let output = Announcing {
        output,
        say: say.clone(),
    };
    start_thread("lane", move || {
        // Nobody is left to tell once the program is ending.
        let _ = events.try_send(Event::Lane(sink.run_blocking(output)));
    })
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

    fn open(&mut self, connection: &Conn) -> io::Result<()> {
        self.say
            .detail(|| format!("{}: open", accept::name(connection.peer())));
        self.output.open(connection)
    }

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        self.output.close(connection, end)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Starts all executor threads but the one that calls this.
fn start_executor(executor: &Arc<Executor<'static>>, threads: usize) -> Result<(), Failure> {
    (1..threads).try_for_each(|_| {
        let executor = Arc::clone(executor);
        start_thread("network", move || {
            smol::block_on(executor.run(future::pending::<()>()));
        })
    })
}

fn start_thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|error| Failure::failed(format!("can't start a thread: {error}")))
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
