//! Operations on whole snapshots, and listings.

use crate::error::{Error, ErrorCode, Result};
use crate::metadata::{Metadata, SaveOptions};
use crate::open::{OpenSnapshot, until_stable};
use crate::restore::Restorer;
use crate::save::Saver;
use crate::storage::{ObjectInfo, Storage};

/// A state of at most so many bytes is restored into memory at once; a larger
/// one is read as a stream. Also what one `list<u8>` of WIT can be.
const MAX_IN_MEMORY: u64 = 1 << 30;

/// The most entries of a page, and the most that storage lists at a time.
pub const MAX_PAGE: u32 = 1000;

/// A page of a listing ends early once its entries hold so many bytes of
/// metadata, so that its memory is bounded.
const PAGE_BYTES: usize = 1 << 20;

/// Saves a state that is in memory.
pub fn save<S: Storage>(storage: &S, key: &str, state: &[u8], mut options: SaveOptions) -> Result<Metadata> {
    options.size_hint = Some(state.len() as u64);
    let mut saver = Saver::open(storage, key, options)?;
    saver.write(state)?;
    saver.commit()
}

/// Restores a state into memory.
pub fn restore<S: Storage>(storage: &S, key: &str) -> Result<Vec<u8>> {
    Restorer::open(storage, key)?.read_to_end(MAX_IN_MEMORY)
}

/// What a snapshot says of itself, with its table checked.
pub fn metadata<S: Storage>(storage: &S, key: &str) -> Result<Metadata> {
    let opened = until_stable(|| OpenSnapshot::open(storage, key));
    opened.map(|snapshot| snapshot.metadata()).map_err(|error| error.at(key))
}

/// Whether an object has this key, whatever it holds.
pub fn exists<S: Storage>(storage: &S, key: &str) -> Result<bool> {
    match storage.stat(key) {
        Ok(_) => Ok(true),
        Err(error) if error.code == ErrorCode::NotFound => Ok(false),
        Err(error) => Err(error.at(key)),
    }
}

/// One object of a listing.
#[derive(Clone, Debug)]
pub enum ListEntry {
    /// A snapshot.
    Snapshot(Box<Metadata>),
    /// Something else, or a damaged one.
    Unreadable {
        /// The object.
        info: ObjectInfo,
        /// Why it could not be read.
        error: Error,
    },
}

/// A part of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// In the order of their keys' bytes.
    pub entries: Vec<ListEntry>,
    /// Where to go on; none at the end.
    pub next: Option<String>,
}

/// Whether an error is about one object rather than about the whole storage.
fn is_about_object(code: ErrorCode) -> bool {
    use ErrorCode::{
        AccessDenied, Integrity, InvalidFormat, InvalidKey, Io, LimitExceeded, NotASnapshot, PreconditionFailed, UnsupportedFormat,
    };
    matches!(
        code,
        AccessDenied | Integrity | InvalidFormat | InvalidKey | Io | LimitExceeded | NotASnapshot | PreconditionFailed | UnsupportedFormat
    )
}

/// About how many bytes of memory an entry takes, here and with the host that
/// it is handed to.
fn memory_of(metadata: &Metadata) -> usize {
    const FIELDS: usize = 1024;
    const LABEL: usize = 64;
    let labels: usize = metadata.labels.iter().map(|(name, value)| LABEL + name.len() + value.len()).sum();
    let texts = [&metadata.key, &metadata.agent_id, &metadata.session_id, &metadata.content_type, &metadata.producer, &metadata.extra];
    FIELDS + labels + texts.iter().map(|text| text.len()).sum::<usize>() + metadata.description.as_ref().map_or(0, String::len)
}

/// The objects whose keys begin with `prefix` and come after `start_after`,
/// with their metadata: at most `limit`, which is 1 to [`MAX_PAGE`].
pub fn list<S: Storage>(storage: &S, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<ListPage> {
    if limit == 0 || limit > MAX_PAGE {
        return Err(Error::argument(format!("a page has 1 to {MAX_PAGE} entries, not {limit}")));
    }
    let objects = storage.list_objects(prefix, start_after, limit)?;
    let complete = objects.len() < limit as usize;
    let last = objects.last().map(|info| info.key.clone());
    let mut page = ListPage::default();
    let mut bytes = 0;
    for info in objects {
        let key = info.key.clone();
        match metadata(storage, &key) {
            Ok(metadata) => {
                bytes += memory_of(&metadata);
                page.entries.push(ListEntry::Snapshot(Box::new(metadata)));
            }
            // Deleted since it was listed.
            Err(error) if error.code == ErrorCode::NotFound => {}
            Err(error) if is_about_object(error.code) => page.entries.push(ListEntry::Unreadable { info, error }),
            Err(error) => return Err(error),
        }
        if bytes > PAGE_BYTES && Some(&key) != last.as_ref() {
            page.next = Some(key);
            return Ok(page);
        }
    }
    page.next = last.filter(|_| !complete);
    Ok(page)
}
