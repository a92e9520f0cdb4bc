//! Starting the lanes with their outputs.

use std::sync::Arc;

use async_channel::Sender;
use smol::Executor;
use tlsink::output::{Json, Lines, Output, Raw};
use tlsink::{Server, Sink};

use super::super::Failure;
use super::super::args::{LineFront, ListenArgs, OutputFormat};
use super::super::say::Say;
use super::binary::{self, TextOnly};
use super::control::{ControlEvent, telling};
use super::lane::{self, LaneExecutor};
use super::observed::{Meter, Observed};
use super::outlet::Outlet;
use super::target::Target;

/// The lanes, and the JSON output that they share, if it is in use.
pub(super) type Lanes = (Vec<LaneExecutor>, Option<Json<Target>>);

/// The things that lanes share with the rest of the program.
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
    let (outputs, json) = outputs(&sinks, args, outlet, around)?;
    let lanes = sinks.into_iter().zip(outputs).enumerate();
    let lanes = lanes.map(|(index, (sink, output))| {
        let output = Observed {
            output,
            say: around.say.clone(),
            meter: around.meters.get(index).cloned(),
        };
        let ended = telling(around.events, ControlEvent::Lane);
        lane::start(sink, output, around.server.clone(), ended)
    });
    Ok((lanes.collect::<Result<_, _>>()?, json))
}

/// The output of a lane, whatever it is: a sink for each kind would be as much code as all the rest.
type AnyOutput = Box<dyn Output + Send>;

/// Makes the output of each sink. Also returns the JSON output that they share, if it is in use.
fn outputs(
    sinks: &[Sink],
    args: &ListenArgs,
    outlet: Outlet,
    around: Surroundings<'_>,
) -> Result<(Vec<AnyOutput>, Option<Json<Target>>), Failure> {
    let target = match outlet {
        Outlet::Target(target) => target,
        Outlet::Files(files) => return Ok((each(sinks, |_| files.another()), None)),
        Outlet::Exec(programs) => {
            let ended = telling(around.events, |()| ControlEvent::Programs);
            let output = programs.output(around.executor, move || ended(()));
            return Ok((each(sinks, |_| output.another()), None));
        }
        Outlet::Append(append) => {
            let mut output = append.start(telling(around.events, ControlEvent::Writer))?;
            if let Some(bytes) = args.max_line {
                output = output.max_line(bytes);
            }
            let outputs = each(sinks, |sink| output.clone().memory(sink.memory()));
            return Ok((outputs, None));
        }
        Outlet::Kafka(kafka) => {
            let output = kafka.start(telling(around.events, ControlEvent::Writer))?;
            let outputs = each(sinks, |sink| output.another(args.max_line, sink.memory()));
            return Ok((outputs, None));
        }
    };
    Ok(match &args.printer {
        OutputFormat::Raw => {
            let raw = Raw::new(target);
            (each(sinks, |_| raw.clone()), None)
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
            let lines = |sink: &Sink| lines.clone().memory(sink.memory());
            let outputs = match binary::is_unasked(args) {
                true => each(sinks, |sink| TextOnly(lines(sink))),
                false => each(sinks, lines),
            };
            (outputs, None)
        }
        OutputFormat::Json => {
            let mut json = Json::new(target);
            if let Some(bytes) = args.max_line {
                json = json.max_line(bytes);
            }
            let outputs = each(sinks, |sink| json.clone().memory(sink.memory()));
            (outputs, Some(json))
        }
    })
}

fn each<O: Output + Send + 'static>(sinks: &[Sink], output: impl Fn(&Sink) -> O) -> Vec<AnyOutput> {
    let outputs = sinks.iter().map(|sink| Box::new(output(sink)) as AnyOutput);
    outputs.collect()
}
