//! Removes steps that a policy does not keep.
//!
//! What a later step may refer to must never go: a step refers to itself, to the step
//! before it, and to what that one refers to. So what is kept is what the policy keeps, the
//! newest step, and all that these refer to; a step that is dropped and still needed is
//! hidden. If the newest step needs much that nobody else does, a new step is appended that
//! repeats its state and needs nothing. That claims the next number before anything goes
//! that an appending writer could refer to.
//!
//! A step is removed by a marker in its place, never by a delete: so its number can't be
//! taken again by a writer that has slept. Markers that are a week old become one gap
//! object, which stays.

use persist_model::{Outcome, Policy, PruneReport, PrunedStep};
use persist_paths::timeline::{GAP_SIZE, MARKER_SIZE};
use time::OffsetDateTime;

use crate::error::{Error, ErrorCode, Result};
use crate::storage::{ObjectInfo, Precondition, Storage};
use crate::table::ROW;
use crate::timeline::catalogue::{Row, SPAN};
use crate::timeline::forget::{Candidate, Keeps as _, keep_newest};
use crate::timeline::frames::Frames;
use crate::timeline::handle::Timeline;
use crate::timeline::listing::{Gap, Listing};
use crate::timeline::newest::{Newest, find_newest_listed, refresh_hint};
use crate::timeline::numbered::Numbered;
use crate::timeline::record::Record;
use crate::timeline::step::Step;
use crate::timeline::survey::{Survey, read_steps};

/// How long a marker stays, in milliseconds of the clock by which objects have their times.
const MARKER_STAYS: u64 = 7 * 24 * 60 * 60 * 1000;

/// How often pruning begins again after other writers have changed the timeline.
const ATTEMPTS: u32 = 100;

/// How many steps are read at a time.
const AT_ONCE: usize = 64;

/// What is decided about the steps.
struct Plan {
    newest: Step,
    listing: Listing,
    rows: Numbered<Row>,
    /// What the kept steps refer to, as they say themselves.
    links: Numbered<Vec<u64>>,
    /// Visible steps that can't be read. They stay.
    damaged: Numbered<()>,
    kept: Numbered<Vec<String>>,
}

/// The error of a plan for steps of which some are gone by now: another is made.
fn changed() -> Error {
    Error::new(ErrorCode::Conflict, "the timeline keeps changing")
}

impl<S: Storage> Timeline<S> {
    /// Removes the steps that a policy does not keep, as of `now`. The newest step is always
    /// kept. With `dry_run`, only reports what would happen.
    pub fn prune(&mut self, policy: &Policy, now: OffsetDateTime, dry_run: bool) -> Result<PruneReport> {
        policy.check()?;
        self.keep_only(policy, now, &[], dry_run)
    }

    /// Removes these steps, but never the newest. Numbers without a step are ignored. Returns
    /// how many are no longer shown.
    pub fn remove(&mut self, numbers: &[u64]) -> Result<u64> {
        let all = Policy::default().last(u32::MAX);
        let report = self.keep_only(&all, OffsetDateTime::UNIX_EPOCH, numbers, false)?;
        Ok(report.steps.iter().filter(|step| !matches!(step.outcome, Outcome::Kept(_))).count() as u64)
    }

    /// Keeps what a policy keeps, without the steps with these numbers.
    fn keep_only(&mut self, policy: &Policy, now: OffsetDateTime, without: &[u64], dry_run: bool) -> Result<PruneReport> {
        for _ in 0..ATTEMPTS {
            let plan = match self.plan(policy, now, without) {
                Err(error) if error.code == ErrorCode::Conflict => continue,
                plan => plan?,
            };
            let Some(plan) = plan else {
                let listing = Listing::read(&self.storage, &self.folder, 1)?;
                if !dry_run {
                    self.finish_deletion(&listing)?;
                    self.tidy(&listing)?;
                }
                let mut report = PruneReport::default();
                report.left = listing.size;
                return Ok(report);
            };
            match self.carry_out(plan, dry_run) {
                // Another writer was faster, or another pruner.
                Err(error) if matches!(error.code, ErrorCode::AlreadyExists | ErrorCode::Conflict) && !dry_run => {}
                report => return report,
            }
        }
        Err(Error { retryable: true, ..changed() }.at(self.folder.prefix()))
    }

