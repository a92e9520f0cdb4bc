//! The disk of the tests keeps what was synced, and may lose or mix the rest.

use std::collections::BTreeSet;

use super::disk::{Disk, Found, Tree};
use super::record::Event;
use crate::common::dice::Dice;

const BLOCK: usize = 4096;

fn create(inode: u64, path: &str) -> Event {
    Event::Create {
        inode,
        path: path.to_owned(),
    }
}

fn write(inode: u64, offset: usize, bytes: &[u8]) -> Event {
    Event::Write {
        inode,
        path: String::new(),
        offset: offset as u64,
        bytes: bytes.to_vec(),
    }
}

fn sync(inode: u64, failed: bool) -> Event {
    Event::Sync {
        inode,
        path: String::new(),
        failed,
    }
}

fn rename(from: &str, to: &str) -> Event {
    Event::Rename {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

/// The inode of the folder itself.
const ROOT: u64 = 1;

/// All disks that can be found after these events, as `NAME=TEXT` with zeros as dots.
fn found(events: &[Event]) -> BTreeSet<String> {
    drawn(events).iter().map(shown).collect()
}

fn drawn(events: &[Event]) -> Vec<Tree> {
    let empty = tempfile::tempdir().unwrap();
    let mut disk = Disk::of(empty.path());
    // The root has no event before it is synced.
    events.iter().for_each(|event| disk.apply(event));
    let mut dice = Dice::new(7);
    (0..500).map(|_| disk.draw(&mut dice)).collect()
}

fn shown(tree: &Tree) -> String {
    let files = tree.all.iter().map(|(path, found)| match found {
        Found::Folder => format!("{path}/"),
        Found::File(bytes) => {
            let text = String::from_utf8_lossy(&bytes.bytes()).replace('\0', ".");
            format!("{path}={text}")
        }
    });
    files.collect::<Vec<_>>().join(" ")
}

fn set(these: &[&str]) -> BTreeSet<String> {
    these.iter().map(|one| (*one).to_owned()).collect()
}

#[test]
fn a_name_and_its_bytes_need_a_sync_each() {
    let made = [create(2, "a"), write(2, 0, b"one")];
    assert_eq!(found(&made), set(&["", "a=", "a=one", "a=..."]));
    let file = [&made[..], &[sync(2, false)]].concat();
    assert_eq!(found(&file), set(&["", "a=one"]));
    let folder = [&made[..], &[sync(ROOT, false)]].concat();
    assert_eq!(found(&folder), set(&["a=", "a=one", "a=..."]));
    let both = [&file[..], &[sync(ROOT, false)]].concat();
    assert_eq!(found(&both), set(&["a=one"]));
}

#[test]
fn at_each_moment_of_a_known_log_all_of_a_set_is_found_and_nothing_else() {
    let events = [
        create(2, "a"),
        sync(ROOT, false),
        write(2, 0, b"1"),
        sync(2, false),
        write(2, 1, b"2"),
        rename("a", "b"),
        sync(2, false),
        sync(ROOT, false),
        Event::Resize {
            inode: 2,
            path: String::new(),
            size: 1,
        },
        sync(2, false),
        Event::Remove {
            path: "b".to_owned(),
        },
        sync(ROOT, false),
    ];
    let expected: [&[&str]; 12] = [
        &["", "a="],
        &["a="],
        &["a=", "a=1", "a=."],
        &["a=1"],
        &["a=1", "a=12", "a=1."],
        &["a=1", "a=12", "a=1.", "b=1", "b=12", "b=1."],
        &["a=12", "b=12"],
        &["b=12"],
        &["b=12", "b=1", "b=1."],
        &["b=1"],
        &["b=1", ""],
        &[""],
    ];
    for (count, expected) in (1..).zip(expected) {
        assert_eq!(found(&events[..count]), set(expected), "after {count}");
    }
}

#[test]
fn blocks_are_written_in_any_order() {
    let all = [b"a", b"b", b"c"].map(|byte| byte.repeat(BLOCK)).concat();
    let events = [create(2, "f"), sync(ROOT, false), write(2, 0, &all)];
    let mut seen = BTreeSet::new();
    for tree in drawn(&events) {
        let bytes = tree.file("f").unwrap();
        let kinds: Vec<_> = bytes.chunks(BLOCK).map(|block| block[0]).collect();
        for (block, kind) in bytes.chunks(BLOCK).zip(&kinds) {
            assert!(block.iter().all(|byte| byte == kind));
        }
        seen.insert(kinds);
    }
    let blocks: BTreeSet<Vec<u8>> = (0..8)
        .map(|mask| {
            let pick = |(n, byte): (usize, &u8)| if mask >> n & 1 == 1 { *byte } else { 0 };
            b"abc".iter().enumerate().map(pick).collect()
        })
        .chain([Vec::new()])
        .collect();
    assert_eq!(seen, blocks);
}

#[test]
fn a_failed_sync_may_lose_bytes_for_ever() {
    let events = [
        create(2, "a"),
        sync(ROOT, false),
        write(2, 0, b"1"),
        sync(2, true),
        sync(2, false),
    ];
    assert_eq!(found(&events), set(&["a=", "a=1", "a=."]));
    let more = [&events[..], &[write(2, 1, b"2"), sync(2, false)]].concat();
    assert_eq!(found(&more), set(&["a=12", "a=.2"]));
    // Bytes that are written once more are sure.
    let again = [&events[..], &[write(2, 0, b"1"), sync(2, false)]].concat();
    assert!(found(&again).contains("a=1"));
}

#[test]
fn a_failed_sync_of_a_folder_makes_nothing_sure() {
    let events = [create(2, "a"), sync(ROOT, true)];
    assert_eq!(found(&events), set(&["", "a="]));
}

#[test]
fn a_rename_is_whole_and_what_it_replaces_is_gone_with_it() {
    let events = [
        create(2, "log"),
        write(2, 0, b"old"),
        sync(2, false),
        sync(ROOT, false),
        rename("log", "log.1"),
        create(3, "log"),
        write(3, 0, b"new"),
        sync(3, false),
    ];
    let expected = ["log=old", "log.1=old", "log=new log.1=old"];
    assert_eq!(found(&events), set(&expected));
    let events = [
        create(2, "a"),
        write(2, 0, b"a"),
        sync(2, false),
        create(3, "b"),
        sync(ROOT, false),
        rename("a", "b"),
    ];
    assert_eq!(found(&events), set(&["a=a b=", "b=a"]));
}

#[test]
fn a_file_in_a_new_folder_needs_both_names() {
    let folder = Event::MakeFolder {
        inode: 5,
        path: "d".to_owned(),
    };
    let events = [folder, create(2, "d/a"), sync(2, false), sync(5, false)];
    assert_eq!(found(&events), set(&["", "d/ d/a="]));
}

#[test]
fn what_is_there_at_first_stays() {
    let folder = tempfile::tempdir().unwrap();
    let big = b"0123456789".repeat(1000);
    std::fs::create_dir(folder.path().join("d")).unwrap();
    std::fs::write(folder.path().join("d/big"), &big).unwrap();
    let mut disk = Disk::of(folder.path());
    let mut dice = Dice::new(1);
    assert_eq!(disk.draw(&mut dice).all, disk.current().all);
    disk.apply(&Event::Write {
        inode: 9,
        path: "d/big".to_owned(),
        offset: 10_000,
        bytes: b"more".to_vec(),
    });
    for _ in 0..100 {
        let tree = disk.draw(&mut dice);
        assert!(tree.file("d/big").unwrap().starts_with(&big));
    }
    // The file that was there has its inode's number as a second name.
    std::fs::hard_link(folder.path().join("d/big"), folder.path().join("9")).unwrap();
    let copy = tempfile::tempdir().unwrap();
    disk.current().make(copy.path(), folder.path());
    assert_eq!(Tree::of(copy.path()).all, disk.current().all);
}
