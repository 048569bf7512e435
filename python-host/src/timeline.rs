//! Timelines: reading them, and all that is done with their steps but appending.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use persist_host::timeline::{HistoryEntry, Outcome, PruneReport, Step, StepSelector};
use persist_host::{DiffSource, PersistError, StorageAdapter, View};
use persist_paths::timeline::{is_step_size, step_of};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::diff::Diff;
use crate::error::exception;
use crate::operation::{CancelToken, Operation};
use crate::options;
use crate::policy::policy;
use crate::process;
use crate::saving::{metadata_json, read_state};

/// The number of a step, its metadata as JSON, and the step that it restates.
pub(crate) type StepParts = (u64, String, Option<u64>);

/// A step or why it can't be read: its number, its metadata as JSON, the step that it
/// restates, and the exception.
type Entry = (u64, String, Option<u64>, Option<Py<PyAny>>);

/// What selects a step: text, or the name and the value of a label.
type Label = (String, Option<String>);

/// A step that a policy was applied to: number, time, size, outcome, and the rules.
type Pruned = (u64, String, u64, &'static str, Vec<String>);

/// A damaged object: the number of its step, its key, and the exception.
type Damaged = (Option<u64>, String, Py<PyAny>);

/// A timeline, for one operation or a few.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct Timeline {
    storage: Arc<dyn StorageAdapter>,
    folder: String,
}

impl Timeline {
    pub(crate) fn new(storage: Arc<dyn StorageAdapter>, folder: String) -> Self {
        Self { storage, folder }
    }

    /// Opens the timeline for an operation that the token cancels.
    pub(crate) fn open(&self, token: &persist_host::CancelToken) -> Result<persist_host::Timeline, PersistError> {
        process::engine(Arc::clone(&self.storage))?.with_cancel(token).timeline(&self.folder)
    }

    fn run<T: Send>(
        &self,
        py: Python<'_>,
        operation: &Operation,
        work: impl FnOnce(&mut persist_host::Timeline) -> Result<T, PersistError> + Send,
    ) -> PyResult<T> {
        operation.run(py, || work(&mut self.open(&operation.token)?))
    }

    /// Like [`run`](Self::run), for an operation that changes the timeline.
    fn change<T: Send>(
        &self,
        py: Python<'_>,
        token: Option<&Bound<'_, CancelToken>>,
        done: &'static str,
        work: impl FnOnce(&mut persist_host::Timeline) -> Result<T, PersistError> + Send,
    ) -> PyResult<T> {
        let operation = Operation::new(token, None);
        self.run(py, &operation, |timeline| work(timeline).inspect(|_| operation.note_change(done)))
    }
}

/// Reads what selects a step. Without either, it is the newest.
fn selector(py: Python<'_>, at: Option<String>, label: Option<Label>) -> PyResult<StepSelector> {
    match (at, label) {
        (_, Some((name, value))) => Ok(StepSelector::Label(name, value)),
        (Some(text), None) => StepSelector::parse(&text, SystemTime::now()).map_err(|error| exception(py, &error)),
        (None, None) => Ok(StepSelector::Newest),
    }
}

pub(crate) fn parts(py: Python<'_>, step: &Step) -> PyResult<StepParts> {
    Ok((step.number, metadata_json(py, &step.metadata)?, step.restates))
}

#[pymethods]
impl Timeline {
    /// Returns where the timeline is, as a user would write it.
    fn location(&self) -> String {
        self.storage.locate(&self.folder)
    }

    /// Returns a step.
    #[pyo3(signature = (at=None, label=None, token=None))]
    fn find(
        &self,
        py: Python<'_>,
        at: Option<String>,
        label: Option<Label>,
        token: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<StepParts> {
        let wanted = selector(py, at, label)?;
        let step = self.run(py, &Operation::new(token, None), |timeline| timeline.find(&wanted))?;
        parts(py, &step)
    }

    /// Returns the state of a step, of at most `max_size` bytes, and the metadata as JSON.
    #[pyo3(signature = (at=None, label=None, max_size=None, progress=None, token=None))]
    fn load<'py>(
        &self,
        py: Python<'py>,
        at: Option<String>,
        label: Option<Label>,
        max_size: Option<u64>,
        progress: Option<Py<PyAny>>,
        token: Option<&Bound<'py, CancelToken>>,
    ) -> PyResult<(Bound<'py, PyBytes>, String)> {
        let wanted = selector(py, at, label)?;
        let mut operation = Operation::new(token, progress);
        let token = operation.token.clone();
        let (state, metadata) = operation.run_telling(py, |operation| {
            let timeline = self.open(&token)?;
            read_state(timeline.reader(&wanted)?, &timeline.location(), max_size.unwrap_or(u64::MAX), operation)
        })?;
        Ok((PyBytes::new(py, &state), metadata_json(py, &metadata)?))
    }

