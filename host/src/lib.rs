//! Persist saves the state of an agent and brings it back, byte for byte. This
//! is its native host: it runs the component that knows what a snapshot is, in
//! a sandbox, and gives it a storage.
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
//! let options = SnapshotOptions { agent_id: "support".into(), ..SnapshotOptions::default() };
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
//! [`Engine::writer`] and [`Engine::reader`] stream states that do not fit in
//! memory. [`StorageAdapter`] is what to implement for another storage, and
//! [`StorageConfig`] turns what users write into a storage and a key.

#[cfg(not(unix))]
compile_error!("persist-host runs on Linux and macOS: its local files rely on their locks and renames");

mod bindings;
mod budget;
mod builder;
mod cancel;
#[cfg(feature = "cli")]
pub mod cli;
mod clock;
mod code;
#[cfg(feature = "compiler")]
mod compile;
mod component;
mod config;
mod crew;
mod engine;
mod fork;
mod guest;
mod health;
mod image;
#[cfg(feature = "cli")]
mod index;
mod list;
mod metadata;
mod parallel;
mod pool;
mod process;
mod random;
mod restore;
mod runtime;
mod salvage;
mod sandbox;
mod save;
mod storage;
#[cfg(any(feature = "cli", feature = "s3"))]
mod threads;
mod wasi;

use persist_model::{error, key, location, permissions, walk};

pub use builder::EngineBuilder;
pub use cancel::CancelToken;
pub use component::{COMPONENT, component_hash};
pub use config::{StorageBackend, StorageConfig};
pub use engine::{Copied, CopyOptions, Engine};
pub use error::{ErrorCode, ErrorDetail, PersistError, Result};
pub use health::{HealthCheck, check_health};
pub use key::check_key;
pub use list::Snapshots;
pub use location::StorageLocation;
pub use metadata::{
    Codec, Encryption, FORMAT_VERSION, Hole, ListEntry, ListFilter, Precondition, SealState, SnapshotMetadata, SnapshotOptions,
};
pub use permissions::Permissions;
pub use restore::SnapshotReader;
pub use salvage::{SalvageReport, Salvager};
pub use save::SnapshotWriter;
pub use storage::{
    ByteRange, Capabilities, DeleteFailure, Durability, LevelEntry, Listed, Listing, LocalFileStorage, MemoryStorage, ObjectInfo,
    ReadAnswer, ReadOptions, ReadRequest, StorageAdapter, StorageReader, StorageWriter, WriteOptions,
};
#[cfg(feature = "s3")]
pub use storage::{S3Addressing, S3Checksums, S3Credentials, S3Encryption, S3Options, S3StorageAdapter};

/// The example in the README is compiled and run with the others.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
