//! The types of timelines: what a step is, how one is selected, and what a policy keeps.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use crate::error::{ErrorCode, PersistError, Result};
use crate::metadata::SnapshotMetadata;
use crate::time;

/// What an append does if another writer was faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Fails with `AlreadyExists`.
    #[default]
    Fail,
    /// Appends the state after the other writer's.
    Rebase,
}

/// A step of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Its number.
    pub number: u64,
    /// Its metadata. The labels include those that were set later.
    pub metadata: SnapshotMetadata,
    /// The step whose state and metadata it repeats, because that one was removed.
    pub restates: Option<u64>,
}

impl Step {
    /// Returns a step that repeats no other.
    pub fn new(number: u64, metadata: SnapshotMetadata) -> Self {
        Self { number, metadata, restates: None }
    }
}

/// An entry of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryEntry {
    /// A step.
    Step(Box<Step>),
    /// A step that can't be read.
    Unreadable {
        /// Its number.
        number: u64,
        /// Why.
        error: PersistError,
    },
}

impl HistoryEntry {
    /// Returns the number of the step.
    pub fn number(&self) -> u64 {
        match self {
            Self::Step(step) => step.number,
            Self::Unreadable { number, .. } => *number,
        }
    }
}

/// Selects one step of a timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StepSelector {
    /// The newest.
    #[default]
    Newest,
    /// The one with this number.
    Number(u64),
    /// The one at this place, counted from the newest, which is at 1.
    FromNewest(u64),
    /// The newest whose state was taken at this time or earlier: RFC 3339.
    AtTime(String),
    /// The newest with this label; with any value, if there is none.
    Label(String, Option<String>),
}

impl StepSelector {
    /// Reads `42`, `latest`, `-1` (the newest; `-2` is the one before it), a date, a time or
    /// an age such as `2026-01-31T12:00Z` or `7d`, or a label such as `name=value`.
    ///
    /// # Errors
    /// `Configuration` for any other text.
    pub fn parse(text: &str, now: SystemTime) -> Result<Self> {
        if text == "latest" {
            return Ok(Self::Newest);
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let number: Option<u64> = digits.parse().ok().filter(|number| *number > 0);
            let number = number.ok_or_else(|| wrong(text))?;
            return Ok(if digits.len() < text.len() { Self::FromNewest(number) } else { Self::Number(number) });
        }
        if let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) {
            return Ok(Self::Label(name.to_owned(), Some(value.to_owned())));
        }
        time::moment(text, now).map(Self::AtTime).map_err(|_| wrong(text))
    }
}

fn wrong(text: &str) -> PersistError {
    let message = format!("'{}' does not select a step", text.escape_debug());
    PersistError::new(ErrorCode::InvalidArgument, message)
        .hint("use a number, latest, -2 for the one before the newest, a time such as 2026-01-31T12:00Z, or a label such as name=value")
}

/// A period of time: calendar years and months, then days and hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Period {
    /// Calendar years.
    pub years: u32,
    /// Calendar months.
    pub months: u32,
    /// Days of 24 hours.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

crate::setters!(Period { years: u32, months: u32, days: u32, hours: u32 });

impl FromStr for Period {
    type Err = PersistError;

    /// Reads a period such as `1y6m`, `30d` or `36h`: years, months, days and hours, each
    /// at most once and in this order.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let message = format!("'{}' is not a period", text.escape_debug());
            PersistError::new(ErrorCode::InvalidArgument, message).hint("write it like 1y6m, 30d or 36h: years, months, days and hours")
        };
        let mut period = Self::default();
        let mut rest = text;
        for (unit, part) in [('y', &mut period.years), ('m', &mut period.months), ('d', &mut period.days), ('h', &mut period.hours)] {
            let Some((digits, after)) = rest.split_once(unit) else { continue };
            *part = digits.parse().map_err(|_| wrong())?;
            rest = after;
        }
        if rest.is_empty() && period != Self::default() { Ok(period) } else { Err(wrong()) }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, unit)| write!(f, "{count}{unit}"))
    }
}

/// A part of the calendar of which the newest step is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Every {
    /// Each hour.
    Hour,
    /// Each day.
    Day,
    /// Each week, from Monday on (ISO 8601).
    Week,
    /// Each month.
    Month,
    /// Each year.
    Year,
}

impl Every {
    /// All, from the shortest to the longest.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// Returns the name as in the options: `hourly`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }
}

