//! The names of streams.

use std::path::Path;

use tlsink::resume::{Instance, MAX_NAME};

use super::pause::random;

/// A stream, which may have to begin again under another name.
pub(super) struct Stream {
    /// The name of the first generation.
    pub(super) name: String,
    /// The highest number of a generation, from 1.
    pub(super) generation: u64,
    pub(super) instance: Instance,
}

impl Stream {
    /// The name by which servers know this generation.
    pub(super) fn name(&self, generation: u64) -> String {
        match generation {
            1 => self.name.clone(),
            generation => format!("{}.{generation}", self.name),
        }
    }
}

/// Room for a point and the number of a generation behind a name.
const GENERATION: usize = 16;

/// A new instance, which begins at this offset.
pub(super) fn instance(start: u64) -> Instance {
    Instance {
        id: random(),
        start,
    }
}

/// Makes a name for the stream of this file, or of standard input: of the host, the file's path, and
/// a random number, so that no other stream has it.
pub(super) fn name_of(path: Option<&Path>) -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let path = match path {
        Some(path) => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        None => "stdin".into(),
    };
    let front: String = format!("{host}:{}", path.display())
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    let random = format!(":{:016x}", random());
    // The end of a path tells more than its beginning.
    let most = MAX_NAME - GENERATION;
    let surplus = front
        .len()
        .saturating_add(random.len())
        .saturating_sub(most);
    let cut = front
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| *at >= surplus);
    let front = front.get(cut.unwrap_or(0)..).unwrap_or_default();
    format!("{front}{random}")
}

#[cfg(test)]
mod tests {
    use tlsink::resume::{Position, Preamble};

    use super::*;

    #[test]
    fn a_name_tells_the_file_and_has_room_for_each_generation() {
        for path in [None, Some("/var/log/app.log"), Some(&*"/é\n".repeat(200))] {
            let stream = Stream {
                name: name_of(path.map(Path::new)),
                generation: u64::from(u32::MAX),
                instance: instance(0),
            };
            let name = stream.name(stream.generation);
            assert!(Preamble::new(&*name, Position::START).is_ok(), "{name}");
            assert_ne!(name_of(path.map(Path::new)), stream.name);
        }
        assert!(name_of(Some(Path::new("/var/log/app.log"))).contains(":/var/log/app.log:"));
        assert!(name_of(None).contains(":stdin:"));
    }
}
