//! Listing snapshots.

use std::collections::VecDeque;
use std::time::Instant;

use crate::bindings::snapshots as wit;
use crate::error::{ErrorCode, PersistError, Result};
use crate::guest::Guest;
use crate::metadata::SnapshotMetadata;
use crate::sandbox::from_guest;

/// Snapshots that the component lists at a time.
const PAGE: u32 = 200;

/// One object of a listing.
#[derive(Clone, Debug)]
pub enum ListEntry {
    /// A snapshot.
    Snapshot(Box<SnapshotMetadata>),
    /// Something else (`NotASnapshot`), or a snapshot that can't be read.
    Unreadable {
        /// Its key.
        key: String,
        /// Why.
        error: PersistError,
    },
}

/// The snapshots of a storage, in the order of their keys. Ends after an error.
pub struct Snapshots {
    guest: Result<Guest>,
    prefix: String,
    page: VecDeque<ListEntry>,
    /// Where the next page starts; none before the first.
    start_after: Option<String>,
    ended: bool,
}

impl Snapshots {
    /// What went wrong with the instance is said by the first item.
    pub(crate) fn new(guest: Result<Guest>, prefix: &str) -> Self {
        Self { guest, prefix: prefix.to_owned(), page: VecDeque::new(), start_after: None, ended: false }
    }

    fn next_page(&mut self) -> Result<()> {
        let guest = self.guest.as_mut().map_err(|error| error.clone())?;
        let (prefix, start_after) = (&self.prefix, self.start_after.as_deref());
        let began = Instant::now();
        let page =
            guest.call(|persist, store| persist.persist_snapshot_snapshots().call_list_snapshots(store, prefix, start_after, PAGE))?;
        let location = guest.storage().locate(&self.prefix);
        tracing::debug!(operation = "list", location, entries = page.entries.len(), ms = began.elapsed().as_millis(), "done");
        // Whatever the component says, a listing gets on with every page.
        if page.next.is_some() && page.next <= self.start_after {
            let error = PersistError::new(ErrorCode::Other, "the component's listing goes in a circle");
            return Err(error.at(guest.storage().locate(&self.prefix)));
        }
        self.ended = page.next.is_none();
        self.start_after = page.next;
        let storage = guest.storage();
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
