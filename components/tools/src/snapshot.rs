//! Saves, lists and deletes snapshots.

use persist_model::SnapshotOptions;

use crate::bindings::generated as tools;
use crate::bindings::snapshots::{self, Error};
use crate::bindings::types::{ErrorCode, Precondition};
use crate::convert::pairs;

/// The files that one call looks at, unless a limit is given.
const DEFAULT_LIMIT: u32 = 100;

/// Options without any fields set.
const NOTHING: tools::SnapshotOptions = tools::SnapshotOptions {
    agent_id: None,
    session_id: None,
    snapshot_index: None,
    description: None,
    labels: None,
    content_type: None,
    codec: None,
    level: None,
    replace: None,
    snapshot_id: None,
    timestamp: None,
};

fn save_options(options: tools::SnapshotOptions, size: u64) -> snapshots::SaveOptions {
    let default = SnapshotOptions::default();
    snapshots::SaveOptions {
        agent_id: options.agent_id.unwrap_or(default.agent_id),
        session_id: options.session_id.unwrap_or(default.session_id),
        snapshot_index: options.snapshot_index.unwrap_or(default.snapshot_index),
        description: options.description,
        labels: pairs(options.labels),
        content_type: options.content_type,
        extra: None,
        codec: options.codec.map(snapshots::Codec::from),
        level: options.level,
        snapshot_id: options.snapshot_id,
        timestamp: options.timestamp,
        precondition: Precondition::IfAbsent,
        state_size_hint: Some(size),
        attributes: Vec::new(),
        host_hashes: false,
    }
}

/// Adds to an error that the object was kept.
fn kept(error: Error, what_was_not_done: &str) -> Error {
    Error { message: format!("{}; {what_was_not_done}", error.message), ..error }
}

/// Returns the metadata of a snapshot after checking its metadata, table and first block. A
/// file that only ends like a snapshot fails here.
fn snapshot_at(key: &str) -> Result<snapshots::Metadata, Error> {
    let options = snapshots::RestoreOptions { check_content_hash: false };
    let restorer = snapshots::open_restorer(key, options)?;
    restorer.read(1)?;
    Ok(restorer.metadata())
}

/// Changes the snapshot that was just found, but not one that has replaced it since, if the
/// storage can tell them apart.
fn change<T>(found: &snapshots::Metadata, mut change: impl FnMut(Precondition) -> Result<T, Error>) -> Result<T, Error> {
    if let Some(etag) = &found.etag {
        match change(Precondition::IfMatch(etag.clone())) {
            Err(error) if error.code == ErrorCode::Unsupported => {}
            changed => return changed,
        }
    }
    change(Precondition::None)
}

pub(crate) fn save(key: &str, state: &str, options: Option<tools::SnapshotOptions>) -> Result<snapshots::Metadata, Error> {
    let options = options.unwrap_or(NOTHING);
    let replace = options.replace.unwrap_or(false);
    let mut options = save_options(options, state.len() as u64);
    if !replace {
        return snapshots::save_text(key, state, &options);
    }
    match snapshot_at(key) {
        Ok(found) => change(&found, |precondition| {
            options.precondition = precondition;
            snapshots::save_text(key, state, &options)
        }),
        Err(error) if error.code == ErrorCode::NotFound => snapshots::save_text(key, state, &options),
        Err(error) => Err(kept(error, "it was not replaced")),
    }
}

pub(crate) fn delete(key: &str) -> Result<(), Error> {
    match snapshot_at(key) {
        Ok(found) => change(&found, |precondition| snapshots::delete(key, &precondition)),
        Err(error) if error.code == ErrorCode::NotFound => Err(error),
        Err(error) => Err(kept(error, "it was not deleted")),
    }
}

pub(crate) fn list(
    prefix: &str,
    start_after: Option<&str>,
    limit: Option<u32>,
    filter: Option<tools::ListFilter>,
) -> Result<tools::Listing, Error> {
    let filter = filter.map(snapshots::ListFilter::from);
    let page = snapshots::list_snapshots(prefix, start_after, limit.unwrap_or(DEFAULT_LIMIT), filter.as_ref())?;
    let mut listing = tools::Listing { snapshots: Vec::new(), unreadable: Vec::new(), next: page.next };
    for entry in page.entries {
        match entry {
            snapshots::ListEntry::Snapshot(metadata) => listing.snapshots.push(metadata.into()),
            snapshots::ListEntry::Unreadable(found) => {
                listing.unreadable.push(tools::Unreadable { key: found.key, error: found.error.into() });
            }
        }
    }
    Ok(listing)
}
