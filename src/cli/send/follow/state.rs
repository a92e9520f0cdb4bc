//! The state of following a file, and its text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use tlsink::resume::{Instance, Position};

use super::mark::Fingerprint;

/// The progress of a stream that is made of followed files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The name of the stream, without its generation.
    pub(crate) stream: String,
    /// The highest number of a stream of this name, from 1.
    pub(crate) generation: u64,
    pub(crate) instance: Instance,
    /// The position before which the servers keep everything, each of them a part or all.
    pub(crate) acknowledged: Position,
    pub(crate) servers: Servers,
    /// The place in a file at this position; `None` before any file was read.
    pub(crate) file: Option<FilePlace>,
    /// The end of the file before that, which may still be in the folder.
    pub(crate) before: Option<FilePlace>,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilePlace {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) fingerprint: Fingerprint,
    /// Behind it, the stream has a newline that the file lacks.
    pub(crate) newline_added: bool,
}

/// The progress of the stream at each server, by its HOST:PORT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Servers(BTreeMap<String, ServerState>);

/// The progress of the stream at one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerState {
    /// The generation under which the server has the stream.
    pub(crate) generation: u64,
    /// The offset before which the server acknowledged everything that was sent to it. Bytes between
    /// that and the last acknowledged one went to other servers.
    pub(crate) acknowledged: u64,
}

impl Servers {
    /// Forgets all servers but these. New ones begin with this generation.
    pub(crate) fn keep_only(&mut self, servers: &[String], generation: u64) {
        self.0.retain(|server, _| servers.contains(server));
        for server in servers {
            self.0.entry(server.clone()).or_insert(ServerState {
                generation,
                acknowledged: 0,
            });
        }
    }

    pub(crate) fn of(&self, server: &str) -> ServerState {
        self.0.get(server).copied().unwrap_or_default()
    }

    /// This server acknowledged everything before this offset that was sent to it.
    pub(crate) fn acknowledge(&mut self, server: &str, offset: u64) {
        if let Some(state) = self.0.get_mut(server) {
            state.acknowledged = offset.max(state.acknowledged);
        }
    }

    /// The stream begins anew at this server.
    pub(crate) fn begin(&mut self, server: &str, generation: u64) {
        if let Some(state) = self.0.get_mut(server) {
            state.generation = generation;
        }
    }
}

impl State {
    /// The state of a stream from its beginning.
    pub(crate) fn new(stream: String, instance: Instance) -> Self {
        State {
            stream,
            generation: 1,
            instance,
            acknowledged: Position::START,
            servers: Servers::default(),
            file: None,
            before: None,
        }
    }

    /// One object of JSON in a line, whose last field is the checksum of everything before that.
    pub(super) fn to_text(&self) -> String {
        let State {
            stream,
            generation,
            instance: Instance { id, start },
            acknowledged: Position { offset, crc32c },
            servers: Servers(servers),
            file,
            before,
        } = self;
        let stream = Value::from(stream.as_str());
        let servers: Value = servers
            .iter()
            .map(|(server, state)| {
                let facts = [
                    ("generation", state.generation),
                    ("acknowledged", state.acknowledged),
                ];
                (server.as_str(), facts.into_iter().collect::<Value>())
            })
            .collect();
        let mut text = format!(
            "{{\"tlsink_state\":1,\"stream\":{stream},\"generation\":{generation},\
             \"instance\":{id},\"start\":{start},\"acknowledged\":{offset},\"crc32c\":{crc32c},\"servers\":{servers}"
        );
        for (name, place) in [("file", file), ("before", before)] {
            if let Some(place) = place {
                let Fingerprint {
                    offset,
                    first,
                    last,
                } = place.fingerprint;
                let _ = write!(
                    text,
                    ",\"{name}\":{{\"device\":{},\"inode\":{},\"offset\":{offset},\
                     \"first\":{first},\"last\":{last},\"newline_added\":{}}}",
                    place.device, place.inode, place.newline_added
                );
            }
        }
        let check = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "{CHECK}{check}}}");
        text
    }

    /// Parses the text; `None` if it is not whole.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (checked, check) = text.rsplit_once(CHECK)?;
        let check: u32 = check.strip_suffix("}\n")?.parse().ok()?;
        if check != crc32c::crc32c(checked.as_bytes()) {
            return None;
        }
        let state: Value = serde_json::from_str(text).ok()?;
        if state.get("tlsink_state")?.as_u64()? != 1 {
            return None;
        }
        Some(State {
            stream: state.get("stream")?.as_str()?.to_owned(),
            generation: state.get("generation")?.as_u64().filter(|n| *n > 0)?,
            instance: Instance {
                id: number(&state, "instance")?,
                start: number(&state, "start")?,
            },
            acknowledged: Position {
                offset: state.get("acknowledged")?.as_u64()?,
                crc32c: checksum(&state, "crc32c")?,
            },
            servers: servers(state.get("servers"))?,
            file: place(state.get("file"))?,
            before: place(state.get("before"))?,
        })
    }
}

