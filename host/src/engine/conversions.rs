//! Conversions between the types of timelines and those that cross the component's boundary.

use persist_model::{Checked, Every, HistoryEntry, Outcome, Period, Policy, PruneReport, PrunedStep, SnapshotMetadata, Step, StepSelector};

use crate::sandbox::{from_guest, timelines as wit};
use crate::storage::StorageAdapter;

pub(super) fn step(step: wit::Step) -> Step {
    Step { number: step.number, metadata: SnapshotMetadata::from(step.metadata), restates: step.restates }
}

pub(super) fn entry(entry: wit::HistoryEntry, storage: &dyn StorageAdapter) -> HistoryEntry {
    match entry {
        wit::HistoryEntry::Step(found) => HistoryEntry::Step(Box::new(step(found))),
        wit::HistoryEntry::Unreadable((number, error)) => HistoryEntry::Unreadable { number, error: from_guest(error, storage) },
    }
}

pub(super) fn checked(checked: wit::Checked, storage: &dyn StorageAdapter) -> Checked {
    Checked { number: checked.number, error: checked.error.map(|error| from_guest(error, storage)), key: checked.key }
}

pub(super) fn selector(selector: &StepSelector) -> wit::StepSelector {
    match selector {
        StepSelector::Newest => wit::StepSelector::Newest,
        StepSelector::Number(number) => wit::StepSelector::Number(*number),
        StepSelector::FromNewest(place) => wit::StepSelector::FromNewest(*place),
        StepSelector::AtTime(time) => wit::StepSelector::AtTime(time.clone()),
        StepSelector::Label(name, value) => wit::StepSelector::Label((name.clone(), value.clone())),
    }
}

fn period(period: Period) -> wit::Period {
    let Period { years, months, days, hours } = period;
    wit::Period { years, months, days, hours }
}

pub(super) fn policy(policy: &Policy) -> wit::Policy {
    let keep = |every: Every| wit::KeepOf {
        count: policy.newest.get(&every).copied().unwrap_or(0),
        within: policy.newest_within.get(&every).copied().map(period),
    };
    wit::Policy {
        last: policy.last,
        hourly: keep(Every::Hour),
        daily: keep(Every::Day),
        weekly: keep(Every::Week),
        monthly: keep(Every::Month),
        yearly: keep(Every::Year),
        within: policy.within.map(period),
        labels: policy.labels.clone(),
    }
}

pub(super) fn report(report: wit::PruneReport) -> PruneReport {
    let step = |step: wit::PrunedStep| PrunedStep {
        number: step.number,
        timestamp: step.timestamp,
        stored_size: step.stored_size,
        outcome: match step.outcome {
            wit::Outcome::Kept(rules) => Outcome::Kept(rules),
            wit::Outcome::Hidden => Outcome::Hidden,
            wit::Outcome::Removed => Outcome::Removed,
        },
    };
    let steps = report.steps.into_iter().map(step).collect();
    PruneReport { steps, restated_as: report.restated_as, freed: report.freed, left: report.left }
}
