//! The formats of files that are appended to, and `--prefix`.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt",
    feature = "relp"
))]

use std::collections::HashSet;
use std::fs;
use std::thread;

use serde_json::Value;

use crate::append::{Logs, numbered};
use crate::common::objects::streams;
use crate::common::program::{Client, Program, send};

#[test]
fn each_line_of_a_shared_file_can_have_its_sender() {
    let logs = Logs::new();
    let program = logs.start("log", &["--label", "--rotate", "3k"]);
    let mut sent = HashSet::new();
    thread::scope(|scope| {
        for sender in 0..4 {
            let mut client = Client::connect(program.address());
            let label = format!("{} ", client.local_address());
            let lines = numbered(sender, 100);
            sent.extend(lines.lines().map(|line| label.clone() + line));
            scope.spawn(move || {
                for piece in lines.as_bytes().chunks(97 + sender) {
                    client.write(piece).unwrap();
                }
                client.finish().unwrap();
            });
        }
    });
    assert_eq!(program.stop().status, 0);
    let files = logs.files();
    assert!(files.len() > 2);
    let text: String = files.iter().map(|file| logs.read(file)).collect();
    assert_eq!(text.lines().count(), 400);
    assert_eq!(
        text.lines().map(str::to_owned).collect::<HashSet<_>>(),
        sent
    );
}

#[test]
fn a_prefix_stands_before_each_line_wherever_it_goes() {
    let prefix = ["--prefix", "[{time}] {peer}/{port} {client} {stream}: "];
    let input = b"one\n\nthree\nunfinished";
    let check = |text: &str, port: u16| {
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        for (line, sent) in lines.iter().zip(["one", "", "three", "unfinished"]) {
            let (time, rest) = line.split_once("] ").unwrap();
            let shape: String = time
                .chars()
                .map(|c| if c.is_ascii_digit() { '0' } else { c })
                .collect();
            assert_eq!(shape, "[0000-00-00T00:00:00.000000Z");
            assert_eq!(rest, format!("127.0.0.1/{port} anonymous none: {sent}"));
        }
    };
    let send_it = |program: &Program| {
        let mut client = Client::connect(program.address());
        let port = client.local_address().port();
        client.write(input).unwrap();
        client.finish().unwrap();
        port
    };

    let program = Program::start(&prefix);
    let port = send_it(&program);
    check(&program.stop().stdout_text(), port);

    let logs = Logs::new();
    let file = logs.path("file").display().to_string();
    let program = Program::start(&[&prefix[..], &["--output", &file]].concat());
    let port = send_it(&program);
    program.stop();
    check(&logs.read("file"), port);

    let program = logs.start("log", &prefix);
    let port = send_it(&program);
    program.stop();
    check(&logs.read("log"), port);
}

#[test]
fn every_piece_of_an_overlong_line_has_the_prefix() {
    let logs = Logs::new();
    let program = logs.start("log", &["--prefix", "> ", "--max-line", "4"]);
    let mut client = Client::connect(program.address());
    client.write(b"abcde").unwrap();
    logs.wait_for("log", |text| text == "> abcde\n");
    client.write(b"\nab\nabc").unwrap();
    logs.wait_for("log", |text| text == "> abcde\n> ab\n");
    client.finish().unwrap();
    assert_eq!(logs.read("log"), "> abcde\n> ab\n> abc\n");
}

#[test]
fn a_stream_of_empty_lines_is_prefixed_and_others_go_on() {
    const LINES: usize = 200_000;
    let logs = Logs::new();
    let prefix = format!("{}|", "x".repeat(99));
    let program = logs.start("{port}", &["--prefix", &prefix, "--lanes", "1"]);
    let mut client = Client::connect(program.address());
    let port = client.local_address().port().to_string();
    client.write(&vec![b'\n'; LINES]).unwrap();
    client.finish().unwrap();
    let text = logs.read(&port);
    assert_eq!(text.len(), LINES * 101);
    assert!(text.lines().all(|line| line == prefix));
}

