//! The name of a snapshot that is saved into a folder: `AGENT/SESSION/INDEX.json.zst`.

use persist_model::{Codec, ErrorCode, Result};
use persist_paths::naming::{file_name, next_index, session_folder};

use crate::host::Host;

/// The parts of a snapshot's name in a folder.
pub(super) struct Naming<'a> {
    pub(super) folder: &'a str,
    pub(super) agent_id: &'a str,
    pub(super) session_id: &'a str,
    /// The index, or `None` for the one after the last of the session.
    pub(super) index: Option<u64>,
    pub(super) codec: Option<Codec>,
    pub(super) content_type: Option<&'a str>,
}

impl Naming<'_> {
    /// Returns the location of the snapshot and its index.
    ///
    /// # Errors
    /// Errors of the storage, and `Configuration` if the folder is not a folder.
    pub(super) fn choose(&self, host: &impl Host) -> Result<(String, u64)> {
        let session = session_folder(self.agent_id, self.session_id);
        let folder = if self.folder == "." { session } else { format!("{}{session}", with_slash(self.folder)) };
        // Reports an invalid folder as the user wrote it.
        host.locate_folder(self.folder, false)?;
        let index = match self.index {
            Some(index) => index,
            None => next_in(host, &folder)?,
        };
        Ok((format!("{folder}{}", file_name(index, self.codec, self.content_type)), index))
    }
}

/// Returns the index after the last one in a session's folder.
fn next_in(host: &impl Host, folder: &str) -> Result<u64> {
    let place = host.locate_folder(folder, false)?;
    let is_other = |key: &Result<String>| matches!(key, Err(error) if error.code() == ErrorCode::InvalidKey);
    let keys = host.keys(&place).and_then(|keys| keys.filter(|key| !is_other(key)).collect::<Result<Vec<String>>>());
    let keys = match keys {
        Err(error) if error.code() == ErrorCode::NotFound => Vec::new(),
        keys => keys?,
    };
    Ok(next_index(keys.iter().filter_map(|key| key.strip_prefix(place.key()))))
}

/// Returns a folder with exactly one trailing slash, not counting those of a scheme.
fn with_slash(folder: &str) -> String {
    let start = folder.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = folder.split_at(start);
    match rest.trim_end_matches('/') {
        "" if rest.is_empty() => scheme.to_owned(),
        rest => format!("{scheme}{rest}/"),
    }
}
