//! What crosses the border to the component, in the terms of the command.

use persist_model::error::ErrorDetail;
use persist_model::{Codec, ErrorCode, PersistError, Precondition, SnapshotMetadata, SnapshotOptions};

use crate::composed::{storage, wit};

pub(crate) fn error(error: wit::Error) -> PersistError {
    use wit::ErrorCode as From;
    let code = match error.code {
        From::InvalidArgument => ErrorCode::InvalidArgument,
        From::NotFound => ErrorCode::NotFound,
        From::AlreadyExists => ErrorCode::AlreadyExists,
        From::PreconditionFailed => ErrorCode::PreconditionFailed,
        From::Integrity => ErrorCode::Integrity,
        From::NotASnapshot => ErrorCode::NotASnapshot,
        From::InvalidFormat => ErrorCode::InvalidFormat,
        From::UnsupportedFormat => ErrorCode::UnsupportedFormat,
        From::LimitExceeded => ErrorCode::LimitExceeded,
        From::AccessDenied => ErrorCode::AccessDenied,
        From::Credentials => ErrorCode::Credentials,
        From::NoSuchBucket => ErrorCode::NoSuchBucket,
        From::InvalidKey => ErrorCode::InvalidKey,
        From::Unavailable => ErrorCode::Unavailable,
        From::Timeout => ErrorCode::Timeout,
        From::NoSpace => ErrorCode::NoSpace,
        From::Unsupported => ErrorCode::Unsupported,
        From::Io => ErrorCode::Io,
        From::Other => ErrorCode::Other,
    };
    let hint = code.advice().or_else(|| code.file_advice()).map(str::to_owned);
    PersistError::from_detail(ErrorDetail {
        code,
        message: error.message,
        location: None,
        retryable: error.retryable,
        hint,
        facts: error.details,
    })
}

pub(crate) fn metadata(metadata: wit::Metadata) -> SnapshotMetadata {
    SnapshotMetadata {
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
        compression_algorithm: match metadata.compression_algorithm {
            wit::Codec::Gzip => Codec::Gzip,
            wit::Codec::Zstd => Codec::Zstd,
        },
        format_version: metadata.format_version,
        producer: metadata.producer,
        extra: metadata.extra,
        digest: metadata.digest,
        etag: metadata.etag,
        stored_size: metadata.stored_size,
    }
}

pub(crate) fn options(options: SnapshotOptions) -> wit::SaveOptions {
    wit::SaveOptions {
        agent_id: options.agent_id,
        session_id: options.session_id,
        snapshot_index: options.snapshot_index,
        description: options.description,
        labels: options.labels.into_iter().collect(),
        content_type: options.content_type,
        extra: options.extra,
        codec: options.codec.map(|codec| match codec {
            Codec::Gzip => wit::Codec::Gzip,
            Codec::Zstd => wit::Codec::Zstd,
        }),
        level: options.level,
        snapshot_id: options.snapshot_id,
        timestamp: options.timestamp,
        precondition: precondition(options.precondition),
        size_hint: options.size_hint,
        attributes: options.attributes.into_iter().collect(),
    }
}

pub(crate) fn precondition(precondition: Precondition) -> storage::Precondition {
    match precondition {
        Precondition::None => storage::Precondition::None,
        Precondition::IfAbsent => storage::Precondition::IfAbsent,
        Precondition::IfMatch(etag) => storage::Precondition::IfMatch(etag),
    }
}
