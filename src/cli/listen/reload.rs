//! Reloads certificates, keys, CAs and CRLs, on request and when a file changes, and reopens the
//! output file on request.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use tlsink::Tls;

use super::super::level::Level;
use super::super::say::Say;
use super::super::{Failure, start_thread};
use super::credentials::Credentials;
use super::outlet::Reopening;
use super::service;
use super::space::is_full;

/// The interval at which the files are checked. Polling sees changes that notifications miss, such
/// as a new target of a symbolic link to a folder, and works on every file system.
const INTERVAL: Duration = Duration::from_secs(1);

/// The longest time that files may keep changing before they are loaded. A key is seldom written at
/// the same moment as its certificate.
const SETTLE: Duration = Duration::from_secs(3);

/// Requests that everything is reloaded and reopened.
pub(crate) struct Reload(SyncSender<()>);

impl Reload {
    /// Loads the credentials. If they are in files, they are loaded again whenever a file changes,
    /// and on [request](Self::request), which also reopens the output.
    ///
    /// # Errors
    ///
    /// With the first file that can't be used.
    pub(crate) fn start(
        credentials: Credentials,
        output: Option<Reopening>,
        say: &Say,
    ) -> Result<(Tls, Option<Self>), Failure> {
        // Stamped first: a change from here on causes a reload.
        let stamps = stamps(&credentials);
        let tls = credentials.load()?;
        warn(&tls, say);
        if stamps.is_empty() && output.is_none() {
            return Ok((tls, None));
        }
        // One pending request is enough.
        let (requests, requested) = mpsc::sync_channel(1);
        let watcher = Watcher {
            credentials,
            output,
            reopens: false,
            tls: tls.clone(),
            say: say.clone(),
            loaded: stamps,
        };
        start_thread("reload", move || watcher.run(&requested))?;
        Ok((tls, Some(Reload(requests))))
    }

    pub(crate) fn request(&self) {
        let _ = self.0.try_send(());
    }
}

struct Watcher {
    credentials: Credentials,
    output: Option<Reopening>,
    /// Whether the output is still to be reopened, as there was no space for a new file.
    reopens: bool,
    tls: Tls,
    say: Say,
    /// The files as they were when they were last loaded.
    loaded: Vec<Stamp>,
}

/// The properties that change when a file is replaced or written to; `None` if it is missing.
type Stamp = Option<(u64, u64, u64, [i64; 4])>;

impl Watcher {
    fn run(mut self, requested: &Receiver<()>) {
        let mut last = self.loaded.clone();
        let mut changing: Option<Instant> = None;
        loop {
            match requested.recv_timeout(INTERVAL) {
                Ok(()) => {
                    changing = None;
                    last = stamps(&self.credentials);
                    self.loaded.clone_from(&last);
                    service::reloading(|| {
                        self.reopen();
                        self.load();
                    });
                    continue;
                }
                Err(RecvTimeoutError::Timeout) if self.reopens => self.reopen(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = stamps(&self.credentials);
            let settled = now == last;
            last.clone_from(&now);
            if now == self.loaded {
                changing = None;
                continue;
            }
            let since = *changing.get_or_insert_with(Instant::now);
            if settled || since.elapsed() >= SETTLE {
                changing = None;
                self.loaded = now;
                self.load();
            }
        }
    }

    fn reopen(&mut self) {
        let Some(output) = &self.output else { return };
        let shown = output.path().display();
        let waited = self.reopens;
        let reopened = output.request();
        self.reopens = reopened.as_ref().is_err_and(is_full);
        match reopened {
            Ok(()) => self.say.info(&format!("{shown} reopened")),
            Err(_) if self.reopens && waited => {}
            Err(error) => {
                let then = match self.reopens {
                    true => "; waiting until there is space",
                    false => "",
                };
                self.say.line(
                    Level::Error,
                    &format!("can't reopen {shown}: {error}{then}"),
                    Some("the old file stays in use, under its new name if it was renamed"),
                );
            }
        }
    }

    fn load(&self) {
        if self.loaded.is_empty() {
            return;
        }
        match self.credentials.load() {
            Ok(tls) => {
                self.tls.replace(&tls);
                self.say.info("certificates reloaded");
                warn(&tls, &self.say);
            }
            Err(failure) => self.say.line(
                Level::Error,
                &format!("{}; the old credentials stay in use", failure.what),
                failure.hint.as_deref(),
            ),
        }
    }
}

/// Says the warnings: faults that are allowed, but that the operator should know of.
pub(super) fn warn(tls: &Tls, say: &Say) {
    for warning in tls.warnings() {
        say.line(Level::Warning, &warning.to_string(), warning.hint());
    }
}

fn stamps(credentials: &Credentials) -> Vec<Stamp> {
    credentials
        .files()
        .map(|path| fs::metadata(path).ok().as_ref().map(stamp))
        .collect()
}

fn stamp(file: &Metadata) -> (u64, u64, u64, [i64; 4]) {
    let times = [
        file.mtime(),
        file.mtime_nsec(),
        file.ctime(),
        file.ctime_nsec(),
    ];
    (file.dev(), file.ino(), file.size(), times)
}
