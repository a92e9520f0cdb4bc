//! Files that rotation has closed: `--compress` and `--keep`.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt",
    feature = "relp"
))]

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use tlsink::output::Timestamp;

use crate::append::{Logs, numbered};
use crate::common::program::{Outcome, Program, send};
use crate::common::skip::is_installed;
use crate::common::strace::traced;

/// The addition of a file that was closed long ago.
const OLD: &str = ".20200101T000000Z";

#[test]
fn closed_files_are_packed_and_hold_every_line_in_order() {
    for sync in [&[][..], &["--sync"]] {
        let logs = Logs::new();
        let args = [&["--rotate", "5k", "--compress"], sync].concat();
        let program = logs.start("a/log", &args);
        let lines = numbered(1, 2000);
        send(program.address(), lines.as_bytes());
        logs.wait_until(|| closed(&logs).iter().all(|name| name.ends_with(".zst")));
        assert_eq!(program.stop().status, 0);
        let mut texts: Vec<_> = closed(&logs)
            .iter()
            .map(|name| unpack(&logs.path(name)))
            .collect();
        assert!(texts.len() > 5);
        texts.push(logs.read("a/log"));
        assert!(texts.concat() == lines);
        if is_installed("zstd") {
            for name in closed(&logs) {
                let tested = Command::new("zstd")
                    .args(["-q", "-t"])
                    .arg(logs.path(&name))
                    .status();
                assert!(tested.unwrap().success(), "{name}");
            }
        }
    }
}

