//! The output that writes a file for each connection.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::template::{PART, Template};
use super::{Output, StreamError};
use crate::conn::{Conn, ConnId};
use crate::end::End;

/// Writes the data of each connection to a file of its own, which gets its name only when it is
/// complete.
///
/// While a stream runs, its file is `NAME.part`, with a name made by a [template](Self::name). The
/// file is created when the stream's first bytes come. Only a [clean](End::Clean) end renames it to
/// `NAME`; after any other end it stays `NAME.part`, and holds the bytes before that end. A clean
/// stream of no bytes makes an empty file; a stream of no bytes with any other end leaves none.
/// Nothing is ever overwritten: where either name is taken, `NAME-1` is tried, and so on.
///
/// A file gets its name by a hard link; then its first name is removed. On file systems without
/// hard links, an empty file takes the name, and `NAME.part` then replaces it: a crash in between
/// leaves both files.
///
/// Bytes are written as they come, without a buffer, to files with the default permissions of the
/// process. A clone has open files of its own: give one clone to each lane.
///
/// An error of a file ends only its own stream, as [`Cut::Output`](crate::Cut::Output), even if
/// other files will have the same error: by the time the next stream comes, the disk may have room
/// again, and the directory may be back. Errors begin with the path that they concern. On a full
/// disk, a stream can also [wait](Self::when_full).
///
/// ```no_run
/// use tlsink::Server;
/// use tlsink::output::Files;
///
/// let files = Files::new("incoming")?.name("{client}-{time}".parse()?).sync(true);
/// let (server, sink) = Server::builder().build()?;
/// sink.run_blocking(files)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    template: Template,
    sync: bool,
    when_full: WhenFull,
    incoming: HashMap<ConnId, Incoming>,
}

/// Decides whether an operation for which the disk has no space is tried again.
#[derive(Clone, Default)]
pub(super) struct WhenFull(Option<Arc<AskWhenFull>>);

type AskWhenFull = dyn Fn(&Path, &io::Error) -> bool + Send + Sync;

/// The file of an open connection.
#[derive(Debug)]
enum Incoming {
    /// No data has come since the connection opened, at this time.
    Empty(SystemTime),
    PartFile(PartFile),
}

/// The file of a stream that is not complete.
#[derive(Debug)]
struct PartFile {
    file: File,
    /// The file's later name, without the number.
    name: String,
    number: u32,
}

/// The name of the file that is created and removed to check that files can be created. It is
/// hidden, and incomplete.
const PROBE: &str = ".tlsink";

/// The number of tries for a free number when another process has just taken the last one: more
/// than this many in a row are no accident.
const TRIES: u32 = 100;

impl Files {
    /// Writes files in `directory`, which must exist. Creates and removes a file there at once, as
    /// a check.
    ///
    /// # Errors
    ///
    /// The error of the file system if no file can be created there.
    pub fn new(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let files = Files {
            directory: directory.into(),
            template: Template::default(),
            sync: false,
            when_full: WhenFull::default(),
            incoming: HashMap::new(),
        };
        let (number, _) = files.create(PROBE)?;
        fs::remove_file(files.path_of(PROBE, number, PART))?;
        Ok(files)
    }

    /// The template of the files' names. `{time}-{peer}-{conn}` by default.
    pub fn name(mut self, template: Template) -> Self {
        self.template = template;
        self
    }

    /// Whether complete files outlive a crash of the system: the file is synced (fsync(2)) before
    /// it gets its name, and the directory before [`close`](Output::close) returns. Off by default.
    ///
    /// A connection hears of its clean end only after that. Incomplete files are not synced.
    ///
    /// # Blocking
    ///
    /// Each clean end waits for the disk.
    pub fn sync(mut self, on: bool) -> Self {
        self.sync = on;
        self
    }

