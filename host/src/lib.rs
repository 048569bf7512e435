//! Persist saves the state of an agent and restores it, byte for byte. This crate is
//! the native host: it runs the component that defines the snapshot format in a
//! sandbox, and gives it a storage.
//!
//! ```
//! use persist_host::{Engine, LocalFileStorage, SnapshotOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let engine = Engine::builder().storage(LocalFileStorage::new(folder)).build()?;
//!
//! let state = br#"{"messages": [{"role": "user", "content": "Hello"}]}"#;
//! let options = SnapshotOptions::default().agent_id("support");
//! let saved = engine.snapshot("session-1/0001.json.gz", state, &options)?;
//!
//! assert_eq!(engine.restore("session-1/0001.json.gz")?, state);
//! assert_eq!(engine.verify("session-1/0001.json.gz")?.content_hash, saved.content_hash);
//! for entry in engine.list("session-1/") {
//!     println!("{entry:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Engine::timeline`] keeps every step of a session, and stores only what is new in each.
//! [`Engine::diff`] says what is different between two states.
//! With the feature `tokio`, `AsyncEngine` does the same in asynchronous programs.
//! [`Engine::writer`] and [`Engine::reader`] stream states that do not fit in memory.
//! Implement [`StorageAdapter`] for another storage. [`StorageConfig`] turns a location
//! that a user writes into a storage and a key.

#[cfg(not(unix))]
compile_error!("persist-host runs only on Linux and macOS: local files rely on their locks and renames");

#[cfg(feature = "tokio")]
mod asynchronous;
mod cancel;
mod engine;
mod sandbox;
mod storage;
mod system;
mod workers;

#[cfg(feature = "tokio")]
pub use asynchronous::{AsyncEngine, AsyncSalvager, AsyncSnapshotReader, AsyncSnapshotWriter, AsyncStepWriter, AsyncTimeline, Items};
#[cfg(feature = "s3")]
pub use aws_types::SdkConfig;
pub use cancel::CancelToken;
pub use engine::{
    Checks, Copied, CopiedTimeline, CopyOptions, Diff, DiffSource, Engine, EngineBuilder, GrowingState, History, ListingIndex,
    SalvageReport, Salvager, SnapshotReader, SnapshotWriter, Snapshots, StepWriter, Timeline,
};
pub use persist_model::timeline;
pub use persist_model::{
    Change, ChangeSummary, Codec, DiffKind, Encryption, ErrorCode, ErrorDetail, Excerpt, FORMAT_VERSION, Hole, ListEntry, ListFilter,
    Operation, Permissions, PersistError, Precondition, Result, SealState, SnapshotMetadata, SnapshotOptions, View,
};
pub use persist_paths::StorageLocation;
pub use persist_paths::key::check_key;
pub use sandbox::{COMPONENT, component_hash};
pub use storage::{
    ByteRange, Capabilities, DeleteFailure, Durability, HealthCheck, LevelEntry, Listed, Listing, LocalFileStorage, MemoryStorage,
    ObjectInfo, ReadAnswer, ReadOptions, ReadRequest, StorageAdapter, StorageBackend, StorageConfig, StorageReader, StorageWriter,
    WriteOptions, check_health,
};
#[cfg(feature = "s3")]
pub use storage::{S3_OPTIONS, S3Addressing, S3Checksums, S3Credentials, S3Encryption, S3Option, S3Options, S3StorageAdapter};
pub use system::threads::check_threads;

/// Compiles and runs the example in the package's README with the other doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
