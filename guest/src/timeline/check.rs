//! Checks a timeline: names the steps that can't be loaded, and says why.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorCode, Result};
use crate::storage::Storage;
use crate::timeline::catalogue::{Row, SPAN, covering, read_catalogue, write_catalogue};
use crate::timeline::chain::Chain;
use crate::timeline::handle::Timeline;
use crate::timeline::listing::{Listing, is_marker};
use crate::timeline::loader::Loader;
use crate::timeline::newest::{Newest, find_newest, refresh_hint};
use crate::timeline::numbered::Numbered;
use crate::timeline::record::Record;
use crate::timeline::step::Step;
use crate::timeline::survey::read_steps;

/// How many steps are read at a time.
const BATCH: usize = 128;

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
/// from older ones.
#[derive(Debug)]
pub struct Checker<S> {
    timeline: Timeline<S>,
    read_data: bool,
    listing: Listing,
    /// The steps that are still to be checked, the next one last.
    left: Vec<u64>,
    /// The error of the newest step, if it is lost.
    newest: Option<(u64, Error)>,
    steps: Numbered<Result<Step>>,
    /// Frames whose data is damaged, by step and index.
    damaged: Numbered<Numbered<Error>>,
    /// Checked after all steps.
    others: Vec<String>,
}

impl<S: Storage> Timeline<S> {
    /// Starts a check. With `read_data`, all data is read, too.
    pub fn check(&self, read_data: bool) -> Result<Checker<S>> {
        let newest = find_newest(&self.storage, &self.folder)?;
        let mut listing = Listing::read(&self.storage, &self.folder, 1)?;
        let highest = newest.number();
        let lost = listing.fill(&self.storage, &self.folder, 1, highest)?;
        let mut left: BTreeSet<u64> = listing.there().map(|(number, _)| number).filter(|number| *number <= highest).collect();
        left.extend(lost);
        let newest = match newest {
            Newest::Damaged { number, error } => Some((number, error)),
            _ => None,
        };
        left.extend(newest.as_ref().map(|(number, _)| *number));
        let labels = listing.labels.iter().flat_map(|(_, keys)| keys).cloned();
        let hidden = listing.hidden.iter().map(|number| self.folder.hidden(*number));
        let catalogues = listing.catalogues.iter().map(|last| self.folder.catalogue(*last));
        let others = labels.chain(hidden).chain(catalogues).chain(listing.hint.then(|| self.folder.hint())).collect();
        Ok(Checker {
            timeline: self.reader_of_same(),
            read_data,
            listing,
            left: left.into_iter().rev().collect(),
            newest,
            steps: Numbered::default(),
            damaged: Numbered::default(),
            others,
        })
    }

    /// Restores what can be derived: the hint, and catalogues that are missing or damaged.
    /// With `forget`, a new step repeats the newest undamaged one if the newest is damaged, and
    /// damaged steps are hidden. Returns how many objects were written.
    pub fn repair(&mut self, forget: bool) -> Result<u64> {
        self.forget();
        let mut written = 0;
        if forget {
            written += self.forget_damaged()?;
        }
        let newest = match find_newest(&self.storage, &self.folder)? {
            Newest::Damaged { error, .. } => return Err(error),
            Newest::Nothing => return Ok(written),
            newest => newest,
        };
        let newest = newest.number();
        refresh_hint(&self.storage, &self.folder)?;
        written += 1;
        let mut listing = Listing::read(&self.storage, &self.folder, 1)?;
        listing.fill(&self.storage, &self.folder, 1, newest)?;
        for last in (SPAN..=newest).step_by(usize::try_from(SPAN).unwrap_or(usize::MAX)) {
            let numbers: Vec<u64> =
                listing.steps.range(last - SPAN + 1..=last).filter(|(_, info)| !is_marker(info)).map(|(number, _)| number).collect();
            let is_whole = read_catalogue(&self.storage, &self.folder, last).is_ok_and(|rows| {
                let known: BTreeSet<u64> = rows.iter().map(|row| row.number).collect();
                numbers.iter().all(|number| known.contains(number))
            });
            if is_whole || numbers.is_empty() {
                continue;
            }
            let steps = read_steps(&self.storage, &self.folder, &numbers)?;
            let rows: Vec<Row> = steps.into_iter().filter_map(|(_, step)| Some(Row::of(&step.ok()?))).collect();
            write_catalogue(&self.storage, &self.folder, last, &rows)?;
            written += 1;
        }
        Ok(written)
    }

