//! The bindings of the WIT world `core`.

// The macro writes unsafe code for the canonical ABI, and items without
// documentation.
#[allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks, clippy::all)]
pub(crate) mod generated {
    wit_bindgen::generate!({ path: "wit", world: "core" });
}

pub(crate) use generated::export;
pub(crate) use generated::exports::persist::snapshot::{blocks, diffs, snapshots as wit, timelines};
pub(crate) use generated::persist::snapshot::storage as host;

/// The result of an exported function.
pub(crate) type Answer<T> = Result<T, wit::Error>;
