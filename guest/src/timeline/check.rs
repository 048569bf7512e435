//! Checks a timeline: names the steps that can't be loaded, and says why.

use persist_model::error::HINT;
use persist_paths::timeline::is_step_size;

use crate::error::{Error, ErrorCode, Result};
use crate::hash::hex;
use crate::storage::Storage;
use crate::timeline::catalogue::{Row, covering, read_catalogue};
use crate::timeline::chain::{Chain, check_links};
use crate::timeline::handle::Timeline;
use crate::timeline::listing::{AHEAD, Listing};
use crate::timeline::loader::Loader;
use crate::timeline::names::Name;
use crate::timeline::newest::{Newest, find_newest_listed, root_of};
use crate::timeline::numbered::Numbered;
use crate::timeline::record::Record;
use crate::timeline::step::Step;
use crate::timeline::survey::read_steps;

/// How many lost steps after the last one that is there are named, at most.
const MAX_LOST: u64 = 10_000;

/// How many steps, or other objects, are read at a time.
const BATCH: usize = 64;

/// A step, or another object of the timeline, that was checked.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The number of the step; `None` for another object.
    pub number: Option<u64>,
    /// The object.
    pub key: String,
    /// What is wrong with it.
    pub error: Option<Error>,
}

/// A check in progress. It goes from the oldest step to the newest, because a step is made
/// from older ones. Of what it has read, it keeps what later steps may refer to.
#[derive(Debug)]
pub struct Checker<S> {
    timeline: Timeline<S>,
    read_data: bool,
    listing: Listing,
    /// The highest number that is part of the timeline.
    highest: u64,
    /// The steps that are still to be checked, the next one last.
    left: Vec<u64>,
    /// The error of the newest step, if it is lost.
    newest: Option<(u64, Error)>,
    steps: Numbered<Result<Step>>,
    /// Frames whose data is damaged, by step and index.
    damaged: Numbered<Numbered<Error>>,
    /// What the catalogue of the last step should say.
    rows: Numbered<Row>,
    /// Catalogues that were compared with their steps.
    catalogues: Numbered<Result<()>>,
    /// Checked after all steps, the next one last.
    others: Vec<String>,
}

impl<S: Storage> Timeline<S> {
    /// Starts a check. With `read_data`, all data is read, too.
    pub fn check(&self, read_data: bool) -> Result<Checker<S>> {
        let newest = find_newest_listed(&self.storage, &self.folder)?;
        let mut listing = Listing::read(&self.storage, &self.folder, 1)?;
        let highest = newest.number();
        // A hint may name any number.
        let last = highest.min(listing.highest().saturating_add(MAX_LOST));
        let lost = listing.fill(&self.storage, &self.folder, 1, last)?;
        let there = listing.there().map(|(number, _)| number).filter(|number| *number <= highest);
        let mut left = Numbered::of(there.chain(lost).collect());
        let newest = match newest {
            Newest::Damaged { number, error } => Some((number, error)),
            _ => None,
        };
        left.extend(newest.as_ref().map(|(number, _)| *number));
        let labels = listing.labels.iter().flat_map(|(_, keys)| keys).cloned();
        let hidden = listing.hidden.numbers().map(|number| self.folder.hidden(number));
        let catalogues = listing.catalogues.numbers().map(|last| self.folder.catalogue(last));
        // What has taken the place of steps, and what is no part of the timeline. Others may have
        // appended a few steps meanwhile.
        let is_removed = |number: u64, info| number <= highest && listing.is_marker(number, info) && !left.contains(number);
        let is_other = |number: u64, info| number > highest.saturating_add(AHEAD) || is_removed(number, info);
        let numbered = listing.steps.iter().filter(|(number, info)| is_other(*number, info)).map(|(number, _)| self.folder.step(number));
        let others = labels.chain(hidden).chain(catalogues).chain(numbered).chain(listing.hint.then(|| self.folder.hint()));
        let mut others: Vec<String> = others.collect();
        others.reverse();
        Ok(Checker {
            timeline: self.reader_of_same(),
            read_data,
            listing,
            highest,
            left: left.numbers().rev().collect(),
            newest,
            steps: Numbered::default(),
            damaged: Numbered::default(),
            rows: Numbered::default(),
            catalogues: Numbered::default(),
            others,
        })
    }
}

impl<S: Storage> Checker<S> {
    /// How many steps are still to be checked.
    pub fn left(&self) -> usize {
        self.left.len()
    }

