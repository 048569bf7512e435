//! The bindings of the WIT world `command`.

// The macro writes unsafe code for the canonical ABI, and items without
// documentation.
#[allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks, clippy::all)]
mod generated {
    wit_bindgen::generate!({ path: "../../wit", world: "command" });
}

pub(crate) use generated::persist::snapshot::{diffs, snapshots as wit, storage, timelines};
