//! The limit on open files, and the number of connections that it allows.

use tlsink::limits::MAX_CONNECTIONS;

use super::super::Failure;
use super::super::args::{Destination, ListenArgs};
use super::status;

/// Descriptors for other uses than connections: the standard ones, those of the reactor, some
/// listeners.
const RESERVED_FILES: u64 = 32;

/// Descriptors of a listener: its own, and that of a socket that was accepted before a place is
/// free.
const FILES_PER_LISTENER: u64 = 2;

/// The most files for appending that stay open. Beyond them, an open and a close for each write are
/// cheaper than the memory of the system for each open file.
const MAX_APPEND_FILES: usize = 1024;

/// The most programs that run at once, if the user gives no other number.
const MAX_PROGRAMS: usize = 1000;

/// Descriptors of a program: the pipe to it, and the one that tells its end.
const FILES_PER_PROGRAM: u64 = 2;

/// The files for the brokers of Kafka: a socket and a pipe for each, up to some forty of them.
const KAFKA_FILES: u64 = 128;

/// Descriptors of the status server: of its listener, and of its connections.
const STATUS_FILES: u64 = FILES_PER_LISTENER + status::MAX_CONNECTIONS as u64;

/// Listeners that are covered by [`RESERVED_FILES`].
const RESERVED_LISTENERS: usize = 4;

/// The number of connections that the user gave, or else the number that the limit on open files
/// allows.
pub(super) fn max_connections(
    args: &ListenArgs,
    listeners: usize,
    file_limit: Option<u64>,
) -> Result<Option<usize>, Failure> {
    let Some(limit) = file_limit else {
        return Ok(args.max_connections);
    };
    let allowed = affordable_connections(args, listeners, file_limit)?;
    let has_file = matches!(args.destination, Destination::Directory(_));
    match args.max_connections {
        // A surplus socket just waits, but a file that can't be created ends its stream.
        Some(given) if has_file && given > allowed => Err(Failure::misused(format!(
            "--max-connections {given} with --output-dir needs more open files than the limit of {limit}"
        ))
        .hint(format!(
            "allow more open files (ulimit -Hn), or give --max-connections at most {allowed}"
        ))),
        Some(given) => Ok(Some(given)),
        None => Ok(Some(allowed.min(MAX_CONNECTIONS))),
    }
}

/// The most connections for which the limit on open files has descriptors, and at least 1.
///
/// # Errors
///
/// When the limit is too small for the programs that the user wants.
pub(super) fn affordable_connections(
    args: &ListenArgs,
    listeners: usize,
    file_limit: Option<u64>,
) -> Result<usize, Failure> {
    let Some(limit) = file_limit else {
        return Ok(usize::MAX);
    };
    let (others, each) = match &args.destination {
        // A lane that syncs opens the directory; a connection has a socket and a file.
        Destination::Directory(_) => (args.lanes as u64, 2),
        Destination::Append(_) => (append_files(file_limit) as u64, 1),
        Destination::Exec(exec) => {
            let programs = max_programs(exec.max, file_limit)?;
            (programs as u64 * FILES_PER_PROGRAM, 1)
        }
        Destination::Kafka(_) => (KAFKA_FILES, 1),
        Destination::Stdout { .. } | Destination::File(_) => (0, 1),
    };
    let listeners = listeners.saturating_sub(RESERVED_LISTENERS) as u64;
    let status = args.status.as_ref().map_or(0, |_| STATUS_FILES);
    let reserved = RESERVED_FILES + status + listeners * FILES_PER_LISTENER;
    let free = limit.saturating_sub(reserved).saturating_sub(others);
    Ok(usize::try_from(free / each).unwrap_or(usize::MAX).max(1))
}

/// The number of files for appending that stay open: a quarter of the limit on open files, as
/// connections need the others.
pub(super) fn append_files(file_limit: Option<u64>) -> usize {
    let quarter = file_limit.map_or(u64::MAX, |limit| limit / 4);
    MAX_APPEND_FILES.min(usize::try_from(quarter).unwrap_or(usize::MAX))
}

/// The number of programs that the user gave, or else a number that takes a quarter of the limit on
/// open files at most.
pub(super) fn max_programs(
    given: Option<usize>,
    file_limit: Option<u64>,
) -> Result<usize, Failure> {
    let Some(limit) = file_limit else {
        return Ok(given.unwrap_or(MAX_PROGRAMS));
    };
    let at_most =
        |files: u64, each: u64| usize::try_from(files / each).unwrap_or(usize::MAX).max(1);
    let Some(given) = given else {
        return Ok(MAX_PROGRAMS.min(at_most(limit / 4, FILES_PER_PROGRAM)));
    };
    // Each program has a connection.
    let allowed = at_most(limit.saturating_sub(RESERVED_FILES), FILES_PER_PROGRAM + 1);
    match given > allowed {
        true => Err(Failure::misused(format!(
            "--exec-max {given} needs more open files than the limit of {limit}"
        ))
        .hint(format!(
            "allow more open files (ulimit -Hn), or give --exec-max at most {allowed}"
        ))),
        false => Ok(given),
    }
}

/// Raises the soft limit on open files, usually 1024, to the hard one, as each connection takes a
/// descriptor. Returns the new limit, if there is one.
pub(super) fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // The present limit stays.
        Err(_) => limit.current,
    }
}
