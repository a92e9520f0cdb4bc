//! Signals, statistics and the end of the program.

use std::io;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use async_signal::Signal;
use futures_lite::{StreamExt, future};
use smol::Timer;
use tlsink::output::OutputError;
use tlsink::{Cut, End, Report, Server, Totals};

use super::super::Failure;
use super::super::count::{Count, Loss};
use super::super::say::Say;
use super::super::signals;
use super::accept::Accepting;
use super::exec::Programs;
use super::outlet::Backlog;
use super::reader::Reader;
use super::reload::Reload;
use super::service::Service;
use super::stats::Stats;

/// After everything was cut, the output counts as hanging when it makes no progress for this long.
const FLUSH: Duration = Duration::from_secs(10);

/// The time for flushing the output after a second signal.
const FLUSH_AT_ONCE: Duration = Duration::from_secs(1);

/// An event that [`Control`] handles.
pub(crate) enum ControlEvent {
    /// A signal that asks the program to stop.
    Signal,
    /// SIGHUP, where something can be reloaded.
    Reload,
    /// A lane ended.
    Lane(Result<Totals, OutputError>),
    /// The thread that appends to files, or produces records, ended.
    Writer(io::Result<()>),
    /// No program of a stream is left, and none will be started.
    Programs,
    /// Nobody reads the output any more.
    ReaderGone,
    /// A refusal could not be written to the output.
    Unwritten(io::Error),
    /// A connection ended.
    Report(Report),
    /// No connection is left, and none will come.
    Through,
    /// The next line of statistics is due.
    Stats,
    /// The next sign of life is due.
    Beat,
    /// The deadline of the stop has passed.
    Late,
}

/// A function that tells the control loop of something that happened.
pub(super) fn telling<T>(
    events: &Sender<ControlEvent>,
    event: impl Fn(T) -> ControlEvent + Send + Sync + 'static,
) -> impl Fn(T) + Send + Sync + 'static {
    let events = events.clone();
    move |happened| {
        // Nobody listens any more once the program is ending.
        let _ = events.try_send(event(happened));
    }
}

