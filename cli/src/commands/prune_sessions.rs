//! Which sessions `persist prune` removes as a whole.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use persist_host::Engine;
use persist_model::{ErrorCode, Period, PersistError, Policy, Result, SnapshotMetadata, StepSelector};

use crate::order::by_age;
use crate::output::{Failure, Output, worse};

/// The snapshots that are in no timeline, by agent and session, from the oldest to the newest.
pub(super) type Snapshots = BTreeMap<(String, String), Vec<SnapshotMetadata>>;

/// Which sessions to keep.
#[derive(Args)]
#[command(next_help_heading = "Rules for sessions")]
pub(super) struct SessionRules {
    /// Of each agent, keep the N sessions that were used last, and remove the others.
    #[arg(long, value_name = "N")]
    keep_sessions: Option<u32>,
    /// Of each agent, keep the sessions that were used within this period before its newest
    /// session, and remove the others.
    #[arg(long, value_name = "PERIOD")]
    keep_sessions_within: Option<Period>,
}

impl SessionRules {
    /// Returns the policy for the sessions of an agent, if there is one.
    pub(super) fn policy(&self) -> Option<Policy> {
        let policy = Policy { last: self.keep_sessions.unwrap_or(0), within: self.keep_sessions_within, ..Policy::default() };
        (policy != Policy::default()).then_some(policy)
    }
}

/// A session, and whether it is kept.
pub(super) struct Session {
    pub(super) agent_id: String,
    pub(super) session_id: String,
    /// When its newest state was taken.
    pub(super) newest: String,
    /// In bytes.
    pub(super) stored_size: u64,
    /// The rules that keep it; none if it is removed.
    pub(super) kept: Vec<String>,
    /// The keys of its snapshots.
    pub(super) keys: Vec<String>,
    /// The folders of its timelines, and the numbers of their newest steps.
    timelines: Vec<(String, u64)>,
}

/// What is known of a session.
#[derive(Default)]
struct Known {
    newest: Option<SnapshotMetadata>,
    timelines: Vec<(String, u64)>,
    snapshots: Vec<SnapshotMetadata>,
}

impl Known {
    fn newest(&mut self, metadata: &SnapshotMetadata) {
        if self.newest.as_ref().is_none_or(|known| by_age(known, metadata).is_lt()) {
            self.newest = Some(metadata.clone());
        }
    }
}

impl Session {
    /// Applies the rules to the sessions of each agent. Takes those that are removed away from
    /// the folders of timelines and from the snapshots. A timeline whose newest step can't be
    /// read is reported, and its folder stays.
    pub(super) fn find(
        engine: &Engine,
        folders: &mut Vec<String>,
        snapshots: &mut Snapshots,
        rules: &Policy,
        output: &Output,
    ) -> Result<(Vec<Self>, u8), Failure> {
        let mut exit_code = 0;
        let mut known: BTreeMap<String, BTreeMap<String, Known>> = BTreeMap::new();
        for ((agent, session), of_session) in snapshots.iter() {
            let known = known.entry(agent.clone()).or_default().entry(session.clone()).or_default();
            of_session.iter().for_each(|metadata| known.newest(metadata));
            known.snapshots.clone_from(of_session);
        }
        for folder in folders.iter() {
            match engine.timeline(folder)?.find(&StepSelector::Newest) {
                Ok(step) => {
                    let (agent, session) = (step.metadata.agent_id.clone(), step.metadata.session_id.clone());
                    let known = known.entry(agent).or_default().entry(session).or_default();
                    known.newest(&step.metadata);
                    known.timelines.push((folder.clone(), step.number));
                }
                // Only its markers are left.
                Err(error) if error.code() == ErrorCode::NotFound => {}
                Err(error) => {
                    output.error(&error);
                    exit_code = worse(exit_code, error.exit_code());
                }
            }
        }
        let mut all = Vec::new();
        for (agent_id, sessions) in known {
            let mut sessions: Vec<(String, SnapshotMetadata, Known)> =
                sessions.into_iter().filter_map(|(session, known)| Some((session, known.newest.clone()?, known))).collect();
            sessions.sort_by(|(_, one, _), (_, other, _)| by_age(one, other));
            let candidates: Vec<SnapshotMetadata> = sessions.iter().map(|(_, newest, _)| newest.clone()).collect();
            for (kept, (session_id, newest, known)) in engine.apply_policy(rules, &candidates)?.into_iter().zip(sessions) {
                let mut stored_size: u64 = known.snapshots.iter().map(|metadata| metadata.stored_size).sum();
                for (folder, _) in &known.timelines {
                    stored_size += size_of(engine, folder)?;
                }
                all.push(Self {
                    agent_id: agent_id.clone(),
                    session_id,
                    newest: newest.timestamp,
                    stored_size,
                    kept,
                    keys: known.snapshots.into_iter().map(|metadata| metadata.key).collect(),
                    timelines: known.timelines,
                });
            }
        }
        let removed = || all.iter().filter(|session| session.is_removed());
        let gone: BTreeSet<&String> = removed().flat_map(|session| &session.timelines).map(|(folder, _)| folder).collect();
        folders.retain(|folder| !gone.contains(folder));
        for session in removed() {
            snapshots.remove(&(session.agent_id.clone(), session.session_id.clone()));
        }
        Ok((all, exit_code))
    }

    pub(super) fn is_removed(&self) -> bool {
        self.kept.is_empty()
    }

    /// Deletes the session's timelines, unless it was used since the rules were applied.
    pub(super) fn delete_timelines(&self, engine: &Engine) -> Result<()> {
        for (folder, newest) in &self.timelines {
            let mut timeline = engine.timeline(folder)?;
            if timeline.find(&StepSelector::Newest)?.number != *newest {
                let error = PersistError::new(ErrorCode::Conflict, "the session is kept: a step was appended to it just now");
                return Err(error.at(timeline.location()));
            }
            timeline.delete()?;
        }
        Ok(())
    }
}

/// Returns the size of all objects of a timeline in bytes.
fn size_of(engine: &Engine, folder: &str) -> Result<u64> {
    const PAGE: u32 = 1000;
    let (mut size, mut after): (u64, Option<String>) = (0, None);
    loop {
        let page = engine.storage().list_objects(folder, after.as_deref(), PAGE)?;
        let Some(last) = page.last() else { return Ok(size) };
        after = Some(last.key.clone());
        size += page.iter().map(|info| info.size).sum::<u64>();
    }
}
