//! A timeline of the component that this one is composed with.

use std::collections::{BTreeMap, VecDeque};

use persist_cli::{Checks, History, Timeline};
use persist_model::{
    Checked, ErrorCode, HistoryEntry, ListEntry, ListFilter, OnConflict, PersistError, Policy, PruneReport, Result, SnapshotOptions, Step,
    StepSelector,
};
use persist_paths::folder_prefix;
use persist_paths::key::split;
use persist_paths::timeline::{self, Name, step_of};

use crate::bindings::{timelines, wit};
use crate::convert;
use crate::listing::Shown;

/// How many steps of a history are asked for at a time, at most.
const PAGE: u32 = 1000;

/// How many bytes of a state are read at a time.
const CHUNK: u32 = 2 << 20;

/// A timeline that was opened.
pub(crate) struct Opened {
    timeline: timelines::Timeline,
    folder: String,
    shown: Shown,
}

impl Shown {
    /// Returns an error of the component, with the place that it names, or else this one.
    fn error(&self, error: wit::Error, folder: &str) -> PersistError {
        let key = error.key.clone();
        convert::error(error).at(self.location(key.as_deref().unwrap_or(folder)))
    }

    /// Returns a step with the key that the user knows.
    fn step(&self, step: timelines::Step) -> Step {
        let mut step = Step::from(step);
        step.metadata.key = self.key(&step.metadata.key);
        step
    }
}

impl Opened {
    pub(crate) fn new(shown: Shown, key: &str) -> Self {
        let folder = format!("{}{key}", shown.hidden);
        Self { timeline: timelines::Timeline::new(&folder), folder, shown }
    }

    fn done<T>(&self, done: Result<T, wit::Error>) -> Result<T> {
        done.map_err(|error| self.shown.error(error, &self.folder))
    }

    /// Returns the newest step, if it matches a filter.
    fn newest(&self, filter: &ListFilter) -> Result<Option<Step>> {
        let newest = self.find(&StepSelector::Newest)?;
        let matching = self.history(filter.clone(), Some(1))?.next().transpose()?;
        Ok(matching.is_some_and(|matching| matching.number() == newest.number).then_some(newest))
    }

    /// Returns an entry of the history as the user knows it.
    fn entry(&self, entry: timelines::HistoryEntry) -> HistoryEntry {
        match entry {
            timelines::HistoryEntry::Step(step) => HistoryEntry::Step(Box::new(self.shown.step(step))),
            timelines::HistoryEntry::Unreadable((number, error)) => {
                HistoryEntry::Unreadable { number, error: self.shown.error(error, &self.folder) }
            }
        }
    }

    /// Returns what was checked as the user knows it.
    fn checked(&self, checked: timelines::Checked) -> Checked {
        let error = checked.error.map(|error| self.shown.error(error, &checked.key));
        Checked::new(checked.number, self.shown.key(&checked.key), error)
    }

    /// Begins to read a step.
    pub(crate) fn restorer(&self, step: &StepSelector) -> Result<wit::Restorer> {
        self.done(self.timeline.open_restorer(&step.into(), wit::RestoreOptions { check_content_hash: true }))
    }
}

impl Timeline for Opened {
    fn location(&self) -> String {
        self.shown.location(&self.folder)
    }

