//! Lists files as keys, in the byte order of the keys.
//!
//! Symlinks to folders are left out: they may form a circle, and give a file two keys. One
//! that the prefix itself names is followed.
//!
//! A listing comes in pages, each by an independent call. What a call has read but not
//! returned is kept for the next one, so that all pages together read each folder once.

use std::cell::RefCell;

use persist_paths::key::{Wanted, file_problem};
use persist_paths::walk::{Folders, Found, Name, Room, Walk};
use wasip2::clocks::wall_clock::Datetime;
use wasip2::filesystem::types::{Descriptor, DescriptorType, ErrorCode as Os, PathFlags};

use crate::bindings::wit::{Error, ErrorCode, LevelEntry, ObjectInfo};
use crate::failure::{error, failed, not_a_file};
use crate::{files, key};

/// The most bytes of names that a listing holds, of all folders that it is in. Names that
/// do not fit are read again later.
const MAX_NAMES: usize = 16 << 20;

/// The files in a folder and below.
struct Tree(Descriptor);

/// The identity of a folder and when it was last changed; `None` if the host does not tell.
/// The time alone is not enough: a copy that replaces a folder may keep its times.
type State = Option<Seen>;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    identity: (u64, u64),
    changed: (u64, u32),
}

impl Folders for Tree {
    type Folder = State;
    type Error = Os;

    fn open(&mut self, path: &str) -> Result<State, Os> {
        state(&self.0, path)
    }

    fn read(&mut self, _: &State, path: &str, each: &mut dyn FnMut(Name<'_>)) -> Result<(), Os> {
        let found = files::open_folder(&self.0, path.trim_end_matches('/'))?.read_directory()?;
        let mut is_unnamed = false;
        loop {
            match found.read_directory_entry() {
                Ok(None) => return Ok(()),
                Ok(Some(entry)) if matches!(entry.name.as_str(), "." | "..") => {}
                Ok(Some(entry)) => match entry.type_ {
                    DescriptorType::Directory => each(Name::Folder(entry.name.as_bytes())),
                    DescriptorType::RegularFile | DescriptorType::SymbolicLink | DescriptorType::Unknown => {
                        each(Name::File(entry.name.as_bytes()));
                    }
                    _ => {}
                },
                // It is gone by now, like a temporary file once its write is complete.
                Err(Os::NoEntry) => {}
                Err(Os::IllegalByteSequence) if is_unnamed => {}
                Err(Os::IllegalByteSequence) => {
                    is_unnamed = true;
                    each(Name::Unnamed);
                }
                Err(os) => return Err(os),
            }
        }
    }

    /// Whether the folder is gone, or is no longer a folder.
    fn is_gone(os: &Os) -> bool {
        matches!(os, Os::NoEntry | Os::NotDirectory)
    }
}

fn state(root: &Descriptor, path: &str) -> Result<State, Os> {
    // Node's host tells nothing about a folder that it grants access to, except by a path in it.
    let path = match path.trim_end_matches('/') {
        "" => ".",
        path => path,
    };
    let follow = PathFlags::SYMLINK_FOLLOW;
    let (stat, hash) = (root.stat_at(follow, path)?, root.metadata_hash_at(follow, path));
    let (Some(Datetime { seconds, nanoseconds }), Ok(hash)) = (stat.data_modification_timestamp, hash) else { return Ok(None) };
    Ok(Some(Seen { identity: (hash.upper, hash.lower), changed: (seconds, nanoseconds) }))
}

/// What a listing has read but not returned yet.
struct Rest {
    prefix: String,
    one_level: bool,
    /// The last key that was returned.
    last: String,
    walk: Walk<Tree>,
}

thread_local! {
    static REST: RefCell<Option<Rest>> = const { RefCell::new(None) };
}

/// Forgets what was read from folders, because one of them is about to change. Its time
/// would not reveal a second change at the same moment of its clock.
pub(crate) fn forget() {
    REST.take();
}

/// A listing that starts after a key.
struct Listing {
    tree: Tree,
    walk: Walk<Tree>,
}

enum Step {
    Object(ObjectInfo),
    Folder(String),
}

impl Listing {
    fn start(root: Descriptor, wanted: Wanted<'_>, one_level: bool, room: Room) -> Result<Option<Self>, Error> {
        let mut tree = Tree(root);
        match Walk::start(&mut tree, wanted, one_level, room) {
            Ok(walk) => Ok(walk.map(|walk| Self { tree, walk })),
            // There is no such folder, so there is nothing to list.
            Err((path, Os::NoEntry | Os::NotDirectory | Os::NameTooLong)) if !path.is_empty() => Ok(None),
            Err((path, os)) => {
                let failed = failed("list", os);
                let at = if path.is_empty() { "the folder" } else { &path };
                Err(Error { message: format!("{at}: {}", failed.message), ..failed })
            }
        }
    }

