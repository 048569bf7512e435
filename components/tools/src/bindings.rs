//! The bindings of the WIT world `tool-provider`.

// The macro writes unsafe code for the canonical ABI, and items without
// documentation.
#[allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks, clippy::all)]
pub(crate) mod generated {
    wit_bindgen::generate!({ path: "../../wit", world: "tool-provider" });
}

pub(crate) use generated::export;
pub(crate) use generated::persist::snapshot::{diffs, snapshots, timelines, types};