    fn append(&mut self, next: &mut dyn FnMut() -> Result<Vec<u8>>, options: &SnapshotOptions, on_conflict: OnConflict) -> Result<Step> {
        let appender = self.done(self.timeline.open_appender(&options.clone().into(), on_conflict.into()))?;
        loop {
            let part = next()?;
            if part.is_empty() {
                // The component computes the hash.
                let step = self.done(timelines::Appender::commit(appender, None))?;
                return Ok(self.shown.step(step));
            }
            self.done(appender.write(&part))?;
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.done(self.timeline.finish())
    }

    fn find(&self, wanted: &StepSelector) -> Result<Step> {
        self.done(self.timeline.find(&wanted.into())).map(|step| self.shown.step(step))
    }

    fn load(&self, number: u64) -> Result<Vec<u8>> {
        let restorer = self.restorer(&StepSelector::Number(number))?;
        let mut state = Vec::new();
        loop {
            let part = self.done(restorer.read(CHUNK))?;
            if part.is_empty() {
                return Ok(state);
            }
            state.extend(part);
        }
    }

    fn history(&self, filter: ListFilter, limit: Option<u32>) -> Result<History<'_>> {
        let page = limit.unwrap_or(PAGE).clamp(1, PAGE);
        let history = self.done(self.timeline.open_history(Some(&filter.into()), page))?;
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let entries = in_pages(move || self.done(history.next(page))).map(|entry| entry.map(|entry| self.entry(entry)));
        Ok(Box::new(entries.take(limit)))
    }

    fn check(&self, read_data: bool) -> Result<Checks<'_>> {
        let checker = self.done(self.timeline.open_checker(read_data))?;
        let checked = in_pages(move || self.done(checker.next()));
        Ok(Box::new(checked.map(|checked| checked.map(|checked| self.checked(checked)))))
    }

    fn repair(&mut self, forget_damaged: bool) -> Result<u64> {
        self.done(self.timeline.repair(forget_damaged))
    }

    fn prune(&mut self, policy: &Policy, dry_run: bool) -> Result<PruneReport> {
        self.done(self.timeline.prune(&policy.into(), dry_run)).map(PruneReport::from)
    }

    fn delete(&mut self) -> Result<u64> {
        self.done(self.timeline.delete())
    }

    fn delete_after(&mut self, newest: u64) -> Result<u64> {
        self.done(self.timeline.delete_after(newest))
    }
}

/// Leaves only the newest step of each timeline in the listing of a folder, and nothing of the
/// objects that belong to its timelines.
pub(crate) fn with_timelines(listed: Vec<Result<ListEntry>>, shown: &Shown, filter: &ListFilter) -> Vec<Result<ListEntry>> {
    // The keys of the last steps, by folder.
    let steps = listed.iter().flatten().filter_map(|entry| Some((step_of(entry.key())?.0.to_owned(), entry.key().to_owned())));
    let folders: BTreeMap<String, String> = steps.collect();
    let is_filtered = *filter != ListFilter::default();
    let is_of_timeline = |key: &str| {
        let (folder, name) = split(key);
        match timeline::parse(name) {
            // The filter may have left out all steps of the folder.
            Some(Name::Hint) => is_filtered || folders.contains_key(&folder_prefix(folder)),
            name => name.is_some(),
        }
    };
    let mut entries: Vec<Result<ListEntry>> =
        listed.into_iter().filter(|entry| !matches!(entry, Ok(entry) if is_of_timeline(entry.key()))).collect();
    for (folder, last) in &folders {
        entries.extend(match Opened::new(shown.clone(), folder).newest(filter) {
            Ok(step) => step.map(|step| Ok(ListEntry::Snapshot(Box::new(step.metadata)))),
            Err(error) if error.code() == ErrorCode::NotFound => None,
            Err(error) => Some(Ok(ListEntry::Unreadable { key: last.clone(), error })),
        });
    }
    entries
}

/// Returns what pages have, one after the other, until one is empty. Ends after an error.
fn in_pages<T>(mut next_page: impl FnMut() -> Result<Vec<T>>) -> impl Iterator<Item = Result<T>> {
    let (mut found, mut ended) = (VecDeque::new(), false);
    std::iter::from_fn(move || {
        if found.is_empty() && !ended {
            match next_page() {
                Ok(page) => found = VecDeque::from(page),
                Err(error) => {
                    ended = true;
                    return Some(Err(error));
                }
            }
            ended = found.is_empty();
        }
        found.pop_front().map(Ok)
    })
}
