//! Receiving: starts listeners, threads and signal handlers, and runs them to the end.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_lite::future;
use smol::Executor;
use tlsink::decode::Format;
use tlsink::resume::Stateless;
use tlsink::{Address, BuildError, Server, ServerBuilder};

use super::args::{Destination, ListenArgs};
use super::networks;
use super::say::Say;
use super::{Failure, print, start_thread};

mod accept;
mod append;
mod binary;
mod check;
mod control;
mod credentials;
mod end;
mod exec;
mod file_limit;
mod files;
mod forward_key;
mod health;
#[cfg(feature = "kafka")]
mod kafka;
mod key_log;
mod lane;
mod lanes;
mod listener;
#[cfg(not(feature = "kafka"))]
mod no_kafka;
mod observed;
mod outlet;
mod rate_limited_log;
mod reader;
mod reason;
mod refusals;
mod reload;
mod service;
mod socket;
mod space;
mod state;
mod stats;
mod status;
mod target;

use accept::{Accepting, Acceptor};
use control::{Control, ControlEvent, signals, telling};
use credentials::Credentials;
use file_limit::{affordable_connections, max_connections, raise_file_limit};
use forward_key::forward_key;
use health::Health;
use key_log::{announce_key_log, key_log_file};
use lanes::{Surroundings, start_lanes};
use listener::{Bound, Listener, Listeners, say_unless_handed_on};
#[cfg(not(feature = "kafka"))]
use no_kafka as kafka;
use observed::Meter;
use outlet::open_outlet;
use rate_limited_log::RateLimitedLog;
use reader::Reader;
use refusals::Refusals;
use reload::Reload;
use service::Service;
use state::Positions;
use stats::Stats;
use status::{Status, StatusListener};

/// Receives until a signal or an error ends it.
///
/// # Errors
///
/// When it can't start, or when an error ended it.
pub(crate) fn run(args: ListenArgs, say: &Say) -> Result<(), Failure> {
    let say = say.with_level(args.level);
    if args.check {
        return print(&check::check(&args, &say)?);
    }
    let file_limit = raise_file_limit();
    let outlet = open_outlet(&args, file_limit, &say)?;
    // On a shared port, a program that waits for the state of another must not listen yet: the system
    // would give it connections.
    let positions = match &args.destination {
        Destination::Stdout {
            state: Some(folder),
            ..
        } => Some(Positions::open(folder, &say)?),
        _ => None,
    };
    let listeners = smol::block_on(Listeners::bind(&args.addresses, args.reuse_port, &say))?;
    let status = args.status.as_ref();
    let status = status.map(|address| StatusListener::bind(address, args.reuse_port, &say));
    let status = status.transpose()?;
    let credentials = Credentials::new(args.tls.clone(), listeners.tls_addresses())?;
    let fresh = credentials.fingerprint().map(str::to_owned);
    let fresh = fresh.filter(|_| listeners.have_tls());
    // The files of sockets are removed at the end.
    let Listeners {
        all: listeners,
        files: _files,
    } = listeners;
    let key_log = args.tls.key_log.then(key_log_file).transpose()?;
    let (tls, reload) = Reload::start(credentials, outlet.reopening(), &say)?;
    if let Some(file) = key_log {
        announce_key_log(&file, &say)?;
    }
    let (events, inbox) = async_channel::unbounded();
    let append = outlet.append_files();
    let backlog = outlet.backlog();
    let mut builder = server_builder(&args, listeners.len(), file_limit)?.tls(tls.clone());
    let is_resuming = args.destination.is_resuming();
    if let Some(positions) = positions {
        builder = builder.offsets(positions.start(telling(&events, ControlEvent::Unwritten))?);
    } else if is_resuming {
        builder = match &append {
            Some(files) => builder.offsets(files.handle.clone()),
            // The senders know, and so does whoever reads the topic.
            None => builder.offsets(Stateless::new()),
        };
    }
    if is_resuming && args.tls.clients.is_none() {
        say.info("without --client-ca, anybody who knows a stream's name can take it over");
    }
    let (server, sinks) = builder.build_lanes(args.lanes).map_err(unbuildable)?;

    let executor = Arc::new(Executor::new());
    let programs = outlet.programs();
    let (reports, reported) = async_channel::unbounded();
    executor
        .spawn(signals(events.clone(), reload.is_some())?)
        .detach();
    let reader = Reader::of(&args.destination);
    if let Some(reader) = reader.clone() {
        let gone = telling(&events, |()| ControlEvent::ReaderGone);
        let watching = async move {
            reader.gone().await;
            gone(());
        };
        executor.spawn(watching).detach();
    }
    let stats = args
        .stats
        .then(|| Stats::new(say.clone(), server.clone(), outlet.is_terminal()));
    let is_watched = status.is_some();
    let meters: Vec<_> = match is_watched {
        true => sinks.iter().map(|_| Meter::new()).collect(),
        false => Vec::new(),
    };
    let surroundings = Surroundings {
        say: &say,
        server: &server,
        events: &events,
        executor: &executor,
        meters: &meters,
    };
    let (lanes, json) = start_lanes(sinks, &args, outlet, surroundings)?;
    let health = Health::new(&lanes, &executor);
    let serving = status.map(|listener| {
        let status = Status {
            server: server.clone(),
            health: Arc::clone(&health),
            tls,
            meters,
            backlog: backlog.clone(),
        };
        listener.start(status, &say)
    });
    let _status_files = serving.transpose()?;
    let service = Service::new(health, server.clone(), is_watched);
    let refusals = json.zip(lanes.first()).map(|(json, lane)| {
        Refusals::new(
            json,
            Arc::clone(lane),
            telling(&events, ControlEvent::Unwritten),
            reports.clone(),
        )
    });
    start_executor(&executor, args.threads)?;
    if args.reuse_port {
        say_unless_handed_on(&say);
    }
    // A reader of this line may send, or stop us, right away.
    say_ready(&args, &listeners, fresh.as_deref(), &say);
    let log = RateLimitedLog::new(say.clone(), Arc::clone(&executor), refusals);
    let told = Arc::downgrade(&log);
    let acceptor = Acceptor {
        server: server.clone(),
        proxies: args.proxies.clone(),
        executor: Arc::clone(&executor),
        lanes,
        say: say.clone(),
        log,
        reader: reader.clone(),
        affordable: affordable_connections(&args, listeners.len(), file_limit)?,
        once: args.once,
        reports,
    };
    let accepting = Accepting::start(acceptor, listeners);
    service::ready(&say);
    let control = Control {
        accepting,
        stats,
        server,
        inbox,
        reported,
        say,
        reload,
        service,
        once: args.once,
        drain: args.drain,
        notice: args.drain_notice,
        reader,
        running: args.lanes + usize::from(backlog.is_some()) + usize::from(programs.is_some()),
        backlog,
        programs,
    };
    let result = smol::block_on(executor.run(control.run()));
    // While a connection is left, the log is not dropped.
    if let Some(log) = told.upgrade() {
        log.finish();
    }
    result
}