    /// Continues with what the previous call has not returned, if this call starts where that
    /// one ended and no folder has been changed or replaced since. Otherwise starts again.
    fn go_on(root: Descriptor, wanted: Wanted<'_>, one_level: bool) -> Result<Option<Self>, Error> {
        let rest = REST.take().filter(|rest| {
            rest.prefix == wanted.prefix
                && rest.one_level == one_level
                && Some(rest.last.as_str()) == wanted.start_after
                && rest.walk.folders().all(|(at, path)| at.is_some() && state(&root, path) == Ok(*at))
        });
        match rest {
            Some(rest) => Ok(Some(Self { tree: Tree(root), walk: rest.walk })),
            None => Self::start(root, wanted, one_level, Room::of(MAX_NAMES)),
        }
    }

    /// Returns the next entry. What can't be read is an entry with only a key: reading it
    /// returns the error.
    fn step(&mut self) -> Option<Step> {
        loop {
            return Some(match self.walk.next(&mut self.tree)? {
                // It may be gone by now, a dangling link, or a link out of the folder.
                Found::File(key) => match files::info_at(&self.tree.0, &key) {
                    Ok(Some(info)) => Step::Object(info),
                    Ok(None) => continue,
                    Err(error) if error.code == ErrorCode::NotFound || is_link(&self.tree.0, &key) => continue,
                    Err(_) => Step::Object(files::unknown(&key, 0)),
                },
                Found::Folder(path) => Step::Folder(path),
                Found::NotAKey { path, .. } => {
                    // For a name that is not UTF-8, the entry is the folder that it is in.
                    let Ok(path) = String::from_utf8(path) else { continue };
                    if !path.ends_with('/') && !files::info_at(&self.tree.0, &path).is_ok_and(|info| info.is_some()) {
                        continue;
                    }
                    Step::Object(files::unknown(&path, 0))
                }
                Found::Unreadable { path, .. } => Step::Object(files::unknown(&path, 0)),
            });
        }
    }

    fn is_empty(&mut self) -> bool {
        self.step().is_none()
    }
}

fn is_link(root: &Descriptor, path: &str) -> bool {
    root.stat_at(PathFlags::empty(), path).is_ok_and(|stat| stat.type_ == DescriptorType::SymbolicLink)
}

/// Returns a page of a listing, and keeps what was read but does not fit.
fn page<T>(
    root: Descriptor,
    wanted: Wanted<'_>,
    one_level: bool,
    limit: usize,
    mut entry: impl FnMut(&Tree, Step) -> Option<(String, T)>,
) -> Result<Vec<T>, Error> {
    let Some(mut listing) = Listing::go_on(root, wanted, one_level)? else { return Ok(Vec::new()) };
    let (mut page, mut last) = (Vec::new(), None);
    while page.len() < limit {
        let Some(step) = listing.step() else { return Ok(page) };
        if let Some((key, entry)) = entry(&listing.tree, step) {
            page.push(entry);
            last = Some(key);
        }
    }
    if let Some(last) = last {
        REST.replace(Some(Rest { prefix: wanted.prefix.to_owned(), one_level, last, walk: listing.walk }));
    }
    Ok(page)
}

/// Lists the objects whose keys begin with `prefix`.
pub(crate) fn objects(root: Descriptor, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>, Error> {
    page(root, Wanted { prefix, start_after }, false, limit, |_, step| match step {
        Step::Object(info) => Some((info.key.clone(), info)),
        Step::Folder(_) => None,
    })
}

/// Lists one level. A folder is listed by its path, if there is an object in it or below.
pub(crate) fn level(root: Descriptor, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<LevelEntry>, Error> {
    page(root, Wanted { prefix, start_after }, true, limit, |tree, step| match step {
        Step::Object(info) => Some((info.key.clone(), LevelEntry::Object(info))),
        Step::Folder(path) => {
            let wanted = Wanted { prefix: &path, start_after: None };
            let root = files::open_folder(&tree.0, "").map_err(|os| failed("list", os));
            let below = root.and_then(|root| Listing::start(root, wanted, false, Room::of(MAX_NAMES)));
            // A folder that can't be read may not be empty.
            let is_empty = below.is_ok_and(|below| below.is_none_or(|mut below| below.is_empty()));
            (!is_empty).then(|| (path.clone(), LevelEntry::Prefix(path)))
        }
    })
}

/// Returns why the folder of an entry that ends with `/` was listed.
pub(crate) fn why_listed(root: Descriptor, path: &str) -> Error {
    let folder = path.trim_end_matches('/');
    let not_a_key = || key::check(path).err().unwrap_or_else(|| not_a_file(DescriptorType::Directory));
    if format!("{folder}/") != path || folder != "." && file_problem(folder).is_some() {
        return not_a_key();
    }
    let mut is_unnamed = false;
    match Tree(root).read(&None, path, &mut |name| is_unnamed |= matches!(name, Name::Unnamed)) {
        Ok(()) if is_unnamed => error(ErrorCode::InvalidKey, "a name in this folder is not UTF-8, and can't be a key"),
        Ok(()) => not_a_key(),
        Err(os) if Tree::is_gone(&os) => not_a_key(),
        Err(os) => failed("list", os),
    }
}
