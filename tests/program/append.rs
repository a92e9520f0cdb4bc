//! Files that streams share: `--output-dir` with `--append`.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt",
    feature = "relp"
))]

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use tempfile::TempDir;
use tlsink::output::Timestamp;

use crate::common::program::{BINARY, Client, FREE, LIMIT, Program, Stderr, send};
use crate::common::skip::{can_trace, skip};
use crate::common::strace::traced;

#[test]
fn senders_share_a_file_in_which_every_line_is_whole() {
    const SENDERS: usize = 8;
    const LINES: usize = 2000;
    for lanes in ["1", "2"] {
        for sync in [&[][..], &["--sync"]] {
            let logs = Logs::new();
            let program = logs.start("all.log", &[sync, &["--lanes", lanes]].concat());
            thread::scope(|scope| {
                for sender in 0..SENDERS {
                    let mut client = Client::connect(program.address());
                    scope.spawn(move || {
                        let lines = numbered(sender, LINES);
                        // In pieces that have nothing to do with lines.
                        for piece in lines.as_bytes().chunks(997 + sender) {
                            client.write(piece).unwrap();
                        }
                        client.finish().unwrap();
                    });
                }
            });
            // A clean end is told only when the lines are written.
            let written = logs.read("all.log");
            assert_eq!(written.lines().count(), SENDERS * LINES);
            for sender in 0..SENDERS {
                let own = format!("sender {sender}, ");
                let lines = written.lines().filter(|line| line.starts_with(&own));
                let lines: String = lines.flat_map(|line| [line, "\n"]).collect();
                assert!(lines == numbered(sender, LINES), "{lines}");
            }
            assert_eq!(program.stop().status, 0);
        }
    }
}

#[test]
fn a_template_makes_folders_and_dates() {
    let logs = Logs::new();
    let program = logs.start("{peer}/{date}/{client}-{hour}.log", &[]);
    let now = || Timestamp(SystemTime::now()).to_string();
    let before = now();
    send(program.address(), b"dated\n");
    let names = [before, now()].map(|time| {
        let (date, hour) = (&time[..10], &time[11..13]);
        format!("127.0.0.1/{date}/anonymous-{hour}.log")
    });
    let files = logs.files();
    assert!(files.len() == 1 && names.contains(&files[0]), "{files:?}");
    assert_eq!(logs.read(&files[0]), "dated\n");
}

#[test]
fn an_unfinished_line_ends_with_its_connection_and_an_overlong_one_is_in_pieces() {
    let logs = Logs::new();
    let program = logs.start("log", &["--max-line", "10"]);
    let mut first = Client::connect(program.address());
    first.write(b"unfinished").unwrap();
    send(program.address(), b"whole\n");
    assert_eq!(logs.read("log"), "whole\n");
    first.finish().unwrap();
    assert_eq!(logs.read("log"), "whole\nunfinished\n");

    let mut overlong = Client::connect(program.address());
    let mut expected = logs.read("log");
    for (sent, written) in [
        ("0123456789", ""),
        ("abc", "0123456789abc\n"),
        // The line ends where its last piece did.
        ("\nnext\n", "next\n"),
        ("0123456789a", "0123456789a\n"),
        ("rest\n", "rest\n"),
        ("\n", "\n"),
    ] {
        overlong.write(sent.as_bytes()).unwrap();
        expected += written;
        logs.wait_for("log", |text| text == expected);
    }
    overlong.finish().unwrap();
    assert_eq!(logs.read("log"), expected);
}

#[test]
fn a_frame_is_a_line_and_its_newlines_are_escaped() {
    let logs = Logs::new();
    let program = logs.start("log", &[]);
    send(program.address(), b"11 <13>one\ntwo9 <13>three");
    assert_eq!(logs.read("log"), "<13>one\\x0atwo\n<13>three\n");
}

