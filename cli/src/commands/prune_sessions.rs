//! Which sessions `persist prune` removes as a whole.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use persist_model::{ErrorCode, Period, PersistError, Policy, Result, SnapshotMetadata, StepSelector};
use persist_paths::StorageLocation;
use persist_paths::key::natural_order;
use persist_paths::naming::session_folder;

use crate::host::{Access, Host, is_key};
use crate::timelines::place;

/// The snapshots that are in no timeline, by agent and session, from the oldest to the newest.
pub(super) type Snapshots = BTreeMap<(String, String), Vec<SnapshotMetadata>>;

/// Which sessions to keep.
#[derive(Args)]
#[command(next_help_heading = "Rules for sessions")]
pub(super) struct SessionRules {
    /// Keep the N most recently used sessions of each agent, and remove the others.
    #[arg(long, value_name = "N")]
    keep_sessions: Option<u32>,
    /// Keep the sessions of each agent that were used within this period before its newest
    /// session, and remove the others.
    #[arg(long, value_name = "PERIOD")]
    keep_sessions_within: Option<Period>,
}

impl SessionRules {
    /// Returns the policy for the sessions of an agent, if there is one.
    pub(super) fn policy(&self) -> Option<Policy> {
        let policy = Policy::default().last(self.keep_sessions.unwrap_or(0)).within(self.keep_sessions_within);
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
    /// The keys and digests of its snapshots.
    snapshots: Vec<(String, String)>,
    /// The folders of its timelines, and the numbers of their newest steps.
    timelines: Vec<(StorageLocation, u64)>,
}

/// What is known of a session.
#[derive(Default)]
struct Known {
    newest: Option<SnapshotMetadata>,
    timelines: Vec<(StorageLocation, u64)>,
    snapshots: Vec<SnapshotMetadata>,
}

/// Compares states of different kinds and sessions: a timeline counts its steps, so only
/// their times tell which is newer.
fn by_time(a: &SnapshotMetadata, b: &SnapshotMetadata) -> Ordering {
    a.timestamp.cmp(&b.timestamp).then_with(|| natural_order(&a.key, &b.key))
}

impl Known {
    fn newest(&mut self, metadata: &SnapshotMetadata) {
        if self.newest.as_ref().is_none_or(|known| by_time(known, metadata).is_lt()) {
            self.newest = Some(metadata.clone());
        }
    }
}

/// Returns the session of a timeline. A fork has the steps of another session, and is one of its
/// own: that of its folder.
fn session_of(folder: &StorageLocation, newest: &SnapshotMetadata) -> String {
    let location = format!("/{}/", folder.to_string().trim_end_matches('/'));
    if location.ends_with(&format!("/{}", session_folder(&newest.agent_id, &newest.session_id))) {
        return newest.session_id.clone();
    }
    place(&location, None, None).session_id
}

impl Session {
    /// Applies the rules to the sessions of each agent. Takes those that are removed away from
    /// the folders of timelines and from the snapshots.
    ///
    /// # Errors
    /// Any error of a timeline whose newest step can't be read, since it may belong to any
    /// session; and any error of the storage.
    pub(super) fn find(
        host: &impl Host,
        folders: &mut Vec<StorageLocation>,
        snapshots: &mut Snapshots,
        rules: &Policy,
    ) -> Result<Vec<Self>> {
        let mut known: BTreeMap<String, BTreeMap<String, Known>> = BTreeMap::new();
        for ((agent, session), of_session) in snapshots.iter() {
            let known = known.entry(agent.clone()).or_default().entry(session.clone()).or_default();
            of_session.iter().for_each(|metadata| known.newest(metadata));
            known.snapshots.clone_from(of_session);
        }
        for folder in folders.iter() {
            match host.timeline(folder, Access::Read)?.find(&StepSelector::Newest) {
                Ok(step) => {
                    let agent = step.metadata.agent_id.clone();
                    let session = session_of(folder, &step.metadata);
                    let known = known.entry(agent).or_default().entry(session).or_default();
                    known.newest(&step.metadata);
                    known.timelines.push((folder.clone(), step.number));
                }
                // Only its markers are left.
                Err(error) if error.code() == ErrorCode::NotFound => {}
                Err(error) => return Err(not_known(error)),
            }
        }
        let mut all = Vec::new();
        for (agent_id, sessions) in known {
            let mut sessions: Vec<(String, SnapshotMetadata, Known)> =
                sessions.into_iter().filter_map(|(session, known)| Some((session, known.newest.clone()?, known))).collect();
            sessions.sort_by(|(_, one, _), (_, other, _)| by_time(one, other));
            let candidates: Vec<SnapshotMetadata> = sessions.iter().map(|(_, newest, _)| newest.clone()).collect();
            for (kept, (session_id, newest, known)) in host.apply_policy(rules, &candidates)?.into_iter().zip(sessions) {
                let mut stored_size: u64 = known.snapshots.iter().map(|metadata| metadata.stored_size).sum();
                for (folder, _) in &known.timelines {
                    let sizes = host.objects(folder)?.filter(is_key).map(|object| object.map(|object| object.size));
                    stored_size += sizes.sum::<Result<u64>>()?;
                }
                all.push(Self {
                    agent_id: agent_id.clone(),
                    session_id,
                    newest: newest.timestamp,
                    stored_size,
                    kept,
                    snapshots: known.snapshots.into_iter().map(|metadata| (metadata.key, metadata.digest)).collect(),
                    timelines: known.timelines,
                });
            }
        }
        let removed = || all.iter().filter(|session| session.is_removed());
        let gone: BTreeSet<&str> = removed().flat_map(|session| &session.timelines).map(|(folder, _)| folder.key()).collect();
        folders.retain(|folder| !gone.contains(folder.key()));
        for session in removed() {
            snapshots.remove(&(session.agent_id.clone(), session.session_id.clone()));
        }
        Ok(all)
    }

