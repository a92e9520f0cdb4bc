//! Libraries in C that the program preloads (LD_PRELOAD, ld.so(8)), made when they are needed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::skip::is_installed;

/// Compiles this source, a path in the repository, into a library in the folder. `None` if there is no C
/// compiler, which is reported.
#[track_caller]
pub fn compile(source: &str, folder: &Path) -> Option<PathBuf> {
    if !is_installed("cc") {
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let library = folder.join(source.file_name()?).with_extension("so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([&library, &source])
        .args(["-ldl", "-lpthread"])
        .status();
    assert!(compiled.unwrap().success());
    Some(library)
}
