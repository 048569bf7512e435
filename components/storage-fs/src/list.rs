//! Listing files as keys, in the order of the keys' bytes.

use wasip2::filesystem::types::{Descriptor, DescriptorType, ErrorCode as Os};

use crate::component::wit::{Error, ObjectInfo};
use crate::failure::failed;
use crate::{files, key};

struct Listing<'a> {
    root: &'a Descriptor,
    prefix: &'a str,
    start_after: Option<&'a str>,
    limit: usize,
    found: Vec<ObjectInfo>,
}

/// The files whose keys begin with `prefix`. Folders behind symlinks are left
/// out: they may lead in a circle, and give a file two keys. One that the prefix
/// itself names is asked for, and followed.
pub(crate) fn list(root: &Descriptor, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>, Error> {
    let mut listing = Listing { root, prefix, start_after, limit: limit as usize, found: Vec::new() };
    let (path, _) = key::split(prefix);
    let path = if path.is_empty() { String::new() } else { format!("{path}/") };
    match listing.folder(&path) {
        Ok(()) => Ok(listing.found),
        // There is no such folder, and so nothing in it.
        Err(Os::NoEntry | Os::NotDirectory) if !path.is_empty() => Ok(Vec::new()),
        Err(os) => Err(failed("list", os)),
    }
}

impl Listing<'_> {
    /// Whether a key in the folder whose keys begin with `path` can be wanted.
    fn may_hold(&self, path: &str) -> bool {
        let in_prefix = path.starts_with(self.prefix) || self.prefix.starts_with(path);
        let not_before = self.start_after.is_none_or(|after| path > after || after.starts_with(path));
        in_prefix && not_before
    }

    fn wants(&self, key: &str) -> bool {
        key.starts_with(self.prefix) && self.start_after.is_none_or(|after| key > after) && key::check(key).is_ok()
    }

    /// Lists a folder whose keys all begin with `path`, which is empty or ends
    /// with a slash.
    fn folder(&mut self, path: &str) -> Result<(), Os> {
        let entries = files::open_folder(self.root, path.trim_end_matches('/'))?.read_directory()?;
        let mut keys = Vec::new();
        loop {
            let entry = match entries.read_directory_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                // Gone since, as what is being written is once it is complete;
                // and a name that is not UTF-8 is no key.
                Err(Os::NoEntry | Os::IllegalByteSequence) => continue,
                Err(os) => return Err(os),
            };
            if matches!(entry.name.as_str(), "." | "..") {
                continue;
            }
            // With its slash a folder sorts where its keys do.
            let is_folder = entry.type_ == DescriptorType::Directory;
            let key = if is_folder { format!("{path}{}/", entry.name) } else { format!("{path}{}", entry.name) };
            if if is_folder { self.may_hold(&key) } else { self.wants(&key) } {
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
                    Ok(()) | Err(Os::NoEntry) => {}
                    Err(os) => return Err(os),
                }
                continue;
            }
            // Gone since, a dangling link, or a link out of the folder.
            let Ok(info) = files::info_at(self.root, &key) else { continue };
            self.found.push(info);
        }
        Ok(())
    }
}
