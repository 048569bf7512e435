//! Metadata as it crosses the border of the component.

pub use persist_model::metadata::{Codec, FORMAT_VERSION, ListEntry, Precondition, SnapshotMetadata, SnapshotOptions};

use crate::bindings::snapshots as wit;

impl From<wit::Codec> for Codec {
    fn from(codec: wit::Codec) -> Self {
        match codec {
            wit::Codec::Gzip => Self::Gzip,
            wit::Codec::Zstd => Self::Zstd,
        }
    }
}

impl From<Codec> for wit::Codec {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::Gzip => Self::Gzip,
            Codec::Zstd => Self::Zstd,
        }
    }
}

impl From<SnapshotOptions> for wit::SaveOptions {
    fn from(options: SnapshotOptions) -> Self {
        Self {
            agent_id: options.agent_id,
            session_id: options.session_id,
            snapshot_index: options.snapshot_index,
            description: options.description,
            labels: options.labels.into_iter().collect(),
            content_type: options.content_type,
            extra: options.extra,
            codec: options.codec.map(wit::Codec::from),
            level: options.level,
            snapshot_id: options.snapshot_id,
            timestamp: options.timestamp,
            precondition: options.precondition.into(),
            size_hint: options.size_hint,
            attributes: options.attributes.into_iter().collect(),
        }
    }
}

impl From<wit::Metadata> for SnapshotMetadata {
    fn from(metadata: wit::Metadata) -> Self {
        Self {
            key: metadata.key,
            snapshot_id: metadata.snapshot_id,
            agent_id: metadata.agent_id,
            session_id: metadata.session_id,
            snapshot_index: metadata.snapshot_index,
            timestamp: metadata.timestamp,
            description: metadata.description,
            labels: metadata.labels.into_iter().collect(),
            content_type: metadata.content_type,
            content_hash: metadata.content_hash,
            uncompressed_size: metadata.uncompressed_size,
            compressed_size: metadata.compressed_size,
            compression_algorithm: metadata.compression_algorithm.into(),
            format_version: metadata.format_version,
            producer: metadata.producer,
            extra: metadata.extra,
            digest: metadata.digest,
            etag: metadata.etag,
            stored_size: metadata.stored_size,
        }
    }
}