/// Parses a number, which is 0 if it is missing; `None` if it is not valid.
fn number(state: &Value, name: &str) -> Option<u64> {
    state.get(name).map_or(Some(0), Value::as_u64)
}

/// Parses the states of servers, which may be missing; `None` if they are not valid.
fn servers(servers: Option<&Value>) -> Option<Servers> {
    let Some(servers) = servers else {
        return Some(Servers::default());
    };
    let states = servers.as_object()?.iter().map(|(server, state)| {
        let state = ServerState {
            generation: state.get("generation")?.as_u64().filter(|n| *n > 0)?,
            acknowledged: state.get("acknowledged")?.as_u64()?,
        };
        Some((server.clone(), state))
    });
    states.collect::<Option<_>>().map(Servers)
}

/// Parses a place that may be missing; `None` if it is not valid.
fn place(place: Option<&Value>) -> Option<Option<FilePlace>> {
    let Some(place) = place else {
        return Some(None);
    };
    Some(Some(FilePlace {
        device: place.get("device")?.as_u64()?,
        inode: place.get("inode")?.as_u64()?,
        fingerprint: Fingerprint {
            offset: place.get("offset")?.as_u64()?,
            first: checksum(place, "first")?,
            last: checksum(place, "last")?,
        },
        newline_added: place.get("newline_added")?.as_bool()?,
    }))
}

/// The beginning of the last field.
pub(super) const CHECK: &str = ",\"check\":";

fn checksum(object: &Value, name: &str) -> Option<u32> {
    object.get(name)?.as_u64()?.try_into().ok()
}

#[cfg(test)]
#[path = "../../../../tests/fuzz/follow_state.rs"]
mod fuzz;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn state(offset: u64) -> State {
        State {
            stream: "web1:/var/log/\"app\".log:0123456789abcdef".to_owned(),
            generation: 3,
            instance: Instance {
                id: u64::MAX,
                start: 1,
            },
            acknowledged: Position {
                offset,
                crc32c: u32::MAX,
            },
            servers: Servers(BTreeMap::from(
                [("localhost:4433", 1), ("[fe80::1%\"eth0\"]:1", u64::MAX)].map(
                    |(server, number)| {
                        let state = ServerState {
                            generation: number,
                            acknowledged: number,
                        };
                        (server.to_owned(), state)
                    },
                ),
            )),
            file: Some(FilePlace {
                device: u64::MAX,
                inode: 7,
                fingerprint: Fingerprint {
                    offset: 9,
                    first: 1,
                    last: u32::MAX,
                },
                newline_added: true,
            }),
            before: Some(FilePlace {
                device: 0,
                inode: u64::MAX,
                fingerprint: Fingerprint::default(),
                newline_added: false,
            }),
        }
    }

    #[test]
    fn a_state_is_the_same_behind_its_text() {
        for state in [
            state(0),
            state(u64::MAX),
            State::new("a ,\"check\":1}\n stream".to_owned(), Instance::default()),
        ] {
            assert_eq!(State::parse(&state.to_text()), Some(state));
        }
    }

    #[test]
    fn a_damaged_state_is_none() {
        let text = state(12345).to_text();
        for len in 0..text.len() {
            assert_eq!(State::parse(&text[..len]), None, "{len}");
        }
        for at in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[at] ^= 1;
            let damaged = String::from_utf8(damaged).unwrap();
            assert_eq!(State::parse(&damaged), None, "{damaged}");
        }
        assert_eq!(State::parse(&format!("{text}{text}")), None);
    }
}
