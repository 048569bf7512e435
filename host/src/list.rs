//! Listing snapshots: the host lists the objects, the component says what each
//! of them is, for as many at once as the storage likes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::bindings::snapshots as wit;
use crate::engine::Engine;
use crate::error::{ErrorCode, PersistError, Result};
use crate::metadata::{ListEntry, ListFilter};
use crate::sandbox::from_guest;
use crate::storage::{Listed, Listing, ObjectInfo, StorageAdapter};

/// Objects that are listed at a time: as many as S3 gives in one answer.
const PAGE: usize = 1000;

/// Snapshots that the component is asked for at a time.
const SNAPSHOTS: u32 = 200;

/// Objects that are worth an instance of their own.
const MIN_SHARE: usize = 4;

/// Instances that look at objects at once, at most. Each asks for the ends of up to
/// 128 in one call, which are 8 MiB: more instances would only take memory.
const MAX_INSTANCES: usize = 4;

/// The snapshots of a storage, in the order of their keys. Ends after an error.
pub struct Snapshots {
    engine: Engine,
    prefix: String,
    filter: ListFilter,
    page: VecDeque<Result<ListEntry>>,
    /// What is listed; none before the first page.
    listing: Option<Listing>,
    ended: bool,
}

/// The listing of a storage that gives pages.
struct Pages {
    storage: Arc<dyn StorageAdapter>,
    prefix: String,
    page: std::vec::IntoIter<ObjectInfo>,
    /// Where the next page starts; none before the first.
    start_after: Option<String>,
    ended: bool,
}

impl Iterator for Pages {
    type Item = Result<Listed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(info) = self.page.next() {
                return Some(Ok(Listed::Object(info)));
            }
            if self.ended {
                return None;
            }
            match self.storage.list_objects(&self.prefix, self.start_after.as_deref(), PAGE as u32) {
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                Ok(objects) => {
                    self.ended = objects.len() < PAGE;
                    self.start_after = objects.last().map(|info| info.key.clone());
                    self.page = objects.into_iter();
                }
            }
        }
    }
}

fn listing(storage: &Arc<dyn StorageAdapter>, prefix: &str) -> Listing {
    storage.walk(prefix, None).unwrap_or_else(|| {
        let (storage, prefix) = (Arc::clone(storage), prefix.to_owned());
        Box::new(Pages { storage, prefix, page: Vec::new().into_iter(), start_after: None, ended: false })
    })
}

/// An entry that is known to be unreadable, and how many objects of the page come
/// before it.
struct Unreadable {
    before: usize,
    key: String,
    error: PersistError,
}

impl Snapshots {
    pub(crate) fn new(engine: &Engine, prefix: &str, filter: ListFilter) -> Self {
        Self { engine: engine.clone(), prefix: prefix.to_owned(), filter, page: VecDeque::new(), listing: None, ended: false }
    }

    fn next_page(&mut self) -> Result<()> {
        let began = Instant::now();
        self.engine.check_process()?;
        let storage = self.engine.storage();
        let listing = self.listing.get_or_insert_with(|| listing(storage, &self.prefix));
        let (mut objects, mut unreadable, mut failed) = (Vec::with_capacity(PAGE), Vec::new(), None);
        while objects.len() + unreadable.len() < PAGE {
            match listing.next() {
                Some(Ok(Listed::Object(info))) => objects.push(info),
                Some(Ok(Listed::Unreadable { key, error })) => unreadable.push(Unreadable { before: objects.len(), key, error }),
                Some(Err(error)) => {
                    self.ended = true;
                    failed = Some(error);
                    break;
                }
                None => {
                    self.ended = true;
                    break;
                }
            }
        }
        let found = self.look(&objects);
        let location = storage.locate(&self.prefix);
        tracing::debug!(operation = "list", location, objects = objects.len(), ms = began.elapsed().as_millis(), "done");
        // What was deleted since, or is not wanted, is not among what was found.
        let mut unreadable = unreadable.into_iter().peekable();
        let mut give_until = |page: &mut VecDeque<_>, key: Option<&str>| {
            let is_before =
                |next: &Unreadable| key.is_none_or(|key| objects.get(next.before).is_some_and(|object| object.key.as_str() <= key));
            while let Some(Unreadable { key, error, .. }) = unreadable.next_if(is_before) {
                page.push_back(Ok(ListEntry::Unreadable { key, error }));
            }
        };
        for entry in found {
            match &entry {
                Ok(ListEntry::Snapshot(metadata)) => give_until(&mut self.page, Some(&metadata.key)),
                Ok(ListEntry::Unreadable { key, .. }) => give_until(&mut self.page, Some(key)),
                Err(_) => {}
            }
            self.page.push_back(entry);
        }
        give_until(&mut self.page, None);
        failed.map_or(Ok(()), Err)
    }

