//! Conversions between the library's types and those of the contract.

use super::bindings::{host, wit};
use crate::codec::{BlockRef, Codec, EncodedBlock};
use crate::error::{Error, Result};
use crate::metadata::{Metadata, SaveOptions};
use crate::salvage::Hole;
use crate::snapshots::ListFilter;
use crate::storage::{ByteRange, ObjectInfo, Precondition};

persist_model::code_conversions!(super::bindings::host);
persist_model::codec_conversions!(super::bindings::wit, crate::codec::Codec);

impl From<host::Error> for Error {
    fn from(error: host::Error) -> Self {
        let host::Error { code, retryable, key, message, details } = error;
        Self { code: code.into(), retryable, key, message, details }
    }
}

impl From<Error> for host::Error {
    fn from(error: Error) -> Self {
        let Error { code, retryable, key, message, details } = error;
        Self { code: code.into(), retryable, key, message, details }
    }
}

impl From<host::ObjectInfo> for ObjectInfo {
    fn from(info: host::ObjectInfo) -> Self {
        let host::ObjectInfo { key, size, etag, modified, storage_time, .. } = info;
        Self { key, size, etag, modified, storage_time }
    }
}

impl From<ByteRange> for host::ByteRange {
    fn from(range: ByteRange) -> Self {
        match range {
            ByteRange::All => Self::All,
            ByteRange::Span { offset, length } => Self::Span(host::Span { offset, length }),
            ByteRange::Suffix(length) => Self::Suffix(length),
        }
    }
}

impl From<Precondition> for host::Precondition {
    fn from(precondition: Precondition) -> Self {
        match precondition {
            Precondition::None => Self::None,
            Precondition::IfAbsent => Self::IfAbsent,
            Precondition::IfMatch(etag) => Self::IfMatch(etag),
        }
    }
}

impl From<host::Precondition> for Precondition {
    fn from(precondition: host::Precondition) -> Self {
        match precondition {
            host::Precondition::None => Self::None,
            host::Precondition::IfAbsent => Self::IfAbsent,
            host::Precondition::IfMatch(etag) => Self::IfMatch(etag),
        }
    }
}

impl From<wit::SaveOptions> for SaveOptions {
    fn from(options: wit::SaveOptions) -> Self {
        Self {
            agent_id: options.agent_id,
            session_id: options.session_id,
            snapshot_index: options.snapshot_index,
            description: options.description,
            labels: options.labels,
            content_type: options.content_type,
            extra: options.extra,
            codec: options.codec.map(Codec::from),
            level: options.level,
            snapshot_id: options.snapshot_id,
            timestamp: options.timestamp,
            precondition: options.precondition.into(),
            state_size_hint: options.state_size_hint,
            attributes: options.attributes,
            host_hashes: options.host_hashes,
        }
    }
}

impl From<Metadata> for wit::Metadata {
    fn from(metadata: Metadata) -> Self {
        Self {
            key: metadata.key,
            kind: metadata.kind,
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
            seal: if metadata.is_sealed { wit::SealState::NotChecked } else { wit::SealState::None },
            encryption: wit::Encryption::None,
            root: metadata.root,
            digest: metadata.digest,
            etag: metadata.etag,
            stored_size: metadata.stored_size,
        }
    }
}

impl From<BlockRef> for wit::BlockRef {
    fn from(block: BlockRef) -> Self {
        Self {
            key: block.key,
            etag: block.etag,
            codec: block.codec.into(),
            offset: block.offset,
            prefix: block.prefix,
            frame_length: block.frame_length,
            suffix: block.suffix,
            length: block.length,
            hash: block.hash.to_vec(),
        }
    }
}

/// Converts a hash from the host, which must have 32 bytes.
pub(super) fn hash(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| Error::argument(format!("a SHA-256 has 32 bytes, not {}", bytes.len())))
}

impl TryFrom<wit::EncodedBlock> for EncodedBlock {
    type Error = Error;

    fn try_from(block: wit::EncodedBlock) -> Result<Self> {
        Ok(Self { hash: hash(&block.hash)?, frame: block.frame, length: block.length, crc32: block.crc32 })
    }
}

impl TryFrom<wit::BlockRef> for BlockRef {
    type Error = Error;

    fn try_from(block: wit::BlockRef) -> Result<Self> {
        Ok(Self {
            key: block.key,
            etag: block.etag,
            codec: block.codec.into(),
            offset: block.offset,
            prefix: block.prefix,
            frame_length: block.frame_length,
            suffix: block.suffix,
            length: block.length,
            hash: hash(&block.hash)?,
        })
    }
}

impl From<Hole> for wit::Hole {
    fn from(hole: Hole) -> Self {
        let Hole { state_offset, length, object_offset } = hole;
        Self { state_offset, length, object_offset }
    }
}

impl From<wit::ListFilter> for ListFilter {
    fn from(filter: wit::ListFilter) -> Self {
        let wit::ListFilter { agent_id, session_id, labels, since, until } = filter;
        Self { agent_id, session_id, labels, since, until }
    }
}