    /// Decides what is kept; `None` if there are no steps.
    fn plan(&self, policy: &Policy, now: OffsetDateTime, without: &[u64]) -> Result<Option<Plan>> {
        let newest = match find_newest_listed(&self.storage, &self.folder)? {
            Newest::Step(step) => *step,
            Newest::Damaged { error, .. } => return Err(error),
            Newest::Nothing | Newest::End { .. } | Newest::Gap { .. } => return Ok(None),
        };
        let mut listing = Listing::read(&self.storage, &self.folder, 1)?;
        let highest = newest.document.number;
        // Later steps may have been listed: they are newer than what is decided here.
        listing.steps.retain(|number| number <= highest);
        listing.steps.insert(highest, newest.info.clone());
        listing.fill(&self.storage, &self.folder, 1, highest)?;
        let there: Vec<u64> = listing.there().map(|(number, _)| number).collect();
        let known = Survey::default().read(&self.storage, &self.folder, &mut listing, &there)?;
        let (mut rows, mut damaged) = (Numbered::default(), Numbered::default());
        for (number, row) in known.into_vec() {
            match row {
                Ok(row) => rows.insert(number, row),
                // It was removed since it was listed.
                Err(error) if error.code == ErrorCode::NotFound => drop(listing.steps.remove(number)),
                Err(_) => damaged.insert(number, ()),
            }
        }
        if !rows.contains(highest) {
            return Err(changed());
        }
        // A pruning that was broken off may have left the step that was repeated.
        let restated = Numbered::of(rows.iter().filter_map(|(_, row)| row.restates).collect());
        let is_visible = |row: &&Row| {
            let number = row.number;
            !listing.hidden.contains(number) && !restated.contains(number) && !without.contains(&number)
        };
        let visible = rows.iter().map(|(_, row)| row).filter(is_visible);
        let candidates: Vec<Candidate> = visible.map(candidate).collect::<Result<_>>()?;
        let mut kept = policy.kept(&candidates, now)?;
        keep_newest(&mut kept, highest);
        // A catalogue may say anything. What must stay is read from the steps; also from those of
        // which only a label is damaged.
        let (mut links, kept_numbers) = (Numbered::default(), kept.numbers().chain(damaged.numbers()).collect::<Vec<u64>>());
        for numbers in kept_numbers.chunks(AT_ONCE) {
            for (number, step) in read_steps(&self.storage, &self.folder, numbers)? {
                match step {
                    Ok(step) => links.insert(number, step.document.links.iter().map(|link| link.number).collect()),
                    Err(error) if error.code == ErrorCode::NotFound => {
                        return Err(changed());
                    }
                    // Its row says what it needs, if it is known at all.
                    Err(_) => damaged.insert(number, ()),
                }
            }
        }
        Ok(Some(Plan { newest, listing, rows, links, damaged, kept }))
    }