#[test]
fn a_file_is_rotated_at_the_end_of_the_last_line_that_fits() {
    const SIZE: usize = 1000;
    for sync in [&[][..], &["--sync"]] {
        let logs = Logs::new();
        let program = logs.start("a/log", &[sync, &["--rotate", "1000"]].concat());
        let mut sent = String::new();
        for number in 0..200 {
            // Now and then one that is larger than a file.
            let len = (number * 37) % 300 + 1000 * (number % 100 / 99);
            writeln!(sent, "{number} {}", "x".repeat(len)).unwrap();
        }
        send(program.address(), sent.as_bytes());
        assert_eq!(program.stop().status, 0);
        let mut files = logs.files();
        // The name without a time is the last one.
        assert_eq!(files.remove(0), "a/log");
        assert!(files.is_sorted());
        files.push("a/log".to_owned());
        let texts: Vec<_> = files.iter().map(|file| logs.read(file)).collect();
        assert!(texts.concat() == sent, "{files:?}");
        for pair in texts.windows(2) {
            let [text, next] = pair else { continue };
            let line = next.split_inclusive('\n').next().unwrap();
            assert!(text.ends_with('\n'));
            assert!(text.len() <= SIZE || text.lines().count() == 1);
            assert!(text.len() + line.len() > SIZE);
        }
    }
}

#[test]
fn a_file_that_ends_within_a_line_gets_a_newline_first() {
    let logs = Logs::new();
    for (found, expected) in [
        ("", "new\n"),
        ("old", "old\nnew\n"),
        ("old\n", "old\nnew\n"),
    ] {
        fs::write(logs.path("log"), found).unwrap();
        let program = logs.start("log", &[]);
        assert_eq!(logs.read("log"), found);
        send(program.address(), b"new\n");
        assert_eq!(logs.read("log"), expected);
    }
}

#[test]
fn a_file_that_was_moved_or_removed_is_noticed_or_reopened_on_request() {
    let logs = Logs::new();
    let program = logs.start("log", &[]);
    let mut client = Client::connect(program.address());
    let mut sent = String::new();
    let mut number = 0;
    let mut next = |client: &mut Client| {
        number += 1;
        let line = format!("{number}\n");
        client.write(line.as_bytes()).unwrap();
        sent += &line;
        sent.clone()
    };
    next(&mut client);
    logs.wait_for("log", |text| text == "1\n");
    for moved in ["log.1", "log.2"] {
        fs::rename(logs.path("log"), logs.path(moved)).unwrap();
        while !logs.path("log").exists() {
            next(&mut client);
        }
    }
    let sent = next(&mut client);
    let all = || {
        ["log.1", "log.2", "log"]
            .map(|name| logs.read(name))
            .concat()
    };
    logs.wait_until(|| all() == sent);

    fs::rename(logs.path("log"), logs.path("log.3")).unwrap();
    program.signal(Signal::HUP);
    program.wait_for_line(|line| line.ends_with("/logs reopened"));
    client.write(b"last\n").unwrap();
    client.finish().unwrap();
    assert_eq!(logs.read("log"), "last\n");
    fs::remove_file(logs.path("log")).unwrap();
    program.signal(Signal::HUP);
    program.wait_for_lines(2, |line| line.ends_with("/logs reopened"));
    send(program.address(), b"anew\n");
    assert_eq!(logs.read("log"), "anew\n");
    assert_eq!(program.stop().status, 0);
}

#[test]
fn more_names_than_open_files_are_written_and_few_of_them_stay_open() {
    const LIMIT: usize = 200;
    const NAMES: usize = 100;
    for sync in [&[][..], &["--sync"]] {
        let logs = Logs::new();
        let path = logs.folder();
        let common = ["--output-dir", &path, "--append", "--name", "{port}"];
        let limit = format!("ulimit -n {LIMIT}");
        let program = Program::start_after(&limit, &[&common, sync].concat());
        let mut clients: Vec<_> = (0..NAMES)
            .map(|_| Client::connect(program.address()))
            .collect();
        for round in ["one\n", "two\n"] {
            for client in &mut clients {
                client.write(round.as_bytes()).unwrap();
            }
            for client in &clients {
                let name = client.local_address().port().to_string();
                logs.wait_for(&name, |text| text.ends_with(round));
            }
            let open = fs::read_dir(format!("/proc/{}/fd", program.id())).unwrap();
            let open = open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
            let open = open.filter(|file| file.parent() == Some(Path::new(&path)));
            assert!(open.count() <= LIMIT / 4);
        }
        for client in clients {
            let name = client.local_address().port().to_string();
            client.finish().unwrap();
            assert_eq!(logs.read(&name), "one\ntwo\n");
        }
        assert_eq!(program.stop().status, 0);
    }
}

