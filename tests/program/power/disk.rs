//! A disk, as it may be found after the power was lost.
//!
//! POSIX promises only what was synced: a file's bytes and size by a sync of the file, its name by a
//! sync of the folder. Nothing else has an order, but for changes of one name. A rename is done as a
//! whole or not at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::record::Event;
use crate::common::dice::Dice;

/// The bytes that a disk writes as a whole.
const BLOCK: usize = 4096;

/// All that was done to the files below a folder, synced or not.
pub struct Disk {
    nodes: Vec<Node>,
    /// The nodes of files and folders that the program used.
    inodes: HashMap<u64, usize>,
    /// The names that are sure to be on the disk.
    durable: Names,
    /// The names that programs see.
    current: Names,
    /// The changes that lead from the durable names to the current ones.
    pending: Vec<Change>,
}

/// The files and folders that are found, by their paths.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    pub all: BTreeMap<String, Found>,
    /// The inodes of files.
    inodes: BTreeMap<String, u64>,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Found {
    Folder,
    File(Content),
}

/// The bytes of a file, of which many may be zeros that were never written.
#[derive(Clone)]
pub struct Content {
    size: u64,
    blocks: Vec<(usize, Vec<u8>)>,
}

/// The node of the folder itself.
const ROOT: usize = 0;

/// A name in the folder with this node.
type Name = (usize, String);

type Names = BTreeMap<Name, usize>;

/// A change of names that happens as a whole.
#[derive(Clone, Debug)]
struct Change {
    removed: Option<Name>,
    added: Option<(Name, usize)>,
}

enum Node {
    Folder,
    File {
        size: Unsure<u64>,
        blocks: BTreeMap<usize, Unsure<Vec<u8>>>,
    },
}

/// A value on the disk, which is written back at some time, or when it is synced.
#[derive(Clone, Debug)]
struct Unsure<T> {
    /// The values that the disk may have had at the last sync.
    durable: Vec<T>,
    /// The values since then, each of which the system may have written.
    since: Vec<T>,
    /// The values that programs may read. There are several after a failed sync: the system takes a
    /// page that it could not write for written, and may read it again.
    cached: Vec<T>,
}

impl<T: Clone + PartialEq> Unsure<T> {
    fn new(value: T) -> Self {
        Unsure {
            durable: vec![value.clone()],
            since: Vec::new(),
            cached: vec![value],
        }
    }

    fn change(&mut self, change: impl Fn(&T) -> T) {
        self.cached = self.cached.iter().map(change).collect();
        dedup(&mut self.cached);
        self.since.extend(self.cached.iter().cloned());
        dedup(&mut self.since);
    }

    fn sync(&mut self, failed: bool) {
        let since = std::mem::take(&mut self.since);
        if since.is_empty() {
            // The system believes that there is nothing to do.
        } else if failed {
            self.cached.extend(self.durable.iter().cloned());
            dedup(&mut self.cached);
            self.durable.extend(since);
            dedup(&mut self.durable);
        } else {
            self.durable.clone_from(&self.cached);
        }
    }

    /// The value that programs see.
    fn current(&self) -> &T {
        &self.cached[0]
    }

    fn draw(&self, luck: Luck, dice: &mut Dice) -> &T {
        let all = self.durable.len() + self.since.len();
        let at = match luck {
            Luck::Old => dice.below(self.durable.len()),
            Luck::New => return self.since.last().unwrap_or(&self.durable[0]),
            Luck::Mixed => dice.below(all),
        };
        let mut values = self.durable.iter().chain(&self.since);
        values.nth(at).expect("there are so many")
    }
}

