//! `persist prune`

use std::collections::HashSet;

use clap::Args;
use persist_model::{ErrorCode, Every, ListEntry, Outcome, Period, PersistError, Policy, PruneReport, Result, SnapshotMetadata};
use persist_paths::StorageLocation;
use serde_json::json;

use crate::choices::Durability;
use crate::commands::delete_found::confirmed;
use crate::commands::prune_sessions::{Session, SessionRules, Snapshots, not_known};
use crate::host::{Access, Host, Search};
use crate::order::by_age;
use crate::output::{Failure, Output, counted, printable, short_bytes, worse};
use crate::table::{Column, Table, cell, time_cell};
use crate::timelines::{find, place_of};

/// Remove the steps and snapshots that a policy does not keep.
///
/// The policy is applied to each session: to its timeline, and to its other snapshots.
/// Whatever any rule keeps is kept, and so is the newest of each session. Times are in UTC.
/// Periods, such as 1y6m or 30d, are counted back from the session's newest time that is not
/// in the future.
///
/// The rules for sessions are applied to each agent. They remove whole sessions, and date
/// each by its newest step or snapshot. The newest session of each agent is always kept.
///
/// Pruning is safe while others append. If kept steps depend on a step that no rule keeps,
/// that step stays stored, but is no longer shown. A marker of 192 bytes takes the place of a
/// removed step; the first prune after a week removes the markers. In a bucket with versioning,
/// space is freed only when its lifecycle rules remove the older versions.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  persist prune runs --keep-last 20 --keep-daily 7 --dry-run\n  persist prune s3://my-bucket/runs --keep-within 30d --keep-label good --yes\n  persist prune runs --keep-sessions-within 90d --yes"
)]
pub struct Arguments {
    /// Folders with timelines or snapshots.
    #[arg(required = true, value_name = "LOCATION")]
    location: Vec<String>,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    sessions: SessionRules,
    /// Print what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
    /// Remove without asking.
    #[arg(short, long)]
    yes: bool,
    /// Whether to wait until a local change would survive a power cut.
    #[arg(long, value_enum, default_value = "fsync")]
    durability: Durability,
}

/// What to keep.
#[derive(Args)]
#[command(next_help_heading = "Rules")]
struct Rules {
    /// Keep the newest N.
    #[arg(long, value_name = "N")]
    keep_last: Option<u32>,
    /// Keep the newest of each of the last N hours that have one.
    #[arg(long, value_name = "N")]
    keep_hourly: Option<u32>,
    /// Keep the newest of each of the last N days that have one.
    #[arg(long, value_name = "N")]
    keep_daily: Option<u32>,
    /// Keep the newest of each of the last N weeks that have one.
    #[arg(long, value_name = "N")]
    keep_weekly: Option<u32>,
    /// Keep the newest of each of the last N months that have one.
    #[arg(long, value_name = "N")]
    keep_monthly: Option<u32>,
    /// Keep the newest of each of the last N years that have one.
    #[arg(long, value_name = "N")]
    keep_yearly: Option<u32>,
    /// Keep all that were taken within this period before the newest.
    #[arg(long, value_name = "PERIOD")]
    keep_within: Option<Period>,
    /// Keep the newest of each hour within this period.
    #[arg(long, value_name = "PERIOD")]
    keep_within_hourly: Option<Period>,
    /// Keep the newest of each day within this period.
    #[arg(long, value_name = "PERIOD")]
    keep_within_daily: Option<Period>,
    /// Keep the newest of each week within this period.
    #[arg(long, value_name = "PERIOD")]
    keep_within_weekly: Option<Period>,
    /// Keep the newest of each month within this period.
    #[arg(long, value_name = "PERIOD")]
    keep_within_monthly: Option<Period>,
    /// Keep the newest of each year within this period.
    #[arg(long, value_name = "PERIOD")]
    keep_within_yearly: Option<Period>,
    /// Keep all with this label, or with this label and value; can be given several times.
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = parse_label)]
    keep_label: Vec<(String, Option<String>)>,
}

fn parse_label(text: &str) -> Result<(String, Option<String>), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), Some(value.to_owned()))),
        None if !text.is_empty() => Ok((text.to_owned(), None)),
        _ => Err("expected NAME or NAME=VALUE".to_owned()),
    }
}

