//! Finds the step that a selector means.

use persist_model::StepSelector;

use crate::error::{Error, ErrorCode, Result};
use crate::snapshots::ListFilter;
use crate::storage::Storage;
use crate::timeline::catalogue::Row;
use crate::timeline::handle::Timeline;
use crate::timeline::history::{Entry, MAX_PAGE};
use crate::timeline::names::Name;
use crate::timeline::reader::StateReader;
use crate::timeline::step::Step;
use crate::timeline::survey::read_labels;

impl<S: Storage> Timeline<S> {
    /// Returns the step that a selector means. A step that can't be read is an error, and
    /// never an older one in its place.
    pub fn find(&self, selector: &StepSelector) -> Result<Entry> {
        match selector {
            StepSelector::Newest => self.labelled(&self.newest_step()?),
            StepSelector::Number(number) => self.labelled(&self.step(*number)?),
            StepSelector::FromNewest(place) => {
                let mut history = self.history(ListFilter::default(), u32::try_from(*place).unwrap_or(MAX_PAGE).min(MAX_PAGE))?;
                let mut left = place.saturating_sub(1);
                loop {
                    let page = history.next(MAX_PAGE.min(u32::try_from(left + 1).unwrap_or(MAX_PAGE)))?;
                    let count = page.len() as u64;
                    if count == 0 {
                        return Err(self.none(&format!("the timeline has fewer than {place} steps")));
                    }
                    match usize::try_from(left).ok().and_then(|left| page.into_iter().nth(left)) {
                        Some(entry) => return readable(entry),
                        None => left -= count,
                    }
                }
            }
            StepSelector::AtTime(time) => {
                let time = crate::metadata::stored_time("time", time)?;
                let is_before = |entry: &Entry| entry.metadata.as_ref().map_or(true, |metadata| metadata.timestamp <= time);
                self.first(&is_before, &|| format!("no step was taken at {time} or earlier"))
            }
            StepSelector::Label(name, value) => {
                let has_label = |entry: &Entry| {
                    let found = entry.metadata.as_ref().map(|metadata| metadata.labels.get(name));
                    found.map_or(true, |found| found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found)))
                };
                let message = || format!("no step has the label '{}'", crate::error::quoted(name));
                self.first(&has_label, &message)
            }
        }
    }

    /// Opens the state of the step that a selector means.
    pub fn open_selected(&self, selector: &StepSelector, hashes: bool) -> Result<StateReader<S>> {
        match selector {
            StepSelector::Newest => self.open_newest(hashes),
            StepSelector::Number(number) => self.open(*number, hashes),
            other => self.open(self.find(other)?.number, hashes),
        }
    }

    /// Returns a step as an entry, with the labels that were set later.
    fn labelled(&self, step: &Step) -> Result<Entry> {
        let number = step.document.number;
        let mut row = Row::of(step);
        let objects = self.storage.list_objects(&self.folder.labels(number), None, 1000)?;
        let is_label = |key: &String| self.folder.parse(key) == Some(Name::Label(number));
        let keys: Vec<String> = objects.into_iter().map(|info| info.key).filter(is_label).collect();
        row.relabel(read_labels(&self.storage, &self.folder, &keys)?.into_iter().map(|(_, record)| record).collect::<Result<_>>()?);
        Ok(Entry { number, metadata: Ok(row.metadata(&step.info)), restates: row.restates })
    }

    /// Returns the newest step for which this is true.
    fn first(&self, is_wanted: &dyn Fn(&Entry) -> bool, none: &dyn Fn() -> String) -> Result<Entry> {
        let mut history = self.history(ListFilter::default(), 100)?;
        let mut limit = 100;
        loop {
            let page = history.next(limit)?;
            if page.is_empty() {
                return Err(self.none(&none()));
            }
            if let Some(entry) = page.into_iter().find(|entry| is_wanted(entry)) {
                return readable(entry);
            }
            limit = MAX_PAGE;
        }
    }

    fn none(&self, message: &str) -> Error {
        Error::new(ErrorCode::NotFound, message).at(self.folder.prefix())
    }
}

/// Returns an entry, or why it can't be read.
fn readable(entry: Entry) -> Result<Entry> {
    entry.metadata.map(|metadata| Entry { metadata: Ok(metadata), ..entry })
}
