//! Listings that fetch page after page.

use std::path::PathBuf;

use persist_cli::Object;
use persist_model::{ListEntry, ListFilter, Result, SnapshotMetadata};

use crate::bindings::{storage, wit};
use crate::convert;

/// How many objects one page of a listing of snapshots looks at.
const PAGE: u32 = 200;

/// How many objects one page of a listing of objects has, at most.
const OBJECTS: u32 = 1000;

/// What the keys in a folder begin with in the storage, and where they are for the user.
#[derive(Clone)]
pub(crate) struct Shown {
    /// The part of the keys that is not shown.
    pub(crate) hidden: String,
    pub(crate) root: PathBuf,
}

impl Shown {
    /// Returns a key of the storage as the user knows it.
    pub(crate) fn key(&self, key: &str) -> String {
        key.strip_prefix(&self.hidden).unwrap_or(key).to_owned()
    }

    /// Returns where an object of the storage is.
    pub(crate) fn location(&self, key: &str) -> String {
        self.root.join(self.key(key)).display().to_string()
    }
}

/// Lists snapshots.
pub(crate) struct Listing {
    prefix: String,
    shown: Shown,
    filter: wit::ListFilter,
    page: std::vec::IntoIter<wit::ListEntry>,
    next: Option<String>,
    ended: bool,
}

impl Listing {
    pub(crate) fn new(shown: Shown, key: &str, filter: ListFilter) -> Self {
        let prefix = format!("{}{key}", shown.hidden);
        Self { prefix, shown, filter: filter.into(), page: Vec::new().into_iter(), next: None, ended: false }
    }

    fn next_page(&mut self) -> Result<()> {
        let page = wit::list_snapshots(&self.prefix, self.next.as_deref(), PAGE, Some(&self.filter));
        let page = page.map_err(|error| convert::error(error).at(self.shown.root.display()))?;
        self.ended = page.next.is_none();
        self.next = page.next;
        self.page = page.entries.into_iter();
        Ok(())
    }
}

impl Iterator for Listing {
    type Item = Result<ListEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.next() {
                return Some(Ok(match entry {
                    wit::ListEntry::Snapshot(metadata) => {
                        let metadata = SnapshotMetadata::from(metadata);
                        let key = self.shown.key(&metadata.key);
                        ListEntry::Snapshot(Box::new(metadata.key(key)))
                    }
                    wit::ListEntry::Unreadable(found) => {
                        let error = convert::error(found.error).at(self.shown.location(&found.key));
                        ListEntry::Unreadable { error, key: self.shown.key(&found.key) }
                    }
                }));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.next_page() {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }
}

/// Lists objects, whatever they contain.
pub(crate) struct Objects {
    prefix: String,
    shown: Shown,
    page: std::vec::IntoIter<storage::ObjectInfo>,
    last: Option<String>,
    ended: bool,
}

impl Objects {
    pub(crate) fn new(shown: Shown, key: &str) -> Self {
        Self { prefix: format!("{}{key}", shown.hidden), shown, page: Vec::new().into_iter(), last: None, ended: false }
    }
}

impl Iterator for Objects {
    type Item = Result<Object>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(info) = self.page.next() {
                return Some(Ok(Object { key: self.shown.key(&info.key), size: info.size }));
            }
            if self.ended {
                return None;
            }
            match storage::list_objects(&self.prefix, self.last.as_deref(), OBJECTS) {
                Ok(page) => {
                    self.last = page.last().map(|info| info.key.clone());
                    self.ended = self.last.is_none();
                    self.page = page.into_iter();
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(convert::error(error).at(self.shown.root.display())));
                }
            }
        }
    }
}
