//! The bindings of the WIT world `core`.

#[allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks, clippy::all)]
pub(crate) mod generated {
    wit_bindgen::generate!({ path: "../../wit", world: "core" });
}

pub(crate) use generated::export;
pub(crate) use generated::exports::persist::snapshot::{blocks, diffs, snapshots as wit, timelines};
pub(crate) use generated::persist::snapshot::storage;
