//! What wasmtime generates from the contract in `wit/`, and the resources that a storage
//! hands out.

use bytes::Bytes;

pub use generated::Core;
pub use generated::exports::persist::snapshot::{snapshots, timelines};
pub use generated::persist::snapshot::{storage, types};

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "core",
        imports: { default: trappable },
        // Host functions return an error of the contract inside a `wasmtime::Error`, and
        // `types::Host::convert_error` takes it out. Any other error stops the component.
        trappable_error_type: { "persist:snapshot/types.error" => wasmtime::Error },
        with: {
            "persist:snapshot/storage.writer": crate::bindings::Writer,
            "persist:snapshot/storage.reader": crate::bindings::Reader,
        },
    });
}

/// An object that is being written.
pub struct Writer {
    pub(crate) key: String,
    /// Whether the key must be free when the object is committed.
    pub(crate) if_absent: bool,
    pub(crate) bytes: Vec<u8>,
}

/// An object that is being read.
pub struct Reader {
    pub(crate) info: storage::ObjectInfo,
    /// The bytes of the range that have not been read yet.
    pub(crate) rest: Bytes,
}
