//! Loading certificates, keys, CAs and CRLs again, when asked to and when a file changes; and opening
//! the output file anew, when asked to.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use tlsink::Tls;

use super::super::level::Level;
use super::super::say::Say;
use super::super::{Failure, start_thread};
use super::credentials::Credentials;
use super::target::Reopen;

/// How often the files are looked at. This sees what notifications do not tell of, such as a link
/// to a folder that is made to lead elsewhere, and works on every file system.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a change may go on before what there is then is loaded. A key is seldom written in the
/// same moment as its certificate.
const SETTLE: Duration = Duration::from_secs(3);

/// Asks for everything to be loaded and opened again.
pub(crate) struct Reload(SyncSender<()>);

impl Reload {
    /// Loads what TLS is made of. If there are files, they are loaded again whenever one of them
    /// changes, and when that is [requested](Self::request); then the output is opened anew too.
    ///
    /// # Errors
    ///
    /// With what can't be used.
    pub(crate) fn start(
        credentials: Credentials,
        output: Option<Reopen>,
        say: &Say,
    ) -> Result<(Tls, Option<Self>), Failure> {
        // Looked at first: what changes from here on is loaded again.
        let stamps = stamps(&credentials);
        let tls = credentials.load()?;
        warn(&tls, say);
        if stamps.is_empty() && output.is_none() {
            return Ok((tls, None));
        }
        // One that is waiting is as good as two.
        let (requests, requested) = mpsc::sync_channel(1);
        let watcher = Watcher {
            credentials,
            output,
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
    output: Option<Reopen>,
    tls: Tls,
    say: Say,
    /// The files as they were when they were last loaded.
    loaded: Vec<Stamp>,
}

/// What shows that a file is another one, or was written to; `None` if there is none.
type Stamp = Option<(u64, u64, u64, [i64; 4])>;

impl Watcher {
    fn run(mut self, requested: &Receiver<()>) {
        let mut last = self.loaded.clone();
        let mut changing: Option<Instant> = None;
        loop {
            let asked = match requested.recv_timeout(INTERVAL) {
                Ok(()) => {
                    self.reopen();
                    true
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let now = stamps(&self.credentials);
            let settled = now == last;
            last.clone_from(&now);
            if now == self.loaded && !asked {
                changing = None;
                continue;
            }
            let since = *changing.get_or_insert_with(Instant::now);
            if asked || settled || since.elapsed() >= SETTLE {
                changing = None;
                self.loaded = now;
                self.load();
            }
        }
    }

    fn reopen(&self) {
        let Some(output) = &self.output else { return };
        let shown = output.path().display();
        match output.request() {
            Ok(()) => self.say.info(&format!("{shown} reopened")),
            Err(error) => self.say.line(
                Level::Error,
                &format!("can't reopen {shown}: {error}"),
                Some("what was open before stays in use, whatever it is called now"),
            ),
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
                &format!("{}; what was loaded before stays in use", failure.what),
                failure.hint.as_deref(),
            ),
        }
    }
}

/// Says what is allowed, but better known.
fn warn(tls: &Tls, say: &Say) {
    for warning in tls.warnings() {
        say.line(Level::Error, &warning.to_string(), warning.hint());
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
