//! The metadata of a snapshot: checked when it is saved, stored as a JSON document, and
//! read back.

mod document;
mod json;
mod options;
pub(crate) mod packed;
mod timestamp;

pub(crate) use document::Document;
pub use document::Metadata;
pub(crate) use json::from_bytes;
pub(crate) use options::Draft;
pub use options::SaveOptions;
#[cfg(target_family = "wasm")]
pub(crate) use timestamp::parse_time;
pub(crate) use timestamp::stored_time;
