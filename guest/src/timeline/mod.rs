//! Timelines keep every step of a session, and store only what is new in each.
//!
//! A timeline is a folder. Step *n* is the object `n.step`, with *n* in twelve digits. It is
//! created with `if-absent` and never changed, so taking the number and storing the state
//! are one write.
//!
//! A step is an object of format 1 with the carriers of zstd and the kind `step`. Its document
//! (`metadata/packed.rs`) has the metadata of the state, the root of step
//! *n* - 1, and an [edit list](edits): the state as runs copied from the state of an earlier
//! step, the **base**, and literal bytes, which are in the step's own frames. The base has a
//! base, too, and so on to a step that copies nothing. The document lists all of them, at
//! most 64, so that they can be read at the same time.
//!
//! What is new is [found](find) by comparing the state with that of step *n* - 1. Small steps
//! are merged (`append.rs`) as an LSM tree merges its files: a new step may take in the newest
//! steps, and be an edit of an older one. It does not have to read them, since all their
//! bytes that count are in the state.

mod age;
mod append;
mod appender;
mod catalogue;
mod chain;
mod check;
mod delete;
mod document;
pub mod edits;
pub mod find;
pub(crate) mod forget;
mod found;
mod frames;
mod handle;
mod history;
mod large;
mod layers;
mod listing;
mod loader;
mod names;
mod newest;
mod numbered;
mod pieces;
mod prune;
mod reader;
mod record;
mod repair;
mod select;
mod step;
mod stored;
mod survey;
mod tops;
mod varint;

pub use appender::Appender;
pub use check::{Checked, Checker};
pub use handle::{MAX_IN_MEMORY, OnConflict, Timeline};
pub use history::{Entry, History};
pub use names::step_of;
pub use reader::StateReader;
pub(crate) use step::step_metadata;
pub(crate) use tops::{Tops, newest_metadata};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests;
