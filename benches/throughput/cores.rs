//! One core for the server and one for the client, so that neither takes the other's time.

use std::io;
use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that a thread, and the processes that it starts, may run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    Server,
    Client,
    All,
}

/// The number of cores available to this process. The first call must come before anything is
/// pinned.
pub fn count() -> usize {
    ours().len()
}

/// Pins the calling thread, and the processes that it will start. With one core there is no choice.
pub fn run_on(cores: Cores) -> io::Result<()> {
    let ours = ours();
    let mut set = CpuSet::new();
    match (cores, ours) {
        (Cores::Server, [core, ..]) | (Cores::Client, [_, core, ..] | [core]) => set.set(*core),
        _ => ours.iter().for_each(|core| set.set(*core)),
    }
    Ok(sched_setaffinity(None, &set)?)
}

fn ours() -> &'static [usize] {
    static OURS: OnceLock<Vec<usize>> = OnceLock::new();
    OURS.get_or_init(|| {
        let set = sched_getaffinity(None).unwrap_or_default();
        (0..CpuSet::MAX_CPU)
            .filter(|core| set.is_set(*core))
            .collect()
    })
}
