//! Listing snapshots: the host lists the objects, the component says what each
//! of them is, for as many at once as the storage likes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::bindings::snapshots as wit;
use crate::engine::Engine;
use crate::error::{ErrorCode, PersistError, Result};
#[cfg(feature = "cli")]
use crate::index::Index;
use crate::key::natural_order;
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

/// Objects that are put into [natural order](Snapshots::naturally) at a time, which
/// takes some 20 MB.
const SORTED: usize = 100_000;

/// The snapshots of a storage, in the order of their keys' bytes unless another is
/// asked for. Ends after an error.
pub struct Snapshots {
    engine: Engine,
    prefix: String,
    filter: ListFilter,
    page: VecDeque<Result<ListEntry>>,
    /// What is listed; none before the first page.
    listing: Option<Listing>,
    ended: bool,
    is_natural: bool,
    #[cfg(feature = "cli")]
    index: Option<Index>,
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

/// All objects whose keys begin with a prefix, in the order of their keys' bytes.
pub(crate) fn listing(storage: &Arc<dyn StorageAdapter>, prefix: &str) -> Listing {
    storage.walk(prefix, None).unwrap_or_else(|| {
        let (storage, prefix) = (Arc::clone(storage), prefix.to_owned());
        Box::new(Pages { storage, prefix, page: Vec::new().into_iter(), start_after: None, ended: false })
    })
}

/// A listing in the order of [`natural_order`], so many at a time. An error that ends it
/// comes when all before it were given.
struct Sorted {
    listing: Listing,
    window: std::vec::IntoIter<Listed>,
    failed: Option<PersistError>,
    ended: bool,
}

impl Sorted {
    fn next_window(&mut self) {
        let mut window = Vec::new();
        while window.len() < SORTED && !self.ended {
            match self.listing.next() {
                Some(Ok(listed)) => window.push(listed),
                Some(Err(error)) => {
                    self.failed = Some(error);
                    self.ended = true;
                }
                None => self.ended = true,
            }
        }
        window.sort_by(|a, b| natural_order(a.key(), b.key()));
        self.window = window.into_iter();
    }
}

impl Iterator for Sorted {
    type Item = Result<Listed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.window.as_slice().is_empty() && !self.ended {
            self.next_window();
        }
        self.window.next().map(Ok).or_else(|| self.failed.take().map(Err))
    }
}

impl Snapshots {
    pub(crate) fn new(engine: &Engine, prefix: &str, filter: ListFilter) -> Self {
        Self {
            engine: engine.clone(),
            prefix: prefix.to_owned(),
            filter,
            page: VecDeque::new(),
            listing: None,
            ended: false,
            is_natural: false,
            #[cfg(feature = "cli")]
            index: None,
        }
    }

    /// The same in the order that people expect: numbers in keys are compared as
    /// numbers, so that `run-9` comes before `run-10`. The storage lists up to 100,000
    /// objects before the first of them is looked at; of more, each 100,000 are in
    /// this order.
    #[must_use]
    pub fn naturally(mut self) -> Self {
        self.is_natural = true;
        self
    }

    /// The same with what an index knows, which learns what is found.
    #[cfg(feature = "cli")]
    pub(crate) fn with_index(mut self, index: Option<Index>) -> Self {
        self.index = index;
        self
    }

    fn begin(&self) -> Listing {
        let listing = listing(self.engine.storage(), &self.prefix);
        if !self.is_natural {
            return listing;
        }
        Box::new(Sorted { listing, window: Vec::new().into_iter(), failed: None, ended: false })
    }

    fn next_page(&mut self) -> Result<()> {
        let began = Instant::now();
        self.engine.check_process()?;
        if self.listing.is_none() {
            self.filter = std::mem::take(&mut self.filter).checked()?;
            self.listing = Some(self.begin());
        }
        // Each with its place in the listing.
        let (mut objects, mut found, mut failed) = (Vec::with_capacity(PAGE), Vec::new(), None);
        while objects.len() + found.len() < PAGE {
            let place = objects.len() + found.len();
            match self.listing.as_mut().and_then(Iterator::next) {
                Some(Ok(Listed::Object(info))) => objects.push((info, place)),
                Some(Ok(Listed::Unreadable { key, error })) => found.push((place, Ok(ListEntry::Unreadable { key, error }))),
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
        // The component is given pages in the order of a storage's.
        objects.sort_unstable_by(|(a, _), (b, _)| a.key.cmp(&b.key));
        let (objects, places): (Vec<ObjectInfo>, Vec<usize>) = objects.into_iter().unzip();
        let place_of = |key: &str| {
            let at = objects.binary_search_by(|object| object.key.as_str().cmp(key)).ok();
            at.and_then(|at| places.get(at)).copied().unwrap_or(usize::MAX)
        };
        found
            .extend(self.look(&objects).into_iter().map(|entry| (entry.as_ref().map_or(usize::MAX, |entry| place_of(entry.key())), entry)));
        found.sort_by_key(|(place, _)| *place);
        let location = self.engine.storage().locate(&self.prefix);
        tracing::debug!(operation = "list", location, objects = objects.len(), ms = began.elapsed().as_millis(), "done");
        self.page.extend(found.into_iter().map(|(_, entry)| entry));
        failed.map_or(Ok(()), Err)
    }

    /// What is known of these objects, and what the component says of the others.
    #[cfg(feature = "cli")]
    fn look(&mut self, objects: &[ObjectInfo]) -> Vec<Result<ListEntry>> {
        let Some(mut index) = self.index.take() else { return self.ask(objects, &self.filter) };
        let storage = self.engine.storage();
        let (mut entries, mut unknown) = (Vec::new(), Vec::new());
        for object in objects {
            match index.find(object, &**storage) {
                Some(entry) => entries.push(Ok(entry)),
                None => unknown.push(object.clone()),
            }
        }
        // Also of those that are not wanted now, the index learns.
        let asked = self.ask(&unknown, &ListFilter::default());
        index.learn(&unknown, &asked);
        entries.extend(asked);
        let is_wanted = |entry: &Result<ListEntry>| match entry {
            Ok(ListEntry::Snapshot(metadata)) => self.filter.wants(metadata),
            _ => true,
        };
        entries.retain(is_wanted);
        self.index = Some(index);
        entries
    }

    #[cfg(not(feature = "cli"))]
    fn look(&mut self, objects: &[ObjectInfo]) -> Vec<Result<ListEntry>> {
        self.ask(objects, &self.filter)
    }

    /// What the component says of these objects, on as many threads as the storage
    /// likes and the system has.
    fn ask(&self, objects: &[ObjectInfo], filter: &ListFilter) -> Vec<Result<ListEntry>> {
        let share = objects.len().div_ceil(self.engine.storage().parallelism().clamp(1, MAX_INSTANCES)).max(MIN_SHARE);
        let shares: Vec<&[ObjectInfo]> = objects.chunks(share).collect();
        let (engine, prefix, filter) = (&self.engine, self.prefix.as_str(), wit::ListFilter::from(filter.clone()));
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
        #[cfg(feature = "cli")]
        if next.is_none()
            && let Some(index) = self.index.take()
        {
            index.keep(&self.prefix, &**self.engine.storage());
        }
        if matches!(next, Some(Err(_))) {
            self.page.clear();
            self.ended = true;
        }
        next
    }
}
