//! What the hosts and commands of Persist share, wherever they run: errors,
//! metadata, locations and the rules for keys.

mod code;
mod conversions;
pub mod error;
pub mod key;
pub mod location;
pub mod metadata;
pub mod names;
pub mod permissions;
pub mod walk;

pub use error::{ErrorCode, ErrorDetail, PersistError, Result};
pub use location::{LocalPaths, StorageLocation};
pub use metadata::{
    Codec, Encryption, FORMAT_VERSION, Hole, ListEntry, ListFilter, Located, Precondition, SealState, SnapshotMetadata, SnapshotOptions,
};
pub use permissions::Permissions;