/// Forwards the signals that ask the program to stop, or, if `reloads`, to reload. A signal that
/// was ignored at start stays ignored, except the one that reloads.
///
/// # Errors
///
/// When they can't be handled.
pub(crate) fn signals(
    events: Sender<ControlEvent>,
    reloads: bool,
) -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let stopping = signals::unless_ignored([Signal::Term, Signal::Int, Signal::Hup]);
    let mut signals = signals::handle(stopping.chain(reloads.then_some(Signal::Hup)))?;
    Ok(async move {
        while let Some(signal) = signals.next().await {
            let event = match signal {
                Ok(Signal::Hup) if reloads => ControlEvent::Reload,
                _ => ControlEvent::Signal,
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    })
}

/// Runs the program to its end.
pub(crate) struct Control {
    pub(crate) accepting: Accepting,
    pub(crate) server: Server,
    pub(crate) inbox: Receiver<ControlEvent>,
    /// Closed once no connection is left, and none will come.
    pub(crate) reported: Receiver<Report>,
    pub(crate) say: Say,
    /// Requests a reload, where something can be reloaded.
    pub(crate) reload: Option<Reload>,
    pub(crate) stats: Option<Stats>,
    pub(crate) service: Service,
    pub(crate) once: bool,
    pub(crate) drain: Duration,
    /// The time between the request to stop and the stop.
    pub(crate) notice: Duration,
    /// The number of running lanes, and of threads that append to files or produce records; the programs
    /// of all streams are one more.
    pub(crate) running: usize,
    /// The bytes that such a thread has yet to deal with, if there is one.
    pub(crate) backlog: Option<Backlog>,
    /// The programs of the streams, if there are any.
    pub(crate) programs: Option<Programs>,
    /// The reader of the data, if it goes through a pipe.
    pub(crate) reader: Option<Reader>,
}

/// The stages of a stop.
#[derive(Clone, Copy)]
enum Stop {
    /// No stop was requested.
    Not,
    /// A stop was requested. Until this time, if there is a limit, the program goes on as before, and its
    /// health says that it will stop.
    Announced(Option<Instant>),
    /// Open streams may go on until this time, if there is a limit.
    Draining(Option<Instant>),
    /// Everything is cut. The output may be flushed until this time, and for longer while it makes
    /// progress: while these numbers change.
    Cut {
        until: Instant,
        before: (Totals, usize),
    },
    /// A second signal came: the output may be flushed until this time.
    AtOnce(Instant),
}

/// The errors of the output, which all lanes share.
#[derive(Default)]
struct Broken {
    /// The errors of all lanes that failed, combined.
    lanes: Option<OutputError>,
    /// The error of writing a refusal, or of the thread that appends to files or produces records.
    writer: Option<io::Error>,
    /// Nobody reads the output any more.
    unread: bool,
}

impl Control {
    /// Runs until all lanes and their writer have ended, and all connections have said how they ended.
    ///
    /// # Errors
    ///
    /// With the first error.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let result = self.until_the_end().await;
        if let Some(stats) = &self.stats {
            stats.finish();
        }
        result
    }

    async fn until_the_end(&mut self) -> Result<(), Failure> {
        let mut stop = Stop::Not;
        let mut result = Ok(());
        let mut through = false;
        let mut came = false;
        let mut broken = Broken::default();
        while self.running > 0 || !through {
            match (self.next(stop, through).await, stop) {
                (ControlEvent::Reload, _) => {
                    if let Some(reload) = &self.reload {
                        reload.request();
                    }
                }
                (ControlEvent::Signal, Stop::Not) if !self.notice.is_zero() => {
                    stop = self.announce_stop();
                }
                (ControlEvent::Signal, Stop::Not | Stop::Announced(_))
                | (ControlEvent::Late, Stop::Announced(_)) => stop = self.stop().await,
                // No connection is left to cut: timeout(1), for one, sends its signal twice.
                (ControlEvent::Signal, _) if self.server.connections() == 0 => {}
                (ControlEvent::Signal, _) => {
                    result = result.and(Err(Failure::failed("stopped at once")));
                    stop = self.cut_at_once();
                }
                (ControlEvent::Lane(Ok(_)), _) => self.running -= 1,
                (ControlEvent::Lane(Err(error)), _) => {
                    self.running -= 1;
                    broken.lanes = Some(match broken.lanes {
                        Some(first) => first.and(&error),
                        None => error,
                    });
                    self.server.stop();
                    stop = self.cut_at_once();
                }
                (ControlEvent::Writer(Ok(())) | ControlEvent::Programs, _) => self.running -= 1,
                (ControlEvent::Writer(Err(error)), _) => {
                    self.running -= 1;
                    broken.writer = Some(error);
                    self.server.stop();
                    stop = self.cut_at_once();
                }
                (ControlEvent::Unwritten(error), _) => {
                    broken.writer = Some(error);
                    self.server.stop();
                    stop = self.cut_at_once();
                }
                (ControlEvent::ReaderGone, _) => {
                    broken.unread = true;
                    self.server.stop();
                    stop = self.cut_at_once();
                }
                (ControlEvent::Report(report), _) if self.once && report.established => {
                    came = true;
                    // When the sink is gone, its lane has failed, and reports the reason.
                    let failed = report.end == End::Cut(Cut::SinkGone);
                    if !report.end.is_clean() && !failed {
                        result = result.and(Err(Failure::failed("the stream was not clean")));
                    }
                    stop = self.cut();
                }
                (ControlEvent::Report(_), _) => {}
                (ControlEvent::Through, _) => through = true,
                (ControlEvent::Stats, _) => {
                    if let Some(stats) = &mut self.stats {
                        stats.tick();
                    }
                }
                (ControlEvent::Beat, _) => self.service.tick(),
                (ControlEvent::Late, Stop::Draining(_)) => stop = self.cut(),
                (ControlEvent::Late, Stop::Cut { before, .. }) if self.progress() != before => {
                    stop = self.cut();
                }
                (ControlEvent::Late, _) => {
                    if let Err(before) = self.unless_broken(result, broken) {
                        self.say.error(&before.what);
                    }
                    return Err(self.hanging());
                }
            }
            if !matches!(stop, Stop::Not) {
                self.service.stopping();
            }
        }
        result = self.unless_broken(result, broken);
        // A caller that waits for one stream must not mistake an empty output for it.
        if self.once && !came {
            result = result.and(Err(Failure::failed("stopped before a stream came")));
        }
        result
    }

    /// Returns the error of the output, if there is one, after saying the other error.
    fn unless_broken(&self, result: Result<(), Failure>, broken: Broken) -> Result<(), Failure> {
        let what = match broken {
            // Streams that are not clean for this are no other error.
            Broken { unread, lanes, .. } if unread || is_unread(lanes.as_ref()) => {
                return Err(self.unread(lanes.as_ref()));
            }
            Broken {
                lanes: Some(error), ..
            } => error.to_string(),
            Broken {
                writer: Some(error),
                ..
            } => format!("can't write the output: {error}"),
            _ => return result,
        };
        if let Err(before) = result {
            self.say.error(&before.what);
        }
        Err(Failure::failed(what))
    }

    async fn next(&self, stop: Stop, through: bool) -> ControlEvent {
        let inbox = async {
            match self.inbox.recv().await {
                Ok(event) => event,
                Err(_) => future::pending().await,
            }
        };
        let report = async {
            match self.reported.recv().await {
                Ok(report) => ControlEvent::Report(report),
                Err(_) if through => future::pending().await,
                Err(_) => ControlEvent::Through,
            }
        };
        let late = async {
            match stop {
                Stop::Not | Stop::Announced(None) | Stop::Draining(None) => future::pending().await,
                Stop::Announced(Some(until))
                | Stop::Draining(Some(until))
                | Stop::Cut { until, .. }
                | Stop::AtOnce(until) => Timer::at(until).await,
            };
            ControlEvent::Late
        };
        let stats = async {
            match &self.stats {
                Some(stats) => Timer::at(stats.due()).await,
                None => future::pending().await,
            };
            ControlEvent::Stats
        };
        let beat = async {
            match self.service.due() {
                Some(due) => Timer::at(due).await,
                None => future::pending().await,
            };
            ControlEvent::Beat
        };
        let timers = future::or(late, future::or(stats, beat));
        future::or(future::or(inbox, report), timers).await
    }

    fn announce_stop(&self) -> Stop {
        self.say.info(&format!(
            "stopping in {} s; a second signal stops before that",
            self.notice.as_secs_f64()
        ));
        // A deadline that overflows is never reached.
        Stop::Announced(Instant::now().checked_add(self.notice))
    }

    async fn stop(&mut self) -> Stop {
        self.accepting.end().await;
        self.server.stop();
        let open = self.server.connections() as u64;
        let connections = Count(open, "connection");
        self.say.info(&match open {
            0 => "stopping".to_owned(),
            _ if self.drain.is_zero() => format!("stopping: cutting {connections}"),
            _ => format!(
                "stopping: {connections} open, up to {} s; a second signal stops now",
                self.drain.as_secs_f64()
            ),
        });
        // A deadline that overflows is never reached.
        Stop::Draining(Instant::now().checked_add(self.drain))
    }

    fn cut(&self) -> Stop {
        self.server.cut();
        if let Some(programs) = &self.programs {
            programs.cut();
        }
        Stop::Cut {
            until: Instant::now() + FLUSH,
            before: self.progress(),
        }
    }

    /// The numbers that change while the output makes progress.
    fn progress(&self) -> (Totals, usize) {
        (self.server.totals(), self.backlog())
    }

    /// The number of bytes that are yet to be appended to files, or acknowledged by Kafka.
    fn backlog(&self) -> usize {
        self.backlog.as_ref().map_or(0, Backlog::bytes)
    }

    fn cut_at_once(&self) -> Stop {
        self.server.cut();
        if let Some(programs) = &self.programs {
            programs.cut_at_once();
        }
        Stop::AtOnce(Instant::now() + FLUSH_AT_ONCE)
    }

    fn hanging(&self) -> Failure {
        let totals = self.server.totals();
        let unflushed = totals.delivered.saturating_sub(totals.flushed);
        let loss = Loss {
            bytes: unflushed.saturating_add(self.backlog() as u64),
            streams: self.server.connections() as u64,
        };
        Failure::failed(format!("the output hangs{loss}"))
    }

    /// The failure when nobody reads the output any more, and the lanes have failed with this error, if
    /// they had something to write.
    fn unread(&self, error: Option<&OutputError>) -> Failure {
        let loss = Loss {
            bytes: error.map_or(0, OutputError::unflushed),
            streams: match &self.reader {
                Some(reader) => reader.cut(),
                None => error.map_or(0, OutputError::streams) as u64,
            },
        };
        Failure::failed(format!("nobody reads the output any more{loss}"))
    }
}

/// Whether the lanes failed as nobody reads the output any more.
fn is_unread(error: Option<&OutputError>) -> bool {
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
