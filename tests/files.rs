//! A file for each connection.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use common::memory::Driven;
use common::press::Plain;
use tempfile::TempDir;
use tlsink::output::{Files, Template};
use tlsink::{Cut, End, OutputError, Peer, Report, Server, Totals};

#[test]
fn a_file_has_its_name_when_its_stream_ended_clean_and_not_before() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("{peer}"));
    let mut sender = inbox.sender(Peer::label("a"));
    inbox.run();
    folder.holds(&[("a.part", "")]);
    inbox.send(&mut sender, b"one, ");
    folder.holds(&[("a.part", "one, ")]);
    inbox.send(&mut sender, b"two");
    folder.holds(&[("a.part", "one, two")]);
    let report = inbox.end(&mut sender);
    assert_eq!((report.end, report.delivered), (End::Clean, 8));
    folder.holds(&[("a", "one, two")]);
}

#[test]
fn a_clean_stream_of_no_bytes_is_an_empty_file() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("{peer}"));
    let mut sender = inbox.sender(Peer::label("a"));
    assert_eq!(inbox.end(&mut sender).end, End::Clean);
    folder.holds(&[("a", "")]);
}

#[test]
fn what_does_not_end_clean_stays_part() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("{peer}"));
    let mut broken = inbox.sender(Peer::label("broken"));
    inbox.send(&mut broken, b"so far");
    broken
        .remote
        .send_error(std::io::ErrorKind::ConnectionReset);
    assert_eq!(inbox.report(&mut broken).end.word(), "reset");
    let mut cut = inbox.sender(Peer::label("cut"));
    inbox.send(&mut cut, b"until then");
    inbox.server.cut();
    assert_eq!(inbox.report(&mut cut).end, End::Cut(Cut::Server));
    let left = [("broken.part", "so far"), ("cut.part", "until then")];
    folder.holds(&left);
}

#[test]
fn streams_that_run_when_the_sink_is_dropped_stay_part() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("{peer}"));
    let mut sender = inbox.sender(Peer::label("a"));
    inbox.send(&mut sender, b"so far");
    drop(inbox);
    folder.holds(&[("a.part", "so far")]);
}

#[test]
fn the_default_name_sorts_by_time_and_says_who_it_was() {
    let folder = Folder::new();
    let before = SystemTime::now();
    let mut inbox = Inbox::new(Files::new(folder.path()).unwrap());
    for _ in 0..12 {
        let mut sender = inbox.sender(Peer::from(SocketAddr::from(([192, 0, 2, 7], 40312))));
        inbox.end(&mut sender);
    }
    let names = folder.names();
    assert_eq!(names.len(), 12);
    for (number, name) in names.iter().enumerate() {
        let (time, rest) = name.split_once('-').unwrap();
        assert_eq!(rest, format!("192.0.2.7-{}", number + 1));
        assert_eq!((time.len(), &time[8..9], &time[15..16]), (23, "T", "."));
        let seconds = date(&["-u", "-d", &readable(time), "+%s"]);
        let opened = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.parse().unwrap());
        assert!(opened + Duration::from_secs(1) > before && opened <= SystemTime::now());
    }
}

#[test]
fn what_is_there_already_is_never_overwritten() {
    let folder = Folder::new();
    folder.write("log", "old");
    folder.write("log-1.part", "left over");
    symlink("/nowhere", folder.path().join("log-2")).unwrap();
    symlink(folder.path().join("log"), folder.path().join("log-3.part")).unwrap();
    fs::create_dir(folder.path().join("log-4")).unwrap();
    let mut inbox = Inbox::new(folder.files("log"));
    let mut sender = inbox.sender(Peer::label("a"));
    inbox.send(&mut sender, b"new");
    assert_eq!(inbox.end(&mut sender).end, End::Clean);
    assert_eq!(folder.read("log"), "old");
    assert_eq!(folder.read("log-1.part"), "left over");
    assert!(fs::read_link(folder.path().join("log-2")).is_ok());
    assert_eq!(folder.read("log-5"), "new");
    assert_eq!(folder.names().len(), 6);
}

#[test]
fn a_name_that_was_taken_while_the_stream_ran_is_not_overwritten_either() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("log"));
    let mut sender = inbox.sender(Peer::label("a"));
    inbox.send(&mut sender, b"new");
    folder.holds(&[("log.part", "new")]);
    folder.write("log", "somebody else's");
    assert_eq!(inbox.end(&mut sender).end, End::Clean);
    folder.holds(&[("log", "somebody else's"), ("log-1", "new")]);
}

