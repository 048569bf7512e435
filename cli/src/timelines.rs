//! Timelines as the commands find them: by the location of one, or below a folder.

use std::collections::BTreeSet;

use persist_host::{Engine, Timeline};
use persist_model::{ErrorCode, PersistError, Result};
use persist_paths::StorageLocation;
use persist_paths::ids::id_of;
use persist_paths::naming::session_folder;
use persist_paths::timeline::step_of;

use crate::host::Host;
use crate::native::host::Native;

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
pub(crate) fn place_of(host: &Native<'_>, location: &str) -> Result<StorageLocation> {
    host.locate_folder(location, true).map_err(|error| match error.code() {
        ErrorCode::NotFound | ErrorCode::InvalidArgument => no_timeline(location),
        _ => error,
    })
}

/// Opens the timeline in a folder, to read it.
pub(crate) fn open(host: &Native<'_>, location: &str) -> Result<(Timeline, StorageLocation)> {
    let place = place_of(host, location)?;
    Ok((host.stoppable(&place)?.timeline(place.key())?, place))
}

/// Returns the error for a location without a timeline.
pub(crate) fn no_timeline(location: &str) -> PersistError {
    PersistError::new(ErrorCode::NotFound, "there is no timeline here")
        .at(location.escape_debug())
        .hint("check the location: 'persist list' shows a timeline as FOLDER@NUMBER")
}

/// Returns the folders of all timelines whose keys begin with `prefix`, in order.
pub(crate) fn find(engine: &Engine, prefix: &str) -> Result<Vec<String>> {
    let mut folders = BTreeSet::new();
    for key in engine.keys(prefix) {
        match key {
            Ok(key) => folders.extend(step_of(&key).map(|(folder, _)| folder.to_owned())),
            // A name that is no key is no step either.
            Err(error) if error.code() == ErrorCode::InvalidKey => {}
            Err(error) => return Err(error),
        }
    }
    Ok(folders.into_iter().collect())
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
