//! Timelines as the commands find them: by the location of one, or below a folder.

use std::collections::BTreeSet;

use persist_model::{ErrorCode, PersistError, Result, StepSelector};
use persist_paths::StorageLocation;
use persist_paths::ids::id_of;
use persist_paths::key::split;
use persist_paths::naming::session_folder;
use persist_paths::timeline::{HINT, step_of, unfinished_deletions};

use crate::host::{Access, Host, Object, is_key};

/// The folder of a timeline, and whose it is.
pub(crate) struct Place {
    pub(crate) text: String,
    pub(crate) agent_id: String,
    pub(crate) session_id: String,
}

/// Returns the folder of a timeline: with IDs, the session's folder in the location;
/// otherwise the location itself, whose last two folders are the agent and the session.
pub(crate) fn place(location: &str, agent_id: Option<&str>, session_id: Option<&str>) -> Place {
    let default = |id: Option<&str>, default: &str| id.unwrap_or(default).to_owned();
    let (default_agent, default_session) = ("default_agent", "default_session");
    let base = match location.trim_end_matches('/') {
        // Only a scheme is left.
        scheme if scheme.ends_with(':') => location,
        base => base,
    };
    if agent_id.is_some() || session_id.is_some() {
        let (agent_id, session_id) = (default(agent_id, default_agent), default(session_id, default_session));
        let folder = session_folder(&agent_id, &session_id);
        let text = match location {
            "." => folder,
            _ if base.ends_with('/') => format!("{base}{folder}"),
            _ => format!("{base}/{folder}"),
        };
        return Place { text: text.trim_end_matches('/').to_owned(), agent_id, session_id };
    }
    let path = location.split_once("://").map_or(location, |(_, path)| path).trim_end_matches('/');
    let mut folders: Vec<&str> = path.split('/').filter(|folder| !matches!(*folder, "" | "." | "..")).collect();
    if location.starts_with("s3://") && !folders.is_empty() {
        // The bucket.
        folders.remove(0);
    }
    let mut ids = folders.into_iter().rev().map(|folder| id_of(folder).unwrap_or_else(|| folder.to_owned()));
    let session_id = ids.next().unwrap_or_else(|| default_session.to_owned());
    let agent_id = ids.next().unwrap_or_else(|| default_agent.to_owned());
    Place { text: base.to_owned(), agent_id, session_id }
}

/// Returns the location of a folder that has timelines, or is one.
pub(crate) fn place_of(host: &impl Host, location: &str) -> Result<StorageLocation> {
    host.locate_folder(location, true).map_err(|error| match error.code() {
        ErrorCode::NotFound | ErrorCode::InvalidArgument => no_timeline(location),
        _ => error,
    })
}

/// Returns the error for a location without a timeline.
pub(crate) fn no_timeline(location: &str) -> PersistError {
    PersistError::new(ErrorCode::NotFound, "there is no timeline here")
        .at(location.escape_debug())
        .hint("check the location: 'persist list' shows a timeline as FOLDER@NUMBER")
}

/// Returns the folders of all timelines below a place, in order.
pub(crate) fn find(host: &impl Host, place: &StorageLocation) -> Result<Vec<StorageLocation>> {
    let mut found = Folders::default();
    for object in host.objects(place)?.filter(is_key) {
        found.add(&object?.key);
    }
    let lost = found.lost(host, place)?;
    found.of_steps.extend(lost);
    Ok(found.of_steps.iter().map(|folder| place.clone().with_key(folder)).collect())
}

/// The folders of timelines that no listing of snapshots shows.
pub(crate) struct Unlisted {
    /// Those of which a deletion that was broken off has left steps.
    pub(crate) unfinished: Vec<StorageLocation>,
    /// Those that have lost all their steps.
    pub(crate) lost: Vec<StorageLocation>,
}

/// Finds the timelines below a place that no listing of snapshots shows.
pub(crate) fn unlisted(host: &impl Host, place: &StorageLocation) -> Result<Unlisted> {
    let mut found = Folders::default();
    let objects = host.objects(place)?.filter(is_key).map(|object| {
        let Object { key, size } = object?;
        found.add(&key);
        Ok((key, size))
    });
    let unfinished = unfinished_deletions(objects)?;
    let at = |folder: String| place.clone().with_key(&folder);
    Ok(Unlisted { unfinished: unfinished.into_iter().map(at).collect(), lost: found.lost(host, place)?.into_iter().map(at).collect() })
}

/// Folders, by the names of what is in them.
#[derive(Default)]
struct Folders {
    of_steps: BTreeSet<String>,
    of_hints: BTreeSet<String>,
}

impl Folders {
    fn add(&mut self, key: &str) {
        match step_of(key) {
            Some((folder, _)) => drop(self.of_steps.insert(folder.to_owned())),
            None if split(key).1 == HINT => drop(self.of_hints.insert(key.strip_suffix(HINT).unwrap_or_default().to_owned())),
            None => {}
        }
    }

    /// Returns those that have no steps, although a hint names one.
    fn lost(&self, host: &impl Host, place: &StorageLocation) -> Result<Vec<String>> {
        let mut lost = Vec::new();
        for folder in self.of_hints.difference(&self.of_steps) {
            match host.timeline(&place.clone().with_key(folder), Access::Read)?.find(&StepSelector::Newest) {
                Err(error) if error.code() == ErrorCode::Integrity => lost.push(folder.clone()),
                Err(error) if error.code() == ErrorCode::Cancelled => return Err(error),
                // Something else has this name.
                _ => {}
            }
        }
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_the_last_two_folders() {
        for (location, agent, session) in [
            ("runs/support/case-1", "support", "case-1"),
            ("runs/support/case-1/", "support", "case-1"),
            ("support/+case%2f1", "support", "Case/1"),
            ("case-1", "default_agent", "case-1"),
            ("./case-1", "default_agent", "case-1"),
            (".", "default_agent", "default_session"),
            ("/srv/runs/a/b", "a", "b"),
            ("s3://bucket/agents/support/case-1", "support", "case-1"),
            ("memory://support/case-1", "support", "case-1"),
            ("file:///srv/runs/support/case-1", "support", "case-1"),
            ("s3://bucket/case-1", "default_agent", "case-1"),
            ("s3://bucket", "default_agent", "default_session"),
        ] {
            let place = place(location, None, None);
            assert_eq!((place.agent_id.as_str(), place.session_id.as_str()), (agent, session), "{location}");
            assert_eq!(place.text, location.trim_end_matches('/'));
        }
        for (location, text) in [("memory://", "memory://a/b"), ("file:///", "file:///a/b"), ("/", "/a/b"), ("x/", "x/a/b")] {
            assert_eq!(place(location, Some("a"), Some("b")).text, text);
        }
        let place = place("s3://bucket/agents/", Some("Support"), None);
        assert_eq!((place.text.as_str(), place.session_id.as_str()), ("s3://bucket/agents/+support/default_session", "default_session"));
    }
}
