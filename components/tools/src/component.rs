//! The functions of the WIT world `tool-provider`.

// The macro writes unsafe code for the canonical ABI, and items without
// documentation; both are its own business.
#[allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks, clippy::all)]
mod generated {
    wit_bindgen::generate!({ path: "../../wit", world: "tool-provider" });
}

use persist_model::error::HINT;

use generated as tools;
use generated::persist::snapshot::{snapshots, storage};

/// As everywhere else.
const DEFAULT_AGENT: &str = "default_agent";
const DEFAULT_SESSION: &str = "default_session";

/// Files that are looked at in one call, unless a limit is given.
const DEFAULT_LIMIT: u32 = 100;

struct Component;

generated::export!(Component with_types_in generated);

impl From<snapshots::Error> for tools::Error {
    fn from(error: snapshots::Error) -> Self {
        use snapshots::ErrorCode as From;
        use tools::ErrorCode as To;
        let code = match error.code {
            From::InvalidArgument => To::InvalidArgument,
            From::InvalidKey => To::InvalidKey,
            From::NotFound => To::NotFound,
            From::AlreadyExists => To::AlreadyExists,
            From::PreconditionFailed => To::PreconditionFailed,
            From::Integrity => To::Integrity,
            From::NotASnapshot => To::NotASnapshot,
            From::InvalidFormat => To::InvalidFormat,
            From::UnsupportedFormat => To::UnsupportedFormat,
            From::LimitExceeded => To::LimitExceeded,
            From::AccessDenied => To::AccessDenied,
            From::Credentials => To::Credentials,
            From::NoSuchBucket => To::NoSuchBucket,
            From::Unavailable => To::Unavailable,
            From::Timeout => To::Timeout,
            From::NoSpace => To::NoSpace,
            From::Unsupported => To::Unsupported,
            From::Io => To::Io,
            From::Other => To::Other,
        };
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

/// Options in which nothing is set.
const NOTHING: tools::SnapshotOptions = tools::SnapshotOptions {
    agent_id: None,
    session_id: None,
    snapshot_index: None,
    description: None,
    labels: None,
    content_type: None,
    codec: None,
    level: None,
    fail_if_exists: None,
    snapshot_id: None,
    timestamp: None,
};

fn save_options(options: tools::SnapshotOptions, size: u64) -> snapshots::SaveOptions {
    let must_be_absent = options.fail_if_exists.unwrap_or(false);
    snapshots::SaveOptions {
        agent_id: options.agent_id.unwrap_or_else(|| DEFAULT_AGENT.to_owned()),
        session_id: options.session_id.unwrap_or_else(|| DEFAULT_SESSION.to_owned()),
        snapshot_index: options.snapshot_index.unwrap_or(0),
        description: options.description,
        labels: options.labels.unwrap_or_default().into_iter().map(|label| (label.name, label.value)).collect(),
        content_type: options.content_type,
        extra: None,
        codec: options.codec.map(snapshots::Codec::from),
        level: options.level,
        snapshot_id: options.snapshot_id,
        timestamp: options.timestamp,
        precondition: if must_be_absent { storage::Precondition::IfAbsent } else { storage::Precondition::None },
        size_hint: Some(size),
        attributes: Vec::new(),
    }
}

impl tools::Guest for Component {
    fn snapshot(key: String, state: String, options: Option<tools::SnapshotOptions>) -> Result<tools::Metadata, tools::Error> {
        let options = save_options(options.unwrap_or(NOTHING), state.len() as u64);
        Ok(snapshots::save_text(&key, &state, &options)?.into())
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

    fn list(prefix: String, start_after: Option<String>, limit: Option<u32>) -> Result<tools::Listing, tools::Error> {
        let page = snapshots::list_snapshots(&prefix, start_after.as_deref(), limit.unwrap_or(DEFAULT_LIMIT))?;
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
        Ok(snapshots::delete(&key, &storage::Precondition::None)?)
    }
}