#[test]
fn a_file_that_was_closed_earlier_is_packed_and_keeps_its_mode_and_time() {
    let logs = Logs::new();
    let time = UNIX_EPOCH + Duration::new(1_577_836_800, 123_456_789);
    for (addition, mode) in [("", 0o640), ("-1", 0o400), ("-10", 0o666)] {
        let path = logs.path(&format!("log{OLD}{addition}"));
        fs::write(&path, format!("old{addition}\n").repeat(1000)).unwrap();
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let program = start(&logs, "log", &["--compress"]);
    logs.wait_until(|| all_packed(&logs));
    for (addition, mode) in [("", 0o640), ("-1", 0o400), ("-10", 0o666)] {
        let path = logs.path(&format!("log{OLD}{addition}.zst"));
        let facts = fs::metadata(&path).unwrap();
        assert_eq!(facts.permissions().mode() & 0o777, mode);
        assert_eq!(facts.modified().unwrap(), time);
        assert_eq!(unpack(&path), format!("old{addition}\n").repeat(1000));
    }
    assert_eq!(program.stop().status, 0);
}

#[test]
fn a_packed_file_is_durable_before_the_other_one_is_removed() {
    let logs = Logs::new();
    fs::write(logs.path(&format!("log{OLD}")), "old\n").unwrap();
    let path = logs.folder();
    let args = [
        "--output-dir",
        &path,
        "--append",
        "--name",
        "log",
        "--rotate",
        "1M",
        "--compress",
    ];
    let what = "trace=fsync,link,linkat,rename,renameat,renameat2,unlink,unlinkat";
    let Some((trace, outcome)) = traced(what, logs.outer.path(), &args, b"new\n") else {
        return;
    };
    assert_eq!(outcome.status, 0);
    let calls = trace.lines().filter_map(|line| {
        let (call, rest) = line.split_once('(')?;
        let call = call.rsplit(' ').next()?;
        let (_, rest) = rest.split_once(&path)?;
        // The first path: of a link, that is the old one.
        let name = rest.split(['"', '>']).next()?;
        Some((call, name.trim_start_matches(['/']).replace(OLD, ".T")))
    });
    let expected = [
        ("fsync", "log.T.zst.part"),
        ("linkat", "log.T.zst.part"),
        ("unlink", "log.T.zst.part"),
        ("fsync", ""),
        ("unlink", "log.T"),
    ];
    let calls: Vec<_> = calls.collect();
    let calls: Vec<_> = calls
        .iter()
        .map(|(call, name)| (*call, name.as_str()))
        .collect();
    assert_eq!(calls, expected, "{trace}");
}

#[test]
fn a_file_is_packed_when_the_journal_is_sure_that_it_is_closed() {
    let logs = Logs::new();
    let state = tempfile::tempdir().unwrap();
    let args = [
        "--output-dir",
        &logs.folder(),
        "--append",
        "--name",
        "log",
        "--state",
        state.path().to_str().unwrap(),
        "--rotate",
        "1k",
        "--compress",
    ];
    // Each sync of data takes longer than packing a file.
    let what =
        "trace=rename,renameat,renameat2,unlink,fdatasync -e inject=fdatasync:delay_enter=300000";
    let lines = numbered(1, 200);
    let Some((trace, outcome)) = traced(what, logs.outer.path(), &args, lines.as_bytes()) else {
        return;
    };
    assert_eq!(outcome.status, 0);
    let calls: Vec<(&str, &str)> = trace
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let after = |from: usize, is_it: &dyn Fn(&str, &str) -> bool| {
        let mut calls = calls.iter().enumerate().skip(from);
        let found = calls.find(|(_, (thread, call))| is_it(thread, call));
        found.unwrap_or_else(|| panic!("{trace}")).0
    };
    let renamed = after(0, &|_, call| {
        call.contains("rename") && call.contains("/log.2")
    });
    let syncing = after(renamed, &|_, call| {
        call.contains("fdatasync(") && call.contains("/journal")
    });
    let writer = calls[syncing].0;
    let synced = after(syncing, &|thread, call| {
        thread == writer && call.contains("fdatasync") && call.contains(" = 0")
    });
    let removed = after(renamed, &|_, call| {
        call.contains("unlink(") && call.contains("/log.2") && !call.contains(".zst")
    });
    assert!(removed > synced, "{trace}");
}

#[test]
fn a_crash_between_the_steps_of_packing_is_repaired_at_the_next_start() {
    let logs = Logs::new();
    let text = numbered(1, 1000);
    let log = |addition: &str| logs.path(&format!("log{OLD}{addition}"));
    // Before the packed file was complete.
    fs::write(log("-1"), &text).unwrap();
    fs::write(log("-1.zst.part"), &pack(&text)[..100]).unwrap();
    // When it had both names.
    fs::write(log("-2"), &text).unwrap();
    fs::write(log("-2.zst"), pack(&text)).unwrap();
    fs::hard_link(log("-2.zst"), log("-2.zst.part")).unwrap();
    // Before the other one was removed.
    fs::write(log("-3"), &text).unwrap();
    fs::write(log("-3.zst"), pack(&text)).unwrap();
    let program = start(&logs, "log", &["--compress"]);
    logs.wait_until(|| all_packed(&logs));
    assert_eq!(program.stop().status, 0);
    let names: Vec<_> = (1..4).map(|n| format!("log{OLD}-{n}.zst")).collect();
    assert_eq!(logs.files(), names);
    for name in names {
        assert_eq!(unpack(&logs.path(&name)), text);
    }
}

#[test]
fn nothing_is_overwritten_and_what_can_not_be_packed_stays() {
    let logs = Logs::new();
    let text = numbered(1, 1000);
    let others = [
        pack(&numbered(2, 1000)),
        pack(&text[..text.len() - 1]),
        pack(&(text.clone() + "more\n")),
        pack(&text)[..200].to_vec(),
        b"no zstd".to_vec(),
        Vec::new(),
    ];
    for (number, other) in others.iter().enumerate() {
        let path = format!("log{OLD}-{}", number + 1);
        fs::write(logs.path(&path), &text).unwrap();
        fs::write(logs.path(&format!("{path}.zst")), other).unwrap();
    }
    let program = start(&logs, "log", &["--compress"]);
    let said = program.wait_for_lines(others.len(), |line| line.contains("can't pack"));
    let path = logs.path(&format!("log{OLD}-1")).display().to_string();
    let differs = "its packed file is there, and holds something else";
    assert_eq!(said[0], format!("tlsink: can't pack {path}: {differs}"));
    for (number, other) in others.iter().enumerate() {
        let path = format!("log{OLD}-{}", number + 1);
        assert_eq!(logs.read(&path), text);
        let packed = fs::read(logs.path(&format!("{path}.zst"))).unwrap();
        assert_eq!(&packed, other);
    }
    assert_eq!(program.stop().status, 0);
}

#[test]
fn only_files_that_rotation_has_closed_are_packed_or_removed() {
    let logs = Logs::new();
    let foreign = [
        "log",
        "log.zst",
        "log.20200101T000000",
        "log.20200101t000000z",
        "log.20200101T000000Zx",
        "log.20200101T000000Z-0",
        "log.20200101T000000Z-01",
        "log.20200101T000000Z-",
        "log.20200101T000000Z-1.part",
        "log.20200101T000000Z.gz",
        "log.20200101T000000Z.zst.zst",
        "log.20200101T000000Z.bad-20200101T000000Z",
        "log.20200101T000000Z.20200101T000000Z",
        "log.20200230T000000Z",
        "log.bad-20200101T000000Z",
        "log-20200101T000000Z",
        "log2.20200101T000000Z",
        "LOG.20200101T000000Z",
        "other.20200101T000000Z.zst.part",
        ".20200101T000000Z",
        "20200101T000000Z",
        "sub/log.20200101T000000Z",
        "log.20200102T000000Z/file",
    ];
    fs::create_dir(logs.path("sub")).unwrap();
    fs::create_dir(logs.path("log.20200102T000000Z")).unwrap();
    for name in foreign {
        fs::write(logs.path(name), name).unwrap();
    }
    let outside = logs.outer.path().join("outside");
    fs::write(&outside, "outside").unwrap();
    symlink(&outside, logs.path("log.20200103T000000Z")).unwrap();
    symlink(&outside, logs.path("log.20200104T000000Z.zst.part")).unwrap();
    let before = logs.files();

    // The last one of these is kept, and when it is packed, everything is done.
    for day in 5..8 {
        fs::write(logs.path(&format!("log.2020010{day}T000000Z")), "ours\n").unwrap();
    }
    let program = start(&logs, "log", &["--compress", "--keep", "1"]);
    let kept = "log.20200107T000000Z.zst";
    logs.wait_until(|| logs.path(kept).exists() && !logs.path("log.20200107T000000Z").exists());
    assert_eq!(program.stop().status, 0);
    let mut after = logs.files();
    after.retain(|name| name != kept);
    assert_eq!(after, before);
    for name in foreign {
        assert_eq!(logs.read(name), name);
    }
    assert_eq!(fs::read_to_string(outside).unwrap(), "outside");
}

#[test]
fn files_of_an_earlier_run_are_found_by_all_that_a_template_can_make() {
    let logs = Logs::new();
    let name = |name: &str| format!("{name}{OLD}");
    let ours = [
        "2026-11-27/web.example-00.log",
        "2020-01-01/anonymous-23.log",
        "2020-01-01/a%20b-23.log",
    ];
    let foreign = [
        "2020-01-01/-a-23.log",
        "2020-01-01/a b-23.log",
        "2020-01-01/a-230.log",
        "2020-01-01/-23.log",
        "2020-01-01/a-23.txt",
        "2020-1-1/a-23.log",
        "a-23.log",
        "2020-01-01/sub/a-23.log",
    ];
    for file in ours.into_iter().chain(foreign) {
        let path = logs.path(&name(file));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "old\n").unwrap();
    }
    let program = start(&logs, "{date}/{client}-{hour}.log", &["--compress"]);
    let packed = |file: &str| logs.path(&(name(file) + ".zst")).exists();
    logs.wait_until(|| ours.iter().all(|file| packed(file)));
    assert_eq!(program.stop().status, 0);
    for file in foreign {
        assert_eq!(logs.read(&name(file)), "old\n");
    }
    assert_eq!(logs.files().len(), ours.len() + foreign.len());
}

