//! The facts about the machine on which the figures depend.

use std::fs;
use std::process::Command;

use crate::cores;
use crate::programs::first_line;

/// One line for each fact that a reader of the figures must know.
pub fn describe() -> Vec<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy().into_owned();
    let mut lines = vec![format!("{model}, {} cores, Linux {kernel}", cores::count())];
    // The version of the compiler in the path, which built this program if cargo was called as
    // usual.
    lines.extend(first_line(Command::new("rustc").arg("--version")));
    lines
}
