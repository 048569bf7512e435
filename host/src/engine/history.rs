//! Iterators over a timeline: its history, and a check of it.

use std::collections::VecDeque;

use persist_model::{Checked, HistoryEntry, Result};
use wasmtime::component::ResourceAny;

use crate::engine::conversions::{checked, entry};
use crate::sandbox::Guest;
use crate::system::process::OfProcess;

/// Steps asked for at a time in a long history.
pub(super) const PAGE: u32 = 1000;

/// Iterates over the steps of a timeline, from the newest to the oldest. Ends after an error.
pub struct History {
    guest: OfProcess<Guest>,
    history: ResourceAny,
    page: u32,
    entries: VecDeque<HistoryEntry>,
    /// How many more are wanted; all, if none.
    left: Option<u32>,
    location: String,
    ended: bool,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("location", &self.location).finish_non_exhaustive()
    }
}

impl History {
    pub(super) fn new(guest: Guest, history: ResourceAny, page: u32, left: Option<u32>, location: String) -> Self {
        Self { guest: OfProcess::new(guest), history, page, entries: VecDeque::new(), left, location, ended: false }
    }

    fn next_page(&mut self) -> Result<()> {
        let (history, page) = (self.history, self.page.min(self.left.unwrap_or(PAGE)));
        let guest = self.guest.get()?;
        let found = guest.call(|persist, store| persist.persist_snapshot_timelines().history().call_next(store, history, page))?;
        // Later pages are read only if more is wanted.
        self.page = PAGE;
        self.ended = found.is_empty();
        self.entries.extend(found.into_iter().map(|found| entry(found, guest.storage())));
        Ok(())
    }
}

impl Iterator for History {
    type Item = Result<HistoryEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == Some(0) {
            return None;
        }
        while self.entries.is_empty() && !self.ended {
            if let Err(error) = self.next_page() {
                self.ended = true;
                return Some(Err(error.at(&self.location)));
            }
        }
        let next = self.entries.pop_front()?;
        self.left = self.left.map(|left| left - 1);
        Some(Ok(next))
    }
}

/// Iterates over what a check of a timeline has looked at. Ends after an error.
pub struct Checks {
    guest: OfProcess<Guest>,
    checker: ResourceAny,
    found: VecDeque<Checked>,
    location: String,
    ended: bool,
}

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checks").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Checks {
    pub(super) fn new(guest: Guest, checker: ResourceAny, location: String) -> Self {
        Self { guest: OfProcess::new(guest), checker, found: VecDeque::new(), location, ended: false }
    }

    /// Returns how many steps are still to be checked.
    ///
    /// # Errors
    /// `Configuration` in a process that was forked after the check was started.
    pub fn left(&mut self) -> Result<u64> {
        let checker = self.checker;
        let left =
            self.guest.get()?.call(|persist, store| persist.persist_snapshot_timelines().checker().call_left(store, checker).map(Ok))?;
        Ok(left + self.found.len() as u64)
    }

    fn look(&mut self) -> Result<()> {
        let checker = self.checker;
        let guest = self.guest.get()?;
        let found = guest.call(|persist, store| persist.persist_snapshot_timelines().checker().call_next(store, checker))?;
        self.ended = found.is_empty();
        self.found.extend(found.into_iter().map(|found| checked(found, guest.storage())));
        Ok(())
    }
}

impl Iterator for Checks {
    type Item = Result<Checked>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.found.is_empty() && !self.ended {
            if let Err(error) = self.look() {
                self.ended = true;
                return Some(Err(error.at(&self.location)));
            }
        }
        self.found.pop_front().map(Ok)
    }
}