#[test]
fn the_latest_files_of_each_name_are_kept() {
    for compress in [&[][..], &["--compress"]] {
        let logs = Logs::new();
        // These go at the start, but for the last two of their name.
        for number in 1..5 {
            fs::write(logs.path(&format!("b{OLD}-{number}")), "old\n").unwrap();
        }
        let args = [&["--rotate", "1k", "--keep", "2"], compress].concat();
        // The only client that is named is the one that there is.
        let program = logs.start("{conn}", &args);
        assert_eq!(logs.files().len(), 4);
        let lines = numbered(1, 200);
        send(program.address(), lines.as_bytes());
        let ending = if compress.is_empty() { "Z" } else { "Z.zst" };
        logs.wait_until(|| {
            let closed = closed(&logs);
            closed.iter().filter(|name| name.ends_with(ending)).count() == 2
                && closed.len() == 2 + 4
        });
        let outcome = program.stop();
        assert_eq!(outcome.status, 0);
        let files: Vec<_> = logs.files();
        let ours = files.iter().filter(|name| !name.starts_with('b'));
        // The one that is written to comes first.
        let mut texts: Vec<_> = ours
            .map(|name| match name.ends_with(".zst") {
                true => unpack(&logs.path(name)),
                false => logs.read(name),
            })
            .collect();
        texts.rotate_left(1);
        assert!(lines.ends_with(&texts.concat()));
    }
}

