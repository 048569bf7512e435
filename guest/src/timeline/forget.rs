//! Which steps a policy keeps. The words and their meaning are those of restic's `forget`.
//!
//! All times are UTC. The order of steps is that of their numbers, whatever their times
//! say, since a clock may have been wrong.

use std::collections::{BTreeMap, HashMap};

use persist_model::{Every, Period, Policy};
use time::{Date, Duration, OffsetDateTime};

use crate::error::{Error, Result};
use crate::timeline::numbered::Numbered;

/// What a policy looks at.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The number of the step.
    pub(crate) number: u64,
    /// When the state was taken.
    pub(crate) time: OffsetDateTime,
    /// The labels.
    pub(crate) labels: BTreeMap<String, String>,
}

/// Returns the part of the calendar that a time is in.
fn part(every: Every, time: OffsetDateTime) -> (i32, u16, u8) {
    let date = time.date();
    match every {
        Every::Hour => (date.year(), date.ordinal(), time.hour()),
        Every::Day => (date.year(), date.ordinal(), 0),
        Every::Week => {
            let (year, week, _) = date.to_iso_week_date();
            (year, week.into(), 0)
        }
        Every::Month => (date.year(), u8::from(date.month()).into(), 0),
        Every::Year => (date.year(), 0, 0),
    }
}

