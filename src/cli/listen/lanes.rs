//! Starting the lanes with their outputs.

use std::sync::Arc;

use async_channel::Sender;
use smol::Executor;
use tlsink::output::{Json, Lines, Output, Raw};
use tlsink::{Server, Sink};

use super::super::Failure;
use super::super::args::{LineFront, ListenArgs, OutputFormat};
use super::super::say::Say;
use super::control::ControlEvent;
use super::lane::{self, LaneExecutor};
use super::observed::{Meter, Observed};
use super::outlet::Outlet;
use super::target::Target;

/// The lanes, and the JSON output that they share, if it is in use.
pub(super) type Lanes = (Vec<LaneExecutor>, Option<Json<Target>>);

/// What lanes share with the rest of the program.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) say: &'a Say,
    pub(super) server: &'a Server,
    pub(super) events: &'a Sender<ControlEvent>,
    /// Runs handshakes.
    pub(super) executor: &'a Arc<Executor<'static>>,
    /// One for each lane, or none.
    pub(super) meters: &'a [Arc<Meter>],
}

/// Starts a lane for each sink.
pub(super) fn start_lanes(
    sinks: Vec<Sink>,
    args: &ListenArgs,
    outlet: Outlet,
    around: Surroundings<'_>,
) -> Result<Lanes, Failure> {
    let target = match outlet {
        Outlet::Target(target) => target,
        Outlet::Files(files) => {
            let lanes = start_each(sinks, around, |_| files.another())?;
            return Ok((lanes, None));
        }
        Outlet::Exec(programs) => {
            let ended = around.events.clone();
            let output = programs.output(around.executor, move || {
                // Nobody listens any more once the program is ending.
                let _ = ended.try_send(ControlEvent::Programs);
            });
            let lanes = start_each(sinks, around, |_| output.another())?;
            return Ok((lanes, None));
        }
        Outlet::Append(append) => {
            let ended = around.events.clone();
            let mut output = append.start(move |result| {
                // Nobody listens any more once the program is ending.
                let _ = ended.try_send(ControlEvent::Writer(result));
            })?;
            if let Some(bytes) = args.max_line {
                output = output.max_line(bytes);
            }
            let lanes = start_each(sinks, around, |sink| output.clone().memory(sink.memory()))?;
            return Ok((lanes, None));
        }
    };
    let lanes = match &args.printer {
        OutputFormat::Raw => {
            let raw = Raw::new(target);
            start_each(sinks, around, |_| raw.clone())
        }
        OutputFormat::Lines(front) => {
            let escape = target.is_terminal();
            let mut lines = Lines::new(target).escape(escape);
            lines = match front {
                LineFront::Nothing => lines,
                LineFront::Label => lines.labels(true),
                LineFront::Prefix(prefix) => lines.prefix(prefix.clone()),
            };
            if let Some(bytes) = args.max_line {
                lines = lines.max_line(bytes);
            }
            start_each(sinks, around, |sink| lines.clone().memory(sink.memory()))
        }
        OutputFormat::Json => {
            let mut json = Json::new(target);
            if let Some(bytes) = args.max_line {
                json = json.max_line(bytes);
            }
            let lanes = start_each(sinks, around, |sink| json.clone().memory(sink.memory()))?;
            return Ok((lanes, Some(json)));
        }
    };
    Ok((lanes?, None))
}

fn start_each<O: Output + Send + 'static>(
    sinks: Vec<Sink>,
    around: Surroundings<'_>,
    output: impl Fn(&Sink) -> O,
) -> Result<Vec<LaneExecutor>, Failure> {
    sinks
        .into_iter()
        .enumerate()
        .map(|(index, sink)| {
            let output = Observed {
                output: output(&sink),
                say: around.say.clone(),
                meter: around.meters.get(index).cloned(),
            };
            let events = around.events.clone();
            lane::start(sink, output, around.server.clone(), move |result| {
                // Nobody listens any more once the program is ending.
                let _ = events.try_send(ControlEvent::Lane(result));
            })
        })
        .collect()
}
