//! Listing files as keys, in the order of the keys' bytes.
//!
//! Folders behind symlinks are left out: they may lead in a circle, and give a
//! file two keys. One that the prefix itself names is asked for, and followed.

use persist_model::key::Wanted;
use wasip2::filesystem::types::{Descriptor, DescriptorType, ErrorCode as Os};

use crate::bindings::wit::{Error, LevelEntry, ObjectInfo};
use crate::failure::failed;
use crate::{files, key};

/// What went wrong, and with which folder, whose path is empty or ends with a
/// slash.
type Failure = (String, Os);

/// An entry of a folder. With its slash a folder sorts where its keys do.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: String,
    is_folder: bool,
}

/// The entries of a folder that are wanted, in the order of their keys.
fn entries(root: &Descriptor, path: &str, is_wanted: impl Fn(&Entry) -> bool) -> Result<Vec<Entry>, Failure> {
    let at = |os| (path.to_owned(), os);
    let folder = files::open_folder(root, path.trim_end_matches('/')).map_err(at)?;
    let found = folder.read_directory().map_err(at)?;
    let mut entries = Vec::new();
    loop {
        let entry = match found.read_directory_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            // Gone since, as what is being written is once it is complete;
            // and a name that is not UTF-8 is no key.
            Err(Os::NoEntry | Os::IllegalByteSequence) => continue,
            Err(os) => return Err(at(os)),
        };
        if matches!(entry.name.as_str(), "." | "..") {
            continue;
        }
        let is_folder = entry.type_ == DescriptorType::Directory;
        let slash = if is_folder { "/" } else { "" };
        let entry = Entry { key: format!("{path}{}{slash}", entry.name), is_folder };
        if is_wanted(&entry) {
            entries.push(entry);
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

/// Lists the folder that all keys with a prefix are in.
fn in_folder_of<T>(wanted: &Wanted<'_>, list: impl FnOnce(&str) -> Result<Vec<T>, Failure>) -> Result<Vec<T>, Error> {
    if !wanted.is_possible() {
        return Ok(Vec::new());
    }
    let path = match key::split(wanted.prefix).0 {
        "" => String::new(),
        path => format!("{path}/"),
    };
    match list(&path) {
        // There is no such folder, and so nothing in it.
        Err((at, Os::NoEntry | Os::NotDirectory | Os::NameTooLong)) if at == path && !path.is_empty() => Ok(Vec::new()),
        Err((at, os)) => {
            let failed = failed("list", os);
            let at = if at.is_empty() { "the folder" } else { &at };
            Err(Error { message: format!("{at}: {}", failed.message), ..failed })
        }
        Ok(listed) => Ok(listed),
    }
}

/// The objects in a folder and below it.
struct Listing<'a> {
    root: &'a Descriptor,
    wanted: Wanted<'a>,
    limit: usize,
    found: Vec<ObjectInfo>,
}

impl<'a> Listing<'a> {
    fn new(root: &'a Descriptor, wanted: Wanted<'a>, limit: usize) -> Self {
        Self { root, wanted, limit, found: Vec::new() }
    }

    fn folder(mut self, path: &str) -> Result<Vec<ObjectInfo>, Failure> {
        self.add(path)?;
        Ok(self.found)
    }

    fn add(&mut self, path: &str) -> Result<(), Failure> {
        let is_wanted = |entry: &Entry| {
            if entry.is_folder { self.wanted.may_be_below(&entry.key) } else { self.wanted.has(&entry.key) }
        };
        for Entry { key, is_folder } in entries(self.root, path, is_wanted)? {
            if self.found.len() == self.limit {
                break;
            }
            if is_folder {
                unless_gone(&key, self.add(&key))?;
            } else {
                // Gone since, a dangling link, or a link out of the folder.
                self.found.extend(files::info_at(self.root, &key).ok().flatten());
            }
        }
        Ok(())
    }
}

/// What was done in a folder, which may be gone since it was listed.
fn unless_gone<T: Default>(path: &str, done: Result<T, Failure>) -> Result<T, Failure> {
    match done {
        Err((gone, Os::NoEntry)) if gone == path => Ok(T::default()),
        done => done,
    }
}

/// The objects whose keys begin with `prefix`.
pub(crate) fn objects(root: &Descriptor, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>, Error> {
    let wanted = Wanted { prefix, start_after };
    in_folder_of(&wanted, |path| Listing::new(root, wanted, limit).folder(path))
}

/// The same of one level: a folder there is given by its path alone, if it has
/// an object in it or below.
pub(crate) fn level(root: &Descriptor, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<LevelEntry>, Error> {
    let wanted = Wanted { prefix, start_after };
    let is_wanted = |entry: &Entry| {
        let is_next = || entry.key.starts_with(prefix) && start_after.is_none_or(|after| entry.key.as_str() > after);
        if entry.is_folder { is_next() } else { wanted.has(&entry.key) }
    };
    in_folder_of(&wanted, |path| {
        let mut level = Vec::new();
        for Entry { key, is_folder } in entries(root, path, is_wanted)? {
            if level.len() == limit {
                break;
            }
            if is_folder {
                let below = Wanted { prefix: &key, start_after: None };
                let has_object = !unless_gone(&key, Listing::new(root, below, 1).folder(&key))?.is_empty();
                level.extend(has_object.then_some(LevelEntry::Prefix(key)));
            } else {
                let info = files::info_at(root, &key).ok().flatten();
                level.extend(info.map(LevelEntry::Object));
            }
        }
        Ok(level)
    })
}
