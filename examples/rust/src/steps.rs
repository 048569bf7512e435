//! Timelines: every step of a session, each stored as what is new in it.
//!
//! A timeline is a resource, which lives as long as its instance. Here each call has an
//! instance of its own, so each opens the timeline anew, and an append reads the newest state
//! first. A program that appends often would keep the instance and the timeline, which keeps
//! that state.

use persist_example_host::timelines::{HistoryEntry, KeepOf, OnConflict, Outcome, Policy, PruneReport, PrunedStep, Step, StepSelector};
use persist_example_host::{Core, Host, snapshots};
use wasmtime::{Result, Store};

/// The most steps that a history returns at a time.
const PAGE_SIZE: u32 = 1000;

/// What the component answers.
type Answer<T> = std::result::Result<T, snapshots::Error>;

/// Appends a state as the next step. If another writer is faster, this fails with
/// `already-exists`; with `OnConflict::Rebase` it would take the next number.
pub(crate) fn append(
    persist: &Core,
    store: &mut Store<Host>,
    timeline: &str,
    state: &[u8],
    options: &snapshots::SaveOptions,
) -> Result<Answer<Step>> {
    let api = persist.persist_snapshot_timelines().timeline();
    let timeline = api.call_constructor(&mut *store, timeline)?;
    let appended = api.call_append(&mut *store, timeline, state, options, OnConflict::Fail, None)?;
    // It writes down that the step is there. If that fails, the step is stored all the same.
    api.call_finish(&mut *store, timeline)?.ok();
    Ok(appended)
}

/// Returns the state of a step.
pub(crate) fn load(persist: &Core, store: &mut Store<Host>, timeline: &str, number: u64) -> Result<Answer<Vec<u8>>> {
    let api = persist.persist_snapshot_timelines().timeline();
    let timeline = api.call_constructor(&mut *store, timeline)?;
    match api.call_find(&mut *store, timeline, &StepSelector::Number(number))? {
        Ok(step) => persist.persist_snapshot_snapshots().call_restore(store, &step.metadata.key),
        Err(error) => Ok(Err(error)),
    }
}

/// Returns all steps, from the newest to the oldest.
pub(crate) fn history(persist: &Core, store: &mut Store<Host>, timeline: &str) -> Result<Answer<Vec<HistoryEntry>>> {
    let api = persist.persist_snapshot_timelines();
    let timeline = api.timeline().call_constructor(&mut *store, timeline)?;
    let history = match api.timeline().call_open_history(&mut *store, timeline, None, PAGE_SIZE)? {
        Ok(history) => history,
        Err(error) => return Ok(Err(error)),
    };
    let mut entries = Vec::new();
    loop {
        match api.history().call_next(&mut *store, history, PAGE_SIZE)? {
            Ok(page) if page.is_empty() => return Ok(Ok(entries)),
            Ok(page) => entries.extend(page),
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Removes all steps except the last ones.
pub(crate) fn prune(persist: &Core, store: &mut Store<Host>, timeline: &str, keep_last: u32) -> Result<Answer<PruneReport>> {
    const NONE: KeepOf = KeepOf { count: 0, within: None };
    let policy =
        Policy { last: keep_last, hourly: NONE, daily: NONE, weekly: NONE, monthly: NONE, yearly: NONE, within: None, labels: Vec::new() };
    let api = persist.persist_snapshot_timelines().timeline();
    let timeline = api.call_constructor(&mut *store, timeline)?;
    api.call_prune(store, timeline, &policy, false)
}

/// Returns the line that stands for a step.
pub(crate) fn line(entry: &HistoryEntry) -> String {
    match entry {
        HistoryEntry::Step(step) => format!("{} {}", step.number, step.metadata.content_hash),
        HistoryEntry::Unreadable((number, error)) => format!("{number} can't be read: {}", error.message.escape_debug()),
    }
}

/// Returns the word for what became of a step.
pub(crate) fn outcome(step: &PrunedStep) -> &'static str {
    match step.outcome {
        Outcome::Kept(_) => "kept",
        Outcome::Hidden => "hidden",
        Outcome::Removed => "removed",
    }
}