/// Removes values that are there already.
fn dedup<T: PartialEq>(values: &mut Vec<T>) {
    let mut kept: Vec<T> = Vec::new();
    for value in values.drain(..) {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    *values = kept;
}

/// The part of the unsynced changes that reached the disk.
#[derive(Clone, Copy, Debug)]
enum Luck {
    Old,
    New,
    Mixed,
}

const LUCK: [Luck; 4] = [Luck::Old, Luck::New, Luck::Mixed, Luck::Mixed];

impl Disk {
    /// The disk on which this folder is, with everything in it synced. Files may be renamed and removed
    /// meanwhile.
    pub fn of(folder: &Path) -> Disk {
        loop {
            match Disk::try_of(folder) {
                Ok(disk) => return disk,
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
            }
        }
    }

    fn try_of(folder: &Path) -> io::Result<Disk> {
        let mut disk = Disk {
            nodes: vec![Node::Folder],
            inodes: HashMap::new(),
            durable: Names::new(),
            current: Names::new(),
            pending: Vec::new(),
        };
        disk.add_all(folder, ROOT)?;
        disk.durable.clone_from(&disk.current);
        Ok(disk)
    }

    fn add_all(&mut self, folder: &Path, node: usize) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (name, path) = (entry.file_name().into_string().unwrap(), entry.path());
            let added = match path.is_dir() {
                true => self.add_node(Node::Folder),
                false => self.add_node(Node::file(&fs::read(&path)?)),
            };
            self.inodes.insert(entry.metadata()?.ino(), added);
            self.current.insert((node, name), added);
            if path.is_dir() {
                self.add_all(&path, added)?;
            }
        }
        Ok(())
    }

    fn add_node(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Create { inode, path } => self.add(path, *inode, Node::file(b"")),
            Event::MakeFolder { inode, path } => self.add(path, *inode, Node::Folder),
            Event::Write {
                inode,
                path,
                offset,
                bytes,
            } => self.file(*inode, path).write(*offset, bytes),
            Event::Resize { inode, path, size } => self.file(*inode, path).resize(*size),
            Event::Sync {
                inode,
                path,
                failed,
            } => {
                let node = self.find(*inode, path);
                match &mut self.nodes[node] {
                    Node::File { size, blocks } => {
                        size.sync(*failed);
                        blocks.values_mut().for_each(|block| block.sync(*failed));
                    }
                    Node::Folder if !failed => self.sync_folder(node),
                    Node::Folder => {}
                }
            }
            Event::Rename { from, to } => {
                let from = self.name(from);
                let node = self.current[&from];
                let to = self.name(to);
                // Two names of one file stay.
                if self.current.get(&to) != Some(&node) {
                    self.change(Some(from), Some((to, node)));
                }
            }
            Event::Link { from, to } => {
                let node = self.current[&self.name(from)];
                let to = self.name(to);
                self.change(None, Some((to, node)));
            }
            Event::Remove { path } => {
                let name = self.name(path);
                self.change(Some(name), None);
            }
            Event::Sent { .. } => {}
        }
    }

    /// The files that may be found if the power is lost now.
    pub fn draw(&self, dice: &mut Dice) -> Tree {
        let luck = dice.one_of(&LUCK);
        let mut chosen: BTreeSet<usize> = match luck {
            Luck::Old => BTreeSet::new(),
            Luck::New => (0..self.pending.len()).collect(),
            // A journal keeps the order.
            Luck::Mixed if dice.below(2) == 0 => (0..dice.below(self.pending.len() + 1)).collect(),
            Luck::Mixed => {
                let all = 0..self.pending.len();
                all.filter(|_| dice.below(2) == 0).collect()
            }
        };
        self.complete(&mut chosen);
        let mut names = self.durable.clone();
        for change in chosen {
            self.pending[change].apply(&mut names);
        }
        let mut tree = Tree::default();
        self.add_found(ROOT, "", &names, dice, &mut tree);
        tree
    }

    /// The files that programs see.
    pub fn current(&self) -> Tree {
        let mut tree = Tree::default();
        for ((folder, name), node) in &self.current {
            let path = self.path_of(*folder, name);
            let found = match &self.nodes[*node] {
                Node::Folder => Found::Folder,
                Node::File { size, blocks } => {
                    let blocks = blocks.iter();
                    let blocks = blocks.map(|(at, block)| (*at, block.current().clone()));
                    Found::File(Content {
                        size: *size.current(),
                        blocks: blocks.collect(),
                    })
                }
            };
            tree.insert(path, found, self.inode(*node));
        }
        tree
    }

    fn add_found(
        &self,
        folder: usize,
        path: &str,
        names: &Names,
        dice: &mut Dice,
        tree: &mut Tree,
    ) {
        let inside = names.iter().filter(|((of, _), _)| *of == folder);
        for ((_, name), node) in inside {
            let path = format!("{path}{name}");
            let found = match &self.nodes[*node] {
                Node::Folder => {
                    self.add_found(*node, &format!("{path}/"), names, dice, tree);
                    Found::Folder
                }
                Node::File { size, blocks } => {
                    let luck = dice.one_of(&LUCK);
                    let size = *size.draw(luck, dice);
                    // The size may be written without the bytes, and they without it.
                    let luck = dice.one_of(&[luck, Luck::Mixed]);
                    let blocks = blocks.iter();
                    let blocks = blocks.map(|(at, block)| (*at, block.draw(luck, dice).clone()));
                    Found::File(Content {
                        size,
                        blocks: blocks.collect(),
                    })
                }
            };
            tree.insert(path, found, self.inode(*node));
        }
    }

    fn inode(&self, node: usize) -> Option<u64> {
        let mut inodes = self.inodes.iter();
        inodes.find(|(_, of)| **of == node).map(|(inode, _)| *inode)
    }

    fn path_of(&self, folder: usize, name: &str) -> String {
        let above = self.current.iter().find(|(_, node)| **node == folder);
        match above {
            Some(((above, folder), _)) => format!("{}/{name}", self.path_of(*above, folder)),
            None => name.to_owned(),
        }
    }

    fn add(&mut self, path: &str, inode: u64, node: Node) {
        let node = self.add_node(node);
        // The number may have been another file's, which is gone.
        self.inodes.insert(inode, node);
        let name = self.name(path);
        self.change(None, Some((name, node)));
    }

    fn change(&mut self, removed: Option<Name>, added: Option<(Name, usize)>) {
        let change = Change { removed, added };
        change.apply(&mut self.current);
        self.pending.push(change);
    }

    fn sync_folder(&mut self, folder: usize) {
        let is_in = |(of, _): &Name| *of == folder;
        let concerned = |change: &Change| match &change.added {
            Some((name, _)) => is_in(name),
            None => change.removed.as_ref().is_some_and(is_in),
        };
        let all = self.pending.iter().enumerate();
        let concerned = all.filter(|(_, change)| concerned(change));
        let mut synced = concerned.map(|(at, _)| at).collect();
        self.complete(&mut synced);
        let mut left = Vec::new();
        for (at, change) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            match synced.contains(&at) {
                true => change.apply(&mut self.durable),
                false => left.push(change),
            }
        }
        self.pending = left;
    }

    /// Adds the earlier changes of the names that these changes concern.
    fn complete(&self, chosen: &mut BTreeSet<usize>) {
        let mut names = BTreeSet::new();
        for (at, change) in self.pending.iter().enumerate().rev() {
            let own = || change.names();
            if chosen.contains(&at) || own().any(|name| names.contains(name)) {
                chosen.insert(at);
                names.extend(own());
            }
        }
    }

    fn file(&mut self, inode: u64, path: &str) -> &mut Node {
        let node = self.find(inode, path);
        &mut self.nodes[node]
    }

    fn find(&mut self, inode: u64, path: &str) -> usize {
        if let Some(node) = self.inodes.get(&inode) {
            return *node;
        }
        let node = match path {
            "" => ROOT,
            _ => self.current[&self.name(path)],
        };
        self.inodes.insert(inode, node);
        node
    }

    fn name(&self, path: &str) -> Name {
        let (folder, name) = match path.rsplit_once('/') {
            Some((folder, name)) => (self.current[&self.name(folder)], name),
            None => (ROOT, path),
        };
        (folder, name.to_owned())
    }
}

