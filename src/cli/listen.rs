//! Receiving: listeners, threads, signals, and how it all ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use async_signal::{Signal, Signals};
use futures_lite::{StreamExt, future, stream};
use smol::net::{TcpListener, TcpStream};
use smol::{Executor, Timer};
use tlsink::decode::Format;
use tlsink::output::{Lines, Raw};
use tlsink::{Output, OutputError, Report, Server, Sink, Tls, Totals};

use super::Failure;
use super::args::{Certificate, Listen, Printer};
use super::certificate::SelfSigned;
use super::say::Say;
use super::stdout::Stdout;

/// How long open streams may go on after the first signal to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// How long the output may take to be flushed after everything was cut.
const FLUSH: Duration = Duration::from_secs(1);

/// What the one that is in charge hears of.
enum Event {
    Signal,
    /// A lane ended.
    Lane(Result<Totals, OutputError>),
    /// A connection ended.
    Report(Report),
    /// No connection is left, and none will come.
    Through,
    /// The stop takes too long.
    Late,
}

/// Receives until it is told to stop.
///
/// # Errors
///
/// With what keeps it from running, or what ended it.
pub(crate) fn run(args: Listen, say: &Say) -> Result<(), Failure> {
    raise_file_limit();
    let stdout = Stdout::open()
        .map_err(|error| Failure::failed(format!("can't use standard output: {error}")))?;
    let executor = Arc::new(Executor::new());
    let (events, inbox) = async_channel::unbounded();
    let (reports, reported) = async_channel::unbounded();
    let listeners = smol::block_on(bind(&args.addresses))?;
    let (tls, fresh) = certificate(&args.certificate, &listeners)?;
    let (server, sinks) = Server::builder()
        .tls(tls)
        .decode(args.decode)
        .stop_after(args.once.then_some(1))
        .build_lanes(args.lanes)
        .map_err(|error| Failure::misused(error.to_string()))?;

    let signals = Signals::new([Signal::Term, Signal::Int])
        .map_err(|error| Failure::failed(format!("can't handle signals: {error}")))?;
    executor
        .spawn(forward_signals(signals, events.clone()))
        .detach();
    start_lanes(sinks, args.format, stdout, &events)?;
    start_executor(&executor, args.threads)?;
    // Whoever reads this may send, and stop us, right away.
    say_ready(&listeners, fresh.as_deref(), say);
    for (listener, _) in listeners {
        let serving = serve(
            server.clone(),
            listener,
            Arc::clone(&executor),
            say.clone(),
            reports.clone(),
        );
        executor.spawn(serving).detach();
    }
    drop(reports);
    let control = Control {
        server,
        inbox,
        reported,
        say,
        once: args.once,
        lanes: args.lanes,
    };
    smol::block_on(executor.run(control.run()))
}

async fn bind(addresses: &[String]) -> Result<Vec<(TcpListener, SocketAddr)>, Failure> {
    let mut listeners = Vec::new();
    for address in addresses {
        let failure =
            |error: io::Error| Failure::misused(format!("can't listen on {address}: {error}"));
        let listener = TcpListener::bind(address.as_str()).await.map_err(failure)?;
        let bound = listener.local_addr().map_err(failure)?;
        listeners.push((listener, bound));
    }
    Ok(listeners)
}

/// Loads or makes the certificate; of a fresh one, its fingerprint is known.
fn certificate(
    certificate: &Certificate,
    listeners: &[(TcpListener, SocketAddr)],
) -> Result<(Tls, Option<String>), Failure> {
    let exposed = listeners
        .iter()
        .find(|(_, bound)| !bound.ip().is_loopback());
    let names: Vec<String> = match (certificate, exposed) {
        (Certificate::Files { certificate, key }, _) => {
            return Tls::from_pem_files(certificate, key)
                .map(|tls| (tls, None))
                .map_err(|error| Failure::misused(error.to_string()));
        }
        (Certificate::SelfSigned(names), _) => names.clone(),
        (Certificate::Loopback, None) => {
            ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into()
        }
        (Certificate::Loopback, Some((_, bound))) => {
            return Err(Failure::misused(format!(
                "{bound} is not a loopback address, so it needs a certificate"
            ))
            .hint("give --cert and --key, or --self-signed with the names senders will use"));
        }
    };
    let fresh = SelfSigned::new(&names).map_err(|error| {
        Failure::misused(format!("can't make a certificate for these names: {error}"))
    })?;
    Ok((fresh.tls, Some(fresh.fingerprint)))
}