    /// Returns whether this is the same session, and nothing was added since.
    fn is_as(&self, other: &Self) -> bool {
        let of = |session: &Self| (session.agent_id.clone(), session.session_id.clone(), session.newest.clone());
        of(self) == of(other) && self.timelines == other.timelines && self.snapshots == other.snapshots
    }

    /// Keeps the sessions that were used since they were found. Returns how many.
    pub(super) fn keep_used(found: &mut [Self], now: &[Self]) -> u64 {
        let mut count = 0;
        for session in found.iter_mut().filter(|session| session.is_removed()) {
            if !now.iter().any(|now| now.is_removed() && now.is_as(session)) {
                session.kept = vec!["used just now".to_owned()];
                count += 1;
            }
        }
        count
    }

    /// The keys of its snapshots.
    pub(super) fn keys(&self) -> impl Iterator<Item = String> {
        self.snapshots.iter().map(|(key, _)| key.clone())
    }

    pub(super) fn is_removed(&self) -> bool {
        self.kept.is_empty()
    }

    /// Deletes the session's timelines, unless a step was appended since they were found.
    pub(super) fn delete_timelines(&self, host: &impl Host, access: Access) -> Result<()> {
        if self.timelines.len() > 1 {
            // One that goes on keeps the others.
            for (folder, newest) in &self.timelines {
                let timeline = host.timeline(folder, access)?;
                if timeline.find(&StepSelector::Newest)?.number != *newest {
                    let error = PersistError::new(ErrorCode::Conflict, "the timeline is in use: a step was appended just now");
                    return Err(error.at(timeline.location()).hint("the session is kept"));
                }
            }
        }
        for (folder, newest) in &self.timelines {
            host.timeline(folder, access)?.delete_after(*newest)?;
        }
        Ok(())
    }
}

/// Adds what follows from an object that can't be read.
pub(super) fn not_known(error: PersistError) -> PersistError {
    error.hint("no session is removed as a whole, since this may be the newest state of any of them: repair or delete it first")
}
