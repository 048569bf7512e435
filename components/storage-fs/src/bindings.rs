//! The bindings of the WIT world `storage-provider`.

// The macro writes unsafe code for the canonical ABI, and items without
// documentation.
#[allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks, clippy::all)]
pub(crate) mod generated {
    wit_bindgen::generate!({ path: "../../wit", world: "storage-provider" });
}

pub(crate) use generated::export;
pub(crate) use generated::exports::persist::snapshot::storage as wit;