    fn carry_out(&mut self, plan: Plan, dry_run: bool) -> Result<PruneReport> {
        let restated = self.restated_size(&plan)?;
        let mut report = plan.report(restated);
        if dry_run {
            return Ok(report);
        }
        let needed = plan.needed(restated.is_some());
        self.forget();
        if let Some(estimated) = restated {
            // If others have appended since, it fails: what they refer to was not considered.
            let number = self.restate_step(&plan.newest, plan.number())?;
            let size = self.storage.stat(&self.folder.step(number))?.size;
            report.left = (report.left + size).saturating_sub(estimated);
            self.finish()?;
        }
        let is_kept = |number: u64| {
            plan.damaged.contains(number) || plan.kept.contains(number) && !(report.restated_as.is_some() && number == plan.number())
        };
        for number in needed.numbers().filter(|number| !is_kept(*number) && !plan.listing.hidden.contains(*number)) {
            let hidden = Record::Hidden { number };
            match hidden.write(&self.storage, &self.folder.hidden(number), Precondition::IfAbsent) {
                Err(error) if error.code != ErrorCode::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        // The newest first: a step goes before what it refers to.
        for (number, row) in plan.rows.iter().rev().filter(|(number, _)| !needed.contains(*number) && !is_kept(*number)) {
            row.marker().write(&self.storage, &self.folder.step(number), Precondition::None)?;
            self.remove_beside(&plan.listing, number)?;
        }
        self.finish_deletion(&plan.listing)?;
        self.tidy(&plan.listing)?;
        Ok(report)
    }

    /// Removes what a deletion that was broken off has left.
    fn finish_deletion(&mut self, listing: &Listing) -> Result<()> {
        if listing.end > 0 {
            self.remove_left(listing)?;
        }
        Ok(())
    }

    /// Removes the objects beside a step that was removed.
    pub(super) fn remove_beside(&self, listing: &Listing, number: u64) -> Result<()> {
        let hidden = listing.hidden.contains(number).then(|| self.folder.hidden(number));
        for key in listing.labels.get(number).into_iter().flatten().chain(&hidden) {
            self.delete_object(key)?;
        }
        Ok(())
    }

    pub(super) fn delete_object(&self, key: &str) -> Result<()> {
        match self.storage.delete(key, Precondition::None) {
            Err(error) if error.code != ErrorCode::NotFound => Err(error.at(key)),
            _ => Ok(()),
        }
    }

    /// Returns the size of a step that repeats the newest one, if that frees more than it
    /// takes.
    fn restated_size(&self, plan: &Plan) -> Result<Option<u64>> {
        /// About what follows the data.
        const END: u64 = 512;
        let (with, without) = (plan.needed(false), plan.needed(true));
        if plan.newest.document.base.is_none() {
            return Ok(None);
        }
        let only_newest: u64 = with.numbers().filter(|number| !without.contains(*number)).map(|number| plan.size(number)).sum();
        let codec = plan.newest.document.document.codec;
        let mut reader = self.reader(plan.newest.clone(), true)?;
        let (mut frames, mut size) = (Frames::default(), END);
        loop {
            let part = reader.next_part()?;
            if part.is_empty() {
                return Ok(Some(size).filter(|size| *size < only_newest));
            }
            for block in part.chunks(codec.block_size() as usize) {
                frames.push_block(block, codec, codec.default_level())?;
                size += std::mem::take(&mut frames.data).len() as u64 + ROW as u64;
            }
            if size >= only_newest {
                return Ok(None);
            }
        }
    }

    /// Replaces old markers by gaps, and removes what belongs to nothing any more.
    fn tidy(&self, listing: &Listing) -> Result<()> {
        let mut markers: Vec<(u64, &ObjectInfo)> = listing.steps.iter().filter(|(number, info)| listing.is_marker(*number, info)).collect();
        let is_removed =
            |number: u64| number <= listing.end || listing.steps.get(number).is_some_and(|info| listing.is_marker(number, info));
        for last in listing.catalogues.numbers() {
            if (last - (SPAN - 1).min(last - 1)..=last).all(|number| is_removed(number) || listing.is_in_gap(number)) {
                self.delete_object(&self.folder.catalogue(last))?;
            }
        }
        for number in listing.hidden.numbers().filter(|number| is_removed(*number)) {
            self.delete_object(&self.folder.hidden(number))?;
        }
        for (_, keys) in listing.labels.iter().filter(|(number, _)| is_removed(*number) || listing.is_in_gap(*number)) {
            for key in keys {
                self.delete_object(key)?;
            }
        }
        // An end says that what comes before it was deleted, as long as any of that is left.
        let is_left = listing.steps.iter().any(|(number, info)| number < listing.end && !listing.is_marker(number, info));
        if is_left {
            markers.retain(|(number, _)| *number < listing.end);
        }
        let Some(now) = self.clock(listing, &markers)? else { return Ok(()) };
        let is_old = |info: &ObjectInfo| info.modified.is_some_and(|modified| now.saturating_sub(modified) > MARKER_STAYS);
        let mut run: Vec<Gap> = Vec::new();
        for (number, info) in markers {
            let gap = listing.gaps.iter().find(|gap| gap.first == number).copied().unwrap_or(Gap { first: number, last: number });
            // What was lost before an end was deleted as well, so a gap may cover it.
            let is_next = run.last().is_none_or(|before| {
                let is_deleted = gap.first <= listing.end && listing.steps.range(before.last + 1..=gap.first - 1).next().is_none();
                before.last + 1 == gap.first || is_deleted
            });
            let is_gap = info.size == GAP_SIZE;
            if !is_next || !is_gap && !is_old(info) {
                self.make_gap(&std::mem::take(&mut run))?;
            }
            if is_gap || is_old(info) {
                run.push(gap);
            }
        }
        self.make_gap(&run)
    }

    /// The present by the clock by which objects have their times: that of a new object. Only
    /// asked for if there may be old markers. `None` where a writer can't tell for how long
    /// it has slept: then only a marker keeps it from a number that was used.
    fn clock(&self, listing: &Listing, markers: &[(u64, &ObjectInfo)]) -> Result<Option<u64>> {
        let times = listing.steps.iter().filter_map(|(_, info)| info.modified);
        let not_gaps = markers.iter().filter(|(_, info)| info.size != GAP_SIZE);
        let Some(oldest) = not_gaps.filter_map(|(_, info)| info.modified).min() else { return Ok(None) };
        let newest_listed = times.max().unwrap_or(oldest);
        let storage_time = markers.iter().filter_map(|(_, info)| info.storage_time).max().unwrap_or(0);
        if newest_listed.max(storage_time).saturating_sub(oldest) <= MARKER_STAYS && storage_time >= newest_listed {
            return Ok(None);
        }
        refresh_hint(&self.storage, &self.folder)?;
        match self.storage.stat(&self.folder.hint()) {
            Ok(info) => Ok(info.storage_time.and(info.modified)),
            Err(error) if error.code == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces neighbouring markers and gaps by one gap, which is written in place of the
    /// first before the others go.
    fn make_gap(&self, run: &[Gap]) -> Result<()> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
        if run.len() == 1 && first.last > first.first {
            // A gap as it was.
            return Ok(());
        }
        let record = Record::Gap { first: first.first, last: last.last };
        record.write(&self.storage, &self.folder.step(first.first), Precondition::None)?;
        for gap in run.iter().skip(1) {
            self.delete_object(&self.folder.step(gap.first))?;
        }
        Ok(())
    }
}

fn candidate(row: &Row) -> Result<Candidate> {
    let (time, labels) = row.time_and_labels();
    let time = persist_model::time::parse(time)
        .map_err(|error| Error::format(format!("the time of step {} is not valid: {error}", row.number)))?;
    Ok(Candidate { number: row.number, time, labels: labels.clone() })
}

impl Plan {
    fn number(&self) -> u64 {
        self.newest.document.number
    }

    fn size(&self, number: u64) -> u64 {
        self.listing.steps.get(number).map_or(0, |info| info.size)
    }

    /// The steps that stay stored, because they are kept or kept ones refer to them. If the
    /// newest is repeated, it is not kept for its own sake.
    fn needed(&self, is_restated: bool) -> Numbered<()> {
        let kept = self.kept.numbers().filter(|number| !(is_restated && *number == self.number()));
        let staying: Vec<u64> = kept.chain(self.damaged.numbers()).collect();
        let mut needed = staying.clone();
        for number in staying {
            needed.extend(self.rows.get(number).into_iter().flat_map(|row| &row.links));
            needed.extend(self.links.get(number).into_iter().flatten());
        }
        Numbered::of(needed)
    }

    fn report(&self, restated_size: Option<u64>) -> PruneReport {
        let needed = self.needed(restated_size.is_some());
        let mut report = PruneReport::default();
        report.left = self.listing.size + restated_size.unwrap_or(0);
        for (number, info) in self.listing.there().rev() {
            let is_needed = needed.contains(number);
            let outcome = match self.kept.get(number) {
                Some(reasons) => Outcome::Kept(reasons.clone()),
                None if self.damaged.contains(number) => Outcome::Kept(vec!["damaged".to_owned()]),
                None if is_needed => Outcome::Hidden,
                None => Outcome::Removed,
            };
            let was_hidden = self.listing.hidden.contains(number);
            if !is_needed {
                // What said that it is hidden goes, too.
                report.freed += info.size.saturating_sub(MARKER_SIZE) + if was_hidden { MARKER_SIZE } else { 0 };
            }
            if was_hidden {
                continue;
            }
            if outcome == Outcome::Hidden {
                report.left += MARKER_SIZE;
            }
            let timestamp = self.rows.get(number).map(|row| row.time_and_labels().0.to_owned()).unwrap_or_default();
            report.steps.push(PrunedStep::new(number, timestamp, info.size, outcome));
        }
        report.restated_as = restated_size.map(|_| self.number() + 1);
        report.left = report.left.saturating_sub(report.freed);
        report
    }
}