#[test]
fn streams_of_the_same_name_are_numbered_in_every_lane() {
    let folder = Folder::new();
    let files = folder.files("{client}");
    let mut inboxes = [Inbox::new(files.clone()), Inbox::new(files)];
    let peer = || Peer::label("x").named("web");
    let mut open: Vec<_> = (0..6)
        .map(|number| {
            let inbox = &mut inboxes[number % 2];
            let mut sender = inbox.sender(peer());
            inbox.send(&mut sender, number.to_string().as_bytes());
            (number % 2, sender)
        })
        .collect();
    // Not in the order in which they came.
    for (lane, sender) in open.iter_mut().rev() {
        assert_eq!(inboxes[*lane].end(sender).end, End::Clean);
    }
    let expected = [
        ("web", "0"),
        ("web-1", "1"),
        ("web-2", "2"),
        ("web-3", "3"),
        ("web-4", "4"),
        ("web-5", "5"),
    ];
    folder.holds(&expected);
}

#[test]
fn a_fixed_name_serves_any_number_of_streams() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("log"));
    for number in 0..1000 {
        let mut sender = inbox.sender(Peer::label("a"));
        inbox.send(&mut sender, number.to_string().as_bytes());
        assert_eq!(inbox.end(&mut sender).end, End::Clean);
    }
    assert_eq!(folder.names().len(), 1000);
    assert_eq!(folder.read("log"), "0");
    for number in 1..1000 {
        assert_eq!(folder.read(&format!("log-{number}")), number.to_string());
    }
}

#[test]
fn synced_files_are_named_like_any_others() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("{peer}").sync(true));
    let mut clean = inbox.sender(Peer::label("clean"));
    let mut broken = inbox.sender(Peer::label("broken"));
    inbox.send(&mut clean, b"whole");
    inbox.send(&mut broken, b"so far");
    assert_eq!(inbox.end(&mut clean).end, End::Clean);
    broken
        .remote
        .send_error(std::io::ErrorKind::ConnectionReset);
    assert_eq!(inbox.report(&mut broken).end.word(), "reset");
    folder.holds(&[("broken.part", "so far"), ("clean", "whole")]);
}

#[test]
fn a_file_that_can_not_get_its_name_is_an_error_and_its_stream_not_clean() {
    for sync in [false, true] {
        let folder = Folder::new();
        let mut inbox = Inbox::new(folder.files("{peer}").sync(sync));
        let mut sender = inbox.sender(Peer::label("a"));
        inbox.send(&mut sender, b"removed by somebody");
        fs::remove_file(folder.path().join("a.part")).unwrap();
        let report = inbox.end(&mut sender);
        assert_eq!(report.end, End::Cut(Cut::SinkGone));
        let error = inbox.result.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        let path = folder.path().join("a.part").display().to_string();
        let said = error.to_string();
        assert!(
            said.starts_with(&format!("can't write the output: {path}: ")),
            "{said}"
        );
        assert!(folder.names().is_empty());
    }
}

#[test]
fn a_file_that_can_not_be_made_is_an_error_that_names_it() {
    let folder = Folder::new();
    let mut inbox = Inbox::new(folder.files("{peer}"));
    fs::remove_dir(folder.path()).unwrap();
    let mut sender = inbox.sender(Peer::label("a"));
    let report = inbox.end(&mut sender);
    assert_eq!(report.end, End::Cut(Cut::SinkGone));
    let error = inbox.result.unwrap().unwrap_err();
    let path = folder.path().join("a.part").display().to_string();
    assert!(error.to_string().contains(&path), "{error}");
}

#[test]
fn only_a_directory_that_can_be_written_to_is_taken() {
    let folder = Folder::new();
    folder.write("file", "");
    for (name, kind) in [
        ("none", std::io::ErrorKind::NotFound),
        ("file", std::io::ErrorKind::NotADirectory),
    ] {
        let error = Files::new(folder.path().join(name)).unwrap_err();
        assert_eq!(error.kind(), kind);
    }
    Files::new(folder.path()).unwrap();
    // Trying left nothing behind.
    assert_eq!(folder.names(), ["file"]);
}

