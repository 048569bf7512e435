//! A listing of files as keys, in byte order. It works on any API for folders. Each
//! folder is read once, unless it has more names than there is room for.

use crate::key::{Wanted, folder_problem, is_temporary, problem, split};
use crate::names::Names;

/// An entry of a folder.
#[derive(Clone, Copy, Debug)]
pub enum Name<'a> {
    /// A file or a symlink.
    File(&'a [u8]),
    /// A folder.
    Folder(&'a [u8]),
    /// An entry whose name the system cannot return because it is not UTF-8.
    Unnamed,
}

/// The file system that is listed.
pub trait Folders {
    /// An open folder.
    type Folder;
    /// The error of an operation.
    type Error;

    /// Opens the folder of a path, which is empty for the root and ends with `/`
    /// otherwise.
    ///
    /// # Errors
    /// Errors of the system.
    fn open(&mut self, path: &str) -> Result<Self::Folder, Self::Error>;

    /// Calls `each` with every name in a folder.
    ///
    /// # Errors
    /// Errors of the system; the names passed until then are used.
    fn read(&mut self, folder: &Self::Folder, path: &str, each: &mut dyn FnMut(Name<'_>)) -> Result<(), Self::Error>;

    /// Returns whether an error means that a folder no longer exists.
    fn is_gone(error: &Self::Error) -> bool;
}

/// An entry of a walk.
#[derive(Debug)]
pub enum Found<E> {
    /// A file or a symlink with this key.
    File(String),
    /// A folder, if only one level is listed.
    Folder(String),
    /// A name that is not a valid key. If it is a folder, nothing below it has a valid
    /// key either.
    NotAKey {
        /// The path, which ends with `/` if it is a folder. For names that the system
        /// cannot return, the path of their folder.
        path: Vec<u8>,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A folder that cannot be opened or read to its end.
    Unreadable {
        /// The path, which ends with `/`.
        path: String,
        /// Why it cannot be read.
        error: E,
    },
}

/// The memory limits of a walk.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// The maximum bytes of names of all open folders together.
    pub total: usize,
    /// The bytes of names that each folder may have in any case.
    pub least: usize,
    /// The maximum number of names of one folder.
    pub most: usize,
}

/// The path of the root as an entry, which cannot be empty. No folder in the root has
/// this name.
const UNNAMED_IN_ROOT: &[u8] = b"./";

/// The maximum number of folders in a key: each takes at least two of its bytes.
const MAX_DEPTH: usize = 512;

impl Room {
    /// Returns limits for a walk with this many bytes of names.
    pub const fn of(total: usize) -> Self {
        // A sixteenth is reserved for folders deep inside others with many names.
        Self { total, least: total / (16 * MAX_DEPTH), most: usize::MAX }
    }

    /// Returns the limits for a walk of which only the first `count` entries are needed.
    #[must_use]
    pub const fn first(self, count: usize) -> Self {
        // When the names are full, half of them are dropped.
        Self { most: count.saturating_mul(2), ..self }
    }
}

struct Level<F> {
    folder: F,
    path: String,
    names: Names,
    /// The last name that was returned.
    last: Option<Vec<u8>>,
    is_reported: bool,
}

/// A listing in progress.
pub struct Walk<F: Folders> {
    prefix: String,
    start_after: Option<String>,
    /// Whether folders after the prefix are entries themselves.
    one_level: bool,
    room: Room,
    levels: Vec<Level<F::Folder>>,
    pending: Option<Found<F::Error>>,
}

impl<F: Folders> Walk<F> {
    /// Begins in the folder that contains all keys with the prefix. Returns `None` if no
    /// valid key has the prefix.
    ///
    /// # Errors
    /// If that folder cannot be read. The error has its path, which is empty for the
    /// root.
    pub fn start(folders: &mut F, wanted: Wanted<'_>, one_level: bool, room: Room) -> Result<Option<Self>, (String, F::Error)> {
        if !wanted.is_possible() {
            return Ok(None);
        }
        let path = match split(wanted.prefix).0 {
            "" => String::new(),
            path => format!("{path}/"),
        };
        let (prefix, start_after) = (wanted.prefix.to_owned(), wanted.start_after.map(str::to_owned));
        let mut walk = Self { prefix, start_after, one_level, room, levels: Vec::new(), pending: None };
        match walk.enter(folders, path.clone(), None) {
            Ok(None) => Ok(Some(walk)),
            Ok(Some(error)) | Err(error) => Err((path, error)),
        }
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted { prefix: &self.prefix, start_after: self.start_after.as_deref() }
    }

    /// Returns the memory of the names in bytes.
    pub fn memory(&self) -> usize {
        self.levels.iter().map(|level| level.names.memory()).sum()
    }

    /// Returns the open folders with their paths, from the first to the deepest.
    pub fn folders(&self) -> impl DoubleEndedIterator<Item = (&F::Folder, &str)> {
        self.levels.iter().map(|level| (&level.folder, level.path.as_str()))
    }

    /// Opens a folder and reads the names after `last`. Returns the error that kept it
    /// from being read to its end, if any.
    fn enter(&mut self, folders: &mut F, path: String, last: Option<Vec<u8>>) -> Result<Option<F::Error>, F::Error> {
        let folder = folders.open(&path)?;
        let reserved = self.room.least.saturating_mul(MAX_DEPTH).min(self.room.total / 2);
        let left = self.room.total.saturating_sub(reserved + self.memory());
        // Leaves some room for the folders in it.
        let mut names = Names::new((left / 8 * 7).max(self.room.least), self.room.most);
        let wanted = self.wanted();
        let mut key = Vec::new();
        let read = folders.read(&folder, &path, &mut |name| {
            let (name, is_folder) = match name {
                Name::File(name) => (name, false),
                Name::Folder(name) => (name, true),
                // An entry for the folder itself stands for all its unnamed entries.
                Name::Unnamed if path.is_empty() => (UNNAMED_IN_ROOT, false),
                Name::Unnamed => (&b""[..], false),
            };
            if std::str::from_utf8(name).is_ok_and(is_temporary) {
                return;
            }
            key.clear();
            key.extend_from_slice(path.as_bytes());
            key.extend_from_slice(name);
            if is_folder {
                key.push(b'/');
            }
            let is_wanted = if is_folder && !self.one_level { wanted.may_be_below(&key) } else { wanted.has(&key) };
            let name = key.get(path.len()..).unwrap_or_default();
            if is_wanted && last.as_ref().is_none_or(|last| name > last.as_slice()) {
                names.add(name);
            }
        });
        names.sort();
        self.levels.push(Level { folder, path, names, last, is_reported: read.is_err() });
        Ok(read.err())
    }

    /// Returns the next entry.
    pub fn next(&mut self, folders: &mut F) -> Option<Found<F::Error>> {
        loop {
            if let Some(found) = self.pending.take() {
                return Some(found);
            }
            let level = self.levels.last_mut()?;
            let Some(name) = level.names.next_name() else {
                self.go_on(folders);
                continue;
            };
            // Reading a folder that changes may return a name twice.
            if level.last.as_deref() == Some(name) {
                continue;
            }
            let mut path = level.path.as_bytes().to_vec();
            path.extend_from_slice(name);
            level.last = Some(name.to_vec());
            if let Some(found) = self.visit(folders, path) {
                return Some(found);
            }
        }
    }

    /// Reads the names of the deepest folder that did not fit, or leaves the folder.
    fn go_on(&mut self, folders: &mut F) {
        let Some(level) = self.levels.pop() else { return };
        if level.names.is_complete() {
            return;
        }
        let (path, last, is_reported) = (level.path, level.last, level.is_reported);
        let failed = match self.enter(folders, path.clone(), last) {
            Ok(failed) => failed,
            Err(error) => Some(error),
        };
        if let Some(error) = failed.filter(|error| !is_reported && !F::is_gone(error)) {
            self.pending = Some(Found::Unreadable { path, error });
        }
    }

    fn visit(&mut self, folders: &mut F, path: Vec<u8>) -> Option<Found<F::Error>> {
        let is_unnamed = path == UNNAMED_IN_ROOT || self.levels.last().is_some_and(|level| level.path.len() == path.len());
        let is_folder = path.last() == Some(&b'/');
        let problem = match std::str::from_utf8(&path) {
            _ if is_unnamed => Some("a name in this folder is not UTF-8"),
            Err(_) => Some("it is not UTF-8"),
            Ok(path) if is_folder => folder_problem(path),
            Ok(key) => problem(key),
        };
        if let Some(problem) = problem {
            return self.wanted().has(&path).then_some(Found::NotAKey { path, problem });
        }
        let path = String::from_utf8(path).ok()?;
        if !is_folder {
            return Some(Found::File(path));
        }
        if self.one_level {
            return Some(Found::Folder(path));
        }
        let error = match self.enter(folders, path.clone(), None) {
            Ok(error) => error?,
            Err(error) => error,
        };
        // A listing that continues after this folder has already reported it.
        (!F::is_gone(&error) && self.wanted().has(&path)).then_some(Found::Unreadable { path, error })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Folders by path, and how often each was read.
    #[derive(Default)]
    struct Tree {
        folders: BTreeMap<String, BTreeSet<Vec<u8>>>,
        closed: BTreeSet<String>,
        reads: BTreeMap<String, usize>,
        most: usize,
    }

    impl Tree {
        fn add(&mut self, key: &[u8]) {
            let mut path = String::new();
            let mut rest = key;
            while let Some(end) = rest.iter().position(|byte| *byte == b'/') {
                let (name, after) = (&rest[..=end], &rest[end + 1..]);
                self.folders.entry(path.clone()).or_default().insert(name.to_vec());
                path.push_str(std::str::from_utf8(name).unwrap());
                rest = after;
            }
            self.folders.entry(path).or_default().insert(rest.to_vec());
        }

        fn walk(&mut self, prefix: &str, after: Option<&str>, room: Room) -> Vec<String> {
            let mut found = Vec::new();
            let Some(mut walk) = Walk::start(self, Wanted { prefix, start_after: after }, false, room).unwrap() else { return found };
            while let Some(next) = walk.next(self) {
                self.most = self.most.max(walk.memory());
                found.push(match next {
                    Found::File(key) => key,
                    Found::NotAKey { path, problem } => format!("{}: {problem}", path.escape_ascii()),
                    Found::Unreadable { path, error } => format!("{path}: {error}"),
                    Found::Folder(path) => panic!("{path}"),
                });
            }
            found
        }
    }

    impl Folders for Tree {
        type Folder = ();
        type Error = &'static str;

        fn open(&mut self, path: &str) -> Result<(), &'static str> {
            if self.closed.contains(path) { Err("closed") } else { Ok(()) }
        }

        fn read(&mut self, (): &(), path: &str, each: &mut dyn FnMut(Name<'_>)) -> Result<(), &'static str> {
            *self.reads.entry(path.to_owned()).or_default() += 1;
            for name in self.folders.get(path).into_iter().flatten() {
                each(match name.as_slice() {
                    b"?" => Name::Unnamed,
                    [name @ .., b'/'] => Name::Folder(name),
                    name => Name::File(name),
                });
            }
            Ok(())
        }

        fn is_gone(_: &&'static str) -> bool {
            false
        }
    }

    #[test]
    fn every_key_comes_once_and_in_order_whatever_the_room() {
        let mut keys: Vec<String> = (0..700).map(|number| format!("{:02}/{}/k{number}", number % 30, number % 7)).collect();
        keys.extend((0..2000).map(|number| format!("flat-{number:04}")));
        keys.sort();
        for (room, reads) in [
            (Room::of(64 << 20), Some(1)),
            (Room { total: 3000, least: 300, most: usize::MAX }, None),
            (Room { total: 0, least: 0, most: usize::MAX }, None),
            (Room::of(64 << 20).first(3), None),
        ] {
            let mut tree = Tree::default();
            keys.iter().for_each(|key| tree.add(key.as_bytes()));
            assert!(tree.walk("", None, room) == keys, "{room:?}");
            if let Some(reads) = reads {
                assert!(tree.reads.values().all(|count| *count == reads), "{:?}", tree.reads);
                assert_eq!(tree.reads.len(), 30 * 7 + 30 + 1);
            } else {
                // One name of each folder is held even without room for it.
                let bound = if room.most == usize::MAX { room.total.max(4 * 30) } else { 4 * 6 * 20 };
                assert!(tree.most <= bound, "{} bytes of {room:?}", tree.most);
            }
            let after = keys.get(1000).map(String::as_str);
            assert_eq!(
                tree.walk("flat-", after, room).len(),
                keys.iter().filter(|key| Some(key.as_str()) > after && key.starts_with("flat-")).count()
            );
        }
    }

    #[test]
    fn invalid_keys_and_closed_folders_are_reported_in_order() {
        let mut tree = Tree::default();
        let long = "n".repeat(200);
        let deep = [long.as_str(); 6].join("/");
        for key in ["-0", "a/1", "closed/x", "b/?", "b/x", "c\n/x", "c\n2", ".persist-1.tmp", ".persist-2.tmp/x", deep.as_str(), "?"] {
            tree.add(key.as_bytes());
        }
        tree.add(b"z\xff");
        tree.closed.insert("closed/".to_owned());
        let folder = format!("{}/", [long.as_str(); 5].join("/"));
        let expected = [
            "-0".to_owned(),
            "./: a name in this folder is not UTF-8".to_owned(),
            "a/1".to_owned(),
            "b/: a name in this folder is not UTF-8".to_owned(),
            "b/x".to_owned(),
            "c\\n/: it contains control characters".to_owned(),
            "c\\n2: it contains control characters".to_owned(),
            "closed/: closed".to_owned(),
            format!("{folder}{long}: it is longer than 1,024 bytes"),
            "z\\xff: it is not UTF-8".to_owned(),
        ];
        assert_eq!(tree.walk("", None, Room::of(1 << 20)), expected);
        // One entry at a time, each listing starting after the previous entry.
        for (found, next) in [("-0", 1), ("./", 2), ("b/", 4), ("c\n/", 6), ("closed/", 8)] {
            assert_eq!(tree.walk("", Some(found), Room::of(1 << 20).first(1)), expected[next..], "{found:?}");
        }
        assert_eq!(tree.walk("closed", Some("closed/"), Room::of(1 << 20)), Vec::<String>::new());
        assert!(Walk::start(&mut tree, Wanted { prefix: "closed/", start_after: None }, false, Room::of(1)).is_err());
        assert!(Walk::start(&mut tree, Wanted { prefix: "a//", start_after: None }, false, Room::of(1)).unwrap().is_none());
    }
}
