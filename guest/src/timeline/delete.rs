//! Deletes a timeline, and sets labels of its steps.

use uuid::Uuid;

use crate::error::{Error, ErrorCode, Result};
use crate::hash::hex;
use crate::storage::{Precondition, Storage};
use crate::timeline::handle::Timeline;
use crate::timeline::listing::{AHEAD, Listing};
use crate::timeline::newest::{Newest, find_newest_listed, refresh_hint};
use crate::timeline::record::Record;
use crate::timeline::survey::read_steps;

impl<S: Storage> Timeline<S> {
    /// Deletes all steps. First claims the next number as the end, so that no writer appends
    /// to what goes; fails with `conflict` if one was faster. A deletion that was broken off
    /// is finished by the next one. Returns how many steps were removed.
    pub fn delete(&mut self) -> Result<u64> {
        self.delete_if(None)
    }

    /// The same, but only if this is still the number of the newest step.
    pub fn delete_after(&mut self, expected: u64) -> Result<u64> {
        self.delete_if(Some(expected))
    }

    fn delete_if(&mut self, expected: Option<u64>) -> Result<u64> {
        self.forget();
        let newest = find_newest_listed(&self.storage, &self.folder)?;
        if expected.is_some_and(|expected| expected != newest.number()) {
            let error = Error::new(ErrorCode::Conflict, format!("the timeline is in use: its newest step is {}", newest.number()));
            return Err(error.at(self.folder.prefix()));
        }
        let next = newest.number() + 1;
        let parent = match &newest {
            Newest::Nothing | Newest::Gap { .. } => {
                return Err(Error::new(ErrorCode::NotFound, "the timeline has no steps").at(self.folder.prefix()));
            }
            Newest::End { number, .. } => {
                let number = *number;
                return self.remove_all(number);
            }
            Newest::Step(step) => Some(step.root),
            Newest::Damaged { .. } => None,
        };
        let end = Record::End { number: next, root: hex(&parent.unwrap_or([0; 32])), id: random_id()? };
        match end.write(&self.storage, &self.folder.step(next), Precondition::IfAbsent) {
            Ok(info) => self.check_age(newest.storage_time(), next, parent, &info)?,
            Err(error) if matches!(error.code, ErrorCode::AlreadyExists | ErrorCode::OutcomeUnknown) => {
                // The reply of the own write may have been lost.
                if Record::read(&self.storage, &self.folder.step(next)).ok().map(|(found, _)| found) != Some(end) {
                    let error = Error::new(ErrorCode::Conflict, format!("the timeline is in use: step {next} was appended just now"));
                    return Err(Error { retryable: true, ..error }.at(self.folder.prefix()));
                }
            }
            Err(error) => return Err(error),
        }
        self.remove_all(next)
    }

    /// Removes everything before the end.
    fn remove_all(&mut self, end: u64) -> Result<u64> {
        // A reader learns from it that all steps count as deleted.
        refresh_hint(&self.storage, &self.folder)?;
        let mut listing = Listing::read(&self.storage, &self.folder, 1)?;
        // What the deletion is about comes before the end.
        listing.end = 0;
        // A hint may name any number.
        let last = listing.steps.range(1..=end - 1).next_back().map_or(0, |(number, _)| listing.end_of_gap(number));
        listing.fill(&self.storage, &self.folder, 1, end.min(last.saturating_add(AHEAD)))?;
        listing.end = end;
        let removed = self.remove_left(&listing)?;
        for last in listing.catalogues.numbers() {
            self.delete_object(&self.folder.catalogue(last))?;
        }
        Ok(removed)
    }

    /// Removes the steps before the end, the newest first. Returns how many there were.
    pub(super) fn remove_left(&mut self, listing: &Listing) -> Result<u64> {
        let mut steps = listing.left_by_deletion();
        steps.reverse();
        for numbers in steps.chunks(256) {
            for (number, step) in read_steps(&self.storage, &self.folder, numbers)? {
                let marker = match step {
                    Ok(step) => crate::timeline::catalogue::Row::of(&step).marker(),
                    Err(_) => Record::Removed { number, root: hex(&[0; 32]), id: Uuid::nil().to_string() },
                };
                marker.write(&self.storage, &self.folder.step(number), Precondition::None)?;
                self.remove_beside(listing, number)?;
            }
        }
        Ok(steps.len() as u64)
    }

    /// Sets a label of a step, or removes it. The step itself does not change.
    pub fn label(&self, number: u64, name: &str, value: Option<&str>) -> Result<()> {
        self.step(number)?;
        let record = Record::Label { number, name: name.to_owned(), value: value.map(str::to_owned) };
        if record.to_bytes().len() as u64 > crate::timeline::record::MAX_SIZE {
            return Err(Error::argument("the label is too long: its name and value may be at most 64 KiB together"));
        }
        record.write(&self.storage, &self.folder.label(number, name), Precondition::None).map(drop)
    }
}

fn random_id() -> Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Error::new(ErrorCode::Other, format!("could not get random numbers: {error}")))?;
    Ok(uuid::Builder::from_random_bytes(random).into_uuid().to_string())
}
