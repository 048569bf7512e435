//! Storages keep objects. Each is a [`StorageAdapter`].

mod adapter;
mod boot_time;
mod config;
mod health;
mod local;
mod memory;
mod pair;
#[cfg(feature = "s3")]
mod s3;
mod types;

#[cfg(feature = "s3")]
pub(crate) use adapter::after_level;
pub(crate) use adapter::{MAX_READ, copy_through, delete_if_absent, is_lost_upload, not_a_key, read_to_end};
pub use adapter::{StorageAdapter, StorageReader, StorageWriter};
pub use config::{StorageBackend, StorageConfig};
pub use health::check_health;
pub use local::{Durability, LocalFileStorage};
pub use memory::MemoryStorage;
pub(crate) use pair::{Pair, in_first, in_second};
#[cfg(feature = "s3")]
pub use s3::{S3_OPTIONS, S3Addressing, S3Checksums, S3Credentials, S3Encryption, S3Option, S3Options, S3StorageAdapter};
pub use types::{
    ByteRange, Capabilities, DeleteFailure, HealthCheck, LevelEntry, Listed, Listing, ObjectInfo, ReadAnswer, ReadOptions, ReadRequest,
    WriteOptions,
};
