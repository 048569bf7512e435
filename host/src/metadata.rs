//! Metadata as it crosses the border of the component.

pub use persist_model::metadata::{Codec, FORMAT_VERSION, ListEntry, Precondition, SnapshotMetadata, SnapshotOptions};

persist_model::conversions!(crate::bindings::snapshots);
