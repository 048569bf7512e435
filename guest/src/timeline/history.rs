//! The history of a timeline: its steps with their metadata, from the newest to the oldest.

use persist_paths::timeline::MARKER_SIZE;

use crate::error::{Error, ErrorCode, Result};
use crate::metadata::Metadata;
use crate::snapshots::ListFilter;
use crate::storage::Storage;
use crate::timeline::handle::Timeline;
use crate::timeline::listing::Listing;
use crate::timeline::names::Folder;
use crate::timeline::newest::{Newest, find_newest, read_hint};
use crate::timeline::survey::Survey;

/// The most steps of one page.
pub(crate) const MAX_PAGE: u32 = 1000;

/// A step in the history.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number.
    pub number: u64,
    /// Its metadata, with the labels that were set later; or why it can't be read.
    pub metadata: Result<Metadata>,
    /// The step whose state and metadata it repeats, because that one was removed.
    pub restates: Option<u64>,
}

/// A history being read, from the newest step to the oldest.
#[derive(Debug)]
pub struct History<S> {
    storage: S,
    folder: Folder,
    filter: ListFilter,
    listing: Listing,
    /// The listing has everything from this number on.
    from: u64,
    /// The next number to look at.
    next: u64,
    /// The newest step that was listed.
    newest: u64,
    is_begun: bool,
    survey: Survey,
}

impl<S: Storage> Timeline<S> {
    /// Opens the history. Its first page has at most about `limit` steps: so much is listed
    /// now, and all of it when more is asked for.
    pub fn history(&self, filter: ListFilter, limit: u32) -> Result<History<S>> {
        let filter = filter.checked()?;
        let hint = read_hint(&self.storage, &self.folder)?.map(|(number, _)| number);
        let from = hint.unwrap_or(1).saturating_sub(u64::from(limit)).max(1);
        let mut listing = Listing::read(&self.storage, &self.folder, from)?;
        let last = listing.steps.numbers().next_back();
        let is_found = |last: u64| {
            // Whoever removes the newest step has claimed the next number before.
            let is_removed = listing.steps.get(last).is_some_and(|info| info.size == MARKER_SIZE);
            !is_removed && hint.is_some_and(|hint| hint <= last && listing.is_whole(hint, last))
        };
        let newest = match last.filter(|last| is_found(*last)) {
            Some(last) => listing.end_of_gap(last),
            // A new timeline, one that has lost its end, one with an object that is no part of it, or
            // one whose listing was late.
            None => {
                let newest = match find_newest(&self.storage, &self.folder)? {
                    Newest::Damaged { error, .. } => return Err(error),
                    newest => newest.number(),
                };
                listing = Listing::read(&self.storage, &self.folder, from)?;
                newest
            }
        };
        listing.forget_above(newest);
        let (storage, folder) = (self.storage.clone(), self.folder.clone());
        let mut history =
            History { storage, folder, filter, listing, from, next: newest, newest, is_begun: false, survey: Survey::default() };
        history.fill()?;
        Ok(history)
    }
}

impl<S: Storage> History<S> {
    /// Asks for the numbers that the listing does not have. Those that a gap covers which
    /// begins before the listing are known only when all is listed.
    fn fill(&mut self) -> Result<()> {
        let lost = self.listing.fill(&self.storage, &self.folder, self.from, self.newest)?;
        if lost.is_empty() || self.from == 1 { Ok(()) } else { self.list_all() }
    }

    /// Lists the rest.
    fn list_all(&mut self) -> Result<()> {
        let newer = std::mem::take(&mut self.listing.steps);
        self.listing = Listing::read(&self.storage, &self.folder, 1)?;
        for (number, info) in newer.into_vec() {
            if !self.listing.is_in_gap(number) {
                self.listing.steps.insert(number, info);
            }
        }
        self.from = 1;
        self.fill()
    }

    /// Returns the next steps that match the filter: at most `limit`, and none only at the
    /// end.
    pub fn next(&mut self, limit: u32) -> Result<Vec<Entry>> {
        let limit = limit.clamp(1, MAX_PAGE) as usize;
        let mut found = if self.is_begun { Vec::new() } else { self.first_page(limit)? };
        while found.len() < limit && self.next > 0 {
            if self.next < self.from {
                self.list_all()?;
            }
            let numbers = self.take_numbers(limit - found.len());
            found.extend(self.read(&numbers)?);
        }
        Ok(found)
    }

    /// Reads the first page, and at the same time the number after the newest that was
    /// listed, since a listing may be late. Later steps come first.
    fn first_page(&mut self, limit: usize) -> Result<Vec<Entry>> {
        let mut number = self.newest + 1;
        let mut page = self.take_numbers(limit);
        page.insert(0, number);
        let mut entries = self.read(&page)?;
        if self.newest > 0 && !self.listing.steps.contains(self.newest) && !self.listing.steps.contains(number) {
            // The newest was removed since it was listed: what follows it was there before.
            entries.splice(0..0, self.read(&[number])?);
        }
        while self.listing.steps.contains(number) {
            number += 1;
            entries.splice(0..0, self.read(&[number])?);
        }
        self.is_begun = true;
        Ok(entries)
    }

    /// Takes the next numbers that may belong to the history.
    fn take_numbers(&mut self, limit: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < limit && self.next >= self.from.max(1) {
            let number = self.next;
            self.next -= 1;
            if number <= self.listing.end {
                // What comes before was deleted.
                self.next = 0;
                break;
            }
            let is_shown = match self.listing.steps.get(number) {
                Some(info) => !self.listing.is_marker(number, info) && !self.listing.hidden.contains(number),
                // Lost, which is an entry with an error.
                None => match self.listing.gap_of(number) {
                    Some(gap) => {
                        self.next = gap.first - 1;
                        false
                    }
                    None => !self.listing.hidden.contains(number),
                },
            };
            if is_shown {
                numbers.push(number);
            }
        }
        numbers
    }

    /// Reads the metadata of steps.
    fn read(&mut self, numbers: &[u64]) -> Result<Vec<Entry>> {
        let mut known = self.survey.read(&self.storage, &self.folder, &mut self.listing, numbers)?;
        let mut entries = Vec::new();
        for number in numbers {
            let (metadata, restates) = match known.remove(*number) {
                // Nothing comes after the newest, if the listing was not late.
                Some(Err(error)) if *number > self.newest && error.code == ErrorCode::NotFound => continue,
                // It was removed since it was listed.
                Some(Err(error)) if self.listing.steps.contains(*number) && error.code == ErrorCode::NotFound => {
                    self.listing.steps.remove(*number);
                    continue;
                }
                Some(Err(error)) if error.code == ErrorCode::NotFound => (Err(lost(&self.folder, *number)), None),
                Some(Err(error)) => (Err(error), None),
                Some(Ok(row)) => match self.listing.steps.get(*number) {
                    Some(info) => (Ok(row.metadata(info)), row.restates),
                    None => continue,
                },
                None => continue,
            };
            if metadata.as_ref().map_or(true, |metadata| self.filter.wants(metadata)) {
                entries.push(Entry { number: *number, metadata, restates });
            }
        }
        self.survey.forget_above(self.next);
        Ok(entries)
    }
}

/// The error of a step that is missing, although later ones exist.
pub(super) fn lost(folder: &Folder, number: u64) -> Error {
    Error::integrity(format!("step {number} is missing, but later steps exist")).at(&folder.step(number))
}
