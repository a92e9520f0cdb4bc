//! The output of `--format json`, sorted by connection.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// A stream, according to its objects.
#[derive(Debug, Default)]
pub struct Printed {
    pub peer: String,
    /// The content of its data objects.
    pub bytes: Vec<u8>,
    pub received: usize,
    pub delivered: usize,
    pub format: String,
    /// The kind of the end, in one word.
    pub end: String,
    /// The details of the end.
    pub error: String,
}

/// Collects every stream by the number of its connection. Each must have opened once, then closed
/// once, with nothing after that. Objects about refused senders belong to no stream.
pub fn streams(printed: &[u8]) -> BTreeMap<u64, Printed> {
    let printed = str::from_utf8(printed).expect("JSON is UTF-8");
    let mut open = BTreeMap::new();
    let mut closed = BTreeMap::new();
    for line in printed.lines() {
        let object: Value = serde_json::from_str(line).expect("each line is an object");
        if object["type"] == "refused" {
            continue;
        }
        let conn = object["conn"].as_u64().expect("each object has a number");
        assert!(!closed.contains_key(&conn), "after its end: {line}");
        if object["type"] == "open" {
            let stream = Printed {
                peer: string(&object, "peer"),
                ..Printed::default()
            };
            assert!(open.insert(conn, stream).is_none(), "once more: {line}");
            continue;
        }
        let stream: &mut Printed = open.get_mut(&conn).expect("it was opened before");
        assert_eq!(object["peer"], *stream.peer);
        if object["type"] == "data" {
            stream.bytes.extend(content(&object));
        } else {
            stream.close(&object);
            closed.extend(open.remove_entry(&conn));
        }
    }
    assert!(open.is_empty(), "these have no end: {open:?}");
    closed
}

impl Printed {
    fn close(&mut self, object: &Value) {
        let number = |name: &str| object[name].as_u64().expect("it is counted") as usize;
        self.received = number("received");
        self.delivered = number("delivered");
        self.format = string(object, "format");
        self.end = string(object, "end");
        self.error = string(object, "error");
        // Objects do not say whether the last line had a newline.
        if self.bytes.len() == self.delivered + 1 {
            assert_eq!(self.bytes.pop(), Some(b'\n'));
        }
        assert_eq!(self.bytes.len(), self.delivered);
    }
}

/// The bytes in a data object, with the newline that it stands for.
fn content(object: &Value) -> Vec<u8> {
    let mut bytes = match object["base64"].as_str() {
        Some(coded) => STANDARD.decode(coded).expect("it is base64"),
        None => string(object, "text").into_bytes(),
    };
    if object.get("partial").is_none() {
        bytes.push(b'\n');
    }
    bytes
}

/// The field, or `None` if there is no such field.
fn string(object: &Value, name: &str) -> String {
    object[name].as_str().unwrap_or_default().to_owned()
}
