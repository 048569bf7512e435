//! What the hosts and commands of Persist share, wherever they run: errors,
//! metadata, locations and the rules for keys.

mod conversions;
pub mod error;
pub mod key;
pub mod location;
pub mod metadata;

pub use error::{ErrorCode, ErrorDetail, PersistError, Result};
pub use location::{LocalPaths, StorageLocation};
pub use metadata::{Codec, FORMAT_VERSION, ListEntry, Precondition, SnapshotMetadata, SnapshotOptions};
