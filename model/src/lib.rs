//! What the hosts and commands of Persist share, wherever they run: errors,
//! metadata, locations and the rules for keys.

mod code;
mod conversions;
pub mod error;
pub mod ids;
pub mod key;
pub mod location;
pub mod metadata;
pub mod names;
pub mod naming;
pub mod permissions;
pub mod time;
pub mod units;
pub mod walk;

pub use error::{ErrorCode, ErrorDetail, PersistError, Result};
pub use location::{LocalPaths, StorageLocation};
pub use metadata::{
    Codec, Encryption, FORMAT_VERSION, Hole, ListEntry, ListFilter, Located, Precondition, SealState, SnapshotMetadata, SnapshotOptions,
};
pub use permissions::Permissions;
