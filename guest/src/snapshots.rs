//! Operations on whole snapshots, and listings.

use persist_model::StepSelector;
use persist_model::error::HINT;

use crate::error::{Error, ErrorCode, Result};
use crate::metadata::{Metadata, SaveOptions, stored_time};
use crate::open::{Head, TAIL, until_stable};
use crate::restore::Restorer;
use crate::save::Saver;
use crate::storage::{ObjectInfo, Precondition, Storage};
use crate::timeline::{Timeline, Tops, newest_metadata, step_metadata, step_of};
use crate::verify;

/// The largest state that is restored into memory, in bytes; larger ones are read as a
/// stream. Also the largest `list<u8>` of WIT.
const MAX_IN_MEMORY: u64 = 1 << 30;

/// The most objects that one page looks at, and that a storage lists at a time.
pub const MAX_PAGE: u32 = 1000;

/// A page ends early once its entries hold this many bytes of metadata and errors, which
/// bounds its memory.
const PAGE_BYTES: usize = 1 << 20;

/// The objects whose last bytes are read in one call: 8 MiB together, the most that the
/// contract allows.
const ENDS: usize = 128;

/// Saves a state that is in memory.
pub fn save<S: Storage>(storage: &S, key: &str, state: &[u8], mut options: SaveOptions) -> Result<Metadata> {
    options.state_size_hint = Some(state.len() as u64);
    options.host_hashes = false;
    let mut saver = Saver::open(storage, key, options)?;
    saver.write(state)?;
    saver.commit()
}

/// Restores a state into memory, and checks it as a whole. The key may be that of a step of
/// a timeline, here and where metadata is read and a snapshot is verified.
pub fn restore<S: Storage>(storage: &S, key: &str) -> Result<Vec<u8>> {
    if let Some((folder, number)) = step_of(key) {
        return Timeline::new(storage.clone(), folder).open(number, true)?.read_to_end(MAX_IN_MEMORY);
    }
    until_stable(|| Restorer::open(storage, key, true)?.read_to_end(MAX_IN_MEMORY))
}

/// Returns the metadata of a snapshot.
pub fn metadata<S: Storage>(storage: &S, key: &str) -> Result<Metadata> {
    if let Some((folder, number)) = step_of(key) {
        return Timeline::new(storage.clone(), folder).find(&StepSelector::Number(number))?.metadata;
    }
    let opened = until_stable(|| Head::open(storage, key));
    opened.map(|head| head.metadata()).map_err(|error| error.at(key))
}

/// Reads a whole snapshot, or all that a step refers to, and checks it.
pub fn verify<S: Storage>(storage: &S, key: &str) -> Result<Metadata> {
    let Some((folder, number)) = step_of(key) else { return verify::verify(storage, key) };
    let mut reader = Timeline::new(storage.clone(), folder).open(number, true)?;
    while !reader.next_part()?.is_empty() {}
    Ok(reader.metadata().clone())
}

/// Whether there is an object with this key, whatever it holds.
pub fn exists<S: Storage>(storage: &S, key: &str) -> Result<bool> {
    match storage.stat(key) {
        Ok(_) => Ok(true),
        Err(error) if error.code == ErrorCode::NotFound => Ok(false),
        Err(error) => Err(error.at(key)),
    }
}

/// Deletes an object. A step of a timeline is refused, since others may refer to it.
pub fn delete<S: Storage>(storage: &S, key: &str, precondition: Precondition) -> Result<()> {
    if step_of(key).is_some() {
        let error = Error::new(ErrorCode::Unsupported, "a step of a timeline can't be deleted on its own");
        return Err(error.with(HINT, "prune the timeline, or delete all of it").at(key));
    }
    storage.delete(key, precondition).map_err(|error| error.at(key))
}

/// One object of a listing.
#[derive(Clone, Debug)]
pub enum ListEntry {
    /// A snapshot.
    Snapshot(Box<Metadata>),
    /// Something else, or a damaged snapshot.
    Unreadable {
        /// The object.
        info: ObjectInfo,
        /// Why it could not be read.
        error: Error,
    },
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// The entries, in the byte order of their keys.
    pub entries: Vec<ListEntry>,
    /// The key after which the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// Whether an error is about one object, not about the whole storage.
fn is_about_object(code: ErrorCode) -> bool {
    use ErrorCode::{
        AccessDenied, Integrity, InvalidFormat, InvalidKey, Io, LimitExceeded, NoKey, NotASnapshot, PreconditionFailed, UnsupportedFormat,
        Untrusted, WrongKind,
    };
    matches!(
        code,
        AccessDenied
            | Integrity
            | InvalidFormat
            | InvalidKey
            | Io
            | LimitExceeded
            | NoKey
            | NotASnapshot
            | PreconditionFailed
            | UnsupportedFormat
            | Untrusted
            | WrongKind
    )
}

/// Returns roughly how many bytes an entry takes, in this memory and in the host's.
fn memory_of(entry: &ListEntry) -> usize {
    const FIELDS: usize = 1024;
    const PAIR: usize = 64;
    let pair = |name: &String, value: &String| PAIR + name.len() + value.len();
    match entry {
        ListEntry::Snapshot(metadata) => {
            let labels: usize = metadata.labels.iter().map(|(name, value)| pair(name, value)).sum();
            let texts =
                [&metadata.key, &metadata.agent_id, &metadata.session_id, &metadata.content_type, &metadata.producer, &metadata.extra];
            FIELDS + labels + texts.iter().map(|text| text.len()).sum::<usize>() + metadata.description.as_ref().map_or(0, String::len)
        }
        ListEntry::Unreadable { info, error } => {
            let details: usize = error.details.iter().map(|(name, value)| pair(name, value)).sum();
            FIELDS + details + info.key.len() + error.message.len() + error.key.as_ref().map_or(0, String::len)
        }
    }
}

/// Selects snapshots for a listing: those that match everything that is set.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// The agent ID.
    pub agent_id: Option<String>,
    /// The session ID.
    pub session_id: Option<String>,
    /// Labels that they all must have.
    pub labels: Vec<(String, String)>,
    /// Taken at this time or later: RFC 3339.
    pub since: Option<String>,
    /// Taken before this time: RFC 3339.
    pub until: Option<String>,
}

