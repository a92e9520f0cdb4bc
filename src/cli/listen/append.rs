//! Files that streams share: locking their directory, and starting their writer.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, CWD, Mode, OFlags, access, openat};
use tlsink::output::{AppendHandle, AppendNotice, AppendWriter, Appended};

use super::super::args::{AppendArgs, LineFront, OutputFormat};
use super::super::level::Level;
use super::super::say::Say;
use super::super::{Failure, start_thread, stdio};
use super::files::{check_sync, unusable};
use super::state::{self, lock_file};

/// The output that appends to files, and its writer, which is yet to be started.
pub(super) struct AppendOutlet {
    pub(super) output: Appended,
    writer: AppendWriter,
    /// The directory, or the one file in it.
    path: PathBuf,
    /// Held until everything is written.
    locks: Vec<File>,
}

/// A handle for the files that are appended to.
#[derive(Clone)]
pub(super) struct AppendFiles {
    /// The directory, or the one file in it.
    pub(super) path: PathBuf,
    pub(super) handle: AppendHandle,
}

/// Locks the directory, and waits for that while another process has locked it.
///
/// # Errors
///
/// When it can't be opened or locked, or not be synced or packed if that is wanted.
pub(super) fn open(
    args: &AppendArgs,
    format: &OutputFormat,
    files: usize,
    say: &Say,
) -> Result<AppendOutlet, Failure> {
    if args.compress && !cfg!(feature = "compress") {
        return Err(Failure::misused(
            "--compress needs the feature compress, which is not built in",
        ));
    }
    let directory = &args.path;
    let lock = open_directory(directory).map_err(|error| unusable(directory, &error))?;
    let mut locks = Vec::new();
    match &args.file {
        // Others may write to other files in its folder.
        Some(file) => check_regular(file)?,
        None => {
            let waits = format!(
                "another process appends to files in {}",
                directory.display()
            );
            lock_file(&lock, directory, &waits, say)?;
            locks.push(lock);
        }
    }
    if args.sync {
        check_sync(directory)?;
    }
    let (output, mut writer) = Appended::new(directory, args.name.clone());
    if let Some(state) = &args.state {
        let (journal, lock) = state::open(state, directory, say)?;
        writer = writer.journal(journal);
        locks.push(lock);
    }
    let output = match format {
        OutputFormat::Lines(LineFront::Nothing) => output,
        OutputFormat::Lines(LineFront::Label) => output.labels(true),
        OutputFormat::Lines(LineFront::Prefix(prefix)) => output.prefix(prefix.clone()),
        OutputFormat::Json => output.json(true),
        OutputFormat::Raw => return Err(Failure::misused("raw bytes can't be appended as lines")),
    };
    let said = say.clone();
    let writer = writer
        .sync(args.sync)
        .rotate(args.rotate)
        .keep(args.keep)
        .open_files(files)
        .on_notice(move |notice| log(notice, &said));
    #[cfg(feature = "compress")]
    let writer = writer.compress(args.compress);
    Ok(AppendOutlet {
        output,
        writer,
        path: args.file.as_ref().unwrap_or(directory).clone(),
        locks,
    })
}

/// Opens a directory in which files can be made, by all that can be known before one is made.
fn open_directory(directory: &Path) -> io::Result<File> {
    let opened = openat(
        CWD,
        directory,
        OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    access(directory, Access::WRITE_OK | Access::EXEC_OK)?;
    Ok(File::from(opened))
}

/// Checks that a file is a regular one, or can become one.
fn check_regular(file: &Path) -> Result<(), Failure> {
    let is_other = fs::metadata(file).is_ok_and(|facts| !facts.is_file());
    match is_other || stdio::descriptor(file).is_some() {
        true => Err(
            Failure::misused(format!("{} is not a regular file", file.display()))
                .hint("only such a file can be synced and cut back, as --state has to"),
        ),
        false => Ok(()),
    }
}

fn log(notice: &AppendNotice, say: &Say) {
    match notice {
        AppendNotice::Opened(_)
        | AppendNotice::Rotated { .. }
        | AppendNotice::Packed { .. }
        | AppendNotice::Removed(_) => {
            say.detail(|| notice.to_string());
        }
        AppendNotice::SetAside { .. } => say.line(
            Level::Error,
            &notice.to_string(),
            Some("lines that it lacks were not acknowledged, and their streams are cut"),
        ),
        AppendNotice::Space(_) => say.warning(&notice.to_string()),
        notice => say.error(&notice.to_string()),
    }
}

impl AppendOutlet {
    pub(super) fn files(&self) -> AppendFiles {
        AppendFiles {
            path: self.path.clone(),
            handle: self.output.handle(),
        }
    }

    /// Starts the writer, and returns its output. When everything is written, it calls `ended`, before it
    /// gives up the locks.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(super) fn start(
        self,
        ended: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> Result<Appended, Failure> {
        let AppendOutlet {
            output,
            writer,
            locks,
            ..
        } = self;
        start_thread("write", move || {
            ended(writer.run());
            drop(locks);
        })?;
        Ok(output)
    }
}