#[test]
fn objects_are_written_to_the_file_of_their_stream() {
    let logs = Logs::new();
    let program = logs.start("{port}", &["-f", "json"]);
    let mut ports = Vec::new();
    for (number, sent) in ["one\ntwo", "", "\n"].into_iter().enumerate() {
        let mut client = Client::connect(program.address());
        let port = client.local_address().port();
        // The first object is there before anything is sent.
        logs.wait_for(&port.to_string(), |text| {
            text.starts_with(r#"{"type":"open","conn":"#) && text.ends_with("}\n")
        });
        client.write(sent.as_bytes()).unwrap();
        client.finish().unwrap();
        ports.push((number, port, sent));
    }
    assert_eq!(program.stop().status, 0);
    for (_, port, sent) in ports {
        let text = logs.read(&port.to_string());
        let streams = streams(text.as_bytes());
        let stream = streams.values().next().unwrap();
        assert_eq!(streams.len(), 1);
        assert_eq!((&*stream.end, stream.delivered), ("clean", sent.len()));
        let objects = objects(&text);
        let lines = objects.iter().filter(|object| object["type"] == "data");
        let lines: Vec<_> = lines
            .map(|object| object["text"].as_str().unwrap())
            .collect();
        assert_eq!(lines, sent.lines().collect::<Vec<_>>());
    }
}

#[test]
fn objects_of_many_senders_share_a_file_and_rotation_parts_none() {
    for lanes in ["1", "2"] {
        let logs = Logs::new();
        let args = ["-f", "json", "--rotate", "20k", "--sync", "--lanes", lanes];
        let program = logs.start("log", &args);
        thread::scope(|scope| {
            for sender in 0..4 {
                let mut client = Client::connect(program.address());
                scope.spawn(move || {
                    let lines = numbered(sender, 300);
                    for piece in lines.as_bytes().chunks(1009 + sender) {
                        client.write(piece).unwrap();
                    }
                    client.finish().unwrap();
                });
            }
        });
        assert_eq!(program.stop().status, 0);
        let mut files = logs.files();
        files.rotate_left(1);
        assert!(files.len() > 3);
        let text: String = files.iter().map(|file| logs.read(file)).collect();
        for file in &files {
            objects(&logs.read(file));
        }
        let streams = streams(text.as_bytes());
        let mut sent: Vec<_> = streams.into_values().map(|stream| stream.bytes).collect();
        sent.sort();
        let expected = (0..4).map(|sender| numbered(sender, 300));
        let expected: Vec<_> = expected.map(|lines| lines.into_bytes()).collect();
        assert!(sent == expected);
    }
}

#[test]
fn pieces_frames_and_other_bytes_are_what_they_are_in_json_elsewhere() {
    let logs = Logs::new();
    let program = logs.start("log", &["-f", "json", "--max-line", "4"]);
    send(program.address(), b"12345\n\xff\n");
    send(program.address(), b"8 <13>a\ntw");
    assert_eq!(program.stop().status, 0);
    let objects = objects(&logs.read("log"));
    let data = objects.iter().filter(|object| object["type"] == "data");
    let data: Vec<_> = data
        .map(|object| {
            let content = ["text", "base64"]
                .iter()
                .find_map(|field| object[field].as_str());
            (content.unwrap(), object["partial"] == true)
        })
        .collect();
    let expected = [
        ("1234", true),
        ("5", false),
        ("/w==", false),
        ("<13>", true),
        ("a\ntw", false),
    ];
    assert_eq!(data, expected);
}

#[test]
fn a_stream_without_a_name_has_none_in_paths() {
    for format in ["json", "lines"] {
        let logs = Logs::new();
        let program = logs.start("{stream}/{client}", &["-f", format]);
        send(program.address(), b"line\n");
        assert_eq!(program.stop().status, 0);
        assert_eq!(logs.files(), ["none/anonymous"]);
        if format == "json" {
            let objects = objects(&logs.read("none/anonymous"));
            let types: Vec<_> = objects
                .iter()
                .map(|object| object["type"].clone())
                .collect();
            assert_eq!(types, ["open", "data", "close"]);
        }
    }
}

#[test]
fn a_file_that_can_not_be_written_ends_its_stream_whatever_the_format() {
    let logs = Logs::new();
    let program = logs.start("{port}", &["-f", "json"]);
    let mut client = Client::connect(program.address());
    let name = client.local_address().port().to_string();
    logs.wait_for(&name, |text| !text.is_empty());
    fs::remove_file(logs.path(&name)).unwrap();
    fs::create_dir(logs.path(&name)).unwrap();
    // A file that was removed is noticed within a second.
    while client.write(b"lost\n").is_ok() && program.stderr().matches("cut (").count() == 0 {
        thread::yield_now();
    }
    let end = program.wait_for_end().end;
    assert!(end.starts_with("cut (the output failed: "), "{end}");
    assert_eq!(program.stop().status, 0);
}

fn objects(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("each line is an object"))
        .collect()
}
