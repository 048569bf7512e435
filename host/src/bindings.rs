//! The WIT world `persist`, generated; nothing of it leaves the crate.

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "persist",
        imports: { default: trappable },
        trappable_error_type: {
            "persist:snapshot/storage.error" => crate::sandbox::StorageFailure,
        },
        with: {
            "persist:snapshot/storage.writer": crate::sandbox::WriterHandle,
            "persist:snapshot/storage.reader": crate::sandbox::ReaderHandle,
        },
    });
}

pub(crate) use generated::exports::persist::snapshot::snapshots;
pub(crate) use generated::persist::snapshot::storage;
pub(crate) use generated::{Persist, PersistPre};
