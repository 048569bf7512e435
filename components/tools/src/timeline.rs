//! Appends to timelines, and loads and lists their steps.

use std::time::SystemTime;

use persist_model::{SnapshotOptions, StepSelector};
use persist_paths::ids::id_of;

use crate::bindings::generated as tools;
use crate::bindings::snapshots::{self, Error};
use crate::bindings::timelines::{self, HistoryEntry, Timeline};
use crate::bindings::types::Precondition;
use crate::convert::{pairs, wrong};

/// The steps in a page of the history, unless a limit is given.
const DEFAULT_LIMIT: u32 = 20;

/// The most steps in a page.
const MAX_LIMIT: u32 = 1000;

/// Options without any fields set.
const NOTHING: tools::AppendOptions = tools::AppendOptions {
    agent_id: None,
    session_id: None,
    description: None,
    labels: None,
    content_type: None,
    codec: None,
    level: None,
    on_conflict: None,
    snapshot_id: None,
    timestamp: None,
};

fn open(timeline: &str) -> Timeline {
    Timeline::new(&format!("{}/", timeline.trim_end_matches('/')))
}

/// Returns the IDs of agent and session after which the last folders of a timeline are named,
/// as in the command.
fn ids(timeline: &str) -> (Option<String>, Option<String>) {
    let mut folders = timeline.rsplit('/').filter(|folder| !folder.is_empty());
    let mut id = || folders.next().map(|folder| id_of(folder).unwrap_or_else(|| folder.to_owned()));
    let session = id();
    (id(), session)
}

fn save_options(timeline: &str, options: tools::AppendOptions, size: u64) -> snapshots::SaveOptions {
    let default = SnapshotOptions::default();
    let (agent, session) = ids(timeline);
    snapshots::SaveOptions {
        agent_id: options.agent_id.or(agent).unwrap_or(default.agent_id),
        session_id: options.session_id.or(session).unwrap_or(default.session_id),
        // The place in the session is the number.
        snapshot_index: 0,
        description: options.description,
        labels: pairs(options.labels),
        content_type: options.content_type,
        extra: None,
        codec: options.codec.map(snapshots::Codec::from),
        level: options.level,
        snapshot_id: options.snapshot_id,
        timestamp: options.timestamp,
        precondition: Precondition::None,
        state_size_hint: Some(size),
        attributes: Vec::new(),
        host_hashes: false,
    }
}

pub(crate) fn append(timeline: &str, state: String, options: Option<tools::AppendOptions>) -> Result<timelines::Step, Error> {
    let options = options.unwrap_or(NOTHING);
    let on_conflict = options.on_conflict.unwrap_or(tools::OnConflict::Fail).into();
    let options = save_options(timeline, options, state.len() as u64);
    let timeline = open(timeline);
    let step = timeline.append(state.as_bytes(), &options, on_conflict, None)?;
    // The step is stored all the same. The next append writes down what this one could not.
    let _ = timeline.finish();
    Ok(step)
}

/// Finds a step of a timeline. Returns its key.
pub(crate) fn find(timeline: &str, step: &str) -> Result<String, tools::Error> {
    let selector = StepSelector::parse(step, SystemTime::now())?;
    Ok(open(timeline).find(&(&selector).into())?.metadata.key)
}

pub(crate) fn load(timeline: &str, step: Option<&str>) -> Result<String, tools::Error> {
    Ok(snapshots::restore_text(&find(timeline, step.unwrap_or("latest"))?)?)
}

/// Returns a page of the history. The component has no way to start at a number, so the steps
/// before the page are read again; that takes little, since their catalogues are read.
pub(crate) fn history(
    timeline: &str,
    before: Option<u64>,
    limit: Option<u32>,
    filter: Option<tools::ListFilter>,
) -> Result<tools::HistoryPage, tools::Error> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(wrong(format!("a page has 1 to {MAX_LIMIT} steps, not {limit}")));
    }
    let timeline = open(timeline);
    let filter = filter.map(snapshots::ListFilter::from);
    let history = timeline.open_history(filter.as_ref(), limit)?;
    let mut page = tools::HistoryPage { steps: Vec::new(), unreadable: Vec::new(), next: None };
    let (mut last, mut count) = (None, 0);
    loop {
        let entries = history.next(limit)?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            let number = number(&entry);
            if before.is_some_and(|before| number >= before) {
                continue;
            }
            if count == limit {
                page.next = last;
                return Ok(page);
            }
            (last, count) = (Some(number), count + 1);
            match entry {
                HistoryEntry::Step(step) => page.steps.push(step.into()),
                HistoryEntry::Unreadable((number, error)) => {
                    page.unreadable.push(tools::UnreadableStep { number, error: error.into() });
                }
            }
        }
    }
    if count == 0 {
        // Nothing matches; or there is no timeline.
        timeline.find(&timelines::StepSelector::Newest)?;
    }
    Ok(page)
}

fn number(entry: &HistoryEntry) -> u64 {
    match entry {
        HistoryEntry::Step(step) => step.number,
        HistoryEntry::Unreadable((number, _)) => *number,
    }
}