impl Rules {
    fn policy(&self) -> Policy {
        let counts = [self.keep_hourly, self.keep_daily, self.keep_weekly, self.keep_monthly, self.keep_yearly];
        let within =
            [self.keep_within_hourly, self.keep_within_daily, self.keep_within_weekly, self.keep_within_monthly, self.keep_within_yearly];
        Policy::default()
            .last(self.keep_last.unwrap_or(0))
            .newest(Every::ALL.into_iter().zip(counts).filter_map(|(every, count)| Some((every, count?))).collect())
            .within(self.keep_within)
            .newest_within(Every::ALL.into_iter().zip(within).filter_map(|(every, period)| Some((every, period?))).collect())
            .labels(self.keep_label.clone())
    }
}

/// A session's snapshots that are no timeline, and which of them are removed.
struct Loose {
    snapshots: Vec<SnapshotMetadata>,
    /// The rules that keep each; none if it is removed.
    kept: Vec<Vec<String>>,
}

/// What pruning one location would do.
struct Plan {
    place: StorageLocation,
    sessions: Vec<Session>,
    timelines: Vec<(StorageLocation, PruneReport)>,
    loose: Vec<Loose>,
}

/// The columns of what is kept and removed.
const COLUMNS: [Column; 4] = [Column("SNAPSHOT", false), Column("TIME", false), Column("STORED", true), Column("WHAT HAPPENS", false)];

impl Plan {
    fn make(host: &impl Host, text: &str, arguments: &Arguments, output: &Output) -> Result<(Self, u8), Failure> {
        let place = place_of(host, text).map_err(|error| error.hint("check the location"))?;
        let policy = arguments.rules.policy();
        let (mut folders, mut sessions) = (find(host, &place)?, Vec::new());
        let (mut snapshots, exit_code) = loose(host, &place, output)?;
        if let Some(rules) = arguments.sessions.policy() {
            if exit_code != 0 {
                let error = PersistError::new(ErrorCode::Integrity, "a snapshot can't be read, so the sessions are not known").at(&place);
                return Err(not_known(error).into());
            }
            sessions = Session::find(host, &mut folders, &mut snapshots, &rules)?;
        }
        let mut plan = Self { place, sessions, timelines: Vec::new(), loose: Vec::new() };
        if policy != Policy::default() {
            for folder in folders {
                let report = host.timeline(&folder, Access::Read)?.prune(&policy, true)?;
                plan.timelines.push((folder, report));
            }
            for snapshots in snapshots.into_values() {
                let kept = host.apply_policy(&policy, &snapshots)?;
                plan.loose.push(Loose { snapshots, kept });
            }
        }
        Ok((plan, exit_code))
    }

    /// Keeps what was saved or used since the plan was made. Returns how many snapshots and
    /// sessions these are.
    fn keep_new(&mut self, now: &Self) -> u64 {
        let snapshots: u64 = self.loose.iter_mut().map(|loose| loose.keep_new(&now.loose)).sum();
        snapshots + Session::keep_used(&mut self.sessions, &now.sessions)
    }

    fn removed(&self) -> Removed {
        let steps = self.timelines.iter().flat_map(|(_, report)| &report.steps).filter(|step| !matches!(step.outcome, Outcome::Kept(_)));
        let snapshots = self.loose.iter().flat_map(Loose::removed);
        let sessions = self.sessions.iter().filter(|session| session.is_removed());
        let freed: u64 = self.timelines.iter().map(|(_, report)| report.freed).sum();
        Removed {
            sessions: sessions.clone().count() as u64,
            steps: steps.count() as u64,
            snapshots: snapshots.clone().count() as u64,
            freed: freed
                + snapshots.map(|metadata| metadata.stored_size).sum::<u64>()
                + sessions.map(|session| session.stored_size).sum::<u64>(),
        }
    }

