//! Closed files: packing them, and removing the oldest.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::notice::{AppendNotice, SharedNotice};
use crate::output::files::is_full;
use crate::output::template::PathTemplate;
use crate::time;

/// The time between two tries to pack a file on a full disk.
const INTERVAL: Duration = Duration::from_secs(1);

/// The time between two looks for files that are too old.
const EXPIRY: Duration = Duration::from_secs(60);

/// The time for packing files when the writer has ended. The next start packs the others.
const LAST: Duration = Duration::from_millis(500);

/// The ending of a packed file.
const PACKED: &str = ".zst";

/// The ending of a packed file that is not complete.
const PART: &str = ".zst.part";

/// The closed files of a name that are kept; see [`AppendWriter::keep`](super::AppendWriter::keep).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keep {
    /// The latest ones, at most this many.
    Count(usize),
    /// Those that were closed no longer ago than this, by the time in their names.
    Age(Duration),
}

/// The settings for closed files.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClosedSettings {
    pub(super) compress: bool,
    pub(super) keep: Option<Keep>,
}

/// The thread that packs and removes closed files, for the one that closes them.
#[derive(Debug)]
pub(super) struct Closer {
    queue: Sender<PathBuf>,
    /// The time at which the thread ends, whatever is left.
    until: Arc<OnceLock<Instant>>,
    thread: JoinHandle<()>,
}

/// The thread's own state.
struct Closed {
    settings: ClosedSettings,
    /// The closed files of each path. Only those are listed that were there at the start, or that
    /// the writer has announced: all others may not be synced yet, or may be somebody else's.
    names: HashMap<PathBuf, BTreeMap<Stamp, Forms>>,
    /// The files to pack.
    waiting: VecDeque<PathBuf>,
    announced: Receiver<PathBuf>,
    until: Arc<OnceLock<Instant>>,
    on_notice: SharedNotice,
    /// When files were last looked for that are too old.
    expired: Instant,
}

/// The part of a closed file's name that tells it from others of the same path: the later file is
/// the greater one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp {
    /// The time, as it is in the name.
    second: String,
    number: u32,
}

/// The forms in which a closed file exists: in both, if packing it was interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Forms {
    plain: bool,
    packed: bool,
}

/// The form of a file, by the ending of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Packed,
    Part,
}

impl Closer {
    /// Starts the thread, if closed files are to be packed or removed. Lists the files that were
    /// closed before, so that it comes before the first of the writer's.
    ///
    /// # Errors
    ///
    /// When the thread can't be started.
    pub(super) fn start(
        settings: ClosedSettings,
        directory: &Path,
        template: &PathTemplate,
        on_notice: &SharedNotice,
    ) -> io::Result<Option<Self>> {
        if !settings.compress && settings.keep.is_none() {
            return Ok(None);
        }
        let (queue, announced) = mpsc::channel();
        let until = Arc::default();
        let mut closed = Closed {
            settings,
            names: HashMap::new(),
            waiting: VecDeque::new(),
            announced,
            until: Arc::clone(&until),
            on_notice: Arc::clone(on_notice),
            expired: Instant::now(),
        };
        closed.list(directory, template, 0);
        let thread = thread::Builder::new().name("pack".to_owned());
        Ok(Some(Closer {
            queue,
            until,
            thread: thread.spawn(move || closed.run())?,
        }))
    }

    /// Tells the thread of a file that was closed, with all its lines committed.
    pub(super) fn announce(&self, path: PathBuf) {
        // If the thread has ended, the next start finds the file.
        let _ = self.queue.send(path);
    }

    /// Ends the thread: files that are not packed soon are left to the next start.
    pub(super) fn finish(self) {
        let Closer {
            queue,
            until,
            thread,
        } = self;
        if let Some(end) = Instant::now().checked_add(LAST) {
            let _ = until.set(end);
        }
        drop(queue);
        // If it has panicked, the next start does its work.
        let _ = thread.join();
    }
}