    /// Asks for a decision when the disk has no space for a file, or a quota is used up: at an error of
    /// the kind [`StorageFull`](ErrorKind::StorageFull) or
    /// [`QuotaExceeded`](ErrorKind::QuotaExceeded). By default, it ends the stream, like any other error.
    ///
    /// `ask` is called with the path of the incomplete file and the error, and returns whether to try
    /// again: to create the file, to write the bytes that are not yet written, or to give the file
    /// its name. It is called each time that a try fails, so it has to wait before it returns `true`.
    /// A sync (fsync(2)) that fails is never tried again, since the system may have dropped the bytes.
    ///
    /// Clones share `ask`.
    ///
    /// ```no_run
    /// use std::{thread, time::Duration};
    ///
    /// use tlsink::output::Files;
    ///
    /// let files = Files::new("incoming")?.when_full(|path, error| {
    ///     eprintln!("{}: {error}", path.display());
    ///     thread::sleep(Duration::from_secs(1));
    ///     true
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Blocking
    ///
    /// `ask` is called on the thread of the sink, whose streams all wait for it.
    pub fn when_full(
        mut self,
        ask: impl Fn(&Path, &io::Error) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.when_full = WhenFull(Some(Arc::new(ask)));
        self
    }

    /// The path of an open connection's file: `NAME.part`, in the directory. `None` until data has
    /// come.
    pub fn path(&self, connection: ConnId) -> Option<PathBuf> {
        match self.incoming.get(&connection)? {
            Incoming::Empty(_) => None,
            Incoming::PartFile(part) => Some(self.path_of(&part.name, part.number, PART)),
        }
    }

    /// Creates the file of a connection that opened at this time.
    fn make(&self, connection: &Conn, opened: SystemTime) -> io::Result<PartFile> {
        let name = self.template.name(connection, opened);
        let (number, file) = self
            .create(&name)
            .map_err(|error| about(&self.path_of(&name, 0, PART), error))?;
        Ok(PartFile { file, name, number })
    }

    /// Creates `NAME.part` where `NAME` is free as well.
    fn create(&self, name: &str) -> io::Result<(u32, File)> {
        let is_taken = |number| {
            let mut ends = ["", PART].into_iter();
            ends.any(|end| is_there(&self.path_of(name, number, end)))
        };
        take_number(0, is_taken, |number| {
            let path = self.path_of(name, number, PART);
            self.when_full
                .retry(|| path.clone(), || File::create_new(&path))
        })
    }

    /// Gives a complete file its name, with its present number if that is still free.
    fn publish(&self, part: &PartFile) -> io::Result<()> {
        let PartFile { file, name, number } = part;
        let part = self.path_of(name, *number, PART);
        if self.sync {
            file.sync_all().map_err(|error| about(&part, error))?;
        }
        let is_taken = |number| is_there(&self.path_of(name, number, ""));
        let rename = |number| {
            let name = self.path_of(name, number, "");
            rename_new(file, &part, &name, hard_link, &self.when_full)
        };
        let (number, ()) =
            take_number(*number, is_taken, rename).map_err(|error| about(&part, error))?;
        if self.sync {
            File::open(&self.directory)
                .and_then(|directory| directory.sync_all())
                .map_err(|error| {
                    // The sender hears that the stream is not clean, so its file must not look
                    // clean either.
                    let name = self.path_of(name, number, "");
                    let _ = rename_new(file, &name, &part, hard_link, &WhenFull::default());
                    about(&self.directory, error)
                })?;
        }
        Ok(())
    }

    fn path_of(&self, name: &str, number: u32, end: &str) -> PathBuf {
        self.directory.join(match number {
            0 => format!("{name}{end}"),
            number => format!("{name}-{number}{end}"),
        })
    }
}

impl Clone for Files {
    fn clone(&self) -> Self {
        Files {
            directory: self.directory.clone(),
            template: self.template.clone(),
            sync: self.sync,
            when_full: self.when_full.clone(),
            incoming: HashMap::new(),
        }
    }
}

impl Output for Files {
    fn open(&mut self, connection: &Conn) -> io::Result<()> {
        let incoming = Incoming::Empty(SystemTime::now());
        self.incoming.insert(connection.id(), incoming);
        Ok(())
    }

