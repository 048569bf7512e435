//! Metadata as it is, for those that store it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metadata::{Codec, Encryption, SealState, SnapshotMetadata};

/// The fields of the metadata as they are, for storing them: serialises [`SnapshotMetadata`] by
/// `#[serde(with = "MetadataFields")]`.
#[derive(Deserialize, Serialize)]
#[serde(remote = "SnapshotMetadata")]
pub struct MetadataFields {
    key: String,
    kind: String,
    snapshot_id: String,
    agent_id: String,
    session_id: String,
    snapshot_index: u64,
    timestamp: String,
    description: Option<String>,
    labels: BTreeMap<String, String>,
    content_type: String,
    content_hash: String,
    uncompressed_size: u64,
    compressed_size: u64,
    compression_algorithm: Codec,
    format_version: u32,
    producer: String,
    extra: String,
    seal: SealState,
    encryption: Encryption,
    root: String,
    digest: String,
    etag: Option<String>,
    stored_size: u64,
}