impl Change {
    fn apply(&self, names: &mut Names) {
        if let Some(removed) = &self.removed {
            names.remove(removed);
        }
        if let Some((name, node)) = &self.added {
            names.insert(name.clone(), *node);
        }
    }

    fn names(&self) -> impl Iterator<Item = &Name> {
        let added = self.added.as_ref().map(|(name, _)| name);
        self.removed.iter().chain(added)
    }
}

impl Node {
    fn file(bytes: &[u8]) -> Node {
        let padded = |block: &[u8]| {
            let mut padded = block.to_vec();
            padded.resize(BLOCK, 0);
            Unsure::new(padded)
        };
        Node::File {
            size: Unsure::new(bytes.len() as u64),
            blocks: bytes
                .chunks(BLOCK)
                .enumerate()
                .filter(|(_, block)| !is_zero(block))
                .map(|(at, block)| (at, padded(block)))
                .collect(),
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let Node::File { size, blocks } = self else {
            panic!("a folder was written to");
        };
        let end = offset + bytes.len() as u64;
        if end > *size.current() {
            size.change(|size| end.max(*size));
        }
        let mut offset = usize::try_from(offset).unwrap();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (block, at) = (offset / BLOCK, offset % BLOCK);
            let (part, after) = rest.split_at(rest.len().min(BLOCK - at));
            offset += part.len();
            rest = after;
            // A block that is missing has zeros, too: files that are preallocated have many.
            if is_zero(part) && !blocks.contains_key(&block) {
                continue;
            }
            let new = || Unsure::new(vec![0; BLOCK]);
            blocks.entry(block).or_insert_with(new).change(|old| {
                let mut new = old.clone();
                new[at..at + part.len()].copy_from_slice(part);
                new
            });
        }
    }

