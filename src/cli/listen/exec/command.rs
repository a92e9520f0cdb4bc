//! The command of the programs: finding it, and starting it with its environment.

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use tlsink::output::label;
use tlsink::{Conn, Peer};

use super::super::super::Failure;

/// The variables that tell a program about its stream. None is inherited: a program trusts them.
const CLIENT: &str = "TLSINK_CLIENT";
const PEER: &str = "TLSINK_PEER";
const CONN: &str = "TLSINK_CONN";
const STREAM: &str = "TLSINK_STREAM";

/// The variables by which systemd talks to tlsink alone (sd_notify(3), sd_watchdog_enabled(3),
/// sd_listen_fds(3)).
const OF_SYSTEMD: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// The folders that are searched without PATH, as by execvp(3).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A command that can be executed.
pub(super) struct Command {
    path: PathBuf,
    /// The first word of the command.
    name: String,
    arguments: Vec<String>,
}

/// The values of the variables that tell a program about its stream.
pub(super) struct Environment {
    client: Option<String>,
    peer: String,
    connection: String,
    stream: Option<String>,
    /// The sender, as messages call it.
    pub(super) label: String,
}

impl Command {
    /// Finds the program that the first word names, by PATH if it is no path.
    ///
    /// # Errors
    ///
    /// When there is no such program, or when it can't be executed.
    pub(super) fn find(words: &[String]) -> Result<Self, Failure> {
        let Some((name, arguments)) = words.split_first() else {
            return Err(Failure::misused("--exec names no program"));
        };
        let (path, found) = match name.contains('/') {
            true => (PathBuf::from(name), executable(Path::new(name))),
            false => search(name),
        };
        found.map_err(|error| {
            let failure = Failure::misused(format!("can't execute {name}: {error}"));
            match error.kind() {
                io::ErrorKind::NotFound if !name.contains('/') => failure.hint(
                    "it is in no folder of PATH; --exec takes a program and its arguments, and \
                     no commands of a shell",
                ),
                io::ErrorKind::PermissionDenied => {
                    failure.hint("the user who runs tlsink must be allowed to execute it: chmod +x")
                }
                _ => failure,
            }
        })?;
        Ok(Command {
            path,
            name: name.clone(),
            arguments: arguments.to_vec(),
        })
    }

    /// Starts the program in a process group of its own: a terminal's Ctrl-C is for tlsink, which lets
    /// the streams end first.
    ///
    /// # Errors
    ///
    /// When it can't be started.
    pub(super) fn spawn(&self, environment: &Environment) -> io::Result<process::Child> {
        let mut command = process::Command::new(&self.path);
        command
            .arg0(&self.name)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .process_group(0);
        for variable in OF_SYSTEMD {
            command.env_remove(variable);
        }
        for (variable, value) in [
            (CLIENT, environment.client.as_ref()),
            (PEER, Some(&environment.peer)),
            (CONN, Some(&environment.connection)),
            (STREAM, environment.stream.as_ref()),
        ] {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        let started = command.spawn();
        started.map_err(|error| {
            io::Error::new(error.kind(), format!("can't start {}: {error}", self.name))
        })
    }
}

impl Environment {
    pub(super) fn of(connection: &Conn) -> Self {
        let peer = connection.peer();
        Environment {
            client: connection.names().first().cloned(),
            // The label of the address alone.
            peer: label(&Peer::from(peer.address().clone())),
            connection: connection.id().to_string(),
            stream: connection.stream().map(str::to_owned),
            label: label(peer),
        }
    }
}

/// The first executable file of this name in the folders of PATH.
fn search(name: &str) -> (PathBuf, io::Result<()>) {
    let folders = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut failed = io::Error::from(Errno::NOENT);
    for folder in env::split_paths(&folders) {
        let path = folder.join(name);
        match executable(&path) {
            Ok(()) => return (path, Ok(())),
            // A later folder may have it; if none has, this is what has to be mended.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => failed = error,
            Err(_) => {}
        }
    }
    (PathBuf::from(name), Err(failed))
}

/// Checks that a file can be executed, by all that can be known before it is.
fn executable(path: &Path) -> io::Result<()> {
    if path.metadata()?.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    Ok(access(path, Access::EXEC_OK)?)
}