#[test]
fn no_name_of_a_peer_leaves_the_directory_or_makes_a_surprising_file() {
    let long = "x".repeat(10_000);
    let slashes = "/".repeat(10_000);
    let nasty = [
        "../../etc/passwd",
        "../secret",
        "/etc/passwd",
        "..",
        ".",
        "",
        ".hidden",
        "-rf",
        "--help",
        "a\0b",
        "con.part",
        "con.PART",
        ".part",
        "a/b/c.part",
        "a\\b",
        "a b",
        " ",
        "\n\r\t\x1b[2J",
        "caf\u{e9}",
        "\u{65e5}\u{672c}",
        "\u{202e}gpj.exe",
        "\u{2028}",
        "%2e%2e%2f",
        "{time}",
        "~root",
        "$(reboot)",
        "*",
        &long,
        &slashes,
    ];
    let names = [
        "{client}",
        "{peer}",
        "{client}{peer}",
        "x.{client}",
        "{peer}.pa{client}",
    ];
    let unix = |name: &str| Peer::unix(Some(Path::new(name)));
    let not_utf8 = PathBuf::from(OsString::from_vec(b"\xff/\xfe\x80".to_vec()));
    for template in names {
        let folder = Folder::new();
        folder.write_outside("secret", "mine");
        let mut peers: Vec<_> = nasty
            .iter()
            .flat_map(|name| [Peer::label(*name).named(*name), unix(name).named(*name)])
            .collect();
        peers.push(Peer::unix(Some(&not_utf8)).named("rt"));
        let mut inbox = Inbox::new(folder.files(template));
        for (number, peer) in peers.iter().enumerate() {
            for clean in [true, false] {
                let mut sender = inbox.sender(peer.clone());
                inbox.send(&mut sender, format!("{number} {clean}").as_bytes());
                if !clean {
                    sender
                        .remote
                        .send_error(std::io::ErrorKind::ConnectionReset);
                }
                assert_eq!(inbox.end(&mut sender).end.is_clean(), clean, "{peer:?}");
            }
        }
        assert!(inbox.result.is_none());

        let files = folder.files_in_it();
        assert_eq!(files.len(), 2 * peers.len(), "{template}");
        let mut seen: Vec<_> = files.values().cloned().collect();
        seen.sort();
        let mut sent: Vec<_> = (0..peers.len())
            .flat_map(|number| [true, false].map(|clean| format!("{number} {clean}")))
            .collect();
        sent.sort();
        assert_eq!(seen, sent);
        for (name, text) in &files {
            assert_eq!(name.ends_with(".part"), text.ends_with("false"), "{name}");
            assert!(
                !name.to_lowercase().ends_with(".part") || text.ends_with("false"),
                "{name}"
            );
            assert!(!name.starts_with(['.', '-']) && name.len() <= 255, "{name}");
            let harmless = |c: char| c.is_ascii_alphanumeric() || "_-.@+%".contains(c);
            assert!(name.chars().all(harmless), "{name}");
        }
        // Next to the directory there is what was there, and nothing else.
        assert_eq!(folder.outside(), ["incoming", "secret"]);
        assert_eq!(folder.read("../secret"), "mine");
    }
}

/// Connections whose streams go to files.
struct Inbox {
    server: Server,
    running: Driven<Pin<Box<dyn Future<Output = Ended>>>>,
    result: Option<Ended>,
}

type Ended = Result<Totals, OutputError>;

impl Inbox {
    fn new(files: Files) -> Self {
        let (server, sink) = Server::builder().build().unwrap();
        Inbox {
            server,
            running: Driven::new(Box::pin(sink.run(files))),
            result: None,
        }
    }

    fn run(&mut self) {
        if self.result.is_none() {
            self.result = self.running.run();
        }
    }

    fn sender(&mut self, peer: Peer) -> Plain {
        let mut sender = Plain::of(&self.server, peer);
        assert!(sender.connection.run().is_none());
        sender
    }

    /// Sends bytes, and lets them arrive.
    fn send(&mut self, sender: &mut Plain, bytes: &[u8]) {
        sender.remote.send(bytes);
        assert!(sender.connection.run().is_none());
        self.run();
    }

    /// Ends the stream, if it has not ended in another way.
    fn end(&mut self, sender: &mut Plain) -> Report {
        sender.remote.send_eof();
        self.report(sender)
    }

    fn report(&mut self, sender: &mut Plain) -> Report {
        assert!(sender.connection.run().is_none());
        self.run();
        sender
            .connection
            .run()
            .expect("the sink is through with it")
    }
}

/// A directory for files, in one of its own.
struct Folder {
    outer: TempDir,
}

impl Folder {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("incoming")).unwrap();
        Folder { outer }
    }

    fn path(&self) -> PathBuf {
        self.outer.path().join("incoming")
    }

    fn files(&self, template: &str) -> Files {
        let template: Template = template.parse().unwrap();
        Files::new(self.path()).unwrap().name(template)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn write_outside(&self, name: &str, text: &str) {
        fs::write(self.outer.path().join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.path().join(name)).unwrap()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        names(&self.path())
    }

    fn outside(&self) -> Vec<String> {
        names(self.outer.path())
    }

    /// All files by their names, with what is in them.
    fn files_in_it(&self) -> BTreeMap<String, String> {
        let names = self.names().into_iter();
        names.map(|name| (name.clone(), self.read(&name))).collect()
    }

    /// These are all files in it.
    fn holds(&self, expected: &[(&str, &str)]) {
        let files = self.files_in_it();
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| (&**name, &**text))
            .collect();
        assert_eq!(files, expected);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// `20261123T193201.123456Z` as date(1) reads it.
fn readable(time: &str) -> String {
    let part = |from, to| &time[from..to];
    format!(
        "{}-{}-{} {}:{}:{}",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(9, 11),
        part(11, 13),
        part(13, 15)
    )
}

fn date(args: &[&str]) -> String {
    let output = std::process::Command::new("date").args(args).output();
    let output = output.expect("there is date(1)").stdout;
    String::from_utf8(output).unwrap().trim().to_owned()
}
