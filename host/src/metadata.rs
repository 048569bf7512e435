//! Metadata as it crosses the border of the component.

pub use persist_model::metadata::{
    Codec, Encryption, FORMAT_VERSION, Hole, ListEntry, ListFilter, Precondition, SealState, SnapshotMetadata, SnapshotOptions,
};

persist_model::code_conversions!(crate::bindings::storage);
persist_model::conversions!(crate::bindings::snapshots);