    /// What the component says of these objects, on as many threads as the storage
    /// likes and the system has.
    fn look(&self, objects: &[ObjectInfo]) -> Vec<Result<ListEntry>> {
        let share = objects.len().div_ceil(self.engine.storage().parallelism().clamp(1, MAX_INSTANCES)).max(MIN_SHARE);
        let shares: Vec<&[ObjectInfo]> = objects.chunks(share).collect();
        let (engine, prefix, filter) = (&self.engine, self.prefix.as_str(), wit::ListFilter::from(self.filter.clone()));
        let look = |share: &[ObjectInfo]| look_at(engine, prefix, &filter, share);
        let found: Vec<Vec<Result<ListEntry>>> = match shares.as_slice() {
            [] => Vec::new(),
            [only] => vec![look(only)],
            shares => thread::scope(|scope| {
                let look = &look;
                let threads: Vec<_> = shares
                    .iter()
                    .copied()
                    .map(|share| thread::Builder::new().spawn_scoped(scope, move || look(share)).map_err(|_| share))
                    .collect();
                let lost = |_| vec![Err(PersistError::new(ErrorCode::Other, "a thread that listed has failed"))];
                // Where no thread is to be had, this one does the work.
                threads.into_iter().map(|thread| thread.map_or_else(look, |thread| thread.join().unwrap_or_else(lost))).collect()
            }),
        };
        found.into_iter().flatten().collect()
    }
}

/// What the component says of these objects. An error of the storage is the
/// last item.
fn look_at(engine: &Engine, prefix: &str, filter: &wit::ListFilter, objects: &[ObjectInfo]) -> Vec<Result<ListEntry>> {
    let mut entries = Vec::new();
    let mut look = || {
        let mut guest = engine.guest()?;
        guest.list_only(objects.to_vec());
        let mut start_after: Option<String> = None;
        loop {
            let after = start_after.as_deref();
            let page = guest.call(|persist, store| {
                persist.persist_snapshot_snapshots().call_list_snapshots(store, prefix, after, SNAPSHOTS, Some(filter))
            })?;
            entries.extend(page.entries.into_iter().map(|entry| match entry {
                wit::ListEntry::Snapshot(metadata) => Ok(ListEntry::Snapshot(Box::new(metadata.into()))),
                wit::ListEntry::Unreadable(unreadable) => {
                    Ok(ListEntry::Unreadable { error: from_guest(unreadable.error, &**engine.storage()), key: unreadable.key })
                }
            }));
            // Whatever the component says, a listing gets on with every page.
            if page.next.is_some() && page.next <= start_after {
                return Err(PersistError::new(ErrorCode::Other, "the component's listing goes in a circle"));
            }
            start_after = page.next;
            if start_after.is_none() {
                return Ok(());
            }
        }
    };
    if let Err(error) = look() {
        let place = objects.first().map(|info| engine.storage().locate(&info.key)).unwrap_or_default();
        entries.push(Err(error.at(place)));
    }
    entries
}

impl Iterator for Snapshots {
    type Item = Result<ListEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.page.is_empty() && !self.ended {
            if let Err(error) = self.next_page() {
                self.ended = true;
                self.page.push_back(Err(error.at(self.engine.storage().locate(&self.prefix))));
            }
        }
        let next = self.page.pop_front();
        if matches!(next, Some(Err(_))) {
            self.page.clear();
            self.ended = true;
        }
        next
    }
}
