//! A notice about a file that takes long to open.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use super::say::Say;

/// The time after which the notice is given.
const DELAY: Duration = Duration::from_millis(500);

/// Says that the program waits for a file, unless this is dropped soon.
pub(crate) struct SlowOpenNotice {
    /// The thread waits for the other side of this to be closed.
    _opened: SyncSender<()>,
}

impl SlowOpenNotice {
    /// Watches the opening of this file. A FIFO opens once another program does what `others`
    /// says: `read`, or `write to` it.
    pub(crate) fn new(say: &Say, path: &Path, others: &'static str) -> Self {
        let (opened, is_opened) = mpsc::sync_channel(1);
        let (say, path) = (say.clone(), path.to_owned());
        // Without a thread, there is no notice, and the file is opened all the same.
        let _ = thread::Builder::new()
            .name("slow-open".to_owned())
            .spawn(move || {
                if is_opened.recv_timeout(DELAY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let shown = path.display();
                say.info(&match fs::metadata(&path) {
                    Ok(facts) if facts.file_type().is_fifo() => {
                        format!("waiting for another program to {others} the FIFO {shown}")
                    }
                    _ => format!("waiting for {shown} to open"),
                });
            });
        SlowOpenNotice { _opened: opened }
    }
}