/// What to keep. A step is kept if any rule keeps it, and the newest is kept in any case.
/// The words and their meaning are those of restic's `forget`; all times are UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The newest steps, this many.
    pub last: u32,
    /// The newest step of each of this many hours, days and so on, of those that have one.
    pub newest: BTreeMap<Every, u32>,
    /// All steps that are at most this much older than the newest time.
    pub within: Option<Period>,
    /// The newest step of each hour, day and so on, of steps that are at most this much
    /// older than the newest time.
    pub newest_within: BTreeMap<Every, Period>,
    /// All steps with one of these labels; with any value, if there is none.
    pub labels: Vec<(String, Option<String>)>,
}

crate::setters!(Policy {
    last: u32,
    newest: BTreeMap<Every, u32>,
    within: impl Into<Option<Period>>,
    newest_within: BTreeMap<Every, Period>,
    labels: Vec<(String, Option<String>)>,
});

/// What happens to a step when a timeline is pruned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is kept, because of these rules.
    Kept(Vec<String>),
    /// It is no longer shown, but stays stored, because kept steps refer to it.
    Hidden,
    /// It is removed.
    Removed,
}

/// A step that a policy was applied to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrunedStep {
    /// Its number.
    pub number: u64,
    /// When its state was taken; empty if it can't be read.
    pub timestamp: String,
    /// The size of the object in bytes.
    pub stored_size: u64,
    /// What happens to it.
    pub outcome: Outcome,
}

impl PrunedStep {
    /// Returns a step, when its state was taken, its size, and what happens to it.
    pub fn new(number: u64, timestamp: String, stored_size: u64, outcome: Outcome) -> Self {
        Self { number, timestamp, stored_size, outcome }
    }
}

/// What pruning a timeline did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PruneReport {
    /// All steps that were shown before, the newest first.
    pub steps: Vec<PrunedStep>,
    /// The number of a new step that repeats the newest one, so that this one can be removed.
    pub restated_as: Option<u64>,
    /// The bytes of the objects that are no longer used.
    pub freed: u64,
    /// The size of all objects of the timeline that are left, in bytes.
    pub left: u64,
}

/// A step, or another object of a timeline, that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// The number of the step. `None` for another object, and for a second entry of a step that
    /// can be restored but is not the one that was appended there.
    pub number: Option<u64>,
    /// The key of the object.
    pub key: String,
    /// What is wrong. A step with an error can't be restored.
    pub error: Option<PersistError>,
}

impl Checked {
    /// Returns what came of checking an object.
    pub fn new(number: Option<u64>, key: String, error: Option<PersistError>) -> Self {
        Self { number, key, error }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn selectors_are_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_860_800); // 2026-01-31T12:00:00Z
        let time = |text: &str| StepSelector::AtTime(text.to_owned());
        for (text, selector) in [
            ("42", StepSelector::Number(42)),
            ("latest", StepSelector::Newest),
            ("-1", StepSelector::FromNewest(1)),
            ("-20", StepSelector::FromNewest(20)),
            ("2026-01-31T12:00Z", time("2026-01-31T12:00:00.000000Z")),
            ("2026-01-31T12:00:30+02:00", time("2026-01-31T10:00:30.000000Z")),
            ("7d", time("2026-01-24T12:00:00.000000Z")),
            ("2026-01-31", time("2026-01-31T00:00:00.000000Z")),
            ("reason=error", StepSelector::Label("reason".to_owned(), Some("error".to_owned()))),
        ] {
            assert_eq!(StepSelector::parse(text, now), Ok(selector), "{text}");
        }
        for text in ["", "0", "-0", "-", "x", "4.2", "99999999999999999999", "=x", "2026-13-01"] {
            let error = StepSelector::parse(text, now);
            assert!(error.is_err_and(|error| error.code() == ErrorCode::InvalidArgument), "{text}");
        }
    }

    #[test]
    fn periods_are_read_and_written() {
        for (text, period) in [
            ("1y6m", Period { years: 1, months: 6, ..Period::default() }),
            ("30d", Period { days: 30, ..Period::default() }),
            ("2y5m7d3h", Period { years: 2, months: 5, days: 7, hours: 3 }),
        ] {
            assert_eq!(text.parse(), Ok(period), "{text}");
            assert_eq!(period.to_string(), text);
        }
        for text in ["", "3", "d", "1d1y", "-1d", "1.5h", "0d", "1w"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
