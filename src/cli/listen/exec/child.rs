//! A running program.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, ExitStatus};

use async_io::Async;
use futures_lite::future;
use rustix::process::{Pid, Signal, getpid, kill_process_group};

use super::super::super::Failure;
use super::super::super::platform::pidfd;
use super::command::{Command, Environment};

/// A program, and everything in its process group. Until it is [reaped](Self::reap), no other process
/// gets its number, so that no other is signalled.
pub(super) struct Program {
    child: Child,
    /// Readable once the program has ended (pidfd_open(2)).
    ended: Async<OwnedFd>,
}

/// Checks that this system can tell when a program has ended.
///
/// # Errors
///
/// When it can't.
pub(super) fn check_system() -> Result<(), Failure> {
    pidfd(getpid()).map(drop).map_err(|error| {
        Failure::misused(format!("can't wait for programs: {error}"))
            .hint("--exec needs Linux 5.3 or later")
    })
}

impl Program {
    /// Starts a program; also returns its standard input.
    ///
    /// # Errors
    ///
    /// When it can't be started, or not be waited for. Then it does not run.
    pub(super) fn start(
        command: &Command,
        environment: &Environment,
    ) -> io::Result<(Self, Async<ChildStdin>)> {
        let mut child = command.spawn(environment)?;
        let stdin = child.stdin.take().ok_or(io::ErrorKind::NotConnected);
        let watched = pidfd(Pid::from_child(&child)).and_then(Async::new_nonblocking);
        let both = watched.and_then(|ended| Ok((ended, Async::new(stdin?)?)));
        match both {
            Ok((ended, stdin)) => Ok((Program { child, ended }, stdin)),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// The number of the process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program has ended.
    pub(super) async fn ended(&self) {
        if self.ended.readable().await.is_err() {
            // Nothing tells when the program ends, so it ends now.
            self.signal(Signal::KILL);
        }
    }

    /// Whether the program ends before `late` does.
    pub(super) async fn ends_before(&self, late: impl Future<Output = ()>) -> bool {
        let ended = async {
            self.ended().await;
            true
        };
        let late = async {
            late.await;
            false
        };
        future::or(ended, late).await
    }

    /// Signals everything in the program's process group.
    pub(super) fn signal(&self, signal: Signal) {
        // This fails only if all of them have taken another user's rights.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }

    /// Takes the exit status of a program that has ended.
    ///
    /// # Errors
    ///
    /// When the system has thrown it away.
    pub(super) fn reap(mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}
