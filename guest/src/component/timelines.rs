//! Exports the interface `timelines`.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use persist_model::{Every, OnConflict, Outcome, Period, Policy, StepSelector};
use time::OffsetDateTime;

use super::Component;
use super::bindings::{Answer, timelines as wit, wit as snapshots};
use super::convert::hash;
use super::snapshots::Opened;
use super::storage::HostStorage;
use crate::error::{Error, ErrorCode};
use crate::metadata::{Metadata, parse_time};
use crate::snapshots::ListFilter;
use crate::timeline::forget::{Candidate, Keeps as _, keep_newest};
use crate::timeline::{Appender, Checker, Entry, History, Timeline};

type Shared = Rc<RefCell<Timeline<HostStorage>>>;

fn hash_option(bytes: Option<Vec<u8>>) -> Result<Option<[u8; 32]>, Error> {
    bytes.as_deref().map(hash).transpose()
}

fn step(number: u64, metadata: Metadata, restates: Option<u64>) -> wit::Step {
    wit::Step { number, metadata: metadata.into(), restates }
}

impl From<wit::OnConflict> for OnConflict {
    fn from(on_conflict: wit::OnConflict) -> Self {
        match on_conflict {
            wit::OnConflict::Fail => Self::Fail,
            wit::OnConflict::Rebase => Self::Rebase,
        }
    }
}

impl From<wit::StepSelector> for StepSelector {
    fn from(selector: wit::StepSelector) -> Self {
        match selector {
            wit::StepSelector::Newest => Self::Newest,
            wit::StepSelector::Number(number) => Self::Number(number),
            wit::StepSelector::FromNewest(place) => Self::FromNewest(place),
            wit::StepSelector::AtTime(time) => Self::AtTime(time),
            wit::StepSelector::Label((name, value)) => Self::Label(name, value),
        }
    }
}

impl From<wit::Period> for Period {
    fn from(period: wit::Period) -> Self {
        let wit::Period { years, months, days, hours } = period;
        Self::default().years(years).months(months).days(days).hours(hours)
    }
}

impl From<wit::Policy> for Policy {
    fn from(policy: wit::Policy) -> Self {
        let wit::Policy { last, hourly, daily, weekly, monthly, yearly, within, labels } = policy;
        let mut converted = Self::default();
        (converted.last, converted.within, converted.labels) = (last, within.map(Period::from), labels);
        for (every, keep) in Every::ALL.into_iter().zip([hourly, daily, weekly, monthly, yearly]) {
            if keep.count > 0 {
                converted.newest.insert(every, keep.count);
            }
            if let Some(within) = keep.within {
                converted.newest_within.insert(every, within.into());
            }
        }
        converted
    }
}

impl wit::GuestHistory for RefCell<History<HostStorage>> {
    fn next(&self, limit: u32) -> Answer<Vec<wit::HistoryEntry>> {
        let entry = |entry: Entry| match entry.metadata {
            Ok(metadata) => wit::HistoryEntry::Step(step(entry.number, metadata, entry.restates)),
            Err(error) => wit::HistoryEntry::Unreadable((entry.number, error.into())),
        };
        Ok(self.borrow_mut().next(limit)?.into_iter().map(entry).collect())
    }
}

impl wit::GuestChecker for RefCell<Checker<HostStorage>> {
    fn left(&self) -> u64 {
        self.borrow().left() as u64
    }

    fn next(&self) -> Answer<Vec<wit::Checked>> {
        let checked = self.borrow_mut().next_batch()?.into_iter();
        Ok(checked.map(|checked| wit::Checked { number: checked.number, key: checked.key, error: checked.error.map(Into::into) }).collect())
    }
}

impl wit::GuestAppender for RefCell<Appender<HostStorage>> {
    fn write(&self, chunk: Vec<u8>) -> Answer<()> {
        Ok(self.borrow_mut().write(&chunk)?)
    }

    fn commit(appender: wit::Appender, content_hash: Option<Vec<u8>>) -> Answer<wit::Step> {
        let content_hash = hash_option(content_hash)?;
        let (number, metadata) = appender.into_inner::<Self>().into_inner().commit(content_hash)?;
        Ok(step(number, metadata, None))
    }
}

/// Returns the present, for policies.
fn now() -> OffsetDateTime {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    OffsetDateTime::UNIX_EPOCH + since_1970
}

/// The handle may be in use by an appender only.
fn in_use() -> Error {
    Error::new(ErrorCode::InvalidArgument, "the timeline is in use by an appender: commit it or drop it first")
}

impl wit::GuestTimeline for Shared {
    fn new(folder: String) -> Self {
        Rc::new(RefCell::new(Timeline::new(HostStorage, &folder)))
    }