impl ListFilter {
    /// Converts the times of the filter to the form in which they are stored.
    pub(crate) fn checked(mut self) -> Result<Self> {
        for (what, time) in [("time since", &mut self.since), ("time until", &mut self.until)] {
            *time = time.as_deref().map(|time| stored_time(what, time)).transpose()?;
        }
        Ok(self)
    }

    /// Whether a snapshot matches. Stored times sort as text.
    pub(crate) fn wants(&self, metadata: &Metadata) -> bool {
        self.agent_id.as_ref().is_none_or(|agent| *agent == metadata.agent_id)
            && self.session_id.as_ref().is_none_or(|session| *session == metadata.session_id)
            && self.labels.iter().all(|(name, value)| metadata.labels.get(name) == Some(value))
            && self.since.as_ref().is_none_or(|since| metadata.timestamp >= *since)
            && self.until.as_ref().is_none_or(|until| metadata.timestamp < *until)
    }
}

/// Returns the metadata of a snapshot or a step from the last bytes of its object.
fn metadata_of<S: Storage>(storage: &S, info: ObjectInfo, tail: Vec<u8>) -> Result<Metadata> {
    match step_of(&info.key.clone()) {
        Some((_, number)) => step_metadata(storage, info, tail, number),
        None => Head::of_tail(storage, info, tail).map(|head| head.metadata()),
    }
}

/// Lists the snapshots that match a filter and whose keys begin with `prefix` and come
/// after `start_after`. Looks at no more than `limit` objects: 1 to [`MAX_PAGE`].
pub fn list<S: Storage>(storage: &S, prefix: &str, start_after: Option<&str>, limit: u32, filter: ListFilter) -> Result<ListPage> {
    if limit == 0 || limit > MAX_PAGE {
        return Err(Error::argument(format!("the page limit is {limit}, which is not between 1 and {MAX_PAGE}")));
    }
    let filter = filter.checked()?;
    let objects = storage.list_objects(prefix, start_after, limit)?;
    let complete = objects.len() < limit as usize;
    let last = objects.last().map(|info| info.key.clone());
    let mut page = ListPage::default();
    let mut bytes = 0;
    let mut tops = Tops::of(&objects, complete);
    for objects in objects.chunks(ENDS) {
        let keys: Vec<&str> = objects.iter().map(|info| info.key.as_str()).collect();
        tops.read_hints(storage, &keys)?;
        for (info, end) in objects.iter().zip(storage.read_ends(&keys, TAIL)?) {
            let read = match end.and_then(|(found, tail)| metadata_of(storage, found, tail)) {
                // What was listed last may not be the newest step, or no step at all.
                read if tops.is_doubtful(&info.key, read.is_ok()) => newest_metadata(storage, &info.key),
                Ok(metadata) => Ok(metadata),
                // It may have been replaced between two reads: read it again, on its own.
                Err(error) if matches!(error.code, ErrorCode::PreconditionFailed | ErrorCode::Io) => metadata(storage, &info.key),
                Err(error) => Err(error.at(&info.key)),
            };
            let entry = match read {
                Ok(metadata) => Some(ListEntry::Snapshot(Box::new(metadata))),
                // It was deleted after it was listed.
                Err(error) if error.code == ErrorCode::NotFound => None,
                Err(error) if is_about_object(error.code) => Some(ListEntry::Unreadable { info: info.clone(), error }),
                Err(error) => return Err(error),
            };
            let is_wanted = |entry: &ListEntry| match entry {
                ListEntry::Snapshot(metadata) => filter.wants(metadata),
                ListEntry::Unreadable { .. } => true,
            };
            if let Some(entry) = entry.filter(is_wanted) {
                bytes += memory_of(&entry);
                page.entries.push(entry);
            }
            if bytes > PAGE_BYTES && Some(&info.key) != last.as_ref() {
                page.next = Some(info.key.clone());
                return Ok(page);
            }
        }
    }
    page.next = last.filter(|_| !complete);
    Ok(page)
}
