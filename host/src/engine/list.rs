//! Lists snapshots. The host lists the objects, and the component says what each of
//! them is, for as many at once as the storage prefers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use persist_model::{ErrorCode, PersistError, Result};
use persist_model::{ListEntry, ListFilter};
use persist_paths::key::{natural_order, split};
use persist_paths::timeline::{self, Name};

use crate::engine::engine::Engine;
use crate::engine::index::ListingIndex;
use crate::sandbox::{from_guest, wit};
use crate::storage::{Listed, Listing, ObjectInfo, StorageAdapter};

/// Objects listed at a time: the page size of S3.
const PAGE: usize = 1000;

/// Snapshots requested from the component at a time.
const SNAPSHOTS: u32 = 200;

/// The fewest objects that are worth an instance of their own.
const MIN_SHARE: usize = 4;

/// Instances that look at objects at once, at most. Each reads the ends of up to 128
/// objects in one call, which takes 8 MiB. More instances would only take memory.
const MAX_INSTANCES: usize = 4;

/// Objects sorted in [natural order](Snapshots::naturally) at a time. They take about
/// 20 MB.
const SORTED: usize = 100_000;

/// Iterates over the snapshots of a storage, in the byte order of their keys unless
/// another order was requested. Ends after an error.
pub struct Snapshots {
    engine: Engine,
    prefix: String,
    filter: ListFilter,
    page: VecDeque<Result<ListEntry>>,
    /// The listing of the objects; none before the first page.
    listing: Option<Listing>,
    ended: bool,
    is_natural: bool,
    index: Option<ListingIndex>,
    timelines: NewestSteps,
}

/// Leaves only the newest step of each timeline in a listing. All objects of a folder come
/// one after the other, but for those in folders within it.
#[derive(Default)]
struct NewestSteps {
    /// The object with the highest number so far, of the timeline whose objects are being
    /// listed.
    highest: Option<ObjectInfo>,
}

impl NewestSteps {
    /// Takes the next object. Returns what is to be listed now.
    fn take(&mut self, info: ObjectInfo) -> Vec<ObjectInfo> {
        let (folder, name) = split(&info.key);
        let is_same = self.highest.as_ref().is_some_and(|highest| split(&highest.key).0 == folder);
        match timeline::parse(name) {
            Some(Name::Hint) if !is_same => vec![info],
            Some(Name::Step(_)) => {
                let before = if is_same { None } else { self.last() };
                if number(Some(&info)) > number(self.highest.as_ref()) {
                    self.highest = Some(info);
                }
                before.into_iter().collect()
            }
            Some(_) => Vec::new(),
            None if is_same => vec![info],
            None => self.last().into_iter().chain([info]).collect(),
        }
    }

    /// Returns the object with the highest number of the last timeline. What it is, and what
    /// the newest step is if that is another, is for the component to say.
    fn last(&mut self) -> Option<ObjectInfo> {
        self.highest.take()
    }
}

/// The number in the name of a step.
fn number(info: Option<&ObjectInfo>) -> Option<u64> {
    timeline::step_of(&info?.key).map(|(_, number)| number)
}

