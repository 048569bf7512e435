//! An index of the snapshots in a bucket, so that listing them again costs no more than
//! the storage's own listing.
//!
//! An index is a file in the user's cache folder, one for each bucket, that only this
//! user can read. It maps the key, size and etag of objects to what was found in them.
//! Only the storage's listing says which objects exist: an entry is used for a listed
//! object with the same size and etag, and nothing is ever deleted because of an entry.

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use persist_model::Permissions;
use persist_model::fields::MetadataFields;
use persist_model::{Encryption, ListEntry, SealState, SnapshotMetadata};
use persist_model::{ErrorCode, PersistError, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::sandbox::component_hash;
use crate::storage::{Durability, LocalFileStorage, ObjectInfo, StorageAdapter, WriteOptions};

/// The largest index, in bytes: about 60,000 snapshots. Objects that do not fit are
/// looked at again each time.
const MAX_BYTES: usize = 64 << 20;

/// The version of the file format, part of its first line.
const VERSION: u32 = 1;

/// The first line. The index of another component is not used, since that component may
/// read metadata differently.
#[derive(PartialEq, Eq, Deserialize, Serialize)]
struct Head {
    persist_index: u32,
    component: String,
    place: String,
}

/// One line: an object, and what was found in it.
#[derive(Deserialize, Serialize)]
struct Entry {
    key: String,
    etag: String,
    size: u64,
    found: Found,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Found {
    Snapshot(Box<Record>),
    /// An object that is not a snapshot, and why.
    Other {
        message: String,
        hint: Option<String>,
    },
}

#[derive(Deserialize, Serialize)]
struct Record(#[serde(with = "MetadataFields")] SnapshotMetadata);

/// The objects that are known in one bucket.
pub struct ListingIndex {
    file: PathBuf,
    head: Head,
    known: HashMap<String, Entry>,
    /// Entries that the listing confirmed or added.
    kept: Vec<Entry>,
    is_new: bool,
}

impl ListingIndex {
    /// Opens the index of a storage. Returns none if the storage needs no index, or if
    /// there is no cache folder.
    pub fn open(storage: &dyn StorageAdapter) -> Option<Self> {
        Some(Self::open_in(&cache_folder()?, storage.identity()?))
    }

    fn open_in(folder: &Path, place: String) -> Self {
        let name: String = Sha256::digest(&place).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let component = component_hash().iter().map(|byte| format!("{byte:02x}")).collect();
        let (file, head) = (folder.join(format!("{name}.jsonl")), Head { persist_index: VERSION, component, place });
        let known = read(&file, &head).unwrap_or_else(|error| {
            tracing::debug!(file = %file.display(), %error, "the index can't be used");
            HashMap::new()
        });
        Self { file, head, known, kept: Vec::new(), is_new: false }
    }

    /// Returns the entry of a listed object, if it is known.
    pub(crate) fn find(&mut self, object: &ObjectInfo, storage: &dyn StorageAdapter) -> Option<ListEntry> {
        let is_same = |entry: &Entry| object.etag.as_ref() == Some(&entry.etag) && object.size == entry.size;
        let entry = self.known.remove(&object.key).filter(is_same)?;
        let found = match &entry.found {
            Found::Snapshot(record) => ListEntry::Snapshot(Box::new(record.0.clone())),
            Found::Other { message, hint } => {
                let mut error = PersistError::new(ErrorCode::NotASnapshot, message.clone()).at(storage.locate(&entry.key));
                error.detail_mut().hint.clone_from(hint);
                ListEntry::Unreadable { key: entry.key.clone(), error }
            }
        };
        self.kept.push(entry);
        Some(found)
    }

    /// Records what was found in listed objects.
    pub(crate) fn learn(&mut self, listed: &[ObjectInfo], found: &[Result<ListEntry>]) {
        for entry in found.iter().flatten() {
            let Ok(at) = listed.binary_search_by(|object| object.key.as_str().cmp(entry.key())) else { continue };
            let Some(ObjectInfo { key, size, etag: Some(etag), .. }) = listed.get(at) else { continue };
            let found = match entry {
                // An object that was replaced since the listing has another etag.
                ListEntry::Snapshot(metadata) if metadata.etag.as_ref() == Some(etag) && is_plain(metadata) => {
                    Found::Snapshot(Box::new(Record(SnapshotMetadata::clone(metadata))))
                }
                ListEntry::Unreadable { error, .. } if error.code() == ErrorCode::NotASnapshot => {
                    Found::Other { message: error.detail().message.clone(), hint: error.detail().hint.clone() }
                }
                _ => continue,
            };
            self.kept.push(Entry { key: key.clone(), etag: etag.clone(), size: *size, found });
            self.is_new = true;
        }
    }

    /// Writes the index after all keys with this prefix were listed. A failure is only
    /// logged: an index is never required.
    pub(crate) fn keep(mut self, prefix: &str, storage: &dyn StorageAdapter) {
        let before = self.known.len();
        self.known.retain(|key, _| !key.starts_with(prefix));
        if !self.is_new && before == self.known.len() {
            return;
        }
        self.kept.extend(self.known.drain().map(|(_, entry)| entry));
        if let Err(error) = write(&self.file, &self.head, &self.kept) {
            tracing::debug!(place = storage.summary(), %error, "the index could not be written");
        }
    }
}

/// Returns whether metadata may be kept in the index. Encrypted metadata may not, and
/// trust in a seal must be decided each time.
fn is_plain(metadata: &SnapshotMetadata) -> bool {
    metadata.encryption == Encryption::None && matches!(metadata.seal, SealState::None | SealState::NotChecked)
}

/// Returns the folder of all indexes, by the XDG base directory rules.
fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("persist").join("index"))
}

fn read(path: &Path, head: &Head) -> io::Result<HashMap<String, Entry>> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(no_follow).open(path)?;
    let metadata = file.metadata()?;
    // A file that another user could have written is not trusted.
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o077 != 0 || !metadata.is_file() {
        return Err(io::Error::other("other users can access it"));
    }
    let mut lines = BufReader::new(file.take(MAX_BYTES as u64)).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    if serde_json::from_str::<Head>(&first)? != *head {
        return Err(io::Error::other("it belongs to another version, component or place"));
    }
    let mut known = HashMap::new();
    for line in lines {
        let entry: Entry = serde_json::from_str(&line?)?;
        known.insert(entry.key.clone(), entry);
    }
    Ok(known)
}

fn write(path: &Path, head: &Head, entries: &[Entry]) -> Result<()> {
    let failed = |error: io::Error| PersistError::new(ErrorCode::Io, error.to_string()).at(path.display()).caused_by(error);
    let mut bytes = serde_json::to_vec(head).map_err(|error| failed(error.into()))?;
    for entry in entries {
        let line = serde_json::to_vec(entry).map_err(|error| failed(error.into()))?;
        if bytes.len() + line.len() + 1 > MAX_BYTES {
            break;
        }
        bytes.push(b'\n');
        bytes.extend(line);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    // A link or another user's file in its place is replaced, not followed.
    let permissions = Some(Permissions::new(0o600, None));
    let storage = LocalFileStorage::new(folder).durability(Durability::None);
    let mut file = storage.open_write(name, WriteOptions { permissions, ..WriteOptions::default() })?;
    file.write(&bytes)?;
    file.commit().map(drop)
}
