//! The generated bindings of the WIT world `core`, and the host's types for its
//! resources and errors. Nothing of this leaves the crate.

use persist_model::{ErrorCode, PersistError};

use crate::storage::{StorageReader, StorageWriter};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod generated {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "core",
        imports: { default: trappable },
        trappable_error_type: {
            "persist:snapshot/types.error" => crate::sandbox::bindings::StorageFailure,
        },
        with: {
            "persist:snapshot/storage.writer": crate::sandbox::bindings::WriterHandle,
            "persist:snapshot/storage.reader": crate::sandbox::bindings::ReaderHandle,
        },
    });
}

pub(crate) use generated::exports::persist::snapshot::{diffs, snapshots, timelines};
pub(crate) use generated::persist::snapshot::{storage, types};
pub(crate) use generated::{Core as Persist, CorePre as PersistPre};

/// The host's side of a guest's writer. Public only for the generated bindings; the
/// module is private to the crate.
#[allow(unreachable_pub)]
pub struct WriterHandle(pub(crate) Box<dyn StorageWriter>);

/// The host's side of a guest's reader. Public for the same reason as [`WriterHandle`].
#[allow(unreachable_pub)]
pub struct ReaderHandle(pub(crate) Box<dyn StorageReader>);

/// The error of a guest's call into storage.
#[derive(Debug)]
pub(crate) enum StorageFailure {
    /// The storage failed, and the guest is told why.
    Storage(PersistError),
    /// The guest broke the contract, or was cancelled, and is stopped.
    Trap(wasmtime::Error),
}

impl From<PersistError> for StorageFailure {
    fn from(error: PersistError) -> Self {
        match error.code() {
            // The guest must not handle it.
            ErrorCode::Cancelled => Self::Trap(wasmtime::Error::new(error)),
            _ => Self::Storage(error),
        }
    }
}

impl From<wasmtime::component::ResourceTableError> for StorageFailure {
    fn from(error: wasmtime::component::ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

persist_model::code_conversions!(storage);
persist_model::conversions!(snapshots);
persist_model::diff_conversions!(diffs);
persist_model::timeline_conversions!(timelines);
