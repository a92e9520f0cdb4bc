//! Opening the destination of the data.

use std::io::{self, IsTerminal};
use std::path::Path;

use tlsink::output::AppendHandle;
#[cfg(feature = "kafka")]
use tlsink::output::KafkaHandle;

use super::super::Failure;
use super::super::args::{Destination, ListenArgs, OutputFormat};
use super::super::say::Say;
use super::super::slow_open::SlowOpenNotice;
use super::append::{self, AppendFiles, AppendOutlet};
use super::binary;
use super::exec::{self, Programs};
use super::file_limit::{append_files, max_programs};
use super::files::{self, LoggedFiles};
use super::kafka::{self, KafkaOutlet};
use super::space::SpaceWait;
use super::target::{Form, Reopen, Target};

/// The open destination of the data.
pub(super) enum Outlet {
    /// One destination for all data.
    Target(Target),
    Files(LoggedFiles),
    Append(Box<AppendOutlet>),
    Exec(Programs),
    Kafka(Box<KafkaOutlet>),
}

/// The bytes that threads of the outlet's own have yet to deal with.
#[derive(Clone)]
pub(super) enum Backlog {
    Append(AppendHandle),
    #[cfg(feature = "kafka")]
    Kafka(KafkaHandle),
}

/// The part of an outlet that SIGHUP reopens.
pub(super) enum Reopening {
    Target(Reopen),
    Append(AppendFiles),
}

impl Outlet {
    pub(super) fn is_terminal(&self) -> bool {
        match self {
            Outlet::Target(target) => target.is_terminal(),
            Outlet::Files(_) | Outlet::Append(_) | Outlet::Kafka(_) => false,
            // The programs inherit it.
            Outlet::Exec(_) => io::stdout().is_terminal(),
        }
    }

    pub(super) fn reopening(&self) -> Option<Reopening> {
        match self {
            Outlet::Target(target) => target.reopen().map(Reopening::Target),
            Outlet::Append(append) => Some(Reopening::Append(append.files())),
            Outlet::Files(_) | Outlet::Exec(_) | Outlet::Kafka(_) => None,
        }
    }

    /// The bytes that threads of its own have yet to deal with, if it has some.
    pub(super) fn backlog(&self) -> Option<Backlog> {
        match self {
            Outlet::Append(append) => Some(Backlog::Append(append.files().handle)),
            Outlet::Kafka(kafka) => Some(kafka.backlog()),
            Outlet::Target(_) | Outlet::Files(_) | Outlet::Exec(_) => None,
        }
    }

    /// The files that are appended to, if that is where the data goes.
    pub(super) fn append_files(&self) -> Option<AppendFiles> {
        match self {
            Outlet::Append(append) => Some(append.files()),
            _ => None,
        }
    }

    /// The programs that are started, if that is where the data goes.
    pub(super) fn programs(&self) -> Option<Programs> {
        match self {
            Outlet::Exec(programs) => Some(programs.clone()),
            _ => None,
        }
    }
}

impl Backlog {
    /// The number of bytes that are yet to be written, synced or acknowledged.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Backlog::Append(files) => files.backlog(),
            #[cfg(feature = "kafka")]
            Backlog::Kafka(records) => records.backlog(),
        }
    }

    /// The reason why no more senders should be sent here, if there is one: those who have to take the bytes
    /// do not answer. A restart would not help, and would lose what waits.
    pub(super) fn fault(&self) -> Option<String> {
        match self {
            Backlog::Append(_) => None,
            #[cfg(feature = "kafka")]
            Backlog::Kafka(records) => kafka::fault(records),
        }
    }
}

impl Reopening {
    /// Opens the file anew, or lets the files in the directory be opened anew.
    ///
    /// # Errors
    ///
    /// When the file can't be opened; the old one stays in use.
    pub(super) fn request(&self) -> io::Result<()> {
        match self {
            Reopening::Target(reopen) => reopen.request(),
            Reopening::Append(files) => {
                files.handle.reopen();
                Ok(())
            }
        }
    }

    /// The file or the directory.
    pub(super) fn path(&self) -> &Path {
        match self {
            Reopening::Target(reopen) => reopen.path(),
            Reopening::Append(files) => &files.path,
        }
    }
}

/// Opens the destination of the data.
///
/// # Errors
///
/// When it can't be opened.
pub(super) fn open_outlet(
    args: &ListenArgs,
    file_limit: Option<u64>,
    say: &Say,
) -> Result<Outlet, Failure> {
    binary::check(args)?;
    let form = match &args.printer {
        OutputFormat::Lines(_) | OutputFormat::Json => Form::Lines,
        OutputFormat::Raw => Form::Bytes,
    };
    match &args.destination {
        Destination::Directory(directory) => files::open(directory, say).map(Outlet::Files),
        Destination::Append(directory) => {
            let append = append::open(directory, &args.printer, append_files(file_limit), say)?;
            Ok(Outlet::Append(Box::new(append)))
        }
        Destination::Exec(args) => {
            let most = max_programs(args.max, file_limit)?;
            exec::open(args, most, say).map(Outlet::Exec)
        }
        Destination::Kafka(args) => Ok(Outlet::Kafka(Box::new(kafka::open(args, say)?))),
        Destination::File(path) => append_to(path, form, say).map(Outlet::Target),
        Destination::Stdout { .. } => Target::stdout(form)
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

fn append_to(path: &Path, form: Form, say: &Say) -> Result<Target, Failure> {
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
