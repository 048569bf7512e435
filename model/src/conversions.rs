//! What crosses the border of the component, in the terms of its hosts.

/// Converts between the types of this crate and those that a binding generator
/// made of the WIT interface `snapshots`, which are other ones in every crate:
/// options to the component; codes, codecs and metadata from it. Takes the path
/// of the module that was generated, and is to be called once in a crate.
#[macro_export]
macro_rules! conversions {
    ($snapshots:path) => {
        const _: () = {
            use $crate::{Codec, ErrorCode, Precondition, SnapshotMetadata, SnapshotOptions};
            use $snapshots as wit;

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

            impl From<Precondition> for wit::Precondition {
                fn from(precondition: Precondition) -> Self {
                    match precondition {
                        Precondition::None => Self::None,
                        Precondition::IfAbsent => Self::IfAbsent,
                        Precondition::IfMatch(etag) => Self::IfMatch(etag),
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

            impl From<wit::ErrorCode> for ErrorCode {
                fn from(code: wit::ErrorCode) -> Self {
                    match code {
                        wit::ErrorCode::InvalidArgument => Self::InvalidArgument,
                        wit::ErrorCode::NotFound => Self::NotFound,
                        wit::ErrorCode::AlreadyExists => Self::AlreadyExists,
                        wit::ErrorCode::PreconditionFailed => Self::PreconditionFailed,
                        wit::ErrorCode::Integrity => Self::Integrity,
                        wit::ErrorCode::NotASnapshot => Self::NotASnapshot,
                        wit::ErrorCode::InvalidFormat => Self::InvalidFormat,
                        wit::ErrorCode::UnsupportedFormat => Self::UnsupportedFormat,
                        wit::ErrorCode::LimitExceeded => Self::LimitExceeded,
                        wit::ErrorCode::AccessDenied => Self::AccessDenied,
                        wit::ErrorCode::Credentials => Self::Credentials,
                        wit::ErrorCode::NoSuchBucket => Self::NoSuchBucket,
                        wit::ErrorCode::InvalidKey => Self::InvalidKey,
                        wit::ErrorCode::Unavailable => Self::Unavailable,
                        wit::ErrorCode::Timeout => Self::Timeout,
                        wit::ErrorCode::NoSpace => Self::NoSpace,
                        wit::ErrorCode::Unsupported => Self::Unsupported,
                        wit::ErrorCode::Io => Self::Io,
                        wit::ErrorCode::Other => Self::Other,
                    }
                }
            }
        };
    };
}