#[test]
fn files_that_are_too_old_are_removed_packed_or_not() {
    let logs = Logs::new();
    let ago = |days: u64| {
        let time = SystemTime::now() - Duration::from_secs(days * 86_400);
        let time = Timestamp(time).to_string();
        format!("log.{}Z", time[..19].replace(['-', ':'], ""))
    };
    let kept = [ago(0), ago(1), ago(2) + ".zst"];
    for name in kept
        .iter()
        .cloned()
        .chain([ago(4), ago(5) + ".zst", ago(900)])
    {
        fs::write(logs.path(&name), "old\n").unwrap();
    }
    let program = start(&logs, "log", &["--keep", "3d"]);
    logs.wait_until(|| logs.files().len() == kept.len());
    assert!(kept.iter().all(|name| logs.path(name).exists()));
    assert_eq!(program.stop().status, 0);
}

#[test]
fn killed_while_it_packs_nothing_is_lost() {
    const ROUNDS: usize = 6;
    let text = noise(8 << 20);
    let mut caught = 0;
    for round in 0..ROUNDS {
        let logs = Logs::new();
        let path = logs.path(&format!("log{OLD}"));
        fs::write(&path, &text).unwrap();
        let [packed, part] = [".zst", ".zst.part"].map(|end| logs.path(&format!("log{OLD}{end}")));
        let program = start(&logs, "log", &["--compress"]);
        // The kill comes at some byte, and within a round that differs.
        let wanted = (text.len() * round / ROUNDS) as u64;
        logs.wait_until(|| {
            packed.exists() || fs::metadata(&part).is_ok_and(|facts| facts.len() >= wanted)
        });
        program.signal(Signal::KILL);
        drop(program);
        caught += usize::from(part.exists());
        match packed.exists() {
            true => assert!(unpack(&packed) == text),
            false => assert!(fs::read_to_string(&path).unwrap() == text),
        }
        let program = start(&logs, "log", &["--compress"]);
        logs.wait_until(|| all_packed(&logs));
        assert!(unpack(&packed) == text);
        assert_eq!(logs.files().len(), 1);
        assert_eq!(program.stop().status, 0);
    }
    assert!(caught > 0, "no kill came while a file was packed");
}

