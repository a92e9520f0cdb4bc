//! The one that is in charge while the program runs: signals, statistics, and how it all ends.

use std::io;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use async_signal::Signal;
use futures_lite::{StreamExt, future};
use smol::Timer;
use tlsink::{Cut, End, OutputError, Report, Server, Totals};

use super::super::Failure;
use super::super::count::{Count, Loss};
use super::super::say::Say;
use super::super::signals;
use super::reload::Reload;
use super::stats::Stats;

/// After everything was cut, the output hangs when nothing of it gets on for so long.
const FLUSH: Duration = Duration::from_secs(10);

/// How long it may take to be flushed when somebody is in a hurry.
const FLUSH_AT_ONCE: Duration = Duration::from_secs(1);

/// What the one that is in charge hears of.
pub(crate) enum ControlEvent {
    /// One that asks the program to stop.
    Signal,
    /// SIGHUP, where there is something to load again.
    Reload,
    /// A lane ended.
    Lane(Result<Totals, OutputError>),
    /// A refusal could not be written to the output.
    Unwritten(io::Error),
    /// A connection ended.
    Report(Report),
    /// No connection is left, and none will come.
    Through,
    /// It is time to say what goes on.
    Stats,
    /// The stop takes too long.
    Late,
}

/// Passes on the signals that ask the program to stop, or to reload, if it `reloads` anything. Those
/// that were ignored at start stay so, but for the one that reloads.
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

/// Waits for what ends the program, and ends it in order.
pub(crate) struct Control {
    pub(crate) server: Server,
    pub(crate) inbox: Receiver<ControlEvent>,
    /// Closed once no connection is left, and none will come.
    pub(crate) reported: Receiver<Report>,
    pub(crate) say: Say,
    /// Where to ask for a reload, if there is anything to load again.
    pub(crate) reload: Option<Reload>,
    pub(crate) stats: Option<Stats>,
    pub(crate) once: bool,
    pub(crate) drain: Duration,
    /// How many lanes are running.
    pub(crate) lanes: usize,
}

/// How far a stop has come.
#[derive(Clone, Copy)]
enum Stop {
    /// Nobody asked for one.
    Not,
    /// Open streams may go on until then, or for as long as they like.
    Draining(Option<Instant>),
    /// Everything is cut. The output may be flushed until then, or for longer if it gets on.
    Cut { until: Instant, before: Totals },
    /// Somebody is in a hurry: the output may be flushed until then.
    AtOnce(Instant),
}

/// Why the output takes no more. All lanes write to the same.
#[derive(Default)]
struct Broken {
    /// What the lanes say that have failed, together.
    lanes: Option<OutputError>,
    /// What was found when a refusal was to be written.
    refusal: Option<io::Error>,
}

impl Control {
    /// Runs until all lanes have ended and all connections have said how they ended.
    ///
    /// # Errors
    ///
    /// With what went wrong first.
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
        while self.lanes > 0 || !through {
            match (self.next(stop, through).await, stop) {
                (ControlEvent::Reload, _) => {
                    if let Some(reload) = &self.reload {
                        reload.request();
                    }
                }
                (ControlEvent::Signal, Stop::Not) => stop = self.stop(),
                // Nothing is left to hurry: timeout(1), for one, sends its signal twice.
                (ControlEvent::Signal, _) if self.server.connections() == 0 => {}
                (ControlEvent::Signal, _) => {
                    result = result.and(Err(Failure::failed("stopped at once")));
                    stop = self.cut_at_once();
                }
                (ControlEvent::Lane(Ok(_)), _) => self.lanes -= 1,
                (ControlEvent::Lane(Err(error)), _) => {
                    self.lanes -= 1;
                    broken.lanes = Some(match broken.lanes {
                        Some(first) => first.and(&error),
                        None => error,
                    });
                    self.server.stop();
                    stop = self.cut_at_once();
                }
                (ControlEvent::Unwritten(error), _) => {
                    broken.refusal = Some(error);
                    self.server.stop();
                    stop = self.cut_at_once();
                }
                (ControlEvent::Report(report), _) if self.once && report.established => {
                    came = true;
                    // When the sink is gone, its lane has failed, and says why.
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
                (ControlEvent::Late, Stop::Draining(_)) => stop = self.cut(),
                (ControlEvent::Late, Stop::Cut { before, .. })
                    if self.server.totals() != before =>
                {
                    stop = self.cut();
                }
                (ControlEvent::Late, _) => {
                    if let Err(before) = self.unless_broken(result, broken) {
                        self.say.error(&before.what);
                    }
                    return Err(self.hanging());
                }
            }
        }
        result = self.unless_broken(result, broken);
        // Who waits for one stream must not take an empty output for it.
        if self.once && !came {
            result = result.and(Err(Failure::failed("stopped before a stream came")));
        }
        result
    }

    /// Fails for the output, if it is broken, and says before that what failed besides.
    fn unless_broken(&self, result: Result<(), Failure>, broken: Broken) -> Result<(), Failure> {
        let what = match broken {
            Broken {
                lanes: Some(error), ..
            } => error.to_string(),
            Broken {
                refusal: Some(error),
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
                Stop::Not | Stop::Draining(None) => future::pending().await,
                Stop::Draining(Some(until)) | Stop::Cut { until, .. } | Stop::AtOnce(until) => {
                    Timer::at(until).await
                }
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
        future::or(future::or(inbox, report), future::or(late, stats)).await
    }

    fn stop(&self) -> Stop {
        self.server.stop();
        let open = self.server.connections() as u64;
        let connections = Count(open, "connection");
        self.say.info(&match open {
            0 => "stopping".to_owned(),
            _ if self.drain.is_zero() => format!("stopping: cutting {connections}"),
            _ => format!(
                "stopping: {connections} open, up to {} s; again to stop now",
                self.drain.as_secs_f64()
            ),
        });
        // So far away that it can't be told is never.
        Stop::Draining(Instant::now().checked_add(self.drain))
    }

    fn cut(&self) -> Stop {
        self.server.cut();
        Stop::Cut {
            until: Instant::now() + FLUSH,
            before: self.server.totals(),
        }
    }

    fn cut_at_once(&self) -> Stop {
        self.server.cut();
        Stop::AtOnce(Instant::now() + FLUSH_AT_ONCE)
    }

    fn hanging(&self) -> Failure {
        let totals = self.server.totals();
        let loss = Loss {
            bytes: totals.delivered.saturating_sub(totals.flushed),
            streams: self.server.connections() as u64,
        };
        Failure::failed(format!("the output hangs{loss}"))
    }
}