/// The listing of a storage that returns pages.
struct Pages {
    storage: Arc<dyn StorageAdapter>,
    prefix: String,
    page: std::vec::IntoIter<ObjectInfo>,
    /// The key that the next page starts after; none for the first page.
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

/// Lists all objects whose keys begin with a prefix, in the byte order of their keys.
fn listing(storage: &Arc<dyn StorageAdapter>, prefix: &str) -> Listing {
    storage.walk(prefix, None).unwrap_or_else(|| {
        let (storage, prefix) = (Arc::clone(storage), prefix.to_owned());
        Box::new(Pages { storage, prefix, page: Vec::new().into_iter(), start_after: None, ended: false })
    })
}

/// A listing in [`natural_order`], one window at a time. An error that ends the listing
/// comes after all objects listed before it.
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
            index: None,
            timelines: NewestSteps::default(),
        }
    }

    /// Sorts in the order that people expect: numbers in keys are compared as numbers,
    /// so `run-9` comes before `run-10`. The storage lists up to 100,000 objects before
    /// the first of them is looked at. If there are more, each group of 100,000 is
    /// sorted separately.
    #[must_use]
    pub fn naturally(mut self) -> Self {
        self.is_natural = true;
        self
    }

    /// Uses an index: objects that it knows are not looked at, and what is found is
    /// added to it.
    pub fn with_index(mut self, index: Option<ListingIndex>) -> Self {
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
        // Entries are kept with their position in the listing.
        let (mut objects, mut found, mut failed) = (Vec::with_capacity(PAGE), Vec::new(), None);
        while objects.len() + found.len() < PAGE {
            let place = objects.len() + found.len();
            match self.listing.as_mut().and_then(Iterator::next) {
                Some(Ok(Listed::Object(info))) => {
                    // A timeline is one entry: its newest step.
                    let objects_of = self.timelines.take(info);
                    objects.extend(objects_of.into_iter().map(|info| (info, place)));
                }
                Some(Ok(Listed::Unreadable { key, error })) => found.push((place, Ok(ListEntry::Unreadable { key, error }))),
                Some(Err(error)) => {
                    self.ended = true;
                    failed = Some(error);
                    break;
                }
                None => {
                    self.ended = true;
                    objects.extend(self.timelines.last().map(|info| (info, place)));
                    break;
                }
            }
        }
        // The component expects pages in the order of a storage's listing.
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

    /// Looks objects up in the index, and asks the component about the others.
    fn look(&mut self, objects: &[ObjectInfo]) -> Vec<Result<ListEntry>> {
        let Some(mut index) = self.index.take() else { return self.ask(objects, &self.filter) };
        let storage = self.engine.storage();
        let (mut entries, mut unknown) = (Vec::new(), Vec::new());
        for object in objects {
            // Whether a step is the newest is not known from its etag.
            let known = if timeline::is_step(&object.key) { None } else { index.find(object, &**storage) };
            match known {
                Some(entry) => entries.push(Ok(entry)),
                None => unknown.push(object.clone()),
            }
        }
        // Without the filter, so that the index learns all of them.
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

    /// Asks the component what these objects are, on as many threads as the storage
    /// prefers and the system allows.
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
                let lost = |_| vec![Err(PersistError::new(ErrorCode::Other, "a listing thread panicked"))];
                // Without a thread, this one does the work.
                threads.into_iter().map(|thread| thread.map_or_else(look, |thread| thread.join().unwrap_or_else(lost))).collect()
            }),
        };
        found.into_iter().flatten().collect()
    }
}

/// Asks the component what these objects are. An error of the storage is the last item.
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
            // Every page must advance, whatever the component says, or the loop may
            // never end.
            if page.next.is_some() && page.next <= start_after {
                return Err(PersistError::new(ErrorCode::Other, "the component's listing does not advance"));
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

impl Engine {
    /// Lists the snapshots whose keys begin with `prefix`, in the order of their keys.
    /// Objects that can't be read are entries too. An error of the storage is the last
    /// item.
    pub fn list(&self, prefix: &str) -> Snapshots {
        self.list_filtered(prefix, ListFilter::default())
    }

    /// Lists all keys that begin with `prefix`, in their byte order, whatever the
    /// content of their objects. Ends after an error of the storage.
    pub fn keys(&self, prefix: &str) -> impl Iterator<Item = Result<String>> + Send + use<> {
        self.objects(prefix).map(|info| info.map(|info| info.key))
    }

    /// Lists all objects whose keys begin with `prefix`, in the byte order of their keys,
    /// whatever their content. Ends after an error of the storage.
    pub fn objects(&self, prefix: &str) -> impl Iterator<Item = Result<ObjectInfo>> + Send + use<> {
        listing(&self.storage, prefix).map(|listed| match listed? {
            Listed::Object(info) => Ok(info),
            Listed::Unreadable { error, .. } => Err(error),
        })
    }

    /// Lists as [`list`](Self::list) does, but leaves out the snapshots that the filter
    /// excludes. Objects that can't be read are never left out.
    pub fn list_filtered(&self, prefix: &str, filter: ListFilter) -> Snapshots {
        Snapshots::new(self, prefix, filter)
    }
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