#[test]
fn a_stop_leaves_a_file_packed_or_as_it_was() {
    let text = noise(32 << 20);
    let logs = Logs::new();
    let path = logs.path(&format!("log{OLD}"));
    fs::write(&path, &text).unwrap();
    let program = start(&logs, "log", &["--compress"]);
    let part = logs.path(&format!("log{OLD}.zst.part"));
    logs.wait_until(|| part.exists() || all_packed(&logs));
    assert_eq!(program.stop().status, 0);
    let files = logs.files();
    let [file] = &files[..] else {
        panic!("{files:?}");
    };
    match file.ends_with(".zst") {
        true => assert!(unpack(&logs.path(file)) == text),
        false => assert!(logs.read(file) == text),
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn on_a_full_disk_packing_waits_and_lines_are_written_meanwhile() {
    use rustix::io::Errno;

    use crate::full_disk::Disk;

    let Some(disk) = Disk::new() else { return };
    let text = numbered(1, 2000);
    let folder = disk.path("");
    let [plain, packed] = ["", ".zst"].map(|end| disk.path(&format!("log{OLD}{end}")));
    fs::write(&plain, &text).unwrap();
    disk.fill(Errno::NOSPC, 1000, "w", &packed);
    let args = [
        "--output-dir",
        &folder,
        "--append",
        "--name",
        "log",
        "--rotate",
        "1M",
        "--compress",
    ];
    let program = disk.start(&args);
    let full = format!("tlsink: no space left for {packed}; waiting until there is");
    program.wait_for_line(|line| line == full);
    send(program.address(), b"written\n");
    assert_eq!(fs::read_to_string(disk.path("log")).unwrap(), "written\n");
    disk.wait_for_more_failures();
    assert_eq!(fs::read_to_string(&plain).unwrap(), text);
    // A stop does not wait for space.
    let outcome = program.stop();
    assert_eq!(outcome.status, 0);
    assert!(!Path::new(&format!("{packed}.part")).exists());
    assert_eq!(fs::read_to_string(&plain).unwrap(), text);

    let program = disk.start(&args);
    program.wait_for_line(|line| line == full);
    disk.free();
    let space = format!("tlsink: there is space for {packed} again");
    program.wait_for_line(|line| line == space);
    assert_eq!(unpack(Path::new(&packed)), text);
    let Outcome { status, stderr, .. } = program.stop();
    assert_eq!((status, stderr.matches(&full).count()), (0, 1));
}

#[test]
fn a_file_is_not_touched_before_its_lines_are_synced() {
    let logs = Logs::new();
    let path = logs.folder();
    let args = [
        "--output-dir",
        &path,
        "--append",
        "--name",
        "log",
        "--sync",
        "--rotate",
        "1k",
        "--compress",
        "--keep",
        "3",
    ];
    // The first sync takes longer than the time between two looks for files that are committed.
    let what = "trace=openat,unlink,fdatasync -e inject=fdatasync:delay_enter=2500000:when=1";
    let lines = numbered(1, 200);
    let Some((trace, outcome)) = traced(what, logs.outer.path(), &args, lines.as_bytes()) else {
        return;
    };
    assert_eq!(outcome.status, 0);
    let first = |what: &str| trace.lines().position(|line| line.contains(what)).unwrap();
    let synced = first("(DELAYED)");
    assert!(first(".zst.part") > synced && first("unlink(") > synced);
    assert_eq!(closed(&logs).len(), 3);
}

fn start(logs: &Logs, name: &str, args: &[&str]) -> Program {
    logs.start(name, &[&["--rotate", "1M"], args].concat())
}

/// The closed files, packed or not, in order.
fn closed(logs: &Logs) -> Vec<String> {
    let mut files = logs.files();
    files.retain(|name| name.contains(".2"));
    files
}

fn all_packed(logs: &Logs) -> bool {
    logs.files().iter().all(|name| name.ends_with(".zst"))
}

fn pack(text: &str) -> Vec<u8> {
    let mut packed = Vec::with_capacity(zstd_safe::compress_bound(text.len()));
    zstd_safe::compress(&mut packed, text.as_bytes(), 1).unwrap();
    packed
}

fn unpack(path: &Path) -> String {
    let packed = fs::read(path).unwrap();
    let mut text = Vec::new();
    let mut context = zstd_safe::DCtx::create();
    let mut input = zstd_safe::InBuffer::around(&packed);
    let mut left = 1;
    while left > 0 {
        let mut part = Vec::with_capacity(1 << 17);
        let mut output = zstd_safe::OutBuffer::around(&mut part);
        left = context.decompress_stream(&mut output, &mut input).unwrap();
        assert!(left == 0 || output.pos() > 0 || input.pos() < packed.len());
        text.extend_from_slice(&part);
    }
    assert_eq!(input.pos(), packed.len());
    String::from_utf8(text).unwrap()
}

/// Lines that are hard to pack.
fn noise(len: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut text = String::with_capacity(len + 20);
    while text.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text += &format!("{state:x}\n");
    }
    text
}
