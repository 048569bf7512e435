//! Locations, keys, file names and symlinks of snapshots, and the order of a listing. The
//! same rules apply natively and in components.

pub mod ids;
pub mod key;
mod links;
mod local;
mod location;
mod names;
pub mod naming;
pub mod timeline;
mod uri;
pub mod walk;

pub use links::MAX_LINKS;
pub use local::{LocalPaths, folder_prefix};
pub use location::{StorageLocation, is_access_point, split_bucket};
pub use uri::{file_uri, file_uri_path, is_scheme};
