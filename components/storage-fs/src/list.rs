//! Listing files as keys, in the order of the keys' bytes.

use persist_model::key::Wanted;
use wasip2::filesystem::types::{Descriptor, DescriptorType, ErrorCode as Os};

use crate::bindings::wit::{Error, ObjectInfo};
use crate::failure::failed;
use crate::{files, key};

struct Listing<'a> {
    root: &'a Descriptor,
    wanted: Wanted<'a>,
    limit: usize,
    found: Vec<ObjectInfo>,
}

/// The files whose keys begin with `prefix`. Folders behind symlinks are left
/// out: they may lead in a circle, and give a file two keys. One that the prefix
/// itself names is asked for, and followed.
pub(crate) fn list(root: &Descriptor, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>, Error> {
    let mut listing = Listing { root, wanted: Wanted { prefix, start_after }, limit: limit as usize, found: Vec::new() };
    if !listing.wanted.is_possible() {
        return Ok(Vec::new());
    }
    let (path, _) = key::split(prefix);
    let path = if path.is_empty() { String::new() } else { format!("{path}/") };
    match listing.folder(&path) {
        Ok(()) => Ok(listing.found),
        // There is no such folder, and so nothing in it.
        Err((at, Os::NoEntry | Os::NotDirectory | Os::NameTooLong)) if at == path && !path.is_empty() => Ok(Vec::new()),
        Err((at, os)) => {
            let failed = failed("list", os);
            let at = if at.is_empty() { "the folder" } else { &at };
            Err(Error { message: format!("{at}: {}", failed.message), ..failed })
        }
    }
}

impl Listing<'_> {
    /// Lists a folder whose keys all begin with `path`, which is empty or ends
    /// with a slash. An error comes with the path it is about.
    fn folder(&mut self, path: &str) -> Result<(), (String, Os)> {
        let at = |os| (path.to_owned(), os);
        let folder = files::open_folder(self.root, path.trim_end_matches('/')).map_err(at)?;
        let entries = folder.read_directory().map_err(at)?;
        let mut keys = Vec::new();
        loop {
            let entry = match entries.read_directory_entry() {
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
            // With its slash a folder sorts where its keys do.
            let is_folder = entry.type_ == DescriptorType::Directory;
            let key = if is_folder { format!("{path}{}/", entry.name) } else { format!("{path}{}", entry.name) };
            if if is_folder { self.wanted.may_be_below(&key) } else { self.wanted.has(&key) } {
                keys.push((key, is_folder));
            }
        }
        keys.sort_unstable();
        for (key, is_folder) in keys {
            if self.found.len() == self.limit {
                break;
            }
            if is_folder {
                match self.folder(&key) {
                    // Gone since.
                    Ok(()) => {}
                    Err((gone, Os::NoEntry)) if gone == key => {}
                    Err(failed) => return Err(failed),
                }
                continue;
            }
            // Gone since, a dangling link, or a link out of the folder.
            let Ok(Some(info)) = files::info_at(self.root, &key) else { continue };
            self.found.push(info);
        }
        Ok(())
    }
}