    /// Hides damaged steps. Returns how many objects were written.
    fn forget_damaged(&mut self) -> Result<u64> {
        let mut checker = self.check(true)?;
        let (mut damaged, mut whole) = (Vec::new(), None);
        loop {
            let checked = checker.next_batch()?;
            if checked.is_empty() {
                break;
            }
            for step in checked {
                match (step.number, step.error) {
                    (Some(number), None) => whole = Some(number),
                    (Some(number), Some(_)) => damaged.push(number),
                    (None, _) => {}
                }
            }
        }
        let mut written = 0;
        let Some(whole) = whole else { return Ok(0) };
        if damaged.last().is_some_and(|newest| *newest > whole) {
            let step = self.step(whole)?;
            self.restate_step(&step)?;
            written += 1;
        }
        for number in damaged {
            let hidden = Record::Hidden { number };
            hidden.write(&self.storage, &self.folder.hidden(number), crate::storage::Precondition::None)?;
            written += 1;
        }
        Ok(written)
    }
}

impl<S: Storage> Checker<S> {
    /// How many steps are still to be checked.
    pub fn left(&self) -> usize {
        self.left.len()
    }

    /// Checks some steps, and after the last step the other objects. Returns none at the end.
    pub fn next_batch(&mut self) -> Result<Vec<Checked>> {
        if self.left.is_empty() {
            return std::mem::take(&mut self.others).into_iter().map(|key| self.other(key)).collect();
        }
        let batch = self.left.split_off(self.left.len().saturating_sub(BATCH));
        let numbers: Vec<u64> = batch.into_iter().rev().collect();
        for (number, step) in read_steps(&self.timeline.storage, &self.timeline.folder, &numbers)? {
            if let (true, Ok(step)) = (self.read_data, &step) {
                let damaged = Loader::new(Chain { steps: vec![step.clone()] }, false).damaged_frames(&self.timeline.storage)?;
                if !damaged.is_empty() {
                    self.damaged.insert(number, damaged);
                }
            }
            // An object that is not needed as a whole any more.
            self.steps.insert(number, step.map(|step| Step { tail: Vec::new(), ..step }));
        }
        let shown = numbers.iter().filter(|number| !self.listing.hidden.contains(number));
        let checked =
            |number: &u64| Checked { number: Some(*number), key: self.timeline.folder.step(*number), error: self.step_error(*number) };
        let mut checked: Vec<Checked> = shown.map(checked).collect();
        if checked.is_empty() {
            // All are hidden: none at the end only.
            checked.extend(self.next_batch()?);
        }
        Ok(checked)
    }

    /// Why a step can't be loaded.
    fn step_error(&self, number: u64) -> Option<Error> {
        let key = self.timeline.folder.step(number);
        if let Some((newest, error)) = &self.newest
            && *newest == number
        {
            return Some(error.clone());
        }
        let step = match self.steps.get(number)? {
            Ok(step) => step,
            Err(error) if error.code == ErrorCode::NotFound => return Some(Error::integrity(format!("step {number} is missing")).at(&key)),
            Err(error) => return Some(error.clone()),
        };
        let links = step.document.links.iter().map(|link| match self.steps.get(link.number) {
            Some(Ok(step)) => Ok(step.clone()),
            Some(Err(error)) => Err(error.clone()),
            None => Err(Error::new(ErrorCode::NotFound, "it was removed")),
        });
        let chain = match Chain::of_steps(&self.timeline.folder, step.clone(), links.collect()) {
            Ok(chain) => chain,
            Err(error) => return Some(error.at(&key)),
        };
        if self.damaged.is_empty() || !chain.steps.iter().any(|step| self.damaged.contains(step.document.number)) {
            return None;
        }
        let numbers: Vec<u64> = chain.steps.iter().map(|step| step.document.number).collect();
        let loader = Loader::new(chain, false);
        match loader.needed_frames() {
            Ok(needed) => numbers.iter().zip(needed).find_map(|(number, frames)| {
                let damaged = self.damaged.get(*number)?;
                frames.numbers().find_map(|frame| damaged.get(frame).cloned())
            }),
            Err(error) => Some(error),
        }
    }

    /// Checks an object that is not a step.
    fn other(&self, key: String) -> Result<Checked> {
        let folder = &self.timeline.folder;
        let catalogue = self.listing.catalogues.iter().find(|last| folder.catalogue(**last) == key);
        let read = match catalogue {
            Some(last) => read_catalogue(&self.timeline.storage, folder, *last).and_then(|rows| {
                let is_right = |row: &Row| match self.steps.get(row.number) {
                    Some(Ok(step)) => covering(row.number) == *last && row.root == step.root,
                    _ => true,
                };
                let is_right = rows.iter().all(is_right);
                if is_right { Ok(()) } else { Err(Error::integrity("the catalogue does not match the steps")) }
            }),
            None => Record::read(&self.timeline.storage, &key).map(drop),
        };
        match read {
            Err(error) if !error.is_damage() => Err(error),
            // Removed since it was listed.
            Err(error) if error.code == ErrorCode::NotFound => Ok(Checked { number: None, key, error: None }),
            read => Ok(Checked { number: None, error: read.err().map(|error| error.at(&key)), key }),
        }
    }
}