    fn data(&mut self, connection: &Conn, bytes: &[u8]) -> io::Result<()> {
        let id = connection.id();
        if let Some(Incoming::Empty(opened)) = self.incoming.get(&id) {
            let part = self.make(connection, *opened)?;
            self.incoming.insert(id, Incoming::PartFile(part));
        }
        let Some(Incoming::PartFile(part)) = self.incoming.get(&id) else {
            // This is an error, because nobody would notice the loss of these bytes.
            return Err(io::Error::other("a connection that was not opened"));
        };
        let path = || self.path_of(&part.name, part.number, PART);
        self.when_full
            .write_all(&part.file, path, bytes)
            .map_err(|error| about(&path(), error))
    }

    fn close(&mut self, connection: &Conn, end: &End) -> io::Result<()> {
        let incoming = self.incoming.remove(&connection.id());
        match incoming {
            Some(Incoming::PartFile(part)) if end.is_clean() => self.publish(&part),
            Some(Incoming::Empty(opened)) if end.is_clean() => {
                self.publish(&self.make(connection, opened)?)
            }
            _ => Ok(()),
        }
    }
}

impl WhenFull {
    /// Repeats `attempt` while there is no space for the file of this path, and that is worth
    /// another try.
    fn retry<T>(
        &self,
        path: impl Fn() -> PathBuf,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match (attempt(), &self.0) {
                (Err(error), Some(ask)) if is_full(&error) && ask(&path(), &error) => {}
                (done, _) => return done,
            }
        }
    }

    /// Writes all bytes, each part once.
    fn write_all(
        &self,
        mut file: &File,
        path: impl Fn() -> PathBuf,
        mut bytes: &[u8],
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.retry(&path, || file.write(bytes)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl fmt::Debug for WhenFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "Ask",
            None => "Fail",
        })
    }
}

/// Whether an error says that there is no space for a file: the disk is full, or a quota is used up.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

/// Takes a free number from `first` on: the next one, unless the taken numbers have gaps.
pub(super) fn take_number<T>(
    first: u32,
    is_taken: impl Fn(u32) -> bool,
    take: impl Fn(u32) -> io::Result<T>,
) -> io::Result<(u32, T)> {
    let mut number = first;
    for _ in 0..TRIES {
        let Some(free) = free_number(number, &is_taken) else {
            break;
        };
        match take(free) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number = free,
            taken => return Ok((free, taken?)),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Finds a free number with few looks, however many are taken: with a template without tokens, each
/// stream of an endless series would otherwise take longer than the one before.
fn free_number(first: u32, is_taken: impl Fn(u32) -> bool) -> Option<u32> {
    if !is_taken(first) {
        return Some(first);
    }
    let (mut taken, mut step) = (first, 1);
    let mut free = loop {
        let next = taken.checked_add(step)?;
        if !is_taken(next) {
            break next;
        }
        taken = next;
        step = step.saturating_mul(2);
    };
    while free.abs_diff(taken) > 1 {
        let middle = taken.midpoint(free);
        if is_taken(middle) {
            taken = middle;
        } else {
            free = middle;
        }
    }
    Some(free)
}

/// Gives a file another name, unless that name is taken.
pub(super) fn rename_new(
    file: &File,
    from: &Path,
    to: &Path,
    link: impl Fn(&Path, &Path) -> io::Result<()>,
    when_full: &WhenFull,
) -> io::Result<()> {
    let path = || from.to_owned();
    // Checked at each try, as another file may take its place meanwhile.
    let check = || match is_name_of(from, file)? {
        true => Ok(()),
        false => Err(io::Error::other("another file has taken its place")),
    };
    match when_full.retry(path, || check().and_then(|()| link(from, to))) {
        // This is tried again by itself: both names are the file's by now.
        Ok(()) => match when_full.retry(path, || fs::remove_file(from)) {
            // Another process has removed the first name, and the file has its new one.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.inspect_err(|_| {
                // The file must not be taken for a complete one.
                let _ = fs::remove_file(to);
            }),
        },
        // Linux returns EPERM for vfat; other systems return ENOTSUP or ENOSYS.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::Unsupported
            ) =>
        {
            when_full.retry(path, || {
                check()?;
                // A rename replaces the file with that name: our own empty file, and nothing else.
                File::create_new(to)?;
                fs::rename(from, to).inspect_err(|_| {
                    // The file must not be taken for a stream of no bytes.
                    let _ = fs::remove_file(to);
                })
            })
        }
        Err(error) => Err(error),
    }
}

