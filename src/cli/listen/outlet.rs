//! Opening the destination of the data.

use std::io;
use std::path::Path;

use super::super::Failure;
use super::super::args::{Destination, ListenArgs, OutputFormat};
use super::super::say::Say;
use super::super::slow_open::SlowOpenNotice;
use super::files::{self, LoggedFiles};
use super::space::SpaceWait;
use super::target::{Form, Reopen, Target};

/// The open destination of the data.
pub(super) enum Outlet {
    /// One destination for all data.
    Target(Target),
    Files(LoggedFiles),
}

impl Outlet {
    pub(super) fn is_terminal(&self) -> bool {
        match self {
            Outlet::Target(target) => target.is_terminal(),
            Outlet::Files(_) => false,
        }
    }

    pub(super) fn reopen(&self) -> Option<Reopen> {
        match self {
            Outlet::Target(target) => target.reopen(),
            Outlet::Files(_) => None,
        }
    }
}

/// Opens the destination of the data.
///
/// # Errors
///
/// When it can't be opened.
pub(super) fn open_outlet(args: &ListenArgs, say: &Say) -> Result<Outlet, Failure> {
    let form = match args.printer {
        OutputFormat::Lines { .. } | OutputFormat::Json => Form::Lines,
        OutputFormat::Raw => Form::Bytes,
    };
    match &args.destination {
        Destination::Directory(directory) => files::open(directory, say).map(Outlet::Files),
        Destination::File(path) => append(path, form, say).map(Outlet::Target),
        Destination::Stdout => Target::stdout(form)
            .map(|target| {
                let wait = SpaceWait::new("standard output".to_owned(), None, say);
                Outlet::Target(target.waiting_for_space(wait))
            })
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotConnected => unconnected("standard output"),
                _ => Failure::failed(format!("can't use standard output: {error}")),
            }),
    }
}

fn append(path: &Path, form: Form, say: &Say) -> Result<Target, Failure> {
    let shown = path.display();
    let _notice = SlowOpenNotice::new(say, path, "read");
    let target = Target::append(path, form).map_err(|error| {
        let failure = Failure::misused(format!("can't open {shown}: {error}"));
        match error.kind() {
            io::ErrorKind::NotConnected => unconnected(&shown.to_string()),
            io::ErrorKind::NotFound => {
                failure.hint("--output creates the file, but not its folder")
            }
            io::ErrorKind::IsADirectory => {
                failure.hint("give --output a file in it, or --output-dir the directory")
            }
            _ => failure,
        }
    })?;
    let hint = target.reopen().map(|_| {
        let removed = "if you remove or rename it, send SIGHUP too: until then, it stays in use";
        removed.to_owned()
    });
    let wait = SpaceWait::new(shown.to_string(), hint, say);
    Ok(target.waiting_for_space(wait))
}

/// The error for a closed output: receipts would be given for data that is lost.
fn unconnected(what: &str) -> Failure {
    Failure::misused(format!(
        "nothing is connected to {what}, so all data would be lost"
    ))
    .hint("give --output a file; --output /dev/null discards all data")
}