    /// Copies the steps up to one of them into another folder. Returns the number of the last.
    #[pyo3(signature = (target, at=None, label=None, token=None))]
    fn fork(
        &self,
        py: Python<'_>,
        target: &Bound<'_, Self>,
        at: Option<String>,
        label: Option<Label>,
        token: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<u64> {
        let wanted = selector(py, at, label)?;
        let (storage, folder) = (Arc::clone(&target.get().storage), target.get().folder.clone());
        let operation = Operation::new(token, None);
        self.run(py, &operation, |timeline| {
            let engine = process::engine(storage)?.with_cancel(&operation.token);
            let forked = timeline.fork(&wanted, &engine, &folder, |_| ())?;
            operation.note_change("the timeline was forked all the same");
            Ok(forked.newest)
        })
    }

    /// Copies the timeline, or what has come since an earlier copy, into another folder. Returns
    /// how many steps were copied.
    #[pyo3(signature = (target, token=None))]
    fn copy(&self, py: Python<'_>, target: &Bound<'_, Self>, token: Option<&Bound<'_, CancelToken>>) -> PyResult<u64> {
        let (storage, folder) = (Arc::clone(&target.get().storage), target.get().folder.clone());
        let operation = Operation::new(token, None);
        self.run(py, &operation, |timeline| {
            let engine = process::engine(storage)?.with_cancel(&operation.token);
            let copied = timeline.copy(&engine, &folder, |_| ())?;
            operation.note_change("the timeline was copied all the same");
            Ok(copied.steps)
        })
    }

    /// Compares a step with one of this or another timeline. Returns their numbers, too.
    #[pyo3(signature = (before, after, other=None, token=None))]
    fn diff(
        &self,
        py: Python<'_>,
        before: (Option<String>, Option<Label>),
        after: (Option<String>, Option<Label>),
        other: Option<&Bound<'_, Self>>,
        token: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<(Diff, u64, u64)> {
        let (before, after) = (selector(py, before.0, before.1)?, selector(py, after.0, after.1)?);
        let other = other.map_or(self, |other| other.get());
        let operation = Operation::new(token, None);
        let (diff, view, first, second) = operation.run(py, || {
            let found = |timeline: &Self, wanted| {
                let engine = process::engine(Arc::clone(&timeline.storage))?.with_cancel(&operation.token);
                let step = engine.timeline(&timeline.folder)?.find(wanted)?;
                Ok::<_, PersistError>((engine, step.metadata, step.number))
            };
            let ((one, before, first), (two, after, second)) = (found(self, &before)?, found(other, &after)?);
            let view = View::of(&before.content_type, &after.content_type);
            let diff = one.diff_with(DiffSource::Stored(before.key), &two, DiffSource::Stored(after.key))?;
            Ok((diff, view, first, second))
        })?;
        Ok((Diff::new(diff, view, operation), first, second))
    }

    /// Begins to read the history, the newest step first.
    #[pyo3(signature = (wanted, limit=None, token=None))]
    fn history(
        &self,
        py: Python<'_>,
        wanted: &Bound<'_, PyDict>,
        limit: Option<u32>,
        token: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<History> {
        let (operation, filter) = (Operation::new(token, None), options::list_filter(wanted)?);
        let history = self.run(py, &operation, |timeline| timeline.history(filter, limit))?;
        Ok(History { history: Mutex::new(history), operation })
    }

    /// Sets a label of a step, or removes it.
    #[pyo3(signature = (number, name, value, token=None))]
    fn set_label(
        &self,
        py: Python<'_>,
        number: u64,
        name: &str,
        value: Option<&str>,
        token: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        self.change(py, token, "the label was changed all the same", |timeline| timeline.set_label(number, name, value))
    }

    /// Removes the steps that a policy does not keep. Returns the steps, the number of a
    /// step that restates the newest one, and how many bytes were freed and are left.
    #[pyo3(signature = (rules, dry_run, token=None))]
    fn prune(
        &self,
        py: Python<'_>,
        rules: &Bound<'_, PyDict>,
        dry_run: bool,
        token: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<(Vec<Pruned>, Option<u64>, u64, u64)> {
        let (operation, policy) = (Operation::new(token, None), policy(rules)?);
        let report = self.run(py, &operation, |timeline| {
            let report = timeline.prune(&policy, dry_run)?;
            if !dry_run {
                operation.note_change("the timeline was pruned all the same");
            }
            Ok(report)
        })?;
        let PruneReport { steps, restated_as, freed, left, .. } = report;
        let pruned = steps.into_iter().map(|step| {
            let (outcome, rules) = match step.outcome {
                Outcome::Kept(rules) => ("kept", rules),
                Outcome::Hidden => ("hidden", Vec::new()),
                Outcome::Removed => ("removed", Vec::new()),
            };
            (step.number, step.timestamp, step.stored_size, outcome, rules)
        });
        Ok((pruned.collect(), restated_as, freed, left))
    }

    /// Removes the steps with these numbers, but never the newest. Returns how many.
    #[pyo3(signature = (numbers, token=None))]
    fn remove(&self, py: Python<'_>, numbers: Vec<u64>, token: Option<&Bound<'_, CancelToken>>) -> PyResult<u64> {
        self.change(py, token, "the steps were removed all the same", |timeline| timeline.remove(&numbers))
    }

    /// Checks all steps. Returns for each damaged object the step's number, the key, and
    /// the exception. Progress counts steps.
    #[pyo3(signature = (read_data, progress=None, token=None))]
    fn check(
        &self,
        py: Python<'_>,
        read_data: bool,
        progress: Option<Py<PyAny>>,
        token: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<Vec<Damaged>> {
        let mut operation = Operation::new(token, progress);
        let token = operation.token.clone();
        let damaged = operation.run_telling(py, |operation| {
            let mut checks = self.open(&token)?.check(read_data)?;
            let (mut damaged, mut done) = (Vec::new(), 0);
            let total = checks.left()?;
            while let Some(checked) = checks.next().transpose()? {
                if checked.number.is_some() {
                    done += 1;
                    operation.tell(done, Some(total.max(done)))?;
                }
                damaged.extend(checked.error.map(|error| (checked.number, checked.key, error)));
            }
            Ok(damaged)
        })?;
        let raised = |error| exception(py, &error).into_value(py).into_any();
        Ok(damaged.into_iter().map(|(number, key, error)| (number, key, raised(error))).collect())
    }

    /// Rewrites what is derived from the steps. Returns how many objects were written.
    #[pyo3(signature = (forget_damaged, token=None))]
    fn repair(&self, py: Python<'_>, forget_damaged: bool, token: Option<&Bound<'_, CancelToken>>) -> PyResult<u64> {
        self.change(py, token, "the timeline was repaired all the same", |timeline| timeline.repair(forget_damaged))
    }

    /// Deletes the timeline; with `after`, only if that is still the number of the newest step.
    /// Returns how many steps were removed.
    #[pyo3(signature = (after=None, token=None))]
    fn delete(&self, py: Python<'_>, after: Option<u64>, token: Option<&Bound<'_, CancelToken>>) -> PyResult<u64> {
        self.change(py, token, "the timeline was deleted all the same", |timeline| match after {
            Some(newest) => timeline.delete_after(newest),
            None => timeline.delete(),
        })
    }
}

/// The steps of a timeline, from the newest to the oldest.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct History {
    history: Mutex<persist_host::History>,
    operation: Operation,
}

#[pymethods]
impl History {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Entry>> {
        let next = self.operation.run(py, || self.history.lock().unwrap_or_else(PoisonError::into_inner).next().transpose())?;
        Ok(match next {
            None => None,
            Some(HistoryEntry::Step(step)) => {
                let (number, metadata, restates) = parts(py, &step)?;
                Some((number, metadata, restates, None))
            }
            Some(HistoryEntry::Unreadable { number, error }) => {
                let raised = exception(py, &error).into_value(py).into_any();
                Some((number, String::new(), None, Some(raised)))
            }
        })
    }
}

/// How many objects are listed at a time: the page size of S3.
const PAGE: u32 = 1000;

/// Returns the folders of the timelines whose keys begin with the prefix. Those of which
/// only markers are left were deleted.
pub(crate) fn folders(storage: &dyn StorageAdapter, prefix: &str, token: &persist_host::CancelToken) -> Result<Vec<String>, PersistError> {
    let mut folders = BTreeSet::new();
    let mut after: Option<String> = None;
    loop {
        token.check()?;
        let page = storage.list_objects(prefix, after.as_deref(), PAGE)?;
        let steps = page.iter().filter(|info| is_step_size(info.size)).filter_map(|info| step_of(&info.key));
        folders.extend(steps.map(|(folder, _)| folder.to_owned()));
        match page.last() {
            Some(last) if page.len() >= PAGE as usize => after = Some(last.key.clone()),
            _ => return Ok(folders.into_iter().collect()),
        }
    }
}
