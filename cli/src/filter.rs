//! Which snapshots a command is about.

use std::time::SystemTime;

use clap::Args;
use persist_model::{ErrorCode, ListFilter, PersistError, Result, SnapshotMetadata, time};

/// What is known of the snapshots that are wanted. Of those that are found, only these
/// are taken; one that is named and is another is an error.
#[derive(Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct Filter {
    /// Those of this agent.
    #[arg(long, visible_alias = "agent", value_name = "ID")]
    agent_id: Option<String>,
    /// Those of this session.
    #[arg(long, visible_alias = "session", value_name = "ID")]
    pub(crate) session_id: Option<String>,
    /// Those at this place in their session.
    #[arg(long, value_name = "N")]
    pub(crate) index: Option<u64>,
    /// Those with this label; can be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Those taken then or later: a date, a time in RFC 3339, or how long ago, as 7d.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<String>,
    /// Those taken before then.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<String>,
    /// The one with this digest, which stands for every byte of it.
    #[arg(long, value_name = "SHA256", value_parser = parse_hash)]
    digest: Option<String>,
    /// Those whose state has this SHA-256.
    #[arg(long, value_name = "SHA256", value_parser = parse_hash)]
    content_hash: Option<String>,
}

impl Filter {
    /// What of it a listing can be asked for.
    pub(crate) fn for_listing(&self) -> ListFilter {
        ListFilter {
            agent_id: self.agent_id.clone(),
            session_id: self.session_id.clone(),
            labels: self.labels.iter().cloned().collect(),
            since: self.since.clone(),
            until: self.until.clone(),
        }
    }

    /// Whether any snapshot is wanted.
    pub(crate) fn is_empty(&self) -> bool {
        let has_text = [&self.agent_id, &self.session_id, &self.since, &self.until, &self.digest, &self.content_hash];
        has_text.iter().all(|text| text.is_none()) && self.labels.is_empty() && self.index.is_none()
    }

    /// How a snapshot differs from what is wanted, if it does.
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

    /// Whether a snapshot is one of those that are wanted.
    pub(crate) fn wants(&self, metadata: &SnapshotMetadata) -> bool {
        self.difference(metadata).is_none()
    }

    /// Fails if a snapshot that was named is another than the one that is wanted.
    ///
    /// # Errors
    /// `Integrity`.
    pub(crate) fn check(&self, metadata: &SnapshotMetadata, location: &str) -> Result<()> {
        self.difference(metadata).map_or(Ok(()), |difference| {
            let message = format!("this is another snapshot than was asked for: {difference}");
            Err(PersistError::new(ErrorCode::Integrity, message).at(location).hint("check the path; objects may have been swapped"))
        })
    }
}

pub(crate) fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a label is written NAME=VALUE".to_owned()),
    }
}

fn parse_moment(text: &str) -> Result<String, String> {
    time::moment(text, SystemTime::now())
}

fn parse_hash(text: &str) -> Result<String, String> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { Ok(text.to_ascii_lowercase()) } else { Err("a SHA-256 has 64 hexadecimal digits".to_owned()) }
}