/// Returns the time that is a period earlier. A day that the month does not have is its last
/// day: a month before 31 March is the end of February.
fn before(period: Period, time: OffsetDateTime) -> OffsetDateTime {
    let months = i64::from(period.years) * 12 + i64::from(period.months);
    let date = months_before(time.date(), months);
    let earlier = date.map(|date| time.replace_date(date));
    let hours = i64::from(period.days) * 24 + i64::from(period.hours);
    earlier.and_then(|time| time.checked_sub(Duration::hours(hours))).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn months_before(date: Date, months: i64) -> Option<Date> {
    let index = i64::from(date.year()) * 12 + i64::from(u8::from(date.month())) - 1 - months;
    let year = i32::try_from(index.div_euclid(12)).ok()?;
    let month = time::Month::try_from(u8::try_from(index.rem_euclid(12) + 1).ok()?).ok()?;
    Date::from_calendar_date(year, month, date.day().min(month.length(year))).ok()
}

/// Decides what a policy keeps.
pub(crate) trait Keeps {
    /// Refuses a policy without rules, which would keep nothing.
    fn check(&self) -> Result<()>;

    /// Returns the kept steps, each with the rules that keep it. `candidates` are in any
    /// order. A policy without rules is refused.
    ///
    /// Periods are counted back from the newest time that is not after `now`. So one step
    /// with a time in the future keeps itself, and does not make all others old.
    fn kept(&self, candidates: &[Candidate], now: OffsetDateTime) -> Result<Numbered<Vec<String>>>;
}

impl Keeps for Policy {
    fn check(&self) -> Result<()> {
        let counts = self.newest.values().all(|count| *count == 0);
        if self.last == 0 && counts && self.within.is_none() && self.newest_within.is_empty() && self.labels.is_empty() {
            return Err(Error::argument("the policy keeps nothing: set at least one rule, such as --keep-last 1"));
        }
        Ok(())
    }

    fn kept(&self, candidates: &[Candidate], now: OffsetDateTime) -> Result<Numbered<Vec<String>>> {
        self.check()?;
        let mut by_number = Numbered::default();
        for step in candidates {
            by_number.insert(step.number, step);
        }
        let newest_first: Vec<&Candidate> = by_number.into_vec().into_iter().rev().map(|(_, step)| step).collect();
        let present = newest_first.iter().map(|step| step.time).filter(|time| *time <= now).max().unwrap_or(now);
        // From the oldest on, which is the order that it is filled in quickly.
        let mut kept: Numbered<Vec<String>> = Numbered::default();
        for step in newest_first.iter().rev() {
            kept.insert(step.number, Vec::new());
        }
        let mut keep = |step: &Candidate, reason: &str| kept.or_default(step.number).push(reason.to_owned());

        for step in newest_first.iter().take(self.last as usize) {
            keep(step, "last");
        }
        for (every, count) in &self.newest {
            for step in newest_of_each(newest_first.iter().copied(), *every).take(*count as usize) {
                keep(step, every.name());
            }
        }
        if let Some(period) = self.within {
            let from = before(period, present);
            for step in newest_first.iter().filter(|step| step.time >= from) {
                keep(step, "within");
            }
        }
        for (every, period) in &self.newest_within {
            let from = before(*period, present);
            for step in newest_of_each(newest_first.iter().copied().filter(|step| step.time >= from), *every) {
                keep(step, &format!("within {}", every.name()));
            }
        }
        for step in &newest_first {
            for (name, value) in &self.labels {
                if step.labels.get(name).is_some_and(|found| value.as_ref().is_none_or(|value| value == found)) {
                    keep(step, &format!("label {name}"));
                }
            }
        }
        kept.retain_values(|reasons| !reasons.is_empty());
        Ok(kept)
    }
}

/// Adds the newest step, which is kept in any case.
pub(crate) fn keep_newest(kept: &mut Numbered<Vec<String>>, number: u64) {
    let reasons = kept.or_default(number);
    if reasons.is_empty() {
        reasons.push("newest".to_owned());
    }
}

/// Returns the newest step of each part of the calendar.
fn newest_of_each<'a>(newest_first: impl Iterator<Item = &'a Candidate>, every: Every) -> impl Iterator<Item = &'a Candidate> {
    let mut seen: HashMap<u64, u32> = HashMap::new();
    newest_first.filter(move |step| {
        let (year, part, hour) = part(every, step.time);
        seen.insert(u64::from(year.cast_unsigned()) << 24 | u64::from(part) << 8 | u64::from(hour), 0).is_none()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> OffsetDateTime {
        persist_model::time::parse(text).unwrap()
    }

    fn step(number: u64, time: OffsetDateTime) -> Candidate {
        Candidate { number, time, labels: BTreeMap::new() }
    }

    fn numbers(policy: &Policy, steps: &[Candidate], now: OffsetDateTime) -> Vec<u64> {
        policy.kept(steps, now).unwrap().numbers().collect()
    }

    #[test]
    fn a_time_in_the_future_does_not_make_the_others_old() {
        let steps = [
            step(1, at("2026-11-01T00:00:00Z")),
            step(2, at("2026-11-26T00:00:00Z")),
            step(3, at("2036-01-01T00:00:00Z")),
            step(4, at("2026-11-27T00:00:00Z")),
        ];
        let policy = Policy::default().within(Some(Period::default().days(7)));
        assert_eq!(numbers(&policy, &steps, at("2026-11-27T12:00:00Z")), [2, 3, 4]);
        // The machine may be old, and all steps in its future.
        assert_eq!(numbers(&policy, &steps, at("2020-01-01T00:00:00Z")), [1, 2, 3, 4]);
    }

    #[test]
    fn an_empty_policy_is_refused() {
        for policy in [Policy::default(), Policy::default().newest(BTreeMap::from([(Every::Day, 0)]))] {
            let error = policy.kept(&[], OffsetDateTime::UNIX_EPOCH).unwrap_err();
            assert!(error.message.contains("keeps nothing"), "{error}");
        }
    }

    #[test]
    fn periods_follow_the_calendar() {
        let months = |months| Period::default().months(months);
        assert_eq!(before(months(1), at("2026-03-31T05:00:00Z")), at("2026-02-28T05:00:00Z"));
        assert_eq!(before(months(13), at("2025-03-29T05:00:00Z")), at("2024-02-29T05:00:00Z"));
        assert_eq!(before(Period::default().years(1), at("2024-02-29T00:00:00Z")), at("2023-02-28T00:00:00Z"));
        // Days of 24 hours, whatever a clock on a wall does at the end of March.
        assert_eq!(before(Period::default().days(1), at("2026-03-29T12:00:00Z")), at("2026-03-28T12:00:00Z"));
        assert_eq!(before(Period::default().years(u32::MAX), at("2026-01-01T00:00:00Z")), OffsetDateTime::UNIX_EPOCH);
    }

    #[test]
    fn weeks_are_those_of_iso_8601() {
        // 29 December 2025 and 4 January 2026 are in the first week of 2026.
        let steps = [step(1, at("2025-12-28T00:00:00Z")), step(2, at("2025-12-29T00:00:00Z")), step(3, at("2026-01-04T00:00:00Z"))];
        let policy = Policy::default().newest(BTreeMap::from([(Every::Week, 2)]));
        assert_eq!(numbers(&policy, &steps, at("2026-02-01T00:00:00Z")), [1, 3]);
    }

    /// What the rules say, written out for one step: the rule is asked for each step alone.
    fn oracle(policy: &Policy, steps: &[Candidate], now: OffsetDateTime) -> Vec<u64> {
        let same_part = |every: Every, a: OffsetDateTime, b: OffsetDateTime| match every {
            Every::Hour => a.date() == b.date() && a.hour() == b.hour(),
            Every::Day => a.date() == b.date(),
            Every::Week => {
                let monday = |time: OffsetDateTime| time.date().to_julian_day() - i32::from(time.weekday().number_days_from_monday());
                monday(a) == monday(b)
            }
            Every::Month => a.year() == b.year() && a.month() == b.month(),
            Every::Year => a.year() == b.year(),
        };
        let is_newest = |every: Every, step: &Candidate, of: &[&Candidate]| {
            !of.iter().any(|other| other.number > step.number && same_part(every, other.time, step.time))
        };
        let all: Vec<&Candidate> = steps.iter().collect();
        let present = steps.iter().map(|step| step.time).filter(|time| *time <= now).max().unwrap_or(now);
        let is_kept = |step: &&Candidate| {
            let newer = steps.iter().filter(|other| other.number > step.number).count();
            let by_last = newer < policy.last as usize;
            let by_count = policy.newest.iter().any(|(every, count)| {
                let newer_parts = all.iter().filter(|other| other.number > step.number && is_newest(*every, other, &all)).count();
                is_newest(*every, step, &all) && newer_parts < *count as usize
            });
            let by_within = policy.within.is_some_and(|period| step.time >= before(period, present));
            let by_newest_within = policy.newest_within.iter().any(|(every, period)| {
                let young: Vec<&Candidate> = steps.iter().filter(|other| other.time >= before(*period, present)).collect();
                step.time >= before(*period, present) && is_newest(*every, step, &young)
            });
            let by_label = policy.labels.iter().any(|(name, value)| match (step.labels.get(name), value) {
                (Some(found), Some(value)) => found == value,
                (found, _) => found.is_some(),
            });
            by_last || by_count || by_within || by_newest_within || by_label
        };
        let mut kept: Vec<u64> = all.iter().copied().filter(is_kept).map(|step| step.number).collect();
        kept.sort_unstable();
        kept
    }

    fn period() -> impl Strategy<Value = Period> {
        (0..2_u32, 0..14_u32, 0..40_u32, 0..50_u32)
            .prop_map(|(years, months, days, hours)| Period::default().years(years).months(months).days(days).hours(hours))
    }

    fn every() -> impl Strategy<Value = Every> {
        prop::sample::select(Every::ALL.to_vec())
    }

    prop_compose! {
        fn policy()(
            last in 0..4_u32,
            newest in prop::collection::btree_map(every(), 0..6_u32, 0..4),
            within in prop::option::of(period()),
            newest_within in prop::collection::btree_map(every(), period(), 0..3),
            labels in prop::collection::vec(("[ab]", prop::option::of("[xy]")), 0..2),
        ) -> Policy {
            Policy::default().last(last).newest(newest).within(within).newest_within(newest_within).labels(labels)
        }
    }

    prop_compose! {
        /// Steps whose times mostly go forward, by minutes to months, and sometimes back or far
        /// ahead.
        fn history()(
            start in 0..900_000_000_i64,
            steps in prop::collection::vec((prop::sample::select(vec![-90_000, 0, 60, 3600, 40_000, 90_000, 700_000, 3_000_000, 300_000_000]), 0..5000_i64, prop::collection::btree_map("[ab]", "[xy]", 0..2)), 0..40),
        ) -> Vec<Candidate> {
            let mut seconds = 1_000_000_000 + start;
            let mut number = 0;
            let candidate = |(gap, more, labels): (i64, i64, BTreeMap<String, String>)| {
                // A step far in the future is one wrong clock, and the next goes on as before.
                let time = seconds + gap + more;
                if gap < 300_000_000 {
                    seconds = time;
                }
                number += 1;
                Candidate { number, time: OffsetDateTime::from_unix_timestamp(time).unwrap(), labels }
            };
            steps.into_iter().map(candidate).collect()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_kept_steps_are_those_of_a_plain_oracle(policy in policy(), steps in history(), ahead in -10_000_000..10_000_000_i64) {
            prop_assume!(policy.check().is_ok());
            let last = steps.last().map_or(OffsetDateTime::UNIX_EPOCH, |step| step.time);
            let now = last + Duration::seconds(ahead);
            prop_assert_eq!(numbers(&policy, &steps, now), oracle(&policy, &steps, now));
        }
    }
}