impl Closed {
    fn run(mut self) {
        self.expire_all();
        loop {
            // It waits for files only when there are none to pack.
            let patience = match self.waiting.is_empty() {
                true => EXPIRY,
                false => Duration::ZERO,
            };
            match self.announced.recv_timeout(patience) {
                Ok(path) => {
                    // Removing old files is never late, as packing may be.
                    self.add(&path);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) if self.waiting.is_empty() => return,
                Err(_) if self.expired.elapsed() >= EXPIRY => self.expire_all(),
                Err(_) => {}
            }
            if self.is_late() {
                return;
            }
            if let Some(path) = self.waiting.pop_front()
                && !self.pack(&path)
            {
                return;
            }
        }
    }

    /// Lists the closed files in a folder whose path belongs to this part of the template, and
    /// removes the incomplete packed ones. Folders that can't be read are passed over.
    fn list(&mut self, folder: &Path, template: &PathTemplate, part: usize) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        let is_last = part.saturating_add(1) >= template.depth();
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Some(name) = name.to_str() else {
                continue;
            };
            if !is_last {
                // A link to a folder is followed, as the writer does.
                if template.may_make(part, name) && path.is_dir() {
                    self.list(&path, template, part.saturating_add(1));
                }
                continue;
            }
            let Some((name, stamp, form)) = split(name) else {
                continue;
            };
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if !is_file || !template.may_make(part, name) {
                continue;
            }
            if form == Form::Part {
                // Packing begins anew.
                let _ = fs::remove_file(&path);
            } else {
                self.insert(folder.join(name), stamp, form);
            }
        }
        if self.settings.compress && part == 0 {
            self.await_packing();
        }
    }

    /// Lets all listed files wait that are not packed, the oldest ones first.
    fn await_packing(&mut self) {
        let mut plain: Vec<_> = (self.names.iter())
            .flat_map(|(path, files)| files.iter().map(move |(stamp, forms)| (path, stamp, forms)))
            .filter(|(_, _, forms)| forms.plain)
            .map(|(path, stamp, _)| (stamp, path))
            .collect();
        plain.sort_unstable();
        let paths = plain.iter().map(|(stamp, path)| stamp.plain(path));
        self.waiting.extend(paths);
    }

    fn insert(&mut self, path: PathBuf, stamp: Stamp, form: Form) {
        let forms = self.names.entry(path).or_default();
        let forms = forms.entry(stamp).or_default();
        match form {
            Form::Plain => forms.plain = true,
            Form::Packed => forms.packed = true,
            Form::Part => {}
        }
    }

    /// Adds a file that the writer has closed.
    fn add(&mut self, closed: &Path) {
        let Some((path, stamp)) = split_path(closed) else {
            return;
        };
        if self.settings.keep.is_some() {
            self.insert(path.clone(), stamp, Form::Plain);
            self.expire(&path);
        }
        if self.settings.compress {
            self.waiting.push_back(closed.to_owned());
        }
    }

    /// Packs a file. On a full disk, it tries again each second, and removes old files meanwhile.
    /// Returns `false` if the writer has ended before there was space.
    fn pack(&mut self, path: &Path) -> bool {
        let mut waits = false;
        loop {
            let began = Instant::now();
            match self.try_pack(path) {
                Ok(true) => {
                    if waits {
                        self.notify(&AppendNotice::Space(added(path, PACKED)));
                    }
                    self.packed(path);
                    return true;
                }
                Ok(false) => return true,
                Err(error) if is_full(&error) => {
                    if !std::mem::replace(&mut waits, true) {
                        let path = added(path, PACKED);
                        self.notify(&AppendNotice::Full { path, error });
                    }
                    // Its own share of the disk is given back until then, and the writer has turns
                    // that are ten times as long.
                    let wait = began.elapsed().saturating_mul(10).max(INTERVAL);
                    if !self.wait(wait) {
                        return false;
                    }
                }
                Err(error) => {
                    let path = path.to_owned();
                    self.notify(&AppendNotice::NotPacked { path, error });
                    return true;
                }
            }
        }
    }

    /// Returns `false` if the time was up, or the file is gone.
    #[cfg(feature = "compress")]
    fn try_pack(&self, path: &Path) -> io::Result<bool> {
        let (packed, part) = (added(path, PACKED), added(path, PART));
        match super::pack::pack(path, &part, &packed, || self.is_late()) {
            // It was removed, as too old or by somebody else.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            packed => packed,
        }
    }

    /// Nothing asks for this without the feature `compress`.
    #[cfg(not(feature = "compress"))]
    fn try_pack(&self, _: &Path) -> io::Result<bool> {
        Ok(false)
    }

    /// Waits, and takes the files that the writer closes meanwhile. Returns `false` if the writer has
    /// ended: nobody makes space within the time that is left.
    fn wait(&mut self, time: Duration) -> bool {
        let began = Instant::now();
        self.expire_all();
        while let Some(rest) = time.checked_sub(began.elapsed()) {
            match self.announced.recv_timeout(rest) {
                Ok(path) => self.add(&path),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }

    /// Notes that a file is packed.
    fn packed(&mut self, plain: &Path) {
        if let Some((path, stamp)) = split_path(plain)
            && let Some(forms) = self
                .names
                .get_mut(&path)
                .and_then(|files| files.get_mut(&stamp))
        {
            *forms = Forms {
                plain: false,
                packed: true,
            };
        }
        let (path, to) = (plain.to_owned(), added(plain, PACKED));
        self.notify(&AppendNotice::Packed { path, to });
    }

    fn expire_all(&mut self) {
        self.expired = Instant::now();
        if self.settings.keep.is_none() {
            // Only files that wait are known by then.
            self.names = HashMap::new();
            return;
        }
        let paths: Vec<_> = self.names.keys().cloned().collect();
        paths.iter().for_each(|path| self.expire(path));
    }

    /// Removes the closed files of this path that are not kept.
    fn expire(&mut self, path: &Path) {
        let (Some(keep), Some(files)) = (self.settings.keep, self.names.get_mut(path)) else {
            return;
        };
        let now = SystemTime::now();
        let excess = match keep {
            Keep::Count(most) => files.len().saturating_sub(most),
            Keep::Age(age) => {
                let old = |stamp: &&Stamp| {
                    let closed = time::parse_second(&stamp.second);
                    let age_of = |closed| now.duration_since(closed).ok();
                    closed.and_then(age_of).is_some_and(|of| of > age)
                };
                files.keys().take_while(old).count()
            }
        };
        let mut removed = Vec::new();
        for _ in 0..excess {
            removed.extend(files.pop_first());
        }
        if files.is_empty() {
            self.names.remove(path);
        }
        for (stamp, forms) in removed {
            let plain = stamp.plain(path);
            if forms.plain {
                self.remove(plain.clone());
            }
            if forms.packed {
                self.remove(added(&plain, PACKED));
            }
        }
    }

    fn remove(&self, path: PathBuf) {
        let is_file = fs::symlink_metadata(&path).map(|facts| facts.is_file());
        let removed = match is_file {
            Ok(true) => fs::remove_file(&path),
            Ok(false) => Err(io::Error::other("not a regular file")),
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => self.notify(&AppendNotice::Removed(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => self.notify(&AppendNotice::NotRemoved { path, error }),
        }
    }

    /// Whether the time is up.
    fn is_late(&self) -> bool {
        self.until.get().is_some_and(|end| *end <= Instant::now())
    }

    fn notify(&self, notice: &AppendNotice) {
        (self.on_notice.lock())(notice);
    }
}

impl Stamp {
    /// The path of the closed file, unless it is packed, for files of this path.
    fn plain(&self, path: &Path) -> PathBuf {
        let Stamp { second, number } = self;
        added(
            path,
            &match number {
                0 => format!(".{second}"),
                number => format!(".{second}-{number}"),
            },
        )
    }
}

fn added(path: &Path, ending: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(ending);
    PathBuf::from(path)
}

/// The path until it was closed, and the stamp, of a file that is not packed.
fn split_path(closed: &Path) -> Option<(PathBuf, Stamp)> {
    match split(closed.file_name()?.to_str()?)? {
        (name, stamp, Form::Plain) => Some((closed.with_file_name(name), stamp)),
        _ => None,
    }
}

/// Splits the name of a closed file, `NAME.TIME`, `NAME.TIME-NUMBER`, or one of them with the
/// ending of a packed file; `None` for every other name.
fn split(name: &str) -> Option<(&str, Stamp, Form)> {
    let endings = [(PART, Form::Part), (PACKED, Form::Packed)];
    let ending = endings.iter().find_map(|(ending, form)| {
        let rest = name.strip_suffix(ending)?;
        Some((rest, *form))
    });
    let (rest, form) = ending.unwrap_or((name, Form::Plain));
    let (name, addition) = rest.rsplit_once('.')?;
    let (second, number) = match addition.split_once('-') {
        Some((second, digits)) => {
            let number: u32 = digits.parse().ok()?;
            // There are no other spellings of a number.
            (number > 0 && number.to_string() == digits).then_some((second, number))?
        }
        None => (addition, 0),
    };
    // A time has no other spelling either.
    let time = time::parse_second(second)?;
    let second = (time::second(time) == second).then(|| second.to_owned())?;
    (!name.is_empty()).then_some((name, Stamp { second, number }, form))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_closed_file_has_one_spelling() {
        let stamp = |second: &str, number| Stamp {
            second: second.to_owned(),
            number,
        };
        const TIME: &str = "20200101T000000Z";
        for (name, expected) in [
            ("log.20200101T000000Z", ("log", stamp(TIME, 0), Form::Plain)),
            (
                "a.b.20200101T000000Z-12",
                ("a.b", stamp(TIME, 12), Form::Plain),
            ),
            (
                "log.20200101T000000Z.zst",
                ("log", stamp(TIME, 0), Form::Packed),
            ),
            (
                "log.20200101T000000Z-1.zst.part",
                ("log", stamp(TIME, 1), Form::Part),
            ),
        ] {
            assert_eq!(split(name), Some(expected), "{name}");
        }
        for other in [
            "",
            "log",
            "log.zst",
            ".20200101T000000Z",
            "20200101T000000Z",
            "log20200101T000000Z",
            "log.20200101T000000z",
            "log.20200101t000000Z",
            "log.20201301T000000Z",
            "log.2020010éT00000Z",
            "log.20200101T000000Z-",
            "log.20200101T000000Z-0",
            "log.20200101T000000Z-01",
            "log.20200101T000000Z-+1",
            "log.20200101T000000Z-4294967296",
            "log.20200101T000000Z.part",
            "log.20200101T000000Z.zst.zst",
            "log.20200101T000000Z.ZST",
            "log.20200101T000000Z.bad-20200101T000000Z",
        ] {
            let found = split(other);
            assert_eq!(found, None, "{other}");
        }
    }

    #[test]
    fn a_later_file_has_the_greater_stamp_and_gives_its_path_back() {
        let paths = [
            "d/log.20200101T000000Z",
            "d/log.20200101T000000Z-2",
            "d/log.20200101T000000Z-10",
            "d/log.20200101T000001Z",
            "d/log.20210101T000000Z",
        ];
        let stamps = paths.map(|path| {
            let (base, stamp) = split_path(Path::new(path)).unwrap();
            assert_eq!(base, Path::new("d/log"));
            assert_eq!(stamp.plain(&base), Path::new(path));
            stamp
        });
        assert!(stamps.is_sorted());
    }
}