/// The settings that the user gave; the library has defaults for the others.
fn server_builder(
    args: &ListenArgs,
    listeners: usize,
    file_limit: Option<u64>,
) -> Result<ServerBuilder, Failure> {
    let mut builder = Server::builder()
        .decode(args.decode)
        .framing(args.framing)
        .max_per_ip(args.max_per_ip)
        .max_rate(args.rate)
        .max_age(args.max_age)
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
    if !args.allow_from.is_empty() {
        let allowed = args.allow_from.clone();
        builder = builder.allow(move |peer| match peer.address() {
            Address::Ip(address) => networks::include(&allowed, address.ip()),
            // The access to the socket decides who may connect.
            _ => true,
        });
    }
    if args.status.is_some() {
        builder = builder.count_clients(status::MAX_CLIENTS);
    }
    if let Some(file) = &args.forward_key {
        builder = forward_key(builder, file)?;
    }
    Ok(builder)
}

fn unbuildable(error: BuildError) -> Failure {
    Failure::misused(match error {
        BuildError::NoConnections => "--max-connections must be at least 1".to_owned(),
        BuildError::NoLanes => "--lanes must be at least 1".to_owned(),
        BuildError::TooLittleMemory { least } => format!("--max-memory must be at least {least}"),
        error => error.to_string(),
    })
}

fn say_ready(args: &ListenArgs, listeners: &[Listener], fresh: Option<&str>, say: &Say) {
    for listener in listeners {
        say.info(&format!("listening on {listener}"));
    }
    if let Some(fingerprint) = fresh {
        say.info(&format!(
            "fresh self-signed certificate, sha256 {fingerprint}"
        ));
        // A command that would be refused is no example.
        let takes_gzip = matches!(args.decode, Format::Auto | Format::Gzip);
        let mut with_tls = listeners.iter().filter(|listener| !listener.plain);
        if let Some(listener) = with_tls.next()
            && let Some(example) = example(&listener.address)
            && takes_gzip
            && args.tls.clients.is_none()
        {
            say.info(&format!("try: {example}"));
        }
    }
}

/// A command that sends something compressed and ends cleanly; `None` where it would be too long.
fn example(bound: &Bound) -> Option<String> {
    let Bound::Ip(bound) = bound else {
        return None;
    };
    let target = match bound {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("127.0.0.1:{}", v4.port()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("[::1]:{}", v6.port()),
        bound => bound.to_string(),
    };
    Some(format!(
        "echo hello | gzip | openssl s_client -connect {target} -quiet -no_ign_eof -nocommands 2>/dev/null"
    ))
}

/// Starts all handshake threads but the one that calls this.
fn start_executor(executor: &Arc<Executor<'static>>, threads: usize) -> Result<(), Failure> {
    (1..threads).try_for_each(|_| {
        let executor = Arc::clone(executor);
        start_thread("network", move || {
            smol::block_on(executor.run(future::pending::<()>()));
        })
    })
}