    /// How many steps are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.steps.numbers().count()
    }

    /// Checks some steps, and after the last step the other objects. Returns none at the end.
    pub fn next_batch(&mut self) -> Result<Vec<Checked>> {
        let mut checked = Vec::new();
        while checked.is_empty() && !self.left.is_empty() {
            let batch = self.left.split_off(self.left.len().saturating_sub(BATCH));
            let numbers: Vec<u64> = batch.into_iter().rev().collect();
            for (number, step) in read_steps(&self.timeline.storage, &self.timeline.folder, &numbers)? {
                checked.extend(self.add(number, step)?);
            }
        }
        if checked.is_empty() {
            self.compare_catalogue()?;
            let others = self.others.split_off(self.others.len().saturating_sub(BATCH));
            for key in others.into_iter().rev() {
                checked.push(self.other(key)?);
            }
        }
        Ok(checked)
    }

    /// Checks a step.
    fn add(&mut self, number: u64, step: Result<Step>) -> Result<Vec<Checked>> {
        if self.rows.numbers().next_back().is_some_and(|last| covering(last) != covering(number)) {
            self.compare_catalogue()?;
        }
        let mut replaced = None;
        if let Ok(step) = &step {
            self.rows.insert(number, Row::of(step));
            if !self.listing.hidden.contains(number) {
                replaced = self.compare_parent(step)?;
            }
            if self.read_data {
                let damaged = Loader::new(Chain { steps: vec![step.clone()] }, false).damaged_frames(&self.timeline.storage)?;
                if !damaged.is_empty() {
                    self.damaged.insert(number, damaged);
                }
            }
        }
        // Of an object, only the description is needed.
        self.steps.insert(number, step.map(|step| Step { tail: Vec::new(), ..step }));
        let mut error = self.step_error(number)?;
        if error.is_some() && !self.is_removed_newest(number) && self.was_removed(number)? {
            self.steps.remove(number);
            return Ok(Vec::new());
        }
        if let Some(Ok(step)) = self.steps.get(number) {
            // A later step refers to this one, or to what this one refers to.
            let links = Numbered::of(step.document.links.iter().map(|link| link.number).chain([number]).collect());
            self.steps.retain(|known| links.contains(known));
            self.damaged.retain(|known| links.contains(known));
        }
        let key = self.timeline.folder.step(number);
        let mut checked = Vec::new();
        if !self.listing.hidden.contains(number) {
            checked.push(Checked { number: Some(number), key: key.clone(), error: error.take() });
        }
        if let Some(error) = replaced {
            // Both can be restored, so this is about the object.
            checked.push(Checked { number: None, error: Some(error.at(&key)), key });
        }
        Ok(checked)
    }

    /// A step names the root of the one before it, or of the end of what was deleted. If that
    /// has another, one of the two was replaced. A marker has the root of the step in whose place it is.
    fn compare_parent(&self, step: &Step) -> Result<Option<Error>> {
        let (number, parent) = (step.document.number, step.document.parent);
        let before = number - 1;
        let found = match self.steps.get(before) {
            Some(Ok(before)) => Some(hex(&before.root)),
            None if self.listing.steps.get(before).is_some_and(|info| !is_step_size(info.size)) => {
                root_of(&self.timeline.storage, &self.timeline.folder, before)?
            }
            _ => None,
        };
        let is_other = found.is_some_and(|root| parent.is_some_and(|parent| hex(&parent) != root));
        Ok(is_other
            .then(|| Error::integrity(format!("step {number} does not follow from step {before} as it is now: one of them was replaced"))))
    }

    /// Whether this is the newest step, and was removed before the timeline was listed.
    fn is_removed_newest(&self, number: u64) -> bool {
        let is_marker = self.listing.steps.get(number).is_some_and(|info| self.listing.is_marker(number, info));
        is_marker && self.newest.as_ref().is_some_and(|(newest, _)| *newest == number)
    }

    /// Whether a step was removed since the timeline was listed.
    fn was_removed(&mut self, number: u64) -> Result<bool> {
        match Record::read(&self.timeline.storage, &self.timeline.folder.step(number)) {
            Ok((record, _)) => Ok(record.in_place_of(number).code == ErrorCode::NotFound),
            Err(error) if error.code == ErrorCode::NotFound => {
                let listing = Listing::read(&self.timeline.storage, &self.timeline.folder, 1)?;
                Ok(listing.is_in_gap(number) || number < listing.end)
            }
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads links of a step that are not known: those of one that breaks the rules.
    fn read_links(&mut self, number: u64) -> Result<()> {
        let Some(Ok(step)) = self.steps.get(number) else { return Ok(()) };
        let links = step.document.links.iter().map(|link| link.number);
        let unknown: Vec<u64> = links.filter(|link| !self.steps.contains(*link)).collect();
        for (link, step) in read_steps(&self.timeline.storage, &self.timeline.folder, &unknown)? {
            self.steps.insert(link, step.map(|step| Step { tail: Vec::new(), ..step }));
        }
        Ok(())
    }

    /// Why a step can't be loaded.
    fn step_error(&mut self, number: u64) -> Result<Option<Error>> {
        self.read_links(number)?;
        let folder = &self.timeline.folder;
        let key = folder.step(number);
        if let Some((newest, error)) = &self.newest
            && *newest == number
        {
            return Ok(Some(error.clone()));
        }
        let step = match self.steps.get(number) {
            Some(Ok(step)) => step,
            Some(Err(error)) if error.code == ErrorCode::NotFound => {
                return Ok(Some(Error::integrity(format!("step {number} is missing")).at(&key)));
            }
            Some(Err(error)) => return Ok(Some(error.clone())),
            None => return Ok(None),
        };
        let link = |number: u64| match self.steps.get(number) {
            Some(step) => step.as_ref().map_err(Clone::clone),
            None => Err(Error::new(ErrorCode::NotFound, "it was removed")),
        };
        let links = || step.document.links.iter().map(|wanted| link(wanted.number));
        if let Err(error) = check_links(folder, step, &mut links()) {
            return Ok(Some(error.at(&key)));
        }
        let numbers: Vec<u64> = std::iter::once(number).chain(step.document.links.iter().map(|link| link.number)).collect();
        if !numbers.iter().any(|number| self.damaged.contains(*number)) {
            return Ok(None);
        }
        let steps: Vec<Step> = std::iter::once(step).chain(links().flatten()).cloned().collect();
        Ok(match Loader::new(Chain { steps }, false).needed_frames() {
            Ok(needed) => numbers.iter().zip(needed).find_map(|(number, frames)| {
                let damaged = self.damaged.get(*number)?;
                frames.numbers().find_map(|frame| damaged.get(frame).cloned())
            }),
            Err(error) => Some(error),
        })
    }

    /// Compares the catalogue of the last steps with them.
    fn compare_catalogue(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let Some(last) = rows.numbers().next_back().map(covering) else { return Ok(()) };
        if self.listing.catalogues.contains(last) {
            let compared = self.catalogue(last, &rows)?;
            self.catalogues.insert(last, compared);
        }
        Ok(())
    }

    /// Reads a catalogue, and compares it with these steps. Returns what is wrong with it.
    fn catalogue(&self, last: u64, rows: &Numbered<Row>) -> Result<Result<()>> {
        let read = read_catalogue(&self.timeline.storage, &self.timeline.folder, last).and_then(|found| {
            let is_right = |found: &Row| covering(found.number) == last && rows.get(found.number).is_none_or(|row| row.is_same(found));
            if found.iter().all(is_right) { Ok(()) } else { Err(Error::integrity("the catalogue does not match the steps")) }
        });
        match read {
            Err(error) if !error.is_damage() => Err(error),
            read => Ok(read.map_err(|error| error.with(HINT, "'persist check --repair' rewrites it"))),
        }
    }

    /// Checks an object that is not a step.
    fn other(&self, key: String) -> Result<Checked> {
        let folder = &self.timeline.folder;
        let name = folder.parse(&key);
        let read = match name {
            Some(Name::Catalogue(last)) => match self.catalogues.get(last) {
                Some(compared) => compared.clone(),
                None => self.catalogue(last, &Numbered::default())?,
            },
            Some(Name::Step(number)) if number > self.highest => {
                Err(Error::integrity("the object is not part of the timeline: the steps before it are missing"))
            }
            name => Record::read(&self.timeline.storage, &key).and_then(|(record, _)| {
                let is_right = match (name, &record) {
                    (Some(Name::Step(number)), record) => record.in_place_of(number).code == ErrorCode::NotFound,
                    (Some(Name::Hidden(number)), Record::Hidden { number: hidden }) => number == *hidden,
                    (Some(Name::Label(_)), Record::Label { number, name, .. }) => {
                        if *number > self.highest {
                            return Err(Error::integrity(format!("the label belongs to step {number}, which does not exist")));
                        }
                        folder.label(*number, name) == key
                    }
                    (Some(Name::Hint), Record::Head { number, root }) => {
                        let known = root_of(&self.timeline.storage, folder, *number)?;
                        if known.is_some_and(|known| known != *root) {
                            let message = format!("step {number} is not the one that this object names: one of them was replaced");
                            return Err(Error::integrity(message));
                        }
                        true
                    }
                    _ => false,
                };
                if is_right { Ok(()) } else { Err(Error::integrity("the object is not what its name says it is")) }
            }),
        };
        let error = match read {
            Err(error) if !error.is_damage() => return Err(error),
            // Removed since it was listed.
            Err(error) if error.code == ErrorCode::NotFound => None,
            read => read.err().map(|error| error.at(&key)),
        };
        // In the place of a step, there may have been one.
        let number = match name {
            Some(Name::Step(number)) if error.is_some() && number <= self.highest => Some(number),
            _ => None,
        };
        Ok(Checked { number, key, error })
    }
}
