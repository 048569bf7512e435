//! The filters that select snapshots.

use std::collections::BTreeMap;
use std::time::SystemTime;

use clap::Args;
use persist_model::{ErrorCode, ListFilter, PersistError, Result, SnapshotMetadata, time};

/// Which snapshots are wanted. A search takes only those; for a snapshot that is named, a
/// mismatch is an error.
#[derive(Args, Clone)]
#[command(next_help_heading = "Filters")]
pub(crate) struct Filter {
    /// Only snapshots of this agent.
    #[arg(long, visible_alias = "agent", value_name = "ID")]
    pub(crate) agent_id: Option<String>,
    /// Only snapshots of this session.
    #[arg(long, visible_alias = "session", value_name = "ID")]
    pub(crate) session_id: Option<String>,
    /// Only snapshots with this index in their session.
    #[arg(long, value_name = "N")]
    pub(crate) index: Option<u64>,
    /// Only snapshots with this label; can be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Only snapshots taken at this time or later: a date, an RFC 3339 time, or an age
    /// such as 7d.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<String>,
    /// Only snapshots taken before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<String>,
    /// Only the snapshot with this digest, which covers every byte of it.
    #[arg(long, value_name = "SHA256", value_parser = parse_hash)]
    digest: Option<String>,
    /// Only snapshots whose state has this SHA-256.
    #[arg(long, value_name = "SHA256", value_parser = parse_hash)]
    content_hash: Option<String>,
}

impl Filter {
    /// Returns the part of the filter that a listing can apply.
    pub(crate) fn for_listing(&self) -> ListFilter {
        ListFilter::default()
            .agent_id(self.agent_id.clone())
            .session_id(self.session_id.clone())
            .labels(self.labels.iter().cloned().collect())
            .since(self.since.clone())
            .until(self.until.clone())
    }

    /// Returns the filter for any agent and session.
    pub(crate) fn without_ids(&self) -> Self {
        Self { agent_id: None, session_id: None, ..self.clone() }
    }

    /// Returns whether the filter is empty, so that every snapshot matches.
    pub(crate) fn is_empty(&self) -> bool {
        let has_text = [&self.agent_id, &self.session_id, &self.since, &self.until, &self.digest, &self.content_hash];
        has_text.iter().all(|text| text.is_none()) && self.labels.is_empty() && self.index.is_none()
    }

    /// Returns whether all snapshots of a session match.
    pub(crate) fn takes_whole_sessions(&self) -> bool {
        let has_text = [&self.since, &self.until, &self.digest, &self.content_hash];
        has_text.iter().all(|text| text.is_none()) && self.labels.is_empty() && self.index.is_none()
    }

    /// Describes how a snapshot differs from the filter, if it does.
    fn difference(&self, metadata: &SnapshotMetadata) -> Option<String> {
        let differs = |what: &str, found: &str, wanted: &str| format!("its {what} is '{found}', not '{wanted}'");
        let texts = [
            ("agent", &metadata.agent_id, &self.agent_id),
            ("session", &metadata.session_id, &self.session_id),
            ("digest", &metadata.digest, &self.digest),
            ("content hash", &metadata.content_hash, &self.content_hash),
        ];
        for (what, found, wanted) in texts {
            if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != found) {
                return Some(differs(what, found, wanted));
            }
        }
        if let Some(index) = self.index.filter(|index| *index != metadata.snapshot_index) {
            return Some(differs("index", &metadata.snapshot_index.to_string(), &index.to_string()));
        }
        for (name, value) in &self.labels {
            match metadata.labels.get(name) {
                Some(found) if found == value => {}
                Some(found) => return Some(differs(&format!("label {name}"), found, value)),
                None => return Some(format!("it has no label {name}")),
            }
        }
        // Stored times sort as text.
        let is_early = self.since.as_ref().is_some_and(|since| metadata.timestamp < *since);
        let is_late = self.until.as_ref().is_some_and(|until| metadata.timestamp >= *until);
        (is_early || is_late).then(|| format!("it was taken at {}", metadata.timestamp))
    }

    /// Returns whether a snapshot matches.
    pub(crate) fn wants(&self, metadata: &SnapshotMetadata) -> bool {
        self.difference(metadata).is_none()
    }

    /// Checks that a snapshot that was named matches.
    ///
    /// # Errors
    /// `Integrity` if it does not.
    pub(crate) fn check(&self, metadata: &SnapshotMetadata, location: &str) -> Result<()> {
        self.difference(metadata).map_or(Ok(()), |difference| {
            let message = format!("this is not the snapshot that was asked for: {difference}");
            Err(PersistError::new(ErrorCode::Integrity, message).at(location).hint("check the path; objects may have been swapped"))
        })
    }
}

pub(crate) fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Returns the labels of a state that is saved to `location`, each of which is given once.
pub(crate) fn unique_labels(given: &[(String, String)], location: &str) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for (name, value) in given {
        if labels.insert(name.clone(), value.clone()).is_some() {
            let error = PersistError::new(ErrorCode::InvalidArgument, format!("the label '{name}' is given twice"));
            return Err(error.at(location).hint("give each label once"));
        }
    }
    Ok(labels)
}

fn parse_moment(text: &str) -> Result<String, String> {
    time::moment(text, SystemTime::now())
}

fn parse_hash(text: &str) -> Result<String, String> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { Ok(text.to_ascii_lowercase()) } else { Err("expected 64 hexadecimal digits".to_owned()) }
}