    fn print(&self, host: &impl Host, output: &Output, dry_run: bool) -> Result<(), Failure> {
        let mut table = Table::new(output, COLUMNS);
        let location = |key: &str| host.written(&self.place.clone().with_key(key));
        for session in &self.sessions {
            let what = if session.is_removed() { "removed" } else { "kept" };
            let Session { agent_id, session_id, newest, stored_size, kept, .. } = session;
            if output.json {
                let object = json!({"agent_id": agent_id, "session_id": session_id, "outcome": what, "reasons": kept, "dry_run": dry_run});
                output.result(&object, "")?;
                continue;
            }
            let text = if kept.is_empty() { "removed as a whole".to_owned() } else { format!("kept: {}", kept.join(", ")) };
            let name = cell(&format!("the session {session_id} of {agent_id}"));
            table.add([name, time_cell(newest), short_bytes(*stored_size), cell(&text)])?;
        }
        for (folder, report) in &self.timelines {
            let location = host.written(folder)?;
            // The place itself may be the timeline.
            let shown = if folder.key().is_empty() { &location } else { folder.key() };
            for step in &report.steps {
                let name = format!("{}@{}", shown.trim_end_matches('/'), step.number);
                let (what, reasons) = match &step.outcome {
                    Outcome::Kept(reasons) => ("kept", reasons.clone()),
                    Outcome::Hidden => ("hidden", Vec::new()),
                    Outcome::Removed => ("removed", Vec::new()),
                };
                if output.json {
                    let object = json!({"timeline": location, "number": step.number, "outcome": what, "reasons": reasons, "restated_as": report.restated_as, "dry_run": dry_run});
                    output.result(&object, "")?;
                    continue;
                }
                let is_newest = report.steps.first().is_some_and(|newest| newest.number == step.number);
                let text = match (what, report.restated_as.filter(|_| is_newest)) {
                    ("kept", Some(number)) => format!("kept, as step {number}: {}", reasons.join(", ")),
                    ("kept", None) => format!("kept: {}", reasons.join(", ")),
                    ("hidden", _) => "hidden: kept steps depend on it".to_owned(),
                    (what, _) => what.to_owned(),
                };
                table.add([cell(&name), time_cell(&step.timestamp), short_bytes(step.stored_size), cell(&text)])?;
            }
        }
        for loose in &self.loose {
            for (metadata, reasons) in loose.snapshots.iter().zip(&loose.kept).rev() {
                let what = if reasons.is_empty() { "removed" } else { "kept" };
                if output.json {
                    let object = json!({"location": location(&metadata.key)?, "outcome": what, "reasons": reasons, "dry_run": dry_run});
                    output.result(&object, "")?;
                    continue;
                }
                let text = if reasons.is_empty() { what.to_owned() } else { format!("kept: {}", reasons.join(", ")) };
                table.add([cell(&metadata.key), time_cell(&metadata.timestamp), short_bytes(metadata.stored_size), cell(&text)])?;
            }
        }
        table.print()
    }
}

impl Loose {
    /// Keeps what was saved since. Returns how many snapshots these are.
    fn keep_new(&mut self, now: &[Self]) -> u64 {
        let removed: HashSet<(&str, &str)> =
            now.iter().flat_map(Self::removed).map(|metadata| (&*metadata.key, &*metadata.digest)).collect();
        let mut count = 0;
        for (metadata, reasons) in self.snapshots.iter().zip(&mut self.kept) {
            if reasons.is_empty() && !removed.contains(&(&*metadata.key, &*metadata.digest)) {
                reasons.push("saved just now".to_owned());
                count += 1;
            }
        }
        count
    }

    fn removed(&self) -> impl Iterator<Item = &SnapshotMetadata> + Clone {
        self.snapshots.iter().zip(&self.kept).filter(|(_, reasons)| reasons.is_empty()).map(|(metadata, _)| metadata)
    }
}

/// What pruning removes.
#[derive(Default)]
struct Removed {
    sessions: u64,
    steps: u64,
    snapshots: u64,
    /// In bytes.
    freed: u64,
}

impl Removed {
    fn add(self, other: &Self) -> Self {
        Self {
            sessions: self.sessions + other.sessions,
            steps: self.steps + other.steps,
            snapshots: self.snapshots + other.snapshots,
            freed: self.freed + other.freed,
        }
    }

    fn is_nothing(&self) -> bool {
        self.sessions + self.steps + self.snapshots == 0
    }