fn say_ready(listeners: &[(TcpListener, SocketAddr)], fresh: Option<&str>, say: &Say) {
    for (_, bound) in listeners {
        say.line(&format!("listening on {bound}"));
    }
    if let Some(fingerprint) = fresh {
        say.line(&format!(
            "fresh self-signed certificate, sha256 {fingerprint}"
        ));
        if let Some((_, bound)) = listeners.first() {
            say.line(&format!("try: {}", example(*bound)));
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

async fn forward_signals(mut signals: Signals, events: Sender<Event>) {
    while signals.next().await.is_some() {
        if events.send(Event::Signal).await.is_err() {
            return;
        }
    }
}

/// Starts a thread for each sink: printing blocks.
fn start_lanes(
    sinks: Vec<Sink>,
    printer: Printer,
    stdout: Stdout,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    match printer {
        Printer::Raw => {
            let raw = Raw::new(stdout);
            sinks
                .into_iter()
                .try_for_each(|sink| start_lane(sink, raw.clone(), events))
        }
        Printer::Lines => {
            let lines = Lines::new(stdout);
            sinks.into_iter().try_for_each(|sink| {
                let lines = lines.clone().memory(sink.memory());
                start_lane(sink, lines, events)
            })
        }
    }
}

fn start_lane(
    sink: Sink,
    output: impl Output + Send + 'static,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    let events = events.clone();
    start_thread("lane", move || {
        // Nobody is left to tell once the program is ending.
        let _ = events.try_send(Event::Lane(sink.run_blocking(output)));
    })
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

/// Accepts until the server is stopped.
async fn serve(
    server: Server,
    listener: TcpListener,
    executor: Arc<Executor<'static>>,
    say: Say,
    reports: Sender<Report>,
) {
    let mut failing = false;
    let incoming = stream::unfold(listener, |listener| async {
        Some((listener.accept().await, listener))
    })
    .inspect(
        |accepted: &io::Result<(TcpStream, SocketAddr)>| match accepted {
            Ok(_) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    say.line(&format!("can't accept: {error}"));
                }
            }
        },
    );
    let task_say = say.clone();
    server
        .serve(incoming, |connection| {
            let (say, reports) = (task_say.clone(), reports.clone());
            executor
                .spawn(async move {
                    let report = connection.await;
                    say_end(&report, &say);
                    // Nobody is left to tell once the program is ending.
                    let _ = reports.try_send(report);
                })
                .detach();
        })
        .await;
}

/// Says how a connection ended, in one line.
fn say_end(report: &Report, say: &Say) {
    let Report {
        peer,
        end,
        received,
        delivered,
        format,
        ..
    } = report;
    say.line(&match (report.established, format) {
        (false, _) => format!("{peer}: {end}"),
        // Too little came to tell.
        (true, Format::Auto) => {
            format!("{peer}: {received} bytes received, {delivered} delivered, {end}")
        }
        (true, _) => {
            format!("{peer}: {received} bytes received, {delivered} delivered, {format}, {end}")
        }
    });
    if let Some(hint) = end.hint() {
        say.hint(hint);
    }
}

/// Waits for what ends the program, and ends it in order.
struct Control<'a> {
    server: Server,
    inbox: Receiver<Event>,
    /// Closed once no connection is left, and none will come.
    reported: Receiver<Report>,
    say: &'a Say,
    once: bool,
    lanes: usize,
}

/// How far a stop has come.
#[derive(Clone, Copy)]
enum Stop {
    /// Nobody asked for one.
    Not,
    /// Open streams may go on until then.
    Draining(Instant),
    /// Everything is cut; the output may be flushed until then.
    Cut(Instant),
}

impl Control<'_> {
    async fn run(mut self) -> Result<(), Failure> {
        let mut stop = Stop::Not;
        let mut result = Ok(());
        let mut through = false;
        while self.lanes > 0 || !through {
            match (self.next(stop, through).await, stop) {
                (Event::Signal, Stop::Not) => stop = self.stop(),
                (Event::Signal, _) => {
                    result = result.and(Err(Failure::failed("stopped at once")));
                    stop = self.cut();
                }
                (Event::Lane(Ok(_)), _) => self.lanes -= 1,
                (Event::Lane(Err(error)), _) => {
                    self.lanes -= 1;
                    result = result.and(Err(Failure::failed(error.to_string())));
                    self.server.stop();
                    stop = self.cut();
                }
                (Event::Report(report), _) if self.once && report.established => {
                    if !report.end.is_clean() {
                        result = result.and(Err(Failure::failed("the stream was not clean")));
                    }
                    stop = self.cut();
                }
                (Event::Report(_), _) => {}
                (Event::Through, _) => through = true,
                (Event::Late, Stop::Draining(_)) => stop = self.cut(),
                (Event::Late, _) => {
                    if let Err(before) = result {
                        self.say.line(&before.what);
                    }
                    let hanging = "the output hangs; what it was given last is lost";
                    return Err(Failure::failed(hanging));
                }
            }
        }
        result
    }

    async fn next(&self, stop: Stop, through: bool) -> Event {
        let inbox = async {
            match self.inbox.recv().await {
                Ok(event) => event,
                Err(_) => future::pending().await,
            }
        };
        let report = async {
            match self.reported.recv().await {
                Ok(report) => Event::Report(report),
                Err(_) if through => future::pending().await,
                Err(_) => Event::Through,
            }
        };
        let late = async {
            match stop {
                Stop::Not => future::pending().await,
                Stop::Draining(until) | Stop::Cut(until) => Timer::at(until).await,
            };
            Event::Late
        };
        future::or(inbox, future::or(report, late)).await
    }

    fn stop(&self) -> Stop {
        self.server.stop();
        match self.server.connections() {
            0 => self.say.line("stopping"),
            open => self.say.line(&format!(
                "stopping: {open} streams open, up to {} s; again to stop now",
                DRAIN.as_secs()
            )),
        }
        Stop::Draining(Instant::now() + DRAIN)
    }

    fn cut(&self) -> Stop {
        self.server.cut();
        Stop::Cut(Instant::now() + FLUSH)
    }
}

/// Each connection takes a descriptor, and the usual soft limit of 1024 is soon used up.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it can't be raised, what there is has to do.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}
