//! Connects the library to the WIT world `core`: everything here only passes calls on,
//! and converts their types.

mod bindings;
mod blocks;
mod convert;
mod diffs;
mod snapshots;
mod storage;
mod timelines;

struct Component;

bindings::export!(Component with_types_in bindings::generated);