    fn resize(&mut self, to: u64) {
        let Node::File { size, blocks } = self else {
            panic!("a folder was resized");
        };
        size.change(|_| to);
        let to = usize::try_from(to).unwrap();
        for (at, block) in blocks.range_mut(to / BLOCK..) {
            let kept = to.saturating_sub(at * BLOCK);
            block.change(|old| {
                let mut new = old.clone();
                new[kept..].fill(0);
                new
            });
        }
    }
}

/// Whether a part of a block has no other bytes.
fn is_zero(part: &[u8]) -> bool {
    part == &[0; BLOCK][..part.len()]
}

impl Content {
    pub fn bytes(&self) -> Vec<u8> {
        let size = usize::try_from(self.size).unwrap();
        let mut bytes = vec![0; size];
        for (at, block) in &self.blocks {
            let at = at * BLOCK;
            if at < size {
                let end = size.min(at + BLOCK);
                bytes[at..end].copy_from_slice(&block[..end - at]);
            }
        }
        bytes
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Content {}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Folder => f.write_str("folder"),
            Found::File(bytes) => write!(f, "{} bytes", bytes.size),
        }
    }
}

impl Tree {
    fn insert(&mut self, path: String, found: Found, inode: Option<u64>) {
        self.inodes.extend(inode.map(|inode| (path.clone(), inode)));
        self.all.insert(path, found);
    }

    /// Makes these files in a folder that is empty. Programs know files by their inodes, so those that
    /// are kept get their bytes and names back.
    pub fn make(&self, folder: &Path, kept: &Path) {
        for (path, found) in &self.all {
            let to = folder.join(path);
            match found {
                Found::Folder => fs::create_dir(to).unwrap(),
                Found::File(bytes) => {
                    if let Some(inode) = self.inodes.get(path) {
                        match fs::hard_link(kept.join(inode.to_string()), &to) {
                            // It was not made while the disk was watched.
                            Err(error) if error.kind() == ErrorKind::NotFound => {}
                            linked => linked.unwrap(),
                        }
                    }
                    fs::write(to, bytes.bytes()).unwrap();
                }
            }
        }
    }

    /// The files below a folder.
    pub fn of(folder: &Path) -> Tree {
        Disk::of(folder).current()
    }

    /// The paths and the contents of the files, in order.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Content)> {
        self.all.iter().filter_map(|(path, found)| match found {
            Found::Folder => None,
            Found::File(content) => Some((path.as_str(), content)),
        })
    }

    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        let mut files = self.files();
        let file = files.find(|(name, _)| *name == path);
        file.map(|(_, content)| content.bytes())
    }
}