pub(super) fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)
}

/// Whether a name is taken, if only by a dangling link.
pub(super) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Whether a name still belongs to an open file.
fn is_name_of(path: &Path, file: &File) -> io::Result<bool> {
    Ok(is_same_file(
        &fs::symlink_metadata(path)?,
        &file.metadata()?,
    ))
}

/// Whether both are facts of one file. Where files can't be told apart, all are taken for the same.
pub(super) fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = (one, other);
        true
    }
}

/// An error of one stream's file.
pub(super) fn about(path: &Path, error: io::Error) -> io::Error {
    let error = io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    StreamError::new(error).into()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashSet;
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_free_number_is_found_in_few_looks() {
        for first in [0, 1, 7] {
            for count in [0, 1, 2, 3, 4, 5, 100, 1023, 1024, 1025, 1_000_000] {
                let looks = Cell::new(0);
                let is_taken = |number| {
                    looks.set(looks.get() + 1);
                    (first..first + count).contains(&number)
                };
                assert_eq!(free_number(first, is_taken), Some(first + count));
                assert!(looks.get() <= 45, "{} looks for {count}", looks.get());
            }
        }
    }

    #[test]
    fn a_gap_is_as_good_and_all_numbers_taken_are_too_many() {
        let taken = HashSet::from([0, 1, 2, 4, 5, 6, 7]);
        let free = free_number(0, |number| taken.contains(&number)).unwrap();
        assert!(!taken.contains(&free));
        assert_eq!(free_number(0, |_| true), None);
        assert_eq!(free_number(u32::MAX, |_| false), Some(u32::MAX));
    }

    #[test]
    fn a_number_that_somebody_else_takes_first_is_left_to_them() {
        let takes = Cell::new(0);
        let take = |number| {
            takes.set(takes.get() + 1);
            match number {
                0..5 => Err(ErrorKind::AlreadyExists.into()),
                number => Ok(number),
            }
        };
        // No number is taken at first sight, and all of them are a moment later.
        let seen = |number| number < takes.get();
        assert_eq!(take_number(0, seen, take).unwrap(), (5, 5));

        let always = |_| Err::<(), _>(ErrorKind::AlreadyExists.into());
        let error = take_number(0, |_| false, always).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        let full = |_| Err::<(), _>(ErrorKind::StorageFull.into());
        let error = take_number(0, |_| false, full).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn without_hard_links_a_file_is_renamed_and_none_is_overwritten() {
        for kind in [ErrorKind::PermissionDenied, ErrorKind::Unsupported] {
            let unsupported = |_: &Path, _: &Path| Err(kind.into());
            let folder = tempfile::tempdir().unwrap();
            let [part, name] = ["a.part", "a"].map(|name| folder.path().join(name));
            fs::write(&part, "new").unwrap();
            let file = File::open(&part).unwrap();
            rename_new(&file, &part, &name, unsupported, &WhenFull::default()).unwrap();
            assert!(!is_there(&part));
            assert_eq!(fs::read(&name).unwrap(), b"new");

            fs::write(&part, "newer").unwrap();
            let file = File::open(&part).unwrap();
            let error =
                rename_new(&file, &part, &name, unsupported, &WhenFull::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&part).unwrap(), b"newer");
            assert_eq!(fs::read(&name).unwrap(), b"new");

            // A missing file leaves no empty file that looks complete.
            fs::remove_file(&part).unwrap();
            fs::remove_file(&name).unwrap();
            let error =
                rename_new(&file, &part, &name, unsupported, &WhenFull::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(!is_there(&name));
        }
    }

    #[test]
    fn a_file_is_not_renamed_whose_name_is_another_ones_by_now() {
        let folder = tempfile::tempdir().unwrap();
        let [part, name] = ["a.part", "a"].map(|name| folder.path().join(name));
        let file = File::create_new(&part).unwrap();
        fs::rename(&part, folder.path().join("moved")).unwrap();
        fs::write(&part, "another").unwrap();
        rename_new(&file, &part, &name, hard_link, &WhenFull::default()).unwrap_err();
        assert!(!is_there(&name));
        assert_eq!(fs::read(&part).unwrap(), b"another");
    }

    #[test]
    fn a_file_is_named_when_there_is_space_for_the_name() {
        for full in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            let folder = tempfile::tempdir().unwrap();
            let [part, name] = ["a.part", "a"].map(|name| folder.path().join(name));
            let file = File::create_new(&part).unwrap();
            let tries = Cell::new(0);
            let link = |from: &Path, to: &Path| {
                tries.set(tries.get() + 1);
                match tries.get() {
                    1..4 => Err(full.into()),
                    _ => fs::hard_link(from, to),
                }
            };
            let asked = Arc::new(Mutex::new(Vec::new()));
            let asks = Arc::clone(&asked);
            let twice = WhenFull(Some(Arc::new(move |path, error| {
                let mut asks = asks.lock().unwrap();
                asks.push((path.to_owned(), error.kind()));
                asks.len() != 2
            })));
            let error = rename_new(&file, &part, &name, link, &twice).unwrap_err();
            assert_eq!(error.kind(), full);
            assert_eq!(
                *asked.lock().unwrap(),
                [(part.clone(), full), (part.clone(), full)]
            );
            assert!(is_there(&part) && !is_there(&name));
            rename_new(&file, &part, &name, link, &twice).unwrap();
            assert_eq!(asked.lock().unwrap().len(), 3);
            assert!(!is_there(&part) && is_there(&name));
        }
    }

    #[test]
    fn a_file_whose_name_is_another_ones_when_there_is_space_is_not_renamed() {
        let folder = tempfile::tempdir().unwrap();
        let [part, name, moved] = ["a.part", "a", "moved"].map(|name| folder.path().join(name));
        let file = File::create_new(&part).unwrap();
        let replace = move |part: &Path, _: &io::Error| {
            fs::rename(part, &moved).unwrap();
            fs::write(part, "another").unwrap();
            true
        };
        let full = |_: &Path, _: &Path| Err(ErrorKind::StorageFull.into());
        let when_full = WhenFull(Some(Arc::new(replace)));
        let error = rename_new(&file, &part, &name, full, &when_full).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
        assert!(!is_there(&name));
        assert_eq!(fs::read(&part).unwrap(), b"another");
    }

    #[test]
    fn nobody_is_asked_after_other_errors() {
        let ask = |_: &Path, _: &io::Error| -> bool { unreachable!() };
        let when_full = WhenFull(Some(Arc::new(ask)));
        for other in [ErrorKind::PermissionDenied, ErrorKind::FileTooLarge] {
            let failed = when_full.retry(PathBuf::new, || Err::<(), _>(other.into()));
            assert_eq!(failed.unwrap_err().kind(), other);
        }
    }

    #[test]
    fn a_name_that_was_removed_just_after_the_file_had_another_is_not_missed() {
        let folder = tempfile::tempdir().unwrap();
        let [part, name] = ["a.part", "a"].map(|name| folder.path().join(name));
        let file = File::create_new(&part).unwrap();
        let link = |from: &Path, to: &Path| {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        };
        rename_new(&file, &part, &name, link, &WhenFull::default()).unwrap();
        assert!(is_there(&name));
    }
}