#[test]
fn a_file_that_can_not_be_written_ends_its_streams_and_no_others() {
    let logs = Logs::new();
    let program = logs.start("{port}", &[]);
    let [mut broken, mut whole] = [(); 2].map(|()| Client::connect(program.address()));
    let name = broken.local_address().port().to_string();
    fs::create_dir(logs.path(&name)).unwrap();
    broken.write(b"lost\n").unwrap();
    broken.finish_unclean().unwrap();
    let path = logs.path(&name).display().to_string();
    let end = program.wait_for_end().end;
    let reason = format!("cut (the output failed: {path}: ");
    assert!(end.starts_with(&reason), "{end}");
    whole.write(b"kept\n").unwrap();
    let name = whole.local_address().port().to_string();
    whole.finish().unwrap();
    assert_eq!(logs.read(&name), "kept\n");
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_file_that_has_failed_is_tried_anew() {
    // The limit is in blocks of 512 bytes.
    let logs = Logs::new();
    let path = logs.folder();
    let common = ["--output-dir", &path, "--append", "--name", "log"];
    let program = Program::start_after("trap '' XFSZ; ulimit -f 1", &common);
    let mut client = Client::connect(program.address());
    let line = format!("{}\n", "x".repeat(300));
    client.write(line.repeat(2).as_bytes()).unwrap();
    client.finish_unclean().unwrap();
    let end = program.wait_for_end().end;
    assert!(end.contains("logs/log: File too large"), "{end}");
    fs::rename(logs.path("log"), logs.path("full")).unwrap();
    send(program.address(), b"small\n");
    assert_eq!(logs.read("log"), "small\n");
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_second_process_waits_until_the_first_one_has_ended() {
    let logs = Logs::new();
    let first = logs.start("log", &[]);
    let path = logs.folder();
    let args = [
        "-l",
        FREE,
        "--output-dir",
        &path,
        "--append",
        "--name",
        "log",
    ];
    let second = Program::start_command(&args, Stdio::null(), Stderr::Pipe);
    let waits =
        format!("tlsink: another process appends to files in {path}; waiting until it ends");
    second.wait_for_line(|line| line == waits);
    send(first.address(), b"first\n");
    assert!(!second.stderr().contains("listening"));
    assert_eq!(first.stop().status, 0);
    let line = second.wait_for_line(|line| line.contains("listening on "));
    let address = line.rsplit(' ').next().unwrap().parse().unwrap();
    send(address, b"second\n");
    assert_eq!(logs.read("log"), "first\nsecond\n");
    assert_eq!(second.stop().status, 0);
}

#[test]
fn a_directory_in_which_no_files_can_be_made_is_an_error_at_once() {
    let logs = Logs::new();
    fs::write(logs.path("file"), "").unwrap();
    for (path, error, hint) in [
        (
            logs.path("missing"),
            "No such file or directory (os error 2)",
            "--output-dir must exist: make it first",
        ),
        (
            logs.path("file"),
            "Not a directory (os error 20)",
            "give --output-dir a directory; --output takes one file for all",
        ),
    ] {
        let path = path.display().to_string();
        let outcome = Program::run(&["--output-dir", &path, "--append", "--name", "log"]);
        let said = format!("tlsink: can't make files in {path}: {error}\nhint: {hint}\n");
        assert_eq!((outcome.status, outcome.stderr), (2, said));
    }
}

/// Each line that the sender knows of is there, and all are whole, but for the last one at most.
#[test]
fn killed_at_any_time_the_receiver_has_the_lines_that_it_acknowledged() {
    const ROUNDS: usize = 10;
    let logs = Logs::new();
    let lines: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
    let input = logs.outer.path().join("input");
    fs::write(&input, &lines).unwrap();
    let mut told = 0;
    for round in 0..ROUNDS {
        let sync = [&[][..], &["--sync"]][round % 2];
        let program = logs.start("log", &[&["--rotate", "20k"], sync].concat());
        let sender = relp_sender(program.address(), &input);
        // The kill comes at some line, and within a round that differs.
        logs.wait_until(|| logs.len() > 40_000 * round as u64 / ROUNDS as u64);
        program.signal(Signal::KILL);
        drop(program);
        let outcome = sender.outcome();
        let (_, count) = outcome
            .stderr
            .rsplit_once("acknowledged ")
            .unwrap_or_default();
        let count = count.split(' ').next().and_then(|count| count.parse().ok());
        let count: usize = count.unwrap_or(0);
        told += count;

        // The next receiver ends the last line.
        let program = logs.start("log", &["--rotate", "20k"]);
        send(program.address(), b"next\n");
        assert_eq!(program.stop().status, 0);
        let mut files = logs.files();
        files.rotate_left(1);
        let text = files.iter().map(|file| logs.read(file)).collect::<String>();
        let text = text.strip_suffix("next\n").unwrap();
        let last = text.lines().count().saturating_sub(1);
        assert!(last + 1 >= count, "{count} acknowledged");
        for (number, (line, sent)) in text.lines().zip(lines.lines()).enumerate() {
            let is_torn = number == last && number >= count && sent.starts_with(line);
            assert!(line == sent || is_torn, "{line:?} is not {sent:?}");
        }
        fs::remove_dir_all(logs.folder()).unwrap();
        fs::create_dir(logs.folder()).unwrap();
    }
    assert!(told > 0, "no line was acknowledged in any round");
}

#[test]
fn a_stop_waits_until_all_is_written_and_reports_what_a_cut_one_loses() {
    let logs = Logs::new();
    let program = logs.start("log", &["--sync", "--drain", "0"]);
    let mut client = Client::connect(program.address());
    let lines = numbered(1, 10_000);
    client.write(lines.as_bytes()).unwrap();
    logs.wait_for("log", |text| !text.is_empty());
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    let [end] = &outcome.ends()[..] else {
        panic!("{}", outcome.stderr);
    };
    // The delivered bytes are in the file, whatever was cut.
    let delivered = usize::try_from(end.delivered).unwrap();
    let written = logs.read("log");
    assert_eq!(written.trim_end(), lines[..delivered].trim_end());
}

#[test]
fn a_line_is_synced_with_its_folders_before_its_stream_is_clean() {
    let Some(traced) = Traced::run("trace=write,fsync,fdatasync", &["--sync"], 0) else {
        return;
    };
    let calls = traced.calls();
    let expected = [
        ("write", "a/log"),
        ("fsync", "a"),
        ("fsync", ""),
        ("fdatasync", "a/log"),
        ("write", "clean"),
    ];
    assert_eq!(calls, expected, "{}", traced.trace);
    assert_eq!(traced.logs.read("a/log"), "synced\n");
}

#[test]
fn without_sync_nothing_is_synced() {
    let Some(traced) = Traced::run("trace=write,fsync,fdatasync", &[], 0) else {
        return;
    };
    assert_eq!(traced.calls(), [("write", "a/log"), ("write", "clean")]);
}

#[test]
fn a_file_that_can_not_be_synced_is_set_aside_and_never_synced_again() {
    for error in ["EIO", "ENOSPC"] {
        let inject = format!("inject=fdatasync:error={error}");
        let Some(traced) = Traced::run(&inject, &["--sync"], 1) else {
            return;
        };
        let files = traced.logs.files();
        let [file] = &files[..] else {
            panic!("{files:?}");
        };
        assert!(file.starts_with("a/log.bad-2"), "{file}");
        assert_eq!(traced.logs.read(file), "synced\n");
        assert_eq!(traced.trace.matches("(INJECTED)").count(), 1);
        let path = traced.logs.path("a/log").display().to_string();
        let cut = format!(", cut (the output failed: {path}: ");
        let said = format!("tlsink: can't sync {path}: ");
        for said in [cut, said, format!("it is now {path}.bad-2")] {
            assert!(traced.stderr.contains(&said), "{}", traced.stderr);
        }
    }
}

#[test]
fn no_line_is_acknowledged_whose_sync_has_failed() {
    if !can_trace() {
        return;
    }
    let logs = Logs::new();
    let path = logs.folder();
    // With -D, the process that gets the test's signals is the program.
    let strace = "set -- strace -D -f -o /dev/null -e inject=fdatasync:error=EIO:when=1 \"$@\"";
    let common = ["--output-dir", &path, "--append", "--name", "log", "--sync"];
    let program = Program::start_after(strace, &common);
    let input = logs.outer.path().join("input");
    fs::write(&input, "one\ntwo\n").unwrap();
    let sender = relp_sender(program.address(), &input).outcome();
    assert_eq!(sender.status, 1);
    assert!(!sender.stderr.contains("acknowledged 1 line"));
    assert!(!sender.stderr.contains("acknowledged 2 lines"));
    assert!(
        program
            .wait_for_end()
            .end
            .contains("cut (the output failed: ")
    );
    // The next ones go to a file that is synced.
    let sender = relp_sender(program.address(), &input).outcome();
    let acknowledged = ", 2 lines acknowledged\n";
    assert!(sender.stderr.ends_with(acknowledged), "{}", sender.stderr);
    assert_eq!(logs.read("log"), "one\ntwo\n");
    assert_eq!(program.stop().status, 0);
}

#[test]
fn on_a_full_disk_lines_wait_until_there_is_space() {
    let Some(disk) = SmallDisk::new() else {
        return;
    };
    let lines = numbered(1, 1000);
    let (client, full) = disk.fill(40_000, &lines);
    let SmallDisk {
        program,
        root,
        log,
        folder: _folder,
    } = disk;
    // Others are held, too: one thread writes all files.
    let mut other = Client::connect(program.address());
    other.write(b"other\n").unwrap();
    fs::remove_file(root.join("filler")).unwrap();
    other.finish().unwrap();
    client.finish().unwrap();
    let written = fs::read_to_string(root.join("log")).unwrap();
    assert_eq!(written, lines + "other\n");
    let outcome = program.stop();
    let again = format!("tlsink: there is space for {log} again\n");
    assert_eq!(outcome.stderr.matches(&again).count(), 1);
    assert_eq!(outcome.stderr.matches(&full).count(), 1);
    assert_eq!(outcome.status, 0);
}

#[test]
fn a_second_signal_stops_a_wait_for_space_and_the_loss_is_reported() {
    let Some(disk) = SmallDisk::new() else {
        return;
    };
    let lines = numbered(1, 1000);
    let _client = disk.fill(60_000, &lines);
    let SmallDisk {
        program,
        folder: _folder,
        ..
    } = disk;
    program.signal(Signal::TERM);
    program.wait_for_line(|line| line.starts_with("tlsink: stopping: 1 connection open"));
    program.signal(Signal::TERM);
    let outcome = program.outcome();
    assert_eq!(outcome.status, 1);
    let hangs = "tlsink: the output hangs; up to ";
    let hangs = outcome.stderr.lines().find(|line| line.starts_with(hangs));
    assert!(hangs.is_some(), "{}", outcome.stderr);
}

/// The program on a small disk of its own.
pub struct SmallDisk {
    pub program: Program,
    /// The directory, as the program sees it.
    pub root: PathBuf,
    /// The path of its only file, as messages show it.
    pub log: String,
    folder: TempDir,
}

impl SmallDisk {
    fn new() -> Option<Self> {
        SmallDisk::with(&[])
    }

    /// Runs the program with further arguments.
    pub fn with(args: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let script = format!("mount -t tmpfs -o size=64k tmpfs '{path}' && exec \"$@\"");
        let on_a_small_disk = |program: &str| {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", &script, "sh", program]);
            command
        };
        let tried = on_a_small_disk("true").stderr(Stdio::null()).status();
        if !tried.is_ok_and(|status| status.success()) {
            skip("no file system can be mounted here");
            return None;
        }
        let mut command = on_a_small_disk(BINARY);
        command.args([
            "-l",
            FREE,
            "--output-dir",
            &path,
            "--append",
            "--name",
            "log",
        ]);
        command.args(args);
        let program = Program::start_by(command, 1);
        Some(SmallDisk {
            root: PathBuf::from(format!("/proc/{}/root{path}", program.id())),
            log: format!("{path}/log"),
            folder,
            program,
        })
    }

    /// Leaves so little space that these lines wait; returns their client, and the message that says so.
    fn fill(&self, filler: usize, lines: &str) -> (Client, String) {
        fs::write(self.root.join("filler"), vec![0; filler]).unwrap();
        let mut client = Client::connect(self.program.address());
        client.write(lines.as_bytes()).unwrap();
        let log = &self.log;
        let full = format!("tlsink: no space left for {log}; waiting until there is");
        self.program.wait_for_line(|line| line == full);
        (client, full)
    }
}

/// The directory of a test, and what is in it.
pub struct Logs {
    pub outer: TempDir,
}

impl Logs {
    pub fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("logs")).unwrap();
        Logs { outer }
    }

    pub fn start(&self, name: &str, args: &[&str]) -> Program {
        let path = self.folder();
        let common = ["--output-dir", &path, "--append", "--name", name];
        Program::start(&[&common, args].concat())
    }

    pub fn folder(&self) -> String {
        self.outer.path().join("logs").display().to_string()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.outer.path().join("logs").join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The paths of all files, in order.
    pub fn files(&self) -> Vec<String> {
        let root = self.path("");
        let mut folders = vec![root.clone()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push(path.strip_prefix(&root).unwrap().display().to_string()),
                }
            }
        }
        files.sort();
        files
    }

    /// The bytes of all files together.
    pub fn len(&self) -> u64 {
        let files = fs::read_dir(self.folder()).unwrap();
        // A file may get another name meanwhile.
        let facts = files.filter_map(|file| file.ok()?.metadata().ok());
        facts.map(|facts| facts.len()).sum()
    }

    pub fn wait_for(&self, name: &str, is_whole: impl Fn(&str) -> bool) {
        self.wait_until(|| fs::read_to_string(self.path(name)).is_ok_and(|text| is_whole(&text)));
    }

    pub fn wait_until(&self, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_so() {
            assert!(Instant::now() < deadline, "{:?}", self.files());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The program with `--once` under strace(1), and one stream, whose line it has written to `a/log`.
struct Traced {
    logs: Logs,
    trace: String,
    stderr: String,
}

impl Traced {
    fn run(what: &str, args: &[&str], status: i32) -> Option<Self> {
        let logs = Logs::new();
        let path = logs.folder();
        let common = ["--output-dir", &path, "--append", "--name", "a/log"];
        let args = [&common, args].concat();
        let (trace, outcome) = traced(what, logs.outer.path(), &args, b"synced\n")?;
        assert_eq!(outcome.status, status, "{}", outcome.stderr);
        Some(Traced {
            trace,
            stderr: outcome.stderr,
            logs,
        })
    }

    /// The calls for files and folders from the first write on, and the one that reports the stream
    /// as clean.
    fn calls(&self) -> Vec<(&str, &str)> {
        let folder = self.logs.folder();
        let calls = self.trace.lines().filter_map(|line| {
            let (call, rest) = line.split_once('(')?;
            let call = call.rsplit(' ').next()?;
            if rest.contains(", clean") {
                return Some((call, "clean"));
            }
            let (_, path) = rest.split_once(&folder)?;
            let (path, _) = path.split_once('>')?;
            Some((call, path.trim_start_matches('/')))
        });
        calls.skip_while(|(call, _)| *call != "write").collect()
    }
}

pub fn numbered(sender: usize, lines: usize) -> String {
    (0..lines)
        .map(|number| {
            format!(
                "sender {sender}, line {number} {}\n",
                "x".repeat(number % 50)
            )
        })
        .collect()
}

/// `tlsink send`, which sends this file as RELP.
fn relp_sender(address: SocketAddr, input: &Path) -> Program {
    let to = address.to_string();
    let args = ["send", "--insecure", "--framing", "relp", "-e", "none", &to];
    let input = input.to_str().unwrap();
    Program::start_command(&[&args[..], &[input]].concat(), Stdio::null(), Stderr::Pipe)
}
