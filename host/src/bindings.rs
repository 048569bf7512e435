//! The WIT world `core`, generated, and what its resources and errors are
//! here; nothing of it leaves the crate.

use crate::error::{ErrorCode, PersistError};
use crate::storage::{StorageReader, StorageWriter};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "core",
        imports: { default: trappable },
        trappable_error_type: {
            "persist:snapshot/types.error" => crate::bindings::StorageFailure,
        },
        with: {
            "persist:snapshot/storage.writer": crate::bindings::WriterHandle,
            "persist:snapshot/storage.reader": crate::bindings::ReaderHandle,
        },
    });
}

pub(crate) use generated::exports::persist::snapshot::snapshots;
pub(crate) use generated::persist::snapshot::{storage, types};
pub(crate) use generated::{Core as Persist, CorePre as PersistPre};

/// What stands behind a guest's writer. Public for the generated bindings
/// alone; this module does not leave the crate.
#[allow(unreachable_pub)]
pub struct WriterHandle(pub(crate) Box<dyn StorageWriter>);

/// What stands behind a guest's reader; public like [`WriterHandle`].
#[allow(unreachable_pub)]
pub struct ReaderHandle(pub(crate) Box<dyn StorageReader>);

/// How a call of the guest into storage fails.
#[derive(Debug)]
pub(crate) enum StorageFailure {
    /// The storage says no, and the guest is told.
    Storage(PersistError),
    /// The guest broke a rule of the contract, and is stopped.
    Trap(wasmtime::Error),
}

impl From<PersistError> for StorageFailure {
    fn from(error: PersistError) -> Self {
        match error.code() {
            // The guest has no say in it.
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
