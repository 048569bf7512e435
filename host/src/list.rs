//! Listing snapshots.

use std::collections::VecDeque;

use crate::bindings::snapshots as wit;
use crate::engine::{Engine, Guest};
use crate::error::{PersistError, Result};
use crate::metadata::SnapshotMetadata;
use crate::sandbox::from_guest;

/// Snapshots that the component lists at a time.
const PAGE: u32 = 200;

/// One object of a listing.
#[derive(Clone, Debug)]
pub enum ListEntry {
    /// A snapshot.
    Snapshot(Box<SnapshotMetadata>),
    /// Something else (`InvalidFormat`), or a snapshot that can't be read.
    Unreadable {
        /// Its key.
        key: String,
        /// Why.
        error: PersistError,
    },
}

/// The snapshots of a storage, in the order of their keys. Ends after an error.
pub struct Snapshots {
    engine: Engine,
    prefix: String,
    guest: Option<Guest>,
    page: VecDeque<ListEntry>,
    /// Where the next page starts; none before the first.
    start_after: Option<String>,
    ended: bool,
}

impl Snapshots {
    pub(crate) fn new(engine: Engine, prefix: &str) -> Self {
        Self { engine, prefix: prefix.to_owned(), guest: None, page: VecDeque::new(), start_after: None, ended: false }
    }

    fn next_page(&mut self) -> Result<()> {
        let mut guest = match self.guest.take() {
            Some(guest) => guest,
            None => self.engine.guest()?,
        };
        let (prefix, start_after) = (&self.prefix, self.start_after.as_deref());
        let page =
            guest.call(|persist, store| persist.persist_snapshot_snapshots().call_list_snapshots(store, prefix, start_after, PAGE))?;
        self.guest = Some(guest);
        self.ended = page.next.is_none();
        self.start_after = page.next;
        let storage = &**self.engine.storage();
        self.page.extend(page.entries.into_iter().map(|entry| match entry {
            wit::ListEntry::Snapshot(metadata) => ListEntry::Snapshot(Box::new(metadata.into())),
            wit::ListEntry::Unreadable(unreadable) => {
                ListEntry::Unreadable { error: from_guest(unreadable.error, storage), key: unreadable.key }
            }
        }));
        Ok(())
    }
}

impl Iterator for Snapshots {
    type Item = Result<ListEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.page.is_empty() && !self.ended {
            if let Err(error) = self.next_page() {
                self.ended = true;
                return Some(Err(error));
            }
        }
        self.page.pop_front().map(Ok)
    }
}