    fn append(
        &self,
        state: Vec<u8>,
        options: snapshots::SaveOptions,
        on_conflict: wit::OnConflict,
        content_hash: Option<Vec<u8>>,
    ) -> Answer<wit::Step> {
        let content_hash = hash_option(content_hash)?;
        let mut timeline = self.try_borrow_mut().map_err(|_| in_use())?;
        let (number, metadata) = timeline.append(state, &options.into(), on_conflict.into(), content_hash)?;
        Ok(step(number, metadata, None))
    }

    fn open_appender(&self, options: snapshots::SaveOptions, on_conflict: wit::OnConflict) -> Answer<wit::Appender> {
        let appender = Appender::open(Rc::clone(self), options.into(), on_conflict.into())?;
        Ok(wit::Appender::new(RefCell::new(appender)))
    }

    fn finish(&self) -> Answer<()> {
        Ok(self.borrow_mut().finish()?)
    }

    fn find(&self, selector: wit::StepSelector) -> Answer<wit::Step> {
        let entry = self.borrow().find(&selector.into())?;
        Ok(step(entry.number, entry.metadata?, entry.restates))
    }

    fn open_restorer(&self, selector: wit::StepSelector, options: snapshots::RestoreOptions) -> Answer<snapshots::Restorer> {
        let reader = self.borrow().open_selected(&selector.into(), options.check_content_hash)?;
        Ok(snapshots::Restorer::new(RefCell::new(Opened::Step(Box::new(reader)))))
    }

    fn open_history(&self, filter: Option<snapshots::ListFilter>, limit: u32) -> Answer<wit::History> {
        let filter = filter.map(ListFilter::from).unwrap_or_default();
        Ok(wit::History::new(RefCell::new(self.borrow().history(filter, limit)?)))
    }

    fn set_label(&self, number: u64, name: String, value: Option<String>) -> Answer<()> {
        Ok(self.borrow().label(number, &name, value.as_deref())?)
    }

    fn prune(&self, policy: wit::Policy, dry_run: bool) -> Answer<wit::PruneReport> {
        let report = self.borrow_mut().prune(&policy.into(), now(), dry_run)?;
        let steps = report.steps.into_iter().map(|step| wit::PrunedStep {
            number: step.number,
            timestamp: step.timestamp,
            stored_size: step.stored_size,
            outcome: match step.outcome {
                Outcome::Kept(rules) => wit::Outcome::Kept(rules),
                Outcome::Hidden => wit::Outcome::Hidden,
                Outcome::Removed => wit::Outcome::Removed,
            },
        });
        Ok(wit::PruneReport { steps: steps.collect(), restated_as: report.restated_as, freed: report.freed, left: report.left })
    }

    fn remove(&self, numbers: Vec<u64>) -> Answer<u64> {
        Ok(self.borrow_mut().remove(&numbers)?)
    }

    fn open_checker(&self, read_data: bool) -> Answer<wit::Checker> {
        Ok(wit::Checker::new(RefCell::new(self.borrow().check(read_data)?)))
    }

    fn repair(&self, forget_damaged: bool) -> Answer<u64> {
        Ok(self.borrow_mut().repair(forget_damaged)?)
    }

    fn delete(&self) -> Answer<u64> {
        Ok(self.borrow_mut().delete()?)
    }

    fn delete_after(&self, newest: u64) -> Answer<u64> {
        Ok(self.borrow_mut().delete_after(newest)?)
    }

    fn hint(&self, number: u64) -> Answer<Vec<u8>> {
        Ok(self.borrow().hint(number)?)
    }

    fn newest_hint(&self) -> Answer<(u64, Vec<u8>)> {
        Ok(self.borrow_mut().newest_hint()?)
    }
}

impl wit::Guest for Component {
    type History = RefCell<History<HostStorage>>;
    type Checker = RefCell<Checker<HostStorage>>;
    type Appender = RefCell<Appender<HostStorage>>;
    type Timeline = Shared;

    fn apply_policy(policy: wit::Policy, candidates: Vec<wit::Candidate>) -> Answer<Vec<Vec<String>>> {
        let candidate = |(number, candidate): (u64, wit::Candidate)| {
            let time = parse_time("timestamp", &candidate.timestamp)?;
            Ok(Candidate { number, time, labels: candidate.labels.into_iter().collect() })
        };
        let count = candidates.len();
        let candidates = (1..).zip(candidates).map(candidate).collect::<Result<Vec<_>, Error>>()?;
        let mut kept = Policy::from(policy).kept(&candidates, now())?;
        // The newest is kept in any case.
        if count > 0 {
            keep_newest(&mut kept, count as u64);
        }
        Ok((1..=count as u64).map(|number| kept.get(number).cloned().unwrap_or_default()).collect())
    }
}
