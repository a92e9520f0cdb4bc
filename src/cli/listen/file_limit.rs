//! The limit on open files, and the number of connections that it allows.

use tlsink::limits::MAX_CONNECTIONS;

use super::super::Failure;
use super::super::args::{Destination, ListenArgs};

/// Descriptors that are not for connections: standard ones, the reactor's, some listeners'.
const RESERVED_FILES: u64 = 32;

/// What each listener takes: itself, and a socket that it has accepted before there is a place.
const FILES_PER_LISTENER: u64 = 2;

/// So many listeners have room among the [reserved](RESERVED_FILES) ones.
const RESERVED_LISTENERS: usize = 4;

/// What was given; else as many as there can be files for, if that is limited.
pub(super) fn max_connections(
    args: &ListenArgs,
    listeners: usize,
    file_limit: Option<u64>,
) -> Result<Option<usize>, Failure> {
    let Some(limit) = file_limit else {
        return Ok(args.max_connections);
    };
    let (lanes, each) = match &args.destination {
        // A lane that syncs opens the directory; a connection has a socket and a file.
        Destination::Directory(_) => (args.lanes as u64, 2),
        Destination::Stdout | Destination::File(_) => (0, 1),
    };
    let listeners = listeners.saturating_sub(RESERVED_LISTENERS) as u64;
    let reserved = RESERVED_FILES + listeners * FILES_PER_LISTENER;
    let free = limit.saturating_sub(reserved).saturating_sub(lanes);
    let allowed = usize::try_from(free / each).unwrap_or(usize::MAX).max(1);
    match args.max_connections {
        // A socket too many just has to wait, but a file that can't be made ends its stream.
        Some(given) if each > 1 && given > allowed => Err(Failure::misused(format!(
            "--max-connections {given} with --output-dir takes more open files than the {limit} \
             that are allowed"
        ))
        .hint(format!(
            "allow more open files (ulimit -Hn), or give --max-connections at most {allowed}"
        ))),
        Some(given) => Ok(Some(given)),
        None => Ok(Some(allowed.min(MAX_CONNECTIONS))),
    }
}

/// Each connection takes a descriptor, and the usual soft limit of 1024 is soon used up. Returns
/// how many there may be, if that is limited.
pub(super) fn raise_file_limit() -> Option<u64> {
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