    fn text(&self) -> String {
        let rest = format!("{} and {}, {}", counted(self.steps, "step"), counted(self.snapshots, "snapshot"), short_bytes(self.freed));
        if self.sessions == 0 { rest } else { format!("{}, {rest}", counted(self.sessions, "whole session")) }
    }
}

/// Returns the snapshots that are in no timeline, by agent and session, from the oldest to the
/// newest. Those that can't be read are reported and stay.
fn loose(host: &impl Host, place: &StorageLocation, output: &Output) -> Result<(Snapshots, u8), Failure> {
    let (mut sessions, mut exit_code) = (Snapshots::new(), 0);
    for entry in host.list(place, &Search::default())? {
        match entry? {
            ListEntry::Snapshot(metadata) if metadata.kind == "snapshot" => {
                sessions.entry((metadata.agent_id.clone(), metadata.session_id.clone())).or_default().push(*metadata);
            }
            ListEntry::Snapshot(_) => {}
            ListEntry::Unreadable { error, .. } if error.code() == ErrorCode::NotASnapshot => {}
            ListEntry::Unreadable { error, .. } => {
                output.error(&error);
                exit_code = worse(exit_code, error.exit_code());
            }
        }
    }
    sessions.values_mut().for_each(|snapshots| snapshots.sort_by(by_age));
    Ok((sessions, exit_code))
}

/// How many objects are deleted at a time: the maximum of one S3 request.
const BATCH: usize = 1000;

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let policy = arguments.rules.policy();
    if policy == Policy::default() && arguments.sessions.policy().is_none() {
        let error = PersistError::new(ErrorCode::InvalidArgument, "no rule says what to keep");
        return Err(error.hint("give at least one, such as --keep-last 20 or --keep-daily 7").into());
    }
    let (mut plans, mut exit_code) = (Vec::new(), 0);
    for text in &arguments.location {
        let (plan, code) = Plan::make(host, text, arguments, output)?;
        exit_code = worse(exit_code, code);
        plans.push(plan);
    }
    let removed = plans.iter().fold(Removed::default(), |removed, plan| removed.add(&plan.removed()));
    let what = removed.text();
    if arguments.dry_run {
        plans.iter().try_for_each(|plan| plan.print(host, output, true))?;
        output.note(format_args!("would remove {what}"));
        return exit(exit_code);
    }
    if !removed.is_nothing() && !arguments.yes && !confirmed(&what)? {
        output.note("nothing was removed");
        return Err(Failure::Reported(1));
    }
    if !removed.is_nothing() && !arguments.yes {
        // While the question was open, agents may have gone on.
        let quiet = Output { json: output.json, quiet: true };
        let mut kept = 0;
        for (plan, text) in plans.iter_mut().zip(&arguments.location) {
            kept += plan.keep_new(&Plan::make(host, text, arguments, &quiet)?.0);
        }
        if kept > 0 {
            output.note(format_args!("kept because of recent use: {kept}"));
        }
    }
    for plan in &mut plans {
        let access = Access::Write(arguments.durability);
        let mut keys: Vec<String> = plan.loose.iter().flat_map(Loose::removed).map(|metadata| metadata.key.clone()).collect();
        for session in plan.sessions.iter_mut().filter(|session| session.is_removed()) {
            match session.delete_timelines(host, access) {
                Ok(()) => keys.extend(session.keys()),
                Err(error) => {
                    session.kept = vec!["not removed".to_owned()];
                    output.error(&error);
                    exit_code = worse(exit_code, error.exit_code());
                }
            }
        }
        for (folder, _) in &plan.timelines {
            host.timeline(folder, access)?.prune(&policy, false)?;
        }
        for keys in keys.chunks(BATCH) {
            for (_, error) in host.delete_many(&plan.place, keys, arguments.durability)? {
                output.error(&error);
                exit_code = worse(exit_code, error.exit_code());
            }
        }
        if output.json {
            plan.print(host, output, false)?;
        }
    }
    let what = plans.iter().fold(Removed::default(), |removed, plan| removed.add(&plan.removed())).text();
    output.note(format_args!("removed {}", printable(&what)));
    exit(exit_code)
}

fn exit(code: u8) -> Result<(), Failure> {
    if code == 0 { Ok(()) } else { Err(Failure::Reported(code)) }
}
