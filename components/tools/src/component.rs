//! Exports the functions of the WIT world `tool-provider`.

// The macro writes unsafe code for the canonical ABI, and items without
// documentation.
#[allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks, clippy::all)]
mod generated {
    wit_bindgen::generate!({ path: "../../wit", world: "tool-provider" });
}

use persist_model::error::HINT;
use persist_model::{ErrorCode, SnapshotOptions};

use generated as tools;
use generated::persist::snapshot::snapshots;
use generated::persist::snapshot::types::{self, Precondition};

/// The files that one call looks at, unless a limit is given.
const DEFAULT_LIMIT: u32 = 100;

struct Component;

generated::export!(Component with_types_in generated);

persist_model::code_conversions!(generated);
persist_model::code_conversions!(generated::persist::snapshot::types);

impl From<snapshots::Error> for tools::Error {
    fn from(error: snapshots::Error) -> Self {
        let code = ErrorCode::from(error.code).into();
        let message = match &error.key {
            Some(key) => format!("{}: {}", error.message, key.escape_debug()),
            None => error.message,
        };
        let message = match error.details.into_iter().find(|(name, _)| name == HINT) {
            Some((_, hint)) => format!("{message} ({hint})"),
            None => message,
        };
        Self { code, message, retryable: error.retryable }
    }
}

impl From<snapshots::Codec> for tools::Codec {
    fn from(codec: snapshots::Codec) -> Self {
        match codec {
            snapshots::Codec::Gzip => Self::Gzip,
            snapshots::Codec::Zstd => Self::Zstd,
        }
    }
}

impl From<tools::Codec> for snapshots::Codec {
    fn from(codec: tools::Codec) -> Self {
        match codec {
            tools::Codec::Gzip => Self::Gzip,
            tools::Codec::Zstd => Self::Zstd,
        }
    }
}

impl From<snapshots::Metadata> for tools::Metadata {
    fn from(metadata: snapshots::Metadata) -> Self {
        Self {
            key: metadata.key,
            snapshot_id: metadata.snapshot_id,
            agent_id: metadata.agent_id,
            session_id: metadata.session_id,
            snapshot_index: metadata.snapshot_index,
            timestamp: metadata.timestamp,
            description: metadata.description,
            labels: metadata.labels.into_iter().map(|(name, value)| tools::Label { name, value }).collect(),
            content_type: metadata.content_type,
            content_hash: metadata.content_hash,
            uncompressed_size: metadata.uncompressed_size,
            stored_size: metadata.stored_size,
            compression_algorithm: metadata.compression_algorithm.into(),
            digest: metadata.digest,
        }
    }
}

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

fn pairs(labels: Option<Vec<tools::Label>>) -> Vec<(String, String)> {
    labels.unwrap_or_default().into_iter().map(|label| (label.name, label.value)).collect()
}

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

impl From<tools::ListFilter> for snapshots::ListFilter {
    fn from(filter: tools::ListFilter) -> Self {
        let tools::ListFilter { agent_id, session_id, labels, since, until } = filter;
        Self { agent_id, session_id, labels: pairs(labels), since, until }
    }
}

/// Adds to an error that the object was kept.
fn kept(error: snapshots::Error, what_was_not_done: &str) -> snapshots::Error {
    snapshots::Error { message: format!("{}; {what_was_not_done}", error.message), ..error }
}

/// Returns the metadata of a snapshot after checking its metadata, table and first block. A
/// file that only ends like a snapshot fails here.
fn snapshot_at(key: &str) -> Result<snapshots::Metadata, snapshots::Error> {
    let options = snapshots::RestoreOptions { check_content_hash: false };
    let restorer = snapshots::open_restorer(key, options)?;
    restorer.read(1)?;
    Ok(restorer.metadata())
}

/// Changes the snapshot that was just found, but not one that has replaced it since, if the
/// storage can tell them apart.
fn change<T>(
    found: &snapshots::Metadata,
    mut change: impl FnMut(Precondition) -> Result<T, snapshots::Error>,
) -> Result<T, snapshots::Error> {
    if let Some(etag) = &found.etag {
        match change(Precondition::IfMatch(etag.clone())) {
            Err(error) if error.code == types::ErrorCode::Unsupported => {}
            changed => return changed,
        }
    }
    change(Precondition::None)
}

fn save(key: &str, state: &str, options: tools::SnapshotOptions) -> Result<snapshots::Metadata, snapshots::Error> {
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
        Err(error) if error.code == types::ErrorCode::NotFound => snapshots::save_text(key, state, &options),
        Err(error) => Err(kept(error, "it was not replaced")),
    }
}

fn delete(key: &str) -> Result<(), snapshots::Error> {
    match snapshot_at(key) {
        Ok(found) => change(&found, |precondition| snapshots::delete(key, &precondition)),
        Err(error) if error.code == types::ErrorCode::NotFound => Err(error),
        Err(error) => Err(kept(error, "it was not deleted")),
    }
}

impl tools::Guest for Component {
    fn snapshot(key: String, state: String, options: Option<tools::SnapshotOptions>) -> Result<tools::Metadata, tools::Error> {
        Ok(save(&key, &state, options.unwrap_or(NOTHING))?.into())
    }

    fn restore(key: String) -> Result<String, tools::Error> {
        Ok(snapshots::restore_text(&key)?)
    }

    fn verify(key: String) -> Result<tools::Metadata, tools::Error> {
        Ok(snapshots::verify(&key)?.into())
    }

    fn get_metadata(key: String) -> Result<tools::Metadata, tools::Error> {
        Ok(snapshots::get_metadata(&key)?.into())
    }

    fn list(
        prefix: String,
        start_after: Option<String>,
        limit: Option<u32>,
        filter: Option<tools::ListFilter>,
    ) -> Result<tools::Listing, tools::Error> {
        let filter = filter.map(snapshots::ListFilter::from);
        let page = snapshots::list_snapshots(&prefix, start_after.as_deref(), limit.unwrap_or(DEFAULT_LIMIT), filter.as_ref())?;
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

    fn delete(key: String) -> Result<(), tools::Error> {
        Ok(delete(&key)?)
    }
}
